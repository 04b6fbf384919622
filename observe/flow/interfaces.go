package flow

import (
	"cmp"
	"slices"

	"sakimori/observe"
)

// mostInterfaces is how many are kept account of, of each exporter, 120 bytes each. Big
// routers have some thousands, counting logical ones.
const mostInterfaces = 4096

// face is what is known of an interface.
type face struct {
	index       uint32
	used        bool
	counted     bool   // by counters of sFlow, which are exact
	in, out     uint64 // bytes: counters', else of flows, scaled
	wasIn       uint64
	wasOut      uint64
	at          int64 // when the counters were read
	inBPS       float64
	outBPS      float64
	capacity    uint64
	name, about string
}

// interfaces are those of an exporter: a table by hash, so that a flow costs no more than
// a look at two places.
type interfaces struct {
	table      []face // a power of two long, at most three quarters used
	n          int
	lost       uint64 // flows of interfaces that had no room
	egress     bool   // some flows are told where they leave
	configured map[uint32]Interface
}

// find is where an interface is, made if it is new; nil when there is no room.
func (t *interfaces) find(index uint32) *face {
	if index == 0 || index == 0xffffffff {
		return nil
	}
	if mask := uint32(len(t.table) - 1); t.table != nil { //nolint:gosec // a small power of two
		for i := index * 0x9e3779b1 >> 7; ; i++ {
			f := &t.table[i&mask]
			if f.index == index && f.used {
				return f
			}
			if !f.used {
				if t.n >= mostInterfaces {
					return nil
				}
				if 4*(t.n+1) > 3*len(t.table) {
					break
				}
				t.n++
				f.index, f.used = index, true
				return f
			}
		}
	}
	old := t.table
	t.table, t.n = make([]face, max(16, 2*len(old))), 0
	for _, f := range old {
		if f.used {
			*t.find(f.index) = f
		}
	}
	return t.find(index)
}

// add counts a flow where it came in and where it left. An exporter that tells of packets
// at both places tells of each twice.
func (t *interfaces) add(f *observe.Flow) {
	in, out := f.Marks&observe.FlowEgress == 0, true
	if in {
		out = !t.egress
	} else {
		t.egress = true
	}
	if in {
		if e := t.find(f.In); e != nil {
			if !e.counted {
				e.in += f.Bytes
			}
		} else if f.In != 0 {
			t.lost++
		}
	}
	if out && f.Marks&observe.FlowDropped == 0 {
		if e := t.find(f.Out); e != nil && !e.counted {
			e.out += f.Bytes
		}
	}
}

// counter takes the counters of an interface, which are its own since it began.
func (t *interfaces) counter(index uint32, in, out, speed uint64, at int64) {
	e := t.find(index)
	if e == nil {
		return
	}
	if e.counted && at > e.at && in >= e.wasIn && out >= e.wasOut {
		d := float64(at-e.at) / 8e9
		e.inBPS, e.outBPS = float64(in-e.wasIn)/d, float64(out-e.wasOut)/d
	}
	e.counted, e.in, e.out, e.wasIn, e.wasOut, e.at = true, in, out, in, out, at
	if speed > 0 {
		e.capacity = speed
	}
}

// rates computes bits a second of what flows told in so many nanoseconds; 0 begins with it.
func (t *interfaces) rates(took int64) {
	for i := range t.table {
		e := &t.table[i]
		if !e.used || e.counted {
			continue
		}
		if took > 0 {
			d := float64(took) / 8e9
			e.inBPS, e.outBPS = float64(e.in-e.wasIn)/d, float64(e.out-e.wasOut)/d
		}
		e.wasIn, e.wasOut = e.in, e.out
	}
}

// Counts are of an interface.
type Counts struct {
	Index    uint32  `json:"index"`
	Name     string  `json:"name"`     // as configured, else as the exporter says, else ""
	About    string  `json:"about"`    // as the exporter describes it
	InBPS    float64 `json:"in_bps"`   // bits a second, lately
	OutBPS   float64 `json:"out_bps"`  // of flows where the exporter sends no counters: IP bytes, scaled
	Capacity uint64  `json:"capacity"` // bits a second, 0 not known
	Exact    bool    `json:"exact"`    // from the interface's own counters
}

// list is what is known of all of them, by index.
func (t *interfaces) list() []Counts {
	list := make([]Counts, 0, t.n)
	for i := range t.table {
		e := &t.table[i]
		if !e.used {
			continue
		}
		c := Counts{Index: e.index, Name: e.name, About: e.about, InBPS: e.inBPS, OutBPS: e.outBPS, Capacity: e.capacity, Exact: e.counted}
		if s, is := t.configured[e.index]; is {
			c.Name = s.Name
			if s.Capacity > 0 {
				c.Capacity = s.Capacity
			}
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Counts) int { return cmp.Compare(a.Index, b.Index) })
	return list
}
