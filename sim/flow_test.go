package sim_test

import (
	"encoding/binary"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"sakimori/base/wire/ipfix"
	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/sim"
)

var be = binary.BigEndian

// told is what datagrams say, added up by a reader of the test's own.
type told struct {
	t                       *testing.T
	every                   func(router int) uint64
	templates               []*ipfix.Cache[struct{}]
	datagrams, records      uint64
	packets, bytes          uint64 // as told, times the sampling
	toTarget                uint64
	target                  netip.Addr
	samplings, withoutTempl uint64 // options seen, sets whose template isn't known
}

func (s *told) record(router int, packets, bytes uint64, dst netip.Addr) {
	s.records++
	n := s.every(router)
	s.packets += packets * n
	s.bytes += bytes * n
	if dst == s.target {
		s.toTarget += packets * n
	}
}

func (s *told) take(_ int64, router int, b []byte) error {
	s.datagrams++
	switch v := be.Uint16(b); {
	case v == 5:
		for r := b[24:]; len(r) >= 48; r = r[48:] {
			s.record(router, uint64(be.Uint32(r[16:])), uint64(be.Uint32(r[20:])), netip.AddrFrom4([4]byte(r[4:8])))
		}
		if be.Uint16(b[22:])&0x3fff > 0 {
			s.samplings++
		}
	case v == 9 || v == 10:
		s.templated(router, b)
	case v == 0 && be.Uint32(b) == 5:
		s.samples(router, b)
	default:
		s.t.Errorf("datagram of version %d", v)
	}
	return nil
}

func (s *told) templated(router int, b []byte) {
	for len(s.templates) <= router {
		s.templates = append(s.templates, ipfix.NewCache[struct{}](1000, nil))
	}
	c := s.templates[router]
	var m ipfix.Message
	if err := ipfix.Parse(b, &m); err != nil {
		s.t.Fatal(err)
	}
	from := netip.MustParseAddrPort("192.0.2.1:1")
	var r ipfix.Records
	for set := (ipfix.Set{}); m.Next(&set); {
		if set.Kind != ipfix.Data {
			if _, err := c.Learn(from, &m, &set); err != nil {
				s.t.Error(err)
			}
			continue
		}
		e := c.Find(from, &m, set.ID)
		if e == nil {
			s.withoutTempl++
			continue
		}
		for r.Start(e.Template, set.Body); r.Next(); {
			t := r.Template()
			if t.Scope > 0 {
				s.samplings++
				continue
			}
			dst := t.Find(0, 12)
			if dst < 0 {
				dst = t.Find(0, 28)
			}
			s.record(router, r.Uint(t.Find(0, 2)), r.Uint(t.Find(0, 1)), r.Addr(dst))
		}
		if r.Damaged() {
			s.t.Error("a set is damaged")
		}
	}
	if m.Err() != nil {
		s.t.Error(m.Err())
	}
}

func (s *told) samples(router int, b []byte) {
	n := be.Uint32(b[24:])
	b = b[28:]
	for range n {
		size := be.Uint32(b[4:])
		rate, frame, head := be.Uint32(b[16:]), be.Uint32(b[52:]), be.Uint32(b[60:])
		if uint64(rate) != s.every(router) {
			s.t.Errorf("sampling told as %d", rate)
		}
		var p packet.Packet
		var d packet.Decoder
		if got := d.Decode(packet.LinkEthernet, b[64:64+head], frame, &p); got != packet.OK {
			s.t.Errorf("sampled header: %v: %x", got, b[64:64+head])
		}
		s.record(router, 1, uint64(p.Length), p.Dst.Netip())
		s.samplings++
		b = b[8+size:]
	}
	if len(b) > 0 {
		s.t.Errorf("%d bytes are left of a datagram", len(b))
	}
}

// scene is one with an attack and a street, told by one router of each format.
func scene(every uint32) sim.FlowScene {
	var routers []sim.Router
	for i, f := range []sim.FlowFormat{sim.NetFlow5, sim.NetFlow9, sim.IPFIX, sim.SFlow5} {
		routers = append(routers, sim.Router{
			Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}), 9000), Format: f, Sampling: every, Domain: uint32(i),
			Active: 3 * time.Second, Inactive: time.Second, Up: time.Hour,
		})
	}
	target := netip.MustParsePrefix("203.0.113.10/32")
	return sim.FlowScene{
		Name: "all", Seed: 7, Start: time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC), Duration: 6 * time.Second, Routers: routers,
		Own: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("198.18.0.0/16")},
		Traffic: []sim.Traffic{
			sim.Street{PerSecond: 50},
			sim.Assault{Target: target, Vectors: []sim.Hit{
				{Vector: sim.VectorByName("dns-amplification"), Course: sim.Steady(2*time.Second, 3*time.Second, 9001)},
				{Vector: sim.VectorByName("syn"), Course: sim.Rising(time.Second, 2*time.Second, 4*time.Second, 5000)},
			}},
		},
	}
}

func read(t *testing.T, s sim.FlowScene) (sim.FlowTruth, *told) {
	t.Helper()
	got := &told{t: t, target: netip.MustParseAddr("203.0.113.10"), every: func(r int) uint64 { return uint64(max(s.Routers[r].Sampling, 1)) }}
	truth, err := s.Tell(got.take)
	if err != nil {
		t.Fatal(err)
	}
	if got.datagrams != truth.Datagrams || got.records != truth.Records && got.withoutTempl == 0 {
		t.Errorf("%d datagrams with %d records, the truth says %d with %d", got.datagrams, got.records, truth.Datagrams, truth.Records)
	}
	return truth, got
}

// TestFlowTotals: without sampling all formats together tell each packet that passed;
// with it, as many as chance allows.
func TestFlowTotals(t *testing.T) {
	t.Parallel()
	truth, got := read(t, scene(1))
	a := truth.Attacks[0]
	if got.packets != truth.Packets || got.bytes != truth.Bytes || got.toTarget != a.Packets {
		t.Errorf("told %d packets, %d bytes, %d of the attack; truth %d, %d, %d", got.packets, got.bytes, got.toTarget, truth.Packets, truth.Bytes, a.Packets)
	}
	const want = 3*9001 + 5000/3 + 2*5000/3 + 2*5000
	if d := int64(a.Packets) - want; d < -8 || d > 0 || a.PeakPPS < 13_990 || a.PeakPPS > 14_001 {
		t.Errorf("the attack has %d packets, its course %d; peak %d", a.Packets, want, a.PeakPPS)
	}
	m := scene(1)
	m.Traffic = append(m.Traffic, sim.Mass{Homes: m.Own[1], PerSecond: 9999})
	if truth, got := read(t, m); got.packets != truth.Packets || got.bytes != truth.Bytes {
		t.Errorf("with a mass: told %d packets, %d bytes; truth %d, %d", got.packets, got.bytes, truth.Packets, truth.Bytes)
	}
	for _, every := range []uint32{10, 300} {
		truth, got := read(t, scene(every))
		if got.samplings == 0 {
			t.Error("the sampling isn't told")
		}
		for what, x := range map[string][2]uint64{"all": {got.packets, truth.Packets}, "attack": {got.toTarget, truth.Attacks[0].Packets}} {
			sigma := math.Sqrt(float64(x[1]) * float64(every))
			if d := float64(x[0]) - float64(x[1]); math.Abs(d) > 4*sigma {
				t.Errorf("1:%d, %s: told %d packets of %d, that is %.1f times the sampling's error", every, what, x[0], x[1], d/sigma)
			}
		}
	}
}

// TestFlowSameSeed: a seed gives the same capture, another another one.
func TestFlowSameSeed(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) (sim.FlowTruth, uint64) {
		s := scene(20)
		s.Seed = seed
		d := digest{xxhash.New()}
		truth, err := s.Write(d)
		if err != nil {
			t.Fatal(err)
		}
		return truth, d.Sum64()
	}
	t1, h1 := run(1)
	t2, h2 := run(1)
	if _, h3 := run(2); h1 != h2 || h1 == h3 {
		t.Errorf("seed 1 %x and %x, seed 2 %x", h1, h2, h3)
	}
	if d := gocmp.Diff(t1, t2, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{})); d != "" {
		t.Error(d)
	}
}

// TestFlowTrouble: what is lost on the way, or because a router starts anew, is in the truth.
func TestFlowTrouble(t *testing.T) {
	t.Parallel()
	s := scene(1)
	for i := range s.Routers {
		s.Routers[i].Lose = 7
	}
	s.Routers[1].LoseTemplates, s.Routers[1].Templates = 1, 4*time.Second
	truth, got := read(t, s)
	for _, e := range truth.Exporters {
		if e.Lost == 0 {
			t.Errorf("%s loses nothing", e.Version)
		}
	}
	if got.withoutTempl == 0 || got.packets >= truth.Packets {
		t.Errorf("%d sets came before their template, %d packets of %d", got.withoutTempl, got.packets, truth.Packets)
	}
	s = scene(1)
	for i := range s.Routers {
		s.Routers[i].Restart, s.Routers[i].Down = 3*time.Second, time.Second
	}
	truth, got = read(t, s)
	for _, e := range truth.Exporters {
		if e.Restarts != 1 || e.Unseen == 0 || e.LostFlows == 0 && e.Version != "sflow5" {
			t.Errorf("started anew: %+v", e)
		}
	}
	if got.packets >= truth.Packets || got.withoutTempl > 0 {
		t.Errorf("told %d of %d packets, %d sets without a template", got.packets, truth.Packets, got.withoutTempl)
	}
}

// TestFlowSequences: numbers count what they ought to, by the reader of base/wire.
func TestFlowSequences(t *testing.T) {
	t.Parallel()
	s := scene(1)
	s.Routers = s.Routers[1:3]
	s.Routers[1].First = math.MaxUint32 - 100 // wraps
	var seq [2]ipfix.Sequence
	_, err := s.Tell(func(_ int64, router int, b []byte) error {
		var m ipfix.Message
		if err := ipfix.Parse(b, &m); err != nil {
			return err
		}
		records, size := 0, map[uint16]int{256: 4 + 4 + 2 + 2 + 3 + 16 + 16 + 16 + 4, 258: 9}
		for set := (ipfix.Set{}); m.Next(&set); {
			if n := size[set.ID]; n > 0 {
				records += len(set.Body) / n
			}
		}
		if g := seq[router].Take(&m.Header, records); g != (ipfix.Gap{}) {
			t.Errorf("router %d: %+v at %d", router, g, m.Sequence)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestFlowScenesThatCannotBe: a scene that can't be made is an error before anything is told.
func TestFlowScenesThatCannotBe(t *testing.T) {
	t.Parallel()
	ours, theirs := netip.MustParsePrefix("203.0.113.10/32"), netip.MustParsePrefix("192.0.2.99/32")
	hit := []sim.Hit{{Vector: sim.VectorByName("syn"), Course: sim.Steady(0, time.Second, 10)}}
	for want, change := range map[string]func(*sim.FlowScene){
		"a start":        func(s *sim.FlowScene) { s.Start = time.Time{} },
		"a router":       func(s *sim.FlowScene) { s.Routers = nil },
		"own prefix":     func(s *sim.FlowScene) { s.Own = nil },
		"1:16383":        func(s *sim.FlowScene) { s.Routers[0].Sampling = 20_000 },
		"time-out":       func(s *sim.FlowScene) { s.Routers[0].Active = 1 },
		"needs a target": func(s *sim.FlowScene) { s.Traffic = []sim.Traffic{sim.Assault{}} },
		"that comes in":  func(s *sim.FlowScene) { s.Traffic = []sim.Traffic{sim.Assault{Target: theirs, Vectors: hit}} },
		"one that goes out": func(s *sim.FlowScene) {
			s.Traffic = []sim.Traffic{sim.Assault{Target: ours, Vectors: hit, From: []netip.Addr{ours.Addr()}}}
		},
		"sizes":                   func(s *sim.FlowScene) { s.Traffic = []sim.Traffic{sim.Assault{Target: ours, Vectors: []sim.Hit{{}}}} },
		"needs conversations":     func(s *sim.FlowScene) { s.Traffic = []sim.Traffic{sim.Street{}} },
		"one of our addresses":    func(s *sim.FlowScene) { s.Traffic = []sim.Traffic{sim.Busy{Who: theirs.Addr(), Begin: 1}} },
		"one of ours asks":        func(s *sim.FlowScene) { s.Traffic = []sim.Traffic{sim.Prober{From: theirs.Addr(), PPS: 1}} },
		"an address, and a forma": func(s *sim.FlowScene) { s.Routers[2].Address = netip.AddrPort{} },
	} {
		s := scene(1)
		change(&s)
		_, err := s.Tell(func(int64, int, []byte) error { t.Error("something is told"); return nil })
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	if _, err := sim.FlowSceneByName("nowhere", 1); err == nil || !strings.Contains(err.Error(), "vector-syn") {
		t.Error(err)
	}
}

// TestFlowWireshark has a capture of all formats read by tshark: nothing may be wrong.
func TestFlowWireshark(t *testing.T) {
	t.Parallel()
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("tshark isn't installed: apt-get install tshark")
		}
		t.Skip("SKIPPED: tshark isn't installed")
	}
	file := filepath.Join(t.TempDir(), "flows.pcap")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	w, err := pcap.NewWriter(f, packet.LinkEthernet)
	if err != nil {
		t.Fatal(err)
	}
	s := scene(20)
	truth, err := s.Write(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), tshark, "-n", "-r", file, "-d", "udp.port==2055,cflow", "-d", "udp.port==6343,sflow", "-o", "udp.check_checksum:TRUE",
		"-T", "fields", "-e", "_ws.malformed", "-e", "udp.checksum.status").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	if uint64(len(lines)) != truth.Datagrams {
		t.Errorf("tshark reads %d datagrams of %d", len(lines), truth.Datagrams)
	}
	for i, l := range lines {
		if !strings.HasPrefix(l, "\t1") {
			t.Errorf("datagram %d: %q", i, l)
		}
	}
}
