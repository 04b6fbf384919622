package dns

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"sakimori/base/wire/dnstap"
)

// Protocol is what a listener is told in.
type Protocol string

// The protocols.
const (
	Dnstap   Protocol = "dnstap"   // frame streams: BIND, Unbound, Knot Resolver, dnsdist
	PowerDNS Protocol = "powerdns" // PowerDNS Recursor's own
)

// Listen is where resolvers report to. Name and one of Socket and Address must be set.
type Listen struct {
	Name     string
	Protocol Protocol       // "" Dnstap
	Socket   string         // path of a Unix socket
	Address  string         // "host:port", TCP
	TLS      *tls.Config    // nil: plain
	Senders  []netip.Prefix // who may connect by TCP; none: this machine alone
	Room     int            // bytes of frames that may wait; 0: DefaultRoom
}

// DefaultRoom is for some 600,000 frames: what 500,000 a second bring in the time that
// other work may have the processors. It is memory only while they wait.
const DefaultRoom = 64 << 20

// loopback is who may connect when nobody is named.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// Listener takes what resolvers report. One goroutine reads each connection, and one
// decodes for all of them. What comes while there is no room is dropped, and counted.
type Listener struct {
	cfg  Listen
	s    *Source
	log  *slog.Logger
	read func(*reading, []byte)

	queue *queue

	mu      sync.Mutex
	address net.Addr
}

// Listen makes a listener; it opens nothing yet.
func (o *Observer) Listen(cfg Listen, log *slog.Logger) (*Listener, error) {
	cfg.Protocol = cmp.Or(cfg.Protocol, Dnstap)
	if len(cfg.Senders) == 0 {
		cfg.Senders = loopback
	}
	l := &Listener{cfg: cfg, s: o.source(cfg.Name), log: log, queue: newQueue(cmp.Or(cfg.Room, DefaultRoom))}
	switch {
	case cfg.Name == "":
		return nil, errors.New("a source of dnstap has no name: give it one")
	case (cfg.Socket == "") == (cfg.Address == ""):
		return nil, fmt.Errorf("%s: name either a socket or an address", cfg.Name)
	case cfg.Socket != "" && cfg.TLS != nil:
		return nil, fmt.Errorf("%s: a socket of this machine takes no TLS", cfg.Name)
	case cfg.Protocol == Dnstap:
		l.read = (*reading).dnstap
	case cfg.Protocol == PowerDNS:
		l.read = (*reading).powerdns
	default:
		return nil, fmt.Errorf("%s: protocol %.20q: say dnstap or powerdns", cfg.Name, cfg.Protocol)
	}
	return l, nil
}

func (o *Observer) source(name string) *Source {
	return &Source{o: o, name: name, stats: SourceStats{Name: name}}
}

// Stats is what came so far.
func (l *Listener) Stats() SourceStats { return l.s.Stats() }

// Address is where it listens, once it is ready.
func (l *Listener) Address() net.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.address
}

// Run listens until ctx ends, and calls ready when it does. What was read by then is
// still counted.
func (l *Listener) Run(ctx context.Context, ready func()) error {
	ln, err := l.open(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", l.cfg.Name, err)
	}
	l.mu.Lock()
	l.address = ln.Addr()
	l.mu.Unlock()
	if ready != nil {
		ready()
	}
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() }) // it is told by ctx
	defer stop()
	var readers, decoder sync.WaitGroup
	decoder.Go(func() {
		r := l.s.reading()
		for b := l.queue.get(nil); b != nil; b = l.queue.get(b) {
			r.decode(b, l.read)
			b.reset()
		}
	})
	err = l.accept(ctx, ln, &readers)
	readers.Wait()
	l.queue.close()
	decoder.Wait()
	return err
}

// accept serves connections until ctx ends.
func (l *Listener) accept(ctx context.Context, ln net.Listener, readers *sync.WaitGroup) error {
	slots := make(chan struct{}, 256) // connections at once
	for {
		c, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = c.Close() // nothing was read
			}
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", l.cfg.Name, err)
		}
		if !l.known(c) {
			l.s.note(func(st *SourceStats) { st.Strangers++ })
			_ = c.Close() // as above
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			l.s.note(func(st *SourceStats) { st.Strangers++ })
			_ = c.Close() // as above
			continue
		}
		readers.Go(func() {
			defer func() { <-slots }()
			l.serve(ctx, c)
		})
	}
}

func (l *Listener) open(ctx context.Context) (net.Listener, error) {
	var config net.ListenConfig
	if l.cfg.Socket == "" {
		ln, err := config.Listen(ctx, "tcp", l.cfg.Address)
		if err == nil && l.cfg.TLS != nil {
			ln = tls.NewListener(ln, l.cfg.TLS)
		}
		return ln, err
	}
	// A socket that a crash has left is in the way; one that answers isn't ours to take.
	if c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", l.cfg.Socket); err == nil {
		_ = c.Close() // nothing was said
		return nil, fmt.Errorf("somebody listens at %s already", l.cfg.Socket)
	}
	if f, err := os.Lstat(l.cfg.Socket); err == nil && f.Mode().Type() == fs.ModeSocket {
		if err := os.Remove(l.cfg.Socket); err != nil {
			return nil, err
		}
	}
	ln, err := config.Listen(ctx, "unix", l.cfg.Socket)
	if err != nil {
		return nil, err
	}
	const group = 0o660 // the resolver runs as somebody else: it is let in by its group
	if err := os.Chmod(l.cfg.Socket, group); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// known tells whether whoever connects may.
func (l *Listener) known(c net.Conn) bool {
	at, is := c.RemoteAddr().(*net.TCPAddr)
	if !is {
		return true // of a socket, the file's mode says it
	}
	a := at.AddrPort().Addr().Unmap()
	return slices.ContainsFunc(l.cfg.Senders, func(p netip.Prefix) bool { return p.Contains(a) })
}

// serve reads one connection.
func (l *Listener) serve(ctx context.Context, c net.Conn) {
	l.s.note(func(st *SourceStats) { st.Connections++ })
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(time.Unix(1, 0)) }) // wakes the reader
	defer stop()
	in := &heard{in: c}
	var s stream = dnstap.NewLengths(in)
	if l.cfg.Protocol == Dnstap {
		s = dnstap.NewFrames(in, c)
	}
	err := l.pump(s)
	if err == nil || ctx.Err() != nil || in.bytes == 0 && errors.Is(err, io.ErrUnexpectedEOF) {
		return // whoever came to see whether somebody listens was telling nothing
	}
	l.s.note(func(st *SourceStats) { st.Broken++ })
	l.log.WarnContext(ctx, "a resolver's stream broke off: what was on its way is lost",
		slog.String("source", l.cfg.Name), slog.String("from", c.RemoteAddr().String()), slog.Any("error", err))
}

// heard is a connection of which is known how much was said.
type heard struct {
	in    io.Reader
	bytes int
}

// Read counts.
func (h *heard) Read(b []byte) (int, error) {
	n, err := h.in.Read(b)
	h.bytes += n
	return n, err //nolint:wrapcheck // io.Reader's own contract
}

// pump takes frames to the decoder, as many at a time as are there.
func (l *Listener) pump(s stream) error {
	b := newBlock()
	hand := func() {
		var dropped int
		if b, dropped = l.queue.put(b); dropped > 0 {
			l.s.note(func(st *SourceStats) { st.Dropped += uint64(dropped) }) //nolint:gosec // a count
		}
	}
	defer func() {
		if len(b.ends) > 0 {
			hand()
		}
	}()
	for {
		frame, err := s.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if !b.room(1, len(frame)) {
			hand()
		}
		b.add(frame)
		if !s.Buffered() {
			hand()
		}
	}
}
