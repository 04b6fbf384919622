package main

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"time"

	"sakimori/base/clock"
	"sakimori/respond"
	"sakimori/respond/mitigate"
	"sakimori/respond/mitigate/hook"
	"sakimori/respond/mitigate/speaker"
)

// mitigationConfig is what may be done against floods. Until announce is set all of it is
// a rehearsal: everything is proposed, and nothing is sent.
type mitigationConfig struct {
	Announce  bool              `yaml:"announce"`
	Share     float64           `yaml:"share"`  // of an attack that is to be stopped; 0: 0.95
	Limit     float64           `yaml:"limit"`  // of ordinary traffic that may be hit; 0: 0.05
	Rules     int               `yaml:"rules"`  // most of one mitigation; 0: 20
	Budget    int               `yaml:"budget"` // most that all of them have with a router; 0: 100
	Approvals int               `yaml:"approvals"`
	TTL       time.Duration     `yaml:"ttl"`    // of what is announced, renewed while the attack lasts; 0: 10 min
	Within    time.Duration     `yaml:"within"` // that an effect must show; 0: 1 min
	Unseen    bool              `yaml:"unseen"` // exporters count before their routers filter, and don't tell what was dropped: no effect can show, and none is waited for
	Lease     time.Duration     `yaml:"lease"`  // of the right to announce: who comes after one that was killed waits so long at most; 0: 30 s
	Protected []protectedConfig `yaml:"protected"`
	BGP       bgpConfig         `yaml:"bgp"`
	Hooks     []hookConfig      `yaml:"hooks"`

	sample *sampleRouter // of a demo; nil: none
}

// protectedConfig is traffic that no rule may touch: all of a prefix, or a service of it.
type protectedConfig struct {
	Name     string   `yaml:"name"`
	Prefix   string   `yaml:"prefix"` // whose traffic, as destination and as source
	Protocol uint16   `yaml:"protocol"`
	Ports    []uint16 `yaml:"ports"` // to it
}

type bgpConfig struct {
	AS       uint32       `yaml:"as"`
	RouterID string       `yaml:"router_id"`
	Listen   string       `yaml:"listen"` // address:port where passive peers call; "" nobody can
	Peers    []peerConfig `yaml:"peers"`
}

type peerConfig struct {
	Name         string           `yaml:"name"`
	Address      string           `yaml:"address"` // or address:port
	Local        string           `yaml:"local"`
	AS           uint32           `yaml:"as"`
	LocalAS      uint32           `yaml:"local_as"`
	PasswordFile string           `yaml:"password_file"`
	Passive      bool             `yaml:"passive"`
	Multihop     uint8            `yaml:"multihop"`
	Hold         time.Duration    `yaml:"hold"`
	Families     []speaker.Family `yaml:"families"` // none: all but ipv6-unicast, which is there with next_hop6 or where the session is IPv6
	NextHop4     string           `yaml:"next_hop4"`
	NextHop6     string           `yaml:"next_hop6"`
	Communities  []string         `yaml:"communities"`
	Rules        int              `yaml:"rules"`
	Own          *ownPeerConfig   `yaml:"own"` // it takes own prefixes against an incident of routing, too; none: it does not
}

// ownPeerConfig is how a router takes own prefixes.
type ownPeerConfig struct {
	NextHop4    string   `yaml:"next_hop4"`
	NextHop6    string   `yaml:"next_hop6"`
	Communities []string `yaml:"communities"`
}

type hookConfig struct {
	Name       string `yaml:"name"`
	URL        string `yaml:"url"`
	SecretFile string `yaml:"secret_file"`
}

// policy is what the desk goes by.
func (c *mitigationConfig) policy() (mitigate.Policy, error) {
	p := mitigate.Policy{
		Policy: respond.Policy{Live: c.Announce, Approvals: c.Approvals, Budget: c.Budget, TTL: c.TTL, Lease: c.Lease},
		Share:  c.Share, Limit: c.Limit, Rules: c.Rules, Within: c.Within, Unseen: c.Unseen,
	}
	for _, x := range c.Protected {
		list, err := x.matches()
		if err != nil {
			return p, fmt.Errorf("mitigation.protected: %w", err)
		}
		p.Protected = append(p.Protected, list...)
	}
	return p, p.Check()
}

func (c *protectedConfig) matches() ([]mitigate.Protected, error) {
	var to, from mitigate.Match
	if c.Prefix != "" {
		p, err := parsePrefix(c.Prefix, "protected")
		if err != nil {
			return nil, err
		}
		to.Dst, from.Src = p, p
	}
	if c.Protocol > 255 {
		return nil, fmt.Errorf("%q: a protocol's number is at most 255", c.Name)
	}
	if c.Protocol != 0 {
		set := mitigate.Set{{From: c.Protocol, To: c.Protocol}}
		to.Proto, from.Proto = set, set
	}
	ports := slices.Clone(c.Ports)
	slices.Sort(ports)
	for _, p := range slices.Compact(ports) {
		to.DstPort = append(to.DstPort, mitigate.Span{From: p, To: p})
	}
	list := []mitigate.Protected{{Name: cmp.Or(c.Name, c.Prefix), Match: to}}
	if c.Prefix != "" && len(c.Ports) == 0 {
		list = append(list, mitigate.Protected{Name: cmp.Or(c.Name, c.Prefix), Match: from})
	}
	return list, nil
}

// speaker is the BGP speaker, nil where there are no peers.
func (c *bgpConfig) speaker(now clock.Clock, log *slog.Logger) (*speaker.Speaker, error) {
	if len(c.Peers) == 0 {
		return nil, nil //nolint:nilnil // there is none
	}
	cfg := speaker.Config{AS: c.AS}
	var err error
	if cfg.RouterID, err = netip.ParseAddr(c.RouterID); err != nil {
		return nil, fmt.Errorf("mitigation.bgp.router_id %q: write an IPv4 address that no other router uses as its own", c.RouterID)
	}
	if c.Listen != "" {
		if cfg.Listen, err = netip.ParseAddrPort(c.Listen); err != nil {
			return nil, fmt.Errorf("mitigation.bgp.listen %q: write address:port", c.Listen)
		}
	}
	for _, p := range c.Peers {
		n := speaker.Neighbor{
			Name: p.Name, AS: p.AS, LocalAS: p.LocalAS, PasswordFile: p.PasswordFile, Passive: p.Passive, Multihop: p.Multihop, Hold: p.Hold,
			Families: p.Families, Communities: p.Communities, Rules: p.Rules,
		}
		if n.Address, err = netip.ParseAddrPort(p.Address); err != nil {
			a, err := netip.ParseAddr(p.Address)
			if err != nil {
				return nil, fmt.Errorf("mitigation.bgp: peer %s: address %q: write an address, or address:port", p.Name, p.Address)
			}
			n.Address = netip.AddrPortFrom(a, 0)
		}
		for _, x := range []struct {
			word string
			to   *netip.Addr
			what string
		}{{p.Local, &n.Local, "local"}, {p.NextHop4, &n.NextHop4, "next_hop4"}, {p.NextHop6, &n.NextHop6, "next_hop6"}} {
			if x.word == "" {
				continue
			}
			if *x.to, err = netip.ParseAddr(x.word); err != nil {
				return nil, fmt.Errorf("mitigation.bgp: peer %s: %s %q: write an address", p.Name, x.what, x.word)
			}
		}
		if p.Own != nil {
			if n.Own, err = p.Own.speaker(); err != nil {
				return nil, fmt.Errorf("mitigation.bgp: peer %s: own.%w", p.Name, err)
			}
		}
		if len(n.Families) == 0 {
			n.Families = usualFamilies(&n)
		}
		cfg.Peers = append(cfg.Peers, n)
	}
	s, err := speaker.New(cfg, now, log)
	if err != nil {
		return nil, fmt.Errorf("mitigation.bgp: %w", err)
	}
	return s, nil
}

// speaker is how the router takes own prefixes.
func (c *ownPeerConfig) speaker() (*speaker.Own, error) {
	o := &speaker.Own{Communities: c.Communities}
	for _, x := range []struct {
		word string
		to   *netip.Addr
		what string
	}{{c.NextHop4, &o.NextHop4, "next_hop4"}, {c.NextHop6, &o.NextHop6, "next_hop6"}} {
		if x.word == "" {
			continue
		}
		a, err := netip.ParseAddr(x.word)
		if err != nil {
			return nil, fmt.Errorf("%s %q: write an address", x.what, x.word)
		}
		*x.to = a
	}
	return o, nil
}

// usualFamilies are those of a peer that names none. IPv6 routes to be discarded need a
// next hop, which over IPv4 nobody can guess.
func usualFamilies(n *speaker.Neighbor) []speaker.Family {
	list := []speaker.Family{speaker.FlowSpec4, speaker.FlowSpec6, speaker.Unicast4}
	if n.NextHop6.IsValid() || n.Address.Addr().Unmap().Is6() {
		list = append(list, speaker.Unicast6)
	}
	return list
}

// announcers are the operator's own systems that take rules.
func (c *mitigationConfig) announcers(now clock.Clock) (list []mitigate.Announcer, err error) {
	if c.sample != nil {
		list = append(list, c.sample)
	}
	for _, x := range c.Hooks {
		secret, err := os.ReadFile(x.SecretFile)
		if err != nil {
			return nil, fmt.Errorf("mitigation.hooks: %s: secret_file: %w", x.Name, err)
		}
		h, err := hook.New(hook.Config{Name: x.Name, URL: x.URL, Secret: bytes.TrimSpace(secret), Clock: now})
		if err != nil {
			return nil, fmt.Errorf("mitigation.hooks: %w", err)
		}
		list = append(list, h)
	}
	return list, nil
}

func (c *mitigationConfig) check(log *slog.Logger) error {
	if _, err := c.policy(); err != nil {
		return fmt.Errorf("mitigation: %w", err)
	}
	if _, err := c.BGP.speaker(clock.System{}, log); err != nil {
		return err
	}
	list, err := c.announcers(clock.System{})
	if err == nil && c.Announce && len(list) == 0 && len(c.BGP.Peers) == 0 {
		err = fmt.Errorf("mitigation.announce is set, but nobody takes rules: name bgp.peers or hooks, or leave it a rehearsal")
	}
	return err
}
