package route

import (
	"fmt"
	"net/netip"

	"sakimori/base/wire/bgp"
	"sakimori/base/wire/bmp"
	"sakimori/observe"
)

// routers are those that tell of their peers by BMP.
type routers struct {
	list     map[routerKey]*router
	sessions int
}

type routerKey struct {
	feed string
	addr netip.Addr
}

// router is one of them.
type router struct {
	begun    int64 // it said so; 0: it wasn't seen
	clock    offset
	faults   faults
	sessions map[sessionKey]*session
}

type sessionKey struct {
	address netip.Addr
	rd      uint64
	local   bool // Loc-RIB
}

// session is one session of a router. What it tells is said once for all views.
type session struct {
	up             bool // it was seen to begin
	sent, received bgp.Open
	views          [observe.RouteAdjOutPost + 1]uint32
}

// BMP takes a whole message of the BGP Monitoring Protocol that came of a router at
// arrival (Unix nanoseconds). Changes are dated by the router's clock, its skew taken
// off; those of a first table, and of a clock that is off by more than a day, by arrival.
func (t *Table) BMP(feed string, address netip.Addr, message []byte, arrival int64) error {
	return t.bmp(feed, address, message, arrival, false)
}

// bmp is BMP; own says that the router is a session of our own, whose peers are seen as a
// collector sees them.
func (t *Table) bmp(feed string, address netip.Addr, message []byte, arrival int64, own bool) error {
	var m bmp.Message
	if _, err := bmp.Cut(message, &m); err != nil {
		return t.misread(feed, address, err)
	}
	r := t.router(routerKey{feed, address})
	switch m.Type {
	case bmp.Initiation:
		r.begun = arrival
		return nil
	case bmp.Termination:
		t.lost(r, arrival)
		return nil
	}
	var p bmp.Peer
	rest, err := m.Peer(&p)
	if err != nil {
		return t.misread(feed, address, err)
	}
	s := t.session(r, &p)
	if s == nil {
		t.counts.Refused.Peers++
		return nil
	}
	view := viewOf(&p)
	if own && view == observe.RouteAdjIn {
		view = observe.RouteCollector
	}
	switch m.Type {
	case bmp.PeerUp:
		return t.peerUp(feed, address, r, s, &p, rest, arrival)
	case bmp.PeerDown:
		r.clock.take(arrival, p.At)
		for _, n := range s.views {
			t.Down(n, arrival)
		}
		s.up = false
	case bmp.Statistics:
		r.clock.take(arrival, p.At)
		for _, n := range s.views {
			t.Heard(n, arrival)
		}
	case bmp.RouteMonitoring:
		var u bgp.Message
		if err := bmp.Monitored(rest, &u); err != nil {
			return t.misread(feed, address, err)
		}
		q := t.peer(t.viewed(feed, address, r, s, &p, view, arrival))
		if q == nil {
			return nil // counted by PeerOf
		}
		t.counts.Messages++
		t.heard(q, arrival)
		at := arrival
		if !q.first[0].on && !q.first[1].on {
			at = r.clock.take(arrival, p.At)
		}
		return t.take(q, p.Options(&s.sent, &s.received), u.Body, u.Raw, at)
	}
	return nil
}

// misread counts a message of a router that can't be read.
func (t *Table) misread(feed string, router netip.Addr, err error) error {
	t.malformed(err)
	t.router(routerKey{feed, router}).faults.add(err)
	return fmt.Errorf("%s (%s): %w", router, feed, err)
}

func (t *Table) router(k routerKey) *router {
	r := t.routers.list[k]
	if r == nil {
		r = &router{sessions: map[sessionKey]*session{}}
		if len(t.routers.list) < t.cfg.MaxPeers { // one more is heard, and forgotten at once
			t.routers.list[k] = r
		}
	}
	return r
}

// session is that of a peer of a router; nil when there are too many.
func (t *Table) session(r *router, p *bmp.Peer) *session {
	k := sessionKey{p.Address, p.Distinguisher, p.Type == bmp.LocRIB}
	s := r.sessions[k]
	if s == nil && t.routers.sessions < t.cfg.MaxPeers {
		s = &session{}
		r.sessions[k] = s
		t.routers.sessions++
	}
	return s
}

func viewOf(p *bmp.Peer) observe.RouteView {
	switch {
	case p.Type == bmp.LocRIB:
		return observe.RouteLocal
	case p.Out && p.Post:
		return observe.RouteAdjOutPost
	case p.Out:
		return observe.RouteAdjOut
	case p.Post:
		return observe.RouteAdjInPost
	}
	return observe.RouteAdjIn
}

// viewed is the number of one view of a session; one that is seen for the first time
// began with the session.
func (t *Table) viewed(feed string, address netip.Addr, r *router, s *session, p *bmp.Peer, v observe.RouteView, at int64) uint32 {
	if n := s.views[v]; n != 0 {
		return n
	}
	n := t.PeerOf(Key{Feed: feed, Router: address, Address: p.Address, AS: p.AS, RD: p.Distinguisher, View: v}, at)
	s.views[v] = n
	if q := t.peer(n); q != nil {
		q.BGPID = p.BGPID
		if s.up || r.begun > 0 && at-r.begun < firstMost { // GoBGP tells Loc-RIB without having said that it is up
			t.established(n, at, s)
		}
	}
	return n
}

// established begins the session of a view.
func (t *Table) established(n uint32, at int64, s *session) {
	t.Up(n, at, s.received.ID)
	if p := t.peer(n); p != nil && p.View < observe.RouteLocal {
		p.own = s.sent.AS
	}
}

// peerUp begins a session, or begins it anew.
func (t *Table) peerUp(feed string, address netip.Addr, r *router, s *session, p *bmp.Peer, rest []byte, arrival int64) error {
	var up bmp.Up
	if err := p.Up(rest, &up); err != nil {
		return t.misread(feed, address, err)
	}
	err := s.sent.Parse(up.Sent.Body)
	if err == nil {
		err = s.received.Parse(up.Received.Body)
	}
	if err != nil {
		return t.misread(feed, address, err)
	}
	r.clock.take(arrival, p.At)
	s.up = true
	for _, n := range s.views {
		t.established(n, arrival, s)
	}
	return nil
}

// lost says that a router tells nothing any more.
func (t *Table) lost(r *router, at int64) {
	numbers := []uint32{}
	for _, s := range r.sessions {
		numbers = append(numbers, s.views[:]...)
		s.up = false
	}
	for _, p := range t.peers.list { // in the order of numbers, not of the map
		for _, n := range numbers {
			if n == p.Number {
				t.Down(n, at)
			}
		}
	}
}

// Lost says that a router of a feed is gone: the sessions that it told of are down.
func (t *Table) Lost(feed string, address netip.Addr, at int64) {
	if r := t.routers.list[routerKey{feed, address}]; r != nil {
		t.lost(r, at)
	}
}
