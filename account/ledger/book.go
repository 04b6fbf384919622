// Package ledger keeps the book of entries: append-only, chained by hashes, in the
// relational store. What must be remembered is written, and on disk, before it is
// done.
package ledger

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"sakimori/account"
	"sakimori/base/clock"
	"sakimori/base/relation"
)

//go:embed migrations
var migrations embed.FS

// Book is the ledger. It may be used by many goroutines, and on a server by many
// processes.
type Book struct {
	db    *relation.DB
	clock clock.Clock

	mu      sync.Mutex
	waiting []*order
	busy    bool // somebody is writing what waits
}

// Line is an entry to be: Kind, Who and What, and the personal data that go with
// it. What is put down as JSON and must hold none.
type Line struct {
	Kind    account.Kind
	Who     string
	What    any
	Private []byte // nil none
}

// order is a line on its way.
type order struct {
	line Line
	what []byte
	made account.Entry
	err  error
	done chan struct{}
}

// Open prepares the tables.
func Open(ctx context.Context, db *relation.DB, c clock.Clock) (*Book, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, "ledger", files); err != nil {
		return nil, err
	}
	return &Book{db: db, clock: c}, nil
}

// atOnce is how many lines are written in one transaction.
const atOnce = 500

// Append writes a line, and returns when it is on disk. Lines that come at the
// same time share a transaction: whoever comes first writes for all who come
// meanwhile.
func (b *Book) Append(ctx context.Context, l Line) (account.Entry, error) {
	o, err := newOrder(l)
	if err != nil {
		return account.Entry{}, err
	}
	b.mu.Lock()
	b.waiting = append(b.waiting, o)
	lead := !b.busy
	b.busy = true
	b.mu.Unlock()
	if lead {
		b.lead(context.WithoutCancel(ctx)) // it writes for others, too
	}
	<-o.done
	return o.made, o.err
}

func newOrder(l Line) (*order, error) {
	if l.Kind == "" || l.Who == "" {
		return nil, errors.New("an entry of the ledger says what kind it is and who did it")
	}
	what, err := json.Marshal(l.What)
	if err != nil {
		return nil, fmt.Errorf("an entry of the ledger: %w", err)
	}
	return &order{line: l, what: what, done: make(chan struct{})}, nil
}

func (b *Book) lead(ctx context.Context) {
	for {
		b.mu.Lock()
		lot := b.waiting[:min(atOnce, len(b.waiting))]
		b.waiting = b.waiting[len(lot):]
		if len(lot) == 0 {
			b.busy = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		err := b.db.Tx(ctx, func(tx *relation.Tx) error { return b.write(ctx, tx, lot) })
		for _, o := range lot {
			if o.err = err; err != nil {
				o.made = account.Entry{}
			}
			close(o.done)
		}
	}
}

// Lock keeps other writers from the book until a transaction ends. See relation.Tx.Lock.
func (b *Book) Lock(ctx context.Context, tx *relation.Tx) error { return tx.Lock(ctx, "ledger_entry") }

// AppendIn writes a line in a transaction of the caller's: the entry is there if,
// and only if, what else is in the transaction is. It is the first statement of it,
// or Lock is.
func (b *Book) AppendIn(ctx context.Context, tx *relation.Tx, l Line) (account.Entry, error) {
	o, err := newOrder(l)
	if err != nil {
		return account.Entry{}, err
	}
	err = b.write(ctx, tx, []*order{o})
	return o.made, err
}

// write chains lines to the last entry.
func (b *Book) write(ctx context.Context, tx *relation.Tx, lot []*order) error {
	if err := tx.Lock(ctx, "ledger_entry"); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	prev, err := last(ctx, tx)
	if err != nil {
		return err
	}
	for _, o := range lot {
		// A clock that was set back doesn't put an entry before the last one.
		e := account.Entry{At: b.clock.Now().UTC(), Kind: o.line.Kind, Who: o.line.Who, What: o.what}
		if e.At.Before(prev.At) {
			e.At = prev.At
		}
		var salt []byte
		if o.line.Private != nil {
			salt = make([]byte, 32)
			if _, err := rand.Read(salt); err != nil {
				return err
			}
			e.Private = account.Sum(salt, o.line.Private)
		}
		e = e.Chain(prev)
		if _, err := tx.Exec(ctx, `INSERT INTO ledger_entry (seq, made, kind, who, what, private, prev, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			int64(e.Seq), e.At.UnixNano(), string(e.Kind), e.Who, string(e.What), e.Private, e.Prev[:], e.Hash[:]); err != nil { //nolint:gosec // counts entries
			return fmt.Errorf("write the ledger: %w", err)
		}
		if salt != nil {
			if _, err := tx.Exec(ctx, `INSERT INTO ledger_private (seq, salt, data) VALUES ($1, $2, $3)`, int64(e.Seq), salt, o.line.Private); err != nil { //nolint:gosec // as above
				return fmt.Errorf("write the ledger: %w", err)
			}
		}
		o.made, prev = e, e
	}
	return nil
}

// last is the entry that the next one follows: of the chain's anchor only number
// and hash are known.
func last(ctx context.Context, a relation.Asker) (account.Entry, error) {
	e, err := scan(a.QueryRow(ctx, `SELECT `+columns+` FROM ledger_entry ORDER BY seq DESC LIMIT 1`))
	if errors.Is(err, sql.ErrNoRows) {
		return anchor(ctx, a)
	}
	if err != nil {
		return e, fmt.Errorf("read the ledger: %w", err)
	}
	return e, nil
}

// anchor is what the first entry that is kept follows.
func anchor(ctx context.Context, a relation.Asker) (e account.Entry, err error) {
	var seq int64
	var hash []byte
	err = a.QueryRow(ctx, `SELECT seq, hash FROM ledger_anchor ORDER BY seq DESC LIMIT 1`).Scan(&seq, &hash)
	if errors.Is(err, sql.ErrNoRows) {
		return e, nil
	}
	if err != nil {
		return e, fmt.Errorf("read the ledger: %w", err)
	}
	e.Seq = uint64(seq) //nolint:gosec // counts entries
	copy(e.Hash[:], hash)
	return e, nil
}

const columns = `seq, made, kind, who, what, private, prev, hash`

func scan(row interface{ Scan(dest ...any) error }) (e account.Entry, err error) {
	var seq, made int64
	var kind, what string
	var prev, hash []byte
	if err := row.Scan(&seq, &made, &kind, &e.Who, &what, &e.Private, &prev, &hash); err != nil {
		return e, err
	}
	e.Seq, e.At, e.Kind, e.What = uint64(seq), time.Unix(0, made).UTC(), account.Kind(kind), []byte(what) //nolint:gosec // counts entries
	copy(e.Prev[:], prev)
	copy(e.Hash[:], hash)
	return e, nil
}
