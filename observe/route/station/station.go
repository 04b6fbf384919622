// Package station takes what routers tell of their BGP peers: a monitoring station of BMP
// (RFC 7854, with RFC 8671 and 9069). Routers call it; it says nothing to them.
//
// It cuts the streams into messages and hands them on whole, each router's in its order. A
// router whose connection ends is told to be unmonitored, peer by peer, with a Peer Down of
// reason 5 that the station makes itself: whoever keeps the routes decides how long they
// stay. When the station itself is stopped nothing of the kind is said, as nothing has
// happened to the routers.
//
// Nothing is dropped: while the sink is busy the router's TCP waits. Memory is bounded by
// what a connection may hold, 1 MiB for one message and as much for what comes behind it,
// and by their number.
package station

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sakimori/base/clock"
)

// Config says where routers call, and who may.
type Config struct {
	Listen  netip.AddrPort
	Routers []Router
	// Connections is how many there may be at once, of all routers; 0: 64.
	Connections int
	// Hello is how long a router has for its first message, and any for the rest of one
	// that it has begun; 0: 30 s. A router that says nothing between two is alive as long as
	// TCP says so.
	Hello time.Duration
}

// Router is one that may call, or several of one name.
type Router struct {
	Feed    string         // its name
	Address []netip.Prefix // from where it calls
}

// ErrConfig is in every error about a Config.
var ErrConfig = errors.New("the BMP station can't be set up so")

// Sink takes BMP messages: whole, with their header, each router's in its order, and of
// several routers at once from several goroutines. msg is valid during the call.
type Sink interface {
	BMP(feed string, router netip.Addr, msg []byte, at time.Time)
}

// Station takes connections. Its methods may be called from anywhere.
type Station struct {
	cfg   Config
	sink  Sink
	clock clock.Clock
	log   *slog.Logger

	mu      sync.Mutex
	at      netip.AddrPort // where it listens, once it does
	open    int            // connections
	routers map[caller]*router
	refused []Refused
	strays  uint64 // refused beyond those in the list
}

// caller is a router as we know it.
type caller struct {
	feed string
	addr netip.Addr
}

// New checks the configuration; it opens nothing yet.
func New(cfg Config, sink Sink, clk clock.Clock, log *slog.Logger) (*Station, error) {
	if !cfg.Listen.IsValid() {
		return nil, fmt.Errorf("%w: say where routers call, such as 192.0.2.1:1790", ErrConfig)
	}
	for i, r := range cfg.Routers {
		if r.Feed == "" || len(r.Address) == 0 {
			return nil, fmt.Errorf("%w: each router needs a name and an address, %q hasn't", ErrConfig, r.Feed)
		}
		for _, o := range cfg.Routers[:i] {
			for _, p := range r.Address {
				if slices.ContainsFunc(o.Address, p.Overlaps) {
					return nil, fmt.Errorf("%w: %s is of router %s and of %s", ErrConfig, p, o.Feed, r.Feed)
				}
			}
		}
	}
	if len(cfg.Routers) == 0 {
		return nil, fmt.Errorf("%w: say which routers may call", ErrConfig)
	}
	cfg.Connections, cfg.Hello = cmp.Or(cfg.Connections, 64), cmp.Or(cfg.Hello, 30*time.Second)
	return &Station{cfg: cfg, sink: sink, clock: clk, log: log, routers: map[caller]*router{}}, nil
}

// Run takes connections until ctx ends, then it closes them.
func (s *Station) Run(ctx context.Context, ready func()) error {
	l, err := (&net.ListenConfig{KeepAliveConfig: keepAlive}).Listen(ctx, "tcp", s.cfg.Listen.String())
	if err != nil {
		return fmt.Errorf("routers can't call: %w", err)
	}
	s.mu.Lock()
	s.at = l.Addr().(*net.TCPAddr).AddrPort()
	s.mu.Unlock()
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	ready()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		conn, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // too many files, for example: it passes
			s.log.LogAttrs(ctx, slog.LevelWarn, "a router's call couldn't be taken", slog.Any("err", err))
			pause(ctx, 100*time.Millisecond)
			continue
		}
		r := s.enter(conn)
		if r == nil {
			_ = conn.Close()
			continue
		}
		all.Go(func() {
			r.serve(ctx, conn)
			s.mu.Lock()
			s.open--
			s.mu.Unlock()
		})
	}
}

// keepAlive finds out within two minutes that a router is gone without a word.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 15 * time.Second, Count: 6}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Addr is where it listens, once it does.
func (s *Station) Addr() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

// enter is the router that calls, or nil: it may not, or there is no room.
func (s *Station) enter(conn net.Conn) *router {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return nil
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.cfg.Routers, func(r Router) bool {
		return slices.ContainsFunc(r.Address, func(p netip.Prefix) bool { return p.Contains(addr) })
	})
	if i < 0 {
		s.refuse(addr, Stranger)
		return nil
	}
	if s.open >= s.cfg.Connections {
		s.refuse(addr, Full)
		return nil
	}
	who := caller{s.cfg.Routers[i].Feed, addr}
	r := s.routers[who]
	if r == nil {
		if len(s.routers) >= maxRouters {
			s.refuse(addr, Full)
			return nil
		}
		r = &router{Station: s, caller: who}
		s.routers[who] = r
	}
	s.open++
	return r
}

const (
	maxRouters = 4096 // that are remembered, of all that called since the start
	maxRefused = 64   // addresses
)

// Why somebody was refused.
const (
	Stranger = "stranger" // it isn't configured
	Full     = "full"     // there are as many connections as there may be
)

// Refused is somebody who called and wasn't let in.
type Refused struct {
	Address netip.Addr `json:"address"`
	Why     string     `json:"why"`
	Count   uint64     `json:"count"`
	Last    time.Time  `json:"last"`
}

func (s *Station) refuse(addr netip.Addr, why string) {
	now := s.clock.Now()
	i := slices.IndexFunc(s.refused, func(r Refused) bool { return r.Address == addr && r.Why == why })
	switch {
	case i >= 0:
		s.refused[i].Count++
		s.refused[i].Last = now
	case len(s.refused) < maxRefused:
		s.refused = append(s.refused, Refused{addr, why, 1, now})
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "a call refused: no router of ours, or too many", slog.String("address", addr.String()), slog.String("why", why))
	default:
		s.strays++
	}
}

// Refused are those who weren't let in, and how many calls there were of others.
func (s *Station) Refused() (list []Refused, others uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.refused), s.strays
}
