package consent

import (
	"context"
	"fmt"
	"iter"

	"sakimori/base/relation"
)

// Give enters that a subject consents to a purpose, under the version that is in force
// now: consent to another one is an error.
func (r *Register) Give(ctx context.Context, subject, purpose, version, channel, who string) (Event, error) {
	e := Event{Subject: subject, Purpose: purpose, Given: true, Version: version, Channel: channel, Who: who}
	if err := named("subject", subject, "purpose", purpose, "version", version, "channel", channel, "who", who); err != nil {
		return e, fmt.Errorf("consent: %w", err)
	}
	e.At = r.clock.Now().UTC()
	if err := r.current(ctx, r.db, &e); err != nil {
		return e, err
	}
	if err := r.recorder.Record(ctx, Change{What: "given", Event: &e}); err != nil {
		return e, fmt.Errorf("the consent couldn't be written down: %w", err)
	}
	err := r.write(ctx, &e, []string{subject})
	return e, err
}

// current checks that a consent is to the version in force.
func (r *Register) current(ctx context.Context, a relation.Asker, e *Event) error {
	now, err := inForce(ctx, a, e.Purpose, e.At)
	if err != nil {
		return err
	}
	if now != e.Version {
		return fmt.Errorf("%w: of %s version %q is, not %q", ErrUnknown, e.Purpose, now, e.Version)
	}
	return nil
}

// Withdraw enters that a subject doesn't consent to a purpose. It takes effect at once,
// before anything else: nothing that is written down or in force can keep it away. It
// outlasts new versions of the terms, until the subject consents again.
func (r *Register) Withdraw(ctx context.Context, subject, purpose, channel, who string) (Event, error) {
	e := Event{Subject: subject, Purpose: purpose, Channel: channel, Who: who}
	if err := named("subject", subject, "purpose", purpose, "channel", channel, "who", who); err != nil {
		return e, fmt.Errorf("withdrawal: %w", err)
	}
	e.At = r.clock.Now().UTC()
	if err := r.write(ctx, &e, []string{subject}); err != nil {
		return e, err
	}
	if err := r.recorder.Record(ctx, Change{What: "withdrawn", Event: &e}); err != nil {
		return e, fmt.Errorf("the withdrawal stands, but couldn't be written down: %w", err)
	}
	return e, nil
}

// atOnce is how many subjects are entered in one transaction.
const atOnce = 1000

// Enrol enters many subjects that consent by their contracts, and says how many. Who
// has said anything about the purpose already, above all a no, is passed over.
func (r *Register) Enrol(ctx context.Context, subjects iter.Seq[string], purpose, version, who string) (entered int, err error) {
	e := Event{Purpose: purpose, Given: true, Version: version, Channel: "contract", Who: who, At: r.clock.Now().UTC()}
	if err := named("purpose", purpose, "version", version, "who", who); err != nil {
		return 0, fmt.Errorf("enrolment: %w", err)
	}
	if err := r.current(ctx, r.db, &e); err != nil {
		return 0, err
	}
	if err := r.recorder.Record(ctx, Change{What: "enrolling", Event: &e}); err != nil {
		return 0, fmt.Errorf("the enrolment couldn't be written down: %w", err)
	}
	var lot []string
	flush := func() error {
		var n int
		err := r.db.Tx(ctx, func(tx *relation.Tx) (err error) {
			n, err = r.insert(ctx, tx, &e, lot, true)
			return err
		})
		r.memory.Load().outdated()
		entered += n
		lot = lot[:0]
		return err
	}
	for s := range subjects {
		if err := named("subject", s); err != nil {
			return entered, fmt.Errorf("enrolment: %w", err)
		}
		if lot = append(lot, s); len(lot) == atOnce {
			if err := flush(); err != nil {
				return entered, err
			}
		}
	}
	if err := flush(); err != nil {
		return entered, err
	}
	if err := r.recorder.Record(ctx, Change{What: "enrolled", Event: &e, Count: entered}); err != nil {
		return entered, fmt.Errorf("the enrolment is done, but couldn't be written down: %w", err)
	}
	return entered, nil
}

func (r *Register) write(ctx context.Context, e *Event, subjects []string) error {
	defer func() { r.memory.Load().outdated() }()
	return r.db.Tx(ctx, func(tx *relation.Tx) error {
		_, err := r.insert(ctx, tx, e, subjects, false)
		return err
	})
}

// insert numbers events and writes them. fresh passes over subjects that have said
// something already.
func (r *Register) insert(ctx context.Context, tx *relation.Tx, e *Event, subjects []string, fresh bool) (n int, err error) {
	if err := tx.Lock(ctx, "consent_event"); err != nil {
		return 0, err
	}
	if e.Given { // a new version may have come meanwhile
		if err := r.current(ctx, tx, e); err != nil {
			return 0, err
		}
	} else if v, err := inForce(ctx, tx, e.Purpose, e.At); err == nil {
		e.Version = v
	}
	var seq int64
	if err := tx.QueryRow(ctx, `SELECT coalesce(max(seq), 0) FROM consent_event`).Scan(&seq); err != nil {
		return 0, fmt.Errorf("enter a consent: %w", err)
	}
	at := e.At
	for _, s := range subjects {
		last, err := latest(ctx, tx, s, e.Purpose, nil)
		if err != nil {
			return n, err
		}
		if fresh && last != nil {
			continue
		}
		// A clock that was set back doesn't put what is said now before what was said last.
		if e.At = at; last != nil && at.Before(last.At) {
			e.At = last.At
		}
		seq++
		if _, err := tx.Exec(ctx, `INSERT INTO consent_event (seq, subject, purpose, given, version, made, channel, who) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			seq, s, e.Purpose, e.Given, e.Version, e.At.UnixNano(), e.Channel, e.Who); err != nil {
			return n, fmt.Errorf("enter a consent: %w", err)
		}
		e.Seq = uint64(seq) //nolint:gosec // counts events
		n++
	}
	return n, nil
}
