package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/duckdb/duckdb-go/v2"
)

// Tx is one transaction that writes. It is used by one goroutine, and only
// until the function that got it returns.
type Tx struct {
	store  *Store
	conn   *sql.Conn
	failed error          // the first failure: DuckDB then refuses everything but a rollback
	blobs  bool           // whether blobs were put or dropped
	coming []chan written // blobs that are being written
}

// Tx runs f in a transaction; there is one at a time. When f returns nil and
// Tx does too, everything f wrote is on disk. Otherwise nothing of it is.
func (s *Store) Tx(ctx context.Context, f func(tx *Tx) error) (err error) {
	if s.readOnly {
		return errors.New("the store was opened for reading only")
	}
	if err := s.turn(ctx); err != nil {
		return err
	}
	defer s.yield()
	conn, err := s.begin(ctx)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	last := context.WithoutCancel(ctx) // a commit is never stopped half way
	tx := &Tx{store: s, conn: conn}
	done := false
	defer func() { // also when f panics
		if done {
			_ = conn.Close() // only gives it back
			return
		}
		s.rollback(last, conn)
		tx.await() // before what they wrote is swept up
		if tx.blobs {
			err = errors.Join(err, s.sweep(last))
		}
	}()
	if err := f(tx); err != nil {
		return err
	}
	if err := tx.settle(last); err != nil {
		return err
	}
	if tx.failed != nil { // f overlooked it
		return tx.failed
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("transaction: %w", err)
	}
	s.version.Add(1)
	_, err = conn.ExecContext(last, "COMMIT")
	s.version.Add(1)
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	done = true
	if tx.blobs {
		// What can't be deleted now is at the next occasion; the data are safe.
		_ = s.sweep(last)
	}
	return nil
}

// Exec runs statements; arguments are for a single one.
func (tx *Tx) Exec(ctx context.Context, q string, args ...any) error {
	_, err := tx.Count(ctx, q, args...)
	return err
}

// Count is Exec that tells how many rows were changed.
func (tx *Tx) Count(ctx context.Context, q string, args ...any) (int64, error) {
	if tx.failed != nil {
		return 0, tx.failed
	}
	res, err := tx.conn.ExecContext(ctx, q, args...)
	if err != nil {
		tx.failed = err
		return 0, err
	}
	return res.RowsAffected()
}

// Query sees what the transaction has written so far.
func (tx *Tx) Query(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	return tx.conn.QueryContext(ctx, q, args...)
}

// QueryRow is Query for a single row.
func (tx *Tx) QueryRow(ctx context.Context, q string, args ...any) *sql.Row {
	return tx.conn.QueryRowContext(ctx, q, args...)
}

// Row takes one row, in the order of the table's columns. The Go types must be
// those of the columns (uint32 for UINTEGER, …); nil is NULL.
type Row func(values ...driver.Value) error

// Append fills a table in bulk, about ten times as fast as INSERT. The rows are
// in the table when Append returns. Between the first and the last row f must
// not use the transaction.
func (tx *Tx) Append(table string, f func(row Row) error) error {
	if tx.failed != nil {
		return tx.failed
	}
	err := tx.conn.Raw(func(dc any) (err error) {
		c, ok := dc.(driver.Conn)
		if !ok {
			return errors.New("not a connection of the database driver")
		}
		a, err := duckdb.NewAppenderFromConn(c, "", table)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, a.Close()) }() // Close flushes
		return f(a.AppendRow)
	})
	if err != nil {
		tx.failed = fmt.Errorf("append to %s: %w", table, err)
	}
	return tx.failed
}
