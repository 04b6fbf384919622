package cnc

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"sakimori/base/relation"
	"sakimori/detect"
	"sakimori/observe"
)

// Account is what the list says of a thing at a time.
type Account struct {
	Value   string    `json:"name"`
	At      time.Time `json:"at"`
	InForce bool      `json:"in_force"`
	Entry   *Entry    `json:"entry"`          // that it falls under, as it is now; nil none
	Matched string    `json:"matched"`        // its value: the name itself, one above it, a network
	Since   time.Time `json:"since,omitzero"` // when that came into force
	Who     string    `json:"who"`            // who brought it there
	Why     string    `json:"-"`              // in either language: see Because
	Because detect.Text
	Sources []Said      `json:"sources"` // as they were then
	History []Event     `json:"history"` // all of it, the earliest first
	Said    detect.Text `json:"said"`    // in a sentence that can be read aloud
}

// Why tells what was in force for a name, address, network or URL at a time, who brought
// it there and why, and on which evidence. A name falls under those above it, an address
// under its networks.
func (l *List) Why(ctx context.Context, value string, at time.Time) (Account, error) {
	a := Account{Value: value, At: at.UTC(), Sources: []Said{}, History: []Event{}}
	var keys []int64
	rank := map[int64]int{} // the nearest first
	for _, c := range covers(value) {
		k, _ := keyOf(c.kind, c.value)
		rank[k] = len(keys)
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return a, fmt.Errorf("%w: %.80q is no name, address, network or URL", ErrValue, value)
	}
	entries, err := entriesOf(ctx, l.db, keys)
	if err != nil {
		return a, err
	}
	best := -1
	for _, k := range keys {
		e := entries[k]
		if e == nil || e.Opened.After(at) && !l.wasThere(ctx, k, at) {
			continue
		}
		in, lot, since, err := l.inForce(ctx, k, at)
		if err != nil {
			return a, err
		}
		if a.InForce && !in || best >= 0 && in == a.InForce { // the nearest counts, and one in force before one that isn't
			continue
		}
		best, a.InForce, a.Entry, a.Matched = rank[k], in, e, e.Value
		a.Since, a.Who, a.Because = time.Time{}, "", detect.Text{}
		if in {
			a.Since = since
			if err := l.lot(ctx, lot, &a); err != nil {
				return a, err
			}
		}
	}
	if a.Entry != nil {
		full, history, err := l.Get(ctx, a.Entry.ID)
		if err != nil {
			return a, err
		}
		a.Entry, a.History = &full, history
		for _, s := range full.Sources {
			if !s.Since.After(at) && (s.Gone.IsZero() || s.Gone.After(at)) {
				a.Sources = append(a.Sources, s)
			}
		}
	}
	a.Said = a.sentence()
	return a, nil
}

// wasThere tells whether an entry that began anew later was on the list before.
func (l *List) wasThere(ctx context.Context, key int64, at time.Time) bool {
	var n int
	err := l.db.QueryRow(ctx, `SELECT count(*) FROM cnc_change WHERE key = $1 AND at <= $2`, key, at.UnixNano()).Scan(&n)
	return err == nil && n > 0
}

// inForce tells whether an entry was in force at a time, since when, and by which lot.
func (l *List) inForce(ctx context.Context, key int64, at time.Time) (in bool, lot int64, since time.Time, err error) {
	var enters, when0 int64
	err = l.db.QueryRow(ctx, `SELECT enters, lot, at FROM cnc_change WHERE key = $1 AND at <= $2 ORDER BY seq DESC LIMIT 1`, key, at.UnixNano()).Scan(&enters, &lot, &when0)
	if errors.Is(err, sql.ErrNoRows) {
		return false, 0, since, nil
	}
	if err != nil {
		return false, 0, since, fmt.Errorf("read the list: %w", err)
	}
	return enters == 1, lot, when(when0), nil
}

func (l *List) lot(ctx context.Context, lot int64, a *Account) error {
	var why string
	err := l.db.QueryRow(ctx, `SELECT who, why FROM cnc_lot WHERE id = $1`, lot).Scan(&a.Who, &why)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(why), &a.Because)
	}
	a.Why = a.Because.EN
	return err
}

func (a *Account) sentence() detect.Text {
	at := a.At.Format("2006-01-02 15:04 UTC")
	switch {
	case a.Entry == nil:
		return detect.Textf("%s の時点で、%s はリストにありませんでした。", "at %s, %s wasn't on the list", at, a.Value)
	case !a.InForce:
		return detect.Textf("%s の時点で、%s はリストにありましたが、遮断対象ではありませんでした。", "at %s, %s was on the list, but not in force", at, a.Matched)
	}
	family := a.Entry.Family
	if family == "" {
		family = "C&C"
	}
	return detect.Textf("%s の時点で、%s は遮断対象でした(%s)。%s から有効で、判断者は %s です。", "at %s, %s was in force (%s), since %s, decided by %s", at, a.Matched, family, a.Since.Format("2006-01-02 15:04 UTC"), a.Who)
}

type cover struct {
	kind  observe.IndicatorKind
	value string
}

// covers are all entries that a thing would fall under, the nearest first.
func covers(value string) (list []cover) {
	value = strings.TrimSpace(value)
	prefixes := func(p netip.Prefix) {
		for bits := p.Bits(); bits > 0; bits-- {
			q, err := p.Addr().Prefix(bits)
			if err == nil {
				list = append(list, cover{observe.IndicatorPrefix, q.String()})
			}
		}
	}
	address := func(a netip.Addr) {
		a = a.Unmap().WithZone("")
		list = append(list, cover{observe.IndicatorAddress, a.String()})
		prefixes(netip.PrefixFrom(a, a.BitLen()))
	}
	if a, err := netip.ParseAddr(value); err == nil {
		address(a)
		return list
	}
	if a, err := netip.ParseAddrPort(value); err == nil {
		list = append(list, cover{observe.IndicatorEndpoint, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()})
		address(a.Addr())
		return list
	}
	if p, err := netip.ParsePrefix(value); err == nil {
		prefixes(p.Masked())
		return list
	}
	host := value
	if strings.Contains(value, "://") {
		u, err := url.Parse(value)
		if err != nil || u.Host == "" {
			return nil
		}
		list = append(list, cover{observe.IndicatorURL, value})
		if a, err := netip.ParseAddr(u.Hostname()); err == nil {
			address(a)
			return list
		}
		host = u.Hostname()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "" || len(host) > 253 || strings.ContainsAny(host, " /\t") {
		return list
	}
	list = append(list, cover{observe.IndicatorHost, host})
	for s := host; s != ""; _, s, _ = strings.Cut(s, ".") {
		list = append(list, cover{observe.IndicatorName, s})
	}
	return list
}

// Get is an entry with what sources say, its reviews, and its history, the earliest first.
func (l *List) Get(ctx context.Context, id string) (e Entry, history []Event, err error) {
	key, err := parseID(id)
	if err != nil {
		return e, nil, err
	}
	if e, err = l.get(ctx, key); err != nil {
		return e, nil, err
	}
	history, err = l.history(ctx, &e)
	return e, history, err
}

// history puts together what sources said and what was decided.
func (l *List) history(ctx context.Context, e *Entry) (list []Event, err error) {
	rows, err := l.db.Query(ctx, `SELECT v.what, o.at, o.who, o.why FROM cnc_event v JOIN cnc_lot o ON o.id = v.lot WHERE v.key = $1 ORDER BY v.lot`, e.key)
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var v Event
		var at int64
		var why string
		if err := rows.Scan(&v.What, &at, &v.Who, &why); err != nil {
			return nil, fmt.Errorf("read the history: %w", err)
		}
		v.At = when(at)
		if err := json.Unmarshal([]byte(why), &v.Why); err != nil {
			return nil, fmt.Errorf("read the history: %w", err)
		}
		list = append(list, v)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for i := range e.Sources {
		s := &e.Sources[i]
		if s.Source != Operator {
			list = append(list, Event{At: s.Since, Who: s.Source, What: came, Why: plain(s.Evidence)})
		}
		if !s.Gone.IsZero() {
			list = append(list, Event{At: s.Gone, Who: s.Source, What: left, Why: plain(s.Evidence)})
		}
	}
	order := map[string]int{left: 0, came: 1, agreed: 2}
	for i, s := range States() {
		order[string(s)] = 3 + i
	}
	slices.SortStableFunc(list, func(a, b Event) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return order[a.What] - order[b.What]
	})
	return list, nil
}

// Explain tells what an entry's score is made of now.
func (l *List) Explain(ctx context.Context, e *Entry) (score float64, terms []Term, err error) {
	said := e.Sources
	if said == nil {
		all, err := saidOf(ctx, l.db, []int64{e.key})
		if err != nil {
			return 0, nil, err
		}
		said = all[e.key]
	}
	reads, err := readsOf(ctx, l.db)
	if err != nil {
		return 0, nil, err
	}
	score, terms = l.explain(e, said, reads)
	slices.SortStableFunc(terms, func(a, b Term) int {
		switch {
		case a.Value > b.Value:
			return -1
		case a.Value < b.Value:
			return 1
		}
		return 0
	})
	return score, terms, nil
}

// Change is an entry that came into force or left it.
type Change struct {
	Seq   int64     `json:"seq"` // from 1, without a gap
	At    time.Time `json:"at"`
	In    bool      `json:"in"`
	Entry Entry     `json:"entry"` // as it is now
}

// Changes are those that follow a sequence number, in order: a publisher that has them all
// knows what is in force. An entry may come in several times; the last one counts.
func (l *List) Changes(ctx context.Context, after int64, limit int) ([]Change, error) {
	rows, err := l.db.Query(ctx, fmt.Sprintf(`SELECT seq, key, at, enters, emergency FROM cnc_change WHERE seq > $1 ORDER BY seq LIMIT %d`, limit), after)
	if err != nil {
		return nil, fmt.Errorf("read changes: %w", err)
	}
	defer rows.Close()
	var list []Change
	var keys []int64
	for rows.Next() {
		var c Change
		var key, at, enters, emergency int64
		if err := rows.Scan(&c.Seq, &key, &at, &enters, &emergency); err != nil {
			return nil, fmt.Errorf("read changes: %w", err)
		}
		c.At, c.In = when(at), enters == 1
		list, keys = append(list, c), append(keys, key)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	for first := 0; first < len(keys); first += lotSize {
		part := keys[first:min(first+lotSize, len(keys))]
		entries, err := entriesOf(ctx, l.db, part)
		if err != nil {
			return nil, err
		}
		for i, k := range part {
			if e := entries[k]; e != nil {
				list[first+i].Entry = *e
			}
		}
	}
	return list, nil
}

// Seq is the number of the last change.
func (l *List) Seq(ctx context.Context) (seq int64, err error) { return seqOf(ctx, l.db) }

func seqOf(ctx context.Context, a relation.Asker) (seq int64, err error) {
	if err = a.QueryRow(ctx, `SELECT coalesce(max(seq), 0) FROM cnc_change`).Scan(&seq); err != nil {
		err = fmt.Errorf("read changes: %w", err)
	}
	return seq, err
}

// Enforced gives all that is in state enforced, in parts, with the sequence number that it
// stands for: Changes go on from there. Those that are sinkholed are among them, and not
// in force.
func (l *List) Enforced(ctx context.Context, do func([]Entry) error) (seq int64, err error) {
	// The number comes first: what changes meanwhile comes again, which harms nothing.
	if seq, err = l.Seq(ctx); err != nil {
		return 0, err
	}
	for after := int64(-1); ; {
		list, err := entriesBy(ctx, l.db, fmt.Sprintf(`WHERE state = 'enforced' AND key > $1 ORDER BY key LIMIT %d`, 10*lotSize), after)
		if err != nil || len(list) == 0 {
			return seq, err
		}
		after = list[len(list)-1].key
		if err := do(list); err != nil {
			return seq, err
		}
	}
}
