package flow

import (
	"net/netip"
	"time"

	"sakimori/base/wire/ipfix"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// Protocol is how an exporter speaks.
type Protocol uint8

// The protocols.
const (
	Unknown Protocol = iota // none of these
	NetFlow5
	NetFlow9
	IPFIX
	SFlow5
)

var protocolNames = [...]string{"unknown", "netflow5", "netflow9", "ipfix", "sflow5"}

// String is the protocol in the words of the API.
func (p Protocol) String() string {
	if int(p) < len(protocolNames) {
		return protocolNames[p]
	}
	return "invalid"
}

// reason is why something of a datagram can't be read.
type reason uint8

const (
	badVersion reason = iota
	badShort
	badLength
	badSet
	badTemplate
	badField
	badSample
	badPacket
	reasons
)

var reasonNames = [reasons]string{"version", "short", "length", "set", "template", "field", "sample", "packet"}

// counts are what an exporter sent so far.
type counts struct {
	datagrams, records, flows uint64
	packets, bytes, samples   uint64 // packets and bytes as scaled
	options                   uint64 // records about the exporter
	other                     uint64 // records that tell of no traffic, or not of whose
	unknownRate               uint64 // flows that were taken to be unsampled as nothing says how they were
	limited                   uint64 // records that weren't read as there were too many
	clockIgnored              uint64 // records whose times couldn't be right
	cut                       uint64 // and whose spans couldn't
	unknown                   uint64 // sets that came before their template
	waited, waitedLost        uint64 // of these, how many were read later, and how many had to go
	distrusted                uint64 // templates of before a restart that didn't fit any more
	discarded                 uint64 // packets that sFlow says were dropped, outside of samples
	missed                    uint64 // samples that an agent of sFlow says it couldn't send
	malformed                 [reasons]uint64
}

// exporter is a device, or a part of one that counts by itself.
type exporter struct {
	number   uint32
	source   *source
	domain   domain
	first    int64
	seen     int64
	counts   counts
	sequence ipfix.Sequence
	clock    offset // of its Unix time
	boot     offset // of its uptime
	odd      anchor // of times that can't be right
	skewed   bool   // clock is known
	tells    bool   // TCP flags: some record had one

	rates      [8]seenRate // sampling rates, the first few that were seen
	domainRate uint32      // by options that name neither sampler nor interface; 0 not told
	common     uint32      // of all samplers, 0 if they differ
	rateNow    uint32      // the one of both that counts for records that say nothing of it
	samplers   map[uint64]uint32
	byFace     map[uint32]uint32 // rates that options tell of an interface
	booted     int64             // by options, Unix nanoseconds of its clock
	interfaces interfaces

	pools         map[uint64]pool // of sources of samples
	pool          uint64          // packets that could have been sampled, of all
	pooledSamples uint64          // and how many were

	was       uint64 // records, when perSecond was computed
	perSecond float64
}

type seenRate struct {
	rate  uint32
	flows uint64
}

func newExporter(number uint32, s *source, d domain, at int64) *exporter {
	x := &exporter{number: number, source: s, domain: d, first: at}
	x.interfaces.configured = s.settings.Interfaces
	return x
}

// moment is what a message that arrived then says of time. NetFlow tells the uptime too,
// to the millisecond.
func (x *exporter) moment(at, export int64, up uint32, file bool) moment {
	m := moment{arrival: at, export: export, skew: x.clock.take(at, export), file: file}
	if x.domain.protocol != IPFIX {
		m.uptime, m.booted = up, x.boot.take(at, int64(up)*1e6)
		m.now = m.booted + int64(up)*1e6
	} else {
		m.start(x.booted)
	}
	x.skewed = true
	return m
}

// told counts a rate.
func (x *exporter) told(rate uint32) {
	for i := range x.rates {
		r := &x.rates[i]
		if r.rate == rate || r.rate == 0 {
			r.rate = rate
			r.flows++
			return
		}
	}
}

// ports leaves a flow those that its protocol has.
func (x *exporter) ports(f *observe.Flow) {
	switch f.Proto {
	case packet.TCP, packet.UDP, sctp:
	case packet.ICMP, packet.ICMPv6:
		f.SrcPort = 0
	default:
		f.SrcPort, f.DstPort = 0, 0
	}
}

const sctp = 132

// flags marks a flow of TCP whose flags aren't told. Many routers send the field and never
// fill it; a real packet of TCP without any flag is nearly as rare as such a router.
func (x *exporter) flags(f *observe.Flow, field bool) {
	switch {
	case f.Proto != packet.TCP:
		f.TCPFlags = 0
	case f.TCPFlags != 0:
		x.tells = true
	case !field || !x.tells:
		f.Marks |= observe.FlowNoFlags
	}
}

// Health is how an exporter fares, as of when it was last laid open.
type Health struct {
	Number   uint32     `json:"number"` // in a Flow
	Name     string     `json:"name"`   // as configured, else its address
	Address  string     `json:"address"`
	Agent    netip.Addr `json:"agent,omitzero"` // of sFlow, where it isn't the sender
	Domain   uint32     `json:"domain"`         // observation domain, source ID, engine or sub-agent
	Protocol string     `json:"version"`        // netflow5, netflow9, ipfix, sflow5, unknown

	First time.Time `json:"first"`
	Last  time.Time `json:"last"`

	Datagrams uint64 `json:"datagrams"`
	Records   uint64 `json:"records"` // of data, samples of sFlow among them
	Flows     uint64 `json:"flows"`   // that were made of them
	Packets   uint64 `json:"packets"` // scaled by sampling
	Bytes     uint64 `json:"bytes"`
	Samples   uint64 `json:"samples"` // flows that are one sampled packet
	Options   uint64 `json:"options"` // records about the exporter itself
	Other     uint64 `json:"other"`   // records that tell of no traffic, such as events of a translator

	Rates       []Rate  `json:"rates"`        // the first eight that were seen
	PoolRate    float64 `json:"pool_rate"`    // of sFlow, 1 in so many by what the agent counts; 0 not told
	RateUnknown uint64  `json:"rate_unknown"` // flows taken to be unsampled, as nothing says how they were

	Gaps     uint64 `json:"gaps"`     // lost on the way by their sequence
	GapsOf   string `json:"gaps_of"`  // what is counted: flows, datagrams or records
	Late     uint64 `json:"late"`     // datagrams that came after a later one
	Restarts uint64 `json:"restarts"` // how often the sequence began anew

	UnknownTemplate uint64      `json:"unknown_template"` // sets that came before their template
	Waiting         int         `json:"waiting"`          // of them, how many wait still
	Waited          uint64      `json:"waited"`           // were read when it came
	WaitedLost      uint64      `json:"waited_lost"`      // had to make room
	Distrusted      uint64      `json:"distrusted"`       // templates of before a restart that didn't fit any more
	Templates       int         `json:"templates"`        // of the address
	Evicted         uint64      `json:"evicted"`          // templates that had to make room
	Malformed       []Malformed `json:"malformed"`

	Skew         *int64 `json:"skew_ms"`       // how far its clock is behind ours, at least; nil not told
	ClockJumps   uint64 `json:"clock_jumps"`   // how often it was set by more than ten seconds
	ClockIgnored uint64 `json:"clock_ignored"` // records whose times couldn't be right: the arrival counts
	Cut          uint64 `json:"cut"`           // records that span more than an hour, or less than nothing
	Limited      uint64 `json:"limited"`       // records that weren't read as there were too many
	Missed       uint64 `json:"missed"`        // samples that the agent of sFlow says it couldn't send
	Discarded    uint64 `json:"discarded"`     // packets that the agent says were dropped, told outside of samples

	RecordsPerSecond float64  `json:"records_s"` // over the last ten seconds or more
	Interfaces       []Counts `json:"interfaces"`
}

// Rate is a sampling rate, 1 in so many, and how many flows had it.
type Rate struct {
	Rate  uint32 `json:"rate"`
	Flows uint64 `json:"flows"`
}

// Malformed is something that couldn't be read.
type Malformed struct {
	Reason string `json:"reason"` // version, short, length, set, template, field, sample, packet
	Count  uint64 `json:"count"`
}

// Refused is a sender that isn't allowed.
type Refused struct {
	Address   netip.Addr `json:"address"`
	Datagrams uint64     `json:"datagrams"`
	Last      time.Time  `json:"last"`
}

func unix(ns int64) time.Time { return time.Unix(0, ns).UTC() }

// health writes down how the exporter fares.
func (x *exporter) health() Health {
	n, gap := &x.counts, x.sequence.Total()
	h := Health{
		Number: x.number, Name: x.source.settings.Name, Address: x.source.key.Addr().String(), Agent: x.domain.agent, Domain: x.domain.number, Protocol: x.domain.protocol.String(),
		First: unix(x.first), Last: unix(x.seen), Datagrams: n.datagrams, Records: n.records, Flows: n.flows, Packets: n.packets, Bytes: n.bytes, Samples: n.samples,
		Options: n.options, Other: n.other, RateUnknown: n.unknownRate, Gaps: gap.Lost, Late: gap.Late, Restarts: gap.Restarts,
		GapsOf:          map[Protocol]string{NetFlow5: "flows", NetFlow9: "datagrams", IPFIX: "records", SFlow5: "datagrams"}[x.domain.protocol],
		UnknownTemplate: n.unknown, Waiting: x.source.waiting.of(x), Waited: n.waited, WaitedLost: n.waitedLost, Distrusted: n.distrusted,
		Templates: x.source.templates.Len(), Evicted: x.source.templates.Evicted(), ClockJumps: x.clock.jumps, ClockIgnored: n.clockIgnored, Cut: n.cut,
		Limited: n.limited, Missed: n.missed, Discarded: n.discarded, RecordsPerSecond: x.perSecond, Interfaces: x.interfaces.list(), Rates: []Rate{}, Malformed: []Malformed{},
	}
	if x.source.key.Port() != 0 {
		h.Address = x.source.key.String()
	}
	if h.Name == "" {
		h.Name = h.Address
	}
	if x.pooledSamples > 0 {
		h.PoolRate = float64(x.pool) / float64(x.pooledSamples)
	}
	if x.skewed {
		ms := x.clock.least() / 1e6
		h.Skew = &ms
	}
	for _, r := range x.rates {
		if r.rate > 0 {
			h.Rates = append(h.Rates, Rate{r.rate, r.flows})
		}
	}
	for i, count := range n.malformed {
		if count > 0 {
			h.Malformed = append(h.Malformed, Malformed{reasonNames[i], count})
		}
	}
	return h
}
