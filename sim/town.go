package sim

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"time"

	"sakimori/base/wire/packet"
)

// Town is an access network of the small Internet: lines with contracts, whose
// sessions come and go, some behind a translator; a few of them infected. Live
// draws its life, from which everything is written that an operator would have:
// accounting, the translator's log, the telescope's capture, others' reports.
type Town struct {
	Seed     uint64
	Start    time.Time
	Duration time.Duration
	Lines    int // contracts
	Infected int // of them, sooner or later; 0: one of twenty
	// Fixed are addresses of further lines, which keep them all the time. What they send
	// is another's to say.
	Fixed []netip.Addr
}

// What a town has, beyond what may be set.
const (
	townInterim = 6 * time.Hour    // between two Interim-Updates of a session
	townSkew    = 45 * time.Second // by which the clock of bng2 is ahead
	townSecret  = "a secret of the small Internet"
	blockPorts  = 1024 // of a block that the translator lends
	blocksEach  = 62   // blocks of an address: 1024 to 64511
)

// The addresses of a town: benchmark and documentation ranges, beside the dark ones.
var (
	town4   = netip.MustParsePrefix("198.19.0.0/17")   // lent to lines one by one
	town4s  = netip.MustParsePrefix("198.19.128.0/17") // shared by lines behind the translator
	town6   = netip.MustParsePrefix("2001:db8:4000::/36")
	inside4 = netip.MustParsePrefix("100.64.0.0/10")
)

var bngs = [...]string{"bng1", "bng2", "bng3"} // the second one's clock is off, the third is started anew

const (
	skewedBNG  = 1
	restartBNG = 2
)

// Life is what happened in a town.
type Life struct {
	Town

	start, end int64
	restart    int64 // of bng3
	lines      []townLine
	ill        []int32   // lines that are infected sooner or later
	sessions   []session // by beginning
	blocks     []block
	spells     []Spell // by line, then time
	visits     []visit
	reports    []report
}

type townLine struct {
	bng    uint8
	shared bool
	pace   time.Duration // mean length of a session
	fixed  uint32        // its address, 0: it changes
}

// session is one use of an address, or of one before the translator.
type session struct {
	line     int32
	after    int32 // number of the session whose address it takes over at once, -1 none
	addr     uint32
	from, to int64
	silent   bool // its Stop is lost
	cut      bool // it ended with its BNG
	open     bool // it goes on after the end
}

// block is a range of ports that the translator lends.
type block struct {
	session  int32
	addr     uint32
	low      uint16
	from, to int64
}

// Live draws a town's life.
func (t Town) Live() (*Life, error) {
	const most = 30_000 // addresses of the dynamic pool
	switch {
	case t.Lines < 20 || t.Lines > most:
		return nil, errors.New("a town has 20 to 30000 lines")
	case t.Duration < 2*24*time.Hour || t.Duration > 400*24*time.Hour || t.Start.Year() < 2000 || t.Start.Year() > 2200:
		return nil, errors.New("a town lives for 2 to 400 days, after the year 2000")
	case len(t.Fixed) > most || slices.ContainsFunc(t.Fixed, func(a netip.Addr) bool { return !a.Is4() }):
		return nil, errors.New("at most 30000 lines have a fixed address, of IPv4")
	case t.Infected < 0 || t.Infected > t.Lines/2:
		return nil, errors.New("at most half of the lines are infected")
	}
	if t.Infected == 0 {
		t.Infected = max(6, t.Lines/20)
	}
	l := &Life{Town: t, start: t.Start.UnixNano(), end: t.Start.Add(t.Duration).UnixNano()}
	r := rng(mix(t.Seed, 0x10e5))
	l.restart = l.start + int64(t.Duration)*3/5 + int64(r.below(uint64(time.Hour)))
	l.settle(&r)
	l.choose(&r)
	l.handOver(&r)
	l.lend(&r)
	l.translate(&r)
	l.infect(&r)
	l.tell(&r)
	return l, nil
}

// settle gives each line its sessions.
func (l *Life) settle(r *rng) {
	const day = 24 * time.Hour
	for i := range l.Lines {
		x := townLine{bng: uint8(r.below(3)), shared: r.below(4) == 0, pace: 3 * day}
		if r.below(4) == 0 {
			x.pace = 10 * time.Hour
		}
		l.lines = append(l.lines, x)
		at := l.start + int64(r.below(uint64(2*time.Hour)))
		if r.below(5) == 0 {
			at = l.start - int64(r.below(uint64(day))) // the log begins in the middle of it
		}
		for at < l.end {
			s := session{line: int32(i), after: -1, from: at, to: at + max(r.gap(int64(x.pace)), int64(10*time.Minute))}
			if s.to <= l.start {
				s.to = l.start + int64(time.Hour)
			}
			next := s.to + int64(5*time.Second) + int64(r.below(uint64(2*time.Hour)))
			if x.bng == restartBNG && s.from < l.restart && s.to > l.restart-int64(time.Minute) {
				s.to, s.cut = l.restart, true
				next = l.restart + int64(2*time.Minute) + int64(r.below(uint64(8*time.Minute)))
			}
			if s.to >= l.end {
				s.to, s.open = l.end, true
			}
			s.silent = !s.cut && r.below(30) == 0
			l.sessions = append(l.sessions, s)
			at = next
		}
	}
	for _, a := range l.Fixed {
		line := int32(len(l.lines))
		l.lines = append(l.lines, townLine{fixed: packet.FromNetip(a).V4()})
		l.sessions = append(l.sessions, session{line: line, after: -1, from: l.start + int64(r.below(uint64(time.Hour))), to: l.end, open: true})
	}
	l.sort()
}

func (l *Life) sort() {
	slices.SortStableFunc(l.sessions, func(a, b session) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.line, b.line))
	})
}

// handOver makes some addresses pass from one subscriber to the next within two
// seconds, as happens where a pool is nearly used up.
func (l *Life) handOver(r *rng) {
	// Of those who are infected many, as that is where it matters.
	often := make([]uint64, len(l.lines))
	for i := range often {
		often[i] = 25
	}
	for _, line := range l.ill {
		often[line] = 2
	}
	prior := make([]int64, len(l.lines)) // end of the session before
	ended := map[bool][]int{}            // that end soon, by kind of line
	order := make([]int, len(l.sessions))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(l.sessions[a].to, l.sessions[b].to) })
	next, moved := 0, map[int]int{}
	for i := range l.sessions {
		s := &l.sessions[i]
		for next < len(order) && l.sessions[order[next]].to < s.from {
			e := order[next]
			if x := &l.sessions[e]; !x.cut && r.below(often[x.line]) == 0 {
				ended[l.lines[x.line].shared] = append(ended[l.lines[x.line].shared], e)
			}
			next++
		}
		shared := l.lines[s.line].shared
		list := ended[shared]
		if n := len(list); n > 0 && !shared && l.lines[s.line].fixed == 0 {
			e := &l.sessions[list[n-1]]
			from := e.to + int64(time.Second) + int64(r.below(uint64(time.Second)))
			if l.lines[s.line].bng != restartBNG && e.line != s.line && s.from-e.to < int64(time.Hour) && prior[s.line] < e.to && from < s.from {
				moved[i] = list[n-1]
				s.from = from
			}
			ended[shared] = nil
		}
		prior[s.line] = s.to
	}
	// The order changes with the beginnings: sessions are known by line and end.
	type key struct {
		line int32
		to   int64
	}
	was := map[key]key{}
	for i, e := range moved {
		was[key{l.sessions[i].line, l.sessions[i].to}] = key{l.sessions[e].line, l.sessions[e].to}
	}
	l.sort()
	at := map[key]int32{}
	for i := range l.sessions {
		at[key{l.sessions[i].line, l.sessions[i].to}] = int32(i)
	}
	for i := range l.sessions {
		if k, is := was[key{l.sessions[i].line, l.sessions[i].to}]; is {
			l.sessions[i].after = at[k]
		}
	}
}

// lend gives each session its address.
func (l *Life) lend(r *rng) {
	public, private := newPool(l.Lines+l.Lines/20+4), newPool(l.Lines+l.Lines/20+4)
	for i := range l.sessions {
		s := &l.sessions[i]
		if fixed := l.lines[s.line].fixed; fixed != 0 {
			s.addr = fixed
			continue
		}
		pool, base := public, town4
		if l.lines[s.line].shared {
			pool, base = private, inside4
		}
		want := -1
		if s.after >= 0 {
			want = int(l.sessions[s.after].addr - first4(base))
		}
		s.addr = first4(base) + uint32(pool.take(s.from, s.to, want, r))
	}
}

// translate lends blocks of ports to the sessions behind the translator: one at the
// session's beginning, and another whenever the line was quiet for a while.
func (l *Life) translate(r *rng) {
	for i := range l.sessions {
		s := &l.sessions[i]
		if !l.lines[s.line].shared {
			continue
		}
		for at := max(s.from, l.start) + int64(time.Second) + int64(r.below(uint64(2*time.Second))); at < s.to-int64(time.Minute); {
			b := block{session: int32(i), from: at, to: at + max(r.gap(int64(40*time.Hour)), int64(30*time.Minute))}
			at = b.to + int64(10*time.Second) + int64(r.below(uint64(20*time.Minute)))
			b.to = min(b.to, s.to)
			l.blocks = append(l.blocks, b)
		}
	}
	slices.SortStableFunc(l.blocks, func(a, b block) int { return cmp.Compare(a.from, b.from) })
	pool := newPool(l.Lines/3 + blocksEach)
	for i := range l.blocks {
		b := &l.blocks[i]
		n := pool.take(b.from, b.to, -1, r)
		b.addr = first4(town4s) + uint32(n/blocksEach)
		b.low = uint16(blockPorts + n%blocksEach*blockPorts)
	}
}

func first4(p netip.Prefix) uint32 {
	b := p.Addr().As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// pool lends numbers. What came back last is often lent again first.
type pool struct {
	free []place // by the time that they came back
	head int     // of free: what stood before is lent
	lent heap
}

type place struct {
	n    int
	back int64
}

func newPool(size int) *pool {
	p := &pool{}
	for i := range size {
		p.free = append(p.free, place{i, 0})
	}
	return p
}

// take lends a number from one moment to another: the wanted one if it is free. It is
// called in order of time.
func (p *pool) take(from, to int64, want int, r *rng) int {
	for len(p.lent) > 0 && p.lent[0].back < from {
		p.free = append(p.free, p.lent.pop())
	}
	i, last := p.head, len(p.free)-1
	if r.below(3) == 0 && from-p.free[last].back > int64(time.Second) {
		i = last
	}
	if want >= 0 {
		if k := slices.IndexFunc(p.free[p.head:], func(x place) bool { return x.n == want }); k >= 0 {
			i = p.head + k
		}
	}
	n := p.free[i].n
	if i == p.head {
		p.head++
	} else {
		p.free = slices.Delete(p.free, i, i+1)
	}
	p.lent.push(place{n, to})
	return n
}

// heap has the place that comes back first at its head.
type heap []place

func (h *heap) push(x place) {
	*h = append(*h, x)
	for i := len(*h) - 1; i > 0; {
		up := (i - 1) / 2
		if (*h)[up].back <= x.back {
			break
		}
		(*h)[i], (*h)[up] = (*h)[up], x
		i = up
	}
}

func (h *heap) pop() place {
	q := *h
	first, last := q[0], len(q)-1
	q[0] = q[last]
	q = q[:last]
	for i := 0; ; {
		c := 2*i + 1
		if c >= len(q) {
			break
		}
		if c+1 < len(q) && q[c+1].back < q[c].back {
			c++
		}
		if q[i].back <= q[c].back {
			break
		}
		q[i], q[c] = q[c], q[i]
		i = c
	}
	*h = q
	return first
}
