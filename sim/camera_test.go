package sim_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"sakimori/base/wire/dns"
	"sakimori/sim"
)

// TestCamera: it asks from its own address, takes what it is told, and asks nobody
// beyond this machine.
func TestCamera(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	asked := make(chan string, 10)
	go func() { // knows one name, and never answers for another
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			var m dns.Message
			if m.Read(buf[:n]) != nil {
				continue
			}
			q, err := m.Question(nil)
			if err != nil {
				continue
			}
			asked <- from.Addr().Unmap().String() + " " + q.Name.String()
			m.Response = true
			switch q.Name.String() {
			case "known.example":
				m.Counts[1] = 1
				msg := dns.AppendQuestion(m.AppendHeader(nil), q)
				msg = dns.AppendRR(msg, dns.ToQuestion, dns.A, dns.IN, 1, []byte{192, 0, 2, 1})
				_, _ = conn.WriteToUDPAddrPort(msg, from)
			case "blocked.example":
				m.Rcode = dns.NXDomain
				_, _ = conn.WriteToUDPAddrPort(dns.AppendQuestion(m.AppendHeader(nil), q), from)
			}
		}
	}()
	c := sim.Camera{Resolver: netip.MustParseAddrPort(conn.LocalAddr().String()), From: netip.MustParseAddr("127.0.0.7"), Names: []string{"known.example", "blocked.example"}, Every: time.Millisecond}
	got, err := c.Call(t.Context())
	if err != nil || len(got) != 2 || len(got[0].Addresses) != 1 || got[1].Rcode != dns.NXDomain || len(got[1].Addresses) != 0 {
		t.Errorf("%+v %v", got, err)
	}
	if first := <-asked; first != "127.0.0.7 known.example" {
		t.Errorf("asked %s", first)
	}
	for _, elsewhere := range []string{"192.0.2.53:53", "[2001:db8::53]:53", "0.0.0.0:53"} {
		c.Resolver = netip.MustParseAddrPort(elsewhere)
		if _, err := c.Call(context.Background()); err == nil {
			t.Errorf("it asked %s", elsewhere)
		}
	}
}
