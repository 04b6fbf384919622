package telescope

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"sakimori/observe"
)

// Document is what one import says, and what its JSON looks like. Its keys are
// stable. The lists of infected and victims are filled by the detectors.
type Document struct {
	Packets       uint64     `json:"packets"`
	DarkPackets   uint64     `json:"dark_packets"`
	FromDark      uint64     `json:"from_dark"`
	Malformed     uint64     `json:"malformed"`
	First         *time.Time `json:"first"` // of all packets; null without any
	Last          *time.Time `json:"last"`
	DarkAddresses struct {
		Monitored uint64 `json:"monitored"` // IPv4
		Hit       uint64 `json:"hit"`
		HitV6     uint64 `json:"hit_v6"`
	} `json:"dark_addresses"`
	UniqueSources    uint64  `json:"unique_sources"`
	UniqueSourcesErr float64 `json:"unique_sources_err"` // standard error as a share; 0 exact
	Classes          struct {
		Scan        uint64 `json:"scan"`
		Backscatter uint64 `json:"backscatter"`
		Reflection  uint64 `json:"reflection"`
		Other       uint64 `json:"other"`
	} `json:"classes"`
	Scanners    []Scanner   `json:"scanners"`
	Victims     []Victim    `json:"victims"`
	Infected    []Infected  `json:"infected"`
	Ports       []PortCount `json:"ports"`
	NotIP       uint64      `json:"not_ip"`
	UnknownLink uint64      `json:"unknown_link"`
	Fragments   uint64      `json:"fragments"` // further fragments of datagrams counted once
	Late        uint64      `json:"late"`      // counted in a later minute than their own
	Stray       uint64      `json:"stray"`     // bear a date that isn't believed: in no other figure but packets
	Evicted     uint64      `json:"evicted"`   // events ended early for want of memory
	Answering   []Answering `json:"answering"` // dark addresses that aren't dark
	IdleSeconds float64     `json:"idle_seconds"`
	Errors      []FileError `json:"errors"` // files that could not be read to their end
	DuplicateOf []Duplicate `json:"duplicate_of,omitempty"`
}

// FileError says where a file can't be read any further, and why.
type FileError struct {
	File    string `json:"file"`
	Message string `json:"message"`
}

// Duplicate is a file that was imported before: it was not counted again.
type Duplicate struct {
	File     string    `json:"file"`
	Import   string    `json:"import"` // id of the earlier import
	Name     string    `json:"name"`   // the file's name then
	Imported time.Time `json:"imported"`
	Digest   string    `json:"digest"` // of the content, xxh3-128
}

// Scanner is one source that scans one port.
type Scanner struct {
	Source       netip.Addr `json:"source"`
	Port         uint16     `json:"port"` // of ICMP: type<<8 | code
	Protocol     string     `json:"protocol"`
	Packets      uint64     `json:"packets"`
	Targets      uint64     `json:"targets"`
	TargetsErr   float64    `json:"targets_err"`
	Coverage     float64    `json:"coverage"` // of the monitored IPv4 addresses
	Tool         string     `json:"tool"`     // "unknown" unless every sampled packet agrees
	ToolVersions string     `json:"tool_versions"`
	Research     bool       `json:"research"`
	// MaybeVictim says that its datagrams ask for amplified answers: it looks for
	// amplifiers, or somebody forges its address so that they flood it. Nothing in
	// the packets tells which; see Config.Verified for what does.
	MaybeVictim bool      `json:"maybe_victim"`
	First       time.Time `json:"first"`
	Last        time.Time `json:"last"`
}

// Victim is one address under a flood with forged sources, by vector.
type Victim struct {
	Address  netip.Addr `json:"address"`
	Port     uint16     `json:"port"`
	Protocol string     `json:"protocol"`
	Packets  uint64     `json:"packets"`
	First    time.Time  `json:"first"`
	Last     time.Time  `json:"last"`
}

// Infected is one of the operator's own addresses that scans, by port.
type Infected struct {
	Address  netip.Addr `json:"address"`
	Port     uint16     `json:"port"`
	Protocol string     `json:"protocol"`
	Packets  uint64     `json:"packets"`
	Family   string     `json:"family"` // "unknown" where the fingerprint doesn't tell
}

// PortCount is what came to one port; scans only.
type PortCount struct {
	Port       uint16  `json:"port"`
	Protocol   string  `json:"protocol"`
	Packets    uint64  `json:"packets"`
	Sources    uint64  `json:"sources"`
	SourcesErr float64 `json:"sources_err"`
}

// Answering is a dark address that sent something.
type Answering struct {
	Address netip.Addr `json:"address"`
	Packets uint64     `json:"packets"`
}

// Document sums up everything since New, or since Begin, also what was before a
// restart. It needs Config.Detail.
func (t *Telescope) Document() Document {
	d, all := t.Summary()
	d.Scanners = all.First(all.Len())
	return d
}

// Summary is the Document without its scanners, and the list of these.
func (t *Telescope) Summary() (Document, Roll) {
	sum, census := t.summed(), t.counted()
	d := Document{
		Packets: sum.Frames, DarkPackets: sum.DarkPackets, FromDark: sum.FromDark, Malformed: sum.Malformed,
		UniqueSources: census.sources.Count(), UniqueSourcesErr: census.sources.Error(),
		NotIP: sum.NotIP, UnknownLink: sum.Unknown, Fragments: sum.Fragments, Late: sum.Late, Stray: sum.Stray, Evicted: sum.Evicted,
		Scanners: []Scanner{}, Victims: []Victim{}, Infected: []Infected{}, Answering: []Answering{}, Ports: []PortCount{}, Errors: []FileError{},
		IdleSeconds: t.Idle().Seconds(),
	}
	if t.last >= t.first {
		first, last := time.Unix(0, t.first).UTC(), time.Unix(0, t.last).UTC()
		d.First, d.Last = &first, &last
	}
	v4, v6 := t.hits()
	d.DarkAddresses.Monitored, d.DarkAddresses.Hit, d.DarkAddresses.HitV6 = t.union.v4, v4, v6
	c := sum.Classes
	d.Classes.Scan, d.Classes.Backscatter = c[observe.Scan], c[observe.Backscatter]
	d.Classes.Reflection, d.Classes.Other = c[observe.Reflection], c[observe.Other]
	all := t.roll()
	for a, n := range sum.Answering {
		d.Answering = append(d.Answering, Answering{a.Netip(), n})
	}
	slices.SortFunc(d.Answering, func(a, b Answering) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), a.Address.Compare(b.Address))
	})
	open := portPackets{rest: map[uint32]uint64{}} // of the minutes that the merger hasn't got yet
	t.each(func(*shard) {})
	for _, w := range t.workers {
		open.add(&w.shard.open[0].packets)
		open.add(&w.shard.open[1].packets)
	}
	census.ports.each(func(k uint32, cell *counter) {
		d.Ports = append(d.Ports, PortCount{
			Port: uint16(k), Protocol: ProtocolName(uint8(k >> 16)), //nolint:gosec // as portKey packs them
			Packets: cell.packets + open.of(k), Sources: cell.sources.Count(), SourcesErr: cell.sources.Error(),
		})
	})
	slices.SortFunc(d.Ports, func(a, b PortCount) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	return d, all
}

// Empty is the document of an import in which nothing was new.
func Empty(cfg Config) (Document, error) {
	t, err := New(cfg, nil)
	if err != nil {
		return Document{}, err
	}
	return t.Document(), nil
}

// ProtocolName is the protocol's short name, its number where it has none here.
func ProtocolName(p uint8) string {
	switch p {
	case 1:
		return "icmp"
	case 2:
		return "igmp"
	case 6:
		return "tcp"
	case 17:
		return "udp"
	case 47:
		return "gre"
	case 50:
		return "esp"
	case 58:
		return "icmpv6"
	case 132:
		return "sctp"
	}
	return "ip/" + strconv.Itoa(int(p))
}
