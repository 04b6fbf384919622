// Package forward is a small resolver that forwards: it answers its own clients alone, by the
// policy zones first, then from its cache, then by asking upstream. Transport is
// github.com/miekg/dns, the bound of the cache github.com/hashicorp/golang-lru.
package forward

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/miekg/dns"

	"sakimori/base/clock"
	wire "sakimori/base/wire/dns"
	"sakimori/respond/rpz"
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
}

// Upstream is whom it asks.
type Upstream struct {
	Addr netip.AddrPort
	Name string // in the certificate: it is asked by TLS (RFC 7858); "" by UDP, and TCP
	CA   *tls.Config
}

// Counts are what it has done since it began. Every question is exactly one of Refused, Limited,
// Dropped, Blocked, Cached, Asked, Failed.
type Counts struct {
	Refused uint64 `json:"refused"` // strangers, and what isn't a question
	Limited uint64 `json:"limited"` // of a client that asks too much
	Dropped uint64 `json:"dropped"` // by policy
	Blocked uint64 `json:"blocked"` // by policy, answered
	Cached  uint64 `json:"cached"`
	Asked   uint64 `json:"asked"`
	Failed  uint64 `json:"failed"` // upstream didn't answer
}

// Server forwards. Its Set may be changed while it runs.
type Server struct {
	cfg   Config
	clock clock.Clock
	log   *slog.Logger
	set   atomic.Pointer[policy.Set]
	cache *lru.Cache[key, kept]
	rates *lru.Cache[netip.Addr, *second]

	refused, limited, dropped, blocked, cached, asked, failed atomic.Uint64
}

type key struct {
	name  string
	typ   uint16
	class uint16
	do    bool
}

// kept is an answer, and when it came and goes.
type kept struct {
	msg       *dns.Msg
	at, until time.Time
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
	case len(c.Clients) == 0 || slices.ContainsFunc(c.Clients, func(p netip.Prefix) bool { return p.Bits() <= 0 }):
		return nil, fmt.Errorf("%w: give the own prefixes: an open resolver serves attackers", ErrConfig)
	}
	if c.Cache == 0 {
		c.Cache = 100_000
	}
	if c.Rate == 0 {
		c.Rate = 1000
	}
	s := &Server{cfg: c, clock: cl, log: log}
	s.set.Store(policy.NewSet())
	var err error
	if s.cache, err = lru.New[key, kept](c.Cache); err != nil {
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
	return Counts{s.refused.Load(), s.limited.Load(), s.dropped.Load(), s.blocked.Load(), s.cached.Load(), s.asked.Load(), s.failed.Load()}
}

// Run answers until ctx ends.
func (s *Server) Run(ctx context.Context, ready func()) error {
	var servers []*dns.Server
	ended := make(chan error, 2*len(s.cfg.Listen))
	stop := func() {
		for _, d := range servers {
			_ = d.Shutdown() // it may have ended already
		}
	}
	defer stop()
	for _, at := range s.cfg.Listen {
		u, err := new(net.ListenConfig).ListenPacket(ctx, "udp", at.String())
		if err != nil {
			return err
		}
		t, err := new(net.ListenConfig).Listen(ctx, "tcp", at.String())
		if err != nil {
			_ = u.Close()
			return err
		}
		for _, d := range []*dns.Server{{PacketConn: u, Handler: s}, {Listener: t, Handler: s}} {
			started := make(chan struct{})
			d.NotifyStartedFunc = func() { close(started) }
			go func() { ended <- d.ActivateAndServe() }()
			select {
			case <-started:
				servers = append(servers, d)
			case err := <-ended:
				return err
			}
		}
	}
	ready()
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}

// ServeDNS answers one question.
func (s *Server) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	from, err := netip.ParseAddrPort(w.RemoteAddr().String())
	if err != nil {
		s.refused.Add(1)
		return
	}
	_, tcp := w.RemoteAddr().(*net.TCPAddr)
	a := s.answer(from.Addr().Unmap(), tcp, q)
	if a == nil {
		return
	}
	if opt := q.IsEdns0(); !tcp && opt != nil {
		a.Truncate(int(min(max(opt.UDPSize(), dns.MinMsgSize), 1232)))
	} else if !tcp {
		a.Truncate(dns.MinMsgSize)
	}
	_ = w.WriteMsg(a) // who asked is gone
}

// answer gives the answer, or nil for silence.
func (s *Server) answer(client netip.Addr, tcp bool, q *dns.Msg) *dns.Msg {
	own := slices.ContainsFunc(s.cfg.Clients, func(p netip.Prefix) bool { return p.Contains(client) })
	if !own || q.Response || q.Opcode != dns.OpcodeQuery || len(q.Question) != 1 || q.Question[0].Qclass != dns.ClassINET {
		s.refused.Add(1)
		return new(dns.Msg).SetRcode(q, dns.RcodeRefused)
	}
	if !s.within(client) {
		s.limited.Add(1)
		return nil
	}
	name, err := wire.ParseName(q.Question[0].Name)
	if err != nil {
		s.refused.Add(1)
		return new(dns.Msg).SetRcode(q, dns.RcodeFormatError)
	}
	set := s.set.Load()
	m, hit := set.Match(client, name)
	if hit && m.Action() != rpz.Passthru && !(m.Action() == rpz.TCPOnly && tcp) {
		return s.act(q, name, m)
	}
	a, cached := s.look(q)
	switch {
	case a == nil:
		s.failed.Add(1)
		return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
	case !hit:
		// What an alias in the answer leads to may be listed itself.
		for _, rr := range a.Answer {
			alias, ok := rr.(*dns.CNAME)
			if !ok {
				continue
			}
			n, err := wire.ParseName(alias.Target)
			if err != nil {
				continue
			}
			if m, ok := set.Match(client, n); ok {
				if m.Action() == rpz.Passthru || m.Action() == rpz.TCPOnly && tcp {
					break
				}
				return s.act(q, n, m)
			}
		}
	}
	if cached {
		s.cached.Add(1)
	} else {
		s.asked.Add(1)
	}
	return a
}

// within counts a client's questions.
func (s *Server) within(client netip.Addr) bool {
	c, ok := s.rates.Get(client)
	if !ok {
		c = &second{}
		s.rates.Add(client, c)
	}
	if now := s.clock.Now().Unix(); c.at.Swap(now) != now {
		c.n.Store(0)
	}
	return c.n.Add(1) <= int64(s.cfg.Rate)
}

// act answers by a rule.
func (s *Server) act(q *dns.Msg, name wire.Name, m policy.Match) *dns.Msg {
	if m.Action() == rpz.Drop {
		s.dropped.Add(1)
		return nil
	}
	s.blocked.Add(1)
	a := new(dns.Msg).SetReply(q)
	a.RecursionAvailable = true
	switch m.Action() {
	case rpz.NXDomain:
		a.Rcode = dns.RcodeNameError
	case rpz.TCPOnly:
		a.Truncated = true
	case rpz.Local:
		for _, r := range m.Local(name, q.Question[0].Qtype) {
			if rr := record(q.Question[0].Name, r); rr != nil {
				a.Answer = append(a.Answer, rr)
			}
		}
	}
	if opt := q.IsEdns0(); opt != nil {
		a.SetEdns0(1232, opt.Do())
		a.IsEdns0().Option = append(a.IsEdns0().Option, &dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeBlocked, ExtraText: s.cfg.Reason})
	}
	return a
}

// record is local data as the library has it.
func record(owner string, r policy.Record) dns.RR {
	rr, err := dns.NewRR(fmt.Sprintf("%s 5 IN TYPE%d \\# %d %x", owner, r.Type, len(r.Data), r.Data))
	if err != nil {
		return nil
	}
	return rr
}

// look finds the answer in the cache, or upstream.
func (s *Server) look(q *dns.Msg) (a *dns.Msg, cached bool) {
	opt := q.IsEdns0()
	k := key{strings.ToLower(q.Question[0].Name), q.Question[0].Qtype, q.Question[0].Qclass, opt != nil && opt.Do()}
	now := s.clock.Now()
	e, ok := s.cache.Get(k)
	if ok && now.Before(e.until) {
		return reply(q, e.msg, uint32(now.Sub(e.at)/time.Second)), true // #nosec G115 -- no TTL is longer
	}
	up := new(dns.Msg).SetQuestion(q.Question[0].Name, k.typ)
	up.SetEdns0(1232, k.do)
	got := s.upstream(up)
	if got == nil {
		return nil, false
	}
	if ttl := lifetime(got); ttl > 0 {
		s.cache.Add(k, kept{got, now, now.Add(ttl)})
	}
	return reply(q, got, 0), false
}

// upstream asks each in turn.
func (s *Server) upstream(q *dns.Msg) *dns.Msg {
	for _, u := range s.cfg.Upstream {
		c := &dns.Client{Timeout: 2 * time.Second}
		if u.Name != "" {
			c.Net = "tcp-tls"
			c.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
			if u.CA != nil {
				c.TLSConfig = u.CA.Clone()
			}
			c.TLSConfig.ServerName = u.Name
		}
		a, _, err := c.Exchange(q, u.Addr.String())
		if err == nil && a.Truncated && u.Name == "" {
			c.Net = "tcp"
			a, _, err = c.Exchange(q, u.Addr.String())
		}
		if err == nil && (a.Rcode == dns.RcodeSuccess || a.Rcode == dns.RcodeNameError) {
			return a
		}
	}
	return nil
}

// lifetime is for how long an answer holds: its shortest TTL; of a denial the SOA's (RFC
// 2308); an hour at most.
func lifetime(a *dns.Msg) time.Duration {
	ttl := uint32(3600)
	n := 0
	for _, rr := range slices.Concat(a.Answer, a.Ns) {
		n++
		ttl = min(ttl, rr.Header().Ttl)
		if soa, ok := rr.(*dns.SOA); ok {
			ttl = min(ttl, soa.Minttl)
		}
	}
	if n == 0 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// reply is an answer to a question, by its age.
func reply(q, kept *dns.Msg, age uint32) *dns.Msg {
	a := kept.Copy()
	a.Id, a.Question, a.RecursionDesired, a.RecursionAvailable, a.Authoritative = q.Id, q.Question, q.RecursionDesired, true, false
	a.Extra = slices.DeleteFunc(a.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT })
	for _, rr := range slices.Concat(a.Answer, a.Ns, a.Extra) {
		h := rr.Header()
		h.Ttl -= min(h.Ttl, age)
	}
	if opt := q.IsEdns0(); opt != nil {
		a.SetEdns0(1232, opt.Do())
	}
	return a
}
