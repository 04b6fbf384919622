package bmp_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/corpus"
	"sakimori/base/wire/bgp"
	"sakimori/base/wire/bmp"
)

var be = binary.BigEndian

// message is a message with its header.
func message(kind bmp.Type, parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	b := append([]byte{bmp.Version}, be.AppendUint32(nil, uint32(bmp.HeaderSize+len(body)))...)
	return append(append(b, byte(kind)), body...)
}

// numbers are numbers of a size in bytes, in turn.
func numbers(size int, list ...uint64) (b []byte) {
	for _, v := range list {
		b = append(b, be.AppendUint64(nil, v)[8-size:]...)
	}
	return b
}

// tlv is a piece of information.
func tlv(kind uint64, value ...byte) []byte {
	return slices.Concat(numbers(2, kind, uint64(len(value))), value)
}

// peer is the header of a peer.
func peer(kind, flags byte, address string, as uint64) []byte {
	a := netip.MustParseAddr(address).As16()
	if flags&0x80 == 0 || kind == 3 {
		four := netip.MustParseAddr(address).As4()
		a = [16]byte{12: four[0], four[1], four[2], four[3]}
	}
	return slices.Concat([]byte{kind, flags}, numbers(8, 0x1000000ff), a[:], numbers(4, as), []byte{192, 0, 2, 99}, numbers(4, 1503631374, 250000))
}

// pdu is a BGP message.
func pdu(kind bgp.Type, body ...byte) []byte {
	return slices.Concat(bytes.Repeat([]byte{0xff}, 16), numbers(2, uint64(bgp.HeaderSize+len(body))), []byte{byte(kind)}, body)
}

var (
	open4 = pdu(bgp.TypeOpen, 4, 0xfb, 0xf4, 0, 90, 192, 0, 2, 1, 8, 2, 6, 65, 4, 0, 1, 0, 0)
	open2 = pdu(bgp.TypeOpen, 4, 0xfb, 0xf4, 0, 90, 192, 0, 2, 1, 0)
	empty = pdu(bgp.TypeUpdate, 0, 0, 0, 0)
	cease = pdu(bgp.TypeNotification, 6, 2, 3, 'b', 'y', 'e')
)

// say says what a message holds.
func say(m *bmp.Message) (list []string, err error) {
	line := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if m.Type == bmp.Initiation || m.Type == bmp.Termination {
		line("%s", m.Type)
		more, err := info(m.Body)
		return append(list, more...), err
	}
	var p bmp.Peer
	rest, err := m.Peer(&p)
	if err != nil {
		return nil, err
	}
	line("%s of %d/%x %s %d %s at %d, post %v, out %v, two %v, filtered %v", m.Type, p.Type, p.Distinguisher, p.Address, p.AS, p.BGPID, p.At, p.Post, p.Out, p.AS2, p.Filtered)
	switch m.Type {
	case bmp.RouteMonitoring:
		var u bgp.Message
		err = bmp.Monitored(rest, &u)
		line("%x", u.Raw)
	case bmp.Statistics:
		var c bmp.Counts
		err = bmp.ParseCounts(rest, &c)
		for k := (bmp.Count{}); c.Next(&k); {
			line("%d: %d %v %s", k.Stat, k.Value, k.Scoped, k.Family)
		}
		err = errors.Join(err, c.Err())
	case bmp.PeerDown:
		var d bmp.Down
		err = bmp.ParseDown(rest, &d)
		line("%d %d %x", d.Reason, d.Event, d.Notification.Raw)
		more, err2 := info(d.Info)
		list, err = append(list, more...), errors.Join(err, err2)
	case bmp.PeerUp:
		var u bmp.Up
		err = p.Up(rest, &u)
		line("%s %d %d %x %x", u.Local, u.LocalPort, u.RemotePort, u.Sent.Raw, u.Received.Raw)
		more, err2 := info(u.Info)
		list, err = append(list, more...), errors.Join(err, err2)
	case bmp.RouteMirroring:
		more, err := info(rest)
		return append(list, more...), err
	case bmp.Initiation, bmp.Termination:
	}
	return list, err
}

// info says pieces of information.
func info(b []byte) (list []string, err error) {
	var t bmp.TLV
	for ok := true; ok; {
		if b, ok, err = bmp.NextTLV(b, &t); ok {
			list = append(list, fmt.Sprintf("%d %q", t.Type, t.Value))
		}
	}
	return list, err
}

// TestMessages: everything that a message can hold is read.
func TestMessages(t *testing.T) {
	t.Parallel()
	const head = " of %s at 1503631374250000000, post %v, out %v, two %v, filtered %v"
	four := peer(0, 0, "192.0.2.9", 4200000009)
	of4 := "0/1000000ff 192.0.2.9 4200000009 192.0.2.99"
	for name, c := range map[string]struct {
		b    []byte
		want []string
	}{
		"initiation":     {message(bmp.Initiation, tlv(bmp.InfoSystem, []byte("FRR")...), tlv(bmp.InfoName, []byte("edge1")...), tlv(bmp.InfoString)), []string{"initiation", `1 "FRR"`, `2 "edge1"`, `0 ""`}},
		"termination":    {message(bmp.Termination, tlv(bmp.EndReason, 0, 1)), []string{"termination", `1 "\x00\x01"`}},
		"before policy":  {message(bmp.RouteMonitoring, four, empty), []string{"route-monitoring" + fmt.Sprintf(head, of4, false, false, false, false), hex(empty)}},
		"after policy":   {message(bmp.RouteMonitoring, peer(0, 0x60, "192.0.2.9", 4200000009), empty), []string{"route-monitoring" + fmt.Sprintf(head, of4, true, false, true, false), hex(empty)}},
		"out":            {message(bmp.RouteMonitoring, peer(0, 0x50, "192.0.2.9", 4200000009), empty), []string{"route-monitoring" + fmt.Sprintf(head, of4, true, true, false, false), hex(empty)}},
		"of a VRF, IPv6": {message(bmp.RouteMonitoring, peer(1, 0x80, "2001:db8::9", 64509), empty), []string{"route-monitoring" + fmt.Sprintf(head, "1/1000000ff 2001:db8::9 64509 192.0.2.99", false, false, false, false), hex(empty)}},
		"Loc-RIB":        {message(bmp.RouteMonitoring, peer(3, 0x80, "0.0.0.0", 64509), empty), []string{"route-monitoring" + fmt.Sprintf(head, "3/1000000ff invalid IP 64509 192.0.2.99", false, false, false, true), hex(empty)}},
		"statistics": {
			message(bmp.Statistics, four, numbers(4, 4), tlv(0, numbers(4, 7)...), tlv(7, numbers(8, 1<<40)...), tlv(9, append([]byte{0, 2, 1}, numbers(8, 9)...)...), tlv(65000, 1, 2, 3)),
			[]string{"statistics" + fmt.Sprintf(head, of4, false, false, false, false), "0: 7 false ipv4-unicast", "7: 1099511627776 false ipv4-unicast", "9: 9 true ipv6-unicast"},
		},
		"up": {
			message(bmp.PeerUp, four, make([]byte, 12), []byte{192, 0, 2, 10}, numbers(2, 179, 40000), open4, open2, tlv(bmp.InfoTable, []byte("global")...), tlv(bmp.InfoAdminLabel, []byte("transit")...)),
			[]string{"peer-up" + fmt.Sprintf(head, of4, false, false, false, false), fmt.Sprintf("192.0.2.10 179 40000 %x %x", open4, open2), `3 "global"`, `4 "transit"`},
		},
		"up, IPv6": {
			message(bmp.PeerUp, peer(0, 0x80, "2001:db8::9", 64509), netip.MustParseAddr("2001:db8::a").AsSlice(), numbers(2, 179, 40000), open4, open4),
			[]string{"peer-up" + fmt.Sprintf(head, "0/1000000ff 2001:db8::9 64509 192.0.2.99", false, false, false, false), fmt.Sprintf("2001:db8::a 179 40000 %x %x", open4, open4)},
		},
		"Loc-RIB up": {
			message(bmp.PeerUp, peer(3, 0, "0.0.0.0", 64509), make([]byte, 20), open4, open4),
			[]string{"peer-up" + fmt.Sprintf(head, "3/1000000ff invalid IP 64509 192.0.2.99", false, false, false, false), fmt.Sprintf("invalid IP 0 0 %x %x", open4, open4)},
		},
		"down by us":       {message(bmp.PeerDown, four, []byte{1}, cease), []string{"peer-down" + fmt.Sprintf(head, of4, false, false, false, false), fmt.Sprintf("1 0 %x", cease)}},
		"down, silent":     {message(bmp.PeerDown, four, []byte{2, 0, 24}), []string{"peer-down" + fmt.Sprintf(head, of4, false, false, false, false), "2 24 "}},
		"down by the peer": {message(bmp.PeerDown, four, []byte{3}, cease), []string{"peer-down" + fmt.Sprintf(head, of4, false, false, false, false), fmt.Sprintf("3 0 %x", cease)}},
		"down, lost":       {message(bmp.PeerDown, four, []byte{4}), []string{"peer-down" + fmt.Sprintf(head, of4, false, false, false, false), "4 0 "}},
		"table gone":       {message(bmp.PeerDown, four, []byte{6}, tlv(3, 'x')), []string{"peer-down" + fmt.Sprintf(head, of4, false, false, false, false), "6 0 ", `3 "x"`}},
		"mirrored":         {message(bmp.RouteMirroring, four, tlv(1, 0, 1), tlv(0, empty...)), []string{"route-mirroring" + fmt.Sprintf(head, of4, false, false, false, false), `1 "\x00\x01"`, fmt.Sprintf("0 %q", empty)}},
	} {
		var m bmp.Message
		if n, err := bmp.Cut(append(slices.Clone(c.b), 3, 0), &m); err != nil || n != len(c.b) || !bytes.Equal(m.Raw, c.b) {
			t.Errorf("%s: %d, %v", name, n, err)
			continue
		}
		got, err := say(&m)
		if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
		// Cut anywhere, it is an error or says less: nothing is made up.
		for i := range m.Body {
			cut := bmp.Message{Type: m.Type, Body: m.Body[:i:i]}
			if less, err := say(&cut); err == nil && len(less) >= len(c.want) && !bytes.Equal(m.Body[:i], m.Body) && !strings.HasPrefix(name, "down, silent") {
				t.Errorf("%s cut to %d of %d bytes says %q", name, i, len(m.Body), less)
			}
		}
	}
}

func hex(b []byte) string { return fmt.Sprintf("%x", b) }

// TestOptions: ADD-PATH goes by direction, the length of AS numbers by the flag alone.
func TestOptions(t *testing.T) {
	t.Parallel()
	v4 := bgp.Families(0).With(bgp.IPv4Unicast)
	sent, received := bgp.Open{AS4: true, Receive: v4}, bgp.Open{Send: v4}
	for p, want := range map[bmp.Peer]bgp.Options{
		{}: {AS4: true, AddPath: v4, Guess: true}, {AS2: true}: {AddPath: v4, Guess: true}, {Out: true}: {AS4: true, Guess: true},
	} {
		if got := p.Options(&sent, &received); got != want {
			t.Errorf("%+v: %+v", p, got)
		}
	}
}

// TestCut: what isn't a message, and what isn't one yet.
func TestCut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing": {nil, bmp.ErrShort}, "half a header": {[]byte{3, 0, 0}, bmp.ErrShort}, "half": {message(bmp.Initiation, make([]byte, 9))[:9], bmp.ErrShort},
		"version": {[]byte{2}, bmp.ErrVersion}, "too short": {[]byte{3, 0, 0, 0, 5, 0}, bmp.ErrLength}, "too long": {[]byte{3, 0, 16, 0, 1, 0}, bmp.ErrLength},
	} {
		var m bmp.Message
		if n, err := bmp.Cut(c.b, &m); n != 0 || !errors.Is(err, c.want) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	if s := bmp.Type(9).String(); s != "unknown" {
		t.Error(s)
	}
}

// messages are all messages of a capture.
func messages(t testing.TB, path string) (list []bmp.Message) {
	t.Helper()
	for _, b := range corpus.Streams(t, path) {
		for len(b) > 0 {
			var m bmp.Message
			n, err := bmp.Cut(b, &m)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			list = append(list, m)
			b = b[n:]
		}
	}
	return list
}

// TestPmacct: of a Huawei router's session we read what pmacct did: the peers that came
// up, and each route of each view.
func TestPmacct(t *testing.T) {
	t.Parallel()
	dir := corpus.Folder(t, "bgp", "bmp", "200-BMP-HUAWEI-locrib_instance")
	var got, want []string
	skipped := 0
	up, ribs := map[bmp.Peer]bgp.Options{}, map[bool]string{false: "Adj-Rib-In Pre-Policy", true: "Adj-Rib-In Post-Policy"}
	for _, m := range messages(t, filepath.Join(dir, "traffic-00.pcap")) {
		if m.Type == bmp.Initiation {
			continue
		}
		var p bmp.Peer
		rest, err := m.Peer(&p)
		if err != nil {
			t.Fatal(err)
		}
		rib, who := ribs[p.Post], p.Address.String()
		if p.Type == bmp.LocRIB {
			rib, who = "Loc-Rib", "none"
		}
		at := fmt.Sprintf("%d.%06d", p.At/1e9, p.At%1e9/1e3)
		key := p
		key.At = 0
		switch m.Type {
		case bmp.PeerUp:
			var u bmp.Up
			if err := p.Up(rest, &u); err != nil {
				t.Fatal(err)
			}
			var sent, received bgp.Open
			if err := errors.Join(sent.Parse(u.Sent.Body), received.Parse(u.Received.Body)); err != nil {
				t.Fatal(err)
			}
			up[key] = p.Options(&sent, &received)
			local := u.Local.String()
			if p.Type == bmp.LocRIB {
				local = "none"
			}
			got = append(got, fmt.Sprintf("up %s %s %d by %d %s %s %d %d", rib, who, p.AS, sent.AS, p.BGPID, local, u.LocalPort, u.RemotePort))
		case bmp.RouteMonitoring:
			var b bgp.Message
			if err := bmp.Monitored(rest, &b); err != nil {
				t.Fatal(err)
			}
			options, known := up[key]
			if !known {
				t.Errorf("%+v never came up", p)
			}
			list, other := routes(t, fmt.Sprintf("%s %s %s", at, rib, who), b.Body, options)
			got, skipped = append(got, list...), skipped+other
		case bmp.Statistics, bmp.PeerDown, bmp.Initiation, bmp.Termination, bmp.RouteMirroring:
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "output-bmp-00.json"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(data) {
		var v struct {
			Kind      string   `json:"bmp_msg_type"`
			Log       string   `json:"log_type"`
			Event     string   `json:"event_type"`
			Rib       string   `json:"bmp_rib_type"`
			Timestamp string   `json:"timestamp"`
			Peer      string   `json:"peer_ip"`
			AS        uint32   `json:"peer_asn"`
			LocalAS   uint32   `json:"local_as"`
			ID        string   `json:"bgp_id"`
			Local     string   `json:"local_ip"`
			LocalPort int      `json:"local_port"`
			Remote    int      `json:"remote_port"`
			SAFI      int      `json:"safi"`
			Prefix    string   `json:"ip_prefix"`
			Path      []string `json:"as_path"`
			NextHop   string   `json:"bgp_nexthop"`
		}
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		if v.Rib == "Loc-Rib" { // a peer without address: pmacct has zeros of either family
			v.Peer, v.Local = "none", "none"
		}
		switch {
		case v.Kind == "peer_up":
			want = append(want, fmt.Sprintf("up %s %s %d by %d %s %s %d %d", v.Rib, v.Peer, v.AS, v.LocalAS, v.ID, v.Local, v.LocalPort, v.Remote))
		case v.Kind == "route_monitor" && v.Log == "update" && v.SAFI == 1: // the others have labels, or are of VPNs
			want = append(want, fmt.Sprintf("%s %s %s %s via %s by %s", v.Timestamp, v.Rib, v.Peer, v.Prefix, v.NextHop, fmt.Sprint(v.Path)))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" || len(got) < 20 || skipped < 60 {
		t.Errorf("%d lines, %d blocks of other families, - pmacct, + ours:\n%s", len(got), skipped, diff)
	}
}

// routes says the routes that an UPDATE announces, as pmacct does, and how many blocks it
// has of families that aren't read.
func routes(t *testing.T, from string, body []byte, o bgp.Options) (list []string, skipped int) {
	t.Helper()
	var u bgp.Update
	var path bgp.Path
	var p bgp.Prefix
	u.Parse(body, o)
	if u.Fault != bgp.Sound {
		t.Error(u.Err)
	}
	u.Path(&path)
	for _, block := range u.Announced() {
		for block.Next(&p) {
			list = append(list, fmt.Sprintf("%s %s via %s by %s", from, p.Netip(), block.NextHop, fmt.Sprint(path.ASes)))
		}
	}
	return list, u.Skipped
}
