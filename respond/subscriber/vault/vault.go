// Package vault keeps who the subscribers are, apart from everything that is known of
// them: contracts and people, sealed, by pseudonym. Nothing comes out of it without a
// Grant, and without an entry that was written before.
package vault

import (
	"context"
	"database/sql"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/lawful"
	"sakimori/respond/subscriber"
)

//go:embed migrations
var migrations embed.FS

// Person is whom a contract belongs to, as the operator's customer system has it.
type Person struct {
	Name      string   `json:"name"`
	Mail      string   `json:"mail"`
	Phone     string   `json:"phone"`
	Code      string   `json:"code"`  // postal code
	Lines     []string `json:"lines"` // of the postal address
	Language  string   `json:"language"`
	Sensitive string   `json:"sensitive"` // home, or business, medical, alarm; "" not known: what isn't a home's is never cut off by itself
}

// Look is a reading of an identity, as it is written down before it happens.
type Look struct {
	Subject string `json:"subject"`
	Of      string `json:"of"` // contract or person
	Rule    string `json:"rule"`
	Why     string `json:"why"`
	Who     string `json:"-"`
}

// Recorder writes a look down; an error keeps it from happening.
type Recorder interface {
	Record(ctx context.Context, l Look) error
}

// Vault is the store of identities. It may be used by many goroutines.
type Vault struct {
	db       *relation.DB
	keys     *Keys
	recorder Recorder
	clock    clock.Clock

	mu    sync.Mutex
	known map[[16]byte]struct{} // contracts that are kept already
}

// knownMost bounds the list of contracts that needn't be asked for: 32 MiB.
const knownMost = 1 << 20

// Open prepares the tables.
func Open(ctx context.Context, db *relation.DB, keys *Keys, r Recorder, c clock.Clock) (*Vault, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, "vault", files); err != nil {
		return nil, err
	}
	return &Vault{db: db, keys: keys, recorder: r, clock: c, known: map[[16]byte]struct{}{}}, nil
}

// The places where identities are kept.
const (
	contracts = "subscriber_contract"
	people    = "subscriber_person"
)

// Keep keeps the names of contracts, so that their pseudonyms can be turned back. It
// returns when they are on disk.
func (v *Vault) Keep(ctx context.Context, names ...string) error {
	ids := make([][16]byte, len(names))
	for i, n := range names {
		ids[i] = v.keys.Pseudonym(n)
	}
	fresh := map[[16]byte]string{}
	v.mu.Lock()
	for i, id := range ids {
		if _, known := v.known[id]; !known {
			fresh[id] = names[i]
		}
	}
	v.mu.Unlock()
	if len(fresh) == 0 {
		return nil
	}
	if err := v.db.Tx(ctx, func(tx *relation.Tx) error {
		for id, n := range fresh {
			key, sealed := v.keys.seal(contracts, id, []byte(n))
			if _, err := tx.Exec(ctx, `INSERT INTO subscriber_contract (subject, key, sealed) VALUES ($1, $2, $3) ON CONFLICT (subject) DO NOTHING`, id[:], key, sealed); err != nil {
				return fmt.Errorf("keep a contract: %w", err)
			}
		}
		return nil
	}); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.known)+len(fresh) > knownMost {
		clear(v.known)
	}
	for id := range fresh {
		v.known[id] = struct{}{}
	}
	return nil
}

// Holder is a contract with whom it belongs to.
type Holder struct {
	Contract string
	Person   Person
}

// KeepPerson keeps, or replaces, whom a contract belongs to.
func (v *Vault) KeepPerson(ctx context.Context, contract string, p Person) error {
	return v.KeepPeople(ctx, []Holder{{contract, p}})
}

// KeepPeople keeps, or replaces, whom contracts belong to: all or none.
func (v *Vault) KeepPeople(ctx context.Context, list []Holder) error {
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Contract
	}
	if err := v.Keep(ctx, names...); err != nil {
		return err
	}
	return v.db.Tx(ctx, func(tx *relation.Tx) error {
		for i := range list {
			data, err := json.Marshal(&list[i].Person)
			if err != nil {
				return err
			}
			id := v.keys.Pseudonym(list[i].Contract)
			key, sealed := v.keys.seal(people, id, data)
			if _, err := tx.Exec(ctx, `INSERT INTO subscriber_person (subject, key, sealed) VALUES ($1, $2, $3)
				ON CONFLICT (subject) DO UPDATE SET key = excluded.key, sealed = excluded.sealed`, id[:], key, sealed); err != nil {
				return fmt.Errorf("keep a person: %w", err)
			}
		}
		return nil
	})
}

// ErrUnknown is what is returned for a subscriber of whom nothing is kept.
var ErrUnknown = errors.New("nothing is kept of this subscriber")

// Contract is the name of a contract. It takes a Grant to name this subscriber.
func (v *Vault) Contract(ctx context.Context, g lawful.Grant, subject, who, why string) (string, error) {
	data, err := v.look(ctx, g, lawful.NameSubscriber, contracts, Look{Subject: subject, Of: "contract", Who: who, Why: why})
	return string(data), err
}

// Person is whom a contract belongs to. It takes a Grant to name this subscriber, or to
// notify them.
func (v *Vault) Person(ctx context.Context, g lawful.Grant, m lawful.Measure, subject, who, why string) (p Person, err error) {
	if m != lawful.NameSubscriber && m != lawful.Notify {
		return p, fmt.Errorf("%w: nobody is named for %s", lawful.ErrRefused, m)
	}
	data, err := v.look(ctx, g, m, people, Look{Subject: subject, Of: "person", Who: who, Why: why})
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(data, &p)
}

// look reads something, after it was allowed and written down.
func (v *Vault) look(ctx context.Context, g lawful.Grant, m lawful.Measure, place string, l Look) ([]byte, error) {
	id, err := subscriber.ParseSubject(l.Subject)
	if err != nil {
		return nil, err
	}
	if l.Who == "" || l.Why == "" {
		return nil, fmt.Errorf("%w: a look at an identity says who looks and why", lawful.ErrRefused)
	}
	if !g.Allows(m, lawful.Of(l.Subject), v.clock.Now()) {
		return nil, fmt.Errorf("%w: no grant allows %s for this subscriber now", lawful.ErrRefused, m)
	}
	l.Rule = g.Rule()
	if err := v.recorder.Record(ctx, l); err != nil {
		return nil, fmt.Errorf("%w: the look could not be written down: %w", lawful.ErrRefused, err)
	}
	var key int64
	var sealed []byte
	err = v.db.QueryRow(ctx, `SELECT key, sealed FROM `+place+` WHERE subject = $1`, id[:]).Scan(&key, &sealed)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, ErrUnknown
	case err != nil:
		return nil, fmt.Errorf("read an identity: %w", err)
	}
	return v.keys.open(place, id, key, sealed)
}

// Erase removes what is kept of a subscriber. Their pseudonym tells nothing then.
func (v *Vault) Erase(ctx context.Context, subject string) error {
	id, err := subscriber.ParseSubject(subject)
	if err != nil {
		return err
	}
	err = v.db.Tx(ctx, func(tx *relation.Tx) error {
		for _, place := range []string{contracts, people} {
			if _, err := tx.Exec(ctx, `DELETE FROM `+place+` WHERE subject = $1`, id[:]); err != nil {
				return fmt.Errorf("erase an identity: %w", err)
			}
		}
		return nil
	})
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.known, id)
	return err
}

// rotated is how many are sealed anew in one transaction.
const rotated = 1000

// Rotate seals everything with the newest key that is sealed with an older one. It may
// be stopped and called again; tell hears how many are done.
func (v *Vault) Rotate(ctx context.Context, tell func(done int)) (done int, err error) {
	for _, place := range []string{contracts, people} {
		for {
			n, err := v.rotate(ctx, place)
			if err != nil {
				return done, err
			}
			if n == 0 {
				break
			}
			if done += n; tell != nil {
				tell(done)
			}
		}
	}
	return done, nil
}

func (v *Vault) rotate(ctx context.Context, place string) (n int, err error) {
	type entry struct {
		id     [16]byte
		key    int64
		sealed []byte
	}
	err = v.db.Tx(ctx, func(tx *relation.Tx) error {
		rows, err := tx.Query(ctx, `SELECT subject, key, sealed FROM `+place+` WHERE key < $1 LIMIT $2`, v.keys.Newest(), rotated)
		if err != nil {
			return fmt.Errorf("read identities: %w", err)
		}
		defer rows.Close()
		var list []entry
		for rows.Next() {
			var e entry
			var id []byte
			if err := rows.Scan(&id, &e.key, &e.sealed); err != nil {
				return fmt.Errorf("read identities: %w", err)
			}
			copy(e.id[:], id)
			list = append(list, e)
		}
		if err := rows.Err(); err != nil {
			return fmt.Errorf("read identities: %w", err)
		}
		_ = rows.Close() // before the connection is used again
		n = len(list)
		for _, e := range list {
			data, err := v.keys.open(place, e.id, e.key, e.sealed)
			if err != nil {
				return err
			}
			key, sealed := v.keys.seal(place, e.id, data)
			if _, err := tx.Exec(ctx, `UPDATE `+place+` SET key = $1, sealed = $2 WHERE subject = $3`, key, sealed, e.id[:]); err != nil {
				return fmt.Errorf("seal an identity: %w", err)
			}
		}
		return nil
	})
	return n, err
}

// Count is how many contracts and people are kept.
func (v *Vault) Count(ctx context.Context) (c, p int, err error) {
	err = v.db.QueryRow(ctx, `SELECT (SELECT count(*) FROM subscriber_contract), (SELECT count(*) FROM subscriber_person)`).Scan(&c, &p)
	return c, p, err
}
