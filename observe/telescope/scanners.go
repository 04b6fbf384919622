package telescope

import (
	"cmp"
	"slices"
	"time"

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
}

// scanners are all scans, ended or not, joined by source, port and protocol: the
// packets add up, and the targets are those of the largest event. The busiest
// stand first. A source's events are all in one shard, so each shard makes its
// own list.
func (t *Telescope) scanners() []Scanner {
	lists := make([][]scan, len(t.workers))
	t.each(func(s *shard) { lists[s.id] = s.scans(t.first) })
	n := 0
	for _, l := range lists {
		n += len(l)
	}
	out := make([]Scanner, 0, n)
	for range n {
		best := -1
		for i, l := range lists {
			if len(l) > 0 && (best < 0 || busier(&l[0], &lists[best][0]) < 0) {
				best = i
			}
		}
		out = append(out, lists[best][0].row(t.union.v4))
		lists[best] = lists[best][1:]
	}
	return out
}

// busier orders scans by packets, the most first, and then by key.
func busier(a, b *scan) int {
	if c := cmp.Compare(b.packets, a.packets); c != 0 {
		return c
	}
	return a.compare(b)
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

// scan is an event as a row.
func (s *shard) scan(e *entry, src *source) scan {
	u := s.targets(e)
	return scan{
		src: e.src, first: e.first, last: e.last, packets: uint64(e.total), targets: u.N, err: float32(u.Err), port: e.port, proto: e.proto,
		tool: tool(&e.evidence, &src.evidence), research: src.flags&uint8(observe.Research) != 0,
	}
}

// scans are those of one shard that have had a packet since the given time.
func (s *shard) scans(since int64) []scan {
	list := []scan{}
	for i := range s.entries.n {
		e := s.entries.at(i)
		if e.marks&(markFree|markShadow) != 0 || e.total == 0 || e.last < since {
			continue
		}
		if src := s.sources.at(e.source); s.flags(e, src)&observe.Scanner != 0 {
			list = append(list, s.scan(e, src))
		}
	}
	for _, v := range s.tally.scans {
		if v.last >= since {
			list = append(list, v)
		}
	}
	slices.SortFunc(list, func(a, b scan) int {
		if c := a.compare(&b); c != 0 {
			return c
		}
		return cmp.Compare(a.first, b.first)
	})
	out := list[:0]
	for i := range list {
		if n := len(out); n > 0 && out[n-1].compare(&list[i]) == 0 {
			out[n-1].join(&list[i])
		} else {
			out = append(out, list[i])
		}
	}
	slices.SortFunc(out, func(a, b scan) int { return busier(&a, &b) })
	return out
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
}

// row is the scan as it is printed; dark is the number of IPv4 addresses watched.
func (a *scan) row(dark uint64) Scanner {
	s := Scanner{
		Source: a.src.Netip(), Port: a.port, Protocol: ProtocolName(a.proto), Packets: a.packets,
		Targets: a.targets, TargetsErr: float64(a.err), Tool: a.tool.String(), ToolVersions: a.tool.Versions(), Research: a.research,
		First: time.Unix(0, a.first).UTC(), Last: time.Unix(0, a.last).UTC(),
	}
	if dark > 0 && a.src.Is4() {
		s.Coverage = min(float64(a.targets)/float64(dark), 1)
	}
	return s
}
