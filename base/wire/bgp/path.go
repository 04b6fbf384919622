package bgp

import (
	"encoding/binary"
	"slices"
)

// Kind is what a segment of an AS path is.
type Kind uint8

// The kinds of segment.
const (
	Set            Kind = 1 // in no order: somebody aggregated
	Sequence       Kind = 2
	ConfedSequence Kind = 3 // within a confederation (RFC 5065)
	ConfedSet      Kind = 4
)

// Path is an AS path, the observer's neighbour first. It is reused: Update.Path writes
// all of it and keeps its memory.
type Path struct {
	ASes   []uint32 // of the sequences, prepending kept; sets and confederations left out
	Origin uint32   // the last AS; 0 where a set or nothing stands there
	Set    bool     // a set stands in it
	Confed bool     // a segment of a confederation stands in it
	// Segments are all of it, as sent; neighbouring sequences are separate ones.
	Segments []Segment

	all   []uint32 // of all segments
	plain []uint32 // memory of ASes when it isn't all
}

// Segment is one segment of a path: ASes From to To of Path.Of.
type Segment struct {
	Kind     Kind
	From, To int
}

// Of is the AS numbers of a segment.
func (p *Path) Of(s Segment) []uint32 { return p.all[s.From:s.To] }

// segments tells whether v is an AS path: kinds that exist, each with at least one AS.
func segments(v []byte, as4 bool) bool {
	shift := 1
	if as4 {
		shift = 2
	}
	for len(v) > 0 {
		if len(v) < 2 || v[0] < uint8(Set) || v[0] > uint8(ConfedSet) || v[1] == 0 {
			return false
		}
		n := 2 + int(v[1])<<shift
		if len(v) < n {
			return false
		}
		v = v[n:]
	}
	return true
}

// Path takes the AS path into p: AS_PATH, with AS4_PATH in the place of its end as far as
// that reaches (RFC 6793, section 4.2.3).
func (u *Update) Path(p *Path) {
	p.Segments, p.all = p.Segments[:0], p.all[:0]
	keep := -1
	if !u.as4 && u.path4 != nil {
		keep = length(u.path, false) - length(u.path4, true)
	}
	if keep >= 0 {
		p.add(u.path, false, keep)
		from := len(p.Segments)
		p.add(u.path4, true, whole)
		p.Segments = append(p.Segments[:from], slices.DeleteFunc(p.Segments[from:], confed)...) // section 6: they mustn't be there
	} else {
		p.add(u.path, u.as4, whole)
	}
	p.finish()
}

// whole is more ASes than a path can count.
const whole = 1 << 30

func confed(s Segment) bool { return s.Kind >= ConfedSequence }

// length is how many ASes a path counts: a set for one, confederations for none.
func length(v []byte, as4 bool) (n int) {
	shift := 1
	if as4 {
		shift = 2
	}
	for len(v) > 1 {
		switch Kind(v[0]) {
		case Sequence:
			n += int(v[1])
		case Set:
			n++
		}
		v = v[2+int(v[1])<<shift:]
	}
	return n
}

// add adds the first segments that count limit ASes, and those of confederations before
// the next.
func (p *Path) add(v []byte, as4 bool, limit int) {
	size := 2
	if as4 {
		size = 4
	}
	for len(v) > 1 {
		kind, n := Kind(v[0]), int(v[1])
		values := v[2 : 2+n*size]
		v = v[2+n*size:]
		take, count := n, 0
		switch kind {
		case Sequence:
			take = min(n, limit)
			count = take
		case Set:
			count = 1
		}
		if count > limit || take == 0 {
			return
		}
		from := len(p.all)
		if as4 {
			for i := range take {
				p.all = append(p.all, binary.BigEndian.Uint32(values[4*i:]))
			}
		} else {
			for i := range take {
				p.all = append(p.all, uint32(binary.BigEndian.Uint16(values[2*i:])))
			}
		}
		p.Segments = append(p.Segments, Segment{kind, from, len(p.all)})
		if limit -= count; take < n {
			return
		}
	}
}

// finish tells of the segments what Path tells.
func (p *Path) finish() {
	p.ASes, p.Origin, p.Set, p.Confed = p.all, 0, false, false
	n := 0
	for _, s := range p.Segments {
		p.Set = p.Set || s.Kind == Set || s.Kind == ConfedSet
		p.Confed = p.Confed || confed(s)
		if p.Origin = 0; s.Kind == Sequence {
			p.Origin = p.all[s.To-1]
			n += s.To - s.From
		}
	}
	if n == len(p.all) {
		return
	}
	p.plain = p.plain[:0]
	for _, s := range p.Segments {
		if s.Kind == Sequence {
			p.plain = append(p.plain, p.Of(s)...)
		}
	}
	p.ASes = p.plain
}
