package infected

import (
	"cmp"
	"log/slog"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"sakimori/base/wire/dns"
	"sakimori/detect"
	"sakimori/observe"
)

// CallersConfig is what may be set of Callers. Zero fields take the value of
// DefaultCallers.
type CallersConfig struct {
	// Exempt are the operator's own machines that ask for such names: a crawler, a
	// mail filter, a resolver.
	Exempt []netip.Prefix
	// Settle is how long a client is watched before anything is said of it: whoever
	// asks for many shows it by then.
	Settle time.Duration
	// Quiet, Every and Again are as in Config.
	Quiet, Every, Again time.Duration
	// The bounds of memory: clients, names that don't exist of each, listed names of
	// each. With the defaults 200 MB when every table is full.
	Clients, Names, Listed int
}

// DefaultCallers is what runs when nothing is set.
func DefaultCallers() CallersConfig {
	return CallersConfig{Settle: 5 * time.Minute, Quiet: 24 * time.Hour, Every: 10 * time.Minute, Again: 6 * time.Hour, Clients: 1 << 14, Names: 256, Listed: 16}
}

// Callers finds clients of resolvers that call a C&C server, or ask for names that a
// program makes up. Who isn't to be watched isn't told to it.
//
// One lookup of a listed name opens nothing: a link that somebody looked at does that.
// Two of them, a while apart, do. Made-up names are known by what a dozen or more of
// them have in common within an hour, none of which exists, against what the client
// asks for otherwise. Nothing is said of who asks for many: a resolver or a mail server
// behind an address speaks for people who may be anywhere.
//
// Its methods may be called from several goroutines; the Findings is called under its
// lock and must not call back.
type Callers struct {
	cfg CallersConfig
	out detect.Findings

	mu      sync.Mutex
	now     int64 // how far the data's time has come, Unix nanoseconds
	clients map[netip.Addr]*caller
	touched []netip.Addr // to be judged
	settled int64
	swept   int64
	dropped uint64
}

// NewCallers makes a detector that hands each version of a finding to out.
func NewCallers(cfg CallersConfig, out detect.Findings) *Callers {
	d := DefaultCallers()
	cfg.Settle = cmp.Or(cfg.Settle, d.Settle)
	cfg.Quiet = cmp.Or(cfg.Quiet, d.Quiet)
	cfg.Every = cmp.Or(cfg.Every, d.Every)
	cfg.Again = cmp.Or(cfg.Again, d.Again)
	cfg.Clients = cmp.Or(cfg.Clients, d.Clients)
	cfg.Names = cmp.Or(cfg.Names, d.Names)
	cfg.Listed = cmp.Or(cfg.Listed, d.Listed)
	return &Callers{cfg: cfg, out: out, clients: map[netip.Addr]*caller{}}
}

// caller is one client.
type caller struct {
	Addr        netip.Addr
	First, Last int64    // lookups, Unix nanoseconds
	Many        int64    // when it last showed that it speaks for many; 0 never
	Window      int64    // the hour in hand, its start
	Queries     uint64   // in the hour
	Relayed     uint64   // of these, for what resolvers and mail servers ask
	Forms       uint16   // in which it asked in the hour, a bit each
	Breadth     []uint64 // of distinct names in the hour: bits of their hashes
	Before      uint64   // distinct names in the hour before
	Habit       float64  // distinct names that don't exist in an hour, usually
	Missing     []missing
	Calls       []call
	Called      life // of the finding that it calls a C&C
	MadeUp      life // of the finding that it makes up names
	Shape       string
	Made        []string // names of the shape, at most mostTold
	MadeCount   int
	touched     bool
}

// missing is a name that doesn't exist.
type missing struct {
	Label, Suffix string
	At            int64
}

// call is a listed name that was asked for.
type call struct {
	Name, Entry, Family, Zone, Resolver string
	Contact                             observe.Contact
	Count                               uint64
	First, Last                         int64
}

// life is a finding's.
type life struct {
	Open            bool
	Opened, Emitted int64
	Last            int64 // what it stands on was seen last
	Told            int   // how much was told
}

// The figures by which somebody who speaks for many is known, in an hour.
const (
	breadthBits   = 2048
	manyNames     = 1500
	soonNames     = 400
	manyQueries   = 20_000
	manyForms     = 6 // with someNames
	someNames     = 300
	soonSome      = 80
	leastRelayed  = 50
	relayedShare  = 0.3
	manyRemember  = int64(24 * time.Hour)
	hour          = int64(time.Hour)
	callsApart    = int64(30 * time.Second)
	fewestCalls   = 2
	mostTold      = 20
	sweepEvery    = int64(time.Minute)
	settleEvery   = int64(10 * time.Second)
	habitDecay    = 0.8
	habitHeadroom = 1 << 10
)

// Look takes lookups of clients that may be watched.
func (d *Callers) Look(batch []observe.Lookup) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range batch {
		d.look(&batch[i])
	}
	if d.now-d.settled >= settleEvery {
		d.settle()
	}
}

func (d *Callers) look(l *observe.Lookup) {
	at := l.At.UnixNano()
	if l.At.Unix() < 0 || l.At.Unix() > detect.LastMinute || slices.ContainsFunc(d.cfg.Exempt, func(p netip.Prefix) bool { return p.Contains(l.Client) }) {
		return
	}
	d.now = max(d.now, at)
	c := d.clients[l.Client]
	if c == nil {
		if len(d.clients) >= d.cfg.Clients && !d.room() {
			d.dropped++
			return
		}
		c = &caller{Addr: l.Client, First: at, Window: at / hour * hour, Breadth: make([]uint64, breadthBits/64)}
		d.clients[l.Client] = c
	}
	c.ask(l, at)
	switch {
	case l.Contact != observe.NoContact:
		c.call(l, at, d.cfg.Listed)
		d.touch(c)
	case l.Rcode == dns.NXDomain && l.Zone == "" && (l.Type == dns.A || l.Type == dns.AAAA || l.Type == dns.HTTPS):
		if m, ok := registrable(l.Name); ok {
			c.miss(m, at, d.cfg.Names)
			if len(c.Missing) >= fewest {
				d.touch(c)
			}
		}
	}
}

// ask counts how a client asks.
func (c *caller) ask(l *observe.Lookup, at int64) {
	if w := at / hour * hour; w > c.Window {
		c.turn(w)
	}
	c.Last = max(c.Last, at)
	c.Queries++
	switch l.Type {
	case dns.A, dns.AAAA, dns.HTTPS:
	default:
		c.Relayed++
	}
	c.Forms |= 1 << (l.Form & 15)
	h := xxhash.Sum64String(l.Name) % breadthBits
	word, bit := &c.Breadth[h/64], uint64(1)<<(h%64)
	fresh := *word&bit == 0
	*word |= bit
	const seldom = 64
	if !fresh && c.Queries%seldom != 0 {
		return
	}
	// At the start of an hour less is enough, as far as no household does it.
	part := float64(at-max(c.First, c.Window)) / float64(hour)
	n := float64(c.breadth())
	if n > max(soonNames, part*manyNames) || c.Queries > manyQueries || bits.OnesCount16(c.Forms) >= manyForms && n > max(soonSome, part*someNames) ||
		c.Relayed >= leastRelayed && float64(c.Relayed) > relayedShare*float64(c.Queries) {
		c.Many = at
	}
}

// breadth is about how many distinct names were asked for in the hour (linear counting:
// Whang et al. 1990).
func (c *caller) breadth() uint64 {
	set := 0
	for _, w := range c.Breadth {
		set += bits.OnesCount64(w)
	}
	if set == breadthBits {
		return math.MaxUint32
	}
	return uint64(-breadthBits * math.Log(1-float64(set)/breadthBits))
}

// turn begins another hour.
func (c *caller) turn(w int64) {
	n := 0
	for _, m := range c.Missing {
		if m.At >= c.Window {
			n++
		}
	}
	if !c.MadeUp.Open { // what an infection does is no habit
		hours := float64(min((w-c.Window)/hour, habitHeadroom))
		c.Habit = (c.Habit*habitDecay + float64(n)*(1-habitDecay)) * math.Pow(habitDecay, hours-1)
	}
	c.Window, c.Before, c.Queries, c.Relayed, c.Forms = w, c.breadth(), 0, 0, 0
	clear(c.Breadth)
}

// miss notes a name that doesn't exist; the oldest makes room. Of a name that was asked
// for again only the time is new.
func (c *caller) miss(m made, at int64, most int) {
	old := c.Missing[:0]
	known := false
	for _, x := range c.Missing {
		if at-x.At > hour {
			continue
		}
		if x.Label == m.label && x.Suffix == m.suffix {
			x.At, known = at, true
		}
		old = append(old, x)
	}
	c.Missing = old
	if known {
		return
	}
	if len(c.Missing) >= most {
		c.Missing = c.Missing[1:]
	}
	c.Missing = append(c.Missing, missing{strings.Clone(m.label), strings.Clone(m.suffix), at})
}

// call notes a listed name.
func (c *caller) call(l *observe.Lookup, at int64, most int) {
	for i := range c.Calls {
		x := &c.Calls[i]
		if x.Name == l.Name && x.Contact == l.Contact {
			x.Count, x.First, x.Last = x.Count+1, min(x.First, at), max(x.Last, at)
			return
		}
	}
	if len(c.Calls) >= most {
		return // there is evidence enough
	}
	c.Calls = append(c.Calls, call{strings.Clone(l.Name), l.Entry, l.Family, l.Zone, l.Resolver, l.Contact, 1, at, at})
}

func (d *Callers) touch(c *caller) {
	if !c.touched {
		c.touched = true
		d.touched = append(d.touched, c.Addr)
	}
}

// Tick tells that the data's time has come to at.
func (d *Callers) Tick(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = max(d.now, at.UnixNano())
	d.settle()
	d.sweep()
}

// Finish says what can be said when nothing more will come.
func (d *Callers) Finish() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cfg.Settle = 0
	d.settle()
}

// settle judges those of whom there is something new, when they were watched for long
// enough.
func (d *Callers) settle() {
	d.settled = d.now
	list := d.touched
	d.touched = nil
	slices.SortFunc(list, netip.Addr.Compare)
	for _, a := range list {
		c := d.clients[a]
		if c == nil {
			continue
		}
		c.touched = false
		if d.now-c.First < int64(d.cfg.Settle) {
			d.touch(c)
			continue
		}
		d.judge(c)
	}
}

// judge opens or changes what is said of a client. Of one that turns out to speak for
// many all is taken back.
func (d *Callers) judge(c *caller) {
	if c.Many != 0 && d.now-c.Many < manyRemember {
		d.takeBack(c)
		return
	}
	if n, last := c.calls(); n >= fewestCalls {
		d.tell(c, &c.Called, n, last, d.calling)
	}
	if s, last := c.madeUp(); s.shape != "" {
		if s.count >= c.MadeCount {
			c.Shape, c.Made, c.MadeCount = s.shape, s.names, s.count
		}
		d.tell(c, &c.MadeUp, s.count, last, d.making)
		c.Made = c.Made[:min(len(c.Made), mostTold)]
	}
}

// calls is how often listed names were asked for, and when last; 0 while all of it was
// at once.
func (c *caller) calls() (n int, last int64) {
	first := int64(math.MaxInt64)
	for i := range c.Calls {
		x := &c.Calls[i]
		first, last = min(first, x.First), max(last, x.Last)
		n += int(x.Count) //nolint:gosec // a count
	}
	if n < 2 || last-first < callsApart {
		return 0, last
	}
	return n, last
}

// madeUp is what the names have in common that don't exist.
func (c *caller) madeUp() (s shaped, last int64) {
	list := make([]made, 0, len(c.Missing))
	for _, m := range c.Missing {
		list = append(list, made{m.Label, m.Suffix})
		last = max(last, m.At)
	}
	return judgeNames(list, c.Habit), last
}

// tell opens a finding, or gives a new version of it.
func (d *Callers) tell(c *caller, l *life, n int, last int64, words func(c *caller, state detect.State) detect.Finding) {
	l.Last = max(l.Last, last)
	state := detect.Changed
	switch {
	case !l.Open:
		l.Open, l.Opened, state = true, d.now, detect.Opened
	case d.now-l.Emitted < int64(d.cfg.Every):
		d.touch(c) // later
		return
	case n <= l.Told && d.now-l.Emitted < int64(d.cfg.Again):
		return
	}
	l.Emitted, l.Told = d.now, n
	d.out.Find(words(c, state))
}

// takeBack withdraws what was said.
func (d *Callers) takeBack(c *caller) {
	if c.Called.Open {
		c.Called.Open = false
		d.out.Find(d.withdrawn(c, "call", &c.Called))
	}
	if c.MadeUp.Open {
		c.MadeUp.Open = false
		d.out.Find(d.withdrawn(c, "dga", &c.MadeUp))
	}
}

// sweep closes findings and forgets clients that were quiet for long.
func (d *Callers) sweep() {
	if d.now-d.swept < sweepEvery {
		return
	}
	d.swept = d.now
	var list []*caller
	quiet := int64(d.cfg.Quiet)
	for _, c := range d.clients {
		if c.Last+quiet <= d.now || c.Called.Open && c.Called.Last+quiet <= d.now || c.MadeUp.Open && c.MadeUp.Last+quiet <= d.now {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *caller) int { return a.Addr.Compare(b.Addr) })
	for _, c := range list {
		if c.Called.Open && c.Called.Last+quiet <= d.now {
			c.Called.Open = false
			d.out.Find(d.calling(c, detect.Closed))
			c.Calls, c.Called = nil, life{}
		}
		if c.MadeUp.Open && c.MadeUp.Last+quiet <= d.now {
			c.MadeUp.Open = false
			d.out.Find(d.making(c, detect.Closed))
			c.Made, c.MadeCount, c.MadeUp = nil, 0, life{}
		}
		if c.Last+quiet <= d.now {
			delete(d.clients, c.Addr)
		}
	}
}

// Keep forgets every client that mayn't be watched any more, as its consent is gone. What
// was said of it ends.
func (d *Callers) Keep(may func(client netip.Addr) bool) {
	var list []netip.Addr
	d.mu.Lock()
	for a := range d.clients {
		list = append(list, a)
	}
	d.mu.Unlock()
	slices.SortFunc(list, netip.Addr.Compare)
	for _, a := range list {
		if may(a) { // asked without the lock: it may take a while
			continue
		}
		d.mu.Lock()
		if c := d.clients[a]; c != nil {
			d.end(c)
		}
		d.mu.Unlock()
	}
}

// end forgets a client.
func (d *Callers) end(c *caller) {
	for _, l := range []struct {
		*life
		words func(*caller, detect.State) detect.Finding
	}{{&c.Called, d.calling}, {&c.MadeUp, d.making}} {
		if !l.Open {
			continue
		}
		f := l.words(c, detect.Closed)
		f.Changed = time.Unix(0, d.now).UTC()
		f.Closed = f.Changed
		f.Why = detect.Text{JA: "記録についての同意がなくなったため、観察を終えました。", EN: "The consent to hits being kept is gone: it isn't watched any more."}
		d.out.Find(f)
	}
	delete(d.clients, c.Addr)
}

// room forgets a quarter of the clients of whom nothing is said, those first that were
// quiet longest.
func (d *Callers) room() bool {
	var list []*caller
	for _, c := range d.clients {
		if !c.Called.Open && !c.MadeUp.Open {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *caller) int { return cmp.Or(cmp.Compare(a.Last, b.Last), a.Addr.Compare(b.Addr)) })
	n := (len(list) + 3) / 4
	for _, c := range list[:n] {
		delete(d.clients, c.Addr)
		d.dropped++
	}
	return n > 0
}

// Suspect is a client that asks for made-up names.
type Suspect struct {
	Client  netip.Addr `json:"client"`
	Queries uint64     `json:"queries"` // in the hour in hand
	NX      int        `json:"nx"`      // distinct names that don't exist, of one shape
	Shape   string     `json:"shape"`
	Names   []string   `json:"names"` // some of them
}

// Suspects are those of whom that is said, by address.
func (d *Callers) Suspects() []Suspect {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := []Suspect{}
	for _, c := range d.clients {
		if c.MadeUp.Open {
			list = append(list, Suspect{c.Addr, c.Queries, c.MadeCount, c.Shape, slices.Clone(c.Made)})
		}
	}
	slices.SortFunc(list, func(a, b Suspect) int { return a.Client.Compare(b.Client) })
	return list
}

// Dropped is how many clients were given up because there was no room.
func (d *Callers) Dropped() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dropped
}

// LogValue shows the detector's size and nobody's address.
func (d *Callers) LogValue() slog.Value {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slog.GroupValue(slog.Int("clients", len(d.clients)), slog.Uint64("dropped", d.dropped))
}

var (
	_ observe.Lookups = (*Callers)(nil)
	_ detect.Detector = (*Callers)(nil)
)
