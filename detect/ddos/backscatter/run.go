package backscatter

import (
	"cmp"
	"slices"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// run is an unbroken run of answers from one address.
type run struct {
	record
	vectors []vector // by port, protocol, kind
	queued  int64    // the minute of the wheel that it waits in
}

// record is the part of a run that has a fixed size. Times are Unix
// nanoseconds.
type record struct {
	Addr        packet.Addr
	First, Last int64
	Packets     uint64
	Other       uint64 // packets of vectors that were given up
	Peak        uint64 // most packets in a window of 60 s

	Base int64 // start of Bins, Unix seconds, a whole minute
	Bins [bins]uint32

	Opened    int64 // First when the finding opened
	Emitted   int64 // data time of the last version, and what it said:
	EmPackets uint64
	EmPeak    uint64
	EmVectors uint32

	Open    bool
	Waiting bool // a changed version is due
	Touched bool // something came in the minute in hand
	Own     bool // the victim is one of the operator's own addresses
}

// Three minutes of bins: the newest, the one before, which may come again, and
// the one that the windows of that one reach back into.
const (
	window = 6 // bins in a window: 60 s by 10 s
	bins   = 3 * observe.BinsPerMinute
)

// vector is one service with one kind of answer.
type vector struct {
	First, Last int64
	Packets     uint64
	Port        uint16
	Proto       uint8
	Kind        observe.Kind
}

func (v *vector) order(o *vector) int {
	return cmp.Or(cmp.Compare(v.Port, o.Port), cmp.Compare(v.Proto, o.Proto), cmp.Compare(v.Kind, o.Kind))
}

// add counts the sightings of one minute, which come in order of vector.
func (r *run) add(group []observe.Sighting) {
	var minute [observe.BinsPerMinute]uint32
	known := len(r.vectors)
	for i := range group {
		s := &group[i]
		r.Packets += uint64(s.Packets)
		r.Own = r.Own || s.Flags&observe.Own != 0
		for b, n := range s.Bins {
			minute[b] += n
		}
		v := r.vector(s, known)
		v.First, v.Last = min(v.First, s.First), max(v.Last, s.Last)
		v.Packets += uint64(s.Packets)
	}
	if len(r.vectors) > known {
		slices.SortFunc(r.vectors, func(a, b vector) int { return a.order(&b) })
	}
	r.slide(group[0].Minute, &minute)
}

// vector finds the sighting's vector among the first known ones, which are in
// order, or in the last one, or adds it at the end.
func (r *run) vector(s *observe.Sighting, known int) *vector {
	want := vector{Port: s.Port, Proto: s.Proto, Kind: s.Kind, First: s.First, Last: s.Last}
	i, ok := slices.BinarySearchFunc(r.vectors[:known], &want, func(v vector, w *vector) int { return v.order(w) })
	if ok {
		return &r.vectors[i]
	}
	if n := len(r.vectors); n > known && r.vectors[n-1].order(&want) == 0 {
		return &r.vectors[n-1]
	}
	r.vectors = append(r.vectors, want)
	return &r.vectors[len(r.vectors)-1]
}

// slide adds a minute's bins and finds the fullest window.
func (r *run) slide(start int64, minute *[observe.BinsPerMinute]uint32) {
	if start < r.Base { // long past: its own window alone
		var sum uint64
		for _, n := range minute {
			sum += uint64(n)
		}
		r.Peak = max(r.Peak, sum)
		return
	}
	if ahead := (start-r.Base)/60 - 2; ahead > 0 {
		n := int(min(ahead, 3)) * observe.BinsPerMinute
		copy(r.Bins[:], r.Bins[n:])
		clear(r.Bins[bins-n:])
		r.Base += ahead * 60
	}
	at := int(start-r.Base) / 60 * observe.BinsPerMinute
	for b, n := range minute {
		r.Bins[at+b] += n
	}
	var sum uint64
	for i, n := range r.Bins {
		sum += uint64(n)
		if i >= window {
			sum -= uint64(r.Bins[i-window])
		}
		r.Peak = max(r.Peak, sum)
	}
}

// notable is how many vectors have enough packets to be worth a new version.
func (r *run) notable(packets uint64) int {
	n := 0
	for i := range r.vectors {
		if r.vectors[i].Packets >= packets {
			n++
		}
	}
	return n
}

// rows is one row a service: its kinds of answer together, since a service may
// answer a flood in two ways.
func (r *run) rows() []Victim {
	out := make([]Victim, 0, len(r.vectors))
	for i := range r.vectors {
		v := &r.vectors[i]
		first, last := time.Unix(0, v.First).UTC(), time.Unix(0, v.Last).UTC()
		if n := len(out); n > 0 && out[n-1].Port == v.Port && out[n-1].Proto == v.Proto {
			w := &out[n-1]
			w.Packets += v.Packets
			if first.Before(w.First) {
				w.First = first
			}
			if last.After(w.Last) {
				w.Last = last
			}
			continue
		}
		out = append(out, Victim{r.Addr, v.Port, v.Proto, v.Packets, first, last})
	}
	return out
}
