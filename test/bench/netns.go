//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// netns is a network namespace of its own: a thread that stays in it and does
// what it is told. It goes away with close. Only root may make one.
type netns struct {
	todo chan func()
	tid  int
}

func newNetns() (*netns, error) {
	n := &netns{todo: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		n.tid = unix.Gettid()
		err := unix.Unshare(unix.CLONE_NEWNET)
		ready <- err
		if err != nil {
			return
		}
		for f := range n.todo {
			f()
		}
	}()
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("network namespace: %w", err)
	}
	return n, nil
}

// do runs f in the namespace, and waits. What f starts stays in it.
func (n *netns) do(f func()) {
	done := make(chan struct{})
	n.todo <- func() { defer close(done); f() }
	<-done
}

func (n *netns) close() { close(n.todo) }

// ip runs the ip command in the namespace.
func (n *netns) ip(ctx context.Context, args ...string) (err error) {
	n.do(func() {
		var out []byte
		if out, err = exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
			err = fmt.Errorf("ip %s: %w %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
		}
	})
	return err
}

// wire is a veth pair between two namespaces: what goes into tx comes out of rx.
// Neither has an address, so nobody answers and nothing leaves.
type wire struct{ from, to *netns }

func newWire(ctx context.Context) (w *wire, err error) {
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, errors.New("ip is not installed (apt-get install iproute2)")
	}
	w = &wire{}
	if w.from, err = newNetns(); err != nil {
		return nil, err
	}
	if w.to, err = newNetns(); err != nil {
		w.from.close()
		return nil, err
	}
	for _, err := range []error{
		w.to.ip(ctx, "link", "add", "rx", "type", "veth", "peer", "name", "tx"),
		w.to.ip(ctx, "link", "set", "dev", "tx", "netns", strconv.Itoa(w.from.tid)),
	} {
		if err != nil {
			w.close()
			return nil, err
		}
	}
	for _, end := range []struct {
		ns   *netns
		name string
	}{{w.to, "rx"}, {w.from, "tx"}} {
		err := errors.Join(
			end.ns.ip(ctx, "link", "set", "dev", "lo", "up"),
			end.ns.ip(ctx, "link", "set", "dev", end.name, "addrgenmode", "none"), // no neighbour discovery among the packets
			end.ns.ip(ctx, "link", "set", "dev", end.name, "up"),
		)
		if err != nil {
			w.close()
			return nil, err
		}
	}
	return w, nil
}

func (w *wire) close() {
	w.from.close()
	w.to.close()
}

// arrived are the packets that came out of the wire, and those that the kernel
// dropped before anybody could look at them.
func (w *wire) arrived() (packets, dropped uint64) {
	w.to.do(func() {
		for line := range strings.Lines(text("/proc/thread-self/net/dev")) {
			name, figures, ok := strings.Cut(line, ":")
			f := strings.Fields(figures)
			if ok && strings.TrimSpace(name) == "rx" && len(f) > 3 {
				packets, _ = strconv.ParseUint(f[1], 10, 64)
				dropped, _ = strconv.ParseUint(f[3], 10, 64)
			}
		}
	})
	return packets, dropped
}

// client speaks HTTP inside the namespace.
func (n *netns) client() *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (c net.Conn, err error) {
			n.do(func() { c, err = (&net.Dialer{}).DialContext(ctx, network, address) })
			return c, err
		},
	}}
}
