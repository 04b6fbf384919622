package leak

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"

	"sakimori/detect"
)

// Tables tells what comes in from the neighbours of our edge.
type Tables interface {
	// Offered calls f with each route that a neighbour announces now, before our policy,
	// until f says no. The route is reused. known is false where nobody tells us.
	Offered(ctx context.Context, neighbor uint32, f func(r *Offered) bool) (known bool, err error)
}

// Filter is a filter for one session, as it is written for one make of router.
type Filter struct {
	Vendor      string      `json:"vendor"` // junos, iosxr, bird, frr
	Neighbor    uint32      `json:"neighbor"`
	Title       detect.Text `json:"title"`
	Text        string      `json:"text"`
	Checked     detect.Text `json:"checked"`      // how the form was checked
	Rejects     int         `json:"rejects"`      // routes of the incident
	Misses      int         `json:"misses"`       // routes of the incident that it lets in
	AlsoRejects int         `json:"also_rejects"` // ordinary routes that it would hit
	Known       bool        `json:"known"`        // what the neighbour announces is known; otherwise the numbers are the incident's own
	Others      []Weighed   `json:"others"`       // what else was weighed
	reject      Reject
}

// Weighed is one way to filter and what it does.
type Weighed struct {
	Words       detect.Text `json:"words"`
	Rejects     int         `json:"rejects"`
	Misses      int         `json:"misses"`
	AlsoRejects int         `json:"also_rejects"`
	reject      Reject
	lines       int // how long it is to write
}

// few is how many prefixes a filter lists at most: it is read and typed by people.
const few = 64

// Filters are those for each session on which routes of the incident come in: of all
// ways to filter, the one that catches all of the incident and hits the fewest ordinary
// routes; of equals the narrowest. kept are the prefixes kept with the incident. Where no
// session of ours brings it the list is empty.
func Filters(ctx context.Context, h *House, i *detect.Incident, kept []netip.Prefix, t Tables) ([]Filter, error) {
	list := []Filter{}
	if i.Kind == detect.Outage {
		return list, nil // there is nothing to be refused
	}
	hits := NewHits(h, i, kept)
	for n := range h.Neighbors {
		b := bench{house: h, incident: i, hits: hits, neighbor: h.Neighbors[n].AS}
		if n > 0 && slices.ContainsFunc(h.Neighbors[:n], func(o Neighbor) bool { return o.AS == b.neighbor }) {
			continue
		}
		if err := b.weigh(ctx, t); err != nil {
			return nil, fmt.Errorf("routes of AS%d can't be looked at: %w", b.neighbor, err)
		}
		if len(b.ways) > 0 {
			list = append(list, b.filters(&h.Neighbors[n])...)
		}
	}
	return list, nil
}

// bench is where the ways to filter one session are weighed.
type bench struct {
	house    *House
	incident *detect.Incident
	hits     *Hits
	neighbor uint32
	known    bool
	leaked   int
	list     []netip.Prefix  // of the incident, at most few
	spare    map[uint32]bool // behind the leaker on ordinary routes
	short4   int             // the shortest of the incident
	short6   int
	invalid  int // of the incident
	ways     []Weighed
}

// weigh looks at the neighbour's table twice: what of it is the incident's, then what
// each way would hit.
func (b *bench) weigh(ctx context.Context, t Tables) (err error) {
	b.short4, b.short6, b.spare = math.MaxInt, math.MaxInt, map[uint32]bool{}
	if t != nil {
		b.known, err = t.Offered(ctx, b.neighbor, func(r *Offered) bool {
			if b.hits.Has(r) {
				b.note(r)
			} else if at, ok := follow(r.Path, b.hits.via, b.hits.first); ok && at >= 0 {
				b.spare[behind(r.Path, at)] = true
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	if !b.known {
		b.guess()
	}
	if b.leaked == 0 {
		return nil
	}
	b.ways = b.candidates()
	if !b.known {
		for k := range b.ways {
			b.ways[k].Rejects = b.leaked
		}
		return nil
	}
	_, err = t.Offered(ctx, b.neighbor, func(r *Offered) bool {
		leaked := b.hits.Has(r)
		for k := range b.ways {
			w := &b.ways[k]
			switch fits := w.reject.Fits(r); {
			case fits && leaked:
				w.Rejects++
			case fits:
				w.AlsoRejects++
			case leaked:
				w.Misses++
			}
		}
		return true
	})
	slices.SortStableFunc(b.ways, func(x, y Weighed) int {
		return cmp.Or(cmp.Compare(x.Misses, y.Misses), cmp.Compare(x.AlsoRejects, y.AlsoRejects))
	})
	return err
}

func (b *bench) note(r *Offered) {
	b.leaked++
	if len(b.list) <= few {
		b.list = append(b.list, r.Prefix)
	}
	if r.Prefix.Addr().Is4() {
		b.short4 = min(b.short4, r.Prefix.Bits())
	} else {
		b.short6 = min(b.short6, r.Prefix.Bits())
	}
	if r.ROV.Bad() {
		b.invalid++
	}
}

// guess takes the incident's own lanes for what the session brings.
func (b *bench) guess() {
	b.leaked = 0
	for _, l := range b.incident.Lanes {
		if len(l.Is) > 0 && l.Is[0] == b.neighbor && l.Last.IsZero() {
			b.leaked += max(1, l.Routes)
		}
	}
	if b.leaked > 0 && b.hits.whole && len(b.hits.kept) <= few {
		for p := range b.hits.kept {
			b.list = append(b.list, p)
		}
	}
}

// candidates are the ways that can be meant, the narrowest first.
func (b *bench) candidates() (ways []Weighed) {
	add := func(x Reject, lines int) {
		slices.Sort(x.Spare)
		ways = append(ways, Weighed{reject: x, lines: lines, Words: x.Words()})
	}
	base := Reject{Via: b.hits.via, First: b.hits.first, Through: b.incident.Kind == detect.Leak && b.incident.Form != inner && b.last() == b.incident.Leaker}
	if len(base.Via) == 0 && b.incident.Kind == detect.Hijack {
		base.Origin = b.incident.Leaker
	}
	named := len(base.Via) > 0 || base.Origin != 0
	if list := ordered(slices.Clone(b.list)); len(list) > 0 && len(list) <= few && b.leaked <= few {
		x := base
		x.Prefixes = list
		add(x, len(list)+1)
	}
	if named && b.leaked > 0 && b.invalid == b.leaked {
		x := base
		x.Invalid = true
		add(x, 2)
	}
	if named && b.known {
		x := base
		// What is as long as the shortest of the incident goes; a family without any stays.
		x.Longer4, x.Longer6 = above(b.short4, 32), above(b.short6, 128)
		if x.Longer4 > 0 && x.Longer6 > 0 {
			add(x, 3)
		}
	}
	if len(base.Via) > 0 && len(b.spare) > 0 && len(b.spare) <= few {
		x := base
		for as := range b.spare {
			if as != 0 {
				x.Spare = append(x.Spare, as)
			}
		}
		if len(x.Spare) > 0 {
			add(x, len(x.Spare)+1)
		}
	}
	if named {
		add(base, 1)
	}
	if b.known && b.invalid == b.leaked {
		add(Reject{Invalid: true}, 1)
	}
	return ways
}

// last is the last AS of the way.
func (b *bench) last() uint32 {
	if len(b.hits.via) == 0 {
		return 0
	}
	return b.hits.via[len(b.hits.via)-1]
}

// above is the length that all of a family are longer than; of a family that the
// incident doesn't touch, the longest that there is.
func above(shortest, longest int) int {
	if shortest == math.MaxInt {
		return longest
	}
	return shortest - 1
}

// filters write the best way for each make of router.
func (b *bench) filters(n *Neighbor) (list []Filter) {
	best := b.ways[0]
	name := fmt.Sprintf("SAKIMORI-%d", b.neighbor)
	if b.incident.Leaker != 0 {
		name += fmt.Sprintf("-%d", b.incident.Leaker)
	}
	f := form{name: name, house: b.house.AS, neighbor: n, x: &best.reject, note: "incident " + b.incident.ID}
	for _, v := range vendors {
		list = append(list, Filter{
			Vendor: v.name, Neighbor: b.neighbor, Text: v.write(&f), Checked: v.says(&best.reject), reject: best.reject,
			Title:   detect.Textf("AS%[1]d とのセッションで: %[2]s", "on the session with AS%[1]d: %[3]s", b.neighbor, best.Words.JA, best.Words.EN),
			Rejects: best.Rejects, Misses: best.Misses, AlsoRejects: best.AlsoRejects, Known: b.known, Others: append([]Weighed{}, b.ways[1:]...),
		})
	}
	return list
}
