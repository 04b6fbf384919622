package sim_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"

	"sakimori/base/wire/dns"
	"sakimori/sim"
)

// TestInternet: names of the small Internet lead somewhere, canaries get the truth, and
// nothing else exists; by UDP and TCP, and on the loopback alone.
func TestInternet(t *testing.T) {
	for _, bad := range []string{"192.0.2.1:0", "0.0.0.0:0"} {
		if _, err := sim.NewInternet(t.Context(), netip.MustParseAddrPort(bad), "canary.example.jp", "truth"); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	n, err := sim.NewInternet(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), "canary.example.jp", "truth")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx, func() {}) }()
	for _, by := range []string{"udp", "tcp"} {
		for _, x := range []struct {
			name    string
			kind    uint16
			rcode   uint8
			answers uint16
		}{
			{"www.mise007.jp", dns.A, dns.NoError, 1},
			{"cnc1.mirai-mihon.jp", dns.A, dns.NoError, 1},
			{"cnc1.mirai-mihon.jp", dns.AAAA, dns.NoError, 0},
			{"any.canary.example.jp", dns.TXT, dns.NoError, 1},
			{"canary.example.jp", dns.TXT, dns.NXDomain, 0},
			{"www.example.com", dns.A, dns.NXDomain, 0},
		} {
			name, err := dns.ParseName(x.name)
			if err != nil {
				t.Fatal(err)
			}
			m := dns.Message{ID: 7, Counts: [4]uint16{1}}
			raw := exchange(t, by, n.Address().String(), dns.AppendQuestion(m.AppendHeader(nil), dns.Question{Name: name, Type: x.kind, Class: dns.IN}))
			var a dns.Message
			if err := a.Read(raw); err != nil || a.ID != 7 || !a.Response || a.Rcode != x.rcode || a.Counts[1] != x.answers {
				t.Errorf("%s %s: %+v %v", by, x.name, a, err)
			}
			if x.kind == dns.TXT && x.answers > 0 && !strings.HasSuffix(string(raw), "\x05truth") {
				t.Errorf("%s: %q", x.name, raw)
			}
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func exchange(t *testing.T, by, to string, msg []byte) []byte {
	t.Helper()
	c, err := net.Dial(by, to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if by == "tcp" {
		msg = dns.AppendFrame(nil, msg)
	}
	if _, err := c.Write(msg); err != nil {
		t.Fatal(err)
	}
	if by == "tcp" {
		raw, err := dns.ReadFrame(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	buf := make([]byte, 512)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}
