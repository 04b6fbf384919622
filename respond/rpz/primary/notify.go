package primary

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
)

// Lanes are told apart so that a subscriber's choice and an emergency don't wait for the
// transfer of a large zone.
var lanes = [][]rpz.Zone{{rpz.OptOut, rpz.Emergency}, {rpz.Allow, rpz.C2}}

// How often a peer that doesn't answer a NOTIFY is told again.
const (
	answerWithin = time.Second
	backoffFirst = 2 * time.Second
	backoffMost  = time.Minute
)

// notifyAll keeps each pool informed: one after the other, so that never two of a pool
// fetch at once, and somebody always answers its clients.
func (s *Server) notifyAll(ctx context.Context, all *sync.WaitGroup) {
	pools := map[string][]*peer{}
	var names []string
	for _, p := range s.peers {
		if len(p.Peer.Notify) == 0 {
			continue
		}
		name := "pool " + p.Pool
		if p.Pool == "" {
			name = "peer " + p.Name
		}
		if pools[name] == nil {
			names = append(names, name)
		}
		pools[name] = append(pools[name], p)
	}
	for _, n := range names {
		for _, l := range lanes {
			all.Go(func() { s.inform(ctx, pools[n], l) })
		}
	}
}

// errand is what one peer is to be told of one zone.
type errand struct {
	peer      *peer
	zone      rpz.Zone
	told      uint32
	tries     int
	notBefore time.Time
}

// inform tells the peers of a pool, one after the other, again and again.
func (s *Server) inform(ctx context.Context, pool []*peer, lane []rpz.Zone) {
	var errands []*errand
	for _, p := range pool {
		for _, z := range lane {
			if p.takes(z) {
				errands = append(errands, &errand{peer: p, zone: z})
			}
		}
	}
	at := 0 // whose turn it is
	for ctx.Err() == nil {
		changed := s.store.Changed()
		now := clock.System{}.Now()
		var turn *errand
		wake := now.Add(time.Hour)
		for i := range errands {
			e := errands[(at+i)%len(errands)]
			if v := s.store.Current(e.zone); v == nil || v.Serial == e.told {
				continue
			}
			if e.notBefore.After(now) {
				if e.notBefore.Before(wake) {
					wake = e.notBefore
				}
				continue
			}
			turn, at = e, (at+i+1)%len(errands)
			break
		}
		if turn == nil {
			timer := time.NewTimer(wake.Sub(now))
			select {
			case <-ctx.Done():
			case <-changed:
			case <-timer.C:
			}
			timer.Stop()
			continue
		}
		s.run(ctx, turn)
	}
}

// run tells one peer of one zone, and waits until it has fetched it. Who doesn't answer
// holds nobody up.
func (s *Server) run(ctx context.Context, e *errand) {
	serial := s.store.Current(e.zone).Serial
	if z, _ := e.peer.zone(e.zone); z.has(serial) { // it has come by itself
		e.told, e.tries = serial, 0
		return
	}
	s.Counters.Notified.Add(1)
	err := s.tell(ctx, e.peer, e.zone)
	if ctx.Err() != nil {
		return
	}
	now := s.cfg.Clock.Now()
	if err != nil {
		s.Counters.Unanswered.Add(1)
		e.notBefore = clock.System{}.Now().Add(min(backoffFirst<<min(e.tries, 8), backoffMost))
		e.tries++
		e.peer.trouble(now, string(e.zone)+" の NOTIFY に応答がありません: "+err.Error(), "a NOTIFY of "+string(e.zone)+" isn't answered: "+err.Error())
		return
	}
	e.told, e.tries, e.notBefore = serial, 0, time.Time{}
	e.peer.on(e.zone, func(_ *PeerState, z *ZoneState) { z.Told, z.ToldAt = serial, now })
	if !s.seen(ctx, e.peer, e.zone, serial) && ctx.Err() == nil {
		s.Counters.Unseen.Add(1)
		e.peer.trouble(s.cfg.Clock.Now(), string(e.zone)+" の変更を知らせたのに取りに来ません", "it was told of a change of "+string(e.zone)+" and doesn't fetch it")
	}
}

// seen waits until a peer has a serial.
func (s *Server) seen(ctx context.Context, p *peer, zone rpz.Zone, serial uint32) bool {
	limit := time.NewTimer(s.cfg.Limits.Patience)
	defer limit.Stop()
	look := time.NewTicker(presumeAfter / 8)
	defer look.Stop()
	for {
		z, changed := p.zone(zone)
		z.settle(s.cfg.Clock.Now())
		if z.has(serial) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-limit.C:
			return false
		case <-changed:
		case <-look.C:
		}
	}
}

// tell sends a NOTIFY, twice at most, to each address of the peer until one is answered.
func (s *Server) tell(ctx context.Context, p *peer, zone rpz.Zone) (err error) {
	for _, to := range p.Peer.Notify {
		for range 2 {
			var final bool
			if final, err = s.notify(ctx, p, to, zone); err == nil || ctx.Err() != nil {
				return err
			}
			if final {
				break
			}
		}
	}
	return err
}

// notify sends one NOTIFY. An answer that says no is final. The serial isn't in it: so the
// peer asks for it, and shows whether it is up to date.
func (s *Server) notify(ctx context.Context, p *peer, to netip.AddrPort, zone rpz.Zone) (final bool, err error) {
	d := net.Dialer{LocalAddr: s.from(to.Addr()), Timeout: answerWithin}
	conn, err := d.DialContext(ctx, "udp", to.String())
	if err != nil {
		return false, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends the wait
	defer stop()
	m := dns.Message{ID: uint16(rand.Uint32()), Opcode: dns.Notify, Authority: true, Counts: [4]uint16{1}} // #nosec G404 G115 -- the answer tells nothing, and is believed to no effect
	raw := dns.AppendQuestion(m.AppendHeader(nil), dns.Question{Name: zone.Name(), Type: dns.SOA, Class: dns.IN})
	if key := s.keys[string(p.Key)]; key != nil {
		raw = append(raw, key.Begin(nil).Sign(wall(), raw)...)
		binary.BigEndian.PutUint16(raw[10:], 1)
	}
	if _, err := conn.Write(raw); err != nil {
		return false, err
	}
	if err := conn.SetReadDeadline(clock.System{}.Now().Add(answerWithin)); err != nil {
		return false, err
	}
	buf := make([]byte, 2048)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			var late net.Error
			if errors.As(err, &late) && late.Timeout() {
				return false, fmt.Errorf("%s is silent", to)
			}
			return false, err
		}
		var a dns.Message
		if a.Read(buf[:n]) != nil || !a.Response || a.ID != m.ID || a.Opcode != dns.Notify {
			continue
		}
		if a.Rcode != dns.NoError {
			return true, fmt.Errorf("%s answers with code %d: is it told that we are its primary, with this key?", to, a.Rcode)
		}
		return true, nil
	}
}

// from is the address that a peer knows us by: the one that we listen on.
func (s *Server) from(to netip.Addr) net.Addr {
	plain, secure := s.Addrs()
	for _, a := range slices.Concat(plain, secure) {
		if !a.Addr().IsUnspecified() && a.Addr().Is4() == to.Unmap().Is4() && a.Addr().IsLoopback() == to.IsLoopback() {
			return &net.UDPAddr{IP: a.Addr().AsSlice()}
		}
	}
	return nil
}
