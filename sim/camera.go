package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/dns"
)

// Camera is a camera of a household that fell ill: it asks its resolver for the names of
// C&C servers, one after the other, and has nowhere to go when none answers. It asks a
// resolver on this machine's loopback interface, from an address of that, and nobody
// else; whoever answers, it goes nowhere.
type Camera struct {
	Resolver netip.AddrPort // an address of the loopback interface
	From     netip.Addr     // another, which the household has; zero any
	Names    []string       // of its C&C servers
	Rounds   int            // how often it goes through them; 0: once
	Every    time.Duration  // between two questions; 0: a tenth of a second
}

// Called is what came of one question.
type Called struct {
	Name      string       `json:"name"`
	Rcode     uint8        `json:"rcode"`
	Addresses []netip.Addr `json:"addresses"` // none: nowhere to go
	Silent    bool         `json:"silent"`    // nobody answered in time
}

// How long it waits for an answer, how often it may ask in all, and how fast.
const (
	patience   = 3 * time.Second
	mostAsked  = 10_000
	cameraPace = 100 * time.Millisecond
)

// Call goes through the names.
func (c *Camera) Call(ctx context.Context) ([]Called, error) {
	rounds, every := max(c.Rounds, 1), c.Every
	if every <= 0 {
		every = cameraPace
	}
	switch {
	case !onLoopback(c.Resolver.Addr()) || c.From.IsValid() && !onLoopback(c.From):
		return nil, errors.New("a camera of the simulator stays on the loopback: name a resolver and an address that the loopback interface has")
	case len(c.Names) == 0 || rounds*len(c.Names) > mostAsked:
		return nil, fmt.Errorf("a camera asks for 1 to %d names in all", mostAsked)
	}
	from := &net.UDPAddr{IP: c.From.AsSlice()}
	conn, err := net.DialUDP("udp", from, net.UDPAddrFromAddrPort(c.Resolver))
	if err != nil {
		return nil, fmt.Errorf("the camera can't reach its resolver: %w", err)
	}
	defer conn.Close()
	var list []Called
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := range rounds * len(c.Names) {
		if i > 0 {
			select {
			case <-ctx.Done():
				return list, ctx.Err()
			case <-tick.C:
			}
		}
		called, err := ask(conn, c.Names[i%len(c.Names)], uint16(i+1))
		if err != nil {
			return list, err
		}
		list = append(list, called)
	}
	return list, nil
}

// onLoopback tells whether what is sent to an address stays on the loopback interface: it
// is one of its own.
func onLoopback(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	all, err := net.Interfaces()
	if err != nil {
		return false
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback == 0 {
			continue
		}
		list, err := i.Addrs()
		if err != nil {
			return false
		}
		for _, x := range list {
			if p, err := netip.ParsePrefix(x.String()); err == nil && p.Addr().Unmap() == a.Unmap() {
				return true
			}
		}
	}
	return false
}

// ask asks for the addresses of a name. That nobody answers isn't an error.
func ask(conn *net.UDPConn, name string, id uint16) (c Called, err error) {
	n, err := dns.ParseName(name)
	if err != nil {
		return c, err
	}
	c.Name = n.String()
	q := dns.Message{ID: id, Desired: true, Counts: [4]uint16{1}}
	if _, err := conn.Write(dns.AppendQuestion(q.AppendHeader(nil), dns.Question{Name: n, Type: dns.A, Class: dns.IN})); err != nil {
		return c, fmt.Errorf("the camera can't reach its resolver: %w", err)
	}
	if err := conn.SetReadDeadline(clock.System{}.Now().Add(patience)); err != nil {
		return c, err
	}
	buf := make([]byte, 1<<12)
	for {
		size, err := conn.Read(buf)
		var late net.Error
		if errors.As(err, &late) && late.Timeout() {
			c.Silent = true
			return c, nil
		}
		if err != nil {
			return c, fmt.Errorf("the resolver doesn't listen: %w", err)
		}
		var m dns.Message
		if m.Read(buf[:size]) != nil || !m.Response || m.ID != id {
			continue // of an earlier question
		}
		c.Rcode = m.Rcode
		var rr dns.RR
		for r := m.Records(); r.Next(&rr); {
			if a, ok := netip.AddrFromSlice(rr.Data); ok && rr.Section == dns.Answer && rr.Type == dns.A {
				c.Addresses = append(c.Addresses, a)
			}
		}
		slices.SortFunc(c.Addresses, netip.Addr.Compare)
		return c, nil
	}
}
