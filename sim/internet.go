package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/dns"
)

// Internet is all that resolvers of a demo can ask: the names of the small Internet, and
// the truth that canaries must get. It stays on the loopback interface.
type Internet struct {
	canary dns.Name // below it every name has the truth as TXT
	truth  string
	udp    net.PacketConn
	tcp    net.Listener
}

// How much of it there is, and how long it waits for who asks by TCP.
const (
	internetTTL  = 60
	internetIdle = 10 * time.Second
)

// existing are the names that lead somewhere: of shops and of C&C servers.
var existing = regexp.MustCompile(`^(www\.mise[0-9]{3}|[a-z0-9.-]+-mihon)\.jp$`)

// NewInternet listens on an address of the loopback interface, by UDP and TCP; port 0 is
// any. canary is the domain below which every name holds truth.
func NewInternet(ctx context.Context, at netip.AddrPort, canary, truth string) (*Internet, error) {
	const most = 255 // of one string
	if !onLoopback(at.Addr()) {
		return nil, fmt.Errorf("%s isn't an address of the loopback interface: the small Internet answers nobody else", at.Addr())
	}
	if truth == "" || len(truth) > most {
		return nil, errors.New("the truth has 1 to 255 bytes")
	}
	n := &Internet{truth: truth}
	var err error
	if n.canary, err = dns.ParseName(canary); err != nil {
		return nil, fmt.Errorf("domain %q: %w", canary, err)
	}
	if n.udp, n.tcp, err = both(ctx, at); err != nil {
		return nil, err
	}
	return n, nil
}

// both listens by UDP and TCP on one port.
func both(ctx context.Context, at netip.AddrPort) (net.PacketConn, net.Listener, error) {
	const tries = 10 // the port that UDP got may be another's by TCP
	var c net.ListenConfig
	for i := 0; ; i++ {
		u, err := c.ListenPacket(ctx, "udp", at.String())
		if err != nil {
			return nil, nil, fmt.Errorf("the small Internet can't listen: %w", err)
		}
		t, err := c.Listen(ctx, "tcp", u.LocalAddr().String())
		if err == nil {
			return u, t, nil
		}
		_ = u.Close() // the error of TCP is told
		if at.Port() != 0 || i == tries {
			return nil, nil, fmt.Errorf("the small Internet can't listen: %w", err)
		}
	}
}

// Address is where it listens.
func (n *Internet) Address() netip.AddrPort {
	a, _ := netip.ParseAddrPort(n.udp.LocalAddr().String()) // it has one
	return a
}

// Run answers until ctx ends.
func (n *Internet) Run(ctx context.Context, ready func()) error {
	stop := context.AfterFunc(ctx, func() { _, _ = n.udp.Close(), n.tcp.Close() })
	defer stop()
	ready()
	ended := make(chan error, 2)
	go func() { ended <- n.packets() }()
	go func() { ended <- n.streams(ctx) }()
	err := <-ended
	_, _ = n.udp.Close(), n.tcp.Close()
	if other := <-ended; err == nil {
		err = other
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (n *Internet) packets() error {
	buf := make([]byte, dns.MaxMessage)
	for {
		size, from, err := n.udp.ReadFrom(buf)
		if err != nil {
			return err
		}
		if a := n.answer(buf[:size]); a != nil {
			_, _ = n.udp.WriteTo(a, from) // who doesn't get it asks again
		}
	}
}

func (n *Internet) streams(ctx context.Context) error {
	for {
		c, err := n.tcp.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			var buf []byte
			for c.SetDeadline(clock.System{}.Now().Add(internetIdle)) == nil {
				if buf, err = dns.ReadFrame(c, buf); err != nil {
					return
				}
				a := n.answer(buf)
				if a == nil {
					return
				}
				if _, err := c.Write(dns.AppendFrame(nil, a)); err != nil {
					return
				}
			}
		}()
	}
}

// answer answers one question; nil: it isn't one.
func (n *Internet) answer(raw []byte) []byte {
	var m dns.Message
	if m.Read(raw) != nil || m.Response || m.Counts[0] != 1 {
		return nil
	}
	q, err := m.Question(nil)
	if err != nil {
		return nil
	}
	out := dns.Message{ID: m.ID, Response: true, Authority: true, Desired: m.Desired, Available: true, Opcode: m.Opcode, Counts: [4]uint16{1}}
	var data []byte
	switch below := q.Name.Below(n.canary) && len(q.Name) > len(n.canary); {
	case m.Opcode != dns.Query || q.Class != dns.IN:
		out.Rcode = dns.NotImp
	case below:
		if q.Type == dns.TXT {
			data = append([]byte{byte(len(n.truth))}, n.truth...)
		}
	case existing.MatchString(q.Name.String()):
		if q.Type == dns.A {
			data = leadsTo(q.Name)
		}
	default:
		out.Rcode = dns.NXDomain
	}
	if data != nil {
		out.Counts[1] = 1
	}
	a := dns.AppendQuestion(out.AppendHeader(nil), q)
	if data != nil {
		a = dns.AppendRR(a, dns.ToQuestion, q.Type, dns.IN, internetTTL, data)
	}
	return a
}

// leadsTo is the address of a name, which is nobody's.
func leadsTo(name dns.Name) []byte {
	a := mix(uint64(len(name)), uint64(name[len(name)/2]))
	return []byte{198, 51, 100, byte(a)}
}
