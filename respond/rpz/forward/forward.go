// Package forward is a small resolver that forwards: it answers its own clients alone, by the
// policy zones first, then from its cache, then by asking upstream. TCP, TLS and messages of
// upstream are github.com/miekg/dns's, the bound of the cache is github.com/hashicorp/golang-lru's;
// what can be answered at once is answered in the bytes that came.
package forward

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"

	"sakimori/base/clock"
	"sakimori/base/udp"
	"sakimori/respond/rpz/policy"
)

// Config is how it forwards.
type Config struct {
	Listen   []netip.AddrPort
	Clients  []netip.Prefix // who may ask; nobody else may
	Upstream []Upstream     // asked in order until one answers
	Cache    int            // answers; 0: 100,000
	Rate     int            // questions of a client a second; 0: 1,000
	Reason   string         // the text beside EDE 15
	// Notified is told of a NOTIFY (RFC 1996), and gives the answer; nil: there is none.
	Notified func(from netip.Addr, raw []byte) []byte
	// Tap is told of answers, but not of those to who declined; nil: nobody is.
	Tap *Tap
}

// Upstream is whom it asks.
type Upstream struct {
	Addr netip.AddrPort
	Name string // in the certificate: it is asked by TLS (RFC 7858); "" by UDP, and TCP
	CA   *tls.Config
}

// Counts are what it has done since it began. Every question is exactly one of Refused, Limited,
// Dropped, Blocked, Cached, Asked, Failed, Busy; what is Lost wasn't seen, what is Unsent was
// answered.
type Counts struct {
	Refused uint64 `json:"refused"` // strangers, and what isn't a question
	Limited uint64 `json:"limited"` // of a client that asks too much
	Dropped uint64 `json:"dropped"` // by policy
	Blocked uint64 `json:"blocked"` // by policy, answered
	Cached  uint64 `json:"cached"`
	Asked   uint64 `json:"asked"`
	Failed  uint64 `json:"failed"` // upstream didn't answer
	Busy    uint64 `json:"busy"`   // not asked upstream: too many wait for it
	Lost    uint64 `json:"lost"`   // the kernel had no room for them
	Unsent  uint64 `json:"unsent"` // answers that the kernel didn't take
}

// Hits is the share of the questions that weren't blocked which the cache answered, 0 to 1.
func (c *Counts) Hits() float64 {
	all := c.Cached + c.Asked + c.Failed
	if all == 0 {
		return 0
	}
	return float64(c.Cached) / float64(all)
}

// Server forwards. Its Set may be changed while it runs.
type Server struct {
	cfg   Config
	clock clock.Clock
	log   *slog.Logger
	set   atomic.Pointer[policy.Set]
	cache *lru.Cache[uint64, *kept]
	rates *lru.Cache[netip.Addr, *second]
	ups   []*upstream
	slots chan struct{} // of those that wait for upstream
	same  singleflight.Group
	why   []byte // EDE: blocked, and the text

	refused, limited, dropped, blocked, cached, asked, failed, busy, lost, unsent atomic.Uint64
}

// second is how much a client asked in one.
type second struct{ at, n atomic.Int64 }

// ErrConfig is a configuration that isn't forwarded by.
var ErrConfig = errors.New("not forwarded")

// New prepares a server that blocks nothing yet.
func New(c Config, cl clock.Clock, log *slog.Logger) (*Server, error) {
	switch {
	case len(c.Listen) == 0 || len(c.Upstream) == 0:
		return nil, fmt.Errorf("%w: say where it listens, and whom it asks", ErrConfig)
	case slices.ContainsFunc(c.Listen, func(a netip.AddrPort) bool { return !a.IsValid() || a.Addr().IsUnspecified() }):
		return nil, fmt.Errorf("%w: name the addresses that it listens on, so that answers come from where they were asked", ErrConfig)
	case len(c.Clients) == 0 || slices.ContainsFunc(c.Clients, func(p netip.Prefix) bool { return p.Bits() <= 0 }):
		return nil, fmt.Errorf("%w: give the own prefixes: an open resolver serves attackers", ErrConfig)
	}
	if len(c.Reason) > 500 {
		return nil, fmt.Errorf("%w: a reason of %d bytes doesn't fit into each answer", ErrConfig, len(c.Reason))
	}
	if c.Cache == 0 {
		c.Cache = 100_000
	}
	if c.Rate == 0 {
		c.Rate = 1000
	}
	s := &Server{cfg: c, clock: cl, log: log, slots: make(chan struct{}, mostWaiting)}
	for i := range c.Upstream {
		s.ups = append(s.ups, newUpstream(&c.Upstream[i]))
	}
	s.set.Store(policy.NewSet())
	why := append([]byte{0, 15}, c.Reason...)                                              // RFC 8914: Blocked
	s.why = append(binary.BigEndian.AppendUint16([]byte{0, 15}, uint16(len(why))), why...) // #nosec G115 -- looked at above
	var err error
	if s.cache, err = lru.New[uint64, *kept](c.Cache); err != nil {
		return nil, fmt.Errorf("%w: cache: %w", ErrConfig, err)
	}
	if s.rates, err = lru.New[netip.Addr, *second](65536); err != nil {
		return nil, err
	}
	return s, nil
}

// Load puts policy zones in force.
func (s *Server) Load(set *policy.Set) { s.set.Store(set) }

// Counts are what it has done.
func (s *Server) Counts() Counts {
	return Counts{s.refused.Load(), s.limited.Load(), s.dropped.Load(), s.blocked.Load(), s.cached.Load(), s.asked.Load(), s.failed.Load(), s.busy.Load(), s.lost.Load(), s.unsent.Load()}
}

// How much is taken at once, and how many may wait for upstream.
const (
	batch       = 64
	longest     = 4096 // bytes of a question
	mostWaiting = 1024
	waitingRoom = 4 << 20 // bytes that the kernel may hold for a socket
)

// Run answers until ctx ends. There is a socket for each processor, between which the kernel
// divides the clients.
func (s *Server) Run(ctx context.Context, ready func()) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	var closers []func() error
	ended := make(chan error, 1)
	end := func(err error) {
		if err != nil && ctx.Err() == nil {
			select {
			case ended <- err:
			default:
			}
		}
	}
	defer func() {
		cancel()
		for _, c := range closers {
			_ = c() // they are closed to end those who wait on them
		}
		all.Wait()
	}()
	for _, at := range s.cfg.Listen {
		for range runtime.GOMAXPROCS(0) {
			u, err := udp.Listen(ctx, at.String(), waitingRoom, true)
			if err != nil {
				return err
			}
			closers = append(closers, u.Close)
			all.Go(func() { end(s.datagrams(u, &all)) })
			if !udp.Shares {
				break
			}
		}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", at.String())
		if err != nil {
			return err
		}
		started := make(chan struct{})
		t := &dns.Server{Listener: l, Handler: s, NotifyStartedFunc: func() { close(started) }}
		all.Go(func() { end(t.ActivateAndServe()) })
		<-started
		closers = append(closers, t.Shutdown)
	}
	ready()
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}

// datagrams answers what comes on a socket: at once what can be, else as soon as upstream has
// answered.
func (s *Server) datagrams(u *net.UDPConn, all *sync.WaitGroup) error {
	b, err := udp.NewBatch(u, batch, longest)
	if err != nil {
		return err
	}
	var q question
	var lost uint32
	for {
		n, err := b.Read()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("questions by UDP: %w", err)
		}
		now := s.clock.Now()
		for i := range n {
			from := b.From(i)
			if a, done := s.quick(&q, b.Payload(i), from, false, now, b.Room(i)); done {
				b.Answer(i, a)
				continue
			}
			select {
			case s.slots <- struct{}{}:
			default:
				s.busy.Add(1)
				continue
			}
			raw := bytes.Clone(b.Payload(i))
			all.Go(func() {
				var q question
				if _, err := u.WriteToUDPAddrPort(s.slow(&q, raw, from, false), from); err != nil {
					s.unsent.Add(1)
				}
				<-s.slots
			})
		}
		failed, err := b.Flush()
		s.unsent.Add(uint64(failed)) // #nosec G115 -- counted up from 0
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if d, told := b.Dropped(); told {
			s.lost.Add(uint64(d - lost))
			lost = d
		}
	}
}

// ServeDNS answers one question that came by TCP.
func (s *Server) ServeDNS(w dns.ResponseWriter, m *dns.Msg) {
	from, err := netip.ParseAddrPort(w.RemoteAddr().String())
	raw, packs := m.Pack()
	if err != nil || packs != nil {
		s.refused.Add(1)
		return
	}
	from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
	var q question
	a, done := s.quick(&q, raw, from, true, s.clock.Now(), nil)
	if !done {
		a = s.slow(&q, raw, from, true)
	}
	if len(a) > 0 {
		_, _ = w.Write(a) // who asked is gone
	}
}
