package leak

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sakimori/detect"
)

// Result is an incident in a line: what a program that reads files wants of it.
type Result struct {
	ID         string    `json:"id"`
	Kind       string    `json:"kind"`
	Form       string    `json:"form"`
	Leaker     uint32    `json:"leaker"`
	Adjacency  string    `json:"adjacency"`
	Prefixes   uint64    `json:"prefixes"`
	Origin     uint32    `json:"origin"`          // announced, of most of its prefixes; 0 can't be told
	Expected   uint32    `json:"expected_origin"` // who should announce most of them; 0 not known
	First      time.Time `json:"first"`
	Last       time.Time `json:"last"`
	Detected   time.Time `json:"detected"`
	Closed     bool      `json:"closed"`
	Confidence float64   `json:"confidence"`
	Signals    []string  `json:"signals"` // the strongest first
}

// mostResults is how many results are kept: the latest.
const mostResults = 4096

// Results are the incidents so far, in the order in which they were opened; of very many
// the latest.
func (d *Detector) Results() []Result {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.list {
		if c.open && !c.closed && !c.shut {
			d.keepResult(c)
		}
	}
	return slices.Clone(d.results)
}

func (d *Detector) keepResult(c *hunt) {
	i := d.brief(c)
	at := slices.IndexFunc(d.results, func(r Result) bool { return r.ID == c.id })
	if at < 0 {
		if len(d.results) >= mostResults {
			d.results = slices.Delete(d.results, 0, 1)
		}
		d.results = append(d.results, i)
		return
	}
	d.results[at] = i
}

// brief is a case in a line.
func (d *Detector) brief(c *hunt) Result {
	to := uint32(0)
	r := Result{
		ID: c.id, Kind: string(kinds[c.kind]), Leaker: c.by, Prefixes: uint64(len(c.hits)) + c.beyond, First: nano(c.first), Last: nano(c.last), Detected: second(c.detected),
		Closed: c.shut, Confidence: round(c.confid), Signals: []string{},
	}
	switch c.kind {
	case outages:
		r.Leaker = 0
	case blackholes:
	default:
		to = mostly(c.tos)
	}
	if to != 0 {
		r.Adjacency = fmt.Sprintf("%d-%d", to, c.by)
	}
	r.Form, _ = c.form()
	origins, expected := map[uint32]int{}, map[uint32]int{}
	for j := range c.hits {
		origins[c.hits[j].origin]++
		if c.hits[j].expecs > 0 {
			expected[c.hits[j].expect[0]]++
		}
	}
	if m := most(origins, 1); len(m) > 0 {
		r.Origin = m[0]
	}
	if m := most(expected, 1); len(m) > 0 {
		r.Expected = m[0]
	}
	var list []detect.Signal
	for x := range c.tally {
		if c.tally[x].Count > 0 {
			list = append(list, c.tally[x].signal(sign(x)))
		}
	}
	slices.SortStableFunc(list, func(a, b detect.Signal) int {
		switch {
		case a.Score > b.Score:
			return -1
		case a.Score < b.Score:
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
	for _, s := range list {
		r.Signals = append(r.Signals, s.Name)
	}
	return r
}

// Incidents are the open ones as they stand, in the order in which they began.
func (d *Detector) Incidents() []detect.Incident {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := []detect.Incident{}
	for _, c := range d.list {
		if c.open && !c.closed && !c.shut {
			out = append(out, d.incident(c, detect.Changed))
		}
	}
	return out
}

// Prefixes are all prefixes of an open incident; nil where none has the id.
func (d *Detector) Prefixes(id string) []netip.Prefix {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.list {
		if c.id == id && c.open {
			out := make([]netip.Prefix, len(c.hits))
			for i := range c.hits {
				out[i] = c.hits[i].prefix
			}
			return out
		}
	}
	return nil
}

// Finish says that the input is over: what waited for another peer's word is decided, and
// each open incident tells its last version.
func (d *Detector) Finish() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	d.now++
	d.everything()
	d.over = false
	for _, c := range d.list {
		if c.open && !c.closed && !c.shut && c.last/1e9 >= c.told {
			d.weigh(c)
			d.tell(c, detect.Changed)
		}
	}
}
