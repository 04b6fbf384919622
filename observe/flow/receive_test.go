package flow_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/observe"
	"sakimori/observe/flow"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// taken are the flows that a receiver handed on.
type taken struct {
	mu    sync.Mutex
	flows []observe.Flow
	ticks int
}

func (k *taken) take(b []observe.Flow) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.flows = append(k.flows, b...)
}

func (k *taken) tick(time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ticks++
}

func (k *taken) all() []observe.Flow {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.flows)
}

// receive runs a receiver until stop is called, which waits for its end.
func receive(t testing.TB, cfg flow.Config, receiving flow.Receiving, take func([]observe.Flow), tick func(time.Time)) (d *flow.Directory, r *flow.Receiver, stop func()) {
	t.Helper()
	if cfg.Allow == nil {
		cfg.Allow = loopback
	}
	d, err := flow.NewDirectory(cfg)
	if err != nil {
		t.Fatal(err)
	}
	receiving.Listen = []string{"127.0.0.1:0"}
	r, err = d.Receiver(receiving, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- r.Run(ctx, func() { close(ready) }, take, tick) }()
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
	return d, r, stop
}

// send sends datagrams from an address, each from another port.
func send(t testing.TB, r *flow.Receiver, from string, datagrams ...[]byte) {
	t.Helper()
	for _, b := range datagrams {
		c, err := (&net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))}).DialContext(t.Context(), "udp", r.Addresses()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 1000 {
		if is() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("not within 5 s: %s", what)
}

// TestReceive: what exporters send comes through several workers, an exporter's always through
// the same one: templates and data come from ports that change with each datagram.
func TestReceive(t *testing.T) {
	t.Parallel()
	var k taken
	cfg := flow.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/29")}}
	d, r, stop := receive(t, cfg, flow.Receiving{Workers: 3}, k.take, k.tick)
	const exporters, each = 6, 10
	for i := range exporters {
		from := netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)}).String()
		now := uint32(time.Now().Unix())
		send(t, r, from, message9(0, 10000, now, 0, set(0, usual)))
		for n := range each {
			send(t, r, from, message9(uint32(n+1), 10000, now, 0, set(256, usualRecords(3))))
		}
	}
	send(t, r, "127.0.0.9", message5(0, 1000, 1, 0, 1))
	until(t, "all flows", func() bool { return len(k.all()) == exporters*each*3 })
	until(t, "a stranger", func() bool { _, n, _ := d.Refused(); return n == 1 })
	until(t, "a tick", func() bool { k.mu.Lock(); defer k.mu.Unlock(); return k.ticks > 0 })
	stop()
	list := d.Exporters()
	if len(list) != exporters {
		t.Fatalf("%d exporters", len(list))
	}
	for _, h := range list {
		if h.Datagrams != each+1 || h.Records != each*3 || h.UnknownTemplate != 0 || h.Gaps != 0 || h.Restarts != 0 || h.Late != 0 {
			t.Errorf("%+v", h)
		}
	}
	refused, n, many := d.Refused()
	if len(refused) != 1 || refused[0].Address != netip.MustParseAddr("127.0.0.9") || n != 1 || many != 0 {
		t.Errorf("%+v, %d, %d", refused, n, many)
	}
	if s := r.Socket(); s.Sockets != 3 || s.Granted == 0 || s.Drops != 0 || s.QueueDropped != 0 || s.Together {
		t.Errorf("%+v", s)
	}
	for _, f := range k.all() {
		if age := time.Since(time.Unix(0, f.Last)); age < 0 || age > 10*time.Second || f.Last-f.First != 900e6 {
			t.Fatalf("%s ago, %d ns long", age, f.Last-f.First)
		}
	}
}

// TestNobodyTakes: while the taker is busy batches wait, and when there is no room for more
// what comes is dropped and counted: nothing is missing that isn't.
func TestNobodyTakes(t *testing.T) {
	t.Parallel()
	var k taken
	hold := make(chan struct{})
	d, r, stop := receive(t, flow.Config{Batch: 30}, flow.Receiving{Workers: 1, Batches: 2}, func(b []observe.Flow) {
		<-hold
		k.take(b)
	}, k.tick)
	const sent = 50
	for i := range sent {
		send(t, r, "127.0.0.1", message5(uint32(30*i), 10000, 1800000000, 0, 30))
	}
	until(t, "all are read", func() bool { h := d.Exporters(); return len(h) == 1 && h[0].Datagrams == sent })
	close(hold)
	stop()
	s := r.Socket()
	if s.QueueDropped == 0 || uint64(len(k.all()))+s.QueueDropped != sent*30 {
		t.Errorf("%d taken, %d dropped of %d", len(k.all()), s.QueueDropped, sent*30)
	}
}

func TestReceiverNeeds(t *testing.T) {
	t.Parallel()
	d, err := flow.NewDirectory(flow.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Receiver(flow.Receiving{Listen: []string{"127.0.0.1:0"}}, clock.System{}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("it listens to everybody")
	}
	d, err = flow.NewDirectory(flow.Config{Allow: loopback})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Receiver(flow.Receiving{}, clock.System{}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("it listens nowhere")
	}
	r, err := d.Receiver(flow.Receiving{Listen: []string{"192.0.2.77:0"}}, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context(), nil, func([]observe.Flow) {}, func(time.Time) {}); err == nil {
		t.Error("it listens on an address that isn't ours")
	}
}
