package infected

import (
	"cmp"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gaissmai/bart"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/observe"
)

// FlowsConfig is what may be set of Flows. Zero fields take the value of DefaultFlows.
type FlowsConfig struct {
	// Own are the operator's addresses: nobody else is said to be infected.
	Own []netip.Prefix
	// Exempt are own addresses that try many others by their trade: a scanner, a
	// monitor, a translator behind which many stand.
	Exempt []netip.Prefix
	// Targets is on how many addresses of one port a source must fail within Window.
	Targets int
	Window  time.Duration
	// Settle is how long a source is watched before anything is said of it: exporters
	// tell of a connection that came about later than of one that didn't.
	Settle time.Duration
	// Quiet, Every and Again are as in Config.
	Quiet, Every, Again time.Duration
	// The bounds of memory: sources, and places for targets in all. With the defaults
	// 130 MB when both tables are full.
	Sources, Places int
}

// DefaultFlows is what runs when nothing is set.
func DefaultFlows() FlowsConfig {
	return FlowsConfig{
		Targets: 25, Window: 5 * time.Minute, Settle: time.Minute,
		Quiet: 24 * time.Hour, Every: 10 * time.Minute, Again: 6 * time.Hour,
		Sources: 1 << 17, Places: 1 << 20,
	}
}

// FlowsPorts are what Flows asks of others. Each may be nil.
type FlowsPorts struct {
	// Listed tells what the list of C&C servers says of an endpoint.
	Listed func(addr netip.Addr, port uint16, at time.Time) (entry, family string, contact observe.Contact, ok bool)
	// May tells whether it may be noted that an own address talked to a listed one: its
	// consent to that is there. Without it nobody's is.
	May func(own netip.Addr) bool
}

// Flows finds own addresses that scan, that talk to a C&C server, or that take part in
// an attack, by flows.
//
// Who scans tries one port of many addresses, nearly all of which don't answer. One SYN
// that nobody answers is nothing: Flows counts addresses on which a source failed within
// the window beside those on which it didn't, and says something only where nearly all
// failed. It says nothing where that has another cause as a rule: programs that look for
// peers which have gone (see peerPorts), lines that can't reach anybody, one service that
// is down (see ports of common use), and UDP of which answers can't be seen at all. SYN/ACK
// and RST that a source sends are answers, of which a victim sends very many, and count
// for nothing.
//
// Its methods may be called from several goroutines; the Findings is called under its
// lock and must not call back.
type Flows struct {
	cfg         FlowsConfig
	ports       FlowsPorts
	out         detect.Findings
	own, exempt bart.Lite

	mu      sync.Mutex
	now     int64 // how far the data's time has come, Unix nanoseconds
	swept   int64
	places  int // in all tables of targets
	sources map[packet.Addr]*source
	touched []packet.Addr // to be judged
	ending  bool          // nothing more will come: judge at once
	dropped uint64
}

// NewFlows makes a detector that hands each version of a finding to out.
func NewFlows(cfg FlowsConfig, ports FlowsPorts, out detect.Findings) *Flows {
	def := DefaultFlows()
	cfg.Targets = cmp.Or(cfg.Targets, def.Targets)
	cfg.Window = cmp.Or(cfg.Window, def.Window)
	cfg.Settle = cmp.Or(cfg.Settle, def.Settle)
	cfg.Quiet = cmp.Or(cfg.Quiet, def.Quiet)
	cfg.Every = cmp.Or(cfg.Every, def.Every)
	cfg.Again = cmp.Or(cfg.Again, def.Again)
	cfg.Sources = cmp.Or(cfg.Sources, def.Sources)
	cfg.Places = cmp.Or(cfg.Places, def.Places)
	d := &Flows{cfg: cfg, ports: ports, out: out, sources: map[packet.Addr]*source{}}
	for _, p := range cfg.Own {
		d.own.Insert(p.Masked())
	}
	for _, p := range cfg.Exempt {
		d.exempt.Insert(p.Masked())
	}
	return d
}

// flowTime is until when a flow's time can be, Unix nanoseconds.
const flowTime = detect.LastMinute * int64(time.Second)

// Take takes flows about in order of time. Cutting them into other batches changes
// nothing.
func (d *Flows) Take(batch []observe.Flow) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range batch {
		f := &batch[i]
		if f.First < 0 || f.Last < f.First || f.Last > flowTime {
			d.dropped++
			continue
		}
		d.advance(f.Last)
		if f.Marks&(observe.FlowFragment|observe.FlowDropped) == 0 && (f.Proto == packet.TCP || f.Proto == packet.UDP) {
			d.take(f)
		}
	}
}

func (d *Flows) take(f *observe.Flow) {
	if d.ports.Listed != nil {
		d.listed(f)
	}
	// Most flows are neither a first sign nor of somebody who gave one.
	sign := f.Proto == packet.TCP && lone(f) || f.Proto == packet.UDP && asks(f)
	s := d.sources[f.Src]
	if s == nil && sign && d.ours(f.Src) {
		s = d.newSource(f.Src, f.First)
	}
	if s != nil {
		d.sent(s, f, sign)
	}
	if s := d.sources[f.Dst]; s != nil {
		d.received(s, f)
	}
}

// ours tells an own address of which something may be said.
func (d *Flows) ours(a packet.Addr) bool {
	n := a.Netip()
	return d.own.Contains(n) && !d.exempt.Contains(n)
}

// handshake are the flags that tell how far a connection came.
const handshake = packet.SYN | packet.ACK | packet.RST | packet.FIN | packet.PSH

// whole are those of a connection that came about from its first packet on.
const whole = packet.SYN | packet.ACK | packet.PSH

// lone tells a SYN of which nothing more came: as few packets as one tries, as large as a
// SYN is. Some exporters tell the flags of a flow's first packet alone; so what is longer
// isn't one.
func lone(f *observe.Flow) bool {
	const retries, largest = 8, 80
	return f.Marks&observe.FlowNoFlags == 0 && f.TCPFlags&handshake == packet.SYN && f.Seen <= retries && f.Bytes <= largest*f.Packets
}

// asks tells UDP that may be a question to a stranger: a packet or a few, not from a port
// of a service, not on a port that everybody asks.
func asks(f *observe.Flow) bool {
	return f.Rate <= 1 && f.Packets <= 4 && f.DstPort != 0 && (f.SrcPort >= 1024 || f.DstPort < 1024) && !common(f.DstPort) && !calm(f.DstPort) && unicast(f.Dst)
}

// unicast tells an address that one host has: not a group, not everybody, not a link's.
func unicast(a packet.Addr) bool {
	if a.Is4() {
		first := byte(a.V4() >> 24)
		return first != 0 && first != 127 && first < 224
	}
	first := a.Hi >> 48
	return a.Hi != 0 && first < 0xfe80
}

// sent notes what a source did.
func (d *Flows) sent(s *source, f *observe.Flow, sign bool) {
	s.Last = max(s.Last, f.Last)
	o := tried
	if !sign {
		if o = further(f); o == 0 {
			return
		}
		if f.TCPFlags&whole == whole {
			s.Works = max(s.Works, f.First)
		}
	}
	p := s.port(f.DstPort, f.Proto)
	if sign {
		s.spread(f.DstPort, f.First, int64(d.cfg.Window))
		if p == nil {
			p = d.newPort(s, f)
		}
	}
	if p == nil {
		return
	}
	if sign {
		p.First, p.Last = min(p.First, f.First), max(p.Last, f.Last)
		p.Packets += f.Packets
		p.Rate = max(p.Rate, f.Rate)
	}
	d.note(s, p, f.Dst, f.First, o)
	d.touch(s)
}

// further tells how far a connection came of which more than a SYN is seen; 0: it
// doesn't show.
func further(f *observe.Flow) outcome {
	if f.Proto != packet.TCP || f.Marks&observe.FlowNoFlags != 0 {
		return 0
	}
	switch h := f.TCPFlags & handshake; {
	case h&packet.ACK != 0 && h&(packet.RST|packet.SYN) != packet.RST:
		return met
	case h&packet.RST != 0: // an answer that came too late or wasn't wanted; or one of ours to somebody's SYN
		return halfway
	}
	return 0
}

// received notes what a source was answered. What it didn't ask for isn't an answer.
func (d *Flows) received(s *source, f *observe.Flow) {
	const welcome = packet.SYN | packet.ACK
	if f.Proto == packet.TCP && f.TCPFlags&welcome == welcome {
		s.Works = max(s.Works, f.First)
	}
	if f.Proto == packet.TCP && f.TCPFlags&packet.ACK != 0 || f.Proto == packet.UDP && common(f.SrcPort) {
		s.Heard = max(s.Heard, f.Last)
	}
	p := s.port(f.SrcPort, f.Proto)
	if p == nil {
		return
	}
	t := p.find(f.Src)
	switch {
	case t == nil && f.Proto == packet.UDP: // it asked first: what the source sends will be an answer
		d.note(s, p, f.Src, f.First, met)
	case t == nil:
	case f.Proto == packet.UDP:
		t.raise(met)
		s.Heard = max(s.Heard, f.Last)
	case f.Marks&observe.FlowNoFlags != 0 || f.TCPFlags == 0:
		t.raise(halfway)
	case f.TCPFlags&packet.RST != 0 && f.TCPFlags&packet.SYN == 0:
		t.raise(refused)
	case f.TCPFlags&packet.ACK != 0:
		t.raise(halfway)
	}
}

// note notes what came of a target.
func (d *Flows) note(s *source, p *tries, a packet.Addr, at int64, o outcome) {
	if t := p.find(a); t != nil {
		t.raise(o)
		t.at = max(t.at, at)
		return
	}
	if at <= d.now-int64(d.cfg.Window) {
		return
	}
	if p.used >= mostTargets {
		p.Beyond++
		if o <= refused && d.counted(s, p) {
			p.hit(a)
		}
		return
	}
	if more := p.room(); more > 0 {
		if !d.reserve(more, s) {
			return
		}
		p.grow()
	}
	p.put(target{addr: a, at: at, outcome: o})
}

// counted begins to keep the set of all addresses on which a source failed.
func (d *Flows) counted(s *source, p *tries) bool {
	if !p.Counted && d.reserve(hitsPlaces, s) {
		p.Counted = true
		p.hitAll()
	}
	return p.Counted
}

// reserve takes so many places, or counts that there are none.
func (d *Flows) reserve(places int, keep *source) bool {
	if d.places+places > d.cfg.Places {
		d.evict(keep)
	}
	if d.places+places > d.cfg.Places {
		d.dropped++
		return false
	}
	d.places += places
	return true
}

func (d *Flows) newSource(a packet.Addr, at int64) *source {
	if len(d.sources) >= d.cfg.Sources {
		d.evict(nil)
	}
	if len(d.sources) >= d.cfg.Sources {
		d.dropped++
		return nil
	}
	s := &source{Addr: a, First: at, Last: at}
	d.sources[a] = s
	return s
}

// newPort begins to count a port of a source; the one with the fewest targets makes room.
func (d *Flows) newPort(s *source, f *observe.Flow) *tries {
	if len(s.Ports) >= mostPorts {
		worst := -1
		for i, p := range s.Ports {
			if !p.Open && (worst < 0 || p.used < s.Ports[worst].used || p.used == s.Ports[worst].used && p.Last < s.Ports[worst].Last) {
				worst = i
			}
		}
		if worst < 0 {
			d.dropped++
			return nil
		}
		d.places -= s.Ports[worst].places()
		s.Ports = slices.Delete(s.Ports, worst, worst+1)
	}
	if !d.reserve(firstPlaces, s) {
		return nil
	}
	p := &tries{Port: f.DstPort, Proto: f.Proto, First: f.First, Last: f.Last, table: make([]target, firstPlaces)}
	s.Ports = append(s.Ports, p)
	return p
}

func (d *Flows) touch(s *source) {
	if !s.touched {
		s.touched = true
		d.touched = append(d.touched, s.Addr)
	}
}

// evict makes room: a quarter of the sources of which nothing is said go, those first
// that were quiet longest.
func (d *Flows) evict(keep *source) {
	var list []*source
	for _, s := range d.sources {
		if !s.said() && s != keep {
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *source) int { return cmp.Or(cmp.Compare(a.Last, b.Last), a.Addr.Compare(b.Addr)) })
	for _, s := range list[:(len(list)+3)/4] {
		d.forget(s)
		d.dropped++
	}
}

func (d *Flows) forget(s *source) {
	d.places -= s.places()
	delete(d.sources, s.Addr)
}

// flowStep is how often sources are judged, in the time of the data.
const flowStep = int64(10 * time.Second)

// advance brings the data's time to t. What is judged at a whole step doesn't depend on
// how the flows were cut into batches.
func (d *Flows) advance(t int64) {
	if t <= d.now {
		return
	}
	if step := t / flowStep; step > d.now/flowStep {
		d.now = step * flowStep
		d.settle()
		d.sweep()
	}
	d.now = t
}

// Tick tells that the data's time has come to at.
func (d *Flows) Tick(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := at.UnixNano(); t <= flowTime {
		d.advance(t)
	}
}

// Finish says what can be said when nothing more will come.
func (d *Flows) Finish() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ending = true
	for _, a := range slices.SortedFunc(maps.Keys(d.sources), packet.Addr.Compare) {
		d.touch(d.sources[a])
	}
	d.settle()
	d.ending = false
}

// settle judges those of whom there is something new.
func (d *Flows) settle() {
	list := d.touched
	d.touched = nil
	slices.SortFunc(list, packet.Addr.Compare)
	for _, a := range list {
		s := d.sources[a]
		if s == nil || !s.touched {
			continue
		}
		s.touched = false
		d.judge(s)
	}
}

// sweep closes findings and forgets sources that were quiet for long.
func (d *Flows) sweep() {
	if d.now-d.swept < sweepEvery {
		return
	}
	d.swept = d.now
	window, quiet := int64(d.cfg.Window), int64(d.cfg.Quiet)
	for _, a := range slices.SortedFunc(maps.Keys(d.sources), packet.Addr.Compare) {
		s := d.sources[a]
		s.Ports = slices.DeleteFunc(s.Ports, func(p *tries) bool {
			if p.Open || p.Last+window > d.now {
				return false
			}
			d.places -= p.places()
			return true
		})
		for k := range kinds {
			if l := &s.Said[k]; l.Open && l.Last+quiet <= d.now {
				l.Open = false
				d.out.Find(d.words(s, k, detect.Closed))
				d.over(s, k)
			}
		}
		calls := s.Calls[:0]
		for _, c := range s.Calls {
			if s.Said[called].Open || c.Last+quiet > d.now {
				calls = append(calls, c)
			}
		}
		d.places -= callPlaces * (len(s.Calls) - len(calls))
		if s.Calls = calls; !s.said() && len(s.Calls) == 0 && s.Last+window <= d.now {
			d.forget(s)
		}
	}
}

// over forgets what a finding stood on.
func (d *Flows) over(s *source, k kind) {
	s.Said[k] = life{}
	switch k {
	case scans:
		s.Ports = slices.DeleteFunc(s.Ports, func(p *tries) bool {
			if p.Open {
				d.places -= p.places()
			}
			return p.Open
		})
	case called:
		d.places -= callPlaces * len(s.Calls)
		s.Calls = nil
	case takesPart:
		d.places -= partPlaces * len(s.Parts)
		s.Parts = nil
	}
}

// tell opens a finding, or gives a new version of it.
func (d *Flows) tell(s *source, k kind, n int, last int64) {
	l := &s.Said[k]
	l.Last = max(l.Last, last)
	state := detect.Changed
	switch {
	case !l.Open:
		l.Open, l.Opened, state = true, d.now, detect.Opened
	case d.now-l.Emitted < int64(d.cfg.Every) && !d.ending:
		if n > l.Told {
			d.touch(s) // later
		}
		return
	case n <= l.Told && d.now-l.Emitted < int64(d.cfg.Again):
		return
	}
	l.Emitted, l.Told = d.now, n
	d.out.Find(d.words(s, k, state))
}

// Found is one own address of which something is said.
type Found struct {
	Address netip.Addr `json:"address"`
	Reason  string     `json:"reason"`  // "scan", "contact", "attempt" or "attack"
	Ports   []uint16   `json:"ports"`   // of the targets, ascending
	Targets uint64     `json:"targets"` // addresses it failed on; C&C servers; attacks
}

// Found are those of which something is said now, by address and reason.
func (d *Flows) Found() []Found {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := []Found{}
	for _, s := range d.sources {
		for k := range kinds {
			if s.Said[k].Open {
				list = append(list, s.found(k))
			}
		}
	}
	slices.SortFunc(list, func(a, b Found) int {
		return cmp.Or(a.Address.Compare(b.Address), strings.Compare(a.Reason, b.Reason))
	})
	return list
}

// Dropped is how much was given up: sources and targets for which there was no room, and
// flows whose time can't be.
func (d *Flows) Dropped() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dropped
}

// Size is how many sources and places for targets are in use, see FlowsConfig.
func (d *Flows) Size() (sources, places int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.sources), d.places
}

// LogValue shows the detector's size and nobody's address.
func (d *Flows) LogValue() slog.Value {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slog.GroupValue(slog.Int("sources", len(d.sources)), slog.Int("places", d.places), slog.Uint64("dropped", d.dropped))
}

var _ detect.Detector = (*Flows)(nil)
