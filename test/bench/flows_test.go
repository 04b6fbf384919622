//go:build linux

package main

import (
	"encoding/binary"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/detect/ddos"
	"sakimori/observe"
	"sakimori/observe/flow"
)

// TestExports reads what is sent with the house's own decoder: none is lost, and each is as it
// was made.
func TestExports(t *testing.T) {
	t.Parallel()
	from, now := netip.MustParseAddrPort("127.0.0.1:40000"), time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	for _, version := range []int{5, 9} {
		e := newExports(version, 3000, 1000)
		d, err := flow.NewDirectory(flow.DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		var records, packets uint64
		c := d.Collector(func(b []observe.Flow) {
			for i := range b {
				f := &b[i]
				records, packets = records+1, packets+f.Packets
				if !ownFlows.Contains(addrOf(f.Dst)) || f.Rate != 1 || f.Last-f.First > int64(time.Second) || f.Last < f.First || now.UnixNano()-f.Last > int64(time.Second) || f.Proto == 0 || f.DstPort == 0 {
					t.Fatalf("version %d: %+v", version, *f)
				}
			}
		})
		if b := e.template(); b != nil {
			e.stamp(b, now, 0)
			if err := c.Ingest(b, from, now.UnixNano()); err != nil {
				t.Fatal(err)
			}
		}
		for _, b := range e.list {
			e.stamp(b, now, e.each)
			if err := c.Ingest(b, from, now.UnixNano()); err != nil {
				t.Fatal(err)
			}
		}
		c.Flush()
		c.Publish(now.UnixNano())
		if want := uint64(len(e.list) * e.each); records != want || packets != e.packets {
			t.Errorf("version %d: %d records and %d packets came of %d and %d", version, records, packets, want, e.packets)
		}
		for _, h := range d.Exporters() {
			if h.Gaps != 0 {
				t.Errorf("version %d: %v are said to be lost", version, h.Gaps)
			}
		}
		if all, again := e.told(uint64(len(e.list))), e.told(2*uint64(len(e.list))); all != e.packets || again != 2*all {
			t.Errorf("version %d: %d and %d packets, of %d", version, all, again, e.packets)
		}
	}
}

func addrOf(a packet.Addr) netip.Addr { return a.Netip() }

// TestVerdict: what detectors write down is read as it is meant.
func TestVerdict(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, b := netip.MustParseAddr("198.18.0.80"), netip.MustParseAddr("198.18.16.80")
	text := "100.5 198.18.0.80 ban\n100.500000002 198.18.0.80 attack_details\nno line\n103.000000001 198.18.0.80 unban\n104.25 198.18.0.80 ban\n"
	if err := os.WriteFile(filepath.Join(dir, eventsFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	list := events(dir)
	ban, unban := verdictOf(list, a)
	if len(list) != 3 || !ban.Equal(time.Unix(100, 5e8)) || !unban.Equal(time.Unix(103, 1)) {
		t.Errorf("%v: %s, %s", list, ban, unban)
	}
	if ban, unban := verdictOf(list, b); !ban.IsZero() || !unban.IsZero() {
		t.Error("of an address that nobody accused")
	}
}

// TestScenes: each has an address of its own, apart from the others', and its busy ones are
// as busy as the attacks.
func TestScenes(t *testing.T) {
	t.Parallel()
	seen := map[uint32]bool{}
	attacks, busy := 0, 0
	for _, s := range scenes(false) {
		a := s.addr.As4()
		net := binary.BigEndian.Uint32(a[:]) >> 12
		if seen[net] || !ownFlows.Contains(s.addr) || s.factor <= 1 {
			t.Errorf("%s: %s × %.1f", s.name, s.addr, s.factor)
		}
		seen[net] = true
		if s.attack {
			attacks++
		} else {
			busy++
		}
	}
	if attacks != 12 || busy != 4 {
		t.Errorf("%d attacks and %d that aren't", attacks, busy)
	}
}

// TestFloods plays the scenes of part H to our detector in made-up time, on a machine without
// haste: what a busy one adds to its delays isn't its own.
func TestFloods(t *testing.T) {
	t.Parallel()
	list := scenes(false)
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	cfg := flood(lineOf, 60)
	now, told := start, map[netip.Addr]time.Time{}
	d, err := ddos.New(cfg, ddos.Ports{}, ddos.Sinks{Attacks: sink(func(a detect.Attack) {
		if told[a.Object.Prefix.Addr()].IsZero() && accuses(&a) {
			told[a.Object.Prefix.Addr()] = now
		}
	})})
	if err != nil {
		t.Fatal(err)
	}
	directory, err := flow.NewDirectory(flow.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	c := directory.Collector(d.Take)
	from := netip.MustParseAddrPort("127.0.0.1:40000")
	calm, long := 2*time.Second, 4*time.Second
	g := newStage(list, lineOf, calm, long, func(b []byte) error { return c.Ingest(b, from, now.UnixNano()) })
	d.Tick(start)
	for at := every; at <= calm+long+time.Second; at += every {
		now = start.Add(at)
		if err := g.step(now, at); err != nil {
			t.Fatal(err)
		}
		if at%time.Second == 0 {
			c.Flush()
			d.Tick(now)
		}
	}
	for _, s := range list {
		when, ok := told[s.addr]
		delay := when.Sub(start.Add(calm + s.after))
		switch {
		case ok && !s.attack:
			t.Errorf("%s is no attack", s.name)
		case s.attack && !ok:
			t.Errorf("%s × %.1f: not told within %s", s.name, s.factor, long)
		case s.attack && delay > 3*time.Second: // two whole seconds, and the one in which it began
			t.Errorf("%s × %.1f: told after %s", s.name, s.factor, delay)
		case s.attack:
			t.Logf("%s × %.1f: told after %s", s.name, s.factor, delay)
		}
	}
	if len(told) != 12 {
		t.Errorf("%d are accused", len(told))
	}
}

type sink func(detect.Attack)

func (s sink) Attack(a detect.Attack)            { s(a) }
func (sink) Course(string, []detect.CoursePoint) {}
