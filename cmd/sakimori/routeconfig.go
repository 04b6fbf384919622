package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"sakimori/detect/leak"
	"sakimori/observe/route/relation"
	"sakimori/observe/route/rpki"
	remedy "sakimori/respond/leak"
)

// routeConfig is where routes come from, and what they are judged by.
type routeConfig struct {
	BMP       bmpConfig       `yaml:"bmp"`      // routers that tell by BMP
	BGP       collectorConfig `yaml:"bgp"`      // neighbours that announce to us as to a collector
	RIS       risConfig       `yaml:"ris_live"` // RIPE's stream
	Dumps     []string        `yaml:"dumps"`    // files of tables that are read at the start, oldest first
	RPKI      rpkiConfig      `yaml:"rpki"`
	Relations string          `yaml:"relations"` // file of what ASes are to each other, CAIDA's forms
	Siblings  string          `yaml:"siblings"`  // file of ASes of one organisation, a|b
	Leak      leak.Config     `yaml:"leak"`
	House     houseConfig     `yaml:"house"`  // who we are, and whom to call
	Policy    string          `yaml:"policy"` // file of one's own import policy, for drills
	Announce  announceConfig  `yaml:"announce"`
	Keep      time.Duration   `yaml:"keep"` // how long what was seen is kept; 0: not at all

	sample *routeSettings // of a demo; nil: none
}

type bmpConfig struct {
	Listen  []string       `yaml:"listen"` // host:port, usually 11019
	Routers []routerConfig `yaml:"routers"`
}

// routerConfig is a router, or a prefix of them, that may connect.
type routerConfig struct {
	Name   string `yaml:"name"`
	Prefix string `yaml:"prefix"`
}

// collectorConfig is a BGP speaker that announces nothing.
type collectorConfig struct {
	Listen    string                `yaml:"listen"`
	AS        uint32                `yaml:"as"`
	RouterID  string                `yaml:"router_id"`
	Neighbors []collectorPeerConfig `yaml:"neighbors"`
}

type collectorPeerConfig struct {
	Name         string `yaml:"name"`
	Address      string `yaml:"address"`
	AS           uint32 `yaml:"as"`
	PasswordFile string `yaml:"password_file"`
	MaxPrefix    int    `yaml:"max_prefix"`
	AddPath      bool   `yaml:"add_path"`
	Role         string `yaml:"role"` // what we are to it, RFC 9234; "" not told
}

type risConfig struct {
	URL      string   `yaml:"url"`      // "" nothing; wss://ris-live.ripe.net/v1/ws/ is RIPE's
	Prefixes []string `yaml:"prefixes"` // none: one's own
	Hosts    []string `yaml:"hosts"`
}

type rpkiConfig struct {
	RTR   []rtrConfig `yaml:"rtr"`
	Files []string    `yaml:"files"` // JSON of rpki-client or Routinator, or CSV, that somebody renews
	SLURM string      `yaml:"slurm"`
}

type rtrConfig struct {
	Name    string `yaml:"name"`
	Address string `yaml:"address"`
}

// houseConfig is how letters are signed, and whom they go to.
type houseConfig struct {
	Name    string          `yaml:"name"`
	ReplyTo string          `yaml:"reply_to"`
	Phone   string          `yaml:"phone"`
	Book    []contactConfig `yaml:"book"`
}

type contactConfig struct {
	AS    uint32 `yaml:"as"`
	Name  string `yaml:"name"`
	Mail  string `yaml:"mail"`
	Phone string `yaml:"phone"`
}

// announceConfig is what may be done with own more-specifics. Until live is set all of it
// is a rehearsal.
type announceConfig struct {
	Live      bool          `yaml:"live"`
	Approvals int           `yaml:"approvals"` // people besides who proposes; 0: 2
	TTL       time.Duration `yaml:"ttl"`       // renewed while the incident lasts; 0: 10 min
}

func defaultRoutes() routeConfig { return routeConfig{Keep: 30 * 24 * time.Hour} }

// on tells whether routes are taken.
func (c *routeConfig) on() bool {
	return len(c.BMP.Listen) > 0 || c.BGP.Listen != "" || c.RIS.URL != "" || len(c.Dumps) > 0
}

func (c *routeConfig) check() error {
	for _, l := range append(append([]string(nil), c.BMP.Listen...), c.BGP.Listen) {
		if _, _, err := net.SplitHostPort(l); err != nil && l != "" {
			return fmt.Errorf("route: %q: write host:port, for example 0.0.0.0:11019", l)
		}
	}
	for _, r := range c.BMP.Routers {
		if _, err := parsePrefix(r.Prefix, "router"); err != nil {
			return fmt.Errorf("route.bmp.routers: %w", err)
		}
	}
	if len(c.BMP.Listen) > 0 && len(c.BMP.Routers) == 0 {
		return errors.New("route.bmp.routers: name who may connect, for example {name: edge1, prefix: 192.0.2.1}")
	}
	if c.BGP.Listen != "" && (c.BGP.AS == 0 || len(c.BGP.Neighbors) == 0) {
		return errors.New("route.bgp: give as, router_id and neighbors")
	}
	return nil
}

// routes is what routes are judged by, as configured. What is asked later (RPKI over the
// network, the telescope) is for the caller.
func (c *config) routes() (*routeSettings, error) {
	s := &routeSettings{leak: c.Route.Leak}
	if c.Route.sample != nil {
		*s = *c.Route.sample
	}
	places, err := c.places()
	if err != nil {
		return nil, err
	}
	s.names = asNames{c.Route.House.Book, places}
	if c.Route.Relations != "" {
		if s.relations, err = relation.ReadFile(c.Route.Relations); err != nil {
			return nil, fmt.Errorf("route.relations: %w", err)
		}
	}
	if c.Route.Siblings != "" {
		if s.siblings, err = readSiblings(c.Route.Siblings); err != nil {
			return nil, fmt.Errorf("route.siblings: %w", err)
		}
	}
	return s, nil
}

// rpki is the configuration of observe/route/rpki; nil without sources.
func (c *config) rpki() *rpki.Config {
	r := &c.Route.RPKI
	if len(r.RTR)+len(r.Files) == 0 {
		return nil
	}
	out := &rpki.Config{SLURM: r.SLURM}
	for _, x := range r.RTR {
		name := x.Name
		if name == "" {
			name = x.Address
		}
		out.Sources = append(out.Sources, rpki.Source{Name: name, RTR: x.Address})
	}
	for _, f := range r.Files {
		out.Sources = append(out.Sources, rpki.Source{Name: f, File: f})
	}
	for i := range c.Route.Leak.Own {
		out.Own = append(out.Own, c.Route.Leak.Own[i].Prefix)
	}
	return out
}

// house is who we are in letters and filters.
func (c *routeConfig) operator(names func(uint32) string) *remedy.House {
	h := &remedy.House{Name: c.House.Name, ReplyTo: c.House.ReplyTo, Phone: c.House.Phone, Names: names}
	if len(c.Leak.AS) > 0 {
		h.AS = c.Leak.AS[0]
	}
	for i := range c.Leak.Own {
		o := &c.Leak.Own[i]
		h.Own = append(h.Own, remedy.Own{Prefix: o.Prefix, Name: o.Name, Origins: o.Origins})
	}
	for _, b := range c.House.Book {
		h.Book = append(h.Book, remedy.Entry{AS: b.AS, Name: b.Name, Mail: b.Mail, Phone: b.Phone})
	}
	for i := range c.Leak.Neighbors {
		n := &c.Leak.Neighbors[i]
		h.Neighbors = append(h.Neighbors, remedy.Neighbor{AS: n.AS, Name: n.Name, Relation: n.Relation})
	}
	return h
}

// readPolicy reads a file of an import policy.
func readPolicyText(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return b, nil
}
