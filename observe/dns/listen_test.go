package dns_test

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sakimori/observe/dns"
)

// listen runs a listener until stop is called, which waits for its end.
func listen(t testing.TB, o *dns.Observer, cfg dns.Listen) (l *dns.Listener, stop func()) {
	t.Helper()
	l, err := o.Listen(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- l.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return l, stop
}

func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for range 1000 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not within 10 s: %s", what)
}

// TestListener: a stream that ends is told apart from one that breaks off; strangers
// are refused; a socket that a crash has left is in nobody's way.
func TestListener(t *testing.T) {
	good := frame(noon, "192.0.2.1", true, message("a.example", 0, true, ""))
	whole := stream(t, good, good, good)
	path := filepath.Join(t.TempDir(), "s")
	left, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = left.Close()
	o := observer(t, all("match"), nil)
	l, stop := listen(t, o, dns.Listen{Name: "one", Socket: path})
	if f, err := os.Stat(path); err != nil || f.Mode().Perm() != 0o660 {
		t.Error(f, err)
	}
	send := func(network, at string, b []byte) {
		t.Helper()
		c, err := net.Dial(network, at)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(b) // a stranger's may be refused
		_ = c.Close()
	}
	send("unix", path, whole)
	send("unix", path, whole[:len(whole)-12])
	until(t, "six frames and a break", func() bool { s := l.Stats(); return s.Frames == 6 && s.Broken == 1 })
	send("unix", path, nil) // to see whether somebody listens: no stream
	until(t, "a third connection", func() bool { return l.Stats().Connections == 3 })
	if s := l.Stats(); s.Broken != 1 || s.Malformed != 0 || s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := o.Listen(dns.Listen{Name: "x", Socket: path, Address: "127.0.0.1:0"}, nil); err == nil {
		t.Error("two places at once")
	}
	second, err := o.Listen(dns.Listen{Name: "two", Socket: path}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context(), nil); err == nil {
		t.Error("the socket of a listener that runs was taken from it")
	}
	stop()
	if total, _ := sums(t, o); total.Responses != 6 || total.Broken != 1 {
		t.Errorf("%+v", total)
	}
	far, _ := listen(t, o, dns.Listen{Name: "far", Address: "127.0.0.1:0", Senders: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	send("tcp", far.Address().String(), whole)
	until(t, "a stranger", func() bool { return far.Stats().Strangers == 1 })
	if s := far.Stats(); s.Frames != 0 || s.Connections != 0 {
		t.Errorf("%+v", s)
	}
	near, _ := listen(t, o, dns.Listen{Name: "near", Address: "127.0.0.1:0"})
	send("tcp", near.Address().String(), whole)
	until(t, "three frames", func() bool { return near.Stats().Frames == 3 })
}
