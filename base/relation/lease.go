package relation

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Lease is the right of one process at a time to do something. It is a row of a table with
// the columns name (its key), holder and until (Unix nanoseconds).
type Lease struct {
	DB          *DB
	Table, Name string
}

// Take takes the right, or keeps it, until a time at most. It is written anew when half of
// it is over. mine is false while another process has it.
func (l Lease) Take(ctx context.Context, holder string, now, until time.Time) (mine bool, err error) {
	ask := `SELECT holder, until FROM ` + l.Table + ` WHERE name = $1` // #nosec G202 -- the table is the caller's own
	var has string
	var to int64
	err = l.DB.QueryRow(ctx, ask, l.Name).Scan(&has, &to)
	if err == nil && has == holder && to-now.UnixNano() > int64(until.Sub(now)/2) {
		return true, nil
	}
	err = l.DB.Tx(ctx, func(tx *Tx) error {
		mine = false
		switch err := tx.QueryRow(ctx, ask, l.Name).Scan(&has, &to); {
		case errors.Is(err, sql.ErrNoRows):
			_, err = tx.Exec(ctx, `INSERT INTO `+l.Table+` (name, holder, until) VALUES ($1, $2, $3)`, l.Name, holder, until.UnixNano())
			mine = err == nil
			return err
		case err != nil:
			return err
		case has != holder && now.UnixNano() < to:
			return nil
		}
		_, err := tx.Exec(ctx, `UPDATE `+l.Table+` SET holder = $1, until = $2 WHERE name = $3`, holder, until.UnixNano(), l.Name)
		mine = err == nil
		return err
	})
	if Unique(err) { // two began at once
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("the lease %s of %s: %w", l.Name, l.Table, err)
	}
	return mine, nil
}

// Release gives the right back.
func (l Lease) Release(ctx context.Context, holder string) error {
	return l.DB.Tx(ctx, func(tx *Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM `+l.Table+` WHERE name = $1 AND holder = $2`, l.Name, holder) // #nosec G202 -- the table is the caller's own
		return err
	})
}
