package infected

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"sakimori/base/sketch"
	"sakimori/base/wire/packet"
)

// What a scan by flows is, beyond FlowsConfig.
const (
	// failing is the share of the targets on which a scanner fails at least; programs
	// that know whom they ask do better by far, and programs that look for peers which
	// have gone fail on a half to three quarters.
	failing = 0.9
	// surely is that share where there are other causes: ports of common use, sources
	// that look like peers, UDP.
	surely = 0.95
	// spreadCommon and spreadRare are how many networks (/16 of IPv4, /32 of IPv6) the
	// targets lie in at least, on ports of common use and on others: one service that is
	// down lies in fewer. Or else so many lie in one small network (/24, /64) that it is
	// swept.
	spreadCommon = 20
	spreadRare   = 10
	swept        = 10
	// worksWithin is how long ago a connection of a source may have begun that shows that
	// it can reach others at all: not before its line, or its provider, failed.
	worksWithin = int64(time.Minute)
	// peerPortsTried and peerTargets: who tries so many ports from 1024 within a window
	// looks for peers, and on such a port must fail on so many.
	peerPortsTried = 20
	peerTargets    = 100
	// pardon is the share below which a finding is taken back, within pardonWithin.
	pardon       = 0.7
	pardonWithin = 10 * time.Minute
	// grace is how long an answer may take.
	grace = int64(3 * time.Second)

	mostPorts   = 32  // of a source
	mostTargets = 512 // of a port within a window, exactly; beyond it is an estimate
	firstPlaces = 4   // for targets of a port
)

// hits is how the set of all addresses on which a source failed is kept: exact to 128,
// then within ±6.4 % (95 %), in a kilobyte.
var hits = sketch.Form{Precision: 10, Exact: 128}

// hitsPlaces is what that costs, in places of targets.
const hitsPlaces = 32

// common tells ports on which ordinary programs connect to many servers of many owners.
func common(port uint16) bool {
	switch port {
	case 25, 53, 80, 110, 123, 143, 443, 465, 500, 587, 853, 993, 995, 1883, 3478, 4500, 5222, 5223, 5228, 8883:
		return true
	}
	return false
}

// peerPorts are the default ports of programs that find each other without a server, and
// fail on most of those they try, as these have gone. (Documentation of the programs,
// read in November 2026.) Nothing is said of them.
var peerPorts = map[uint16]string{
	4001: "IPFS", 4662: "eDonkey", 4672: "Kademlia", 6346: "Gnutella", 6347: "Gnutella",
	6881: "BitTorrent", 6882: "BitTorrent", 6883: "BitTorrent", 6884: "BitTorrent", 6885: "BitTorrent",
	6886: "BitTorrent", 6887: "BitTorrent", 6888: "BitTorrent", 6889: "BitTorrent", 6969: "BitTorrent trackers",
	8333: "Bitcoin", 8999: "qBittorrent", 9001: "Tor", 9333: "Litecoin", 9735: "Lightning", 16881: "BitTorrent",
	18080: "Monero", 18333: "Bitcoin", 22556: "Dogecoin", 26656: "CometBFT", 30303: "Ethereum", 49001: "DHT",
	50321: "Tixati", 51413: "Transmission",
}

// calm tells UDP ports on which programs ask strangers by design and expect no answer:
// names of NetBIOS for every visitor, discovery, Teredo, VPNs and calls that look for a
// way through.
func calm(port uint16) bool {
	switch port {
	case 137, 138, 161, 1194, 1900, 3544, 3702, 5060, 5350, 5351, 5353, 5355, 19302, 33434, 41641, 51820:
		return true
	}
	return port > 33434 && port <= 33534 || peerPorts[port] != "" // traceroute
}

// kind is what is said of a source.
type kind int

// The kinds.
const (
	scans kind = iota
	called
	takesPart
	kinds
)

// source is one own address that gave a sign.
type source struct {
	Addr        packet.Addr
	First, Last int64
	Works       int64 // when a connection began last that came about; 0 never
	Heard       int64 // when something was last seen that it was sent as an answer; 0 never
	Window      int64 // in which Spread counts, by number
	Spread      [4]uint64
	Before      [4]uint64 // in the window before
	Ports       []*tries
	Calls       []contact
	Parts       []part
	Said        [kinds]life
	touched     bool
}

// said tells whether something is.
func (s *source) said() bool {
	return s.Said[scans].Open || s.Said[called].Open || s.Said[takesPart].Open
}

func (s *source) port(port uint16, proto uint8) *tries {
	for _, p := range s.Ports {
		if p.Port == port && p.Proto == proto {
			return p
		}
	}
	return nil
}

// spread notes that a port was tried.
func (s *source) spread(port uint16, at, window int64) {
	if port < 1024 {
		return
	}
	if w := at / window; w > s.Window {
		s.Before = s.Spread
		if w > s.Window+1 {
			s.Before = [4]uint64{}
		}
		s.Window, s.Spread = w, [4]uint64{}
	}
	h := uint32(port) * 0x9e3779b1 >> 24
	s.Spread[h/64] |= 1 << (h % 64)
}

// seeksPeers tells a source that tries very many ports.
func (s *source) seeksPeers() bool {
	count := func(w [4]uint64) float64 { // Whang et al. 1990
		set := 0
		for _, x := range w {
			set += bits.OnesCount64(x)
		}
		if set == 256 {
			return math.Inf(1)
		}
		return -256 * math.Log(1-float64(set)/256)
	}
	return max(count(s.Spread), count(s.Before)) >= peerPortsTried
}

// outcome is what came of a target. It only ever gets better.
type outcome uint8

const (
	tried   outcome = iota + 1 // nothing was answered
	refused                    // by a RST
	halfway                    // something was answered
	met                        // a connection came about
)

// target is an address that was tried.
type target struct {
	addr    packet.Addr
	at      int64 // last
	outcome outcome
}

func (t *target) raise(o outcome) { t.outcome = max(t.outcome, o) }

// tries are what a source did on one port.
type tries struct {
	Port        uint16
	Proto       uint8
	Open        bool // it is part of the finding
	Pardoned    bool // and isn't any more
	Counted     bool // set is kept
	First, Last int64
	OpenedAt    int64
	Packets     uint64
	Rate        uint32 // one packet of so many was seen, at most
	Beyond      uint64 // tries that found no place in the table

	// At the last judgement, within the window.
	Failed, Refused, Good int

	set   sketch.Set // of all addresses that it failed on
	table []target   // open addressing, a power of two, filled to three quarters at most
	used  int
}

// slot is where a target is, or would be put.
func (p *tries) slot(a packet.Addr) *target {
	mask := uint64(len(p.table) - 1) //nolint:gosec // a power of two
	for i := (a.Lo ^ a.Hi) * 0x9e3779b97f4a7c15 >> 32; ; i++ {
		if t := &p.table[i&mask]; t.outcome == 0 || t.addr == a {
			return t
		}
	}
}

// find is a target that was tried, nil if it wasn't.
func (p *tries) find(a packet.Addr) *target {
	if t := p.slot(a); t.outcome != 0 {
		return t
	}
	return nil
}

// room is how many more places another target takes.
func (p *tries) room() int {
	if 4*(p.used+1) <= 3*len(p.table) {
		return 0
	}
	return max(firstPlaces, len(p.table))
}

// places is what it takes of FlowsConfig.Places.
func (s *source) places() int {
	n := callPlaces*len(s.Calls) + partPlaces*len(s.Parts)
	for _, p := range s.Ports {
		n += p.places()
	}
	return n
}

// places is what it takes of FlowsConfig.Places.
func (p *tries) places() int {
	if p.Counted {
		return len(p.table) + hitsPlaces
	}
	return len(p.table)
}

func (p *tries) grow() { p.rebuild(len(p.table)+p.room(), math.MinInt64) }

// put puts a target in that isn't there.
func (p *tries) put(t target) {
	*p.slot(t.addr) = t
	p.used++
}

// rebuild makes a table of so many places, without those that were tried before at.
func (p *tries) rebuild(size int, at int64) {
	old := p.table
	p.table, p.used = make([]target, size), 0
	for _, t := range old {
		if t.outcome != 0 && t.at > at {
			p.put(t)
		}
	}
}

// trim forgets targets that were tried before at, and returns how many places that freed.
func (p *tries) trim(at int64) (freed int) {
	n := 0
	for i := range p.table {
		if t := &p.table[i]; t.outcome != 0 && t.at > at {
			n++
		}
	}
	if n == p.used {
		return 0
	}
	size := firstPlaces
	for 4*(n+1) > 3*size {
		size *= 2
	}
	freed = len(p.table) - size
	p.rebuild(size, at)
	return freed
}

// id stands for an address in a set.
func id(a packet.Addr) uint32 {
	if a.Is4() {
		return a.V4()
	}
	return uint32((a.Hi ^ bits.RotateLeft64(a.Lo, 32)) * 0x9e3779b97f4a7c15 >> 32)
}

func (p *tries) hit(a packet.Addr) { p.set.Add(hits, id(a)) }

// hitAll puts those of the window into the set.
func (p *tries) hitAll() {
	for i := range p.table {
		if t := &p.table[i]; t.outcome == tried || t.outcome == refused {
			p.hit(t.addr)
		}
	}
}

// targets is on how many addresses it failed, all in all, and the error of that as a
// share.
func (p *tries) targets() (n uint64, share float64) {
	if p.set.Exact() {
		return p.set.Count(), 0
	}
	return p.set.Count(), 1.96 * p.set.Error()
}

// judge opens, changes or takes back what is said of a source.
func (d *Flows) judge(s *source) {
	failed, last := 0, int64(0)
	for _, p := range s.Ports {
		d.places -= p.trim(d.now - int64(d.cfg.Window))
		p.count(d.now, d.ending)
		if !p.Open && p.Failed >= d.cfg.Targets && d.isScan(s, p) && d.counted(s, p) {
			p.Open, p.OpenedAt = true, d.now
		}
		if !p.Open {
			continue
		}
		if d.now-p.OpenedAt <= int64(pardonWithin) && p.Good >= d.cfg.Targets && float64(p.Failed) < pardon*float64(p.Failed+p.Good) {
			p.Open, p.Pardoned = false, true
			continue
		}
		p.hitAll()
		n, _ := p.targets()
		failed += int(n) //nolint:gosec // at most 2^32
		last = max(last, p.Last)
	}
	switch {
	case failed > 0:
		d.tell(s, scans, doubled(failed), last)
	case s.Said[scans].Open:
		d.out.Find(d.takenBack(s))
		d.over(s, scans)
	}
	d.judgeCalls(s)
	if n := len(s.Parts); n > 0 {
		d.tell(s, takesPart, n, s.Parts[n-1].Last)
	}
}

// doubled makes a count news when it has doubled.
func doubled(n int) int { return bits.Len(uint(n)) }

// count looks at how the targets of the window fared. Who was tried just now may still
// answer.
func (p *tries) count(now int64, ending bool) {
	p.Failed, p.Refused, p.Good = 0, 0, 0
	for i := range p.table {
		switch t := &p.table[i]; t.outcome {
		case 0:
		case tried:
			if ending || now-t.at >= grace {
				p.Failed++
			}
		case refused:
			p.Failed++
			p.Refused++
		default: // something was answered
			p.Good++
		}
	}
}

// isScan is the rule.
func (d *Flows) isScan(s *source, p *tries) bool {
	if !d.ending && d.now-p.oldest() < int64(d.cfg.Settle) {
		d.touch(s) // not yet
		return false
	}
	share := float64(p.Failed) / float64(p.Failed+p.Good)
	switch {
	case p.Pardoned || peerPorts[p.Port] != "" || share < failing:
		return false
	case p.Port >= 1024 && s.seeksPeers() && (p.Failed < peerTargets || share < surely):
		return false
	case p.Proto == packet.UDP && (share < surely || s.Heard == 0 || s.seeksPeers()):
		return false
	}
	wide, dense := p.networks()
	if common(p.Port) {
		return share >= surely && p.Last-s.Works <= worksWithin && wide >= spreadCommon
	}
	return wide >= spreadRare || dense >= swept
}

// oldest is when the first target of the window was tried.
func (p *tries) oldest() int64 {
	at := int64(math.MaxInt64)
	for i := range p.table {
		if p.table[i].outcome != 0 {
			at = min(at, p.table[i].at)
		}
	}
	return at
}

// networks is in how many the targets lie that it failed on, and how many of them lie in
// one small network at most.
func (p *tries) networks() (wide, dense int) {
	var large, small []packet.Addr
	for i := range p.table {
		t := &p.table[i]
		if t.outcome != tried && t.outcome != refused {
			continue
		}
		if a := t.addr; a.Is4() {
			large, small = append(large, packet.V4(a.V4()>>16)), append(small, packet.V4(a.V4()>>8))
		} else {
			large, small = append(large, packet.Addr{Hi: a.Hi >> 32}), append(small, packet.Addr{Hi: a.Hi})
		}
	}
	slices.SortFunc(large, packet.Addr.Compare)
	slices.SortFunc(small, packet.Addr.Compare)
	for run, i := 0, 0; i < len(small); i++ {
		if run++; i > 0 && small[i] != small[i-1] {
			run = 1
		}
		dense = max(dense, run)
	}
	return len(slices.Compact(large)), dense
}

// found is what is said of a source, for programs.
func (s *source) found(k kind) Found {
	f := Found{Address: s.Addr.Netip(), Reason: "scan", Ports: []uint16{}}
	switch k {
	case scans:
		for _, p := range s.Ports {
			if p.Open {
				n, _ := p.targets()
				f.Targets += n
				f.Ports = append(f.Ports, p.Port)
			}
		}
	case called:
		f.Reason = "attempt"
		for _, c := range s.Calls {
			if c.Count > 0 {
				f.Reason = "contact"
			}
			f.Ports = append(f.Ports, c.Port)
		}
		f.Targets = uint64(len(s.Calls))
	case takesPart:
		f.Reason, f.Targets = "attack", uint64(len(s.Parts))
	}
	slices.Sort(f.Ports)
	f.Ports = slices.Compact(f.Ports)
	return f
}
