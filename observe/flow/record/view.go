package record

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"sakimori/base/store"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// buckets say of each grain when the first and the last one begin, 0 for none; those of
// minutes count what is still in flow_fresh.
type buckets struct{ first, last [observe.FlowHour + 1]int64 }

func bucketsOf(ctx context.Context, v store.Asker) (b buckets, err error) {
	rows, err := v.Query(ctx, `SELECT grain, min(start), max(start) FROM flow_bucket GROUP BY grain`)
	if err != nil {
		return b, err
	}
	defer rows.Close()
	for rows.Next() {
		var g observe.FlowGrain
		var first, last int64
		if err := rows.Scan(&g, &first, &last); err != nil {
			return b, err
		}
		b.first[g], b.last[g] = first, last
	}
	return b, rows.Err()
}

// since is the first bucket of the finest grains up to g, and of all.
func (b *buckets) since(g observe.FlowGrain) (since int64) {
	for i := observe.FlowMinute; i <= g; i++ {
		if f := b.first[i]; f > 0 && (since == 0 || f < since) {
			since = f
		}
	}
	return since
}

// data is from when until when there is anything, as exactly as the finest grain tells.
func (b *buckets) data() (begin, end int64) {
	for g := observe.FlowMinute; g <= observe.FlowHour; g++ {
		if f := b.first[g]; f > 0 && (begin == 0 || f+g.Seconds() <= begin) {
			begin = f
		}
		if l := b.last[g]; l > 0 && (end == 0 || l >= end) {
			end = l + g.Seconds()
		}
	}
	return begin, end
}

// span is from what a question is answered: the finest grain from want on that is kept
// for all of the range, as far as there is anything.
func (b *buckets) span(in observe.Range, want observe.FlowGrain) observe.FlowSpan {
	from, to := in.From.Unix(), in.To.Add(999_999_999).Unix()
	begin, end := b.data()
	g := max(want, observe.FlowMinute)
	for g < observe.FlowHour && (b.since(g) == 0 || b.since(g)/hour > max(from/hour, begin/hour)) {
		g++
	}
	s := observe.FlowSpan{Grain: g}
	if end > 0 {
		s.Data = observe.Range{From: at(begin), To: at(end)}
	}
	w := g.Seconds()
	s.Range = observe.Range{From: at(from / w * w), To: at((to + w - 1) / w * w)}
	return s
}

// wanted is the grain that is fine enough for a range.
func wanted(in observe.Range) observe.FlowGrain {
	switch seconds := in.To.Unix() - in.From.Unix(); {
	case seconds <= 3*hour:
		return observe.FlowMinute
	case seconds <= 36*hour:
		return observe.FlowFive
	}
	return observe.FlowHour
}

// made are the columns of flow_part that say until when the next grain is made.
var made = [...]string{observe.FlowMinute: "five_until", observe.FlowFive: "hour_until"}

// source is the table expression for all rows of a grain in [from, to): what isn't
// rolled up yet comes from the grains below.
func source(g observe.FlowGrain, from, to int64) string {
	in := fmt.Sprintf("f.start >= %d AND f.start < %d", from, to)
	if g == observe.FlowRaw {
		return "(SELECT f.* FROM flow_raw f WHERE " + in + ")"
	}
	const also = `f.*, f.start * 1000000000 AS first, (f.start + %d) * 1000000000 - 1 AS last, 0::UINTEGER AS rate`
	parts := []string{fmt.Sprintf(`SELECT `+also+` FROM %s f WHERE %s`, g.Seconds(), tables[g], in)}
	for below := g - 1; below >= observe.FlowMinute; below-- {
		until := made[below]
		parts = append(parts, fmt.Sprintf(`SELECT `+also+` FROM %s f JOIN flow_part p ON p.part = f.part WHERE %s AND f.start >= (SELECT min(%s) FROM flow_part) AND f.start >= p.%s`,
			below.Seconds(), tables[below], in, until, until))
	}
	parts = append(parts, fmt.Sprintf(`SELECT `+also+` FROM %s f WHERE %s`, minute, fresh, in))
	return "(" + strings.Join(parts, " UNION ALL ") + ")"
}

// lacksOf is what a row of the buckets of a span may lack at most.
func lacksOf(ctx context.Context, v store.Asker, s *observe.FlowSpan) (l observe.FlowLack, err error) {
	if s.Grain == observe.FlowRaw {
		return l, nil
	}
	own := []string{fmt.Sprintf("grain = %d", s.Grain)}
	for g := observe.FlowMinute; g < s.Grain; g++ {
		own = append(own, fmt.Sprintf("grain = %d AND b.start >= p.%s", g, made[g]))
	}
	err = v.QueryRow(ctx, fmt.Sprintf(`SELECT coalesce(max(l), 0)::UBIGINT FROM (SELECT sum(lacks) AS l FROM flow_bucket b JOIN flow_part p ON p.part = b.part
		WHERE b.start >= %d AND b.start < %d AND (%s) GROUP BY grain, b.start)`, s.Range.From.Unix(), s.Range.To.Unix(), strings.Join(own, " OR "))).Scan(&l.Bytes)
	l.Packets = l.Bytes / packetWeight
	return l, err
}

// condition is a filter in SQL: sure is true where a row fits, may where it does or
// what would tell was folded away.
type condition struct{ sure, may string }

func (c condition) or(d condition) condition {
	return condition{"(" + c.sure + " OR " + d.sure + ")", "(" + c.may + " OR " + d.may + ")"}
}

// told is a condition on what rows with need don't tell.
func told(need observe.Folded, text string) condition {
	if need == 0 {
		return condition{text, text}
	}
	return condition{fmt.Sprintf("(folded & %d = 0 AND %s)", need, text), fmt.Sprintf("(folded & %d <> 0 OR %s)", need, text)}
}

// where is the filter, and the arguments that sure takes, and may as well.
func where(f *observe.FlowFilter) (c condition, args []any) {
	sure, may := []string{"true"}, []string{"true"}
	and := func(c condition) {
		sure, may = append(sure, c.sure), append(may, c.may)
	}
	src := func(text string) condition { return told(noSrc, text) }
	dst := func(text string) condition { return told(noDst, text) }
	if len(f.Src) > 0 {
		and(src(within("src", f.Src)))
	}
	if len(f.Dst) > 0 {
		and(dst(within("dst", f.Dst)))
	}
	if len(f.Addr) > 0 {
		and(src(within("src", f.Addr)).or(dst(within("dst", f.Addr))))
	}
	if len(f.Protos) > 0 {
		and(told(observe.FoldedRest, among("proto", f.Protos)))
	}
	port := func(side string, need observe.Folded, ports []uint16) condition {
		return told(need, among(side+"_port", ports))
	}
	if len(f.SrcPorts) > 0 {
		and(port("src", observe.FoldedSrcPort, f.SrcPorts))
	}
	if len(f.DstPorts) > 0 {
		and(port("dst", observe.FoldedDstPort, f.DstPorts))
	}
	if len(f.Ports) > 0 {
		and(port("src", observe.FoldedSrcPort, f.Ports).or(port("dst", observe.FoldedDstPort, f.Ports)))
	}
	if len(f.SrcAS) > 0 {
		and(src(among("src_as", f.SrcAS)))
	}
	if len(f.DstAS) > 0 {
		and(dst(among("dst_as", f.DstAS)))
	}
	if len(f.AS) > 0 {
		and(src(among("src_as", f.AS)).or(dst(among("dst_as", f.AS))))
	}
	if len(f.Countries) > 0 {
		codes := make([]uint16, len(f.Countries))
		for i, s := range f.Countries {
			if len(s) == 2 {
				codes[i] = uint16(s[0])<<8 | uint16(s[1])
			}
		}
		and(src(among("src_country", codes)).or(dst(among("dst_country", codes))))
	}
	if len(f.Exporters) > 0 {
		and(told(0, among("exporter", f.Exporters)))
	}
	if len(f.Interfaces) > 0 {
		and(told(observe.FoldedRest, interfaces(f.Interfaces)))
	}
	switch f.Way {
	case observe.FlowIn:
		and(dst("ours & 2 <> 0"))
	case observe.FlowOut:
		and(src("ours & 1 <> 0"))
	}
	if f.Flags != 0 {
		all := fmt.Sprintf("(folded = 0 AND proto = %d AND marks & %d = 0 AND flags & %d = %d)", packet.TCP, observe.FlowNoFlags, f.Flags, f.Flags)
		and(condition{all, fmt.Sprintf("(%s OR (folded <> 0 OR marks & %d <> 0) AND (folded & %d <> 0 OR proto = %d))", all, observe.FlowNoFlags, observe.FoldedRest, packet.TCP)})
	}
	if len(f.Customers) > 0 {
		marks := strings.Repeat(", ?", len(f.Customers))[2:]
		is := "customer IN (" + marks + ")"
		and(condition{"(" + customerTold + " AND " + is + ")", "(NOT (" + customerTold + ") OR " + is + ")"})
		for _, n := range f.Customers {
			args = append(args, n)
		}
	}
	return condition{"(" + strings.Join(sure, " AND ") + ")", "(" + strings.Join(may, " AND ") + ")"}, args
}

// customerTold says where the customer of a row is known: it is that of the
// destination where this is ours, and only then that of the source.
const customerTold = `(folded & 3 = 0 OR folded & 2 = 0 AND ours & 2 <> 0)`

func interfaces(list []observe.FlowInterface) string {
	text := make([]string, len(list))
	for i, in := range list {
		text[i] = fmt.Sprintf("exporter = %d AND (in_if = %d OR out_if = %d)", in.Exporter, in.Index, in.Index)
	}
	return "(" + strings.Join(text, " OR ") + ")"
}

func among[T ~uint8 | ~uint16 | ~uint32](column string, list []T) string {
	text := make([]string, len(list))
	for i, v := range list {
		text[i] = strconv.FormatUint(uint64(v), 10)
	}
	return column + " IN (" + strings.Join(text, ", ") + ")"
}

// within is the condition that an address is in one of some prefixes.
func within(side string, list []netip.Prefix) string {
	text := make([]string, len(list))
	for i, p := range list {
		bits := p.Bits()
		if p.Addr().Is4() {
			bits += 96
		}
		a := packet.FromNetip(p.Addr())
		if bits <= 64 {
			mask := ^uint64(0) >> bits // 0 for 64
			text[i] = fmt.Sprintf("%s_hi BETWEEN %d AND %d", side, a.Hi&^mask, a.Hi|mask)
			continue
		}
		mask := ^uint64(0) >> (bits - 64)
		text[i] = fmt.Sprintf("%s_hi = %d AND %s_lo BETWEEN %d AND %d", side, a.Hi, side, a.Lo&^mask, a.Lo|mask)
	}
	return "(" + strings.Join(text, " OR ") + ")"
}
