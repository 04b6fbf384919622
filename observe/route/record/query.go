package record

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sakimori/base/store"
	"sakimori/observe"
)

const (
	fresh   = 10 * time.Minute // for so long the last line of a run that goes on counts as now
	settled = 2 * time.Minute  // so long a run needs to hear first tables
)

// lane is what a route stands for.
type lane struct {
	prefix netip.Prefix
	peer   uint32
	id     uint32
}

// line is one of route_change.
type line struct {
	lane
	at        int64
	path, was uint64
	marks     observe.RouteMarks
}

// Show tells what was seen of a prefix at a time: the routes to exactly it, of the longest
// route around it, and inside it.
func (r *Record) Show(ctx context.Context, q observe.RouteQuery) (s observe.RouteShown, err error) {
	if err := check(&q); err != nil {
		return s, err
	}
	s.Prefix, s.At = q.Prefix, q.At
	err = r.store.View(ctx, func(v store.Asker) error {
		t := q.At.UnixNano()
		runs, err := runsOf(ctx, v, &s)
		if err != nil || !s.Known {
			return err
		}
		peers, err := peersOf(ctx, v)
		if err != nil {
			return err
		}
		keys := map[uint64]*observe.RoutePath{}
		var lines []line
		var matches []observe.RouteMatch
		for _, m := range []struct {
			match observe.RouteMatch
			where string
		}{{observe.RouteExact, exact(q.Prefix)}, {observe.RouteCover, around(q.Prefix)}, {observe.RouteInside, inside(q.Prefix)}} {
			if m.where == "" {
				continue
			}
			list, err := stood(ctx, v, m.where, runs, t)
			if err != nil {
				return err
			}
			if m.match == observe.RouteCover {
				list = longest(list)
			}
			if len(list) > q.Limit {
				list, s.More = list[:q.Limit], true
			}
			for i := range list {
				keys[list[i].path] = nil
				matches = append(matches, m.match)
			}
			lines = append(lines, list...)
		}
		if err := pathsOf(ctx, v, keys); err != nil {
			return err
		}
		for i, l := range lines {
			p := keys[l.path]
			if p == nil {
				return fmt.Errorf("a route of %s has a path that isn't there", l.prefix)
			}
			s.Routes = append(s.Routes, observe.RouteSeen{
				Prefix: l.prefix, Match: matches[i], Peer: peers[l.peer], ID: l.id, Path: *p, Since: at(l.at), Marks: l.marks,
			})
		}
		return nil
	})
	return s, wrap(err, "show")
}

func check(q *observe.RouteQuery) error {
	if !q.Prefix.IsValid() {
		return fmt.Errorf("route record: name a prefix, as 198.51.100.0/24")
	}
	if q.Limit <= 0 {
		return fmt.Errorf("route record: a limit of at least 1, not %d", q.Limit)
	}
	q.Prefix = q.Prefix.Masked()
	return nil
}

// runsOf are those that looked at a time, as a list of SQL. One that goes on answers for
// some minutes after its last line, unless the next one has had time to hear the tables.
func runsOf(ctx context.Context, v store.Asker, s *observe.RouteShown) (string, error) {
	rows, err := v.Query(ctx, `SELECT run, begun, until, live FROM route_run WHERE until > 0 ORDER BY begun DESC, run DESC`)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var list []string
	t, next := s.At.UnixNano(), int64(math.MaxInt64)
	for rows.Next() {
		var run uint64
		var begun, until int64
		var live bool
		if err := rows.Scan(&run, &begun, &until, &live); err != nil {
			return "", err
		}
		if s.Kept.From.IsZero() || at(begun).Before(s.Kept.From) {
			s.Kept.From = at(begun)
		}
		if at(until).After(s.Kept.To) {
			s.Kept.To = at(until)
		}
		if live {
			until = min(until+int64(fresh), max(until, next))
			next = begun + int64(settled)
		}
		if begun <= t && t <= until {
			list = append(list, fmt.Sprint(run))
		}
	}
	if err := rows.Err(); err != nil {
		return "", err
	}
	runs := strings.Join(list, ", ")
	if s.Known = runs != ""; s.Known {
		err = v.QueryRow(ctx, fmt.Sprintf(`SELECT coalesce(sum(changes), 0)::UBIGINT FROM route_lost WHERE run IN (%s) AND minute <= %d`, runs, t)).Scan(&s.Lost)
	}
	return runs, err
}

// stood are the routes that stood at a time, in the order of prefix and peer.
func stood(ctx context.Context, v store.Asker, where, runs string, t int64) ([]line, error) {
	rows, err := v.Query(ctx, fmt.Sprintf(`SELECT peer, v6, hi, lo, bits, id, arg_max(path, (told, number)) AS path, max(told), arg_max(marks, (told, number))
		FROM route_change WHERE run IN (%s) AND told <= %d AND %s GROUP BY peer, v6, hi, lo, bits, id HAVING path <> 0 ORDER BY v6, hi, lo, bits, peer, id`, runs, t, where))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []line
	for rows.Next() {
		var l line
		var hi, lo uint64
		var bits uint8
		var v6 bool
		if err := rows.Scan(&l.peer, &v6, &hi, &lo, &bits, &l.id, &l.path, &l.at, &l.marks); err != nil {
			return nil, err
		}
		l.prefix = prefix(hi, lo, bits, v6)
		list = append(list, l)
	}
	return list, rows.Err()
}

// longest keeps the routes of the longest prefix.
func longest(list []line) []line {
	if len(list) == 0 {
		return nil
	}
	most := slices.MaxFunc(list, func(a, b line) int { return cmp.Compare(a.prefix.Bits(), b.prefix.Bits()) }).prefix
	return slices.DeleteFunc(list, func(l line) bool { return l.prefix != most })
}

func exact(p netip.Prefix) string {
	hi, lo, bits, v6 := place(p)
	return fmt.Sprintf("v6 = %t AND hi = %d AND lo = %d AND bits = %d", v6, hi, lo, bits)
}

// around is what is strictly around a prefix; "" for what has nothing around it.
func around(p netip.Prefix) string {
	var list []string
	for n := range p.Bits() {
		q := netip.PrefixFrom(p.Addr(), n).Masked()
		hi, lo, bits, _ := place(q)
		list = append(list, fmt.Sprintf("(%d::UBIGINT, %d::UBIGINT, %d::UTINYINT)", hi, lo, bits))
	}
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf("v6 = %t AND bits < %d AND (hi, lo, bits) IN (%s)", p.Addr().Is6(), p.Bits(), strings.Join(list, ", "))
}

// inside is what is strictly inside a prefix; "" for single addresses.
func inside(p netip.Prefix) string {
	if p.IsSingleIP() {
		return ""
	}
	hi, lo, bits, v6 := place(p)
	if bits >= 64 {
		return fmt.Sprintf("v6 AND hi = %d AND bits > %d AND lo BETWEEN %d AND %d", hi, bits, lo, lo|(1<<(128-bits)-1))
	}
	return fmt.Sprintf("v6 = %t AND bits > %d AND hi BETWEEN %d AND %d", v6, bits, hi, hi|(1<<(64-bits)-1))
}

// pathsOf fills the paths of keys in.
func pathsOf(ctx context.Context, v store.Asker, keys map[uint64]*observe.RoutePath) error {
	delete(keys, 0)
	if len(keys) == 0 {
		return nil
	}
	list := make([]string, 0, len(keys))
	for k := range keys {
		list = append(list, fmt.Sprint(k))
	}
	slices.Sort(list)
	rows, err := v.Query(ctx, `SELECT key, any_value(words) FROM route_path WHERE key IN (`+strings.Join(list, ", ")+`) GROUP BY key`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var k uint64
		var words []byte
		if err := rows.Scan(&k, &words); err != nil {
			return err
		}
		if keys[k], err = decode(words); err != nil {
			return err
		}
	}
	return rows.Err()
}

// History tells the changes of a prefix in a range of time, the latest first: of exactly
// it, or with every of what is around and inside it too.
func (r *Record) History(ctx context.Context, q observe.RouteQuery, every bool) (list []observe.RouteChange, more bool, err error) {
	if err := check(&q); err != nil {
		return nil, false, err
	}
	where := []string{"(" + exact(q.Prefix) + ")"}
	if every {
		for _, w := range []string{around(q.Prefix), inside(q.Prefix)} {
			if w != "" {
				where = append(where, "("+w+")")
			}
		}
	}
	err = r.store.View(ctx, func(v store.Asker) error {
		lines, err := changes(ctx, v, strings.Join(where, " OR "), q.Range, q.Limit+1)
		if err != nil {
			return err
		}
		if len(lines) > q.Limit {
			lines, more = lines[:q.Limit], true
		}
		keys := map[uint64]*observe.RoutePath{}
		for _, l := range lines {
			keys[l.path], keys[l.was] = nil, nil
		}
		if err := pathsOf(ctx, v, keys); err != nil {
			return err
		}
		peers, err := peersOf(ctx, v)
		if err != nil {
			return err
		}
		for _, l := range lines {
			list = append(list, observe.RouteChange{
				At: at(l.at), Prefix: l.prefix, Peer: peers[l.peer], ID: l.id, Marks: l.marks, Path: keys[l.path], Was: keys[l.was],
			})
		}
		return nil
	})
	return list, more, wrap(err, "history")
}

func changes(ctx context.Context, v store.Asker, where string, in observe.Range, limit int) ([]line, error) {
	rows, err := v.Query(ctx, fmt.Sprintf(`SELECT told, peer, v6, hi, lo, bits, id, path, was, marks FROM route_change
		WHERE told >= %d AND told < %d AND (%s) ORDER BY told DESC, run DESC, number DESC LIMIT %d`, in.From.UnixNano(), in.To.UnixNano(), where, limit))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []line
	for rows.Next() {
		var l line
		var hi, lo uint64
		var bits uint8
		var v6 bool
		if err := rows.Scan(&l.at, &l.peer, &v6, &hi, &lo, &bits, &l.id, &l.path, &l.was, &l.marks); err != nil {
			return nil, err
		}
		l.prefix = prefix(hi, lo, bits, v6)
		list = append(list, l)
	}
	return list, rows.Err()
}
