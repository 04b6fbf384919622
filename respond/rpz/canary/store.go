package canary

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"time"

	"sakimori/base/relation"
)

//go:embed migrations
var migrations embed.FS

// Store keeps rounds as evidence. It is a Recorder.
type Store struct{ db *relation.DB }

// OpenStore prepares the table.
func OpenStore(ctx context.Context, db *relation.DB) (*Store, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, "canary", files); err != nil {
		return nil, err
	}
	return &Store{db}, nil
}

// Keep writes a round down; it is on disk when this returns.
func (s *Store) Keep(ctx context.Context, r Round) error {
	serials, err := json.Marshal(r.Serials)
	if err != nil {
		return err
	}
	probes, err := json.Marshal(r.Probes)
	if err != nil {
		return err
	}
	return s.db.Tx(ctx, func(tx *relation.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO canary_round (at, resolver, proven, serials, probes) VALUES ($1, $2, $3, $4, $5)`,
			r.At.UnixNano(), r.Resolver, r.Proven(), string(serials), string(probes))
		return err
	})
}

// Rounds are those of a resolver ("" all) from a time up to another, the newest first, most
// of them at most.
func (s *Store) Rounds(ctx context.Context, resolver string, from, to time.Time, most int) ([]Round, error) {
	rows, err := s.db.Query(ctx, `SELECT at, resolver, serials, probes FROM canary_round WHERE at >= $1 AND at < $2 AND (resolver = $3 OR $3 = '') ORDER BY at DESC, resolver LIMIT $4`,
		from.UnixNano(), to.UnixNano(), resolver, most)
	if err != nil {
		return nil, fmt.Errorf("read rounds of canaries: %w", err)
	}
	defer rows.Close()
	var out []Round
	for rows.Next() {
		var r Round
		var at int64
		var serials, probes string
		if err := rows.Scan(&at, &r.Resolver, &serials, &probes); err != nil {
			return nil, err
		}
		r.At = time.Unix(0, at).UTC()
		if err := json.Unmarshal([]byte(serials), &r.Serials); err != nil {
			return nil, fmt.Errorf("round of %s at %s: %w", r.Resolver, r.At, err)
		}
		if err := json.Unmarshal([]byte(probes), &r.Probes); err != nil {
			return nil, fmt.Errorf("round of %s at %s: %w", r.Resolver, r.At, err)
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

// At is the last round of a resolver at or before a time: what proves how it answered
// then. False: it wasn't asked before.
func (s *Store) At(ctx context.Context, resolver string, at time.Time) (Round, bool, error) {
	rounds, err := s.Rounds(ctx, resolver, time.Unix(0, 0), at.Add(1), 1)
	if err != nil || len(rounds) == 0 {
		return Round{}, false, err
	}
	return rounds[0], true, nil
}

// Forget removes what is older than a time, and tells how many rounds that were.
func (s *Store) Forget(ctx context.Context, before time.Time) (n int64, err error) {
	err = s.db.Tx(ctx, func(tx *relation.Tx) (err error) {
		n, err = tx.Exec(ctx, `DELETE FROM canary_round WHERE at < $1`, before.UnixNano())
		return err
	})
	return n, err
}
