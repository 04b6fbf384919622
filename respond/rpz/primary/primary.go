// Package primary serves the policy zones to resolvers: AXFR (RFC 5936), IXFR (RFC 1995),
// NOTIFY (RFC 1996), TSIG (RFC 8945), over UDP, TCP and TLS (RFC 9103). It answers nobody
// else, and nothing else.
package primary

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
)

// Config is where the zones are served, and to whom.
type Config struct {
	Listen []netip.AddrPort // by UDP and TCP
	TLS    []netip.AddrPort // by TLS
	Secure *tls.Config      // of TLS: its certificate, and whom it trusts
	Keys   []dns.Key
	Peers  []Peer
	Former []PeerState // what was known of peers before a restart: see Kept
	Limits Limits
	Clock  clock.Clock
	Log    *slog.Logger
}

// Peer is a resolver, or several that are one to us.
type Peer struct {
	Name    string
	Address []netip.Prefix
	Pool    string           // resolvers of one pool don't fetch at once; "" alone
	Key     dns.Name         // that signs its requests; nil: they aren't signed
	Vendor  string           // bind, unbound, pdns, knot, sakimori: see KeepsClients; "" not known
	Zones   []rpz.Zone       // none: all
	Notify  []netip.AddrPort // where it is told of changes
	OnlyTLS bool             // what comes otherwise is refused
	Subject string           // name in its certificate; "" any
}

// Limits bound what one peer, and all strangers, can take.
type Limits struct {
	Connections int           // at once, of all
	PerAddress  int           // of one address
	Strangers   int           // answers a second to those that aren't peers, and their connections at once
	Idle        time.Duration // between requests of a connection
	Stall       time.Duration // a reader that takes nothing for so long is cut off
	Patience    time.Duration // for a peer to fetch before the next of its pool is told
}

// DefaultLimits suit some hundred resolvers.
func DefaultLimits() Limits {
	return Limits{Connections: 512, PerAddress: 32, Strangers: 16, Idle: 30 * time.Second, Stall: 20 * time.Second, Patience: 30 * time.Second}
}

// Check says what is wrong with a configuration.
func (c *Config) Check() error {
	if len(c.Listen)+len(c.TLS) == 0 {
		return errors.New("listen: name an address and port, for example 192.0.2.53:53")
	}
	if len(c.TLS) > 0 && (c.Secure == nil || len(c.Secure.Certificates) == 0 && c.Secure.GetCertificate == nil) {
		return errors.New("tls: transfers over TLS need a certificate")
	}
	for i := range c.Keys {
		if err := c.Keys[i].Check(); err != nil {
			return err
		}
	}
	names := map[string]bool{}
	for i := range c.Peers {
		p := &c.Peers[i]
		switch {
		case p.Name == "" || names[p.Name]:
			return fmt.Errorf("peer %q: each has a name of its own", p.Name)
		case len(p.Address) == 0:
			return fmt.Errorf("peer %s: say from which address it asks", p.Name)
		case p.Key != nil && !slices.ContainsFunc(c.Keys, func(k dns.Key) bool { return string(k.Name) == string(p.Key) }):
			return fmt.Errorf("peer %s: there is no key %s", p.Name, p.Key)
		case p.Key == nil && !p.OnlyTLS && slices.ContainsFunc(p.Address, wide):
			return fmt.Errorf("peer %s: without a key or TLS name single addresses, no networks: whoever is in them would read the list", p.Name)
		case p.OnlyTLS && len(c.TLS) == 0:
			return fmt.Errorf("peer %s: it is to come by TLS, but there is no address for that", p.Name)
		case p.Subject != "" && !p.OnlyTLS:
			return fmt.Errorf("peer %s: a name in a certificate is only looked at where it must come by TLS", p.Name)
		}
		names[p.Name] = true
		for _, z := range p.Zones {
			if !slices.Contains(rpz.Zones(), z) {
				return fmt.Errorf("peer %s: zone %q: the zones are %v", p.Name, z, rpz.Zones())
			}
		}
	}
	return nil
}

// KeepsClients tells whether a difference may leave a client's rule in force that it takes
// away. Unbound does so (1.17: rpz_remove_rr knows names and addresses of answers alone):
// whoever gets an address after somebody who opted out would inherit the choice.
func (p *Peer) KeepsClients() bool {
	return !slices.Contains([]string{"bind", "pdns", "knot", "sakimori"}, p.Vendor)
}

func wide(p netip.Prefix) bool { return p.Bits() != p.Addr().BitLen() }

// takes tells whether the peer is to have a zone.
func (p *Peer) takes(z rpz.Zone) bool { return len(p.Zones) == 0 || slices.Contains(p.Zones, z) }

// Counters are what happened, since the start.
type Counters struct {
	Requests, Malformed, Refused, Dropped   atomic.Uint64 // dropped: answers to strangers beyond the bound
	Connections, TurnedAway                 atomic.Uint64
	Full, Incremental, Cut                  atomic.Uint64 // transfers; cut: not read to the end
	Bytes                                   atomic.Uint64 // of transfers
	Notified, Unanswered, Unseen, Handshake atomic.Uint64 // handshake: of TLS that failed
}

// Server serves the zones of a store.
type Server struct {
	cfg    Config
	store  *rpz.Store
	keys   map[string]*dns.Key
	zones  map[string]rpz.Zone
	peers  []*peer
	places listening
	bound  bucket

	Counters Counters
}

// New makes a server, and starts nothing.
func New(c Config, store *rpz.Store) (*Server, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if c.Limits == (Limits{}) {
		c.Limits = DefaultLimits()
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: c, store: store, keys: map[string]*dns.Key{}, zones: map[string]rpz.Zone{}}
	for i := range c.Keys {
		s.keys[string(c.Keys[i].Name)] = &c.Keys[i]
	}
	for _, z := range rpz.Zones() {
		s.zones[string(z.Name())] = z
	}
	for i := range c.Peers {
		p := newPeer(&c.Peers[i])
		for j := range c.Former {
			if c.Former[j].Name == p.Name {
				p.recall(&c.Former[j])
			}
		}
		s.peers = append(s.peers, p)
	}
	s.bound.rate = c.Limits.Strangers
	s.places.count = map[netip.Addr]int{}
	return s, nil
}
