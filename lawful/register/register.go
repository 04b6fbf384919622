// Package register keeps a gate's decisions over a restart, in the relational store.
// It can't make a Grant of them: a row means something only to the gate that sealed it.
package register

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"sakimori/base/relation"
	"sakimori/lawful"
)

//go:embed migrations
var migrations embed.FS

// Register implements lawful.Keeper. It may be used by many goroutines.
type Register struct{ db *relation.DB }

// Open prepares the tables.
func Open(ctx context.Context, db *relation.DB) (*Register, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, "lawful", files); err != nil {
		return nil, err
	}
	return &Register{db}, nil
}

// Keep writes a new decision, and returns when it is on disk.
func (r *Register) Keep(ctx context.Context, k lawful.Kept) error {
	err := r.db.Tx(ctx, func(tx *relation.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO lawful_kept (id, state, until, body, seal) VALUES ($1, $2, $3, $4, $5)`,
			k.ID, string(k.State), k.Until.UnixNano(), k.Body, k.Seal)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep a decision: %w", err)
	}
	return nil
}

// End replaces a decision that is in state from; otherwise nothing changes, and the
// error is lawful.ErrUnknown.
func (r *Register) End(ctx context.Context, from lawful.State, k lawful.Kept) error {
	err := r.db.Tx(ctx, func(tx *relation.Tx) error {
		n, err := tx.Exec(ctx, `UPDATE lawful_kept SET state = $1, until = $2, body = $3, seal = $4 WHERE id = $5 AND state = $6`,
			string(k.State), k.Until.UnixNano(), k.Body, k.Seal, k.ID, string(from))
		if err == nil && n == 0 {
			return fmt.Errorf("%w: %.40q isn't %s", lawful.ErrUnknown, k.ID, from)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("change a kept decision: %w", err)
	}
	return nil
}

const columns = `id, state, until, body, seal`

func scan(row interface{ Scan(dest ...any) error }) (k lawful.Kept, err error) {
	var state string
	var until int64
	err = row.Scan(&k.ID, &state, &until, &k.Body, &k.Seal)
	k.State, k.Until = lawful.State(state), time.Unix(0, until).UTC()
	return k, err
}

// Find reads a decision.
func (r *Register) Find(ctx context.Context, id string) (lawful.Kept, error) {
	k, err := scan(r.db.QueryRow(ctx, `SELECT `+columns+` FROM lawful_kept WHERE id = $1`, id))
	if errors.Is(err, sql.ErrNoRows) {
		return k, fmt.Errorf("%w: %.40q", lawful.ErrUnknown, id)
	}
	if err != nil {
		return k, fmt.Errorf("read a kept decision: %w", err)
	}
	return k, nil
}

// InForce reads all decisions that aren't settled, in a fixed order.
func (r *Register) InForce(ctx context.Context) (list []lawful.Kept, err error) {
	rows, err := r.db.Query(ctx, `SELECT `+columns+` FROM lawful_kept WHERE state <> $1 ORDER BY until, id`, string(lawful.Settled))
	if err != nil {
		return nil, fmt.Errorf("read the kept decisions: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		k, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("read the kept decisions: %w", err)
		}
		list = append(list, k)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the kept decisions: %w", err)
	}
	return list, nil
}

// Prune removes settled decisions that would have ended before t, and says how many:
// what was decided is in the ledger.
func (r *Register) Prune(ctx context.Context, t time.Time) (removed int64, err error) {
	err = r.db.Tx(ctx, func(tx *relation.Tx) error {
		removed, err = tx.Exec(ctx, `DELETE FROM lawful_kept WHERE state = $1 AND until < $2`, string(lawful.Settled), t.UnixNano())
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("prune the kept decisions: %w", err)
	}
	return removed, nil
}

var _ lawful.Keeper = (*Register)(nil)
