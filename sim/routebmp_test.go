package sim_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/osrg/gobgp/v4/pkg/packet/bmp"

	"sakimori/sim"
)

func smallRoutes(t *testing.T) sim.RouteScene {
	t.Helper()
	s, err := sim.RouteSceneByName("reset", 1)
	if err != nil {
		t.Fatal(err)
	}
	s.World = sim.RouteWorld{Peers: 8, Stubs: 40, Regional: 12}
	return s
}

// bmpCounts reads a stream with GoBGP's parser.
func bmpCounts(t *testing.T, b []byte) (kinds [7]int) {
	t.Helper()
	for len(b) > 0 {
		n := int(binary.BigEndian.Uint32(b[1:]))
		m, err := bmp.ParseBMPMessage(b[:n])
		if err != nil {
			t.Fatal(err)
		}
		kinds[m.Header.Type]++
		b = b[n:]
	}
	return kinds
}

// TestRouteBMP writes a scene as a router would tell it, and another parser reads all of it.
func TestRouteBMP(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	s := smallRoutes(t)
	truth, err := s.WriteBMP(&b)
	if err != nil {
		t.Fatal(err)
	}
	k := bmpCounts(t, b.Bytes())
	ends := 2 * len(truth.Peers) // of the first tables
	if k[0] != truth.Entries+ends+int(truth.Messages) || k[2] != 2 || k[3] != len(truth.Peers)+2 || k[4] != 1 || k[5] != 1 {
		t.Errorf("%v; %d routes, %d messages, %d peers", k, truth.Entries, truth.Messages, len(truth.Peers))
	}
}

// TestRouteSender plays a scene to a station on loopback, and to nobody else.
func TestRouteSender(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	got := make(chan []byte, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- nil
			return
		}
		b, _ := io.ReadAll(c)
		got <- b
	}()
	f := sim.RouteSender{To: netip.MustParseAddrPort(l.Addr().String()), Now: true}
	sent, err := f.Send(t.Context(), smallRoutes(t))
	if err != nil {
		t.Fatal(err)
	}
	b := <-got
	k := bmpCounts(t, b)
	all := 0
	for _, n := range k {
		all += n
	}
	if uint64(len(b)) != sent.Bytes || uint64(all) != sent.Messages || sent.Truth.Messages == 0 {
		t.Errorf("%d bytes, %d messages came of %+v", len(b), all, sent)
	}
	for _, to := range []string{"192.0.2.1:5000", "[2001:db8::1]:5000", "224.0.0.1:5000"} {
		f := sim.RouteSender{To: netip.MustParseAddrPort(to)}
		if _, err := f.Send(t.Context(), smallRoutes(t)); err == nil || !strings.Contains(err.Error(), "stay on this machine") {
			t.Errorf("%s: %v", to, err)
		}
	}
}
