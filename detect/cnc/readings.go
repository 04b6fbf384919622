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
	"strconv"
	"strings"
	"time"

	"sakimori/base/relation"
	"sakimori/detect"
	"sakimori/observe"
)

// Held is a reading that waits for a person, or what came of one.
type Held struct {
	ID        string      `json:"id"`
	Source    string      `json:"source"`
	At        time.Time   `json:"at"`
	Why       detect.Text `json:"why"`
	Read      int         `json:"read"`
	Before    int         `json:"before"`
	Size      int         `json:"size"` // after it
	Added     int         `json:"added"`
	Removed   int         `json:"removed"`
	Changed   int         `json:"changed"`
	Protected int         `json:"protected"`
	State     string      `json:"state"` // held, applied, refused or superseded

	id     int64
	base   int64
	whole  bool
	digest string
	who    string

	checked bool // what is never listed is as it was when it was read
}

func readingID(id int64) string { return fmt.Sprintf("r-%d", id) }

func (x *Held) deed(who, what string, why detect.Text) Deed {
	return Deed{
		Who: who, What: what, Source: x.Source, Reading: x.ID, Digest: x.digest, Why: why,
		Counts: &Counts{Read: x.Read, Added: x.Added, Removed: x.Removed, Changed: x.Changed, Protected: x.Protected},
	}
}

const readingColumns = `id, source, at, whole, digest, who, state, base, read_n, listed, added, removed, changed, protected, why`

func scanReading(row interface{ Scan(dest ...any) error }) (x Held, err error) {
	var at, whole int64
	var why string
	err = row.Scan(&x.id, &x.Source, &at, &whole, &x.digest, &x.who, &x.State, &x.base, &x.Read, &x.Size, &x.Added, &x.Removed, &x.Changed, &x.Protected, &why)
	if errors.Is(err, sql.ErrNoRows) {
		return x, fmt.Errorf("%w: there is no such reading, or it was cleared away", ErrUnknown)
	}
	if err != nil {
		return x, fmt.Errorf("read readings: %w", err)
	}
	x.ID, x.At, x.whole, x.Before = readingID(x.id), when(at), whole == 1, x.Size-x.Added+x.Removed
	if why != "" {
		err = json.Unmarshal([]byte(why), &x.Why)
	}
	return x, err
}

func (w *work) reading(ctx context.Context, id int64) (Held, error) {
	return scanReading(w.tx.QueryRow(ctx, `SELECT `+readingColumns+` FROM cnc_reading WHERE id = $1`, id))
}

// judge compares a reading with those of its source that count.
func (w *work) judge(ctx context.Context, x *Held) (why detect.Text, err error) {
	rows, err := w.tx.Query(ctx, fmt.Sprintf(`SELECT listed, added + removed + changed FROM cnc_reading WHERE source = $1 AND state = 'applied' AND whole = $2 ORDER BY id DESC LIMIT %d`, w.cfg.Breaker.Readings), x.Source, one(x.whole))
	if err != nil {
		return why, fmt.Errorf("read readings: %w", err)
	}
	defer rows.Close()
	var history []past
	for rows.Next() {
		var p past
		if err := rows.Scan(&p.listed, &p.moved); err != nil {
			return why, fmt.Errorf("read readings: %w", err)
		}
		history = append(history, p)
	}
	return w.cfg.Breaker.judge(history, x.Before, x.Size, x.Added+x.Removed+x.Changed, x.Protected, x.whole), rows.Err()
}

// close keeps what came of a reading. One that waits keeps what it brings.
func (w *work) close(ctx context.Context, x *Held, state string) error {
	why, err := json.Marshal(x.Why)
	if err != nil {
		return err
	}
	if _, err := w.tx.Exec(ctx, `UPDATE cnc_reading SET at = $1, state = $2, read_n = $3, listed = $4, added = $5, removed = $6, changed = $7, protected = $8, why = $9 WHERE id = $10`,
		x.At.UnixNano(), state, x.Read, x.Size, x.Added, x.Removed, x.Changed, x.Protected, string(why), x.id); err != nil {
		return fmt.Errorf("close a reading: %w", err)
	}
	if state == "held" {
		return nil
	}
	_, err = w.tx.Exec(ctx, `DELETE FROM cnc_staged WHERE reading = $1`, x.id)
	return err
}

// apply makes a reading count.
func (w *work) apply(ctx context.Context, x *Held, who string, why detect.Text) error {
	lot, err := w.decide(ctx, x.deed(who, "imported", why))
	if err != nil {
		return err
	}
	var have int
	if err := w.tx.QueryRow(ctx, `SELECT count(*) FROM cnc_entry`).Scan(&have); err != nil {
		return err
	}
	bulk := x.Added >= bulkFrom && x.Added > have
	if bulk { // an index is made anew faster than it is kept up row by row
		if err := w.dropIndexes(ctx); err != nil {
			return err
		}
	}
	if _, err := w.tx.Exec(ctx, `INSERT INTO cnc_source (name, reading, at, listed) VALUES ($1, $2, $3, $4)
		ON CONFLICT (name) DO UPDATE SET reading = excluded.reading, at = excluded.at, listed = excluded.listed`, x.Source, x.id, x.At.UnixNano(), x.Size); err != nil {
		return err
	}
	w.reads[x.Source] = x.At
	w.newSaid = w.rows(w.tx, "cnc_said", firstColumns, firstRow, ``, x.Source, x.At.UnixNano())
	if err := w.unstage(ctx, x, lot, have == 0); err != nil {
		return err
	}
	if bulk {
		if err := w.makeIndexes(ctx); err != nil {
			return err
		}
	}
	return w.close(ctx, x, "applied")
}

// bulkFrom is from how many new entries on indexes are made anew, where these are more
// than there were.
const bulkFrom = 20_000

// indexes are those of cnc_entry that new entries fall into all over, as the migrations
// make them. The others get theirs at the end of a group, since keys come in order, or hold few.
var indexes = []struct{ name, on string }{
	{"cnc_entry_score", "(state, score, key, kind, family)"},
	{"cnc_entry_value", "(value, key, kind)"},
}

func (w *work) dropIndexes(ctx context.Context) error {
	for _, i := range indexes {
		if _, err := w.tx.Exec(ctx, `DROP INDEX `+i.name); err != nil {
			return fmt.Errorf("change the list: %w", err)
		}
	}
	return nil
}

func (w *work) makeIndexes(ctx context.Context) error {
	if err := w.flush(ctx); err != nil {
		return err
	}
	for _, i := range indexes {
		if _, err := w.tx.Exec(ctx, `CREATE INDEX `+i.name+` ON cnc_entry `+i.on); err != nil {
			return fmt.Errorf("change the list: %w", err)
		}
	}
	if !w.db.Postgres() {
		return nil
	}
	for _, table := range []string{"cnc_entry", "cnc_said", "cnc_count"} { // else the server takes them for as small as they were
		if _, err := w.tx.Exec(ctx, `ANALYZE `+table); err != nil {
			return fmt.Errorf("change the list: %w", err)
		}
	}
	return nil
}

// lotSize is how many entries are dealt with at once.
const lotSize = 1000

// unstage takes what a reading brings, in the order of the keys: a table that is written in
// the order of its key is written once. A part of it is in memory at a time.
func (w *work) unstage(ctx context.Context, x *Held, lot int64, empty bool) error {
	var list []brought
	next := w.ahead(ctx, x.id, 0)
	for part := range parts {
		got := <-next
		if got.err != nil {
			return got.err
		}
		if part < parts-1 {
			next = w.ahead(ctx, x.id, part+1)
		}
		list = append(list, got.list...)
		for len(list) >= lotSize || part == parts-1 && len(list) > 0 {
			n := min(len(list), lotSize)
			if err := w.take(ctx, x, list[:n], lot, empty); err != nil {
				return err
			}
			list = list[n:]
		}
	}
	for _, how := range []int64{asGone, asEnded} {
		bodies, err := w.staged(ctx, x.id, parts, how)
		if err != nil {
			return err
		}
		for _, body := range bodies {
			keys, err := readKeys(body)
			if err != nil {
				return err
			}
			for some := range slices.Chunk(keys, lotSize) {
				if err := w.leave(ctx, x, some, lot, how == asEnded); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// leave ends what a source said. Where the source itself says that it is over (a STIX
// indicator that is revoked), the entry leaves at once, unless another one still says so.
func (w *work) leave(ctx context.Context, x *Held, keys []int64, lot int64, ended bool) error {
	entries, said, err := w.both(ctx, keys)
	if err != nil {
		return err
	}
	for _, k := range keys {
		e, list := entries[k], said[k]
		if e == nil {
			continue
		}
		for i := range list {
			s := &list[i]
			if s.Source != x.Source || !s.Gone.IsZero() {
				continue
			}
			s.Gone = x.At
			if ended && (s.Until.IsZero() || s.Until.After(x.At)) {
				s.Until = x.At
			}
			if err := w.said.add(ctx, s.values()...); err != nil {
				return err
			}
		}
		was := *e
		e.Score, e.Scored = w.weigh(e, list, w.reads, w.now, nil), w.now
		var what []string
		if ended && !e.State.Over() && len(live(list)) == 0 {
			e.move(Expired, w.now)
			e.Expires = w.now
			reason := detect.Textf("情報源 %s が取り消しました。", "%s took it back", x.Source)
			e.Reason = &reason
			what = []string{string(Expired)}
		}
		if err := w.save(ctx, e, was, lot, what...); err != nil {
			return err
		}
	}
	return nil
}

func (w *work) both(ctx context.Context, keys []int64) (map[int64]*Entry, map[int64][]Said, error) {
	entries, err := entriesOf(ctx, w.tx, keys)
	if err != nil {
		return nil, nil, err
	}
	have := make([]int64, 0, len(entries))
	for _, k := range keys {
		if entries[k] != nil {
			have = append(have, k)
		}
	}
	said, err := saidOf(ctx, w.tx, have)
	return entries, said, err
}

// take takes indicators. On an empty list none is looked for.
func (w *work) take(ctx context.Context, x *Held, list []brought, lot int64, empty bool) error {
	var entries map[int64]*Entry
	var said map[int64][]Said
	if !empty {
		keys := make([]int64, len(list))
		for i := range list {
			keys[i] = list[i].key
		}
		var err error
		if entries, said, err = w.both(ctx, keys); err != nil {
			return err
		}
	}
	for i := range list {
		b := &list[i]
		if err := w.claim(ctx, x, b, entries[b.key], said[b.key], lot); err != nil {
			return err
		}
	}
	return nil
}

// claim takes what a source says of one entry.
func (w *work) claim(ctx context.Context, x *Held, b *brought, e *Entry, said []Said, lot int64) error {
	c, key := &b.Indicator, b.key
	if e != nil && (e.Value != c.Value || e.Kind != c.Kind) {
		return nil // another thing with the same key: made so on purpose, and not worth a place
	}
	s := Said{
		Source: x.Source, Evidence: c.Evidence, Confidence: c.Confidence, Family: c.Family, First: c.First.UTC(), Last: c.Last.UTC(), Until: c.Until.UTC(), Since: x.At, key: key, digest: digestOf(c, b.more),
	}
	at := slices.IndexFunc(said, func(o Said) bool { return o.Source == x.Source && o.Gone.IsZero() })
	to := w.said
	switch {
	case len(said) == 0:
		to = w.newSaid
		said = append(said, s)
	case at < 0:
		said = append(said, s)
	case said[at].same(&s) || said[at].Since.Equal(x.At): // only the last look at it moved
		s.Since = said[at].Since
		said[at] = s
	default:
		said[at].Gone = x.At
		if err := w.said.add(ctx, said[at].values()...); err != nil {
			return err
		}
		said = append(said, s)
	}
	if to == w.newSaid {
		to.args = s.appendFirst(to.args)
	} else {
		to.args = append(to.args, s.values()...)
	}
	if err := to.added(ctx); err != nil {
		return fmt.Errorf("change the list: %w", err)
	}
	var was Entry
	if e == nil {
		e = &Entry{key: key, ID: idOf(key), Kind: c.Kind, Value: c.Value, Port: portOf(c), Role: c.Role, First: s.First}
		e.begin(w.now)
	} else {
		was = *e
	}
	var what []string
	if (e.State == Expired || e.State == Archived) && !e.Barred {
		e.begin(w.now)
		what = append(what, came)
	}
	e.learn(c)
	if _, sinks := w.cfg.Never.Sinkhole(addressOf(c)); sinks || c.Sinkholed {
		if !e.Sinkholed && was.ID != "" {
			what = append(what, sinkholed)
		}
		e.Sinkholed = true
	}
	if e.Two == nil && (!b.free || !x.checked) {
		e.Two = w.two(e)
	}
	e.Score, e.Scored = w.weigh(e, said, w.reads, w.now, nil), w.now
	if !e.State.Over() {
		e.Expires = later(e.Expires, w.ends(said, w.reads))
		for _, to := range w.progress(e, said, w.now) {
			if to != Enriched && to != Scored { // these are told by its being there
				what = append(what, string(to))
			}
		}
	}
	return w.save(ctx, e, was, lot, what...)
}

// same tells whether nothing but the last look differs.
func (s *Said) same(o *Said) bool {
	return s.Evidence == o.Evidence && s.Confidence == o.Confidence && s.Family == o.Family && s.First.Equal(o.First) && s.Until.Equal(o.Until)
}

// learn takes what an indicator tells of an entry.
func (e *Entry) learn(c *observe.Indicator) {
	if e.Family == "" {
		e.Family = c.Family
	}
	if e.Role == "" || c.Role == observe.RoleC2 {
		e.Role = c.Role
	}
	if !c.First.IsZero() && (e.First.IsZero() || c.First.Before(e.First)) {
		e.First = c.First.UTC()
	}
	e.Last = later(e.Last, c.Last.UTC())
}

func portOf(c *observe.Indicator) uint16 {
	switch c.Kind {
	case observe.IndicatorEndpoint:
		a, _ := netip.ParseAddrPort(c.Value) // the zero one has no port
		return a.Port()
	case observe.IndicatorURL:
		if u, err := url.Parse(c.Value); err == nil {
			n, _ := strconv.ParseUint(u.Port(), 10, 16) // none is 0
			return uint16(n)
		}
	}
	return 0
}

// addressOf is the address that an indicator names; the zero one where it names none.
func addressOf(c *observe.Indicator) netip.Addr {
	s := c.Value
	switch c.Kind {
	case observe.IndicatorAddress:
	case observe.IndicatorEndpoint:
		a, _ := netip.ParseAddrPort(s)
		return a.Addr()
	case observe.IndicatorURL:
		u, err := url.Parse(s)
		if err != nil {
			return netip.Addr{}
		}
		s = u.Hostname()
	default:
		return netip.Addr{}
	}
	a, _ := netip.ParseAddr(s)
	return a
}

// Held are the readings that wait for a person, the oldest first.
func (l *List) Held(ctx context.Context) ([]Held, error) {
	return readings(ctx, l.db, `WHERE state = 'held' ORDER BY id`)
}

// Readings are the last ones of a source that came to something, the newest first.
func (l *List) Readings(ctx context.Context, source string, limit int) ([]Held, error) {
	return readings(ctx, l.db, fmt.Sprintf(`WHERE source = $1 AND state <> 'open' ORDER BY id DESC LIMIT %d`, limit), source)
}

func readings(ctx context.Context, a relation.Asker, which string, args ...any) (list []Held, err error) {
	rows, err := a.Query(ctx, `SELECT `+readingColumns+` FROM cnc_reading `+which, args...)
	if err != nil {
		return nil, fmt.Errorf("read readings: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		x, err := scanReading(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return list, rows.Err()
}

// Release lets a reading that was held count.
func (l *List) Release(ctx context.Context, id, who, why string) (Held, error) {
	return l.settle(ctx, id, who, why, func(w *work, x *Held) error {
		var base int64
		if err := w.tx.QueryRow(ctx, `SELECT coalesce(max(reading), 0) FROM cnc_source WHERE name = $1`, x.Source).Scan(&base); err != nil {
			return err
		}
		if base != x.base {
			return fmt.Errorf("%w: a later reading of %s counts already", ErrReading, x.Source)
		}
		x.At = w.now // from now on it counts
		return w.apply(ctx, x, who, plain(why))
	})
}

// Refuse throws a reading away that was held.
func (l *List) Refuse(ctx context.Context, id, who, why string) (Held, error) {
	return l.settle(ctx, id, who, why, func(w *work, x *Held) error {
		if _, err := w.decide(ctx, x.deed(who, "refused", plain(why))); err != nil {
			return err
		}
		return w.close(ctx, x, "refused")
	})
}

func (l *List) settle(ctx context.Context, id, who, why string, do func(w *work, x *Held) error) (x Held, err error) {
	if who == "" || why == "" {
		return x, ErrWhy
	}
	text, is := strings.CutPrefix(id, "r-")
	n, err := strconv.ParseInt(text, 10, 64)
	if !is || err != nil {
		return x, fmt.Errorf("%w: a reading's id looks like r-12", ErrUnknown)
	}
	err = l.write(ctx, func(w *work) error {
		if x, err = w.reading(ctx, n); err != nil {
			return err
		}
		if x.State != "held" {
			return fmt.Errorf("%w: %s isn't held: it is %s", ErrOrder, id, x.State)
		}
		return do(w, &x)
	})
	return x, err
}

// plain is what a person wrote, in whichever language.
func plain(s string) detect.Text { return detect.Text{JA: s, EN: s} }
