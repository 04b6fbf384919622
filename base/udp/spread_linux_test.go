package udp_test

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"sakimori/base/udp"
)

// TestBySender: what one address sends comes to one socket, whatever port it sends from; and
// every socket is some address's.
func TestBySender(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		const n = 3
		var sockets []*net.UDPConn
		for range n {
			s, err := udp.Listen(t.Context(), at, 1<<20, true)
			if err != nil {
				t.Skip("no such address here:", err)
			}
			defer s.Close()
			sockets = append(sockets, s)
			at = s.LocalAddr().String()
		}
		if err := udp.BySender(sockets[0], n); err != nil {
			t.Fatal(err)
		}
		senders := []string{"::1"}
		if netip.MustParseAddrPort(at).Addr().Is4() {
			senders = []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6", "127.0.0.7", "127.0.0.8"}
		}
		const each = 20
		for _, from := range senders {
			for range each { // a port each
				c, err := (&net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}).DialContext(t.Context(), "udp", at)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.Write([]byte(from)); err != nil {
					t.Fatal(err)
				}
				c.Close()
			}
		}
		got := map[string]map[int]int{}
		busy := 0
		for i, s := range sockets {
			b := make([]byte, 100)
			some := false
			for {
				_ = s.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
				k, err := s.Read(b)
				if err != nil {
					break
				}
				some = true
				if got[string(b[:k])] == nil {
					got[string(b[:k])] = map[int]int{}
				}
				got[string(b[:k])][i]++
			}
			if some {
				busy++
			}
		}
		for _, from := range senders {
			if len(got[from]) != 1 {
				t.Errorf("%s came to sockets %v", from, got[from])
			}
			for _, k := range got[from] {
				if k != each {
					t.Errorf("%d of %d of %s", k, each, from)
				}
			}
		}
		if len(senders) > 1 && busy < 2 {
			t.Errorf("only %d sockets got anything", busy)
		}
	}
}

func TestBuffer(t *testing.T) {
	t.Parallel()
	s, err := udp.Listen(t.Context(), "127.0.0.1:0", 100_000, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if n, err := udp.Buffer(s); err != nil || n != 100_000 {
		t.Errorf("%d bytes, %v", n, err)
	}
}
