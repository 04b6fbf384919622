// Package infected finds the operator's own addresses that scan: the idea of
// NICT's DAEDALUS. Nobody has a reason to ask an unused address anything, so
// an own address that asks several of them runs a program that asks everyone.
// It also finds those that call a C&C server, or ask for names that a program
// makes up: see Callers.
//
// A wrong accusation is the worst failure here, so a finding opens only when
// an event meets the telescope's definition of a scan, or when at least two
// packets carry Mirai's fingerprint. These open nothing: answers (backscatter,
// reflection), answers to something, sources that may be forged or be the
// intended victim of a reflected attack, known research scanners, the
// operator's own scanners (Config.Exempt), traceroute, and one or two targets
// however many packets they get, which is a misconfiguration.
package infected

import (
	"cmp"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/gaissmai/bart"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/observe"
)

// Config is what may be set. Zero fields take the value of DefaultConfig.
type Config struct {
	// Exempt are the operator's own scanners: no finding about them.
	Exempt []netip.Prefix
	// Verified are own prefixes in whose name nobody else can send to the sensors,
	// as the operator states: neither from another line nor from beyond the
	// borders (BCP 38 and 84). A finding says so; the telescope, which knows them
	// too, takes nobody there for the victim of who forges it.
	Verified []netip.Prefix
	// Quiet is the silence, in data time, after which a finding closes and
	// a candidate is forgotten.
	Quiet time.Duration
	// Every is the least time between two changed versions of a finding, and
	// Again the longest while it lasts: whoever follows it knows when it was
	// seen last, although nothing about it is new.
	Every, Again time.Duration

	// The bounds of memory: at most Hosts addresses with, together, at most
	// Entries pairs of port and kind; Pending sightings of the minute in
	// hand; Results addresses in All whose finding is closed. With the
	// defaults about 70 MB when every table is full.
	Hosts, Entries, Pending, Results int
}

// DefaultConfig is what runs when nothing is set.
func DefaultConfig() Config {
	return Config{
		Quiet:   24 * time.Hour,
		Every:   10 * time.Minute,
		Again:   6 * time.Hour,
		Hosts:   1 << 16,
		Entries: 1 << 18,
		Pending: 1 << 16,
		Results: 1 << 16,
	}
}

// Infected is one own address that scans, or scanned. Packets and Ports count
// the scan alone, not what else the address sent to dark space.
type Infected struct {
	Address packet.Addr
	Ports   []PortCount // by port, then protocol
	Packets uint64
	Family  string // "mirai" or "unknown"
	First   time.Time
	Last    time.Time
}

// PortCount is one port of it. For ICMP the Port is type<<8|code.
type PortCount struct {
	Port    uint16
	Proto   uint8 // IANA protocol number
	Packets uint64
	Family  string // of these packets
}

// Detector holds the candidates and the open findings. Its methods may be
// called from several goroutines; the Findings is called under its lock and
// must not call back.
type Detector struct {
	cfg    Config
	out    detect.Findings
	exempt bart.Lite
	sure   bart.Lite // Config.Verified

	mu      sync.Mutex
	minute  detect.Minute
	hosts   map[packet.Addr]*host
	entries int           // in all hosts
	waiting []packet.Addr // hosts whose next version is due later
	next    int64         // nothing falls quiet before this time
	closed  map[packet.Addr]*Infected
}

// New makes a detector that hands each version of a finding to out.
func New(cfg Config, out detect.Findings) *Detector {
	def := DefaultConfig()
	cfg.Quiet = cmp.Or(cfg.Quiet, def.Quiet)
	cfg.Every = cmp.Or(cfg.Every, def.Every)
	cfg.Again = cmp.Or(cfg.Again, def.Again)
	cfg.Hosts = cmp.Or(cfg.Hosts, def.Hosts)
	cfg.Entries = cmp.Or(cfg.Entries, def.Entries)
	cfg.Pending = cmp.Or(cfg.Pending, def.Pending)
	cfg.Results = cmp.Or(cfg.Results, def.Results)
	d := &Detector{
		cfg: cfg, out: out,
		hosts:  map[packet.Addr]*host{},
		closed: map[packet.Addr]*Infected{},
	}
	for _, p := range cfg.Exempt {
		d.exempt.Insert(p)
	}
	for _, p := range cfg.Verified {
		d.sure.Insert(p)
	}
	return d
}

// innocent are the flags under which a packet says nothing about the owner of
// its source address.
const innocent = observe.Research | observe.SpoofHint | observe.Solicited | observe.AmplifierAsk

// Sight takes sightings in order of minute.
func (d *Detector) Sight(batch []observe.Sighting) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.minute.Sight(batch, d.cfg.Pending, judge{d})
}

// Tick tells that the data's time has come to at.
func (d *Detector) Tick(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.minute.Tick(at, judge{d})
}

// judge is the detector as a minute knows it.
type judge struct{ *Detector }

func (d judge) Wants(s *observe.Sighting) bool {
	return s.Flags&observe.Own != 0 && s.Flags&innocent == 0 && s.Kind.Class() == observe.Scan && !traceroute(s) &&
		!d.exempt.Contains(s.Source.Netip())
}

func (judge) Order(a, b observe.Sighting) int {
	return cmp.Or(
		cmp.Compare(a.Port, b.Port), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.Since, b.Since), cmp.Compare(a.Total, b.Total), cmp.Compare(a.Tool, b.Tool),
		cmp.Compare(a.Packets, b.Packets), cmp.Compare(a.First, b.First), cmp.Compare(a.Flags, b.Flags),
	)
}

func (d judge) Judge(a packet.Addr) {
	if h := d.hosts[a]; h != nil {
		h.Touched = false
		d.judge(h)
	}
}

func (d judge) Add(group []observe.Sighting, first, last int64) { d.add(group, first, last) }
func (d judge) Expire(t int64)                                  { d.expire(t) }
func (d judge) Flush()                                          { d.flush() }

// traceroute tells the probes of the classic traceroute, which walks the UDP
// ports from 33434 up by one a probe, three probes a hop, and so looks like a
// scan of many ports. Measurement probes in customers' homes do this all day.
func traceroute(s *observe.Sighting) bool {
	return s.Proto == packet.UDP && s.Port >= 33434 && s.Port <= 33534
}

// add brings one address's sightings of a minute into its host.
func (d *Detector) add(group []observe.Sighting, first, last int64) {
	quiet := int64(d.cfg.Quiet)
	a := group[0].Source
	h := d.hosts[a]
	if h != nil && h.Last > 0 && first-h.Last > quiet {
		d.close(h)
		h = nil
	}
	if h == nil {
		if last+quiet <= d.minute.Now { // too late to say anything about
			d.minute.Dropped += uint64(len(group))
			return
		}
		if h = d.newHost(a); h == nil {
			d.minute.Dropped += uint64(len(group))
			return
		}
	}
	var packets uint64
	known := len(h.entries)
	for i := range group {
		s := &group[i]
		e := h.entry(s, known)
		if e == nil {
			if d.entries >= d.cfg.Entries {
				d.evict(h)
			}
			if d.entries >= d.cfg.Entries {
				d.minute.Dropped++
				continue
			}
			e = h.newEntry(s)
			d.entries++
		}
		e.add(s)
		packets += uint64(s.Packets)
	}
	h.sort(known)
	h.sample(group[0].Minute, packets)
	h.Last = max(h.Last, last)
	d.next = min(d.next, h.Last+quiet)
	if !h.Touched {
		h.Touched = true
		d.minute.Touched = append(d.minute.Touched, a)
	}
}

func (d *Detector) newHost(a packet.Addr) *host {
	if len(d.hosts) >= d.cfg.Hosts {
		d.evict(nil)
	}
	if len(d.hosts) >= d.cfg.Hosts {
		return nil
	}
	h := &host{record: record{Addr: a}}
	d.hosts[a] = h
	return h
}

// evict makes room: a quarter of the hosts without a finding go, those first
// that were quiet longest.
func (d *Detector) evict(keep *host) {
	var hs []*host
	for _, h := range d.hosts {
		if !h.Open && h != keep {
			hs = append(hs, h)
		}
	}
	slices.SortFunc(hs, func(a, b *host) int {
		return cmp.Or(cmp.Compare(a.Last, b.Last), a.Addr.Compare(b.Addr))
	})
	for _, h := range hs[:(len(hs)+3)/4] {
		d.forget(h)
		d.minute.Dropped++
	}
}

func (d *Detector) forget(h *host) {
	d.entries -= len(h.entries)
	delete(d.hosts, h.Addr)
}

// expire closes and forgets what has been quiet for Config.Quiet at t.
func (d *Detector) expire(t int64) {
	if t < d.next || len(d.hosts) == 0 {
		return
	}
	var hs []*host
	d.next = 1<<63 - 1
	for _, h := range d.hosts {
		if end := h.Last + int64(d.cfg.Quiet); end <= t {
			hs = append(hs, h)
		} else {
			d.next = min(d.next, end)
		}
	}
	slices.SortFunc(hs, func(a, b *host) int {
		return cmp.Or(cmp.Compare(a.Last, b.Last), a.Addr.Compare(b.Addr))
	})
	for _, h := range hs {
		d.close(h)
	}
}

// close ends a host: its finding is closed, its counts go to All.
func (d *Detector) close(h *host) {
	if h.Open {
		v := h.judge()
		d.emit(h, &v, detect.Closed, h.Last+int64(d.cfg.Quiet))
		d.keep(h.result(&v))
	}
	d.forget(h)
}

// judge opens, changes or withdraws the finding about h.
func (d *Detector) judge(h *host) {
	v := h.judge()
	switch {
	case !h.Open && v.scans:
		h.Open, h.Opened = true, v.first
		d.emit(h, &v, detect.Opened, d.minute.Now)
	case h.Open && !v.scans:
		// The fingerprint that it stood on no longer holds: a later packet
		// of the same event disagreed.
		d.emit(h, &v, detect.Closed, d.minute.Now)
		h.Open, h.Waiting = false, false
	case h.Open && !h.Waiting && (h.material(&v) || d.minute.Now-h.Emitted >= int64(d.cfg.Again)):
		h.Waiting = true
		d.waiting = append(d.waiting, h.Addr)
	}
}

// flush emits the changed versions that are due.
func (d *Detector) flush() {
	slices.SortFunc(d.waiting, packet.Addr.Compare)
	later := d.waiting[:0]
	for _, a := range slices.Compact(d.waiting) {
		h := d.hosts[a]
		if h == nil || !h.Waiting {
			continue
		}
		if d.minute.Now < h.Emitted+int64(d.cfg.Every) {
			later = append(later, a)
			continue
		}
		h.Waiting = false
		if v := h.judge(); v.scans {
			d.emit(h, &v, detect.Changed, d.minute.Now)
		}
	}
	d.waiting = later
}

func (d *Detector) emit(h *host, v *verdict, state detect.State, at int64) {
	h.Emitted, h.EmPackets, h.EmPorts, h.EmMirai = at, v.packets, uint32(len(v.ports)), v.mirai //nolint:gosec // at most Config.Entries
	d.out.Find(finding(h, v, state, at, d.cfg.Quiet, d.sure.Contains(h.Addr.Netip())))
}

// keep puts a closed finding's counts into All, one row an address.
func (d *Detector) keep(in Infected) {
	if old := d.closed[in.Address]; old != nil {
		*old = merge(*old, in)
		return
	}
	if len(d.closed) >= d.cfg.Results {
		d.minute.Dropped++
		return
	}
	d.closed[in.Address] = &in
}

// Current is the addresses with an open finding, by address, as of the last
// whole minute.
func (d *Detector) Current() []Infected {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.list(map[packet.Addr]*Infected{})
}

// All is every address that had a finding since the start, by address, as of
// the last whole minute.
func (d *Detector) All() []Infected {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.list(d.closed)
}

func (d *Detector) list(closed map[packet.Addr]*Infected) []Infected {
	out := []Infected{}
	for a, in := range closed {
		if h := d.hosts[a]; h == nil || !h.Open {
			out = append(out, *in)
		}
	}
	for a, h := range d.hosts {
		if !h.Open {
			continue
		}
		v := h.judge()
		in := h.result(&v)
		if old := closed[a]; old != nil {
			in = merge(*old, in)
		}
		out = append(out, in)
	}
	slices.SortFunc(out, func(a, b Infected) int { return a.Address.Compare(b.Address) })
	return out
}

// Dropped is how many sightings, candidates and results were given up because
// a bound of Config was reached or because they came too late.
func (d *Detector) Dropped() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.minute.Dropped
}

// LogValue shows the detector's size and nobody's address.
func (d *Detector) LogValue() slog.Value {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slog.GroupValue(
		slog.Int("hosts", len(d.hosts)), slog.Int("entries", d.entries), slog.Uint64("dropped", d.minute.Dropped))
}

var (
	_ observe.Sightings = (*Detector)(nil)
	_ detect.Detector   = (*Detector)(nil)
)
