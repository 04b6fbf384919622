package sim_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sakimori/sim"
)

// TestFlowSender: what is sent is what a capture would hold, on time, and to this machine
// alone.
func TestFlowSender(t *testing.T) {
	t.Parallel()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadBuffer(8 << 20) // what is lost for want of it fails below
	type datagram struct {
		from netip.Addr
		size int
	}
	got := make(chan datagram, 1<<16)
	go func() {
		defer close(got)
		buf := make([]byte, 1<<16)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			got <- datagram{from.Addr().Unmap(), n}
		}
	}()
	s := scene(20)
	f := sim.FlowSender{To: netip.MustParseAddrPort(conn.LocalAddr().String()), Speed: 20}
	sent, err := f.Send(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if sent.Took < 300*time.Millisecond || sent.Datagrams != sent.Truth.Datagrams || sent.Refused > 0 || !sent.Truth.Start.Equal(s.Start) {
		t.Errorf("%d datagrams of %d in %v, %d refused", sent.Datagrams, sent.Truth.Datagrams, sent.Took, sent.Refused)
	}
	var bytes uint64
	from := map[netip.Addr]int{}
	for range sent.Datagrams {
		select {
		case d := <-got:
			bytes += uint64(d.size)
			from[d.from]++
		case <-time.After(5 * time.Second):
			t.Fatalf("not all came: %d bytes of %d", bytes, sent.Bytes)
		}
	}
	if bytes != sent.Bytes || len(from) != 4 || from[netip.MustParseAddr("127.0.1.2")] == 0 {
		t.Errorf("%d bytes of %d, from %v", bytes, sent.Bytes, from)
	}
	for _, elsewhere := range []string{"192.0.2.53:2055", "[2001:db8::53]:2055", "0.0.0.0:2055", "[::]:2055", "224.0.0.1:2055", "255.255.255.255:2055"} {
		f.To = netip.MustParseAddrPort(elsewhere)
		if _, err := f.Send(t.Context(), s); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("it sends to %s: %v", elsewhere, err)
		}
	}
}
