package station_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/bmp"
	"sakimori/observe/route/station"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "12") // they wait for peers rather than work
	os.Exit(m.Run())
}

// sink keeps what is handed on.
type sink struct {
	mu   sync.Mutex
	list map[string][]string // feed and router → messages in words
	raw  map[string][][]byte
}

func (s *sink) BMP(feed string, router netip.Addr, msg []byte, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at.IsZero() {
		panic("no time")
	}
	if s.list == nil {
		s.list, s.raw = map[string][]string{}, map[string][][]byte{}
	}
	who := feed + " " + router.String()
	s.list[who] = append(s.list[who], inWords(msg))
	s.raw[who] = append(s.raw[who], slices.Clone(msg))
}

func (s *sink) of(who string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list[who])
}

// inWords is a message as a test compares it.
func inWords(b []byte) string {
	var m bmp.Message
	if n, err := bmp.Cut(b, &m); err != nil || n != len(b) {
		return fmt.Sprintf("%d of %d bytes: %v", n, len(b), err)
	}
	s := m.Type.String()
	var p bmp.Peer
	if rest, err := m.Peer(&p); err == nil && m.Type != bmp.Initiation && m.Type != bmp.Termination {
		s += fmt.Sprintf(" of %s AS%d", p.Address, p.AS)
		var d bmp.Down
		if m.Type == bmp.PeerDown && bmp.ParseDown(rest, &d) == nil {
			s += fmt.Sprintf(" reason %d", d.Reason)
		}
	}
	return s
}

// message is one of BMP.
func message(t bmp.Type, body ...[]byte) []byte {
	b := slices.Concat(append([][]byte{{bmp.Version, 0, 0, 0, 0, byte(t)}}, body...)...)
	binary.BigEndian.PutUint32(b[1:], uint32(len(b)))
	return b
}

func tlv(t uint16, value string) []byte {
	b := binary.BigEndian.AppendUint16(nil, t)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	return append(b, value...)
}

// of is a peer's header.
func of(addr string, as uint32) []byte {
	b := make([]byte, 42)
	a := netip.MustParseAddr(addr).As4()
	copy(b[22:], a[:])
	binary.BigEndian.PutUint32(b[26:], as)
	copy(b[30:], []byte{10, 0, 0, 1})
	return b
}

// open is an OPEN of BGP.
func open(as uint16) []byte {
	b := append(slices.Repeat([]byte{0xff}, 16), 0, 34, 1, 4)
	b = binary.BigEndian.AppendUint16(b, as)
	return append(b, 0, 90, 10, 0, 0, 1, 5, 2, 3, 9, 1, 3) // its role is customer
}

func hello(name string) []byte {
	return message(bmp.Initiation, tlv(bmp.InfoSystem, "a router\nof ours"), tlv(bmp.InfoName, name))
}

func up(addr string, as uint32) []byte {
	return message(bmp.PeerUp, of(addr, as), make([]byte, 16), []byte{0, 179, 0x90, 0}, open(64500), open(uint16(as)))
}

func down(addr string, as uint32) []byte {
	return message(bmp.PeerDown, of(addr, as), []byte{4})
}

// endOfRIB is an UPDATE with nothing in it.
var endOfRIB = append(slices.Repeat([]byte{0xff}, 16), 0, 23, 2, 0, 0, 0, 0)

func update(addr string, as uint32) []byte {
	return message(bmp.RouteMonitoring, of(addr, as), endOfRIB)
}

// run runs a station that routers on 127.0.0.0/8 may call, one name for each address below
// 127.0.0.10.
func run(t *testing.T, c station.Config, to station.Sink) (s *station.Station, stop func()) {
	t.Helper()
	c.Listen = netip.MustParseAddrPort("127.0.0.1:0")
	for i := 2; i < 10; i++ {
		c.Routers = append(c.Routers, station.Router{Feed: fmt.Sprint("edge", i), Address: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("127.0.0.%d/32", i))}})
	}
	s, err := station.New(c, to, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-done:
		cancel()
		t.Fatal(err)
	}
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return s, stop
}

// call connects as the router of an address.
func call(t *testing.T, s *station.Station, from byte) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}}
	conn, err := d.DialContext(t.Context(), "tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func send(t *testing.T, conn net.Conn, parts ...[]byte) {
	t.Helper()
	if _, err := conn.Write(slices.Concat(parts...)); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	var err error
	for range 500 {
		if err = f(); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("never: %s: %v", what, err)
}

func (s *sink) waits(t *testing.T, who string, want ...string) {
	t.Helper()
	eventually(t, who+" has told it", func() error {
		if got := s.of(who); !slices.Equal(got, want) {
			return fmt.Errorf("%q, want %q", got, want)
		}
		return nil
	})
}

// closed waits until the other side has closed.
func closed(t *testing.T, conn net.Conn) {
	t.Helper()
	_ = conn.SetReadDeadline(clock.System{}.Now().Add(5 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection is still open: %v", err)
	}
}

func status(s *station.Station, feed string) station.Status {
	list := s.Routers()
	return list[slices.IndexFunc(list, func(r station.Status) bool { return r.Feed == feed })]
}

// Several routers at once, in pieces of any size; one that comes back; the end.
func TestRouters(t *testing.T) {
	t.Parallel()
	out := &sink{}
	s, stop := run(t, station.Config{}, out)
	a, b := call(t, s, 2), call(t, s, 3)
	stats := message(bmp.Statistics, of("192.0.2.1", 64501), []byte{0, 0, 0, 2, 0, 7, 0, 8, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 4, 0, 0, 0, 5})
	for _, c := range slices.Concat(hello("edge\x00two"), up("192.0.2.1", 64501), update("192.0.2.1", 64501), stats) {
		send(t, a, []byte{c})
	}
	send(t, b, hello("three"), up("192.0.2.1", 64501), up("192.0.2.9", 64509), update("192.0.2.1", 64501), down("192.0.2.9", 64509))
	first := []string{"initiation", "peer-up of 192.0.2.1 AS64501", "route-monitoring of 192.0.2.1 AS64501", "statistics of 192.0.2.1 AS64501"}
	out.waits(t, "edge2 127.0.0.2", first...)
	second := []string{"initiation", "peer-up of 192.0.2.1 AS64501", "peer-up of 192.0.2.9 AS64509", "route-monitoring of 192.0.2.1 AS64501", "peer-down of 192.0.2.9 AS64509 reason 4"}
	out.waits(t, "edge3 127.0.0.3", second...)
	st := status(s, "edge2")
	if st.Name != "edge two" || st.Description != "a router of ours" || !st.Connected || st.Messages != 4 || len(st.Peers) != 1 || !st.Peers[0].Up || st.Peers[0].Role != "customer" || len(st.Peers[0].Stats) != 2 || st.Peers[0].Stats[0] != (station.Stat{Type: 7, Value: 9}) {
		t.Errorf("%+v", st)
	}
	if st := status(s, "edge3"); len(st.Peers) != 2 || st.Peers[1].Up || st.Peers[1].Reason == nil || st.Peers[1].Reason.JA == "" {
		t.Errorf("%+v", st)
	}
	if st := status(s, "edge4"); st.Connected || st.Router.IsValid() {
		t.Errorf("%+v", st)
	}

	_ = b.Close() // only what was up is told to be down
	out.waits(t, "edge3 127.0.0.3", append(second, "peer-down of 192.0.2.1 AS64501 reason 5")...)
	if st := status(s, "edge3"); st.Connected || st.Ended == nil || st.Resets != 1 {
		t.Errorf("%+v", st)
	}
	b = call(t, s, 3)
	send(t, b, hello("three"), up("192.0.2.1", 64501))
	out.waits(t, "edge3 127.0.0.3", append(second, "peer-down of 192.0.2.1 AS64501 reason 5", "initiation", "peer-up of 192.0.2.1 AS64501")...)

	stop() // nothing has happened to the routers
	if got := out.of("edge2 127.0.0.2"); !slices.Equal(got, first) {
		t.Errorf("stopping says %q", got[len(first):])
	}
	closed(t, a)
	closed(t, b)
}

// A router that starts again before its old connection is gone: the old peers go down
// before the new ones come up.
func TestSecondCall(t *testing.T) {
	t.Parallel()
	out := &sink{}
	s, _ := run(t, station.Config{}, out)
	a := call(t, s, 2)
	send(t, a, hello("two"), up("192.0.2.1", 64501))
	out.waits(t, "edge2 127.0.0.2", "initiation", "peer-up of 192.0.2.1 AS64501")
	b := call(t, s, 2)
	send(t, b, hello("two"), up("192.0.2.2", 64502))
	out.waits(t, "edge2 127.0.0.2", "initiation", "peer-up of 192.0.2.1 AS64501", "peer-down of 192.0.2.1 AS64501 reason 5", "initiation", "peer-up of 192.0.2.2 AS64502")
	closed(t, a)
	if st := status(s, "edge2"); !st.Connected || st.Replaced != 1 {
		t.Errorf("%+v", st)
	}
}

// Who isn't configured, or is one too many, isn't let in; and it is seen that they tried.
func TestRefused(t *testing.T) {
	t.Parallel()
	s, _ := run(t, station.Config{Connections: 1}, &sink{})
	closed(t, call(t, s, 77))
	closed(t, call(t, s, 77))
	a := call(t, s, 2)
	send(t, a, hello("two"))
	eventually(t, "it is in", func() error {
		if !status(s, "edge2").Connected {
			return errors.New("it isn't")
		}
		return nil
	})
	closed(t, call(t, s, 3))
	list, _ := s.Refused()
	if len(list) != 2 || list[0].Address != netip.MustParseAddr("127.0.0.77") || list[0].Count != 2 || list[0].Why != station.Stranger || list[1].Why != station.Full {
		t.Errorf("%+v", list)
	}
	_ = a.Close()
	eventually(t, "there is room again", func() error {
		if status(s, "edge2").Connected {
			return errors.New("it is still there")
		}
		return nil
	})
	b := call(t, s, 3)
	send(t, b, hello("three"))
	eventually(t, "the next is in", func() error {
		if !status(s, "edge3").Connected {
			return errors.New("it isn't")
		}
		return nil
	})
}

// Hostile and broken ones end alone; others don't notice.
func TestTrouble(t *testing.T) {
	t.Parallel()
	out := &sink{}
	s, _ := run(t, station.Config{Hello: time.Second}, out)
	good := call(t, s, 9)
	send(t, good, hello("nine"), up("192.0.2.1", 64501))
	for i, c := range []struct {
		name string
		b    []byte
	}{
		{"nothing at all", nil},
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n")},
		{"a length bomb", []byte{3, 0xff, 0xff, 0xff, 0xff, 0}},
		{"shorter than a header", []byte{3, 0, 0, 0, 5, 0}},
		{"half a message", slices.Concat(hello("x"), up("192.0.2.1", 64501)[:60])},
		{"version 1", []byte{1, 0, 0, 0, 6, 4}},
		{"an end", slices.Concat(hello("x"), message(bmp.Termination, tlv(bmp.EndString, "bye"), tlv(bmp.EndReason, "\x00\x02")), hello("after the end"))},
	} {
		conn := call(t, s, byte(2+i))
		send(t, conn, c.b)
		closed(t, conn)
		feed := fmt.Sprint("edge", 2+i)
		eventually(t, c.name+" is told", func() error {
			if st := status(s, feed); st.Connected || st.Ended == nil || st.Ended.EN == "" || st.Ended.JA == "" {
				return fmt.Errorf("%+v", st)
			}
			return nil
		})
		if c.name == "an end" {
			if st := status(s, feed); st.Ended.EN != "the router ended it: out of resources" || st.Name != "x" {
				t.Errorf("%+v, %q", st, st.Ended)
			}
		}
	}
	// A body that is too short is counted, and the next message read.
	send(t, good, message(bmp.RouteMonitoring, []byte{0}), message(bmp.PeerUp, of("192.0.2.2", 1), []byte{1}), update("192.0.2.1", 64501))
	out.waits(t, "edge9 127.0.0.9", "initiation", "peer-up of 192.0.2.1 AS64501", "peer-up of 192.0.2.2 AS1", "route-monitoring of 192.0.2.1 AS64501")
	if st := status(s, "edge9"); st.Malformed != 2 || !st.Connected {
		t.Errorf("%+v", st)
	}
}

// A message may have a megabyte, and no more is held of a router while the sink is busy.
func TestLongMessage(t *testing.T) {
	t.Parallel()
	out := &sink{}
	s, _ := run(t, station.Config{}, out)
	conn := call(t, s, 2)
	long := message(bmp.RouteMirroring, of("192.0.2.1", 64501), make([]byte, bmp.MaxMessage-48))
	send(t, conn, hello("two"), long, long[:100])
	send(t, conn, long[100:])
	out.waits(t, "edge2 127.0.0.2", "initiation", "route-mirroring of 192.0.2.1 AS64501", "route-mirroring of 192.0.2.1 AS64501")
	out.mu.Lock()
	defer out.mu.Unlock()
	if !slices.Equal(out.raw["edge2 127.0.0.2"][2], long) {
		t.Error("it was changed on the way")
	}
}

// busy is a sink that takes its time over each peer that comes up.
type busy struct {
	sink
	wait time.Duration
}

func (b *busy) BMP(feed string, router netip.Addr, msg []byte, at time.Time) {
	b.sink.BMP(feed, router, msg, at)
	if msg[5] == byte(bmp.PeerUp) {
		time.Sleep(b.wait)
	}
}

// How long the sink is busy isn't counted against a router whose next message is half there.
func TestBusySink(t *testing.T) {
	t.Parallel()
	out := &busy{wait: 2 * time.Second}
	s, _ := run(t, station.Config{Hello: time.Second}, out)
	conn := call(t, s, 2)
	next := up("192.0.2.2", 64502)
	send(t, conn, hello("two"), up("192.0.2.1", 64501), next[:20])
	time.Sleep(2200 * time.Millisecond)
	send(t, conn, next[20:])
	out.waits(t, "edge2 127.0.0.2", "initiation", "peer-up of 192.0.2.1 AS64501", "peer-up of 192.0.2.2 AS64502")
}

func TestConfig(t *testing.T) {
	at, net4 := netip.MustParseAddrPort("127.0.0.1:0"), []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for name, c := range map[string]station.Config{
		"nowhere": {Routers: []station.Router{{Feed: "a", Address: net4}}},
		"nobody":  {Listen: at},
		"no name": {Listen: at, Routers: []station.Router{{Address: net4}}},
		"whence":  {Listen: at, Routers: []station.Router{{Feed: "a"}}},
		"two":     {Listen: at, Routers: []station.Router{{Feed: "a", Address: net4}, {Feed: "b", Address: net4}}},
	} {
		if _, err := station.New(c, &sink{}, clock.System{}, slog.New(slog.DiscardHandler)); !errors.Is(err, station.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// nobody takes messages as fast as they come.
type nobody struct{ n chan int }

func (n nobody) BMP(_ string, _ netip.Addr, msg []byte, _ time.Time) { n.n <- len(msg) }

// Reading, cutting and handing on, by loopback.
func BenchmarkMessages(b *testing.B) {
	to := nobody{make(chan int, 1024)}
	s, err := station.New(station.Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Routers: []station.Router{{Feed: "a", Address: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}}, to, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- s.Run(ctx, func() { close(ready) }) }()
	<-ready
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	one := slices.Repeat(slices.Concat(update("192.0.2.1", 64501), update("192.0.2.2", 64502)), 256)
	go func() {
		for {
			if _, err := conn.Write(one); err != nil {
				return
			}
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		<-to.n
	}
	b.StopTimer()
	_ = conn.Close()
	go func() {
		for range to.n {
		}
	}()
	cancel()
	<-done
}
