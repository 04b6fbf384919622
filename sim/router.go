package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sakimori/base/wire/packet"
)

// Router looks at packets and tells a collector of them.
type Router struct {
	Address  netip.AddrPort // where its datagrams come from
	Format   FlowFormat
	Domain   uint32 // observation domain, source ID, sub-agent; engine type and ID of NetFlow 5
	Sampling uint32 // one packet of so many is looked at; 0 all. NetFlow 5 can tell up to 16,383
	Tells    Telling

	// A flow is told when it lasted for Active, or nothing came for Inactive, or it
	// ended. Inactive 0: each packet is told by itself, as sFlow does always.
	Active, Inactive time.Duration
	Cache            int // flows that are open at once; 0: 65,536. When it is full all are told

	Templates     time.Duration // they are repeated so often; 0: 20 s
	LoseTemplates int           // so many of the first datagrams with templates are lost
	Lose          int           // one datagram of so many is lost; 0 none

	Restart time.Duration // started anew so long after the scene's start, 0 never: what is open is lost
	Down    time.Duration // how long that takes
	Up      time.Duration // how long it had been running at the scene's start
	Ahead   time.Duration // of the true time, its clock
	First   uint32        // its first sequence number
}

// FlowFormat is what a router speaks.
type FlowFormat uint8

// The formats.
const (
	NetFlow5 FlowFormat = iota
	NetFlow9
	IPFIX
	SFlow5
)

func (f FlowFormat) String() string {
	return [...]string{"netflow5", "netflow9", "ipfix", "sflow5"}[f]
}

// Telling is how a router of NetFlow 9 or IPFIX tells its sampling. The others have a
// place for it.
type Telling uint8

// The ways.
const (
	TellsSystem    Telling = iota // option of the whole: samplingInterval
	TellsSampler                  // option with the sampler's number, which each record names
	TellsInterface                // option for each interface
	TellsSpace                    // option of samplingPacketInterval and samplingPacketSpace
	TellsRecord                   // in each record
	TellsNothing
)

const (
	routerTick  = 100 * time.Millisecond
	cacheScan   = 5 // every so many ticks it looks for what timed out
	cacheUsual  = 1 << 16
	mostSampled = 1<<14 - 1 // NetFlow 5
)

// The interfaces of a router: where what comes from outside comes in, and the other side.
const (
	outsideIf = 11
	insideIf  = 21
)

// router is one at work.
type router struct {
	Router
	n        *flowNet
	number   int
	out      DatagramWriter
	truth    FlowExporter
	cache    flowCache
	boot     int64 // when it was started, true time
	down     int64 // until when it sees nothing
	again    int64 // when it starts anew, 0 not any more
	next     int64 // when templates are due
	ticks    int
	sequence uint32
	sent     int    // datagrams made
	told     int    // of templates
	pool     uint64 // packets that passed
	samples  uint32 // of sFlow

	records4, records6 []byte // encoded, to be sent
	count4, count6     int
	message            []byte
	frame              frame // of a sample
}

func newRouter(n *flowNet, number int, c Router, out DatagramWriter) (*router, error) {
	switch {
	case !c.Address.IsValid() || c.Format > SFlow5 || c.Tells > TellsNothing:
		return nil, errors.New("it needs an address, and a format and a way of telling that exist")
	case c.Format == NetFlow5 && c.Sampling > mostSampled:
		return nil, fmt.Errorf("NetFlow 5 can tell a sampling of 1:%d at most", mostSampled)
	case c.Inactive > 0 && c.Active < c.Inactive:
		return nil, errors.New("its active time-out is below the inactive one")
	}
	c.Sampling = max(c.Sampling, 1)
	if c.Templates <= 0 {
		c.Templates = 20 * time.Second
	}
	if c.Cache <= 0 {
		c.Cache = cacheUsual
	}
	r := &router{Router: c, n: n, number: number, out: out, boot: n.start - int64(c.Up), next: n.start, sequence: c.First}
	if c.Restart > 0 {
		r.again = n.start + int64(c.Restart)
	}
	if c.Format != SFlow5 && c.Inactive > 0 {
		r.cache.index = make(map[flowKey]int32)
	}
	r.truth = FlowExporter{Address: c.Address, Version: c.Format.String(), Domain: c.Domain, Sampling: c.Sampling, Ahead: c.Ahead}
	return r, nil
}

// flowKey is what the packets of a flow have in common.
type flowKey struct {
	src, dst     packet.Addr
	sport, dport uint16
	proto, tos   uint8
	later        bool
	outward      bool
}

// openFlow is a flow, open or about to be told.
type openFlow struct {
	flowKey
	first, last    int64 // true time
	packets, bytes uint64
	flags          packet.TCPFlags
	used, ended    bool
	attack         int32
}

// flowCache holds the open flows.
type flowCache struct {
	index map[flowKey]int32
	flows []openFlow
	free  []int32
	open  int
}

// take looks at a packet.
func (r *router) take(now int64, p *pass) error {
	r.pool += p.count
	if now < r.down {
		r.truth.Unseen += uint64(r.Sampling)
		return nil
	}
	if r.Format == SFlow5 {
		return r.sample(now, p)
	}
	k := flowKey{p.src, p.dst, p.sport, p.dport, p.proto, p.tos, p.later, p.outward}
	if r.Inactive == 0 {
		f := openFlow{flowKey: k, first: now, last: now, packets: 1, bytes: uint64(p.length), flags: p.flags, attack: p.attack}
		return r.tell(now, &f)
	}
	c := &r.cache
	i, ok := c.index[k]
	if ok {
		f := &c.flows[i]
		if now-f.first >= int64(r.Active) || now-f.last >= int64(r.Inactive) || f.bytes+uint64(p.length) > 1<<31 {
			if err := r.tell(now, f); err != nil {
				return err
			}
			*f = openFlow{flowKey: k, used: true, first: now, attack: p.attack}
		}
	} else {
		if c.open >= r.Cache {
			if err := r.tellAll(now, func(*openFlow) bool { return true }); err != nil {
				return err
			}
		}
		if n := len(c.free); n > 0 {
			i, c.free = c.free[n-1], c.free[:n-1]
		} else {
			i = int32(len(c.flows))
			c.flows = append(c.flows, openFlow{})
		}
		c.flows[i] = openFlow{flowKey: k, used: true, first: now, attack: p.attack}
		c.index[k] = i
		c.open++
	}
	f := &c.flows[i]
	f.last = now
	f.packets++
	f.bytes += uint64(p.length)
	f.flags |= p.flags
	f.ended = f.ended || p.flags&(packet.FIN|packet.RST) != 0
	return nil
}

// tellAll tells and forgets those that are over.
func (r *router) tellAll(now int64, over func(*openFlow) bool) error {
	c := &r.cache
	for i := range c.flows {
		f := &c.flows[i]
		if !f.used || !over(f) {
			continue
		}
		if err := r.tell(now, f); err != nil {
			return err
		}
		delete(c.index, f.flowKey)
		f.used = false
		c.free = append(c.free, int32(i))
		c.open--
	}
	return nil
}

// wake is called every tenth of a second.
func (r *router) wake(now int64) error {
	r.ticks++
	if r.again > 0 && now >= r.again {
		if err := r.restart(); err != nil {
			return err
		}
	}
	if now < r.down {
		return nil
	}
	if now >= r.next && (r.Format == NetFlow9 || r.Format == IPFIX) {
		if err := r.flush(now); err != nil {
			return err
		}
		r.next = now + int64(r.Templates)
		if err := r.templates(now); err != nil {
			return err
		}
	}
	if r.cache.open > 0 && r.ticks%cacheScan == 0 {
		err := r.tellAll(now, func(f *openFlow) bool {
			return f.ended || now-f.first >= int64(r.Active) || now-f.last >= int64(r.Inactive)
		})
		if err != nil {
			return err
		}
	}
	return r.flush(now)
}

// restart forgets everything.
func (r *router) restart() error {
	r.truth.Restarts++
	r.truth.LostFlows += uint64(r.cache.open + r.count4 + r.count6)
	r.cache = flowCache{index: r.cache.index}
	clear(r.cache.index)
	r.records4, r.records6, r.count4, r.count6 = r.records4[:0], r.records6[:0], 0, 0
	r.down = r.again + int64(r.Down)
	r.boot, r.next, r.again = r.down, r.down, 0
	r.sequence, r.samples, r.pool = 0, 0, 0
	return nil
}

func (r *router) pending() bool { return r.count4+r.count6 > 0 }

// tell encodes a flow.
func (r *router) tell(now int64, f *openFlow) error {
	if r.Format == NetFlow5 && !f.src.Is4() {
		r.truth.Untold++
		return nil
	}
	if f.attack >= 0 && r.n.truth.Attacks[f.attack].Told.IsZero() {
		r.n.truth.Attacks[f.attack].Told = time.Unix(0, now).UTC()
	}
	switch {
	case r.Format == NetFlow5:
		r.records4 = r.append5(r.records4, f)
		r.count4++
	case f.src.Is4():
		r.records4 = r.appendRecord(r.records4, f)
		r.count4++
	default:
		r.records6 = r.appendRecord(r.records6, f)
		r.count6++
	}
	const room = 1300 // of records in a datagram
	if len(r.records4)+len(r.records6) > room || r.Format == NetFlow5 && r.count4 == most5 {
		return r.flush(now)
	}
	return nil
}

// flush sends what is encoded.
func (r *router) flush(now int64) error {
	n := r.count4 + r.count6
	if n == 0 {
		return nil
	}
	b := r.head(r.message[:0], now, n)
	switch r.Format {
	case NetFlow5, SFlow5:
		b = append(b, r.records4...)
	default:
		b = appendSet(b, templateOf4, r.records4)
		b = appendSet(b, templateOf6, r.records6)
	}
	r.message = r.close(b)
	r.records4, r.records6, r.count4, r.count6 = r.records4[:0], r.records6[:0], 0, 0
	switch r.Format {
	case NetFlow5, IPFIX:
		r.sequence += uint32(n)
	default:
		r.sequence++
	}
	return r.send(now, n, r.Lose > 0 && r.sent%r.Lose == r.Lose-1)
}

// send hands the message over, or loses it.
func (r *router) send(now int64, records int, lost bool) error {
	r.sent++
	if lost {
		r.truth.Lost++
		return nil
	}
	r.truth.Datagrams++
	r.truth.Records += uint64(records)
	return r.out(now, r.number, r.message)
}

// clock is what it takes for the time, in Unix nanoseconds.
func (r *router) clock(now int64) int64 { return now + int64(r.Ahead) }

// uptime is how long it has been running, in milliseconds; it wraps after 49.7 days.
func (r *router) uptime(now int64) uint32 { return uint32(uint64(now-r.boot) / 1e6) }

// interfaces are where a packet comes in and goes out.
func interfaces(outward bool) (in, out uint32) {
	if outward {
		return insideIf, outsideIf
	}
	return outsideIf, insideIf
}

// asOf is the network of an address: ours, or one of those for documentation (RFC 5398).
func (n *flowNet) asOf(a packet.Addr) uint32 {
	if n.own.contains(a) {
		return 64500
	}
	return 64501 + uint32(mix(a.Hi, a.Lo>>16)%11)
}
