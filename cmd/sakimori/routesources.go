package main

import (
	"fmt"
	"net/netip"
	"time"

	"sakimori/base/run"
	"sakimori/observe"
	"sakimori/observe/route"
	"sakimori/observe/route/session"
	bmpstation "sakimori/observe/route/station"
	"sakimori/observe/route/stream"
)

// sources are what runs to bring routes in.
func (l *routing) sources() (list []run.Component, err error) {
	for _, at := range l.cfg.BMP.Listen {
		s, err := l.station(at)
		if err != nil {
			return nil, err
		}
		list = append(list, run.Component{Name: "bmp " + at, Run: s.Run})
	}
	if l.cfg.BGP.Listen != "" {
		s, err := l.session()
		if err != nil {
			return nil, err
		}
		list = append(list, run.Component{Name: "bgp collector", Run: s.Run})
	}
	if l.cfg.RIS.URL != "" {
		s, err := l.stream()
		if err != nil {
			return nil, err
		}
		list = append(list, run.Component{Name: risFeed, Run: s.Run})
	}
	return list, nil
}

// session takes what neighbours announce to us, and announces nothing.
func (l *routing) session() (*session.Listener, error) {
	c := &l.cfg.BGP
	at, err := netip.ParseAddrPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("route.bgp.listen %q: write address:port, for example 192.0.2.60:179", c.Listen)
	}
	id, err := netip.ParseAddr(c.RouterID)
	if err != nil {
		return nil, fmt.Errorf("route.bgp.router_id %q: give an IPv4 address", c.RouterID)
	}
	cfg := session.Config{AS: c.AS, RouterID: id, Listen: at, Held: l.routesOf}
	for i := range c.Neighbors {
		n := &c.Neighbors[i]
		a, err := netip.ParseAddr(n.Address)
		if err != nil {
			return nil, fmt.Errorf("route.bgp.neighbors %q: name its address", n.Address)
		}
		cfg.Neighbors = append(cfg.Neighbors, session.Neighbor{Feed: n.feed(), Address: a, AS: n.AS, PasswordFile: n.PasswordFile, AddPath: n.AddPath, Role: n.Role, Routes: n.MaxPrefix})
	}
	return session.New(cfg, l.live, l.s.cfg.now(), l.s.log)
}

// routesOf is how many routes the table has of a feed.
func (l *routing) routesOf(feed string) (n int) {
	l.live.Do(func(t *route.Table) {
		t.Peers(func(p *observe.RoutePeer) {
			if p.Feed == feed {
				n += p.Routes
			}
		})
	})
	return n
}

// stream takes RIPE's.
func (l *routing) stream() (*stream.Stream, error) {
	c := &l.cfg.RIS
	cfg := stream.Config{Name: risFeed, URL: c.URL}
	words := c.Prefixes
	if len(words) == 0 {
		for i := range l.cfg.Leak.Own {
			words = append(words, l.cfg.Leak.Own[i].Prefix.String())
		}
	}
	hosts := c.Hosts
	if len(hosts) == 0 {
		hosts = []string{""}
	}
	for _, w := range words {
		p, err := netip.ParsePrefix(w)
		if err != nil {
			return nil, fmt.Errorf("route.ris_live.prefixes %q: write a prefix", w)
		}
		for _, h := range hosts {
			cfg.Subscriptions = append(cfg.Subscriptions, stream.Subscription{Prefix: p, Host: h})
		}
	}
	return stream.New(cfg, streamed{l.live}, l.s.cfg.now(), l.s.log)
}

// streamed hands the stream's messages to the table.
type streamed struct{ live *route.Live }

func streamKey(p stream.Peer) route.Key {
	return route.Key{Feed: risFeed, Address: p.Address, AS: p.AS}
}

func (s streamed) Message(p stream.Peer, msg []byte, as4 bool, sent, arrival time.Time) {
	s.live.Message(streamKey(p), msg, as4, sent, arrival)
}

func (s streamed) State(p stream.Peer, up bool, sent, arrival time.Time) {
	s.live.State(streamKey(p), up, sent, arrival)
}

// Gap is counted with the stream: what was announced meanwhile isn't known, and what it
// tells next is compared with what was before.
func (s streamed) Gap(_, to time.Time) { s.live.Dropped(risFeed, 1, to) }

// station takes BMP of the configured routers.
func (l *routing) station(listen string) (*bmpstation.Station, error) {
	at, err := netip.ParseAddrPort(listen)
	if err != nil {
		return nil, fmt.Errorf("route.bmp.listen %q: write address:port, for example 0.0.0.0:11019", listen)
	}
	cfg := bmpstation.Config{Listen: at}
	for _, r := range l.cfg.BMP.Routers {
		p, err := parsePrefix(r.Prefix, "router")
		if err != nil {
			return nil, fmt.Errorf("route.bmp.routers: %w", err)
		}
		cfg.Routers = append(cfg.Routers, bmpstation.Router{Feed: r.feed(), Address: []netip.Prefix{p}})
	}
	return bmpstation.New(cfg, l.live, l.s.cfg.now(), l.s.log)
}

func (r *routerConfig) feed() string {
	if r.Name != "" {
		return r.Name
	}
	return r.Prefix
}

// feeds are the configured sources, as the table's health knows them.
func (c *routeConfig) feeds() (list []route.Source) {
	for i := range c.BMP.Routers {
		list = append(list, route.Source{Name: c.BMP.Routers[i].feed(), Kind: route.KindBMP, Address: c.BMP.Routers[i].Prefix})
	}
	for i := range c.BGP.Neighbors {
		n := &c.BGP.Neighbors[i]
		list = append(list, route.Source{Name: n.feed(), Kind: route.KindBGP, Address: n.Address, Peers: 1})
	}
	if c.sample != nil {
		list = append(list, route.Source{Name: sampleFeed, Kind: route.KindSample, Address: "-"})
	}
	if c.RIS.URL != "" {
		list = append(list, route.Source{Name: risFeed, Kind: route.KindRIS, Address: c.RIS.URL})
	}
	return list
}

// risFeed is the name of RIPE's stream.
const risFeed = "ris-live"

func (c *collectorPeerConfig) feed() string {
	if c.Name != "" {
		return c.Name
	}
	return c.Address
}
