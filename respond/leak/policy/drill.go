package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"sakimori/detect"
	"sakimori/respond/leak"
)

// Drill plays updates against a policy: what of an incident would have been taken, had it
// come to this edge. It touches no router. It keeps some 60 bytes for each route that the
// policy's neighbours announce at a time. Of one neighbour it is given one peer's updates:
// those of several would count and withdraw the same prefixes.
type Drill struct {
	// As plays everything as if this neighbour had passed it on: updates of a collector,
	// whose peers aren't ours. It is put before the paths. 0: as they say.
	As uint32

	policy  *Policy
	path    []uint32  // of the update in hand, where As stands before it
	began   time.Time // of the first update that is news
	last    time.Time
	report  Report
	by      map[Reason]int
	tallies map[uint32]*tally
}

// tally is one neighbour's session.
type tally struct {
	Neighbor
	holds map[netip.Prefix]bool // what it announces now, and whether it is taken
	have  [2]int                // of IPv4 and of IPv6
	down  bool
}

// Report is what came of a drill.
type Report struct {
	Updates     int        `json:"updates"` // announcements and withdrawals, without what was there before
	Withdrawals int        `json:"withdrawals"`
	Accepted    int        `json:"accepted"` // announcements that would have been taken
	Rejected    int        `json:"rejected"`
	By          []Refusals `json:"by"`           // the most first
	AcceptedOwn int        `json:"accepted_own"` // of those taken, routes to our own space
	Seconds     float64    `json:"seconds"`      // from the first update to the last, in their own time
	Neighbors   []Neighbor `json:"neighbors"`    // those of the policy, in its order, then others by number
}

// Refusals are the announcements that were refused for one reason.
type Refusals struct {
	Reason Reason      `json:"reason"`
	Words  detect.Text `json:"words"`
	Routes int         `json:"routes"`
}

// Neighbor is what came from one.
type Neighbor struct {
	AS          uint32   `json:"as"`
	Name        string   `json:"name"`
	Offered     int      `json:"offered"`
	Accepted    int      `json:"accepted"`
	Stands      int      `json:"stands"`         // of what was taken, in the drill or before, what is still there at the end
	MaxPrefixAt *float64 `json:"maxprefix_at_s"` // when its session would have been ended, in seconds from the first update; null: never
}

// NewDrill begins a drill.
func NewDrill(p *Policy) *Drill {
	d := &Drill{policy: p, by: map[Reason]int{}, tallies: map[uint32]*tally{}}
	for _, n := range p.neighbors {
		d.tally(n.as).Name = n.name
	}
	return d
}

func (d *Drill) tally(as uint32) *tally {
	t := d.tallies[as]
	if t == nil {
		t = &tally{Neighbor: Neighbor{AS: as}, holds: map[netip.Prefix]bool{}}
		d.tallies[as] = t
	}
	return t
}

// Offer plays one update, in the order of time. What is marked as State was there before:
// it counts for the maximum of prefixes, and for nothing else.
func (d *Drill) Offer(r *leak.Offered) {
	if d.As != 0 && d.As != r.Neighbor {
		passed := *r
		passed.Neighbor = d.As
		d.path = append(append(d.path[:0], d.As), r.Path...)
		passed.Path = d.path
		r = &passed
	}
	t := d.tally(r.Neighbor)
	if !r.State {
		d.news(r)
	}
	family := 1
	if r.Prefix.Addr().Is4() {
		family = 0
	}
	if r.Withdrawn {
		if _, had := t.holds[r.Prefix]; had {
			delete(t.holds, r.Prefix)
			t.have[family]--
		}
		return
	}
	why := d.policy.Evaluate(r)
	if t.down && why != NoPolicy {
		why = MaxPrefix
	} else if n := d.policy.byAS[r.Neighbor]; n != nil {
		if _, had := t.holds[r.Prefix]; !had {
			t.have[family]++
		}
		t.holds[r.Prefix] = why == Accepted
		if most := [2]int{n.max4, n.max6}[family]; most > 0 && t.have[family] > most {
			d.trip(t, r)
			why = MaxPrefix
		}
	}
	if r.State {
		return
	}
	t.Offered++
	if why != Accepted {
		d.report.Rejected++
		d.by[why]++
		return
	}
	t.Accepted++
	d.report.Accepted++
	if d.policy.own.has(r.Prefix) {
		d.report.AcceptedOwn++
	}
}

func (d *Drill) news(r *leak.Offered) {
	d.report.Updates++
	if r.Withdrawn {
		d.report.Withdrawals++
	}
	if d.began.IsZero() {
		d.began = r.At
	}
	if r.At.After(d.last) {
		d.last = r.At
	}
}

// trip ends a session: everything that it brought is gone, and nothing comes until a
// person opens it again.
func (d *Drill) trip(t *tally, r *leak.Offered) {
	at := 0.0 // before the first update: what was there is too much already
	if !d.began.IsZero() {
		at = max(0, r.At.Sub(d.began).Seconds())
	}
	t.down, t.MaxPrefixAt, t.have = true, &at, [2]int{}
	clear(t.holds)
}

// Report is what came of it so far.
func (d *Drill) Report() Report {
	r := d.report
	r.By, r.Neighbors = []Refusals{}, []Neighbor{}
	for _, why := range Reasons() {
		if n := d.by[why]; n > 0 {
			r.By = append(r.By, Refusals{why, why.Words(), n})
		}
	}
	slices.SortStableFunc(r.By, func(a, b Refusals) int { return cmp.Compare(b.Routes, a.Routes) })
	if d.last.After(d.began) {
		r.Seconds = d.last.Sub(d.began).Seconds()
	}
	for _, n := range d.policy.neighbors {
		r.Neighbors = append(r.Neighbors, d.tallies[n.as].told())
	}
	var others []Neighbor
	for as, t := range d.tallies {
		if d.policy.byAS[as] == nil {
			others = append(others, t.told())
		}
	}
	slices.SortFunc(others, func(a, b Neighbor) int { return cmp.Compare(a.AS, b.AS) })
	r.Neighbors = append(r.Neighbors, others...)
	return r
}

func (t *tally) told() Neighbor {
	n := t.Neighbor
	for _, taken := range t.holds {
		if taken {
			n.Stands++
		}
	}
	return n
}
