package leak

import (
	"cmp"
	"maps"
	"math"
	"math/bits"
	"slices"
)

// set is a bounded set of ways: what three ASes in a row are folded to. It only grows.
type set struct {
	slots []uint64
	used  int
	most  int
}

func newSet(most int) set { return set{slots: make([]uint64, 1<<12), most: most} }

func spread(k uint64) uint64 {
	k ^= k >> 29
	k *= 0x9e3779b97f4a7c15
	return k ^ k>>32
}

// wayOf folds three ASes, in the order in which a route travels.
func wayOf(from, by, to uint32) uint64 {
	return max(spread(spread(uint64(from)<<32|uint64(by))^uint64(to)*0xff51afd7ed558ccd), 1)
}

func (s *set) has(k uint64) bool {
	mask := uint64(len(s.slots) - 1) //nolint:gosec // never empty
	for i := k & mask; ; i = (i + 1) & mask {
		if s.slots[i] == k {
			return true
		}
		if s.slots[i] == 0 {
			return false
		}
	}
}

// add tells whether there was room.
func (s *set) add(k uint64) bool {
	mask := uint64(len(s.slots) - 1) //nolint:gosec // never empty
	i := k & mask
	for ; s.slots[i] != 0; i = (i + 1) & mask {
		if s.slots[i] == k {
			return true
		}
	}
	if s.used >= s.most {
		return false
	}
	if 4*(s.used+1) > 3*len(s.slots) {
		old := s.slots
		s.slots = make([]uint64, 2*len(old))
		s.used = 0
		for _, o := range old {
			if o != 0 {
				s.add(o)
			}
		}
		return s.add(k)
	}
	s.slots[i] = k
	s.used++
	return true
}

// pairs are adjacencies: two ASes next to each other, to whom and from whom a route
// travelled, and how many prefixes one vantage point had over them.
type pairs struct {
	keys []uint64 // to<<32 | from
	vals []pair
	used int
	most int
}

// pair is an adjacency's figures. Its maxima are of eight days each, the newest first:
// together of the last 24 to 32 days.
type pair struct {
	transit [4]uint32 // prefixes of other origins than its own that the sender passed on
	count   uint32    // while a sweep counts
	stamp   uint32    // of whose routes count is
}

func newPairs(most int) pairs {
	return pairs{keys: make([]uint64, 1<<10), vals: make([]pair, 1<<10), most: most}
}

func pairKey(to, from uint32) uint64 { return uint64(to)<<32 | uint64(from) }

func (p *pairs) find(k uint64) *pair {
	mask := uint64(len(p.keys) - 1) //nolint:gosec // never empty
	for i := spread(k) & mask; ; i = (i + 1) & mask {
		if p.keys[i] == k {
			return &p.vals[i]
		}
		if p.keys[i] == 0 {
			return nil
		}
	}
}

// at is the adjacency's place, made where there is room; else nil.
func (p *pairs) at(k uint64) *pair {
	if v := p.find(k); v != nil || p.used >= p.most {
		return v
	}
	if 4*(p.used+1) > 3*len(p.keys) {
		old := *p
		p.keys, p.vals, p.used = make([]uint64, 2*len(old.keys)), make([]pair, 2*len(old.keys)), 0
		for i, k := range old.keys {
			if k != 0 {
				*p.at(k) = old.vals[i]
			}
		}
	}
	mask := uint64(len(p.keys) - 1) //nolint:gosec // never empty
	i := spread(k) & mask
	for p.keys[i] != 0 {
		i = (i + 1) & mask
	}
	p.keys[i] = k
	p.used++
	return &p.vals[i]
}

// most is the adjacency's maximum.
func (v *pair) max() uint32 { return max(v.transit[0], v.transit[1], v.transit[2], v.transit[3]) }

// sweepEvery is how often the adjacencies are counted, and maxDays how many days one of
// their maxima is of.
const (
	sweepEvery = 3600
	maxDays    = 8
)

// sweep counts the prefixes of each adjacency as they stand: all paths that are in use,
// vantage point by vantage point. It runs once an hour and after each table, as counting
// at each change would cost more than all the rest.
func (d *Detector) sweep() {
	if d.table == nil {
		return
	}
	old := d.swept / (maxDays * day)
	d.swept, d.stated = d.now, 0
	if slot := d.now / (maxDays * day); old != 0 && slot != old {
		for i := range d.pairs.vals {
			t := &d.pairs.vals[i].transit
			*t = [4]uint32{0, t[0], t[1], t[2]}
		}
	}
	d.keepMost(old != 0 && d.now/(maxDays*day) != old)
	order := make([]uint32, 0, 1<<10)
	for id := range d.paths {
		if d.paths[id].routes > 0 {
			order = append(order, uint32(id))
		}
	}
	sortByVantage(order, d.paths)
	for _, id := range order {
		p := &d.paths[id]
		way, ok := d.plain(d.table.Path(id))
		if !ok {
			continue
		}
		for i := 0; i+1 < len(way); i++ {
			v := d.pairs.at(pairKey(way[i+1], way[i]))
			if v == nil || i == 0 {
				continue
			}
			if v.stamp != p.vantage {
				v.stamp, v.count = p.vantage, 0
			}
			v.count += uint32(max(p.routes, 0))
			v.transit[0] = max(v.transit[0], v.count)
		}
	}
}

// leaksTo tells whether an open incident is of routes that one AS passed on to another.
func (d *Detector) leaksTo(by, to uint32) bool {
	for _, k := range [...]kind{leaks, drifts} {
		if c := d.cases[key{k, by, to}]; c != nil && c.open {
			return true
		}
	}
	return false
}

// age learns the ways of paths that have been in use for a day, and of no incident.
func (d *Detector) age() {
	if d.table == nil {
		return
	}
	d.aged = d.now
	for id := range d.paths {
		p := &d.paths[id]
		if p.routes <= 0 || d.now-int64(p.born) < day {
			continue
		}
		if p.signs != 0 && d.leaksTo(p.leaker, p.to) {
			continue
		}
		if way, ok := d.plain(d.table.Path(uint32(id))); ok {
			d.learn(way)
			p.signs &= lasting
		}
	}
}

// learn takes a path's ways as usual.
func (d *Detector) learn(way []uint32) {
	for i := 1; i+1 < len(way); i++ {
		switch k := wayOf(way[i-1], way[i], way[i+1]); {
		case d.ways.has(k):
		case d.ways.add(k):
			d.carries[way[i]]++
		default:
			d.figures.NoWay++
		}
	}
	for i := 0; i+1 < len(way); i++ {
		d.pairs.at(pairKey(way[i+1], way[i]))
	}
}

// keepMost keeps how many prefixes the peers of each AS had at most; turn begins eight days
// anew.
func (d *Detector) keepMost(turn bool) {
	if turn {
		for _, m := range d.most {
			for f := range m {
				m[f] = [4]uint32{0, m[f][0], m[f][1], m[f][2]}
			}
		}
	}
	for i := range d.peers {
		p := &d.peers[i]
		if !p.known || !p.judged {
			continue
		}
		m := d.most[p.as]
		if m == nil {
			m = &[2][4]uint32{}
			d.most[p.as] = m
		}
		for f := range m {
			m[f][0] = max(m[f][0], uint32(max(p.high[f], p.routes[f], 0)))
			p.high[f] = p.routes[f]
		}
	}
}

// Maximum is how many prefixes an AS's peers tell.
type Maximum struct {
	AS   uint32 `json:"as"`
	V6   bool   `json:"v6"`
	Now  int    `json:"now"`  // of the peer that tells most
	Most int    `json:"most"` // within the last 24 to 32 days
}

// Maxima are the numbers of prefixes of each AS that peers are of, by AS: what a limit of
// prefixes on a session is made of.
func (d *Detector) Maxima() []Maximum {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keepMost(false)
	out := []Maximum{}
	for _, as := range slices.Sorted(maps.Keys(d.most)) {
		for f, m := range d.most[as] {
			x := Maximum{AS: as, V6: f == 1, Most: int(max(m[0], m[1], m[2], m[3]))}
			for i := range d.peers {
				if p := &d.peers[i]; p.as == as && p.judged {
					x.Now = max(x.Now, int(p.routes[f]))
				}
			}
			if x.Most > 0 {
				out = append(out, x)
			}
		}
	}
	return out
}

// burstFloor is from how many new more-specifics in a minute that minute is remembered:
// ten times less is below the lowest line.
const burstFloor = 10

// burst is how many new more-specifics an adjacency brought in its busy minutes: how many
// minutes had 2ⁱ or more and less than 2ⁱ⁺¹. All are halved each week.
type burst struct {
	Minutes [20]uint16
	Week    int64
}

func (b *burst) add(n uint32, now int64) {
	if week := now / (7 * day); week != b.Week {
		if b.Week != 0 {
			for i := range b.Minutes {
				b.Minutes[i] /= 2
			}
		}
		b.Week = week
	}
	i := min(bits.Len32(n)-1, len(b.Minutes)-1)
	b.Minutes[i] = min(b.Minutes[i]+1, 1<<15)
}

// p99 is what all but a hundredth of a week's minutes stay below.
func (b *burst) p99() int {
	if b == nil {
		return 0
	}
	n := 0
	for i := len(b.Minutes) - 1; i >= 0; i-- {
		if n += int(b.Minutes[i]); n > 7*day/60/100 {
			return 1 << (i + 1)
		}
	}
	return 0
}

// freshSeen counts a new more-specific at each adjacency of its path.
func (d *Detector) freshSeen(id uint32) {
	way, ok := d.plain(d.table.Path(id))
	if !ok {
		return
	}
	for i := 0; i+1 < len(way); i++ {
		k := pairKey(way[i+1], way[i])
		if n := d.fresh[k]; n > 0 || len(d.fresh) < d.cfg.Cases {
			d.fresh[k] = n + 1
		}
	}
}

// minute ends a minute of counting new more-specifics. What an open incident brings is no
// habit.
func (d *Detector) minute() {
	for k, n := range d.fresh {
		if n < burstFloor {
			continue
		}
		if d.leaksTo(uint32(k&math.MaxUint32), uint32(k>>32)) {
			continue
		}
		b := d.bursts[k]
		if b == nil {
			if len(d.bursts) >= d.cfg.Cases {
				continue
			}
			b = &burst{}
			d.bursts[k] = b
		}
		b.add(n, d.now)
	}
	clear(d.fresh)
}

func sortByVantage(ids []uint32, paths []path) {
	slices.SortFunc(ids, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(paths[a].vantage, paths[b].vantage), cmp.Compare(a, b))
	})
}
