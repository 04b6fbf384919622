package session_test

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/daemon"
	"sakimori/base/wire/bmp"
	"sakimori/observe/route/session"
)

// busy is a sink that takes its time over the first UPDATE.
type busy struct {
	sink
	once sync.Once
	wait time.Duration
}

func (b *busy) BMP(feed string, router netip.Addr, msg []byte, at time.Time) {
	b.sink.BMP(feed, router, msg, at)
	if msg[5] == byte(bmp.RouteMonitoring) {
		b.once.Do(func() { time.Sleep(b.wait) })
	}
}

// A sink that is busy for longer than the hold time isn't the neighbour's silence: it hears
// from us meanwhile, and what it has sent is taken then.
func TestBusySink(t *testing.T) {
	t.Parallel()
	list := neighbors(1)
	list[0].Hold = 3 * time.Second
	out := &busy{sink: sink{t: t}, wait: 4 * time.Second}
	l, _ := run(t, session.Config{Neighbors: list}, out)
	p := dial(t, l, list[0].Address)
	p.establish(opening(4, 64501, 3, someID, as4...))
	route := func(third byte) []byte {
		return msg(2, 0, 0, 0, 20, 0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0, 0xfb, 0xf5, 0x40, 3, 4, 192, 0, 2, 7, 24, 10, 0, third)
	}
	p.send(route(1))
	end := clock.System{}.Now().Add(5 * time.Second)
	for i := byte(2); (clock.System{}).Now().Before(end); i++ {
		if i == 2 {
			p.send(route(2))
		}
		p.send(alive)
		time.Sleep(500 * time.Millisecond)
	}
	out.waits(t, "n0", "10.0.1.0/24 [64501]", "10.0.2.0/24 [64501]")
	out.happens(t, "n0", fmt.Sprintf("up AS64501 %s id 192.0.2.7", list[0].Address))
	heard := 0
	_ = p.conn.SetReadDeadline(clock.System{}.Now().Add(time.Millisecond))
	b := make([]byte, 4096)
	n, _ := p.conn.Read(b)
	for b = append(p.buf, b[:n]...); len(b) >= 19; b = b[19:] {
		heard++
	}
	if heard < 4 {
		t.Errorf("it has heard of us %d times in 5 s", heard)
	}
}

// Who announces too much is kept out for a while.
func TestLimit(t *testing.T) {
	t.Parallel()
	list := neighbors(1)
	list[0].Routes = 10
	var held atomic.Int64
	out := &sink{t: t}
	l, _ := run(t, session.Config{Neighbors: list, Pause: 1500 * time.Millisecond, Held: func(string) int { return int(held.Load()) }}, out)
	p := dial(t, l, list[0].Address)
	p.establish(hello)
	out.happens(t, "n0", fmt.Sprintf("up AS64501 %s id 192.0.2.7", list[0].Address))
	held.Store(11)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if _, err := p.conn.Write(alive); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	if got := p.notified(); got != "6/1" {
		t.Errorf("it ends with %q", got)
	}
	<-done
	out.happens(t, "n0", fmt.Sprintf("up AS64501 %s id 192.0.2.7", list[0].Address), "down 1")
	if st := l.Neighbors()[0]; st.State != session.Held {
		t.Errorf("%+v", st)
	}
	if got := dial(t, l, list[0].Address).notified(); got != "6/4" {
		t.Errorf("too early it ends with %q", got)
	}
	held.Store(0)
	daemon.Await(t, 5*time.Second, "it may come back", func() error {
		if st := l.Neighbors()[0]; st.State != session.Waiting {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
	dial(t, l, list[0].Address).establish(hello)
}

// A neighbour without the password gets no connection; IPv6 works.
func TestPassword(t *testing.T) {
	t.Parallel()
	list := []session.Neighbor{
		{Feed: "four", Address: daemon.Loopback(41), AS: 64501, PasswordFile: secret(t, "word")},
		{Feed: "six", Address: netip.MustParseAddr("::1"), AS: 64501},
	}
	out := &sink{t: t}
	l, _ := run(t, session.Config{Listen: netip.MustParseAddrPort("[::]:0"), Neighbors: list}, out)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: list[0].Address.AsSlice()}, Timeout: 700 * time.Millisecond}
	if c, err := d.DialContext(t.Context(), "tcp4", fmt.Sprintf("127.0.0.1:%d", l.Addr().Port())); err == nil {
		_ = c.Close()
		t.Error("it is let in without a password")
	}
	c, err := net.Dial("tcp6", fmt.Sprintf("[::1]:%d", l.Addr().Port()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	p := &peer{t: t, conn: c}
	p.establish(hello)
	out.happens(t, "six", "up AS64501 ::1 id 192.0.2.7")
}
