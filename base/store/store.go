// Package store opens the embedded analytic database of the house (DuckDB) and
// keeps large binary state beside it. It knows no noun: every room brings its
// own tables, migrations and queries.
//
// A data folder looks like this, and belongs to one process at a time:
//
//	lock           who owns the folder: process id and API address
//	sakimori.db    the database; sakimori.db.wal is its write-ahead log
//	blobs/         state snapshots and other large things, one file each, named by checksum
//	tmp/           where the database spills what doesn't fit in memory
//
// What Tx acknowledged survives kill -9 and power loss: the write-ahead log
// and every blob are synced before it returns.
package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/duckdb/duckdb-go/v2"

	"sakimori/base/clock"
)

// Options are how to open a store. The zero value is fine.
type Options struct {
	MemoryLimit int64       // bytes the database may use for its buffers; 0 is 512 MiB
	Threads     int         // 0 is 2
	ReadOnly    bool        // several readers may share a folder that nobody writes
	Clock       clock.Clock // for the date of a migration; nil is the machine's
}

// readers bounds how many queries run at once; more wait for a connection.
const readers = 8

// Store is an open data folder. Its methods may be called from any goroutine.
type Store struct {
	dir      string
	db       *sql.DB
	lock     *lock
	clock    clock.Clock
	readOnly bool
	writer   chan struct{} // holds one token: whoever has it writes
	pens     chan struct{} // holds a token for each blob that is being written
	pictures pictures
	version  atomic.Uint64 // odd while a commit is under way
	closing  sync.Once
}

// pens is how many blobs are written at once: the disk syncs some side by side.
const pens = 16

// Open opens the data folder, making it first if there is none. When another
// process has it, the error is an *ErrBusy.
func Open(ctx context.Context, dir string, o Options) (*Store, error) {
	if o.MemoryLimit <= 0 {
		o.MemoryLimit = 512 << 20
	}
	if o.Threads <= 0 {
		o.Threads = 2
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	// The driver reads the path as a URL, so these would be taken for its syntax.
	if strings.ContainsAny(dir, "?%#") {
		return nil, fmt.Errorf("data folder %s: the path may not contain ?, %% or #: use another folder", dir)
	}
	if !o.ReadOnly {
		for _, d := range []string{dir, filepath.Join(dir, "blobs"), filepath.Join(dir, "tmp")} {
			if err := os.MkdirAll(d, 0o750); err != nil {
				return nil, fmt.Errorf("data folder: %w: choose a folder that this user may write", err)
			}
		}
	} else if _, err := os.Stat(filepath.Join(dir, database)); err != nil {
		return nil, fmt.Errorf("data folder %s holds no data yet: %w", dir, err)
	}
	l, err := takeLock(dir, o.ReadOnly)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, lock: l, clock: o.Clock, readOnly: o.ReadOnly, writer: make(chan struct{}, 1), pens: make(chan struct{}, pens), pictures: pictures{open: map[uint64]bool{}}}
	s.writer <- struct{}{}
	if err := s.open(ctx, o); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

const database = "sakimori.db"

func (s *Store) open(ctx context.Context, o Options) error {
	dsn := fmt.Sprintf("%s?threads=%d&memory_limit=%dMiB", filepath.Join(s.dir, database), o.Threads, max(64, o.MemoryLimit>>20))
	if o.ReadOnly {
		dsn += "&access_mode=read_only"
	}
	connector, err := duckdb.NewConnector(dsn, nil)
	if err != nil {
		return fmt.Errorf("open %s: %w", filepath.Join(s.dir, database), err)
	}
	s.db = sql.OpenDB(connector)
	s.db.SetMaxOpenConns(readers + 1)
	s.db.SetMaxIdleConns(readers + 1)
	for _, q := range []string{
		"SET temp_directory = '" + strings.ReplaceAll(filepath.Join(s.dir, "tmp"), "'", "''") + "'",
		"SET checkpoint_threshold = '64MiB'", // the default of 16 checkpoints once a minute at full load
		// The database fetches nothing by itself and reads no other file. Order
		// matters: enable_external_access freezes temp_directory.
		"SET autoinstall_known_extensions = false",
		"SET autoload_known_extensions = false",
		"SET allow_community_extensions = false",
		"SET enable_external_access = false",
	} {
		if _, err := s.db.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("open %s: %w", filepath.Join(s.dir, database), err)
		}
	}
	if err := s.Migrate(ctx, "store", []Migration{
		{Version: 1, Name: "blobs", SQL: `CREATE TABLE store_blob (name VARCHAR NOT NULL, file VARCHAR NOT NULL, size BIGINT NOT NULL)`},
	}); err != nil {
		return err
	}
	if s.readOnly {
		return nil
	}
	return s.sweep(ctx)
}

// Close ends the store. It waits for the transaction under way, folds the
// write-ahead log into the database and frees the folder.
func (s *Store) Close() (err error) {
	s.closing.Do(func() {
		<-s.writer // nobody writes from here on: the token is never given back
		if s.db != nil {
			err = s.db.Close()
		}
		err = errors.Join(err, s.lock.free())
		close(s.writer)
	})
	return err
}

// errClosed is what a transaction on a closed store gets.
var errClosed = errors.New("the store is closed")

// Query runs a question outside of any transaction; it sees what is committed.
func (s *Store) Query(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	return s.db.QueryContext(ctx, q, args...)
}

// QueryRow is Query for a single row.
func (s *Store) QueryRow(ctx context.Context, q string, args ...any) *sql.Row {
	return s.db.QueryRowContext(ctx, q, args...)
}

// Asker is what questions are put to: a Store, a View or a Tx.
type Asker interface {
	Query(ctx context.Context, q string, args ...any) (*sql.Rows, error)
	QueryRow(ctx context.Context, q string, args ...any) *sql.Row
}

// View runs f on one unchanging picture of the data, so that several questions
// agree with each other, and with the blobs, although somebody writes meanwhile.
func (s *Store) View(ctx context.Context, f func(v Asker) error) error {
	defer s.pictures.end(s.pictures.begin()) // before the picture is fixed
	before := s.version.Load()
	// DuckDB fixes the picture at the first statement of a transaction. Not
	// sql.Tx: when ctx ends it rolls back behind f's back, fails while a query of
	// f is being interrupted, and gives the connection to the next one with the
	// transaction still open.
	conn, err := s.begin(ctx)
	if err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	defer s.rollback(ctx, conn) // nothing was written
	return f(view{conn, before})
}

// Version numbers the picture that a has, after the first question put to it.
// Pictures with the same number are equal; ok is false where none can be told, as
// somebody wrote at that moment, or as a is no View.
func (s *Store) Version(a Asker) (n uint64, ok bool) {
	v, ok := a.(view)
	if !ok || v.before%2 == 1 || s.version.Load() != v.before {
		return 0, false
	}
	return v.before, true
}

// begin takes a connection and begins a transaction on it.
func (s *Store) begin(ctx context.Context) (*sql.Conn, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.ExecContext(ctx, "BEGIN TRANSACTION"); err != nil {
		discard(conn)
		return nil, err
	}
	return conn, nil
}

// rollback ends a transaction without a trace and gives the connection back; one
// that doesn't roll back is closed for good.
func (s *Store) rollback(ctx context.Context, conn *sql.Conn) {
	if _, err := conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK"); err != nil {
		discard(conn)
		return
	}
	_ = conn.Close() // only gives it back
}

// discard closes a connection instead of giving it back.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // says: don't use it again
	_ = conn.Close()                                           // as it is broken already
}

// Current is the version of what is committed now; ok is false while a commit is
// under way.
func (s *Store) Current() (n uint64, ok bool) {
	n = s.version.Load()
	return n, n%2 == 0
}

type view struct {
	conn   *sql.Conn
	before uint64 // the store's version when it began
}

func (v view) Query(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	return v.conn.QueryContext(ctx, q, args...)
}

func (v view) QueryRow(ctx context.Context, q string, args ...any) *sql.Row {
	return v.conn.QueryRowContext(ctx, q, args...)
}

// Checkpoint folds the write-ahead log into the database and gives the room of
// deleted rows back. It waits its turn like a transaction.
func (s *Store) Checkpoint(ctx context.Context) error {
	if err := s.turn(ctx); err != nil {
		return err
	}
	defer s.yield()
	// A plain CHECKPOINT fails while somebody reads an older picture; then the
	// next one, or the database's own at a commit, does the work.
	if _, err := s.db.ExecContext(ctx, "CHECKPOINT"); err != nil && !strings.Contains(err.Error(), "there are other") {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// Sizes are bytes on disk.
type Sizes struct{ Database, Log, Blobs int64 }

// Size tells how much room the folder takes.
func (s *Store) Size() (Sizes, error) {
	var z Sizes
	for name, n := range map[string]*int64{database: &z.Database, database + ".wal": &z.Log} {
		fi, err := os.Stat(filepath.Join(s.dir, name))
		switch {
		case err == nil:
			*n = fi.Size()
		case !errors.Is(err, os.ErrNotExist):
			return z, fmt.Errorf("size of the store: %w", err)
		}
	}
	files, err := os.ReadDir(filepath.Join(s.dir, "blobs"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return z, fmt.Errorf("size of the store: %w", err)
	}
	for _, f := range files {
		if fi, err := f.Info(); err == nil { // else deleted meanwhile
			z.Blobs += fi.Size()
		}
	}
	return z, nil
}

// SetAddress writes down where this process serves its API, for the words of
// ErrBusy that others get.
func (s *Store) SetAddress(address string) error { return s.lock.write(address) }

// turn waits until no one else writes.
func (s *Store) turn(ctx context.Context) error {
	select {
	case _, ok := <-s.writer:
		if !ok {
			return errClosed
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the store's writer: %w", context.Cause(ctx))
	}
}

func (s *Store) yield() { s.writer <- struct{}{} }
