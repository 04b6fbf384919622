package bgp_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	oracle "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"sakimori/base/wire/bgp"
)

// message is a message with its header.
func message(kind bgp.Type, body []byte) []byte {
	b := bytes.Repeat([]byte{0xff}, 16)
	b = binary.BigEndian.AppendUint16(b, uint16(bgp.HeaderSize+len(body)))
	return append(append(b, byte(kind)), body...)
}

func TestCut(t *testing.T) {
	t.Parallel()
	long := message(bgp.TypeUpdate, make([]byte, 5000))
	short := message(bgp.TypeKeepalive, nil)
	bad := slices.Clone(short)
	bad[3] = 0
	tiny := slices.Clone(short)
	tiny[17] = 18
	for name, c := range map[string]struct {
		b     []byte
		limit int
		n     int
		err   error
	}{
		"keepalive": {append(slices.Clone(short), 1, 2), bgp.MaxMessage, 19, nil}, "nothing": {nil, bgp.MaxMessage, 0, bgp.ErrShort},
		"half a header": {short[:18], bgp.MaxMessage, 0, bgp.ErrShort}, "half": {long[:300], bgp.MaxExtended, 0, bgp.ErrShort},
		"marker": {bad, bgp.MaxMessage, 0, bgp.ErrMarker}, "too short": {tiny, bgp.MaxMessage, 0, bgp.ErrLength},
		"extended": {long, bgp.MaxExtended, 5019, nil}, "extended without leave": {long, bgp.MaxMessage, 0, bgp.ErrLength},
	} {
		var m bgp.Message
		n, err := bgp.Cut(c.b, c.limit, &m)
		if n != c.n || !errors.Is(err, c.err) || err == nil && (len(m.Raw) != n || len(m.Body) != n-bgp.HeaderSize || byte(m.Type) != c.b[18]) {
			t.Errorf("%s: %d, %v, %+v", name, n, err, m)
		}
	}
}

// TestOpen: what GoBGP writes is read, and what it can't write (roles) beside it.
func TestOpen(t *testing.T) {
	t.Parallel()
	id := netip.MustParseAddr("192.0.2.1")
	m, err := oracle.NewBGPOpenMessage(oracle.AS_TRANS, 90, id, []oracle.OptionParameterInterface{
		oracle.NewOptionParameterCapability([]oracle.ParameterCapabilityInterface{
			oracle.NewCapMultiProtocol(oracle.RF_IPv4_UC), oracle.NewCapMultiProtocol(oracle.RF_IPv6_UC), oracle.NewCapMultiProtocol(oracle.RF_EVPN),
			oracle.NewCapFourOctetASNumber(4200000001), oracle.NewCapRouteRefresh(), oracle.NewCapGracefulRestart(false, false, 120, nil),
		}),
		oracle.NewOptionParameterCapability([]oracle.ParameterCapabilityInterface{
			oracle.NewCapAddPath([]*oracle.CapAddPathTuple{
				oracle.NewCapAddPathTuple(oracle.RF_IPv4_UC, oracle.BGP_ADD_PATH_BOTH), oracle.NewCapAddPathTuple(oracle.RF_IPv6_UC, oracle.BGP_ADD_PATH_SEND),
			}),
			oracle.NewCapUnknown(9, []byte{3}), oracle.NewCapUnknown(6, nil),
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := m.Serialize()
	if err != nil {
		t.Fatal(err)
	}
	both := bgp.Families(0).With(bgp.IPv4Unicast).With(bgp.IPv6Unicast)
	want := bgp.Open{
		Version: 4, AS: 4200000001, HoldTime: 90, ID: id, AS4: true, Families: both, Others: 1, Send: both, Receive: bgp.Families(0).With(bgp.IPv4Unicast),
		Extended: true, Refresh: true, Restart: true, Role: bgp.Customer, HasRole: true,
	}
	var got bgp.Open
	if err := got.Parse(raw[bgp.HeaderSize:]); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	for n := bgp.HeaderSize; n < len(raw); n++ {
		if err := new(bgp.Open).Parse(raw[bgp.HeaderSize:n]); !errors.Is(err, bgp.ErrOpen) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	// The same parameters with lengths of two bytes (RFC 9072).
	extended := append(slices.Clone(raw[bgp.HeaderSize:bgp.HeaderSize+9]), 255, 255, 0, 9, 2, 0, 6, 65, 4, 0, 1, 0, 0)
	if err := got.Parse(extended); err != nil || got.AS != 65536 || !got.AS4 {
		t.Errorf("%v: %+v", err, got)
	}
	plain := bgp.Open{AS4: true, Receive: both}
	if o := bgp.Agreed(&want, &plain); !o.AS4 || o.AddPath != both {
		t.Errorf("agreed on %+v", o)
	}
	if o := bgp.Agreed(&plain, &want); !o.AS4 || o.AddPath != 0 {
		t.Errorf("the other way agreed on %+v", o)
	}
	if o := bgp.Agreed(&want, &bgp.Open{}); o.AS4 || o.AddPath != 0 {
		t.Errorf("with an old one agreed on %+v", o)
	}
}

func TestNotificationAndRefresh(t *testing.T) {
	t.Parallel()
	var n bgp.Notification
	if err := n.Parse([]byte{6, 2, 5, 'h', 'e', 'l', 'l', 'o'}); err != nil || n.Code != 6 || n.Subcode != 2 || string(n.Words()) != "hello" {
		t.Errorf("%v: %+v", err, n)
	}
	for _, b := range [][]byte{{6, 2}, {6, 2, 9, 'x'}, {4, 0, 1, 'x'}, {6, 3, 1, 'x'}} {
		if err := n.Parse(b); err != nil || n.Words() != nil {
			t.Errorf("%v: %v has words %q", b, err, n.Words())
		}
	}
	if err := n.Parse([]byte{6}); !errors.Is(err, bgp.ErrNotification) {
		t.Error(err)
	}
	var r bgp.Refresh
	if err := r.Parse([]byte{0, 2, 1, 1}); err != nil || r.Family != bgp.IPv6Unicast || r.Subtype != 1 {
		t.Errorf("%v: %+v", err, r)
	}
	if err := r.Parse([]byte{0, 2, 1}); !errors.Is(err, bgp.ErrRefresh) {
		t.Error(err)
	}
}

// TestNames: names are those of the RFCs, and a number without a name has one as well.
func TestNames(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		bgp.IPv6Multicast.String(): "ipv6-multicast", bgp.Family(77).String(): "other", bgp.Withdraw.String(): "treat-as-withdraw", bgp.Fault(9).String(): "session-reset",
		bgp.Peer.String(): "peer", bgp.Role(9).String(): "unknown", bgp.FamilyOf(1, 128).String(): "other", bgp.FamilyOf(25, 1).String(): "other",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
