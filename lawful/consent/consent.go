// Package consent is the register of what subscribers consent to: versions of terms
// with the notices that were given of them, and what each subject said, under a
// pseudonym. A withdrawal takes effect at once; nothing is ever changed or removed.
package consent

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/lawful"
)

//go:embed migrations
var migrations embed.FS

// Terms is a version of the terms, or of the wording of an individual consent.
type Terms struct {
	Version            string        `json:"version"`
	Ground             lawful.Ground `json:"ground"` // individual or comprehensive consent
	From               time.Time     `json:"from"`
	TextSum            string        `json:"text_sum"` // SHA-256 of the text, hexadecimal: see Sum
	Purposes           []string      `json:"purposes"`
	OptOut             bool          `json:"opt_out"`             // may be declined at any time
	OtherwiseUnchanged bool          `json:"otherwise_unchanged"` // and nothing else of the terms changes by it
	Limited            bool          `json:"limited"`             // to its purposes
	Continues          bool          `json:"continues"`           // who consented to the version before consents to this one; else they are asked again
	Entered            time.Time     `json:"entered"`
	Who                string        `json:"who"` // entered it
	Notices            []Notice      `json:"notices"`
}

// Notice is one that was given of a version, besides the publication of the terms.
type Notice struct {
	At        time.Time `json:"at"`
	Channel   string    `json:"channel"`   // web, mail, letter
	Reference string    `json:"reference"` // where it can be seen
	Who       string    `json:"who"`       // entered it
}

// Event is what a subject said.
type Event struct {
	Seq     uint64    `json:"seq"`
	Subject string    `json:"subject"` // pseudonym
	Purpose string    `json:"purpose"`
	Given   bool      `json:"given"`   // else withdrawn
	Version string    `json:"version"` // of the terms; "" of a withdrawal where there were none
	At      time.Time `json:"at"`      // takes effect then
	Channel string    `json:"channel"` // contract, web, phone
	Who     string    `json:"who"`     // entered it: a role or a user, or "subscriber"
}

// Change is what a Recorder is told.
type Change struct {
	What   string  `json:"what"` // terms, notice, given, withdrawn, enrolling, enrolled
	Terms  *Terms  `json:"terms,omitempty"`
	Notice *Notice `json:"notice,omitempty"`
	Event  *Event  `json:"event,omitempty"` // of enrolled without a subject
	Count  int     `json:"count,omitempty"` // subjects enrolled
}

// Recorder writes changes down. An error keeps everything but a withdrawal from being
// done: that stands, and is an error all the same.
type Recorder interface {
	Record(ctx context.Context, c Change) error
}

// ErrUnknown is what is returned for terms that aren't there or not in force.
var ErrUnknown = errors.New("no such terms are in force")

// Register is the register. It may be used by many goroutines.
type Register struct {
	db       *relation.DB
	clock    clock.Clock
	recorder Recorder
	memory   atomic.Pointer[memory] // nil: each question goes to the store
	machine  clock.Clock            // how old the memory is
}

// Open prepares the tables.
func Open(ctx context.Context, db *relation.DB, c clock.Clock, r Recorder) (*Register, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := db.Migrate(ctx, "consent", files); err != nil {
		return nil, err
	}
	return &Register{db: db, clock: c, recorder: r, machine: clock.System{}}, nil
}

// Sum is the TextSum of a text.
func Sum(text []byte) string {
	s := sha256.Sum256(text)
	return hex.EncodeToString(s[:])
}

// The bounds of what is kept.
const (
	longest = 200 // bytes of a name, a pseudonym, a channel
	mostFor = 20  // purposes of a version
)

// named refuses, of names and texts in turn, texts that are empty or too long.
func named(fields ...string) error {
	for pair := range slices.Chunk(fields, 2) {
		if v := pair[len(pair)-1]; strings.TrimSpace(v) == "" || len(v) > longest {
			return fmt.Errorf("%s: write a text of 1 to %d bytes", pair[0], longest)
		}
	}
	return nil
}

// AddTerms enters a version. It follows every version for the same purposes, and, once
// anybody has consented to one of those, begins now at the earliest: what was in force
// at a time doesn't change afterwards.
func (r *Register) AddTerms(ctx context.Context, t Terms) error {
	if err := named("version", t.Version, "who", t.Who); err != nil {
		return fmt.Errorf("terms: %w", err)
	}
	sum, err := hex.DecodeString(t.TextSum)
	switch {
	case err != nil || len(sum) != sha256.Size:
		return errors.New("terms: text_sum is the SHA-256 of the text, 64 hexadecimal digits")
	case t.Ground != lawful.IndividualConsent && t.Ground != lawful.ComprehensiveConsent:
		return fmt.Errorf("terms: the ground is %s or %s", lawful.IndividualConsent, lawful.ComprehensiveConsent)
	case t.From.IsZero():
		return errors.New("terms: say from when they are in force")
	case len(t.Purposes) == 0 || len(t.Purposes) > mostFor:
		return fmt.Errorf("terms: name 1 to %d purposes", mostFor)
	case len(t.Notices) > 0:
		return errors.New("terms: enter notices one by one, when they were given")
	}
	t.Purposes = slices.Compact(slices.Sorted(slices.Values(t.Purposes)))
	for _, p := range t.Purposes {
		if err := named("purpose", p); err != nil || strings.ContainsAny(p, " \t\n") {
			return fmt.Errorf("terms: the purpose %.40q: write one word", p)
		}
	}
	t.Entered = r.clock.Now().UTC()
	check := func(tx relation.Asker) error { return follows(ctx, tx, &t) }
	if err := check(r.db); err != nil { // before it is written down
		return err
	}
	if err := r.recorder.Record(ctx, Change{What: "terms", Terms: &t}); err != nil {
		return fmt.Errorf("the terms couldn't be written down: %w", err)
	}
	defer func() { r.memory.Load().outdated() }()
	return r.db.Tx(ctx, func(tx *relation.Tx) error {
		if err := tx.Lock(ctx, "consent_purpose"); err != nil {
			return err
		}
		if err := check(tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO consent_terms (version, ground, valid_from, text_sum, opt_out, unchanged, limited, continues, entered, who) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
			t.Version, string(t.Ground), t.From.UnixNano(), t.TextSum, t.OptOut, t.OtherwiseUnchanged, t.Limited, t.Continues, t.Entered.UnixNano(), t.Who); err != nil {
			if relation.Unique(err) {
				return fmt.Errorf("terms: version %q is there already", t.Version)
			}
			return fmt.Errorf("enter terms: %w", err)
		}
		for _, p := range t.Purposes {
			if _, err := tx.Exec(ctx, `INSERT INTO consent_purpose (purpose, valid_from, version, continues) VALUES ($1, $2, $3, $4)`, p, t.From.UnixNano(), t.Version, t.Continues); err != nil {
				return fmt.Errorf("enter terms: %w", err)
			}
		}
		return nil
	})
}

// follows tells why a version can't be the next one.
func follows(ctx context.Context, a relation.Asker, t *Terms) error {
	var n int
	if err := a.QueryRow(ctx, `SELECT count(*) FROM consent_terms WHERE version = $1`, t.Version).Scan(&n); err != nil {
		return fmt.Errorf("read the terms: %w", err)
	} else if n > 0 {
		return fmt.Errorf("terms: version %q is there already", t.Version)
	}
	for _, p := range t.Purposes {
		if err := a.QueryRow(ctx, `SELECT count(*) FROM consent_purpose WHERE purpose = $1 AND valid_from >= $2`, p, t.From.UnixNano()).Scan(&n); err != nil {
			return fmt.Errorf("read the terms: %w", err)
		} else if n > 0 {
			return fmt.Errorf("terms: a version for %s is there that begins at %s or later: a new one follows it", p, t.From.Format(time.RFC3339))
		}
		if !t.From.Before(t.Entered) {
			continue
		}
		if err := a.QueryRow(ctx, `SELECT count(*) FROM (SELECT 1 AS one FROM consent_event WHERE purpose = $1 LIMIT 1) AS any_event`, p).Scan(&n); err != nil {
			return fmt.Errorf("read the terms: %w", err)
		} else if n > 0 {
			return fmt.Errorf("terms: subjects have consented to %s already, so a new version begins now or later", p)
		}
	}
	return nil
}

// AddNotice enters a notice that was given of a version. Those given before the version
// began count for its consent.
func (r *Register) AddNotice(ctx context.Context, version string, n Notice) error {
	if err := named("version", version, "channel", n.Channel, "reference", n.Reference, "who", n.Who); err != nil {
		return fmt.Errorf("notice: %w", err)
	}
	if n.At.IsZero() || n.At.After(r.clock.Now()) {
		return errors.New("notice: say when it was given, which isn't in the future")
	}
	if _, err := r.version(ctx, version); err != nil {
		return err
	}
	if err := r.recorder.Record(ctx, Change{What: "notice", Terms: &Terms{Version: version}, Notice: &n}); err != nil {
		return fmt.Errorf("the notice couldn't be written down: %w", err)
	}
	return r.db.Tx(ctx, func(tx *relation.Tx) error {
		if err := tx.Lock(ctx, "consent_notice"); err != nil {
			return err
		}
		var seq int64
		if err := tx.QueryRow(ctx, `SELECT coalesce(max(seq), 0) + 1 FROM consent_notice`).Scan(&seq); err != nil {
			return fmt.Errorf("enter a notice: %w", err)
		}
		_, err := tx.Exec(ctx, `INSERT INTO consent_notice (seq, version, given, channel, reference, who) VALUES ($1, $2, $3, $4, $5, $6)`, seq, version, n.At.UnixNano(), n.Channel, n.Reference, n.Who)
		return err
	})
}
