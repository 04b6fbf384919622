package cnc

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sakimori/base/relation"
	"sakimori/detect"
	"sakimori/detect/cnc/never"
	"sakimori/observe"
)

// Addition is what a person puts on the list.
type Addition struct {
	Kind      observe.IndicatorKind
	Value     string // in its normal form
	Family    string
	Evidence  string
	Expires   time.Time
	Emergency bool // straight to be enforced, once a second person agrees
	Who, Why  string
}

// Add puts something on the list, or brings back what was taken out. Whoever adds it has
// agreed to it: where two people aren't needed it goes to shadow.
func (l *List) Add(ctx context.Context, a Addition) (Entry, error) {
	c := observe.Indicator{Source: Operator, Kind: a.Kind, Value: a.Value, Role: observe.RoleC2, Family: a.Family, Evidence: a.Evidence, Until: a.Expires}
	now := l.clock.Now().UTC()
	c.First, c.Last = now, now
	switch {
	case a.Who == "" || a.Why == "":
		return Entry{}, ErrWhy
	case !wellFormed(&c):
		return Entry{}, fmt.Errorf("%w: %s %.80q", ErrValue, a.Kind, a.Value)
	case !a.Expires.After(now) || a.Expires.After(now.Add(l.cfg.Most)):
		return Entry{}, fmt.Errorf("%w, and at most %d days from now", ErrExpires, int(l.cfg.Most.Hours()/24))
	}
	key, more := keyOf(a.Kind, a.Value)
	e := Entry{key: key, ID: idOf(key), Kind: a.Kind, Value: a.Value, Port: portOf(&c)}
	seen, err := l.look(ctx, &e)
	if err != nil {
		return Entry{}, err
	}
	err = l.write(ctx, func(w *work) error {
		entries, said, err := w.both(ctx, []int64{key})
		if err != nil {
			return err
		}
		var was Entry
		if have := entries[key]; have != nil {
			e, was = *have, *have
		} else {
			e.begin(w.now)
		}
		if e.State.Over() {
			e.begin(w.now)
			e.Expires = time.Time{}
		}
		if e.State == Shadow || e.State == Enforced {
			return fmt.Errorf("%w: %s is on the list already, in state %s", ErrOrder, e.Value, e.State)
		}
		if _, err := w.tx.Exec(ctx, `INSERT INTO cnc_source (name, reading, at, listed) VALUES ($1, 0, $2, 0) ON CONFLICT (name) DO UPDATE SET at = excluded.at`, Operator, w.now.UnixNano()); err != nil {
			return err
		}
		lot, err := w.decide(ctx, Deed{Who: a.Who, What: "added", Entry: e.ID, Value: e.Value, Why: plain(a.Why)})
		if err != nil {
			return err
		}
		s := Said{Source: Operator, Evidence: a.Evidence, Confidence: 1, Family: a.Family, First: now, Last: now, Until: a.Expires.UTC(), Since: w.now, key: key, digest: digestOf(&c, more)}
		list := said[key]
		for i := range list {
			if o := &list[i]; o.Source == Operator && o.Gone.IsZero() && !o.Since.Equal(s.Since) {
				o.Gone = w.now
				if err := w.said.add(ctx, o.values()...); err != nil {
					return err
				}
			}
		}
		if err := w.said.add(ctx, s.values()...); err != nil {
			return err
		}
		list = append(list, s)
		w.reads[Operator] = w.now
		e.learn(&c)
		e.Emergency = a.Emergency
		e.Expires = a.Expires.UTC()
		e.Score, e.Scored = w.weigh(&e, list, w.reads, w.now, nil), w.now
		e.Two = w.two(&e)
		seen.tell(&e)
		what := []string{came}
		if seen.sinkhole {
			e.Sinkholed = true
			what = append(what, sinkholed)
		}
		more, err := w.agree(ctx, &e, a.Who, a.Why)
		if err != nil {
			return err
		}
		return w.save(ctx, &e, was, lot, append(what, more...)...)
	})
	if err != nil {
		return Entry{}, err
	}
	return l.get(ctx, e.key)
}

// Review is a person's decision about an entry: yes lets it go on once enough have said
// so, no takes it out. Nobody decides twice.
func (l *List) Review(ctx context.Context, id, who string, yes bool, why string) (Entry, error) {
	var seen look
	if yes {
		e, err := l.find(ctx, id)
		if err != nil {
			return e, err
		}
		if seen, err = l.look(ctx, &e); err != nil {
			return e, err
		}
	}
	verdict := "review_no"
	if yes {
		verdict = "review_yes"
	}
	return l.change(ctx, id, who, why, verdict, func(w *work, e *Entry) ([]string, error) {
		waiting := e.State == Shadow && e.Waits != nil
		if e.State.Over() || e.State == Enforced || e.State == Shadow && !waiting {
			return nil, fmt.Errorf("%w: it is %s, there is nothing to decide", ErrOrder, e.State)
		}
		if !yes {
			if err := w.vote(ctx, e, who, "no", why); err != nil {
				return nil, err
			}
			e.move(Withdrawn, w.now)
			reason := plain(why)
			e.Reason = &reason
			return []string{string(Withdrawn)}, nil
		}
		if e.Role != observe.RoleC2 {
			return nil, fmt.Errorf("%w: this one is %s", ErrRole, e.Role)
		}
		seen.tell(e)
		var what []string
		if seen.sinkhole && !e.Sinkholed {
			e.Sinkholed = true
			what = append(what, sinkholed)
		}
		more, err := w.agree(ctx, e, who, why)
		return append(what, more...), err
	})
}

// vote keeps a person's decision.
func (w *work) vote(ctx context.Context, e *Entry, who, verdict, why string) error {
	_, err := w.tx.Exec(ctx, `INSERT INTO cnc_review (key, opened, who, at, verdict, why) VALUES ($1, $2, $3, $4, $5, $6)`, e.key, e.Opened.UnixNano(), who, w.now.UnixNano(), verdict, why)
	if relation.Unique(err) {
		return ErrTwice
	}
	return err
}

// agree keeps a person's yes, and lets the entry go on when enough have said so.
func (w *work) agree(ctx context.Context, e *Entry, who, why string) (what []string, err error) {
	if err := w.vote(ctx, e, who, "yes", why); err != nil {
		return nil, err
	}
	var yes int
	if err := w.tx.QueryRow(ctx, `SELECT count(*) FROM cnc_review WHERE key = $1 AND opened = $2 AND verdict = 'yes'`, e.key, e.Opened.UnixNano()).Scan(&yes); err != nil {
		return nil, err
	}
	step := func(to State) {
		e.move(to, w.now)
		what = append(what, string(to))
	}
	e.Looked, e.Agreed = e.Looked || w.follows(e), true
	if e.State == Candidate {
		step(Enriched)
	}
	if e.State == Enriched {
		step(Scored)
	}
	if (e.Two != nil || e.Emergency) && yes < 2 {
		return append(what, agreed), nil
	}
	if e.State == Shadow { // it waited
		step(Enforced)
		return what, nil
	}
	step(Reviewed)
	if e.Emergency {
		step(Enforced)
	} else {
		step(Shadow)
	}
	return what, nil
}

// Withdraw takes an entry out, at once and for good: no source brings it back.
func (l *List) Withdraw(ctx context.Context, id, who, why string) (Entry, error) {
	return l.change(ctx, id, who, why, string(Withdrawn), func(w *work, e *Entry) ([]string, error) {
		if !e.State.May(Withdrawn) {
			return nil, fmt.Errorf("%w: it is %s", ErrOrder, e.State)
		}
		e.move(Withdrawn, w.now)
		reason := plain(why)
		e.Reason = &reason
		return []string{string(Withdrawn)}, nil
	})
}

// Renew moves the end of an entry: a person has looked at it again.
func (l *List) Renew(ctx context.Context, id string, until time.Time, who, why string) (Entry, error) {
	return l.change(ctx, id, who, why, renewed, func(w *work, e *Entry) ([]string, error) {
		switch {
		case e.State.Over():
			return nil, fmt.Errorf("%w: it is %s: add it again", ErrOrder, e.State)
		case !until.After(w.now) || until.After(w.now.Add(w.cfg.Most)):
			return nil, fmt.Errorf("%w, and at most %d days from now", ErrExpires, int(w.cfg.Most.Hours()/24))
		}
		e.Expires = until.UTC()
		return []string{renewed}, nil
	})
}

// Sinkhole says that defenders have an entry, or haven't: it is detected, and no longer
// blocked.
func (l *List) Sinkhole(ctx context.Context, id string, sinks bool, who, why string) (Entry, error) {
	what := released
	if sinks {
		what = sinkholed
	}
	return l.change(ctx, id, who, why, what, func(_ *work, e *Entry) ([]string, error) {
		if e.Sinkholed == sinks {
			return nil, fmt.Errorf("%w: it is so already", ErrOrder)
		}
		e.Sinkholed = sinks
		return []string{what}, nil
	})
}

// change does to one entry what a person decides. The ledger comes first.
func (l *List) change(ctx context.Context, id, who, why, deed string, do func(w *work, e *Entry) (what []string, err error)) (Entry, error) {
	if who == "" || why == "" {
		return Entry{}, ErrWhy
	}
	key, err := parseID(id)
	if err != nil {
		return Entry{}, err
	}
	err = l.write(ctx, func(w *work) error {
		e, err := scanEntry(w.tx.QueryRow(ctx, `SELECT `+entryColumns+` FROM cnc_entry WHERE key = $1`, key))
		if err != nil {
			return err
		}
		lot, err := w.decide(ctx, Deed{Who: who, What: deed, Entry: e.ID, Value: e.Value, Why: plain(why)})
		if err != nil {
			return err
		}
		was := e
		what, err := do(w, &e)
		if err != nil {
			return err
		}
		return w.save(ctx, &e, was, lot, what...)
	})
	if err != nil {
		return Entry{}, err
	}
	return l.get(ctx, key)
}

// look is what looking at a name brought.
type look struct {
	followed bool
	sinkhole bool
	two      *detect.Text
}

// tell tells an entry.
func (s *look) tell(e *Entry) {
	e.Looked = e.Looked || s.followed
	if s.two != nil {
		e.Two = s.two
	}
}

// look looks at an entry before it is agreed to: at the lists, at what its name is an
// alias of, and at who'd lose it. A protected one is a ProtectedError.
func (l *List) look(ctx context.Context, e *Entry) (s look, err error) {
	if v := l.cfg.Never.Check(e.Kind, e.Value); v.Class == never.Protected {
		return s, &ProtectedError{v}
	}
	s.two = l.crowded(ctx, e)
	if _, s.sinkhole = l.cfg.Never.Sinkhole(addressOf(&observe.Indicator{Kind: e.Kind, Value: e.Value})); !l.follows(e) {
		return s, nil
	}
	chain, err := l.cfg.Resolver.Chain(ctx, e.Value)
	if err != nil {
		return s, fmt.Errorf("what %s is an alias of isn't known: try again: %w", e.Value, err)
	}
	s.followed = true
	for _, step := range chain {
		if a, err := netip.ParseAddr(step); err == nil {
			if _, sinks := l.cfg.Never.Sinkhole(a); sinks {
				s.sinkhole = true
				continue
			}
		} else if v := l.cfg.Never.Host(step); v.Class == never.Protected && e.Kind == observe.IndicatorName {
			return s, &ProtectedError{v}
		}
		v := l.cfg.Never.Host(step)
		if t := twoBecause(v.Class == never.Popular, v.Class >= never.Shared, step, v.List); t != nil && s.two == nil {
			s.two = t
		}
	}
	return s, nil
}

// crowded says that more clients than the bound would lose a name.
func (l *List) crowded(ctx context.Context, e *Entry) *detect.Text {
	if l.cfg.Blast == nil || !e.named() || l.cfg.Clients == 0 {
		return nil
	}
	n, off, known := l.cfg.Blast.Clients(ctx, e.Value)
	if !known || n <= l.cfg.Clients {
		return nil
	}
	t := detect.Textf("1 日に約 %.0f 加入者(±%.0f %%)が使っています(上限 %.0f)。", "some %.0f clients a day (±%.0f %%) use it, more than %.0f", n, 100*off, l.cfg.Clients)
	return &t
}

// find reads an entry alone.
func (l *List) find(ctx context.Context, id string) (Entry, error) {
	key, err := parseID(id)
	if err != nil {
		return Entry{}, err
	}
	return scanEntry(l.db.QueryRow(ctx, `SELECT `+entryColumns+` FROM cnc_entry WHERE key = $1`, key))
}

// get reads an entry with what sources say, and who reviewed it in this round.
func (l *List) get(ctx context.Context, key int64) (Entry, error) {
	e, err := scanEntry(l.db.QueryRow(ctx, `SELECT `+entryColumns+` FROM cnc_entry WHERE key = $1`, key))
	if err != nil {
		return e, err
	}
	list := []Entry{e}
	err = l.fill(ctx, list)
	return list[0], err
}

// fill adds what sources say, and the reviews.
func (l *List) fill(ctx context.Context, list []Entry) error {
	keys := make([]int64, len(list))
	at := map[int64]int{}
	for i := range list {
		keys[i], at[list[i].key] = list[i].key, i
		list[i].Sources, list[i].Reviews = []Said{}, []Review{}
	}
	said, err := saidOf(ctx, l.db, keys)
	if err != nil || len(keys) == 0 {
		return err
	}
	for k, s := range said {
		list[at[k]].Sources = s
	}
	rows, err := l.db.Query(ctx, `SELECT key, opened, who, at, verdict, why FROM cnc_review WHERE key IN (`+in(keys)+`) ORDER BY key, at`)
	if err != nil {
		return fmt.Errorf("read reviews: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r Review
		var key, opened, when0 int64
		if err := rows.Scan(&key, &opened, &r.Who, &when0, &r.Verdict, &r.Why); err != nil {
			return fmt.Errorf("read reviews: %w", err)
		}
		r.At = when(when0)
		if e := &list[at[key]]; e.Opened.UnixNano() == opened {
			e.Reviews = append(e.Reviews, r)
		}
	}
	return rows.Err()
}

// protected tells whether an error is one of the lists.
func protected(err error) (v never.Verdict, is bool) {
	p, is := errors.AsType[*ProtectedError](err)
	if is {
		v = p.Verdict
	}
	return v, is
}
