package main

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"sakimori/base/store"
	"sakimori/detect"
	"sakimori/detect/register"
	"sakimori/observe"
	"sakimori/sim"
)

// openFlowing is the live input of flows on a port of its own. Of the routers of the
// simulator only the first may send to it.
func openFlowing(t *testing.T) *flowing {
	t.Helper()
	cfg := defaultConfig()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Flow.Listen, cfg.Flow.Workers = []string{"127.0.0.1:0"}, 1
	cfg.Flow.Exporters = []exporterConfig{{Name: "edge1", Prefix: "127.0.1.1/32"}}
	cfg.DDoS.Own = []string{"203.0.113.0/24"}
	s, err := newStation(t.Context(), cfg, slog.New(slog.DiscardHandler), false, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	l, err := newFlowing(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestStrangersAndNoise: who isn't an exporter is refused and counted, what isn't a
// datagram of flows is counted as broken, and neither keeps a good exporter from being
// heard.
func TestStrangersAndNoise(t *testing.T) {
	t.Parallel()
	l := openFlowing(t)
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- l.receive(ctx, func() { close(ready) }) }()
	<-ready
	to := l.recv.Addresses()[0]
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 1, 1)}, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := rand.New(rand.NewPCG(1, 2))
	const noise = 300
	for i := range noise {
		b := make([]byte, 1+r.IntN(1400))
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		if i%2 == 0 && len(b) > 4 { // one that claims to be what it isn't
			b[0], b[1] = 0, []byte{5, 9, 10}[i/2%3]
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	scene, err := sim.FlowSceneByName("busy-victim", 1) // of two routers
	if err != nil {
		t.Fatal(err)
	}
	scene.Duration = 3 * time.Second
	sent, err := (&sim.FlowSender{To: to, Now: true, Rate: 2000}).Send(ctx, scene)
	if err != nil {
		t.Fatal(err)
	}
	var broken, good, strangers uint64
	for range 100 {
		broken, good = 0, 0
		for _, h := range l.dir.Exporters() {
			good += h.Flows
			for _, m := range h.Malformed {
				broken += m.Count
			}
		}
		if _, strangers, _ = l.dir.Refused(); broken > 0 && good > 0 && strangers > 0 && good == l.flows.Load() {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if broken < noise/2 || good == 0 || strangers == 0 || strangers >= sent.Datagrams {
		t.Errorf("%d broken of %d, %d flows, %d of %d datagrams refused", broken, noise, good, strangers, sent.Datagrams)
	}
	if list, _, _ := l.dir.Refused(); len(list) != 1 || list[0].Address != netip.MustParseAddr("127.0.1.2") {
		t.Errorf("%+v", list)
	}
}

// TestFailedSave: what couldn't be kept is kept by the next save, once, wherever the one
// before failed.
func TestFailedSave(t *testing.T) {
	t.Parallel()
	l := openFlowing(t)
	ctx, k := t.Context(), l.s.keeper
	at := time.Now().UTC().Truncate(time.Second)
	took := uint64(0)
	more := func() {
		f := observe.Flow{First: at.UnixNano(), Last: at.UnixNano(), Packets: 10, Bytes: 1000, Seen: 1, Rate: 10, Exporter: 1, Proto: 17, DstPort: 53}
		l.take([]observe.Flow{f})
		took += f.Packets
	}
	a := detect.Attack{
		ID: "attack-1", State: detect.Opened, Direction: detect.Incoming, Object: detect.Object{Kind: detect.AddressObject, Prefix: netip.MustParsePrefix("203.0.113.7/32")},
		Opened: at, Detected: at, Changed: at,
	}
	more()
	l.run.Attack(a)
	l.run.Course(a.ID, []detect.CoursePoint{{At: at.Unix(), Packets: 100}})
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := l.save(gone, false); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	// The last thing that a save writes can't be written: nothing of it is.
	rename := func(from, to string) {
		t.Helper()
		if err := k.store.Tx(ctx, func(tx *store.Tx) error { return tx.Exec(ctx, "ALTER TABLE "+from+" RENAME TO "+to) }); err != nil {
			t.Fatal(err)
		}
	}
	more()
	a.State, a.Changed = detect.Changed, at.Add(time.Second)
	l.run.Attack(a)
	rename("detect_attack_version", "aside")
	if err := l.save(ctx, false); err == nil {
		t.Fatal("a save without a table to write to went well")
	}
	rename("aside", "detect_attack_version")
	if list, _, err := k.register.Attacks(ctx, register.AttackQuery{Limit: 10}); err != nil || len(list) > 0 {
		t.Fatalf("half of a save stands: %+v, %v", list, err)
	}
	more()
	for range 2 { // the second has nothing new
		if err := l.save(ctx, false); err != nil {
			t.Fatal(err)
		}
	}
	_, versions, err := k.register.Attack(ctx, a.ID)
	if err != nil || len(versions) != 2 || versions[0].State != detect.Opened || versions[1].State != detect.Changed {
		t.Errorf("%+v, %v", versions, err)
	}
	span := observe.Range{From: at.Add(-time.Hour), To: at.Add(time.Hour)}
	if points, err := k.register.Course(ctx, a.ID, span, 1); err != nil || len(points) != 1 || points[0].Packets != 100 {
		t.Errorf("%+v, %v", points, err)
	}
	rows, err := k.flows.Search(ctx, observe.FlowQuery{Range: span, Limit: 100}, "")
	kept := uint64(0)
	for i := range rows.Rows {
		kept += rows.Rows[i].Flow.Packets
	}
	if err != nil || kept != took {
		t.Errorf("%d packets are kept of %d, %v", kept, took, err)
	}
}
