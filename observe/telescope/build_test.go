package telescope_test

import (
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"time"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/telescope"
)

// The tests' packets are put together here, byte by byte, so that a test says
// what is on the wire and not what the engine makes of it.

// ip is an IP header to be; the zero values of ttl mean 64.
type ip struct {
	src, dst string
	ttl      uint8
	id       uint16
	frag     uint16 // IPv4 flags and offset, as on the wire
}

// rec is one captured frame.
type rec struct {
	t    int64 // Unix nanoseconds
	link packet.LinkType
	data []byte
	orig uint32 // 0: as captured
}

func (r rec) at(t int64) rec { r.t = t; return r }

// cut is the frame as a capture with a snapshot length n has it.
func (r rec) cut(n int) rec {
	r.orig, r.data = uint32(len(r.data)), r.data[:n]
	return r
}

func frame(h ip, proto uint8, body []byte) rec {
	return rec{link: packet.LinkRaw, data: ipPacket(h, proto, body)}
}

func ipPacket(h ip, proto uint8, body []byte) []byte {
	if h.ttl == 0 {
		h.ttl = 64
	}
	src, dst := netip.MustParseAddr(h.src), netip.MustParseAddr(h.dst)
	if src.Is4() {
		b := make([]byte, 20, 20+len(body))
		b[0] = 0x45
		binary.BigEndian.PutUint16(b[2:], uint16(20+len(body)))
		binary.BigEndian.PutUint16(b[4:], h.id)
		binary.BigEndian.PutUint16(b[6:], h.frag)
		b[8], b[9] = h.ttl, proto
		s, d := src.As4(), dst.As4()
		copy(b[12:], s[:])
		copy(b[16:], d[:])
		return append(b, body...)
	}
	b := make([]byte, 40, 40+len(body))
	b[0] = 0x60
	binary.BigEndian.PutUint16(b[4:], uint16(len(body)))
	b[6], b[7] = proto, h.ttl
	s, d := src.As16(), dst.As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	return append(b, body...)
}

// tcp is a TCP header to be.
type tcp struct {
	from, to uint16
	seq, ack uint32
	flags    packet.TCPFlags
	window   uint16
	options  []byte // a multiple of four bytes
}

func (h ip) tcp(t tcp) rec { return frame(h, packet.TCP, tcpBody(t)) }

func tcpBody(t tcp) []byte {
	b := make([]byte, 20, 20+len(t.options))
	binary.BigEndian.PutUint16(b, t.from)
	binary.BigEndian.PutUint16(b[2:], t.to)
	binary.BigEndian.PutUint32(b[4:], t.seq)
	binary.BigEndian.PutUint32(b[8:], t.ack)
	b[12], b[13] = uint8(20+len(t.options))/4<<4, byte(t.flags)
	binary.BigEndian.PutUint16(b[14:], t.window)
	return append(b, t.options...)
}

func (h ip) udp(from, to uint16, payload []byte) rec {
	return frame(h, packet.UDP, udpBody(from, to, payload))
}

func udpBody(from, to uint16, payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	return append(b, payload...)
}

// icmp is ICMP, or ICMPv6 when the addresses are.
func (h ip) icmp(typ, code uint8, rest []byte) rec {
	proto := uint8(packet.ICMP)
	if netip.MustParseAddr(h.src).Is6() {
		proto = packet.ICMPv6
	}
	return frame(h, proto, append([]byte{typ, code, 0, 0, 0, 0, 0, 0}, rest...))
}

// linux are the options of a Linux host's SYN: no rule fits them.
var linux = []byte{2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7}

// syn is a Linux host's SYN.
func syn(src, dst string, port uint16) rec {
	return ip{src: src, dst: dst, id: 7}.tcp(tcp{from: 40000, to: port, seq: 99, flags: packet.SYN, window: 64240, options: linux})
}

// tb is what *testing.T and *rapid.T have in common.
type tb interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

// sink keeps everything that a telescope says.
type sink struct {
	Ended   []observe.Event
	Buckets []telescope.Bucket
	Partial []telescope.Bucket
	Sights  [][]observe.Sighting
	Gaps    [][2]time.Time
	Clocks  []time.Time
}

func (s *sink) Sight(v []observe.Sighting) {
	s.Sights = append(s.Sights, append([]observe.Sighting(nil), v...))
}
func (s *sink) Clock(t time.Time)         { s.Clocks = append(s.Clocks, t) }
func (s *sink) Closed(e []observe.Event)  { s.Ended = append(s.Ended, e...) }
func (s *sink) Gap(from, until time.Time) { s.Gaps = append(s.Gaps, [2]time.Time{from, until}) }
func (s *sink) Bucket(b telescope.Bucket) {
	b.Rows = append([]telescope.Row(nil), b.Rows...) // a minute's are good only now
	if b.Open {
		s.Partial = append(s.Partial, b)
	} else {
		s.Buckets = append(s.Buckets, b)
	}
}

// sights are all sightings in one list.
func (s *sink) sights() (all []observe.Sighting) {
	for _, v := range s.Sights {
		all = append(all, v...)
	}
	return all
}

// start is a Monday, at a full day.
var start = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC).UnixNano()

const (
	second = int64(time.Second)
	minute = int64(time.Minute)
	hour   = int64(time.Hour)
	day    = 24 * hour
)

// dark is a configuration that watches these prefixes, with a worker or two.
func dark(prefixes ...string) telescope.Config {
	cfg := telescope.DefaultConfig()
	cfg.Detail, cfg.Workers = true, 2
	for _, p := range prefixes {
		cfg.Dark = append(cfg.Dark, telescope.DarkPrefix{Prefix: netip.MustParsePrefix(p)})
	}
	return cfg
}

func own(cfg telescope.Config, prefixes ...string) telescope.Config {
	for _, p := range prefixes {
		cfg.Own = append(cfg.Own, netip.MustParsePrefix(p))
	}
	return cfg
}

// rig is a telescope with its sink.
type rig struct {
	*telescope.Telescope
	*sink
	cfg telescope.Config
}

func build(t tb, cfg telescope.Config) *rig {
	t.Helper()
	s := &sink{}
	tel, err := telescope.New(cfg, s)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{tel, s, cfg}
	t.Cleanup(func() { r.Telescope.Close() })
	return r
}

// feed hands the frames over in one block.
func (r *rig) feed(recs ...rec) *rig {
	b := r.Block()
	b.Buf, b.Frames = b.Buf[:0], b.Frames[:0]
	for _, f := range recs {
		b.Frames = append(b.Frames, packet.Frame{
			Time: f.t, Off: uint32(len(b.Buf)), Len: uint32(len(f.data)), Orig: max(f.orig, uint32(len(f.data))), Link: f.link,
		})
		b.Buf = append(b.Buf, f.data...)
	}
	r.Ingest(b)
	return r
}

// finish closes the minutes that are open, as an import does at its end.
func (r *rig) finish() *rig {
	r.Settle()
	if _, last, ok := r.Span(); ok {
		r.Advance(last.Add(2 * time.Minute))
	}
	r.Totals() // waits
	return r
}

func (r *rig) document() telescope.Document {
	r.Totals() // waits until the sink has everything that was closed
	return r.Document()
}

// move restores the rig's state into a new telescope with so many workers.
func (r *rig) move(t tb, workers int) *rig {
	t.Helper()
	state := r.State()
	r.Telescope.Close()
	cfg := r.cfg
	cfg.Workers = workers
	tel, err := telescope.New(cfg, r.sink)
	if err != nil {
		t.Fatal(err)
	}
	joint, spare := telescope.Rejoined(state)
	if spare == 0 || spare > 1<<18*(1+len(state)>>20+workers) {
		t.Fatalf("the parts of a state of %d bytes leave %d of their room", len(state), spare)
	}
	if workers%2 == 0 {
		state = joint
	}
	if err := tel.Restore(state); err != nil {
		t.Fatal(err)
	}
	r.Telescope = tel
	return r
}

// watch runs the frames through a new telescope, to the end.
func watch(t tb, cfg telescope.Config, recs ...rec) *rig {
	t.Helper()
	return build(t, cfg).feed(recs...).finish()
}

// one is the only event of a rig.
func (r *rig) one(t tb) observe.Event {
	t.Helper()
	all := append(r.AllOpen(), r.Ended...)
	if len(all) != 1 {
		t.Fatalf("%d events, not one: %+v", len(all), all)
	}
	return all[0]
}

// total is a class's packets as the document has them.
func classes(d telescope.Document) [observe.Classes]uint64 {
	var c [observe.Classes]uint64
	c[observe.Scan], c[observe.Backscatter], c[observe.Reflection], c[observe.Other] = d.Classes.Scan, d.Classes.Backscatter, d.Classes.Reflection, d.Classes.Other
	return c
}

// same fails when two things print as different JSON.
func same(t tb, what string, want, got any) {
	t.Helper()
	w, _ := json.MarshalIndent(want, "", " ")
	g, _ := json.MarshalIndent(got, "", " ")
	if d := cmp.Diff(string(w), string(g)); d != "" {
		t.Fatalf("%s differs (-want +got):\n%.4000s", what, d)
	}
}

func low(x uint32) uint16 { return uint16(x) }
