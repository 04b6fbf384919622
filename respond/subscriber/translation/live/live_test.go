package live_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/corpus"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/translation/event"
	"sakimori/respond/subscriber/translation/live"
	"sakimori/respond/subscriber/translation/syslog"
)

// sink keeps records, unless it is told to fail.
type sink struct {
	mu   sync.Mutex
	fail int
	got  []subscriber.Record
	lots int
}

func (s *sink) Take(_ context.Context, r []subscriber.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail > 0 {
		s.fail--
		return errors.New("the disk is full")
	}
	s.got = append(s.got, slices.Clone(r)...)
	s.lots++
	return nil
}

func (s *sink) all() []subscriber.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

// log is a reader of syslog.
func log() (live.Reader, error) {
	p, err := syslog.New(syslog.Config{Live: true, Zone: "UTC"})
	return lines{p}, err
}

type lines struct{ *syslog.Parser }

func (l lines) Read(_ netip.AddrPort, b []byte, at time.Time, each func(*subscriber.Record)) error {
	return l.Parse(b, at, each)
}

type exports struct{ *event.Reader }

func (e exports) Read(from netip.AddrPort, b []byte, _ time.Time, each func(*subscriber.Record)) error {
	return e.Reader.Read(from, b, each)
}

// serve runs a listener until stop is called, which waits for its end.
func serve(t *testing.T, cfg live.Config, open func() (live.Reader, error), to live.Sink) (l *live.Listener, stop func()) {
	t.Helper()
	cfg.Name, cfg.Listen = "test", []string{"127.0.0.1:0"}
	if cfg.Senders == nil {
		cfg.Senders = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	l, err := live.New(cfg, open, to, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- l.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return l, stop
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 500 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not within 5 s: %s", what)
}

// TestLogger: what another program writes by syslog is kept.
func TestLogger(t *testing.T) {
	program, err := exec.LookPath("logger")
	if err != nil {
		t.Fatal("Debian's bsdutils has it: ", err)
	}
	to := &sink{}
	l, _ := serve(t, live.Config{}, log, to)
	at := l.Addresses()[0]
	for i := range 3 {
		line := fmt.Sprintf("RT_NAT: RT_SRC_NAT_PBA_ALLOC: Subscriber 100.64.0.%d used/maximum [1/1] blocks, allocates port block [1024-2047] from 198.51.100.7 in source pool p lsys_id: 0", i+1)
		if out, err := exec.CommandContext(t.Context(), program, "-n", at.Addr().String(), "-P", fmt.Sprint(at.Port()), "-d", "--rfc5424", "--", line).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	until(t, "three blocks", func() bool { return len(to.all()) == 3 })
	for i, r := range to.all() {
		if r.Kind != subscriber.Begin || r.Inside != netip.MustParseAddr(fmt.Sprintf("100.64.0.%d", i+1)) || r.Ports != (subscriber.Ports{First: 1024, Last: 2047}) || time.Since(r.At).Abs() > time.Minute {
			t.Errorf("%+v", r)
		}
	}
}

// TestTranslator: a real translator's NetFlow.
func TestTranslator(t *testing.T) {
	list := corpus.Datagrams(t, corpus.Folder(t, "flow", "akvorado", "nat.pcap"))
	to := &sink{}
	l, _ := serve(t, live.Config{}, func() (live.Reader, error) { return exports{event.New(event.DefaultConfig())}, nil }, to)
	c := dial(t, l)
	for _, b := range list {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all records", func() bool { return len(to.all()) == 9 })
	if s := l.Stats(); s.Datagrams != uint64(len(list)) || s.Records != 9 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
}

func dial(t *testing.T, l *live.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("udp", l.Addresses()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func pba(i int) string {
	return fmt.Sprintf("<14>1 2026-11-26T09:00:00Z cgn1 RT_NAT - RT_SRC_NAT_PBA_ALLOC - Subscriber 100.64.%d.%d used/maximum [1/1] blocks, allocates port block [1024-2047] from 198.51.100.7 in source pool p lsys_id: 0", i>>8, i&255)
}

// TestStrangers: whoever isn't named isn't believed, and is counted.
func TestStrangers(t *testing.T) {
	to := &sink{}
	l, stop := serve(t, live.Config{Senders: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, log, to)
	c := dial(t, l)
	for i := range 5 {
		if _, err := c.Write([]byte(pba(i))); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "five strangers", func() bool { return l.Stats().Strangers == 5 })
	stop()
	if s := l.Stats(); s.Datagrams != 0 || len(to.all()) != 0 {
		t.Errorf("%+v, %d records", s, len(to.all()))
	}
}

// TestFullDisk: what can't be kept is tried again, nothing twice; what is broken is
// counted and harms nothing else; what was read is kept before it stops.
func TestFullDisk(t *testing.T) {
	to := &sink{fail: 3}
	l, stop := serve(t, live.Config{Lot: 8, Within: time.Hour}, log, to)
	c := dial(t, l)
	for i := range 20 {
		text := pba(i)
		if i == 10 {
			text = "<14>1 2026-11-26T09:00:00Z cgn1 RT_NAT - RT_SRC_NAT_PBA_ALLOC - Subscriber nobody"
		}
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "two lots", func() bool { return len(to.all()) == 16 })
	until(t, "all read", func() bool { return l.Stats().Datagrams == 20 })
	time.Sleep(20 * time.Millisecond) // the last one is being parsed
	stop()
	got := map[netip.Addr]int{}
	for _, r := range to.all() {
		got[r.Inside]++
	}
	if s := l.Stats(); len(got) != 19 || s.Records != 19 || s.Malformed != 1 {
		t.Errorf("%d subscribers, %+v", len(got), s)
	}
	for a, n := range got {
		if n != 1 {
			t.Errorf("%s %d times", a, n)
		}
	}
}

// TestNotWhole: a listener that would believe anybody, or listen nowhere, isn't made.
func TestNotWhole(t *testing.T) {
	anybody := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	broken := func() (live.Reader, error) { return nil, errors.New("no such zone") }
	for _, tt := range []struct {
		cfg  live.Config
		open func() (live.Reader, error)
	}{
		{live.Config{Listen: []string{"127.0.0.1:0"}}, log},
		{live.Config{Senders: anybody}, log},
		{live.Config{Listen: []string{"127.0.0.1:0"}, Senders: anybody}, broken},
	} {
		if _, err := live.New(tt.cfg, tt.open, &sink{}, clock.System{}, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%+v was taken", tt.cfg)
		}
	}
	l, err := live.New(live.Config{Listen: []string{"127.0.0.1:99999"}, Senders: anybody}, log, &sink{}, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Run(t.Context(), nil); err == nil {
		t.Error("it listens on no port")
	}
}
