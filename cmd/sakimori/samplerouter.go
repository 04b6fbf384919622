package main

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/observe"
	"sakimori/respond"
	"sakimori/respond/mitigate"
	"sakimori/respond/mitigate/speaker"
)

// sampleRouter is the router of a demo: it lives in this program, takes rules, and marks
// the flows that they fit as dropped, as routers tell it. Nothing leaves the machine.
type sampleRouter struct {
	clock clock.Clock

	mu    sync.Mutex
	since time.Time
	acts  map[string]*standingRules
}

type standingRules struct {
	rules []mitigate.Rule
	taken time.Time
	until time.Time

	second int64     // of the data, in which passed counts
	passed []float64 // by rule, of those with a rate
}

var _ mitigate.Announcer = (*sampleRouter)(nil)

func newSampleRouter(c clock.Clock) *sampleRouter {
	return &sampleRouter{clock: c, acts: map[string]*standingRules{}}
}

func (r *sampleRouter) Announce(_ context.Context, id string, rules []mitigate.Rule, until time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.acts[id]
	if x == nil {
		x = &standingRules{taken: r.clock.Now()}
		r.acts[id] = x
	}
	x.rules, x.until, x.passed = slices.Clone(rules), until, make([]float64, len(rules))
	return nil
}

func (r *sampleRouter) Withdraw(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.acts, id)
	return nil
}

func (r *sampleRouter) Held(context.Context) (list []respond.Held, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, x := range r.acts {
		list = append(list, respond.Held{ID: id, Peer: r.name(), Rules: len(x.rules), At: x.taken})
	}
	return list, nil
}

func (*sampleRouter) name() string {
	return say("見本のルーター(このプログラムの中)", "sample router, inside this program")
}

// peers is the router as a peer is shown. It speaks no BGP, and says so.
func (r *sampleRouter) peers() []speaker.Peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since.IsZero() {
		r.since = r.clock.Now()
	}
	p := speaker.Peer{
		Name: r.name(), Address: netip.MustParseAddr("127.0.0.1"), AS: 64500, State: speaker.Established, Since: r.since, Families: speaker.Families(), Limit: 100,
		Words: detect.Text{
			JA: "見本です。BGP は使わず、規則はこのプログラムの中だけで働きます。外へは何も送りません。",
			EN: "A sample: it speaks no BGP, rules work inside this program alone, and nothing is sent anywhere.",
		},
	}
	for _, x := range r.acts {
		p.Held += len(x.rules)
	}
	return []speaker.Peer{p}
}

// pass marks flows that the rules drop.
func (r *sampleRouter) pass(batch []observe.Flow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	for id, x := range r.acts {
		if now.After(x.until) {
			delete(r.acts, id)
			continue
		}
		for i := range batch {
			if f := &batch[i]; f.Marks&observe.FlowDropped == 0 && x.drops(f) {
				f.Marks |= observe.FlowDropped
			}
		}
	}
}

// drops tells whether a router would drop a flow: by the first rule that it fits.
func (x *standingRules) drops(f *observe.Flow) bool {
	s := detect.Sample{
		Src: f.Src.Netip(), Dst: f.Dst.Netip(), SrcPort: f.SrcPort, DstPort: f.DstPort, Proto: f.Proto, Flags: f.TCPFlags,
		NoFlags: f.Marks&observe.FlowNoFlags != 0, Later: f.Marks&observe.FlowFragment != 0, Single: f.Seen == 1,
		Length: uint16(min(f.Bytes/max(f.Packets, 1), 65535)),
	}
	if (f.Proto == packet.UDP || f.Proto == packet.TCP) && f.SrcPort == 0 && f.DstPort == 0 {
		s.Later = true
	}
	if second := f.Last / int64(time.Second); second != x.second {
		x.second = second
		clear(x.passed)
	}
	for i := range x.rules {
		k := &x.rules[i]
		if !k.Match.Fits(&s) {
			continue
		}
		n := float64(f.Packets)
		switch k.Action {
		case mitigate.Drop, mitigate.RTBH:
			return true
		case mitigate.RateBytes:
			n = float64(f.Bytes)
			fallthrough
		case mitigate.RatePackets:
			if x.passed[i]+n > k.Rate {
				return true
			}
			x.passed[i] += n
		}
		return false
	}
	return false
}
