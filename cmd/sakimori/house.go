package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/lawful"
	"sakimori/lawful/consent"
	"sakimori/respond/casework"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/history"
	"sakimori/respond/subscriber/translation"
	"sakimori/respond/subscriber/vault"
)

// house is what is remembered of people and of acts: the ledger, who the subscribers
// are, who had which address, and the cases. It stands in the data folder beside what
// was observed, or on a PostgreSQL server.
type house struct {
	dir     string
	db      *relation.DB
	book    *ledger.Book
	keys    *vault.Keys
	vault   *vault.Vault
	history *history.History
	desk    *casework.Desk
	own     []netip.Prefix     // the operator's; none: not told
	rules   *translation.Rules // of computed translation; nil none

	gate     *lawful.Gate
	consents *consent.Register
}

// The files of a house in its data folder.
const (
	houseFile   = "house.sqlite"
	ledgerKey   = "ledger.key"
	ledgerHeads = "ledger.heads"
	vaultKeys   = "subscriber.keys"
	historyDir  = "addresses"
)

// openBook opens the ledger alone.
func openBook(ctx context.Context, dir, database string) (*house, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if database == "" {
		database = filepath.Join(dir, houseFile)
	}
	h := &house{dir: dir}
	var err error
	if h.db, err = relation.Open(ctx, database); err != nil {
		return nil, err
	}
	if h.book, err = ledger.Open(ctx, h.db, clock.System{}); err != nil {
		return nil, errors.Join(err, h.db.Close())
	}
	return h, nil
}

// openHouse opens everything.
func openHouse(ctx context.Context, dir, database string) (*house, error) {
	h, err := openBook(ctx, dir, database)
	if err != nil {
		return nil, err
	}
	if h.keys, err = vault.LoadKeys(filepath.Join(dir, vaultKeys), time.Now()); err == nil {
		h.vault, err = vault.Open(ctx, h.db, h.keys, looks{h.book}, clock.System{})
	}
	if err == nil {
		h.desk, err = casework.Open(ctx, h.db, changes{h.book}, clock.System{}, casework.DefaultRules())
	}
	if err == nil {
		h.history, err = history.Open(filepath.Join(dir, historyDir), history.Options{Pseudonym: h.keys.Pseudonym})
	}
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// settle takes what the configuration says of the operator's addresses and rules.
func (h *house) settle(ctx context.Context, cfg *config, rules string) (err error) {
	if rules == "" {
		rules = cfg.Rules
	}
	if err := h.openGate(ctx, rules); err != nil {
		return err
	}
	for _, s := range cfg.Subscriber.Own {
		p, err := parsePrefix(s, "own")
		if err != nil {
			return err
		}
		h.own = append(h.own, p)
	}
	h.rules, err = translation.New(cfg.Subscriber.Translation)
	return err
}

// Close closes what is open; the ledger's store last.
func (h *house) Close() (err error) {
	if h.history != nil {
		err = h.history.Close()
	}
	return errors.Join(err, h.db.Close())
}

// Take keeps records of who had which address: first what the contracts are called, so
// that no pseudonym is without its name.
func (h *house) Take(ctx context.Context, records []subscriber.Record) error {
	var lines []string
	for i := range records {
		if records[i].Line != "" {
			lines = append(lines, records[i].Line)
		}
	}
	if err := h.vault.Keep(ctx, lines...); err != nil {
		return err
	}
	return h.history.Take(ctx, records)
}

// sign signs the newest entry of the ledger.
func (h *house) sign(ctx context.Context) (ledger.Head, bool, error) {
	key, err := ledger.LoadKey(filepath.Join(h.dir, ledgerKey))
	if err != nil {
		return ledger.Head{}, false, err
	}
	return h.book.Sign(ctx, key, filepath.Join(h.dir, ledgerHeads))
}

// looks writes down who reads an identity, before it is read.
type looks struct{ book *ledger.Book }

func (l looks) Record(ctx context.Context, look vault.Look) error {
	_, err := l.book.Append(ctx, ledger.Line{Kind: account.Looked, Who: look.Who, What: look})
	return err
}

// changes writes down what happens to a case, with it.
type changes struct{ book *ledger.Book }

func (c changes) Lock(ctx context.Context, tx *relation.Tx) error { return c.book.Lock(ctx, tx) }

func (c changes) Record(ctx context.Context, tx *relation.Tx, e casework.Event) error {
	_, err := c.book.AppendIn(ctx, tx, ledger.Line{Kind: account.Changed, Who: e.Who, What: e})
	return err
}

// whoAmI is who works on the command line, for the ledger.
func whoAmI() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return "cli:" + u.Username
	}
	return fmt.Sprintf("cli:uid %d", os.Getuid())
}
