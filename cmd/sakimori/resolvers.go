package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"sync"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/base/clock"
	"sakimori/base/run"
	"sakimori/base/store"
	"sakimori/base/telemetry"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/detect/infected"
	"sakimori/lawful"
	"sakimori/observe/dns"
)

// dnsConfig is what resolvers tell of who asked them for what.
type dnsConfig struct {
	Sources []dnsSource `yaml:"sources"` // none: nothing is taken
	Exempt  []string    `yaml:"exempt"`  // the operator's own crawlers and filters: accused of nothing
	// Settle is how long a client is watched before anything is said of it; 0 five minutes.
	Settle time.Duration `yaml:"settle"`
}

// dnsSource is where resolvers report to.
type dnsSource struct {
	Name     string       `yaml:"name"`
	Protocol dns.Protocol `yaml:"protocol"` // dnstap, or powerdns
	Socket   string       `yaml:"socket"`   // path of a Unix socket
	Listen   string       `yaml:"listen"`   // host:port, TCP
	Senders  []string     `yaml:"senders"`  // who may connect; none: this machine alone
	TLS      *dnsTLS      `yaml:"tls"`
}

// dnsTLS is how a source is kept private, and who may report to it.
type dnsTLS struct {
	Cert    string `yaml:"cert"`
	Key     string `yaml:"key"`
	Clients string `yaml:"clients_ca"` // whose certificates resolvers must show; "" none
}

// listen is the source as its listener takes it.
func (s *dnsSource) listen() (dns.Listen, error) {
	l := dns.Listen{Name: s.Name, Protocol: s.Protocol, Socket: s.Socket, Address: s.Listen}
	for _, w := range s.Senders {
		p, err := parsePrefix(w, "sender")
		if err != nil {
			return l, err
		}
		l.Senders = append(l.Senders, p)
	}
	if s.TLS == nil {
		return l, nil
	}
	cert, err := tls.LoadX509KeyPair(s.TLS.Cert, s.TLS.Key)
	if err != nil {
		return l, fmt.Errorf("tls: %w", err)
	}
	l.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if s.TLS.Clients == "" {
		return l, nil
	}
	ca, err := os.ReadFile(s.TLS.Clients)
	if err != nil {
		return l, fmt.Errorf("tls: clients_ca: %w", err)
	}
	l.TLS.ClientCAs, l.TLS.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !l.TLS.ClientCAs.AppendCertsFromPEM(ca) {
		return l, fmt.Errorf("tls: clients_ca: %s holds no certificate", s.TLS.Clients)
	}
	return l, nil
}

// callers is the detector's configuration.
func (c *dnsConfig) callers() (cfg infected.CallersConfig, err error) {
	if cfg.Settle = c.Settle; c.Settle < 0 {
		return cfg, errors.New("settle isn't below 0")
	}
	for _, w := range c.Exempt {
		p, err := parsePrefix(w, "exempt")
		if err != nil {
			return cfg, err
		}
		cfg.Exempt = append(cfg.Exempt, p)
	}
	return cfg, nil
}

// check says what is wrong before anything is started.
func (c *dnsConfig) check() error {
	o, err := dns.New(dns.Config{Live: true}, nil, nil, nil, clock.System{})
	if err != nil {
		return err
	}
	for i := range c.Sources {
		l, err := c.Sources[i].listen()
		if err == nil {
			_, err = o.Listen(l, slog.New(slog.DiscardHandler))
		}
		if err != nil {
			return fmt.Errorf("dns.sources: %w", err)
		}
	}
	if _, err := c.callers(); err != nil {
		return fmt.Errorf("dns.exempt: %w", err)
	}
	return nil
}

// consenting tells which clients of a resolver may be looked at: those whose address
// was one subscriber's at that time, for whom a Grant allows it, then and now.
//
// A resolver's clients ask thousands of times a second. So what the register of consents
// said of a subscriber is believed for a minute, unless it has heard of them since, or a
// grant began or ended: that is asked each second. Whose an address is, is asked anew after
// a few seconds, as addresses move.
type consenting struct {
	h       *office
	believe time.Duration // what the register said

	mu       sync.Mutex
	read     time.Time // when grants and register were asked
	match    []bounded
	hits     []bounded
	after    map[string]uint64 // last event of the register that was heard of, by purpose
	holders  map[netip.Addr]ownerAt
	subjects map[lookedAt]permitted
	failed   error
}

// ownerAt is whose an address was, "" not one subscriber's.
type ownerAt struct {
	subject   string
	at, asked time.Time // of the data; of the machine
}

// lookedAt is a subscriber at an address.
type lookedAt struct {
	subject string
	client  netip.Addr
}

// bounded is a grant, and the prefixes that it is bounded by; none: it isn't.
type bounded struct {
	lawful.Grant
	prefixes []netip.Prefix
}

// permitted is what may be done to a subscriber's lookups.
type permitted struct {
	at, asked   time.Time
	match, hits bool
}

const (
	askRegister  = time.Second
	believeOwner = 5 * time.Second
	believeGrant = time.Minute
	mostHolders  = 1 << 18
)

func newConsenting(h *office) *consenting {
	return &consenting{h: h, believe: believeGrant, after: map[string]uint64{}, holders: map[netip.Addr]ownerAt{}, subjects: map[lookedAt]permitted{}}
}

// May tells it.
func (c *consenting) May(client netip.Addr, at time.Time) (match, hits bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.h.clock.Now()
	if now.Sub(c.read) >= askRegister || c.read.IsZero() {
		c.refresh(now)
	}
	if len(c.match) == 0 || c.failed != nil {
		return false, false // no answer is a no
	}
	who, is := c.holders[client]
	if !is || now.Sub(who.asked) >= believeOwner || at.Sub(who.at).Abs() >= believeOwner {
		who = ownerAt{at: at, asked: now}
		if w := c.h.who(client, 0, 0, at, defaultSkew); w.Verdict.Certain() {
			who.subject = w.Pseudonym
		}
		if len(c.holders) >= mostHolders {
			clear(c.holders)
		}
		c.holders[client] = who
	}
	if who.subject == "" {
		return false, false
	}
	key := lookedAt{who.subject, client}
	p, is := c.subjects[key]
	if !is || now.Sub(p.asked) >= c.believe || at.Sub(p.at) >= c.believe || p.at.Sub(at) >= believeOwner {
		p = permitted{at: at, asked: now, match: allowed(c.match, lawful.MatchNames, key, at, now)}
		p.hits = p.match && allowed(c.hits, lawful.StoreHits, key, at, now)
		if len(c.subjects) >= mostHolders {
			clear(c.subjects)
		}
		c.subjects[key] = p
	}
	return p.match, p.hits
}

// allowed tells whether one of the grants allows it now, and consent was there when it
// was asked: of what is told now that is the same.
func allowed(list []bounded, m lawful.Measure, who lookedAt, at, now time.Time) bool {
	for _, g := range list {
		t := lawful.Of(who.subject)
		if len(g.prefixes) > 0 {
			t.Address = who.client
		}
		if g.AllowsLately(m, t, now) && (now.Sub(at).Abs() < believeOwner || g.AllowsLately(m, t, at)) {
			return true
		}
	}
	return false
}

// refresh asks which grants are in force, and of whom the register has heard.
func (c *consenting) refresh(now time.Time) {
	before := c.ids()
	c.grants(now)
	if c.ids() != before {
		clear(c.subjects)
	}
	ctx := context.Background() // who asks has no context
	changed := map[string]bool{}
	for _, purpose := range []string{purposeBlock, purposeHits} {
		for {
			const page = 10_000
			list, err := c.h.consents.Changes(ctx, purpose, c.after[purpose], page)
			if err != nil {
				c.failed = errors.Join(c.failed, err)
				break
			}
			for i := range list {
				changed[list[i].Subject] = true
				c.after[purpose] = list[i].Seq
			}
			if len(list) < page {
				break
			}
		}
	}
	if len(changed) > 0 {
		maps.DeleteFunc(c.subjects, func(k lookedAt, _ permitted) bool { return changed[k.subject] })
	}
}

// ids are the grants in force, in one text.
func (c *consenting) ids() (s string) {
	for _, list := range [][]bounded{c.match, c.hits} {
		for _, g := range list {
			s += g.ID() + " "
		}
		s += "/"
	}
	return s
}

// grants reads which grants are in force.
func (c *consenting) grants(now time.Time) {
	c.read, c.match, c.hits, c.failed = now, nil, nil, nil
	for _, d := range c.h.gate.InForce() {
		if d.Measure != lawful.MatchNames && d.Measure != lawful.StoreHits {
			continue
		}
		g, err := c.h.gate.Find(context.Background(), d.ID) // who asks has no context
		if err != nil {
			c.failed = errors.Join(c.failed, err)
			continue
		}
		if d.Measure == lawful.MatchNames {
			c.match = append(c.match, bounded{g, d.Scope.Prefixes})
		} else {
			c.hits = append(c.hits, bounded{g, d.Scope.Prefixes})
		}
	}
}

// resolvers is what resolvers tell, live.
type resolvers struct {
	s         *station
	clients   *consenting
	observer  *dns.Observer
	callers   *infected.Callers
	record    *dns.Record
	listeners []*dns.Listener

	mu      sync.Mutex
	pending []detect.Finding // not on disk yet
}

// callersState is the name under which the detector's state is kept.
const callersState = "callers"

// Find takes a finding.
func (r *resolvers) Find(f detect.Finding) {
	r.mu.Lock()
	r.pending = append(r.pending, f)
	r.mu.Unlock()
	r.s.tell(f)
}

// newResolvers builds what the configuration names, and starts nothing.
func newResolvers(ctx context.Context, s *station) (*resolvers, error) {
	r := &resolvers{s: s, clients: newConsenting(s.office)}
	cfg, err := s.cfg.DNS.callers()
	if err != nil {
		return nil, err
	}
	r.callers = infected.NewCallers(cfg, r)
	state, err := s.keeper.register.State(ctx, callersState, livePart)
	if err != nil {
		return nil, err
	}
	if len(state) > 0 {
		if err := r.callers.Restore(state); err != nil {
			return nil, err
		}
	}
	if r.record, err = dns.Open(ctx, s.office.db, clock.System{}); err != nil {
		return nil, err
	}
	if r.observer, err = dns.New(dns.Config{Live: true, Missing: r}, r.clients, s.office.listed, r.callers, clock.System{}); err != nil {
		return nil, err
	}
	for i := range s.cfg.DNS.Sources {
		l, err := s.cfg.DNS.Sources[i].listen()
		if err != nil {
			return nil, err
		}
		listener, err := r.observer.Listen(l, s.log)
		if err != nil {
			return nil, err
		}
		r.listeners = append(r.listeners, listener)
		s.office.watchResolvers(l.Name, listener)
	}
	return r, nil
}

// Missing tells who looks at flows of a zone whose names are made up.
func (r *resolvers) Missing(zone string, distinct, nx uint64, at time.Time) {
	r.s.mu.Lock()
	l := r.s.flowing
	r.s.mu.Unlock()
	if l != nil {
		l.run.attacks.Names(zone, distinct, nx, at)
	}
}

// components are the listeners behind what keeps their counts: it stops last.
func (r *resolvers) components() []run.Component {
	list := []run.Component{{Name: "counts of resolvers", Run: r.keep}}
	for i, l := range r.listeners {
		name := r.s.cfg.DNS.Sources[i].Name
		list = append(list, run.Component{Name: "resolvers by " + name, Run: func(ctx context.Context, ready func()) error { return r.listen(ctx, ready, name, l) }})
	}
	return list
}

// dnsInput is what inputs of resolvers are called on the page of inputs, before their names.
const dnsInput = "dns: "

// listen takes what a source's resolvers tell, and shows on the page of inputs how it does.
func (r *resolvers) listen(ctx context.Context, ready func(), name string, l *dns.Listener) error {
	g := r.s.gauge(dnsInput+name, "live")
	g.set(func(in *api.Input) { in.State = "running" })
	showing, end := context.WithCancel(ctx)
	var shower sync.WaitGroup
	shower.Go(func() {
		second := time.NewTicker(time.Second)
		defer second.Stop()
		for {
			select {
			case <-showing.Done():
				return
			case now := <-second.C:
				g.resolvers(l.Stats(), now)
			}
		}
	})
	err := l.Run(ctx, ready)
	end()
	shower.Wait()
	g.resolvers(l.Stats(), time.Now())
	if err != nil {
		g.set(func(in *api.Input) { in.State = "failed" })
	}
	return err
}

// resolvers shows what came of a source by now, a second after the last time. What was lost
// is told apart: frames for which there was no room, frames that can't be read, and, in
// words, streams that broke off, of which nobody knows how much was on its way.
func (g *gauge) resolvers(s dns.SourceStats, now time.Time) {
	g.set(func(in *api.Input) {
		n := s.Frames + s.Dropped - in.Packets - in.Dropped.Kernel
		in.Packets, in.Malformed, in.Dropped.Kernel, in.Rate = s.Frames, s.Malformed+s.Unread, s.Dropped, float64(n)
		if !s.Last.IsZero() {
			in.LastPacket = &s.Last
		}
		if n > 0 {
			g.read = now
		}
		if s.Broken+s.Strangers > 0 {
			t := detect.Textf("途中で切れた接続 %d 件、拒否した接続 %d 件", "%d streams broke off, %d connections were refused", s.Broken, s.Strangers)
			in.Message = &t
		}
	})
}

const (
	keepResolvers   = 10 * time.Second // how much of what resolvers tell a kill may cost
	forgetResolvers = time.Minute      // after which a detector knows nobody who withdrew
)

// keep puts what was counted on disk, again and again. That it begins is in the ledger
// before anything is looked at.
func (r *resolvers) keep(ctx context.Context, ready func()) error {
	if err := r.s.office.taking(ctx, "sakimori", map[string]any{"action": "listen to resolvers", "sources": len(r.listeners)}); err != nil {
		return err
	}
	ready()
	tick, forget := time.NewTicker(keepResolvers), time.NewTicker(forgetResolvers)
	defer tick.Stop()
	defer forget.Stop()
	for {
		select {
		case <-ctx.Done():
			return r.save(context.WithoutCancel(ctx))
		case now := <-forget.C:
			r.callers.Keep(func(client netip.Addr) bool {
				_, hits := r.clients.May(client, now)
				return hits
			})
		case now := <-tick.C:
			r.callers.Tick(now)
			if err := r.save(ctx); err != nil && ctx.Err() == nil {
				r.s.log.ErrorContext(ctx, "what resolvers told could not be kept, will be tried again", slog.Any("error", err))
			}
		}
	}
}

// save keeps counts, findings and the detector's state.
func (r *resolvers) save(ctx context.Context) error {
	state, err := r.callers.State()
	if err != nil {
		return err
	}
	r.mu.Lock()
	list := r.pending
	r.pending = nil
	r.mu.Unlock()
	err = r.s.keeper.store.Tx(ctx, func(tx *store.Tx) error {
		if err := r.s.keeper.register.SaveState(tx, callersState, livePart, state); err != nil {
			return err
		}
		return r.s.keeper.register.Write(tx, list)
	})
	if err != nil {
		r.mu.Lock()
		r.pending = append(list, r.pending...)
		r.mu.Unlock()
	}
	return errors.Join(err, r.record.Keep(ctx, r.observer, nil))
}

// watchResolvers counts what a source tells, above all what is lost.
func (h *office) watchResolvers(name string, l *dns.Listener) {
	for _, m := range []telemetry.Metric{
		counter("dns_frames_total", "Frames that resolvers sent.", func() uint64 { return l.Stats().Frames }),
		counter("dns_malformed_total", "Frames that can't be read.", func() uint64 { return l.Stats().Malformed }),
		counter("dns_dropped_total", "Frames for which there was no room.", func() uint64 { return l.Stats().Dropped }),
		counter("dns_broken_total", "Streams that ended without saying so.", func() uint64 { return l.Stats().Broken }),
		counter("dns_strangers_total", "Connections that were refused.", func() uint64 { return l.Stats().Strangers }),
	} {
		m.Labels = map[string]string{"source": name}
		h.counts = append(h.counts, m)
	}
}

// takingFile writes down that a file of resolvers is read, before it is.
func (h *office) takingFile(ctx context.Context, by, digest string) error {
	_, err := h.book.Append(ctx, ledger.Line{Kind: account.SourceChanged, Who: by, What: map[string]any{"action": "take in a file of resolvers", "sha256": digest}})
	return err
}
