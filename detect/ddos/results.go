package ddos

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"sakimori/detect"
)

// Result is an attack in one line, for those who want a list at the end.
type Result struct {
	ID         string           `json:"id"`
	Target     string           `json:"target"`
	Direction  detect.Direction `json:"direction"`
	Vectors    []ResultVector   `json:"vectors"`
	PeakPPS    float64          `json:"peak_pps"`
	PeakBPS    float64          `json:"peak_bps"`
	Packets    float64          `json:"packets"`
	Sources    uint64           `json:"sources"`
	First      time.Time        `json:"first"`
	Last       time.Time        `json:"last"` // the last second above the line
	Confidence float64          `json:"confidence"`
}

// ResultVector is a vector and its share of the packets.
type ResultVector struct {
	Name  string  `json:"name"`
	Share float64 `json:"share"`
}

// Participant is one of our own addresses that took part in an attack.
type Participant struct {
	Address     netip.Addr `json:"address"`
	Attack      string     `json:"attack"` // its ID
	Target      string     `json:"target"`
	Vector      string     `json:"vector"` // the attack's largest
	Packets     float64    `json:"packets"`
	First, Last time.Time
}

// resultsMost is how many ended attacks, and partners in them, are remembered.
const resultsMost = 1 << 14

// keep remembers an attack that ends.
func (d *Detector) keep(a *attack) {
	d.results = append(d.results, d.result(a))
	d.partners = append(d.partners, d.partnersOf(a)...)
	if n := len(d.results) - resultsMost; n > 0 {
		d.results = slices.Delete(d.results, 0, n)
	}
	if n := len(d.partners) - resultsMost; n > 0 {
		d.partners = slices.Delete(d.partners, 0, n)
	}
}

func (d *Detector) result(a *attack) Result {
	o := d.object(a)
	r := Result{
		ID: d.id(a), Target: subject(&o), Direction: direction(a), PeakPPS: a.Peak, PeakBPS: a.PeakBits, Packets: a.Packets,
		Sources: a.sources.Count(), First: unix(a.Opened), Last: unix(a.Over), Confidence: a.confidence(),
	}
	for _, v := range a.vectors() {
		r.Vectors = append(r.Vectors, ResultVector{v.Name, v.Share})
	}
	return r
}

func (d *Detector) partnersOf(a *attack) (out []Participant) {
	if a.Rise {
		return nil
	}
	o, vector := d.object(a), ""
	if v := a.vectors(); len(v) > 0 {
		vector = v[0].Name
	}
	target := subject(&o)
	if role(a.Role) == takes {
		target = "" // several
	}
	for addr, p := range a.partners {
		out = append(out, Participant{addr.Netip(), d.id(a), target, vector, p.Packets, unix(p.First), unix(p.Last)})
	}
	slices.SortFunc(out, func(x, y Participant) int { return x.Address.Compare(y.Address) })
	return out
}

// Results are all attacks since the start, the last 16,384 at most, open ones as they
// are now, by their first second.
func (d *Detector) Results() []Result {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := slices.Clone(d.results)
	for _, a := range d.attacks {
		if a != nil {
			out = append(out, d.result(a))
		}
	}
	slices.SortFunc(out, func(x, y Result) int { return cmp.Or(x.First.Compare(y.First), cmp.Compare(x.ID, y.ID)) })
	return out
}

// Participants are the own addresses that took part in attacks, in order of attack and
// address: the last 16,384 of ended attacks, 4,096 of each at most, and those of open
// ones. An address takes part when it sends what an attack is made of to its target.
func (d *Detector) Participants() []Participant {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := slices.Clone(d.partners)
	for _, a := range d.attacks {
		if a != nil {
			out = append(out, d.partnersOf(a)...)
		}
	}
	slices.SortStableFunc(out, func(x, y Participant) int {
		return cmp.Or(cmp.Compare(x.Attack, y.Attack), x.Address.Compare(y.Address))
	})
	return out
}
