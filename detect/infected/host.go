package infected

import (
	"cmp"
	"slices"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// What a scan is, beyond the telescope's flag.
const (
	// fewTargets is how many dark targets on one port a misconfigured program
	// may well have: one server or two that no longer exist.
	fewTargets = 2
	// manyPorts is Zeek's vertical scan: that many ports on one target.
	manyPorts = 15
	// miraiPackets is how many packets must carry Mirai's fingerprint: one
	// SYN in 2^32 does by chance.
	miraiPackets = 2
)

// host is one own address that sent scan-class packets to dark space.
type host struct {
	record
	entries []entry // by port, protocol, kind
}

// record is the part of a host that has a fixed size.
type record struct {
	Addr    packet.Addr
	Last    int64 // Unix nanoseconds of the last packet of any entry
	Opened  int64 // first packet that counted when the finding opened
	Emitted int64 // data time of the last version

	EmPackets uint64 // what the last version said
	EmPorts   uint32
	EmMirai   bool

	Open    bool
	Waiting bool // a changed version is due
	Touched bool // something came in the minute in hand
	Sampled uint8
	Sample  [samples]minute
}

// minute is one line of the per-minute sample: the first ones of a host.
type minute struct {
	Start   int64 // Unix seconds
	Packets uint64
}

const samples = 6

// entry is what the host did on one port with one kind of packet.
type entry struct {
	First, Last int64
	Since       int64 // the event that Tool speaks of
	Packets     uint64
	Kept        uint64 // packets with Mirai's fingerprint in earlier events
	Now         uint32 // and in this one, all of which agree
	Total       uint32 // packets of this event when Tool was last told
	Targets     uint32 // most of one event: the true number is at least this
	Port        uint16
	Proto       uint8
	Kind        observe.Kind
	Tool        observe.Tool
	Scan        bool // a scan by its number of targets: stays true
	Flagged     bool // a scan by the telescope's flag alone
}

func (e *entry) order(s *observe.Sighting) int {
	return cmp.Or(cmp.Compare(e.Port, s.Port), cmp.Compare(e.Proto, s.Proto), cmp.Compare(e.Kind, s.Kind))
}

// entry finds the entry of a sighting among the first known ones, which are in
// order, or in the last one, as a minute's sightings come in order too.
func (h *host) entry(s *observe.Sighting, known int) *entry {
	i, ok := slices.BinarySearchFunc(h.entries[:known], s,
		func(e entry, s *observe.Sighting) int { return e.order(s) })
	if ok {
		return &h.entries[i]
	}
	if n := len(h.entries); n > known && h.entries[n-1].order(s) == 0 {
		return &h.entries[n-1]
	}
	return nil
}

// newEntry adds one at the end; sort brings it to its place.
func (h *host) newEntry(s *observe.Sighting) *entry {
	h.entries = append(h.entries, entry{
		Port: s.Port, Proto: s.Proto, Kind: s.Kind, First: s.First, Last: s.Last, Since: s.Since,
	})
	return &h.entries[len(h.entries)-1]
}

func (h *host) sort(known int) {
	if len(h.entries) > known {
		slices.SortFunc(h.entries, func(a, b entry) int {
			return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Kind, b.Kind))
		})
	}
}

func (e *entry) add(s *observe.Sighting) {
	e.First, e.Last = min(e.First, s.First), max(e.Last, s.Last)
	e.Packets += uint64(s.Packets)
	e.Targets = max(e.Targets, s.Targets)
	if s.Flags&observe.Scanner != 0 {
		if s.Targets > fewTargets {
			e.Scan = true
		} else {
			e.Flagged = true
		}
	}
	// The tool is the telescope's verdict on an event so far. A later packet
	// of the same event may take it back; another event does not.
	if s.Since > e.Since {
		e.Kept += uint64(e.Now)
		e.Since, e.Now, e.Total = s.Since, 0, 0
	}
	if s.Since == e.Since && s.Total >= e.Total {
		e.Total, e.Tool, e.Now = s.Total, s.Tool, 0
		if s.Tool == observe.Mirai {
			e.Now = s.Total
		}
	}
}

func (e *entry) mirai() uint64 { return e.Kept + uint64(e.Now) }

func (e *entry) family() string {
	if e.mirai() > 0 {
		return "mirai"
	}
	return "unknown"
}

// sample notes how many packets came in a minute, the first few times.
func (h *host) sample(start int64, packets uint64) {
	for i := range h.Sample[:h.Sampled] {
		if h.Sample[i].Start == start {
			h.Sample[i].Packets += packets
			return
		}
	}
	if h.Sampled < samples {
		h.Sample[h.Sampled] = minute{start, packets}
		h.Sampled++
	}
}

// verdict is what a host's entries amount to.
type verdict struct {
	scans       bool
	mirai       bool
	vertical    bool
	ports       []PortCount // what counts
	packets     uint64
	other       uint64 // packets to dark space that don't count
	first, last int64
	top         entry // the counted entry with most targets, then most packets
	tool        observe.Tool
	mixed       bool // counted entries name different tools
	tcp         bool // some of it is TCP
}

// judge weighs the entries. It changes nothing.
func (h *host) judge() verdict {
	var v verdict
	var mirai uint64
	var flagged bool
	ports := 0
	for i := range h.entries {
		e := &h.entries[i]
		mirai += e.mirai()
		flagged = flagged || e.Flagged
		if i == 0 || e.Port != h.entries[i-1].Port || e.Proto != h.entries[i-1].Proto {
			ports++
		}
	}
	v.mirai = mirai >= miraiPackets
	v.vertical = flagged && ports >= manyPorts
	for i := range h.entries {
		if e := &h.entries[i]; v.counts(e) {
			v.count(e)
		} else {
			v.other += e.Packets
		}
	}
	return v
}

// counts tells whether an entry is part of a scan. Fewer than three targets
// are one only by a fingerprint that can't be chance, or as one of many ports.
func (v *verdict) counts(e *entry) bool {
	masscan := e.Tool == observe.MasscanOld || e.Tool == observe.MasscanNew
	return e.Scan || v.vertical || v.mirai && e.mirai() > 0 || e.Flagged && masscan
}

func (v *verdict) count(e *entry) {
	if !v.scans {
		v.scans, v.first, v.last, v.tool, v.top = true, e.First, e.Last, e.Tool, *e
	}
	v.first, v.last = min(v.first, e.First), max(v.last, e.Last)
	v.packets += e.Packets
	v.tcp = v.tcp || e.Proto == packet.TCP
	v.mixed = v.mixed || e.Tool != v.tool
	if cmp.Or(cmp.Compare(e.Targets, v.top.Targets), cmp.Compare(e.Packets, v.top.Packets)) > 0 {
		v.top = *e
	}
	if n := len(v.ports); n > 0 && v.ports[n-1].Port == e.Port && v.ports[n-1].Proto == e.Proto {
		v.ports[n-1].Packets += e.Packets
		if e.mirai() > 0 {
			v.ports[n-1].Family = e.family()
		}
		return
	}
	v.ports = append(v.ports, PortCount{e.Port, e.Proto, e.Packets, e.family()})
}

func (v *verdict) family() string {
	if v.mirai {
		return "mirai"
	}
	return "unknown"
}

// material tells whether the last version no longer says what is known.
func (h *host) material(v *verdict) bool {
	return len(v.ports) > int(h.EmPorts) || v.mirai != h.EmMirai || v.packets >= 10*h.EmPackets
}

func (h *host) result(v *verdict) Infected {
	return Infected{
		Address: h.Addr, Ports: v.ports, Packets: v.packets, Family: v.family(),
		First: time.Unix(0, v.first).UTC(), Last: time.Unix(0, v.last).UTC(),
	}
}

// merge adds up two episodes of one address.
func merge(a, b Infected) Infected {
	ports := slices.Concat(a.Ports, b.Ports)
	slices.SortStableFunc(ports, func(x, y PortCount) int {
		return cmp.Or(cmp.Compare(x.Port, y.Port), cmp.Compare(x.Proto, y.Proto))
	})
	out := ports[:0]
	for _, p := range ports {
		if n := len(out); n > 0 && out[n-1].Port == p.Port && out[n-1].Proto == p.Proto {
			out[n-1].Packets += p.Packets
			if p.Family != "unknown" {
				out[n-1].Family = p.Family
			}
			continue
		}
		out = append(out, p)
	}
	a.Ports = out
	a.Packets += b.Packets
	if b.Family != "unknown" {
		a.Family = b.Family
	}
	if b.First.Before(a.First) {
		a.First = b.First
	}
	if b.Last.After(a.Last) {
		a.Last = b.Last
	}
	return a
}
