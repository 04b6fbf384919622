package dns

import (
	"cmp"
	"hash/maphash"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sakimori/base/sketch"
	"sakimori/base/wire/dns"
)

// reach counts how many distinct clients ask for a name in a day: whoever lists it
// must know who would lose it. Clients are known by a hash whose key is drawn each day
// and never leaves the memory; what is told of few of them is only that they are few.
type reach struct {
	floor     uint64
	most      int
	day       int64 // its start, Unix seconds
	key       maphash.Seed
	names     map[string]*asked // by their bytes on the wire
	forgotten uint64
}

// asked is a name that was asked for.
type asked struct {
	clients sketch.Set
	lookups uint32
	watched bool
	answers [most]netip.Addr
}

func newReach(floor uint64, names int) reach {
	return reach{floor: floor, most: names, key: maphash.MakeSeed(), names: map[string]*asked{}}
}

// form is that of the sets: 4 KiB when there are many clients, with an error of 1.6 %.
var form = sketch.Coarse

// add counts a client of a name.
func (r *reach) add(at int64, name dns.Name, client netip.Addr, m *mark, watched bool) {
	const day = int64(24 * time.Hour / time.Second)
	d := at / int64(time.Second) / day * day
	switch {
	case d > r.day:
		r.day, r.key = d, maphash.MakeSeed()
		clear(r.names)
	case d < r.day:
		return // of a day that is over
	}
	a := r.names[string(name)]
	if a == nil {
		if len(r.names) >= r.most {
			r.forget()
		}
		if len(r.names) >= r.most {
			r.forgotten++
			return
		}
		a = &asked{watched: watched}
		r.names[string(name)] = a
	}
	a.lookups++
	a.watched = a.watched || watched
	a.clients.Add(form, uint32(maphash.Comparable(r.key, client))) //nolint:gosec // 32 bits of a hash
	for _, addr := range m.answers {
		if !addr.IsValid() {
			break
		}
		for i := range a.answers {
			if a.answers[i] == addr {
				break
			}
			if !a.answers[i].IsValid() {
				a.answers[i] = addr
				break
			}
		}
	}
}

// forget makes room: half of the names go, those that were asked for least.
func (r *reach) forget() {
	counts := make([]uint32, 0, len(r.names))
	for _, a := range r.names {
		if !a.watched { // the list's own names stay
			counts = append(counts, a.lookups)
		}
	}
	if len(counts) == 0 {
		return
	}
	slices.Sort(counts)
	least := counts[len(counts)/2]
	for n, a := range r.names {
		if !a.watched && a.lookups <= least {
			delete(r.names, n)
			r.forgotten++
		}
	}
}

// Reach is who asks for a name, and for what is below it.
type Reach struct {
	Name       string    `json:"name"`
	Day        time.Time `json:"day"`
	Clients    uint64    `json:"clients"`              // distinct, that consent to matching; 0 where they are few
	Few        bool      `json:"few"`                  // fewer than Floor
	Floor      uint64    `json:"floor"`                // below which nothing is told
	Error      float64   `json:"error,omitempty"`      // standard error of Clients, as a share
	Lookups    uint64    `json:"lookups"`              // 0 where they are few
	Neighbours []string  `json:"neighbours,omitempty"` // names at the same addresses that at least Floor clients ask for
}

// neighbours is how many of them are told.
const neighbours = 20

// Reach tells it of a name, for the day in hand.
func (o *Observer) Reach(name dns.Name) Reach {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.reach.of(name)
}

func (r *reach) of(name dns.Name) Reach {
	var all sketch.Set
	answers := map[netip.Addr]bool{}
	lookups := uint64(0)
	for n, a := range r.names {
		if !dns.Name(n).Below(name) {
			continue
		}
		all.Merge(form, &a.clients)
		lookups += uint64(a.lookups)
		for _, addr := range a.answers {
			if addr.IsValid() {
				answers[addr] = true
			}
		}
	}
	out := r.told(name.String(), &all, lookups)
	if len(answers) == 0 {
		return out
	}
	for n, a := range r.names {
		if dns.Name(n).Below(name) || a.clients.Count() < r.floor || !slices.ContainsFunc(a.answers[:], func(x netip.Addr) bool { return answers[x] }) {
			continue
		}
		out.Neighbours = append(out.Neighbours, dns.Name(n).String())
	}
	slices.Sort(out.Neighbours)
	out.Neighbours = out.Neighbours[:min(len(out.Neighbours), neighbours)]
	return out
}

// told says no more than may be told.
func (r *reach) told(name string, s *sketch.Set, lookups uint64) Reach {
	out := Reach{Name: name, Day: time.Unix(r.day, 0).UTC(), Floor: r.floor}
	if n := s.Count(); n >= r.floor {
		out.Clients, out.Error, out.Lookups = n, s.Error(), lookups
	} else {
		out.Few = true
	}
	return out
}

// Top are the names that most clients ask for, of at most so many; none that few do.
func (o *Observer) Top(n int) []Reach {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []Reach
	for name, a := range o.reach.names {
		if a.clients.Count() >= o.reach.floor {
			list = append(list, o.reach.told(dns.Name(name).String(), &a.clients, uint64(a.lookups)))
		}
	}
	slices.SortFunc(list, func(a, b Reach) int {
		return cmp.Or(cmp.Compare(b.Clients, a.Clients), strings.Compare(a.Name, b.Name))
	})
	return list[:min(len(list), n)]
}

// watched tells of each name that is watched.
func (o *Observer) watched() []Reach {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []Reach
	for name, a := range o.reach.names {
		if a.watched {
			list = append(list, o.reach.told(dns.Name(name).String(), &a.clients, uint64(a.lookups)))
		}
	}
	slices.SortFunc(list, func(a, b Reach) int { return strings.Compare(a.Name, b.Name) })
	return list
}
