package session_test

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
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/daemon"
	"sakimori/base/wire/bgp"
	"sakimori/base/wire/bmp"
	"sakimori/observe/route/session"
)

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "16") // they wait for peers rather than work
	os.Exit(m.Run())
}

const ours = 64500

var us = netip.MustParseAddr("127.0.0.1")

// sink reads what is handed on as whoever keeps routes does.
type sink struct {
	t  *testing.T
	mu sync.Mutex
	at map[string]*told
}

// told is what one feed has told.
type told struct {
	events []string          // "up AS64501", "down 3"
	routes map[string]string // prefix and ID → AS path, communities, OTC
	form   bgp.Options
	raw    [][]byte // UPDATEs
	heard  int
	as2    bool
}

func (s *sink) of(feed string) *told {
	if s.at == nil {
		s.at = map[string]*told{}
	}
	if s.at[feed] == nil {
		s.at[feed] = &told{routes: map[string]string{}}
	}
	return s.at[feed]
}

func (s *sink) Heard(feed string, _ time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of(feed).heard++
}

func (s *sink) BMP(feed string, _ netip.Addr, msg []byte, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.of(feed)
	var m bmp.Message
	var p bmp.Peer
	if n, err := bmp.Cut(msg, &m); err != nil || n != len(msg) {
		s.t.Errorf("%s: %d of %d bytes: %v", feed, n, len(msg), err)
		return
	}
	rest, err := m.Peer(&p)
	if err != nil || p.Post || p.Out || p.At/1000 != at.UnixNano()/1000 {
		s.t.Errorf("%s: %+v, %v", feed, p, err)
		return
	}
	switch m.Type {
	case bmp.PeerUp:
		var up bmp.Up
		var sent, received bgp.Open
		if err := p.Up(rest, &up); err != nil || sent.Parse(up.Sent.Body) != nil || received.Parse(up.Received.Body) != nil {
			s.t.Errorf("%s: %v", feed, err)
			return
		}
		f.form, f.as2 = bgp.Agreed(&received, &sent), p.AS2
		f.events = append(f.events, fmt.Sprintf("up AS%d %s id %s", p.AS, p.Address, p.BGPID))
	case bmp.PeerDown:
		var d bmp.Down
		if err := bmp.ParseDown(rest, &d); err != nil {
			s.t.Errorf("%s: %v", feed, err)
		}
		f.events = append(f.events, fmt.Sprintf("down %d", d.Reason))
		clear(f.routes)
	case bmp.RouteMonitoring:
		var u bgp.Message
		if err := bmp.Monitored(rest, &u); err != nil {
			s.t.Errorf("%s: %v", feed, err)
			return
		}
		f.raw = append(f.raw, slices.Clone(u.Raw))
		f.update(&u)
	default:
		s.t.Errorf("%s: a message of type %s", feed, m.Type)
	}
}

func (f *told) update(m *bgp.Message) {
	var u bgp.Update
	var path bgp.Path
	u.Parse(m.Body, f.form)
	if u.Fault != bgp.Sound {
		f.events = append(f.events, fmt.Sprintf("%s: %v: %x", u.Fault, u.Err, m.Raw))
	}
	u.Path(&path)
	words := fmt.Sprint(path.ASes)
	for b := u.Communities; len(b) >= 4; b = b[4:] {
		words += fmt.Sprintf(" %d:%d", binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:]))
	}
	if u.Has.Has(bgp.AttrOnlyToCustomers) {
		words += fmt.Sprintf(" otc %d", u.OTC)
	}
	var p bgp.Prefix
	for _, b := range u.Announced() {
		for b.Next(&p) {
			f.routes[key(&p)] = words
		}
	}
	for _, b := range u.Withdrawn() {
		for b.Next(&p) {
			delete(f.routes, key(&p))
		}
	}
}

func key(p *bgp.Prefix) string {
	if p.ID > 0 {
		return fmt.Sprintf("%s#%d", p.Netip(), p.ID)
	}
	return p.Netip().String()
}

// waits until a feed has just these routes.
func (s *sink) waits(t *testing.T, feed string, want ...string) {
	t.Helper()
	daemon.Await(t, 20*time.Second, feed+" has told its routes", func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		var got []string
		for p, w := range s.of(feed).routes {
			got = append(got, p+" "+w)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("%q, want %q", got, want)
		}
		return nil
	})
}

func (s *sink) events(feed string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.of(feed).events)
}

func (s *sink) happens(t *testing.T, feed string, want ...string) {
	t.Helper()
	daemon.Await(t, 15*time.Second, feed+" goes up and down", func() error {
		if got := s.events(feed); !slices.Equal(got, want) {
			return fmt.Errorf("%q, want %q", got, want)
		}
		return nil
	})
}

// run takes sessions until the test ends, or stop is called.
func run(t *testing.T, c session.Config, to session.Sink) (l *session.Listener, stop func()) {
	t.Helper()
	c.AS, c.RouterID = ours, netip.MustParseAddr("192.0.2.100")
	if !c.Listen.IsValid() {
		c.Listen = netip.AddrPortFrom(us, 0)
	}
	l, err := session.New(c, to, clock.System{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- l.Run(ctx, func() { close(ready) }) }()
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
	return l, stop
}

// secret writes a password to a file.
func secret(t *testing.T, word string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(word+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// peer is a neighbour that the test plays itself.
type peer struct {
	t    *testing.T
	conn net.Conn
	buf  []byte
}

func dial(t *testing.T, l *session.Listener, from netip.Addr) *peer {
	t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: 3 * time.Second}
	conn, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &peer{t: t, conn: conn}
}

func msg(kind byte, body ...byte) []byte {
	b := slices.Repeat([]byte{0xff}, 16)
	b = binary.BigEndian.AppendUint16(b, uint16(19+len(body)))
	return append(append(b, kind), body...)
}

// opening is an OPEN of AS 64501.
func opening(version byte, as uint16, hold uint16, id [4]byte, caps ...byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{version}, as)
	b = binary.BigEndian.AppendUint16(b, hold)
	b = append(b, id[:]...)
	if len(caps) == 0 {
		return msg(1, append(b, 0)...)
	}
	return msg(1, append(append(b, byte(2+len(caps)), 2, byte(len(caps))), caps...)...)
}

var (
	someID = [4]byte{192, 0, 2, 7}
	as4    = []byte{65, 4, 0, 0, 0xfb, 0xf5}
	hello  = opening(4, 64501, 90, someID, as4...)
	alive  = msg(4)
)

func (p *peer) send(parts ...[]byte) {
	p.t.Helper()
	if _, err := p.conn.Write(slices.Concat(parts...)); err != nil {
		p.t.Fatal(err)
	}
}

// next is the next message from us; nil: the connection is at its end.
func (p *peer) next() *bgp.Message {
	p.t.Helper()
	for {
		var m bgp.Message
		n, err := bgp.Cut(p.buf, bgp.MaxExtended, &m)
		if err == nil {
			p.buf = p.buf[n:]
			return &m
		}
		if !errors.Is(err, bgp.ErrShort) {
			p.t.Fatal(err)
		}
		b := make([]byte, 4096)
		_ = p.conn.SetReadDeadline(clock.System{}.Now().Add(10 * time.Second))
		got, err := p.conn.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			p.t.Fatal("nothing comes, and nothing ends")
		}
		if got == 0 {
			return nil
		}
		p.buf = append(p.buf, b[:got]...)
	}
}

// establish plays the neighbour until the session is up, and gives our OPEN.
func (p *peer) establish(open []byte) bgp.Open {
	p.t.Helper()
	p.send(open)
	m := p.next()
	var o bgp.Open
	if m == nil || m.Type != bgp.TypeOpen || o.Parse(m.Body) != nil {
		p.t.Fatalf("no OPEN: %+v", m)
	}
	if m := p.next(); m == nil || m.Type != bgp.TypeKeepalive {
		p.t.Fatalf("no KEEPALIVE: %+v", m)
	}
	p.send(alive)
	return o
}

// notified is the NOTIFICATION that ends it, as "6/2"; "" without one.
func (p *peer) notified() string {
	for {
		m := p.next()
		switch {
		case m == nil:
			return ""
		case m.Type == bgp.TypeNotification:
			return fmt.Sprintf("%d/%d", m.Body[0], m.Body[1])
		}
	}
}

// neighbors are 127.0.0.x of AS 64501, each with its own name.
func neighbors(n int) (list []session.Neighbor) {
	for i := range n {
		list = append(list, session.Neighbor{Feed: fmt.Sprint("n", i), Address: daemon.Loopback(uint8(31 + i)), AS: 64501})
	}
	return list
}

// Whatever a neighbour does wrong ends its own session, with the notification that the RFC
// has for it, and without routes.
func TestFaults(t *testing.T) {
	t.Parallel()
	update := msg(2, 0, 0, 0, 0)
	cases := []struct {
		name string
		say  []byte
		want string
		up   bool // it was before
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"), "1/2", false},
		{"a length bomb", append(slices.Repeat([]byte{0xff}, 16), 0, 3, 2), "1/2", false},
		{"version 3", opening(3, 64501, 90, someID), "2/1", false},
		{"another AS", opening(4, 64502, 90, someID, 65, 4, 0, 0, 0xfb, 0xf6), "2/2", false},
		{"our router id", opening(4, 64501, 90, [4]byte{192, 0, 2, 100}), "2/3", false},
		{"no router id", opening(4, 64501, 90, [4]byte{}), "2/3", false},
		{"a hold time of 2", opening(4, 64501, 2, someID), "2/6", false},
		{"a role that doesn't fit", opening(4, 64501, 90, someID, 65, 4, 0, 0, 0xfb, 0xf5, 9, 1, 3), "2/11", false},
		{"half an OPEN", msg(1, 4, 0xfb), "2/0", false},
		{"a keepalive first", alive, "5/0", false},
		{"an update first", slices.Concat(hello, update), "5/0", false},
		{"OPEN twice", slices.Concat(hello, hello), "5/0", false},
		{"a type that isn't", slices.Concat(hello, alive, msg(77)), "1/3", true},
		{"a notification", slices.Concat(hello, alive, update, msg(3, 6, 2, 3, 'b', 'y', 'e')), "", true},
		{"the end", slices.Concat(hello, alive, update), "", true},
	}
	list := neighbors(len(cases))
	for i := range list {
		list[i].Role = "customer"
	}
	out := &sink{t: t}
	l, _ := run(t, session.Config{Neighbors: list}, out)
	for i, c := range cases {
		p := dial(t, l, list[i].Address)
		p.send(c.say)
		if c.name == "the end" {
			out.happens(t, list[i].Feed, fmt.Sprintf("up AS64501 %s id 192.0.2.7", list[i].Address))
			_ = p.conn.(*net.TCPConn).CloseWrite()
		}
		if got := p.notified(); got != c.want {
			t.Errorf("%s: notified %q, want %q", c.name, got, c.want)
		}
		var want []string
		if c.up {
			want = []string{fmt.Sprintf("up AS64501 %s id 192.0.2.7", list[i].Address), map[string]string{"a type that isn't": "down 1", "a notification": "down 3", "the end": "down 4"}[c.name]}
		}
		out.happens(t, list[i].Feed, want...)
		daemon.Await(t, 5*time.Second, "the reason is told", func() error {
			if st := l.Neighbors()[i]; st.State != session.Waiting || st.Error == nil || st.Error.JA == "" || st.Error.EN == "" {
				return fmt.Errorf("%+v", st)
			}
			return nil
		})
	}
}

// Two-byte neighbours, roles, one session at a time, strangers, and the end on our side.
func TestSession(t *testing.T) {
	t.Parallel()
	list := neighbors(3)
	list[0].Role, list[0].AddPath, list[0].LocalAS = "provider", true, 4200000000
	list[1].Only, list[1].Hold = "ipv6", 3*time.Second
	out := &sink{t: t}
	l, stop := run(t, session.Config{Neighbors: list}, out)

	p := dial(t, l, list[0].Address)
	o := p.establish(opening(4, 64501, 30, someID, 9, 1, 3)) // which knows no numbers of four bytes
	if o.AS != 4200000000 || !o.AS4 || !o.HasRole || o.Role != bgp.Provider || !o.Receive.Has(bgp.IPv4Unicast) || !o.Receive.Has(bgp.IPv6Unicast) || o.Send != 0 || o.HoldTime != 90 || o.Restart {
		t.Errorf("we say %+v", o)
	}
	p.send(msg(2, 0, 0, 0, 18, 0x40, 1, 1, 0, 0x40, 2, 4, 2, 1, 0xfb, 0xf5, 0x40, 3, 4, 192, 0, 2, 7, 24, 198, 51, 100))
	out.waits(t, "n0", "198.51.100.0/24 [64501]")
	out.mu.Lock()
	if !out.at["n0"].as2 {
		t.Error("that the paths have two bytes isn't told")
	}
	out.mu.Unlock()
	if st := l.Neighbors()[0]; st.Role != "customer" || st.State != session.Established || st.Updates != 1 {
		t.Errorf("%+v", st)
	}
	if got := dial(t, l, list[0].Address).notified(); got != "6/7" {
		t.Errorf("a second session ends with %q", got)
	}
	if st := l.Neighbors()[0]; st.Collisions != 1 || st.State != session.Established {
		t.Errorf("%+v", st)
	}

	q := dial(t, l, list[1].Address) // it says nothing more
	if o := q.establish(hello); !o.Families.Has(bgp.IPv6Unicast) || o.Families.Has(bgp.IPv4Unicast) || o.HoldTime != 3 {
		t.Errorf("we say %+v", o)
	}
	begin := clock.System{}.Now()
	if got := q.notified(); got != "4/0" {
		t.Errorf("silence ends with %q", got)
	}
	if took := (clock.System{}).Now().Sub(begin); took < 2*time.Second {
		t.Errorf("after %s", took)
	}
	out.happens(t, "n1", fmt.Sprintf("up AS64501 %s id 192.0.2.7", list[1].Address), "down 1")

	r := dial(t, l, list[2].Address)
	r.establish(opening(4, 64501, 0, someID, as4...)) // for ever
	out.happens(t, "n2", fmt.Sprintf("up AS64501 %s id 192.0.2.7", list[2].Address))

	stranger := dial(t, l, daemon.Loopback(99))
	if stranger.next() != nil {
		t.Error("a stranger is spoken to")
	}
	if list, _ := l.Refused(); len(list) != 1 || list[0].Address != daemon.Loopback(99) || list[0].Count != 1 {
		t.Errorf("%+v", list)
	}

	stop() // nothing has happened to the neighbours
	if got := p.notified(); got != "6/2" {
		t.Errorf("we end with %q", got)
	}
	if got := r.notified(); got != "6/2" {
		t.Errorf("we end with %q", got)
	}
	out.happens(t, "n0", fmt.Sprintf("up AS64501 %s id 192.0.2.7", list[0].Address))
}

func TestConfig(t *testing.T) {
	one := neighbors(1)
	with := func(f func(*session.Config)) session.Config {
		c := session.Config{AS: ours, RouterID: netip.MustParseAddr("192.0.2.1"), Listen: netip.MustParseAddrPort("127.0.0.1:179"), Neighbors: slices.Clone(one)}
		f(&c)
		return c
	}
	for name, c := range map[string]session.Config{
		"AS":        with(func(c *session.Config) { c.AS = 0 }),
		"router id": with(func(c *session.Config) { c.RouterID = netip.IPv6Loopback() }),
		"listen":    with(func(c *session.Config) { c.Listen = netip.AddrPort{} }),
		"nobody":    with(func(c *session.Config) { c.Neighbors = nil }),
		"no AS":     with(func(c *session.Config) { c.Neighbors[0].AS = 0 }),
		"twice":     with(func(c *session.Config) { c.Neighbors = append(c.Neighbors, c.Neighbors[0]) }),
		"six":       with(func(c *session.Config) { c.Neighbors[0].Address = netip.IPv6Loopback() }),
		"hold":      with(func(c *session.Config) { c.Neighbors[0].Hold = time.Second }),
		"only":      with(func(c *session.Config) { c.Neighbors[0].Only = "ipx" }),
		"role":      with(func(c *session.Config) { c.Neighbors[0].Role = "friend" }),
		"password":  with(func(c *session.Config) { c.Neighbors[0].PasswordFile = "/nowhere" }),
		"empty":     with(func(c *session.Config) { c.Neighbors[0].PasswordFile = secret(t, "") }),
	} {
		if _, err := session.New(c, &sink{t: t}, clock.System{}, slog.New(slog.DiscardHandler)); !errors.Is(err, session.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
