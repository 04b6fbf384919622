package main

import (
	"fmt"
	"net/netip"
	"time"

	"sakimori/respond/rpz/canary"
	"sakimori/respond/rpz/resolver"
)

// resolversConfig is the resolvers that take the policy zones, and how they are proven.
type resolversConfig struct {
	Site   siteConfig         `yaml:"site"`   // what their configurations are written from
	Canary canaryConfig       `yaml:"canary"` // who asks them
	List   []resolverListened `yaml:"list"`
}

type siteConfig struct {
	Primaries []string `yaml:"primaries"` // address:port of the policy zones
	Key       struct {
		Name      string `yaml:"name"`
		Algorithm string `yaml:"algorithm"`
		File      string `yaml:"file"` // of tsig-keygen's form, on the resolver's machine
	} `yaml:"key"`
	TLS struct {
		Name   string `yaml:"name"`
		CAFile string `yaml:"ca_file"`
	} `yaml:"tls"`
	Clients    []string `yaml:"clients"`
	Listen     []string `yaml:"listen"`
	Folder     string   `yaml:"folder"`
	Upstream   []string `yaml:"upstream"` // none: from the root on
	Unsigned   bool     `yaml:"unsigned"` // DNSSEC isn't validated
	Dnstap     string   `yaml:"dnstap"`
	Protobuf   string   `yaml:"protobuf"`
	TransferMB int      `yaml:"transfer_mb"`
}

type canaryConfig struct {
	Domain     string        `yaml:"domain"`
	Truth      string        `yaml:"truth"`
	Every      time.Duration `yaml:"every"`
	Wait       time.Duration `yaml:"wait"`
	Tries      int           `yaml:"tries"`
	Late       time.Duration `yaml:"late"`
	PauseAfter int           `yaml:"pause_after"` // rounds; 0: nothing is paused
	Keep       time.Duration `yaml:"keep"`        // of the evidence
	Taking     string        `yaml:"taking"`      // this machine's address of the client that takes part
	Declined   string        `yaml:"declined"`    // and of the one that opted out
}

// resolverListened is one resolver; its clients are those of canary unless it has its own.
type resolverListened struct {
	Name     string `yaml:"name"`
	Addr     string `yaml:"addr"`
	Taking   string `yaml:"taking"`
	Declined string `yaml:"declined"`
}

func defaultResolvers() resolversConfig {
	return resolversConfig{
		Site:   siteConfig{Folder: "/var/lib/sakimori-rpz", Listen: []string{"0.0.0.0:53", "[::]:53"}},
		Canary: canaryConfig{Truth: "sakimori", PauseAfter: 3, Keep: 400 * 24 * time.Hour},
	}
}

// site reads what configurations are written from.
func (r *resolversConfig) site() (resolver.Site, error) {
	c := &r.Site
	s := resolver.Site{
		Key: resolver.Key(c.Key), TLS: resolver.TLS(c.TLS), Folder: c.Folder, Unsigned: c.Unsigned, Dnstap: c.Dnstap, Megabytes: c.TransferMB,
	}
	for _, l := range []struct {
		what string
		from []string
		to   *[]netip.AddrPort
	}{{"primaries", c.Primaries, &s.Primaries}, {"listen", c.Listen, &s.Listen}, {"upstream", c.Upstream, &s.Upstream}} {
		for _, w := range l.from {
			a, err := netip.ParseAddrPort(w)
			if err != nil {
				return s, fmt.Errorf("resolvers.site.%s %q: write address:port, for example 192.0.2.53:53", l.what, w)
			}
			*l.to = append(*l.to, a)
		}
	}
	for _, w := range c.Clients {
		p, err := parsePrefix(w, "resolvers.site.clients")
		if err != nil {
			return s, err
		}
		s.Clients = append(s.Clients, p)
	}
	if c.Protobuf != "" {
		a, err := netip.ParseAddrPort(c.Protobuf)
		if err != nil {
			return s, fmt.Errorf("resolvers.site.protobuf %q: write address:port", c.Protobuf)
		}
		s.Protobuf = a
	}
	return s, nil
}

// watched is the canaries' configuration.
func (r *resolversConfig) watched() (canary.Config, error) {
	c := &r.Canary
	out := canary.Config{Domain: c.Domain, Truth: c.Truth, Every: c.Every, Wait: c.Wait, Tries: c.Tries, Late: c.Late, PauseAfter: c.PauseAfter}
	for _, l := range r.List {
		one := canary.Resolver{Name: l.Name}
		var err error
		if one.Addr, err = netip.ParseAddrPort(l.Addr); err != nil {
			return out, fmt.Errorf("resolvers.list %s: addr %q: write address:port, for example 192.0.2.53:53", l.Name, l.Addr)
		}
		for _, who := range []struct {
			what, own, all string
			to             *netip.Addr
		}{{"taking", l.Taking, c.Taking, &one.Taking}, {"declined", l.Declined, c.Declined, &one.Declined}} {
			w := who.own
			if w == "" {
				w = who.all
			}
			if *who.to, err = netip.ParseAddr(w); err != nil {
				return out, fmt.Errorf("resolvers.list %s: %s %q: give an address of this machine from which the canary asks", l.Name, who.what, w)
			}
		}
		out.Resolvers = append(out.Resolvers, one)
	}
	return out, nil
}
