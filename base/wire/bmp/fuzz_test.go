package bmp_test

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	oraclebgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	oracle "github.com/osrg/gobgp/v4/pkg/packet/bmp"

	"sakimori/base/corpus"
	"sakimori/base/wire/bgp"
	"sakimori/base/wire/bmp"
)

// theirs says a message by GoBGP. Of what ends a session and of mirrored messages GoBGP
// keeps numbers where we keep bytes: those aren't compared.
func theirs(b []byte) (list []string, err error) {
	m, err := oracle.ParseBMPMessage(b)
	if err != nil {
		return nil, fmt.Errorf("oracle: %w", err)
	}
	line := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	pieces := func(list []oracle.BMPInfoTLVInterface) {
		for _, i := range list {
			switch i := i.(type) {
			case *oracle.BMPInfoTLVString:
				line("%d %q", i.Type, i.Value)
			case *oracle.BMPInfoTLVUnknown:
				line("%d %q", i.Type, i.Value)
			}
		}
	}
	kind := bmp.Type(m.Header.Type)
	if body, is := m.Body.(*oracle.BMPInitiation); is {
		line("%s", kind)
		pieces(body.Info)
		return list, nil
	}
	if kind == bmp.Termination {
		return nil, errors.New("oracle: how it ends isn't compared")
	}
	p, body := m.PeerHeader, b[bmp.HeaderSize+oracle.BMP_PEER_HEADER_SIZE:]
	local := p.PeerType == oracle.BMP_PEER_TYPE_LOCAL_RIB
	seconds, micros := math.Modf(p.Timestamp)
	line("%s of %d/%x %s %d %s at %d, post %v, out %v, two %v, filtered %v", kind, p.PeerType, p.PeerDistinguisher, p.PeerAddress, p.PeerAS, p.PeerBGPID,
		int64(seconds)*1e9+int64(math.Round(micros*1e6))*1e3, !local && p.IsPostPolicy(), !local && p.IsAdjRIBOut(), !local && p.Flags&oracle.BMP_PEER_FLAG_TWO_AS != 0, local && p.Flags&0x80 != 0)
	raw := func(b []byte, m *oraclebgp.BGPMessage) []byte { return b[:m.Header.Len] }
	switch t := m.Body.(type) {
	case *oracle.BMPRouteMonitoring:
		line("%x", raw(body, t.BGPUpdate))
	case *oracle.BMPStatisticsReport:
		for _, s := range t.Stats {
			switch s := s.(type) {
			case *oracle.BMPStatsTLV32:
				line("%d: %d false ipv4-unicast", s.Type, s.Value)
			case *oracle.BMPStatsTLV64:
				line("%d: %d false ipv4-unicast", s.Type, s.Value)
			case *oracle.BMPStatsTLVPerAfiSafi64:
				line("%d: %d true %s", s.Type, s.Value, bgp.FamilyOf(s.AFI, s.SAFI))
			}
		}
	case *oracle.BMPPeerDownNotification:
		switch {
		case t.BGPNotification != nil:
			line("%d 0 %x", t.Reason, raw(body[1:], t.BGPNotification))
		case t.Reason == oracle.BMP_PEER_DOWN_REASON_LOCAL_NO_NOTIFICATION && len(t.Data) >= 2:
			line("%d %d ", t.Reason, be.Uint16(t.Data))
		default:
			line("%d 0 ", t.Reason)
		}
		pieces(t.Info)
	case *oracle.BMPPeerUpNotification:
		sent := raw(body[20:], t.SentOpenMsg)
		address := t.LocalAddress.String()
		if local {
			address = "invalid IP"
		}
		line("%s %d %d %x %x", address, t.LocalPort, t.RemotePort, sent, raw(body[20+len(sent):], t.ReceivedOpenMsg))
		pieces(t.Info)
	default:
		return nil, fmt.Errorf("oracle: %T isn't compared", t)
	}
	return list, nil
}

// TestOracle: each message of the captures says to us what it says to GoBGP.
func TestOracle(t *testing.T) {
	t.Parallel()
	compared := map[bmp.Type]int{}
	for _, m := range messages(t, filepath.Join(corpus.Folder(t, "bgp", "bmp", "203-BMP-HUAWEI-dump"), "traffic-00.pcap")) {
		got, err := say(&m)
		want, bad := theirs(m.Raw)
		if err != nil || bad != nil {
			t.Errorf("%s: %v, %v", m.Type, err, bad)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("- GoBGP, + ours:\n%s", diff)
		}
		compared[m.Type]++
	}
	if compared[bmp.RouteMonitoring] < 50 || compared[bmp.PeerUp] < 9 || compared[bmp.Initiation] != 1 {
		t.Errorf("too little was compared: %v", compared)
	}
}

// FuzzMessages: no bytes crash the reader or make it reach beyond the message, and what
// neither we nor GoBGP find anything wrong with is read alike.
func FuzzMessages(f *testing.F) {
	four := peer(0, 0, "192.0.2.9", 4200000009)
	f.Add(message(bmp.Initiation, tlv(bmp.InfoSystem, 'x'), tlv(bmp.InfoName, 'y')))
	f.Add(message(bmp.Termination, tlv(bmp.EndReason, 0, 1)))
	f.Add(message(bmp.RouteMonitoring, four, empty))
	f.Add(message(bmp.RouteMonitoring, peer(3, 0x80, "0.0.0.0", 1), empty))
	f.Add(message(bmp.Statistics, four, numbers(4, 2), tlv(0, numbers(4, 7)...), tlv(9, append([]byte{0, 2, 1}, numbers(8, 9)...)...)))
	f.Add(message(bmp.PeerUp, peer(0, 0x80, "2001:db8::9", 64509), make([]byte, 20), open4, open2, tlv(3, 'x')))
	f.Add(message(bmp.PeerDown, four, []byte{1}, cease))
	f.Add(message(bmp.PeerDown, four, []byte{2, 0, 24}))
	f.Add(message(bmp.RouteMirroring, four, tlv(0, empty...)))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = slices.Clip(b)
		var m bmp.Message
		n, err := bmp.Cut(b, &m)
		if err != nil {
			return
		}
		if n < bmp.HeaderSize || n > len(b) {
			t.Fatalf("%d of %d bytes", n, len(b))
		}
		got, err := say(&m)
		if err != nil {
			return
		}
		if want, bad := theirs(b[:n]); bad == nil && alike(&m, want) {
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("- GoBGP, + ours:\n%s", diff)
			}
		}
	})
}

// alike tells whether we and GoBGP must agree: it walks the counters to the end of the
// message whatever it says there are, and goes by their number where we go by their size.
func alike(m *bmp.Message, want []string) bool {
	if m.Type == bmp.Statistics {
		rest := m.Body[oracle.BMP_PEER_HEADER_SIZE+4:]
		count := be.Uint32(m.Body[oracle.BMP_PEER_HEADER_SIZE:])
		sizes := map[uint16]int{7: 8, 8: 8, 14: 8, 15: 8, 9: 11, 10: 11, 16: 11, 17: 11}
		for ; len(rest) >= 4; count-- {
			n := int(be.Uint16(rest[2:]))
			size := sizes[be.Uint16(rest)]
			if size == 0 {
				size = 4
			}
			if n != size {
				return false
			}
			rest = rest[4+n:]
		}
		return count == 0
	}
	// Microseconds beyond a million are more than its floating seconds hold exactly.
	return len(want) > 0 && (m.Type == bmp.Initiation || be.Uint32(m.Body[38:]) < 1e6)
}

// TestAllocations: nothing allocates.
func TestAllocations(t *testing.T) {
	data := slices.Concat(
		message(bmp.RouteMonitoring, peer(0, 0x80, "2001:db8::9", 64509), empty),
		message(bmp.PeerUp, peer(0, 0x80, "2001:db8::9", 64509), make([]byte, 20), open4, open2, tlv(3, 'x')),
		message(bmp.Statistics, peer(0, 0, "192.0.2.9", 1), numbers(4, 1), tlv(0, numbers(4, 7)...)),
		message(bmp.PeerDown, peer(0, 0, "192.0.2.9", 1), []byte{1}, cease),
	)
	var m bmp.Message
	var p bmp.Peer
	var u bgp.Message
	var up bmp.Up
	var d bmp.Down
	var c bmp.Counts
	var k bmp.Count
	if n := testing.AllocsPerRun(100, func() {
		for b := data; len(b) > 0; {
			n, err := bmp.Cut(b, &m)
			if err != nil {
				t.Fatal(err)
			}
			b = b[n:]
			rest, err := m.Peer(&p)
			if err != nil {
				t.Fatal(err)
			}
			switch m.Type {
			case bmp.RouteMonitoring:
				err = bmp.Monitored(rest, &u)
			case bmp.PeerUp:
				err = p.Up(rest, &up)
			case bmp.PeerDown:
				err = bmp.ParseDown(rest, &d)
			case bmp.Statistics:
				for err = bmp.ParseCounts(rest, &c); c.Next(&k); {
				}
			case bmp.Initiation, bmp.Termination, bmp.RouteMirroring:
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkMonitoring reads a route monitoring message with its UPDATE.
func BenchmarkMonitoring(b *testing.B) {
	attributes := slices.Concat([]byte{0x40, 1, 1, 0, 0x40, 2, 10, 2, 2}, numbers(4, 64500, 4200000001), []byte{0x40, 3, 4, 192, 0, 2, 1, 0xc0, 8, 12}, numbers(4, 1, 2, 3))
	update := pdu(bgp.TypeUpdate, slices.Concat(numbers(2, 0, uint64(len(attributes))), attributes, []byte{24, 203, 0, 113})...)
	data := message(bmp.RouteMonitoring, peer(0, 0, "192.0.2.9", 4200000009), update)
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	b.ReportAllocs()
	var m bmp.Message
	var p bmp.Peer
	var g bgp.Message
	var u bgp.Update
	before := used()
	for b.Loop() {
		if _, err := bmp.Cut(data, &m); err != nil {
			b.Fatal(err)
		}
		rest, err := m.Peer(&p)
		if err != nil {
			b.Fatal(err)
		}
		if err := bmp.Monitored(rest, &g); err != nil {
			b.Fatal(err)
		}
		if u.Parse(g.Body, bgp.Options{AS4: true}); u.Fault != bgp.Sound {
			b.Fatal(u.Err)
		}
	}
	b.ReportMetric(float64(b.N)/(used()-before).Seconds(), "messages/CPU-s")
}
