// Package mirror makes flows of packets: those of a mirror port, a tap or a capture
// file. Nothing is sampled, so what it counts is exact.
//
// One idea: time is cut at whole multiples of Config.Every, a second unless set
// otherwise, and what a flow did in one such period is one record, whose First and Last
// lie in the period. A flow that lasts gives a record for each period in which it sent
// something. So a detector hears of a flood when its first second is over; nothing waits
// for a time-out; and no more is held than the flows of one period. When they are more
// than Config.Most, all of them are handed over early and the period goes on with empty
// hands: there are more records then, and nothing is lost or guessed.
//
// A flow is what has addresses, protocol, ports (of ICMP type and code) and marks in
// common. Later fragments have no ports and are a flow of their own.
package mirror

import (
	"cmp"
	"errors"
	"hash/maphash"
	"io"
	"log/slog"
	"math/bits"
	"sync"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// Config is what may be set. Zero fields take the value of DefaultConfig.
type Config struct {
	Exporter  uint32         // as the records are to say, see observe.Flow
	In        uint32         // the interface on which the records came in; 0 not told
	Tunnels   packet.Tunnels // encapsulations to look into
	VXLANPort uint16         // as packet.Decoder has it

	// Every is what time is cut into: 1 s to 1 min. A longer one gives fewer records,
	// and what comes of them is that much later.
	Every time.Duration
	// Most is how many flows are held at most. Each costs 136 bytes: 35 MB by default.
	Most int
}

// DefaultConfig is what runs when nothing is set.
func DefaultConfig() Config {
	return Config{Every: time.Second, Most: 1 << 18}
}

// Stats is what became of the frames. Frames = Packets + NotIP + Malformed + Cut +
// UnknownLink, but frames whose IP header can be read count as Packets and are in flows,
// whatever follows it.
type Stats struct {
	Frames      uint64 `json:"frames"`
	Packets     uint64 `json:"packets"`      // counted in flows
	Bytes       uint64 `json:"bytes"`        // of them, as the IP header states but no more than was on the wire
	Records     uint64 `json:"records"`      // handed over
	Damaged     uint64 `json:"damaged"`      // of Packets: what follows the IP header contradicts itself or was cut
	NotIP       uint64 `json:"not_ip"`       // ARP, LLDP, …
	Malformed   uint64 `json:"malformed"`    // IP headers that contradict themselves
	Cut         uint64 `json:"cut"`          // frames that end before the IP header does
	UnknownLink uint64 `json:"unknown_link"` // link types that aren't read
	Late        uint64 `json:"late"`         // packets of a period that was over: counted in the next one, at its beginning
	Jumps       uint64 `json:"jumps"`        // the clock of the packets went back by more than a minute
	Full        uint64 `json:"full"`         // hand-overs before the end of a period, as there were too many flows
}

// Mirror holds the flows of the period in hand. Its methods may be called from several
// goroutines; the sink is called under its lock and must not call back.
type Mirror struct {
	cfg     Config
	decoder packet.Decoder
	sink    func([]observe.Flow)
	seed    uint64 // of the hash, so that nobody can aim at one place of the table

	mu     sync.Mutex
	flows  []observe.Flow // in order of their first packet, and so is the output
	table  table
	begun  bool
	start  int64 // of the period in hand, Unix nanoseconds
	end    int64
	now    int64 // time of the newest packet
	stats  Stats
	waiter [ahead]looked
}

// batch is how many records the sink is given at most.
const batch = 8192

// back is how far a packet may lie before the period in hand and still be taken for
// late: networks and rings reorder within milliseconds, a second capture begins anew.
const back = int64(time.Minute)

// New makes a mirror that gives its records to the sink, which may not keep the slice.
func New(cfg Config, sink func([]observe.Flow)) (*Mirror, error) {
	def := DefaultConfig()
	cfg.Every = cmp.Or(cfg.Every, def.Every)
	cfg.Most = cmp.Or(cfg.Most, def.Most)
	switch {
	case cfg.Every < time.Second || cfg.Every > time.Minute || cfg.Every%time.Second != 0:
		return nil, errors.New("mirror: Every must be whole seconds from 1 s to 1 min")
	case cfg.Most < 1 || cfg.Most > 1<<28:
		return nil, errors.New("mirror: Most must be from 1 to 268,435,456 flows")
	}
	return &Mirror{
		cfg: cfg, sink: sink,
		decoder: packet.Decoder{Tunnels: cfg.Tunnels, VXLANPort: cfg.VXLANPort},
		seed:    maphash.Bytes(maphash.MakeSeed(), nil),
		flows:   make([]observe.Flow, 0, cfg.Most),
		table:   newTable(cfg.Most),
	}, nil
}

// looked is a packet that was decoded and not yet counted.
type looked struct {
	observe.Flow
	hash uint64
	ref  uint32 // of the flow that it most likely belongs to, 0 none
	ip   bool
}

// ahead is how many packets are decoded before they are counted: long enough for the
// memory that they will need to have come.
const ahead = 32

// Ingest counts the frames of a block, whose memory it doesn't keep.
func (m *Mirror) Ingest(b *packet.Block) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stats.Frames += uint64(len(b.Frames))
	for at := 0; at < len(b.Frames); at += ahead {
		n := min(ahead, len(b.Frames)-at)
		for i := range n {
			w := &m.waiter[i]
			m.look(b, at+i, w)
			w.ref = m.table.first(w.hash)
		}
		var touched uint64
		for i := range n {
			if ref := m.waiter[i].ref; ref != 0 {
				touched += m.flows[ref-1].Packets + m.flows[ref-1].Src.Lo
			}
		}
		m.table.touched = touched // or the compiler leaves it out
		for i := range n {
			if m.waiter[i].ip {
				m.count(&m.waiter[i])
			}
		}
	}
}

// look makes a flow of one packet.
func (m *Mirror) look(b *packet.Block, i int, w *looked) {
	var p packet.Packet
	fr := &b.Frames[i]
	status := m.decoder.Decode(fr.Link, b.Bytes(i), fr.Orig, &p)
	if w.ip = p.Version != 0; !w.ip {
		switch status {
		case packet.NotIP:
			m.stats.NotIP++
		case packet.Cut:
			m.stats.Cut++
		case packet.UnknownLink:
			m.stats.UnknownLink++
		default:
			m.stats.Malformed++
		}
		return
	}
	if status != packet.OK {
		m.stats.Damaged++
	}
	length := p.Length
	if fr.Orig > 0 { // nobody makes a large packet of a small one by its header
		length = min(length, max(fr.Orig, fr.Len))
	}
	f := &w.Flow
	*f = observe.Flow{
		Src: p.Src, Dst: p.Dst, First: fr.Time, Last: fr.Time, Packets: 1, Bytes: uint64(length), Seen: 1, Rate: 1,
		Exporter: m.cfg.Exporter, In: m.cfg.In, SrcPort: p.SrcPort, DstPort: p.DstPort, Proto: p.Proto, TCPFlags: p.TCPFlags, TOS: p.TOS,
	}
	if p.Flags&packet.Tunnelled != 0 {
		f.Marks |= observe.FlowInner
	}
	switch {
	case p.Flags&packet.LaterFragment != 0:
		f.Marks |= observe.FlowFragment
	case p.Proto == packet.ICMP || p.Proto == packet.ICMPv6:
		f.DstPort = uint16(p.ICMPType)<<8 | uint16(p.ICMPCode)
	}
	if p.Proto == packet.TCP && (status != packet.OK || p.Flags&(packet.NoTransport|packet.LaterFragment) != 0) {
		f.Marks |= observe.FlowNoFlags
	}
	w.hash = m.hash(f)
}

// hash is of what a flow has in common.
func (m *Mirror) hash(f *observe.Flow) uint64 {
	ports := uint64(f.SrcPort)<<32 | uint64(f.DstPort)<<16 | uint64(f.Proto)<<8 | uint64(f.Marks)
	a := mix(f.Src.Lo^m.seed, f.Dst.Lo^0x9e3779b97f4a7c15)
	b := mix(f.Src.Hi^m.seed, f.Dst.Hi^0xd6e8feb86659fd93)
	return mix(a^ports, b^m.seed^0xa0761d6478bd642f)
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// alike tells whether both are of one flow.
func alike(a, b *observe.Flow) bool {
	return a.Src == b.Src && a.Dst == b.Dst && a.SrcPort == b.SrcPort && a.DstPort == b.DstPort && a.Proto == b.Proto && a.Marks == b.Marks
}

// count adds a packet to its flow.
func (m *Mirror) count(w *looked) {
	m.clock(&w.Flow)
	m.stats.Packets++
	m.stats.Bytes += w.Bytes
	f := m.find(w)
	if f == nil {
		if len(m.flows) == m.cfg.Most {
			m.stats.Full++
			m.handOver()
		}
		m.flows = append(m.flows, w.Flow)
		m.table.put(w.hash, uint32(len(m.flows)), m) //nolint:gosec // at most Most
		return
	}
	f.First, f.Last = min(f.First, w.First), max(f.Last, w.Last)
	f.Packets++
	f.Bytes += w.Bytes
	f.Seen++
	f.TCPFlags |= w.TCPFlags
}

// find is the flow that a packet belongs to, nil if it is the first.
func (m *Mirror) find(w *looked) *observe.Flow {
	t := &m.table
	for i := uint32(w.hash) & t.mask; ; i = (i + 1) & t.mask { //nolint:gosec // the lower half
		s := t.slots[i]
		if s.ref == 0 {
			return nil
		}
		if s.tag == uint32(w.hash>>32) {
			if f := &m.flows[s.ref-1]; alike(f, &w.Flow) {
				return f
			}
		}
	}
}

// clock ends the period in hand when a packet belongs to a later one, or to another day.
func (m *Mirror) clock(f *observe.Flow) {
	switch t := f.First; {
	case m.begun && t >= m.start && t < m.end:
	case m.begun && t < m.start && m.start-t <= back:
		m.stats.Late++
		f.First, f.Last = m.start, m.start
	default:
		if m.begun && t < m.start {
			m.stats.Jumps++
			m.now = t
		}
		m.turn(t)
	}
	m.now = max(m.now, f.First)
}

// turn hands over and begins the period in which t lies.
func (m *Mirror) turn(t int64) {
	m.handOver()
	every := int64(m.cfg.Every)
	m.start = t - ((t%every)+every)%every
	m.end = m.start + every
	m.begun = true
}

// handOver gives what there is to the sink.
func (m *Mirror) handOver() {
	m.stats.Records += uint64(len(m.flows))
	m.table.empty(len(m.flows))
	for list := m.flows; len(list) > 0; {
		n := min(batch, len(list))
		m.sink(list[:n:n])
		list = list[n:]
	}
	m.flows = m.flows[:0]
}

// Tick tells that the time of the packets has come to at, even if none came: a period
// that is over is handed over. A live reader calls it each second with this machine's
// time less what a packet may be late (ring.Options.Retire).
func (m *Mirror) Tick(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := at.UnixNano(); m.begun && t >= m.end && t-m.now < int64(time.Hour) { // a capture of another year isn't live
		m.turn(t)
	}
}

// Flush hands over the period in hand although it isn't over: the input has ended.
func (m *Mirror) Flush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.handOver()
}

// Read counts everything that read gives until it says io.EOF, which isn't an error, or
// fails. What stood before an error is counted. read is ReadBlock of a pcap.Reader or of
// a ring.
func (m *Mirror) Read(read func(*packet.Block) error) error {
	defer m.Flush()
	var b packet.Block
	for {
		err := read(&b)
		if err == nil || len(b.Frames) > 0 {
			m.Ingest(&b)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		b.Frames = b.Frames[:0]
	}
}

// Stats is what became of the frames so far.
func (m *Mirror) Stats() Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.stats
}

// LogValue shows the mirror's size and nobody's address.
func (m *Mirror) LogValue() slog.Value {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slog.GroupValue(slog.Int("flows", len(m.flows)), slog.Uint64("packets", m.stats.Packets), slog.Uint64("late", m.stats.Late))
}
