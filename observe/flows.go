package observe

import (
	"net/netip"
	"time"

	"sakimori/base/wire/packet"
)

// FlowGrain is how finely flows are kept.
type FlowGrain uint8

// The grains.
const (
	FlowRaw    FlowGrain = iota // each record as it came
	FlowMinute                  // by minute
	FlowFive                    // by five minutes
	FlowHour                    // by hour
)

var flowGrains = [...]string{"raw", "1m", "5m", "1h"}

// String is the grain in the words of the API.
func (g FlowGrain) String() string { return name(flowGrains[:], int(g), "grain") }

// Seconds is the length of a bucket; what is raw stands in minutes.
func (g FlowGrain) Seconds() int64 { return [...]int64{60, 60, 300, 3600}[g] }

// Folded says what of a kept row stands for several and isn't told any more: the rows
// with least traffic are folded together so that a bucket is bounded and its totals
// still agree. A row that is folded at all has no TCP flags and no TOS either.
type Folded uint8

// What may be left out.
const (
	FoldedSrc     Folded = 1 << iota // source address, its AS and country
	FoldedDst                        // destination address, its AS and country
	FoldedSrcPort                    // source port
	FoldedDstPort                    // destination port
	FoldedRest                       // interfaces and protocol: the exporter alone is known
)

// FlowBy is what flows are ranked by.
type FlowBy string

// The keys.
const (
	FlowBySrc        FlowBy = "src"
	FlowByDst        FlowBy = "dst"
	FlowBySrcPort    FlowBy = "src_port"
	FlowByDstPort    FlowBy = "dst_port"
	FlowByProto      FlowBy = "proto"
	FlowBySrcAS      FlowBy = "src_as"
	FlowByDstAS      FlowBy = "dst_as"
	FlowBySrcCountry FlowBy = "src_country"
	FlowByDstCountry FlowBy = "dst_country"
	FlowByExporter   FlowBy = "exporter"
	FlowByIn         FlowBy = "in"
	FlowByOut        FlowBy = "out"
	FlowByCustomer   FlowBy = "customer"
	FlowByFlags      FlowBy = "flags"
)

// FlowKey is one thing that flows are ranked by: the field that fits the FlowBy.
type FlowKey struct {
	Addr netip.Addr // of src and dst
	// Number is a port with its protocol as in ByPort (protocol<<16 | port), a
	// protocol, an AS, an exporter, an interface as exporter<<32 | index, TCP flags.
	Number uint64
	Text   string // of a country (ISO 3166-1 alpha-2, "" unknown) and a customer ("" none)
}

// FlowInterface is an interface of an exporter.
type FlowInterface struct{ Exporter, Index uint32 }

// FlowWay says whose side of a flow is ours.
type FlowWay uint8

// The directions; what goes from one of ours to another is both.
const (
	FlowAny FlowWay = iota
	FlowIn          // to one of our addresses
	FlowOut         // from one of our addresses
)

// FlowFilter selects flows. Within a field any of the values will do, and all fields
// that aren't empty must fit.
type FlowFilter struct {
	Src, Dst, Addr            []netip.Prefix // Addr: on either side, as Ports, AS, Countries and Interfaces are
	Protos                    []uint8
	Ports, SrcPorts, DstPorts []uint16
	AS, SrcAS, DstAS          []uint32
	Countries                 []string // two capital letters
	Exporters                 []uint32
	Interfaces                []FlowInterface
	Customers                 []string
	Way                       FlowWay
	Flags                     packet.TCPFlags // all of these are set
	MinBytes                  uint64          // a row has at least so many
}

// FlowCount is how much some flows are. Packets and bytes are estimates where exporters
// sample; the errors say by how much they may be off (95 %, in their own unit). The one
// of bytes takes packets of one kind to be about equally long.
type FlowCount struct {
	Packets, Bytes           uint64
	PacketsError, BytesError float64
	Flows                    uint64 // that ended; of samples it isn't known of how many flows they are
	Samples                  bool   // some came as samples of packets, so Flows is too small
}

// FlowQuery asks about flows. The answer widens Range to the grain that it is from.
type FlowQuery struct {
	FlowFilter

	Range  Range
	Before time.Time // a search for rows finds those alone whose last packet came before; zero: all
	Order  string    // bytes, packets or flows; "" bytes
	Limit  int
}

// FlowSpan says from what an answer is.
type FlowSpan struct {
	Grain FlowGrain
	Range Range // the one that the answer is for
	Data  Range // the one from which there is anything at all; zero: nothing
}

// FlowTop is a ranking.
type FlowTop struct {
	FlowSpan

	Rows  []FlowTopRow
	Total FlowCount // of all that fits the filter
	// LeftOut is the part of Total whose key was folded away: no key, told or not, can
	// have more of it than this. Maybe isn't in Total: what was folded so that it isn't
	// known whether the filter fits.
	LeftOut, Maybe FlowCount
}

// FlowLack is what a row may lack at most, because it was among those with least
// traffic for a part of its bucket: zero where nothing was folded.
type FlowLack struct{ Packets, Bytes uint64 }

// FlowTopRow is one key of a ranking.
type FlowTopRow struct {
	Key FlowKey
	FlowCount
}

// FlowSeries are rankings over time.
type FlowSeries struct {
	FlowSpan

	Step  time.Duration
	Times []time.Time
	Rows  []FlowLine // of the busiest keys, in their order
	Other FlowLine   // all the rest
	Error float64    // of the packets of all, relative, 95 %
}

// FlowLine is one key's course.
type FlowLine struct {
	Key            FlowKey
	Packets, Bytes []uint64
}

// FlowTalk is who speaks to whom.
type FlowTalk struct {
	Src, Dst netip.Addr
	Proto    uint8
	DstPort  uint16
	FlowCount
}

// FlowTalkers are the busiest pairs.
type FlowTalkers struct {
	FlowSpan

	Rows           []FlowTalk
	Total          FlowCount
	LeftOut, Maybe FlowCount
}

// FlowRow is one kept row: a record where the grain is raw, else what was alike in a
// bucket.
type FlowRow struct {
	At       time.Time // of the first packet, or the beginning of the bucket
	Flow     Flow      // Rate is the mean; First and Last span the bucket
	Flows    uint64
	Folded   Folded
	SrcPlace FlowPlace
	DstPlace FlowPlace
	Customer string
}

// FlowPlace is where an address is: as the exporter says, or else as it is estimated.
type FlowPlace struct {
	Country string // ISO 3166-1 alpha-2, "" unknown
	AS      uint32 // 0 unknown
}

// FlowPage is a page of rows, the latest first.
type FlowPage struct {
	FlowSpan

	Rows  []FlowRow
	Lacks FlowLack // of any of the rows
	Next  string   // where the next page begins; "" on the last
}
