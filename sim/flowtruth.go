package sim

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"sakimori/base/wire/packet"
)

// FlowNote is written into every FlowTruth.
const FlowNote = "synthetic: every flow is invented, no address stands for anybody"

// FlowTruth says what passed in a flow scene, who attacked whom, and what the routers
// told of it. Packets and bytes are of what passed, before any sampling, and exact;
// bytes are of IP packets.
type FlowTruth struct {
	Scene  string         `json:"scene"`
	Note   string         `json:"note"`
	Seed   uint64         `json:"seed"`
	Start  time.Time      `json:"start"`
	End    time.Time      `json:"end"`
	Own    []netip.Prefix `json:"own"`
	OneWay bool           `json:"one_way"` // routers look only at what comes in from outside

	Packets   uint64 `json:"packets"`
	Bytes     uint64 `json:"bytes"`
	Datagrams uint64 `json:"datagrams"` // that arrive
	Records   uint64 `json:"records"`   // of flows or samples in them

	Attacks   []FlowAttack   `json:"attacks"`
	Innocents []FlowInnocent `json:"innocents"` // not to be accused, however busy
	Infected  []FlowInfected `json:"infected"`
	Exporters []FlowExporter `json:"exporters"`
}

// FlowAttack is one attack on one object.
type FlowAttack struct {
	Target    netip.Prefix      `json:"target"`
	Direction string            `json:"direction"` // "incoming", "outgoing"
	Vectors   []FlowVectorShare `json:"vectors"`   // the largest first
	Onset     time.Time         `json:"onset"`
	End       time.Time         `json:"end"`
	Told      time.Time         `json:"told"` // when an exporter first told of it; zero never
	PeakPPS   uint64            `json:"peak_pps"`
	PeakBPS   uint64            `json:"peak_bps"`
	Course    []uint64          `json:"course"` // its packets in each second from the scene's start, until it ends
	Packets   uint64            `json:"packets"`
	Bytes     uint64            `json:"bytes"`
	Sources   uint64            `json:"sources"` // 0: forged anew for every packet
	Own       []netip.Addr      `json:"own"`     // own addresses that take part
}

// FlowVectorShare is a vector's part of an attack.
type FlowVectorShare struct {
	Name    string  `json:"name"`
	Share   float64 `json:"share"` // of the packets
	Packets uint64  `json:"packets"`
	Bytes   uint64  `json:"bytes"`
}

// FlowInnocent is somebody busy who attacks nobody and isn't attacked.
type FlowInnocent struct {
	Kind    string     `json:"kind"`
	Address netip.Addr `json:"address"` // one of ours
	Packets uint64     `json:"packets"`
	Bytes   uint64     `json:"bytes"`
	PeakPPS uint64     `json:"peak_pps"` // in its busier direction
	PeakBPS uint64     `json:"peak_bps"`
}

// FlowInfected is one of our addresses that flows give away.
type FlowInfected struct {
	Address netip.Addr `json:"address"`
	Reason  string     `json:"reason"` // "scan", "attack"
	Port    uint16     `json:"port"`   // that it asks for
	Targets uint64     `json:"targets"`
	First   time.Time  `json:"first"`
}

// FlowExporter is a router and what came of what it told.
type FlowExporter struct {
	Address   netip.AddrPort `json:"address"`
	Version   string         `json:"version"` // "netflow5", "netflow9", "ipfix", "sflow5"
	Domain    uint32         `json:"domain"`
	Sampling  uint32         `json:"sampling"`
	Datagrams uint64         `json:"datagrams"`  // that arrive
	Records   uint64         `json:"records"`    // in them
	Lost      uint64         `json:"lost"`       // datagrams that don't arrive
	LostFlows uint64         `json:"lost_flows"` // open when it was started anew
	Untold    uint64         `json:"untold"`     // flows that its format can't tell: IPv6 in NetFlow 5
	Unseen    uint64         `json:"unseen"`     // packets that passed while it was down, by its sampling
	Restarts  int            `json:"restarts"`
	Ahead     time.Duration  `json:"ahead_ns"` // of the true time, its clock
}

// courses add up, second by second, what attacks and the busy have at their peak.
type courses struct {
	attacks   []course
	innocents [][2]course // to it, from it
}

type course struct{ packets, bytes []uint64 }

// add counts n packets of so many bytes in all, spread evenly over a time from the
// scene's start on.
func (c *course) add(from, to int64, packets, bytes uint64) {
	const second = int64(time.Second)
	last := max((to-1)/second, from/second)
	for int64(len(c.packets)) <= last {
		c.packets, c.bytes = append(c.packets, 0), append(c.bytes, 0)
	}
	if to <= from {
		to = from + 1
	}
	for s := from / second; s <= last; s++ {
		in := uint64(min(to, (s+1)*second) - max(from, s*second))
		c.packets[s] += scale(packets, in, uint64(to-from))
		c.bytes[s] += scale(bytes, in, uint64(to-from))
	}
}

func (c *course) peak() (packets, bits uint64) {
	if len(c.packets) == 0 {
		return 0, 0
	}
	return slices.Max(c.packets), 8 * slices.Max(c.bytes)
}

// attack enters one into the truth and says its number.
func (n *flowNet) attack(a FlowAttack) int32 {
	n.truth.Attacks = append(n.truth.Attacks, a)
	n.course.attacks = append(n.course.attacks, course{})
	return int32(len(n.truth.Attacks) - 1)
}

// innocent enters one and says its number.
func (n *flowNet) innocent(kind string, a packet.Addr) int {
	n.truth.Innocents = append(n.truth.Innocents, FlowInnocent{Kind: kind, Address: a.Netip()})
	n.course.innocents = append(n.course.innocents, [2]course{})
	return len(n.truth.Innocents) - 1
}

// finish closes the truth.
func (n *flowNet) finish() FlowTruth {
	t := n.truth
	for i := range t.Attacks {
		a := &t.Attacks[i]
		a.PeakPPS, a.PeakBPS = n.course.attacks[i].peak()
		a.Course = n.course.attacks[i].packets
		for j := range a.Vectors {
			a.Vectors[j].Share = float64(a.Vectors[j].Packets) / float64(max(a.Packets, 1))
		}
		slices.SortStableFunc(a.Vectors, func(x, y FlowVectorShare) int { return -cmp.Compare(x.Packets, y.Packets) })
	}
	for i := range t.Innocents {
		for way := range n.course.innocents[i] {
			pps, bps := n.course.innocents[i][way].peak()
			t.Innocents[i].PeakPPS, t.Innocents[i].PeakBPS = max(t.Innocents[i].PeakPPS, pps), max(t.Innocents[i].PeakBPS, bps)
		}
	}
	for _, r := range n.routers {
		t.Exporters = append(t.Exporters, r.truth)
		t.Datagrams += r.truth.Datagrams
		t.Records += r.truth.Records
	}
	return t
}
