package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"sakimori/base/clock"
)

// FlowSender sends a flow scene's datagrams to a collector on this machine, and to nobody
// else.
type FlowSender struct {
	To    netip.AddrPort // an address of the loopback interface
	Speed float64        // scene seconds a second; 0: as fast as it goes
	Rate  float64        // datagrams a second at most, whatever Speed; 0: any
	// Now moves the scene to the present, as exporters whose clocks are right tell it. The
	// scene keeps its own time otherwise.
	Now bool
}

// FlowsSent is how sending went.
type FlowsSent struct {
	Datagrams uint64        `json:"datagrams"`
	Bytes     uint64        `json:"bytes"`
	Refused   uint64        `json:"refused"` // nobody listened
	Took      time.Duration `json:"took_ns"`
	Truth     FlowTruth     `json:"truth"`
}

// Send sends until the scene or ctx ends.
func (f *FlowSender) Send(ctx context.Context, s FlowScene) (sent FlowsSent, err error) {
	if !onLoopback(f.To.Addr()) {
		return sent, fmt.Errorf("%s isn't an address of the loopback interface: flows of the simulator stay on this machine", f.To.Addr())
	}
	if f.Speed < 0 || f.Rate < 0 {
		return sent, errors.New("neither speed nor rate can be below zero")
	}
	var conns []*net.UDPConn
	defer func() {
		for _, c := range conns {
			_ = c.Close() // all was sent
		}
	}()
	for i, r := range s.Routers {
		c, err := f.dial(i, r.Address.Port())
		if err != nil {
			return sent, err
		}
		conns = append(conns, c)
	}
	begin := clock.System{}.Now()
	if f.Now {
		s.Start = begin.UTC()
	}
	p := pacer{begin: begin, timer: time.NewTimer(0)}
	defer p.timer.Stop()
	start := s.Start.UnixNano()
	sent.Truth, err = s.Tell(func(at int64, router int, data []byte) error {
		var due time.Duration
		if f.Speed > 0 {
			due = time.Duration(float64(at-start) / f.Speed)
		}
		if f.Rate > 0 {
			due = max(due, time.Duration(float64(sent.Datagrams)/f.Rate*float64(time.Second)))
		}
		if err := p.wait(ctx, due); err != nil {
			return err
		}
		if _, err := conns[router].Write(data); err != nil {
			sent.Refused++ // of an earlier one: the system tells it late
			return nil
		}
		sent.Datagrams++
		sent.Bytes += uint64(len(data))
		return nil
	})
	sent.Took = clock.System{}.Now().Sub(begin)
	if sent.Refused > 0 && sent.Datagrams == 0 {
		return sent, fmt.Errorf("nobody listens at %s", f.To)
	}
	return sent, err
}

// dial opens the socket of a router: each has an address of its own, where the loopback
// interface has that many, and else a port.
func (f *FlowSender) dial(router int, port uint16) (*net.UDPConn, error) {
	to := net.UDPAddrFromAddrPort(f.To)
	if f.To.Addr().Is4() && f.To.Addr().IsLoopback() {
		own := netip.AddrFrom4([4]byte{127, 0, 1, byte(router%250 + 1)})
		if c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(own, port)), to); err == nil {
			return c, nil
		}
		if c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(own, 0)), to); err == nil {
			return c, nil
		}
	}
	c, err := net.DialUDP("udp", nil, to)
	if err != nil {
		return nil, fmt.Errorf("no socket to send flows from: %w", err)
	}
	return c, nil
}

// pacer waits until a time since its beginning has passed.
type pacer struct {
	begin time.Time
	timer *time.Timer
	ahead time.Duration // known to have passed
}

func (p *pacer) wait(ctx context.Context, due time.Duration) error {
	if due <= p.ahead {
		return ctx.Err()
	}
	if p.ahead = (clock.System{}).Now().Sub(p.begin); due <= p.ahead {
		return ctx.Err()
	}
	const least = time.Millisecond // shorter waits come out longer: rather a few at once
	if due-p.ahead < least {
		return ctx.Err()
	}
	p.timer.Reset(due - p.ahead)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.timer.C:
		return nil
	}
}
