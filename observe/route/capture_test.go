package route_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/observe"
	"sakimori/observe/route"
)

// piece is a part of a direction of a connection, as one segment has it.
type piece struct {
	back     bool // from the other side
	seq      uint32
	flags    packet.TCPFlags
	data     []byte
	at       int64
	cut      int // bytes that the capture lacks
	src, dst uint16
}

// capture writes segments between 192.0.2.61 and 192.0.2.62 as a capture.
func capture(tb testing.TB, list []piece) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := pcap.NewWriter(&b, packet.LinkRaw)
	if err != nil {
		tb.Fatal(err)
	}
	for _, p := range list {
		a, z := []byte{192, 0, 2, 61}, []byte{192, 0, 2, 62}
		src, dst := p.src, p.dst
		if p.back {
			a, z, src, dst = z, a, dst, src
		}
		f := []byte{0x45, 0}
		f = binary.BigEndian.AppendUint16(f, uint16(40+len(p.data)+p.cut))
		f = append(f, 0, 0, 0, 0, 64, 6, 0, 0)
		f = append(append(f, a...), z...)
		f = binary.BigEndian.AppendUint16(f, src)
		f = binary.BigEndian.AppendUint16(f, dst)
		f = binary.BigEndian.AppendUint32(f, p.seq)
		f = append(f, 0, 0, 0, 0, 0x50, byte(p.flags), 0x20, 0, 0, 0, 0, 0)
		f = append(f, p.data...)
		if err := w.WriteFrame(p.at, f); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// talk is what one side says in one connection, in segments of random length; the sequence
// numbers pass 2³².
func talk(r *rand.Rand, stream []byte, src, dst uint16) (list []piece) {
	const first = 1<<32 - 5000
	list = append(list, piece{seq: first - 1, flags: packet.SYN, at: epoch, src: src, dst: dst})
	for at := 0; at < len(stream); {
		n := min(1+r.IntN(700), len(stream)-at)
		list = append(list, piece{seq: first + uint32(at), flags: packet.ACK, data: stream[at : at+n], at: epoch + int64(at)*1000, src: src, dst: dst})
		at += n
	}
	return list
}

// stream is a router's BMP, or a session's BGP, with so many prefixes.
func stream(bmp bool, n int) (b []byte) {
	wrap := func(m []byte) {
		if bmp {
			m = told{peer: address(5), as: 64501, body: m}.bytes()
		}
		b = append(b, m...)
	}
	if bmp {
		b = append(b, 3, 0, 0, 0, 6, 4)
		b = append(b, told{kind: 3, peer: address(5), as: 64501, body: upBody(64501, false)}.bytes()...)
	} else {
		b = append(open(64501, address(5), false), message(4, nil)...)
	}
	for i := range n {
		x := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, byte(i >> 8), byte(i), 0}), 24)
		wrap(said{announce: []netip.Prefix{x}, ases: []uint32{64501, uint32(i)}, communities: []uint32{uint32(i)}}.bytes())
	}
	wrap(endOfRIB())
	return b
}

func readCapture(t *testing.T, list []piece) (route.File, *route.Table) {
	t.Helper()
	tab := table(t, route.Config{})
	n, err := route.ReadFrom(t.Context(), tab, bytes.NewReader(capture(t, list)), 0, route.ReadOptions{Feed: "f"})
	if err != nil || n.Form != route.FormCapture {
		t.Fatal(n, err)
	}
	return n, tab
}

// TestSegments: in whatever order segments come, how often, and however they overlap, what
// is read is what was said.
func TestSegments(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 9))
	for i := range 24 {
		bmp := i%2 == 0
		list := talk(r, stream(bmp, 200), 20, map[bool]uint16{true: 1790, false: 179}[bmp])
		for range r.IntN(60) {
			a := 1 + r.IntN(len(list)-1)
			switch r.IntN(3) {
			case 0: // two change places
				b := min(len(list)-1, a+r.IntN(5))
				list[a], list[b] = list[b], list[a]
			case 1: // one comes again
				list = append(list, list[a])
			case 2: // one comes again with some of the next
				if p := list[a]; a+1 < len(list) && list[a+1].seq == p.seq+uint32(len(p.data)) {
					p.data = append(bytes.Clone(p.data), list[a+1].data[:len(list[a+1].data)/2]...)
					list = append(list[:a+1], append([]piece{p}, list[a+1:]...)...)
				}
			}
		}
		n, tab := readCapture(t, list)
		if n.Announcements != 200 || n.Lost != 0 || n.Malformed != 0 || len(n.Peers) != 1 || !tab.Warm() {
			t.Fatalf("%v %d: %+v", bmp, i, n)
		}
		if p := tab.Peer(n.Peers[0].Number); p.AS != 64501 || p.BGPID != address(5) && !bmp || p.Routes != 200 {
			t.Errorf("%+v", p)
		}
	}
}

// TestHoles: what a capture lacks costs what stood there and no more; a capture that begins
// in the midst of a connection is read from the next message on.
func TestHoles(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 9))
	for i := range 12 {
		bmp := i%2 == 0
		list := talk(r, stream(bmp, 600), 20, map[bool]uint16{true: 1790, false: 179}[bmp])
		whole, _ := readCapture(t, list)
		from, n := len(list)/3, 1+r.IntN(3)
		missing := uint64(0)
		for _, p := range list[from : from+n] {
			missing += uint64(len(p.data))
		}
		hole := append(append([]piece{}, list[:from]...), list[from+n:]...)
		got, tab := readCapture(t, hole)
		if lost := whole.Announcements - got.Announcements; lost == 0 || lost > missing/60+2 || got.Lost < missing || got.Lost > missing+400 {
			t.Errorf("%v: of %d announcements %d, %d bytes lost of %d", bmp, whole.Announcements, got.Announcements, got.Lost, missing)
		}
		if tab.Counts().Routes != int(got.Announcements) {
			t.Errorf("%+v", tab.Counts())
		}
		late, tab := readCapture(t, list[from:])
		if late.Announcements < 350 || late.Malformed != 0 || tab.Peer(late.Peers[0].Number).AS != 64501 || tab.Warm() {
			t.Errorf("%v from its midst: %+v", bmp, late)
		}
		short := append([]piece{}, list...)
		short[from].data, short[from].cut = short[from].data[:len(short[from].data)/2], len(short[from].data)-len(short[from].data)/2
		if got, _ := readCapture(t, short); got.Announcements+20 < whole.Announcements || got.Announcements >= whole.Announcements {
			t.Errorf("%v: with a segment cut %d of %d", bmp, got.Announcements, whole.Announcements)
		}
	}
}

// TestSession: both sides of a session tell routes; its end withdraws them.
func TestSession(t *testing.T) {
	t.Parallel()
	x := netip.MustParsePrefix("198.51.100.0/24")
	y := netip.MustParsePrefix("203.0.113.0/24")
	one, two := open(64501, address(1), true), open(64502, address(2), true)
	said1 := said{announce: []netip.Prefix{x}, ases: []uint32{64501}, with: true, id: 9}.bytes()
	said2 := said{announce: []netip.Prefix{y}, ases: []uint32{64502}, with: true, id: 8}.bytes()
	seq := [2]uint32{100, 200}
	var list []piece
	say := func(back bool, flags packet.TCPFlags, b []byte) {
		i := 0
		if back {
			i = 1
		}
		list = append(list, piece{back: back, seq: seq[i], flags: flags, data: b, at: epoch + int64(len(list))*1e9, src: 40000, dst: 179})
		seq[i] += uint32(len(b))
		if flags&packet.SYN != 0 {
			seq[i]++
		}
	}
	say(false, packet.SYN, nil)
	say(true, packet.SYN|packet.ACK, nil)
	say(false, 0, one)
	say(true, 0, two)
	say(true, 0, said2)
	say(false, 0, said1)
	got, tab := readCapture(t, list)
	if got.Announcements != 2 || got.Malformed != 0 || tab.At(tab.Number(x), 1) == 0 || tab.At(tab.Number(y), 2) == 0 {
		t.Errorf("%+v", got)
	}
	say(false, packet.FIN, nil)
	if _, tab = readCapture(t, list); tab.Peer(1).Up || tab.Peer(2).Up {
		t.Error("the session ended, and its peers are up")
	}
	list = list[:len(list)-1]
	say(true, 0, message(3, []byte{6, 2}))
	if _, tab = readCapture(t, list); tab.Peer(1).Up || tab.Peer(2).Up {
		t.Error("one side said good-bye, and its peers are up")
	}
}

// TestForeign: other connections are nobody's routes.
func TestForeign(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 9))
	noise := make([]byte, 20000)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	if n, tab := readCapture(t, talk(r, noise, 50000, 443)); n.Messages+n.Malformed != 0 || tab.Counts().Peers != 0 {
		t.Errorf("%+v", n)
	}
	if n, _ := readCapture(t, talk(r, stream(true, 10), 50000, 5000)); n.Announcements != 10 { // on any port
		t.Errorf("%+v", n)
	}
	if n, _ := readCapture(t, talk(r, stream(false, 10), 50000, 5000)); n.Announcements != 10 {
		t.Errorf("%+v", n)
	}
}

// FuzzRead: whatever stands in a file, reading it ends, and the table is right afterwards.
func FuzzRead(f *testing.F) {
	r := rand.New(rand.NewPCG(7, 9))
	f.Add(capture(f, talk(r, stream(true, 3), 20, 1790)))
	f.Add(capture(f, talk(r, stream(false, 3), 20, 179)[2:]))
	f.Add([]byte(`{"type":"ris_message","data":{"timestamp":1.5e9,"peer":"192.0.2.1","peer_asn":"64500","type":"UPDATE","path":[64500,[1,2]],"announcements":[{"next_hop":"192.0.2.1","prefixes":["198.51.100.0/24"]}]}}`))
	f.Add(append([]byte{0x65, 0, 0, 0, 0, 16, 0, 4, 0, 0, 0, 20 + 45}, append([]byte{0, 0, 0xfb, 0xf4, 0, 0, 0xfb, 0xf4, 0, 0, 0, 1, 10, 0, 0, 1, 10, 0, 0, 2},
		said{announce: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, ases: []uint32{1}}.bytes()[:45]...)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := newMirror(t)
		tab := table(t, route.Config{MaxPrefixes: 64, MaxPaths: 32, MaxRoutes: 128, MaxPeers: 8}, m)
		n, _ := route.ReadFrom(t.Context(), tab, bytes.NewReader(b), int64(len(b)), route.ReadOptions{Feed: "f"})
		if c := tab.Counts(); c.Routes != len(m.routes) || c.Elements != n.Elements || c.Malformed != n.Malformed || c.Routes > 128 {
			t.Fatalf("%+v %+v, %d routes told", n, c, len(m.routes))
		}
		tab.Peers(func(p *observe.RoutePeer) {
			if p.Routes < 0 {
				t.Fatalf("%+v", p)
			}
		})
	})
}
