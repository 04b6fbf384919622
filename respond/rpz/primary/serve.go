package primary

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/dns"
)

// listening are the open sockets.
type listening struct {
	mu     sync.Mutex
	plain  []netip.AddrPort
	secure []netip.AddrPort
	open   map[net.Conn]bool
	count  map[netip.Addr]int
	alien  int // connections of strangers
}

// Addrs are where it listens, once it is ready: by UDP and TCP, and by TLS.
func (s *Server) Addrs() (plain, secure []netip.AddrPort) {
	s.places.mu.Lock()
	defer s.places.mu.Unlock()
	return slices.Clone(s.places.plain), slices.Clone(s.places.secure)
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context, ready func()) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	var closers []func() error
	defer func() {
		cancel()
		for _, c := range closers {
			_ = c() // they are closed to end those who wait on them
		}
		s.places.mu.Lock()
		for c := range s.places.open {
			_ = c.Close() // the same
		}
		s.places.mu.Unlock()
		all.Wait()
	}()
	s.places.mu.Lock()
	s.places.open, s.places.plain, s.places.secure = map[net.Conn]bool{}, nil, nil
	s.places.mu.Unlock()
	var lc net.ListenConfig
	accept := func(l net.Listener, secure bool) {
		closers = append(closers, l.Close)
		all.Go(func() { s.accept(ctx, l, secure, &all) })
	}
	for _, a := range s.cfg.Listen {
		l, u, err := both(ctx, &lc, a)
		if err != nil {
			return fmt.Errorf("listen %s: %w", a, err)
		}
		s.listens(&s.places.plain, l)
		accept(l, false)
		closers = append(closers, u.Close)
		all.Go(func() { s.datagrams(u.(*net.UDPConn)) })
	}
	for _, a := range s.cfg.TLS { // by UDP the SOA alone: see whoAsks
		l, u, err := both(ctx, &lc, a)
		if err != nil {
			return fmt.Errorf("listen %s by TLS: %w", a, err)
		}
		s.listens(&s.places.secure, l)
		accept(l, true)
		closers = append(closers, u.Close)
		all.Go(func() { s.datagrams(u.(*net.UDPConn)) })
	}
	s.notifyAll(ctx, &all)
	ready()
	<-ctx.Done()
	return nil
}

func (s *Server) listens(list *[]netip.AddrPort, l net.Listener) {
	s.places.mu.Lock()
	defer s.places.mu.Unlock()
	*list = append(*list, addrPort(l.Addr()))
}

// both opens TCP and UDP on one port; port 0: on any that is free for both.
func both(ctx context.Context, lc *net.ListenConfig, a netip.AddrPort) (l net.Listener, u net.PacketConn, err error) {
	for range 20 {
		if l, err = lc.Listen(ctx, "tcp", a.String()); err != nil {
			return nil, nil, err
		}
		if u, err = lc.ListenPacket(ctx, "udp", l.Addr().String()); err == nil {
			return l, u, nil
		}
		err = errors.Join(err, l.Close())
		if a.Port() != 0 {
			break
		}
	}
	return nil, nil, err
}

func addrPort(a net.Addr) netip.AddrPort {
	p, _ := netip.ParseAddrPort(a.String())
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}

// known tells whether an address is a peer's.
func (s *Server) known(a netip.Addr) bool {
	return slices.ContainsFunc(s.peers, func(p *peer) bool { return p.has(a) })
}

// datagrams answers by UDP.
func (s *Server) datagrams(u *net.UDPConn) {
	buf, out := make([]byte, 4096), make([]byte, 0, 1024)
	for {
		n, addr, err := u.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // of one that was told of a port that is closed, for example
			continue
		}
		from := source{addr: addr.Addr().Unmap(), udp: true}
		if !s.known(from.addr) && !s.bound.take(s.cfg.Clock.Now()) {
			s.Counters.Dropped.Add(1)
			continue
		}
		r, no, drop := s.read(buf[:n], from)
		if drop {
			continue
		}
		if answer, ok := s.short(out, r, no, from); ok {
			_, _ = u.WriteToUDPAddrPort(answer, addr) // they ask again
		}
	}
}

// bucket bounds answers to strangers.
type bucket struct {
	mu   sync.Mutex
	rate int
	left int
	at   time.Time
}

func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.at) >= time.Second {
		b.at, b.left = now, b.rate
	}
	b.left--
	return b.left >= 0
}

// accept takes connections, as many as are bounded.
func (s *Server) accept(ctx context.Context, l net.Listener, secure bool, all *sync.WaitGroup) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			if err == nil {
				_ = conn.Close() // nobody is left to talk to it
			}
			return
		}
		if err != nil { // too many files, for example: it passes
			select {
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond): //nolint:forbidigo // a span of the machine
			}
			continue
		}
		addr := addrPort(conn.RemoteAddr()).Addr()
		alien := !s.known(addr)
		if !s.enter(ctx, conn, addr, alien) {
			s.Counters.TurnedAway.Add(1)
			_ = conn.Close() // that is what turning away is
			continue
		}
		s.Counters.Connections.Add(1)
		all.Go(func() {
			defer s.leave(conn, addr, alien)
			s.talk(ctx, conn, addr, secure)
		})
	}
}

func (s *Server) enter(ctx context.Context, c net.Conn, a netip.Addr, alien bool) bool {
	p := &s.places
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() != nil || len(p.open) >= s.cfg.Limits.Connections || p.count[a] >= s.cfg.Limits.PerAddress || alien && p.alien >= s.cfg.Limits.Strangers {
		return false
	}
	p.open[c] = true
	p.count[a]++
	if alien {
		p.alien++
	}
	return true
}

func (s *Server) leave(c net.Conn, a netip.Addr, alien bool) {
	p := &s.places
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
	if p.count[a]--; p.count[a] == 0 {
		delete(p.count, a)
	}
	if alien {
		p.alien--
	}
	_ = c.Close() // it is over
}

// talk answers the requests of a connection, one after the other.
func (s *Server) talk(ctx context.Context, conn net.Conn, addr netip.Addr, secure bool) {
	from := source{addr: addr}
	out := func(b *net.Buffers) error { _, err := b.WriteTo(conn); return err }
	if secure {
		t := tls.Server(conn, s.secure())
		if err := t.SetDeadline(clock.System{}.Now().Add(s.cfg.Limits.Idle)); err != nil {
			return
		}
		if err := t.HandshakeContext(ctx); err != nil {
			s.Counters.Handshake.Add(1)
			s.cfg.Log.InfoContext(ctx, "a TLS handshake failed", slog.String("from", addr.String()), slog.String("error", err.Error()))
			return
		}
		state := t.ConnectionState()
		from.tls, conn = &state, t
		w := bufio.NewWriterSize(t, 64<<10) // so that small parts share a record
		out = func(b *net.Buffers) error {
			if _, err := b.WriteTo(w); err != nil {
				return err
			}
			return w.Flush()
		}
	}
	in := bufio.NewReaderSize(conn, 512)
	var buf, answer []byte
	for {
		now := clock.System{}.Now()
		if err := conn.SetReadDeadline(now.Add(s.cfg.Limits.Idle)); err != nil {
			return
		}
		var err error
		if buf, err = dns.ReadFrame(in, buf); err != nil {
			return
		}
		r, no, drop := s.read(buf, from)
		if drop {
			return
		}
		var ok bool
		if answer, ok = s.short(answer[:0], r, no, from); ok {
			if err := conn.SetWriteDeadline(now.Add(s.cfg.Limits.Stall)); err != nil {
				return
			}
			if err := out(&net.Buffers{dns.AppendFrame(nil, answer)}); err != nil || r.peer == nil {
				return
			}
			continue
		}
		if err := s.transfer(r, conn, out); err != nil {
			return
		}
	}
}

// secure is the configuration of TLS as RFC 9103 has it.
func (s *Server) secure() *tls.Config {
	c := s.cfg.Secure.Clone()
	c.MinVersion, c.NextProtos = tls.VersionTLS13, []string{"dot"}
	return c
}
