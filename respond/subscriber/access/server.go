package access

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gaissmai/bart"
	"golang.org/x/sync/errgroup"

	"sakimori/base/clock"
	"sakimori/base/udp"
	"sakimori/respond/subscriber"
)

// Sink keeps records.
type Sink interface {
	// Take keeps records, and returns nil only when they are on disk. The slice is lent
	// until then. It may be called by several goroutines at once.
	Take(ctx context.Context, records []subscriber.Record) error
}

// Client is whoever may send accounting: a NAS, or a proxy before several.
type Client struct {
	Name   string       // for people
	Prefix netip.Prefix // of its addresses; the longest that fits counts
	Secret []byte       // shared with it
}

// ServerConfig is what may be set. Zero fields take the value of DefaultServer.
type ServerConfig struct {
	Listen     []string // "host:port" each
	Clients    []Client
	Accounting Accounting
	// Sockets for each address, between which the kernel divides the clients; 1 where
	// the system can't.
	Sockets int
	Batch   int // requests that are handed to the sink at once, at most
	Buffer  int // bytes that the kernel is asked to hold for each socket
	// Window is how long a request is remembered at least, so that its
	// retransmissions are answered without being handed on again, and Remember how many
	// are, twice.
	Window   time.Duration
	Remember int
	// Grace is how long the sink may still work when the server stops.
	Grace time.Duration
}

// DefaultServer is what runs when nothing is set. With it the server takes about 60
// MB of memory when it remembers as much as it may, and 4 MB for each socket.
func DefaultServer() ServerConfig {
	return ServerConfig{
		Listen:   []string{":1813"},
		Sockets:  runtime.GOMAXPROCS(0),
		Batch:    512,
		Buffer:   8 << 20,
		Window:   30 * time.Second, // RFC 5080 §2.2.2: 5 to 30 seconds
		Remember: 1 << 18,
		Grace:    10 * time.Second,
	}
}

// Server answers Accounting-Requests (RFC 2866) once their records are kept, and
// Status-Server (RFC 5997) at once. It answers nothing else: no unknown client, no
// wrong secret, nothing that it can't use. A NAS that gets no answer sends again, or
// asks another server; so what isn't answered isn't lost.
//
// A request may still be handed on twice: when the process ended between keeping and
// answering, or when its retransmission came after the window. Records of both are
// the same.
type Server struct {
	cfg     ServerConfig
	sink    Sink
	clock   clock.Clock
	log     *slog.Logger
	clients []*counts
	byAddr  bart.Table[*counts]
	recent  *recent
	failing atomic.Bool
	lost    atomic.Uint64

	mu        sync.Mutex
	addresses []netip.AddrPort
	unknown   map[netip.Addr]uint64
	others    uint64
}

// mostUnknown is how many addresses of unknown clients are told apart.
const mostUnknown = 100

// NewServer checks the configuration; it opens nothing. log hears when the sink begins
// and ends to fail.
func NewServer(cfg ServerConfig, sink Sink, c clock.Clock, log *slog.Logger) (*Server, error) {
	d := DefaultServer()
	if len(cfg.Listen) == 0 {
		cfg.Listen = d.Listen
	}
	for _, f := range []struct{ have, preset *int }{{&cfg.Sockets, &d.Sockets}, {&cfg.Batch, &d.Batch}, {&cfg.Buffer, &d.Buffer}, {&cfg.Remember, &d.Remember}} {
		if *f.have <= 0 {
			*f.have = *f.preset
		}
	}
	if cfg.Window <= 0 {
		cfg.Window = d.Window
	}
	if cfg.Grace <= 0 {
		cfg.Grace = d.Grace
	}
	s := &Server{cfg: cfg, sink: sink, clock: c, log: log, recent: newRecent(cfg.Window, cfg.Remember), unknown: map[netip.Addr]uint64{}}
	if len(cfg.Clients) == 0 {
		return nil, errors.New("RADIUS accounting: no client is configured: give at least one prefix with its secret")
	}
	for i, k := range cfg.Clients {
		if !k.Prefix.IsValid() {
			return nil, fmt.Errorf("RADIUS accounting: client %d (%s) has no prefix", i+1, k.Name)
		}
		if len(bytes.TrimSpace(k.Secret)) == 0 {
			return nil, fmt.Errorf("RADIUS accounting: client %s has no secret", k.Prefix)
		}
		p := k.Prefix.Masked()
		if _, twice := s.byAddr.Get(p); twice {
			return nil, fmt.Errorf("RADIUS accounting: client %s is configured twice", p)
		}
		n := &counts{client: k, index: i}
		s.byAddr.Insert(p, n)
		s.clients = append(s.clients, n)
	}
	return s, nil
}

// Run listens until ctx ends, and calls ready when all sockets are open. What was
// read by then is still handed on and answered.
func (s *Server) Run(ctx context.Context, ready func()) error {
	sockets, err := s.listen(ctx)
	if err != nil {
		return err
	}
	if ready != nil {
		ready()
	}
	// The sink outlives ctx by the grace.
	keep, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(s.cfg.Grace, cancel)
		for _, c := range sockets {
			_ = c.SetReadDeadline(time.Unix(1, 0)) // wakes the reader; a closed one is awake
		}
	})
	defer stop()
	for _, c := range sockets {
		g.Go(func() error { return newWorker(s, c).run(ctx, keep) })
	}
	return g.Wait()
}

// listen opens all sockets, or none.
func (s *Server) listen(ctx context.Context) (sockets []*net.UDPConn, err error) {
	defer func() {
		if err != nil {
			for _, c := range sockets {
				_ = c.Close() // the first error says more
			}
		}
	}()
	n := s.cfg.Sockets
	if !udp.Shares {
		n = 1
	}
	for _, where := range s.cfg.Listen {
		for range n {
			conn, err := udp.Listen(ctx, where, s.cfg.Buffer, true)
			if err != nil {
				return sockets, fmt.Errorf("RADIUS accounting: %w", err)
			}
			sockets = append(sockets, conn)
			where = conn.LocalAddr().String() // port 0 has become one
		}
		at := sockets[len(sockets)-1].LocalAddr().(*net.UDPAddr).AddrPort()
		s.mu.Lock()
		s.addresses = append(s.addresses, netip.AddrPortFrom(at.Addr().Unmap(), at.Port()))
		s.mu.Unlock()
	}
	return sockets, nil
}

// Addresses are those that it listens on.
func (s *Server) Addresses() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]netip.AddrPort(nil), s.addresses...)
}
