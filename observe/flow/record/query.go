package record

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"sakimori/base/store"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// by says in SQL what flows are ranked by: as two numbers and a text, and where it is
// known.
type by struct{ hi, lo, text, told string }

func unless(need observe.Folded) string { return fmt.Sprintf("folded & %d = 0", need) }

var keys = map[observe.FlowBy]by{
	observe.FlowBySrc:        {"src_hi", "src_lo", "''", unless(noSrc)},
	observe.FlowByDst:        {"dst_hi", "dst_lo", "''", unless(noDst)},
	observe.FlowBySrcPort:    {"0", "proto::UBIGINT << 16 | src_port", "''", unless(observe.FoldedSrcPort | observe.FoldedRest)},
	observe.FlowByDstPort:    {"0", "proto::UBIGINT << 16 | dst_port", "''", unless(observe.FoldedDstPort | observe.FoldedRest)},
	observe.FlowByProto:      {"0", "proto", "''", unless(observe.FoldedRest)},
	observe.FlowBySrcAS:      {"0", "src_as", "''", unless(noSrc)},
	observe.FlowByDstAS:      {"0", "dst_as", "''", unless(noDst)},
	observe.FlowBySrcCountry: {"0", "src_country", "''", unless(noSrc)},
	observe.FlowByDstCountry: {"0", "dst_country", "''", unless(noDst)},
	observe.FlowByExporter:   {"0", "exporter", "''", "true"},
	observe.FlowByIn:         {"0", "exporter::UBIGINT << 32 | in_if", "''", unless(observe.FoldedRest)},
	observe.FlowByOut:        {"0", "exporter::UBIGINT << 32 | out_if", "''", unless(observe.FoldedRest)},
	observe.FlowByCustomer:   {"0", "0", "customer", customerTold},
	observe.FlowByFlags:      {"0", "flags", "''", fmt.Sprintf("(folded = 0 AND marks & %d = 0)", observe.FlowNoFlags)},
}

// key reads what by selects.
func (b by) key(what observe.FlowBy, hi, lo uint64, text string) (k observe.FlowKey) {
	switch what {
	case observe.FlowBySrc, observe.FlowByDst:
		k.Addr = packet.Addr{Hi: hi, Lo: lo}.Netip()
	case observe.FlowBySrcCountry, observe.FlowByDstCountry:
		k.Text = country(uint16(lo)) //nolint:gosec // a column of 16 bits
	case observe.FlowByCustomer:
		k.Text = text
	default:
		k.Number = lo
	}
	return k
}

func country(c uint16) string {
	if c == 0 {
		return ""
	}
	return string([]byte{byte(c >> 8), byte(c)}) //nolint:gosec // two letters
}

// sums are the columns of a count. A sum beyond 64 bits takes flows of 2⁴⁸ by the
// tens of thousands: then it is as much as fits.
const sums = `least(coalesce(sum(packets), 0), 18446744073709551615)::UBIGINT, least(coalesce(sum(bytes), 0), 18446744073709551615)::UBIGINT,
	coalesce(sum(packets_var), 0), coalesce(sum(bytes_var), 0), coalesce(sum(flows), 0)::UBIGINT, coalesce(bool_or(marks & 1 <> 0), false)`

// counts takes what sums selects.
type counts struct {
	observe.FlowCount
}

func (c *counts) into() []any {
	return []any{&c.Packets, &c.Bytes, &c.PacketsError, &c.BytesError, &c.Flows, &c.Samples}
}

// done turns variances into errors.
func (c *counts) done() observe.FlowCount {
	c.PacketsError, c.BytesError = z95*math.Sqrt(c.PacketsError), z95*math.Sqrt(c.BytesError)
	return c.FlowCount
}

const z95 = 1.96

// orders are the columns by which there are rankings.
var orders = map[string]string{"": "sum(bytes)", "bytes": "sum(bytes)", "packets": "sum(packets)", "flows": "sum(flows)"}

// ask is a question that was understood.
type ask struct {
	observe.FlowSpan

	rows  string // the table expression
	fits  condition
	args  []any // of sure, and once more of may
	order string
}

// asked is what every question begins with.
func asked(ctx context.Context, v store.Asker, q *observe.FlowQuery) (a ask, err error) {
	order, ok := orders[q.Order]
	if !ok {
		return a, fmt.Errorf("%q is no order: use bytes, packets or flows", q.Order)
	}
	if q.Limit <= 0 {
		return a, fmt.Errorf("a ranking needs a limit of at least 1, not %d", q.Limit)
	}
	have, err := bucketsOf(ctx, v)
	if err != nil {
		return a, err
	}
	a.FlowSpan, a.order = have.span(q.Range, wanted(q.Range)), order
	a.rows = source(a.Grain, a.Range.From.Unix(), a.Range.To.Unix())
	a.fits, a.args = where(&q.FlowFilter)
	if q.MinBytes > 0 {
		a.rows = fmt.Sprintf("(SELECT * FROM %s WHERE bytes >= %d)", a.rows, q.MinBytes)
	}
	return a, nil
}

// totals are those of all that fits, of the part that isn't told, and of what may fit.
func (a *ask) totals(ctx context.Context, v store.Asker, isTold string) (total, out, maybe observe.FlowCount, err error) {
	rows, err := v.Query(ctx, `SELECT `+a.fits.sure+` AS fits, `+isTold+` AS told, `+sums+` FROM `+a.rows+` WHERE `+a.fits.may+` GROUP BY ALL`, append(slices.Clip(a.args), a.args...)...)
	if err != nil {
		return total, out, maybe, err
	}
	defer rows.Close()
	var t, o, m counts
	for rows.Next() {
		var fits, told bool
		var c counts
		if err := rows.Scan(append([]any{&fits, &told}, c.into()...)...); err != nil {
			return total, out, maybe, err
		}
		if !fits {
			m.plus(&c)
			continue
		}
		t.plus(&c)
		if !told {
			o.plus(&c)
		}
	}
	return t.done(), o.done(), m.done(), rows.Err()
}

func (c *counts) plus(d *counts) {
	c.Packets += d.Packets
	c.Bytes += d.Bytes
	c.PacketsError += d.PacketsError // variances, until done
	c.BytesError += d.BytesError
	c.Flows += d.Flows
	c.Samples = c.Samples || d.Samples
}

// Top ranks what flows have in common.
func (r *Record) Top(ctx context.Context, what observe.FlowBy, q observe.FlowQuery) (t observe.FlowTop, err error) {
	b, ok := keys[what]
	if !ok {
		return t, fmt.Errorf("flow record: %q is nothing to rank by", what)
	}
	err = r.store.View(ctx, func(v store.Asker) error {
		a, err := asked(ctx, v, &q)
		if err != nil {
			return err
		}
		t, err = a.top(ctx, v, what, b, q.Limit)
		return err
	})
	return t, wrap(err, "ranking")
}

func (a *ask) top(ctx context.Context, v store.Asker, what observe.FlowBy, b by, limit int) (t observe.FlowTop, err error) {
	t.FlowSpan = a.FlowSpan
	if t.Total, t.LeftOut, t.Maybe, err = a.totals(ctx, v, b.told); err != nil {
		return t, err
	}
	rows, err := v.Query(ctx, fmt.Sprintf(`SELECT (%s)::UBIGINT AS hi, (%s)::UBIGINT AS lo, %s AS name, %s FROM %s WHERE %s AND %s GROUP BY hi, lo, name ORDER BY %s DESC, hi, lo, name LIMIT %d`,
		b.hi, b.lo, b.text, sums, a.rows, a.fits.sure, b.told, a.order, limit), a.args...)
	if err != nil {
		return t, err
	}
	defer rows.Close()
	for rows.Next() {
		var hi, lo uint64
		var text string
		var c counts
		if err := rows.Scan(append([]any{&hi, &lo, &text}, c.into()...)...); err != nil {
			return t, err
		}
		t.Rows = append(t.Rows, observe.FlowTopRow{Key: b.key(what, hi, lo, text), FlowCount: c.done()})
	}
	return t, rows.Err()
}

// Talkers ranks who speaks to whom.
func (r *Record) Talkers(ctx context.Context, q observe.FlowQuery) (t observe.FlowTalkers, err error) {
	err = r.store.View(ctx, func(v store.Asker) error {
		a, err := asked(ctx, v, &q)
		if err != nil {
			return err
		}
		t.FlowSpan = a.FlowSpan
		both := unless(noSrc | noDst | observe.FoldedDstPort | observe.FoldedRest)
		if t.Total, t.LeftOut, t.Maybe, err = a.totals(ctx, v, both); err != nil {
			return err
		}
		const pair = `src_hi, src_lo, dst_hi, dst_lo, proto, dst_port`
		rows, err := v.Query(ctx, fmt.Sprintf(`SELECT %s, %s FROM %s WHERE %s AND %s GROUP BY %s ORDER BY %s DESC, %s LIMIT %d`,
			pair, sums, a.rows, a.fits.sure, both, pair, a.order, pair, q.Limit), a.args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var src, dst packet.Addr
			var w observe.FlowTalk
			var c counts
			if err := rows.Scan(append([]any{&src.Hi, &src.Lo, &dst.Hi, &dst.Lo, &w.Proto, &w.DstPort}, c.into()...)...); err != nil {
				return err
			}
			w.Src, w.Dst, w.FlowCount = src.Netip(), dst.Netip(), c.done()
			t.Rows = append(t.Rows, w)
		}
		return rows.Err()
	})
	return t, wrap(err, "talkers")
}

// seriesMost is how many points a course has at most.
const seriesMost = 2000

// steps are those between which a series chooses, in seconds.
var stepsOf = []int64{60, 300, 900, hour, 3 * hour, 6 * hour, 24 * hour}

// Series is the course of the busiest keys; with an empty what of all together. A step
// of 0 is chosen so that there are a few hundred points.
func (r *Record) Series(ctx context.Context, what observe.FlowBy, q observe.FlowQuery, step time.Duration) (s observe.FlowSeries, err error) {
	b, ok := keys[what]
	if !ok && what != "" {
		return s, fmt.Errorf("flow record: %q is nothing to rank by", what)
	}
	err = r.store.View(ctx, func(v store.Asker) error {
		q.Limit = max(1, q.Limit)
		a, err := asked(ctx, v, &q)
		if err != nil {
			return err
		}
		var top observe.FlowTop
		if what != "" {
			if top, err = a.top(ctx, v, what, b, q.Limit); err != nil {
				return err
			}
		} else if top.Total, _, _, err = a.totals(ctx, v, "true"); err != nil {
			return err
		}
		s.FlowSpan = a.FlowSpan
		if top.Total.Packets > 0 {
			s.Error = top.Total.PacketsError / float64(top.Total.Packets)
		}
		from, to := a.Range.From.Unix(), a.Range.To.Unix()
		seconds := stepFor(int64(step/time.Second), to-from, a.Grain)
		s.Step = time.Duration(seconds) * time.Second
		first := from / seconds * seconds
		n := (to - first + seconds - 1) / seconds
		if n > seriesMost {
			return fmt.Errorf("a course of %d points: take a longer step or a shorter range, for at most %d", n, seriesMost)
		}
		for i := range n {
			s.Times = append(s.Times, at(first+i*seconds))
		}
		line := func(k observe.FlowKey) observe.FlowLine {
			return observe.FlowLine{Key: k, Packets: make([]uint64, n), Bytes: make([]uint64, n)}
		}
		for _, w := range top.Rows {
			s.Rows = append(s.Rows, line(w.Key))
		}
		s.Other = line(observe.FlowKey{})
		return a.course(ctx, v, what, b, &s, first, seconds)
	})
	return s, wrap(err, "series")
}

func stepFor(step, length int64, g observe.FlowGrain) int64 {
	if step > 0 {
		w := g.Seconds()
		return (step + w - 1) / w * w
	}
	for _, s := range stepsOf {
		if s >= g.Seconds() && length/s <= 300 {
			return s
		}
	}
	days := 24 * hour
	return (length/300 + days - 1) / days * days
}

// course fills the lines in.
func (a *ask) course(ctx context.Context, v store.Asker, what observe.FlowBy, b by, s *observe.FlowSeries, first, step int64) error {
	which, args := "-1", []any{}
	if len(s.Rows) > 0 {
		var w strings.Builder
		w.WriteString("CASE WHEN NOT " + b.told + " THEN -1")
		for i, l := range s.Rows {
			hi, lo := uint64(0), l.Key.Number
			switch {
			case l.Key.Addr.IsValid():
				x := packet.FromNetip(l.Key.Addr)
				hi, lo = x.Hi, x.Lo
			case len(l.Key.Text) == 2 && what != observe.FlowByCustomer:
				lo = uint64(l.Key.Text[0])<<8 | uint64(l.Key.Text[1])
			}
			fmt.Fprintf(&w, " WHEN %s = %d AND %s = %d", b.hi, hi, "("+b.lo+")", lo)
			if what == observe.FlowByCustomer {
				w.WriteString(" AND customer = ?")
				args = append(args, l.Key.Text)
			}
			fmt.Fprintf(&w, " THEN %d", i)
		}
		which = w.String() + " ELSE -1 END"
	}
	rows, err := v.Query(ctx, fmt.Sprintf(`SELECT (start - %d) // %d AS i, %s AS line, sum(packets)::UBIGINT, sum(bytes)::UBIGINT FROM %s WHERE %s GROUP BY i, line`,
		first, step, which, a.rows, a.fits.sure), append(args, a.args...)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var i, line int64
		var packets, bytes uint64
		if err := rows.Scan(&i, &line, &packets, &bytes); err != nil {
			return err
		}
		l := &s.Other
		if line >= 0 {
			l = &s.Rows[line]
		}
		l.Packets[i], l.Bytes[i] = packets, bytes
	}
	return rows.Err()
}

// Data is the range from which there is anything; zero for nothing.
func (r *Record) Data(ctx context.Context) (observe.Range, error) {
	have, err := bucketsOf(ctx, r.store)
	return have.span(observe.Range{From: at(0), To: at(minute)}, observe.FlowHour).Data, wrap(err, "what there is")
}
