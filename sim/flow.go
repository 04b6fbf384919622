package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"sakimori/base/wire/packet"
)

// FlowScene is a stretch of an operator's traffic, and how its routers tell of it:
// attacks, what looks like one, and a town's ordinary day, looked at by routers that
// sample, keep flows and export them.
//
// Packets aren't made one by one: a stream knows how many of them pass and goes from
// one that the router looks at to the next. So a flood of 300 million packets a second
// that is sampled 1:100,000 costs no more than one of 3,000, and what passed is known
// exactly all the same.
type FlowScene struct {
	Name     string
	Seed     uint64
	Start    time.Time
	Duration time.Duration
	Own      []netip.Prefix // the operator's own addresses; at least one of IPv4
	Routers  []Router       // every packet passes exactly one of them
	Traffic  []Traffic
	OneWay   bool // they look only at what comes in from outside
}

// Traffic is one party of a flow scene, or many of a kind.
type Traffic interface {
	// cast calls its streams on. r is its own randomness.
	cast(n *flowNet, r *rng) error
}

// DatagramWriter takes what a router exports: a datagram that leaves it at a time (Unix
// nanoseconds). router is its number in the scene. data is reused after the call.
type DatagramWriter func(at int64, router int, data []byte) error

// The collector's address in captures of flows, and its ports.
var flowCollector = packet.FromNetip(netip.MustParseAddr("192.0.2.250"))

const (
	portNetFlow = 2055
	portSFlow   = 6343
)

// talker is one stream of a flow scene.
type talker interface {
	// send tells the packet that a router looks at now, if any, and when it is due
	// again, never for an end. p is empty before the call.
	send(now int64, p *pass) (next int64)
}

// pass is a packet that a router looks at.
type pass struct {
	src, dst     packet.Addr
	sport, dport uint16 // dport of ICMP type<<8|code
	length       uint16 // of the IP packet
	proto, tos   uint8
	flags        packet.TCPFlags
	later        bool // a later fragment
	outward      bool // from one of ours to outside
	router       int32
	attack       int32  // number of the attack that it belongs to, -1 none
	count        uint64 // packets that passed since the last one looked at, with it; 0: there is none
}

// flowNet is a flow scene at work.
type flowNet struct {
	own        space
	world      places
	start, end int64
	oneWay     bool
	routers    []*router
	truth      FlowTruth
	course     courses

	talkers []talker
	free    []int32 // places in it that are empty
	queue   queue
}

// Tell makes the scene and hands each datagram over, in order of time. Memory grows with
// the flows that are open at once, not with the length of the scene. A scene that can't
// be made is an error before anything is told.
func (s FlowScene) Tell(out DatagramWriter) (FlowTruth, error) {
	n, err := s.cast(out)
	if err != nil {
		return FlowTruth{}, fmt.Errorf("flow scene %q: %w", s.Name, err)
	}
	tick := n.start
	for len(n.queue) > 0 {
		now := n.queue[0].at
		for ; tick <= now; tick += int64(routerTick) {
			if err := n.wake(tick); err != nil {
				return FlowTruth{}, err
			}
		}
		var p pass
		who := n.queue[0].who
		n.queue[0].at = 0 // stays first, whoever is called on meanwhile
		next := n.talkers[who].send(now, &p)
		if p.count > 0 && !(n.oneWay && p.outward) {
			if err := n.routers[p.router].take(now, &p); err != nil {
				return FlowTruth{}, err
			}
		}
		if next = max(next, now); next >= n.end {
			n.talkers[who], n.free = nil, append(n.free, who)
		}
		n.queue = n.queue.reschedule(next, n.end)
	}
	for busy := true; busy; tick += int64(routerTick) { // what is open yet is told when it times out
		if err := n.wake(tick); err != nil {
			return FlowTruth{}, err
		}
		busy = tick < n.end
		for _, r := range n.routers {
			busy = busy || r.cache.open > 0 || r.pending()
		}
	}
	return n.finish(), nil
}

// Write makes the scene as a capture of the exporters' datagrams on their way to the
// collector.
func (s FlowScene) Write(w FrameWriter) (FlowTruth, error) {
	var f frame
	return s.Tell(func(at int64, router int, data []byte) error {
		from, port := s.Routers[router].Address, uint16(portNetFlow)
		if s.Routers[router].Format == SFlow5 {
			port = portSFlow
		}
		f.udp(ipHead{src: packet.FromNetip(from.Addr()), dst: flowCollector, ttl: 62, frag: dontFragment}, from.Port(), port, data)
		return w.WriteFrame(at, f.buf[:f.n])
	})
}

// cast checks the scene and calls everybody on.
func (s *FlowScene) cast(out DatagramWriter) (*flowNet, error) {
	if s.Duration <= 0 || s.Start.Year() < 1980 || s.Start.Year() > 2100 {
		return nil, errors.New("it needs a start between 1980 and 2100 and a duration above zero")
	}
	if len(s.Routers) == 0 {
		return nil, errors.New("it needs a router")
	}
	n := &flowNet{start: s.Start.UnixNano(), end: s.Start.Add(s.Duration).UnixNano(), oneWay: s.OneWay}
	var err error
	if n.own, err = newSpace("own", s.Own); err != nil {
		return nil, err
	}
	if n.own.n4 == 0 {
		return nil, errors.New("it needs an own prefix of IPv4")
	}
	if n.world, err = newPlaces(nil); err != nil {
		return nil, err
	}
	n.truth = FlowTruth{
		Scene: s.Name, Note: FlowNote, Seed: s.Seed, Start: s.Start, End: s.Start.Add(s.Duration), Own: s.Own, OneWay: s.OneWay,
		Attacks: []FlowAttack{}, Innocents: []FlowInnocent{}, Infected: []FlowInfected{},
	}
	for i := range s.Routers {
		r, err := newRouter(n, i, s.Routers[i], out)
		if err != nil {
			return nil, fmt.Errorf("router %d: %w", i, err)
		}
		n.routers = append(n.routers, r)
	}
	for i, t := range s.Traffic {
		r := rng(mix(s.Seed, uint64(i)+0xf10))
		if err := t.cast(n, &r); err != nil {
			return nil, fmt.Errorf("traffic %d (%T): %w", i, t, err)
		}
	}
	return n, nil
}

// call puts a stream on at a time, unless the scene is over by then.
func (n *flowNet) call(t talker, at int64) {
	if at >= n.end {
		return
	}
	who := int32(len(n.talkers))
	if k := len(n.free); k > 0 {
		who, n.free = n.free[k-1], n.free[:k-1]
		n.talkers[who] = t
	} else {
		n.talkers = append(n.talkers, t)
	}
	n.queue = append(n.queue, turn{at, who})
	for i := len(n.queue) - 1; i > 0; {
		up := (i - 1) / 2
		if !n.queue[i].before(n.queue[up]) {
			break
		}
		n.queue[i], n.queue[up] = n.queue[up], n.queue[i]
		i = up
	}
}

func (n *flowNet) wake(at int64) error {
	for _, r := range n.routers {
		if err := r.wake(at); err != nil {
			return err
		}
	}
	return nil
}

// routerOf says which router a host outside is behind.
func (n *flowNet) routerOf(a packet.Addr) int32 {
	return int32(mix(a.Hi^a.Lo, 0x7007) % uint64(len(n.routers)))
}

// passed adds what a stream lets pass to the totals.
func (n *flowNet) passed(packets, bytes uint64, outward bool) {
	if !(outward && n.oneWay) {
		n.truth.Packets += packets
		n.truth.Bytes += bytes
	}
}

// skip is how many packets on the next one is that a router looks at which samples 1:every:
// chance decides for each packet by itself.
func (r *rng) skip(every uint32) uint64 {
	if every <= 1 {
		return 1
	}
	const part = 1 << 10 // a gap in parts of a packet; the mean of its whole part is half a packet less
	return 1 + uint64(r.gap((2*int64(every)-1)*part/2))/part
}
