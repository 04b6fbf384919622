package telescope

import (
	"cmp"
	"slices"
	"time"

	"sakimori/base/pages"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// scan is one row of the document's list of scanners while it is put together:
// there may be millions, so it has neither pointers nor words.
type scan struct {
	src         packet.Addr
	first, last int64
	packets     uint64
	targets     uint64
	err         float32
	port        uint16
	proto       uint8
	tool        observe.Tool
	research    bool
	maybeVictim bool
}

// ranking is the list of scans of one shard, in an order of its own.
type ranking struct {
	rows  column[scan]
	order []rank
}

// rank is what a row is ordered by, and where it is: sorting touches no rows.
type rank struct {
	by  [2]uint64 // key; and packets, turned round as the most come first
	row uint32
}

const (
	byKey = iota
	byPackets
)

// Roll is the list of scanners of a document, the busiest first. It takes a third
// of the memory of as many Scanners, and there may be a million.
type Roll struct {
	list []*scan
	dark uint64         // IPv4 addresses watched
	rows []column[scan] // where the scans stand
}

// Len is how many there are.
func (r *Roll) Len() int { return len(r.list) }

// At is the i-th, the busiest being number 0.
func (r *Roll) At(i int) Scanner { return r.list[i].row(r.dark) }

// First are the n busiest, or all where there are fewer.
func (r *Roll) First(n int) []Scanner {
	out := make([]Scanner, min(n, len(r.list)))
	for i := range out {
		out[i] = r.At(i)
	}
	return out
}

// roll is all scans, ended or not, joined by source, port and protocol: the
// packets add up, and the targets are those of the largest event. A source's
// events are all in one shard, so each shard makes its own list.
func (t *Telescope) roll() Roll {
	rankings := make([]ranking, len(t.workers))
	t.each(func(s *shard) { rankings[s.id] = s.scans(t.first) })
	r := Roll{list: merged(rankings), dark: t.union.v4}
	for i := range rankings {
		r.rows = append(r.rows, rankings[i].rows)
	}
	return r
}

// merged are the rows of all rankings, the busiest first.
func merged(rankings []ranking) []*scan {
	n := 0
	for i := range rankings {
		n += len(rankings[i].order)
	}
	list := make([]*scan, n)
	at := make([]int, len(rankings))
	for i := range list {
		best := -1
		for k := range rankings {
			if at[k] < len(rankings[k].order) && (best < 0 || rankings[k].busier(at[k], &rankings[best], at[best])) {
				best = k
			}
		}
		r := &rankings[best]
		list[i] = r.rows.at(r.order[at[best]].row)
		at[best]++
	}
	return list
}

// busier tells whether the i-th of a roll stands before the k-th of another: by
// packets, the most first, and then by source, port and protocol.
func (r *ranking) busier(i int, o *ranking, k int) bool {
	a, b := &r.order[i], &o.order[k]
	switch {
	case a.by[byPackets] != b.by[byPackets]:
		return a.by[byPackets] < b.by[byPackets]
	case a.by[byKey] != b.by[byKey]:
		return a.by[byKey] < b.by[byKey]
	}
	return r.rows.at(a.row).compare(o.rows.at(b.row)) < 0
}

// key is a number that orders scans as compare does; of IPv4 it says everything,
// of IPv6 the beginning.
func (a *scan) key() uint64 {
	const v4, above = 1 << 62, 2 << 62 // IPv4 lies at ::ffff:0:0/96
	switch {
	case a.src.Is4():
		return v4 | uint64(a.src.V4())<<24 | uint64(a.port)<<8 | uint64(a.proto)
	case a.src.Compare(packet.V4(0)) < 0:
		return 0
	}
	return above | a.src.Hi>>2
}

func (a *scan) compare(b *scan) int {
	if c := a.src.Compare(b.src); c != 0 {
		return c
	}
	if a.port != b.port {
		return cmp.Compare(a.port, b.port)
	}
	return cmp.Compare(a.proto, b.proto)
}

// scan is the event of entry i as a row.
func (s *shard) scan(i uint32) scan {
	e := s.entries.at(i)
	src, u := s.sources.at(e.source), s.targets(e)
	return scan{
		src: src.addr, first: s.asides.at(i).first, last: e.last, packets: uint64(e.total), targets: u.N, err: float32(u.Err), port: e.port, proto: e.proto,
		tool: tool(&e.evidence, &src.evidence), research: src.flags&uint8(observe.Research) != 0, maybeVictim: s.asksAmplifiers(e, src) && src.flags&uint8(observe.Research) == 0,
	}
}

// scans are those of one shard that have had a packet since the given time.
func (s *shard) scans(since int64) ranking {
	r := ranking{rows: newColumn[scan](s.entries.live() + len(s.tally.scans))}
	s.each(func(i uint32, e *entry) {
		if e.marks&markShadow == 0 && e.total > 0 && e.last >= since && s.flags(e, s.sources.at(e.source))&observe.Scanner != 0 {
			*r.rows.at(r.rows.take()) = s.scan(i)
		}
	})
	for i := range s.tally.scans {
		if v := &s.tally.scans[i]; v.last >= since {
			*r.rows.at(r.rows.take()) = *v
		}
	}
	r.join()
	return r
}

// join makes one row of those with the same source, port and protocol, and puts
// the busiest first.
func (r *ranking) join() {
	order, spare := pages.Make[rank](int(r.rows.n)), pages.Make[rank](int(r.rows.n))
	for i := range order {
		row := r.rows.at(uint32(i))
		order[i] = rank{[2]uint64{byKey: row.key(), byPackets: ^row.packets}, uint32(i)}
	}
	order, spare = radix(order, spare, byKey)
	out := order[:0]
	for from := 0; from < len(order); {
		to := from + 1
		for to < len(order) && order[to].by[byKey] == order[from].by[byKey] {
			to++
		}
		out = append(out, r.joinAlike(order[from:to])...)
		from = to
	}
	r.order, _ = radix(out, spare[:len(out)], byPackets)
}

// joinAlike joins and orders rows with the same key.
func (r *ranking) joinAlike(list []rank) []rank {
	if len(list) == 1 {
		return list
	}
	slices.SortFunc(list, func(a, b rank) int {
		x, y := r.rows.at(a.row), r.rows.at(b.row)
		return cmp.Or(x.compare(y), cmp.Compare(x.first, y.first))
	})
	out := list[:1]
	for _, k := range list[1:] {
		last := &out[len(out)-1]
		if a, b := r.rows.at(last.row), r.rows.at(k.row); a.compare(b) == 0 {
			a.join(b)
			last.by[byPackets] = ^a.packets
		} else {
			out = append(out, k)
		}
	}
	return out
}

// radix sorts list by one of its numbers, byte after byte, with equal ones in the
// order they had. It needs as much room again, and tells which of the two is which.
func radix(list, room []rank, by int) (sorted, spare []rank) {
	var count [8][256]uint32
	for i := range list {
		v := list[i].by[by]
		for b := range count {
			count[b][v&0xff]++
			v >>= 8
		}
	}
	for b := range count {
		next, shift := &count[b], 8*b
		if len(list) > 0 && int(next[list[0].by[by]>>shift&0xff]) == len(list) {
			continue // all have the same
		}
		at := uint32(0)
		for d, n := range next {
			next[d], at = at, at+n
		}
		for i := range list {
			d := list[i].by[by] >> shift & 0xff
			room[next[d]] = list[i]
			next[d]++
		}
		list, room = room, list
	}
	return list, room
}

// join adds a later event of the same source, port and protocol.
func (a *scan) join(b *scan) {
	a.packets += b.packets
	if b.targets > a.targets {
		a.targets, a.err = b.targets, b.err
	}
	a.last = max(a.last, b.last)
	if a.tool != b.tool {
		a.tool = observe.Unknown
	}
	a.maybeVictim = a.maybeVictim || b.maybeVictim
}

// row is the scan as it is printed; dark is the number of IPv4 addresses watched.
func (a *scan) row(dark uint64) Scanner {
	s := Scanner{
		Source: a.src.Netip(), Port: a.port, Protocol: ProtocolName(a.proto), Packets: a.packets,
		Targets: a.targets, TargetsErr: float64(a.err), Tool: a.tool.String(), ToolVersions: a.tool.Versions(), Research: a.research, MaybeVictim: a.maybeVictim,
		First: time.Unix(0, a.first).UTC(), Last: time.Unix(0, a.last).UTC(),
	}
	if dark > 0 && a.src.Is4() {
		s.Coverage = min(float64(a.targets)/float64(dark), 1)
	}
	return s
}
