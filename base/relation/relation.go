// Package relation opens the relational store: SQLite in the data folder, or a
// PostgreSQL server. Rooms bring their own tables (goose migrations) and queries,
// in the one SQL that both understand: parameters $1, $2, …; times as Unix
// nanoseconds in a BIGINT; JSON as TEXT; bytes as BYTEA; identifiers made in Go.
// It knows no noun of the house.
package relation

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// DB is an open store. It may be used by many goroutines.
type DB struct {
	sql      *sql.DB
	postgres bool
}

// Open opens a store: "postgres://user@host/name", or the path of an SQLite file,
// which is made when it isn't there. A commit is on disk when it returns.
func Open(ctx context.Context, where string) (*DB, error) {
	d := &DB{postgres: strings.HasPrefix(where, "postgres://") || strings.HasPrefix(where, "postgresql://")}
	driver, source := "pgx", where
	if !d.postgres {
		driver, source = "sqlite", sqliteSource(where)
	}
	var err error
	if d.sql, err = sql.Open(driver, source); err != nil {
		return nil, fmt.Errorf("open %s: %w", d.name(where), err)
	}
	const most = 8
	d.sql.SetMaxOpenConns(most)
	d.sql.SetMaxIdleConns(most)
	if err := d.sql.PingContext(ctx); err != nil {
		_ = d.sql.Close() // the first error says more
		return nil, fmt.Errorf("open %s: %w", d.name(where), err)
	}
	return d, nil
}

// sqliteSource opens with a write-ahead log that is synced at each commit;
// transactions take the write lock at once, so that none fails in the middle.
func sqliteSource(path string) string {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(30000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "secure_delete(1)",
	}}
	return (&url.URL{Scheme: "file", Opaque: filepath.ToSlash(path), RawQuery: q.Encode()}).String()
}

// name is where the store is, without a password.
func (d *DB) name(where string) string {
	if u, err := url.Parse(where); err == nil && d.postgres {
		return u.Redacted()
	}
	return where
}

// Close closes the store.
func (d *DB) Close() error { return d.sql.Close() }

// Postgres tells whether it is a server.
func (d *DB) Postgres() bool { return d.postgres }

// Migrate brings the tables of a room to the newest of its migrations: goose's
// files (0001_name.sql, with the comment "-- +goose Up") at the top of files.
// Each room has a version of its own. Tables newer than the files are refused.
func (d *DB) Migrate(ctx context.Context, room string, files fs.FS) error {
	dialect := goose.DialectSQLite3
	if d.postgres {
		dialect = goose.DialectPostgres
	}
	p, err := goose.NewProvider(dialect, d.sql, files, goose.WithTableName("version_of_"+room))
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", room, err)
	}
	// Two processes may begin at once: the lock makes the second one wait.
	unlock, err := d.hold(ctx, room)
	if err != nil {
		return fmt.Errorf("migrations of %s: %w", room, err)
	}
	defer unlock()
	have, know, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("version of the tables of %s: %w", room, err)
	}
	if have > know {
		return fmt.Errorf("the tables of %s were written by a newer sakimori (version %d; this program knows up to %d): install that version or a later one", room, have, know)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate the tables of %s: %w", room, err)
	}
	return nil
}

// hold keeps other processes from migrating a room. SQLite's file belongs to one
// process already.
func (d *DB) hold(ctx context.Context, room string) (release func(), err error) {
	if !d.postgres {
		return func() {}, nil
	}
	c, err := d.sql.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := c.ExecContext(ctx, `SELECT pg_advisory_lock(hashtext($1))`, "migrate "+room); err != nil {
		_ = c.Close() // the first error says more
		return nil, err
	}
	return func() {
		_, _ = c.ExecContext(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock(hashtext($1))`, "migrate "+room) // ends with the connection at the latest
		_ = c.Close()
	}, nil
}

// Asker asks questions: a DB or a Tx.
type Asker interface {
	Query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRow(ctx context.Context, query string, args ...any) *sql.Row
}

// Query asks for rows; the caller closes them.
func (d *DB) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return d.sql.QueryContext(ctx, query, args...)
}

// QueryRow asks for one row.
func (d *DB) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	return d.sql.QueryRowContext(ctx, query, args...)
}

// Tx is a transaction under way.
type Tx struct {
	tx       *sql.Tx
	postgres bool
}

// tries is how often a transaction is begun anew that stood in another's way.
const tries = 20

// Tx runs do in a transaction, and commits when it returns nil. On a server it is
// serializable, and begun anew when it stood in another's way: do must not touch
// anything but tx, or bear to be called again.
func (d *DB) Tx(ctx context.Context, do func(tx *Tx) error) error {
	for try := 1; ; try++ {
		err := d.once(ctx, do)
		if err == nil || try == tries || !again(err) || ctx.Err() != nil {
			return err
		}
		pause, end := context.WithTimeout(ctx, time.Duration(try)*5*time.Millisecond)
		<-pause.Done()
		end()
	}
}

func (d *DB) once(ctx context.Context, do func(tx *Tx) error) error {
	var o *sql.TxOptions
	if d.postgres {
		o = &sql.TxOptions{Isolation: sql.LevelSerializable}
	}
	tx, err := d.sql.BeginTx(ctx, o)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	if err := do(&Tx{tx, d.postgres}); err != nil {
		return errors.Join(err, ignoreDone(tx.Rollback()))
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// again tells whether a transaction failed only because of another one.
func again(err error) bool {
	if pg, is := errors.AsType[*pgconn.PgError](err); is {
		const serialization, deadlock = "40001", "40P01"
		return pg.Code == serialization || pg.Code == deadlock
	}
	var lite *sqlite.Error
	return errors.As(err, &lite) && lite.Code()&0xff == sqlite3.SQLITE_BUSY
}

// Query asks for rows; the caller closes them.
func (t *Tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return t.tx.QueryContext(ctx, query, args...)
}

// QueryRow asks for one row.
func (t *Tx) QueryRow(ctx context.Context, query string, args ...any) *sql.Row {
	return t.tx.QueryRowContext(ctx, query, args...)
}

// Exec changes something, and says how many rows.
func (t *Tx) Exec(ctx context.Context, query string, args ...any) (changed int64, err error) {
	r, err := t.tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// Prepare makes a statement ready that is executed many times in this transaction: a
// row each time costs a fraction of what it does when the text is read again.
func (t *Tx) Prepare(ctx context.Context, query string) (*Statement, error) {
	s, err := t.tx.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return &Statement{s}, nil
}

// Statement is one that was prepared. It ends with its transaction, or when it is closed.
type Statement struct{ stmt *sql.Stmt }

// Exec changes something, and says how many rows.
func (s *Statement) Exec(ctx context.Context, args ...any) (changed int64, err error) {
	r, err := s.stmt.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// Close ends it.
func (s *Statement) Close() error { return s.stmt.Close() }

// Lock keeps other writers away from a table until the transaction ends. It must
// be the first statement: what is read after it is the newest then. SQLite has one
// writer anyhow.
func (t *Tx) Lock(ctx context.Context, table string) error {
	if !t.postgres {
		return nil
	}
	_, err := t.tx.ExecContext(ctx, `LOCK TABLE `+table+` IN EXCLUSIVE MODE`)
	return err
}

// Unique tells whether an error says that a row with this key is there already.
func Unique(err error) bool {
	if pg, is := errors.AsType[*pgconn.PgError](err); is {
		const unique = "23505"
		return pg.Code == unique
	}
	var lite *sqlite.Error
	return errors.As(err, &lite) && (lite.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY || lite.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE)
}
