package station

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"sakimori/base/clock"
	"sakimori/base/wire/bgp"
	"sakimori/base/wire/bmp"
	"sakimori/lawful"
)

// router is one that calls. Only one connection of it counts, the newest: a router that
// starts again may do so before we hear that the old one is gone.
type router struct {
	*Station
	caller
	turn sync.Mutex // held by the connection that counts

	mu   sync.Mutex // of all below
	conn net.Conn
	seen Status
	each map[peerKey]*peer
}

// peerKey is the part of a peer's header that tells it from others: type, distinguisher
// and address.
type peerKey [1 + 8 + 16]byte

// peer is one of a router's.
type peer struct {
	header [42]byte // as it came last with Peer Up, or first
	Peer
}

// The most that is remembered of one router.
const (
	maxPeers = 4096
	maxStats = 64 // counters of one peer
)

// serve reads a connection to its end.
func (r *router) serve(ctx context.Context, conn net.Conn) {
	r.mu.Lock()
	if r.conn != nil {
		_ = r.conn.Close() // it makes way
		r.seen.Replaced++
	}
	r.conn = conn
	r.mu.Unlock()
	r.turn.Lock()
	defer r.turn.Unlock()
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	r.mu.Lock()
	if r.conn != conn { // another has come meanwhile
		r.mu.Unlock()
		return
	}
	r.each = map[peerKey]*peer{}
	now := r.clock.Now()
	r.seen.Connected, r.seen.Since, r.seen.Last, r.seen.Ended = true, now, now, nil
	r.mu.Unlock()

	err := r.read(ctx, conn)
	if ctx.Err() != nil {
		return // it is us who stop
	}
	r.over(conn, err)
}

// over tells that a router's peers aren't monitored any more.
func (r *router) over(conn net.Conn, err error) {
	why := say("ルーターが接続を閉じました", "the router closed the connection")
	ended, terminated := errors.AsType[*terminated](err)
	switch {
	case terminated:
		why = say("ルーターが終了を通知しました: "+ended.why.JA, "the router ended it: "+ended.why.EN)
	case errors.Is(err, os.ErrDeadlineExceeded):
		why = say("メッセージが途中で止まったか、何も届きませんでした", "it began a message and didn't end it in time, or said nothing at all")
	case errors.Is(err, net.ErrClosed):
		why = say("ルーターが接続し直しました", "the router called again")
	case errors.Is(err, bmp.ErrVersion), errors.Is(err, bmp.ErrLength):
		why = say("BMP バージョン 3 ではないデータが届きました。ルーターの設定と宛先ポートを確認してください", "what it sent isn't BMP version 3: look at its settings and at the port it calls")
	case !errors.Is(err, io.EOF):
		why = say("接続が切れました: "+err.Error(), "the connection broke: "+err.Error())
	}
	r.mu.Lock()
	now := r.clock.Now()
	r.seen.Connected, r.seen.Since, r.seen.Ended = false, now, &why
	r.seen.Resets++
	if r.conn == conn {
		r.conn = nil
	}
	var downs [][]byte
	for _, p := range r.each {
		if p.Up {
			p.Up, p.Since, p.Reason = false, now, &reasons[bmp.Unmonitored]
			downs = append(downs, unmonitored(p, now))
		}
	}
	r.mu.Unlock()
	slices.SortFunc(downs, slices.Compare)
	for _, d := range downs {
		r.sink.BMP(r.feed, r.addr, d, now)
	}
	r.log.LogAttrs(context.Background(), slog.LevelWarn, "a router's BMP ended", slog.String("feed", r.feed), slog.String("router", r.addr.String()), slog.String("why", why.EN), slog.Int("peers", len(downs)))
}

// unmonitored is a Peer Down of reason 5: nothing is told of it any more.
func unmonitored(p *peer, now time.Time) []byte {
	b := append([]byte{bmp.Version, 0, 0, 0, 0, byte(bmp.PeerDown)}, p.header[:]...)
	binary.BigEndian.PutUint32(b[bmp.HeaderSize+34:], uint32(now.Unix()))            // #nosec G115 -- until 2106
	binary.BigEndian.PutUint32(b[bmp.HeaderSize+38:], uint32(now.Nanosecond()/1000)) // #nosec G115 -- microseconds
	b = append(b, byte(bmp.Unmonitored))
	binary.BigEndian.PutUint32(b[1:], uint32(len(b))) // #nosec G115 -- 49
	return b
}

// terminated is the router's own word for the end.
type terminated struct{ why lawful.Text }

func (t *terminated) Error() string { return t.why.EN }

func say(ja, en string) lawful.Text { return lawful.Text{JA: ja, EN: en} }

// read cuts the stream into messages and hands them on.
func (r *router) read(ctx context.Context, conn net.Conn) error {
	buf, used := make([]byte, 64<<10), 0 // what has come and isn't handed on
	patience := r.clock.Now().Add(r.cfg.Hello)
	var last peerKey
	for ctx.Err() == nil {
		// Between two messages a router may be silent; within one, and before the first, not
		// for ever.
		deadline := time.Time{}
		if !patience.IsZero() {
			deadline = clock.System{}.Now().Add(patience.Sub(r.clock.Now()))
		}
		if err := conn.SetReadDeadline(deadline); err != nil {
			return err
		}
		n, err := conn.Read(buf[used:])
		if n == 0 && err != nil {
			return err
		}
		used += n
		now := r.clock.Now()
		rest, count := buf[:used], uint64(0)
		for {
			var m bmp.Message
			size, err := bmp.Cut(rest, &m)
			if errors.Is(err, bmp.ErrShort) {
				break
			}
			if err == nil {
				err = r.take(&m, &last, now)
			}
			if err != nil {
				r.count(count, used-len(rest), now)
				return err
			}
			count++
			rest = rest[size:]
		}
		r.count(count, used-len(rest), now)
		switch {
		case len(rest) == 0:
			patience = time.Time{}
		case count > 0, patience.IsZero():
			patience = r.clock.Now().Add(r.cfg.Hello) // however long the sink was busy
		}
		used = copy(buf, rest)
		if used == len(buf) { // one message is longer: no more than a message may be, as Cut has seen
			buf = append(buf, make([]byte, min(len(buf), bmp.MaxMessage))...)
		}
	}
	return ctx.Err()
}

func (r *router) count(messages uint64, bytes int, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen.Messages += messages
	r.seen.Bytes += uint64(bytes) // #nosec G115 -- what was read
	if messages > 0 {
		r.seen.Last = now
	}
}

// take hands one message on, and notes of it what there is to be known of the router.
func (r *router) take(m *bmp.Message, last *peerKey, now time.Time) error {
	switch m.Type {
	case bmp.Initiation:
		r.greeted(m.Body)
	case bmp.Termination:
		r.sink.BMP(r.feed, r.addr, m.Raw, now)
		return &terminated{farewell(m.Body)}
	default:
		var p bmp.Peer
		rest, err := m.Peer(&p)
		if err != nil {
			r.malformed()
			return nil // the next one begins where it should
		}
		var key peerKey
		key[0] = m.Body[0]
		copy(key[1:], m.Body[2:26])
		if key != *last || m.Type != bmp.RouteMonitoring {
			*last = key
			r.peer(m, key, &p, rest, now)
		}
	}
	r.sink.BMP(r.feed, r.addr, m.Raw, now)
	return nil
}

func (r *router) malformed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen.Malformed++
}

// greeted reads what the router says of itself.
func (r *router) greeted(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var t bmp.TLV
		rest, ok, err := bmp.NextTLV(b, &t)
		if err != nil {
			r.seen.Malformed++
		}
		if !ok {
			return
		}
		switch b = rest; t.Type {
		case bmp.InfoName:
			r.seen.Name = words(t.Value)
		case bmp.InfoSystem:
			r.seen.Description = words(t.Value)
		}
	}
}

// farewell is why a router ends it (RFC 7854, 4.5).
func farewell(b []byte) lawful.Text {
	why := say("理由の通知なし", "no reason told")
	for {
		var t bmp.TLV
		rest, ok, _ := bmp.NextTLV(b, &t)
		if !ok {
			return why
		}
		switch b = rest; {
		case t.Type == bmp.EndReason && len(t.Value) == 2 && int(binary.BigEndian.Uint16(t.Value)) < len(farewells):
			why = farewells[binary.BigEndian.Uint16(t.Value)]
		case t.Type == bmp.EndString && len(t.Value) > 0:
			why.JA, why.EN = why.JA+": "+words(t.Value), why.EN+": "+words(t.Value)
		}
	}
}

var farewells = [...]lawful.Text{
	say("管理者が止めました", "its people stopped it"), say("理由の通知なし", "no reason told"), say("資源が足りません", "out of resources"),
	say("別の接続と重なりました", "a second session"), say("恒久的に終了します", "for good"),
}

// words makes a stranger's text fit to be shown.
func words(b []byte) string {
	s := strings.ToValidUTF8(string(b[:min(len(b), 256)]), "?")
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == utf8.RuneError || c == 0x7f {
			return ' '
		}
		return c
	}, s)
}

// peer notes what becomes of one.
func (r *router) peer(m *bmp.Message, key peerKey, p *bmp.Peer, rest []byte, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.each[key]
	if known == nil {
		if len(r.each) >= maxPeers {
			r.seen.Unnoted++
			return
		}
		known = &peer{}
		copy(known.header[:], m.Body)
		known.Peer = Peer{Address: p.Address, AS: p.AS, RD: p.Distinguisher, Type: uint8(p.Type)}
		if m.Type == bmp.RouteMonitoring || m.Type == bmp.PeerUp { // some tell their own table without a word before
			known.Up, known.Since = true, now
		}
		r.each[key] = known
	}
	switch m.Type {
	case bmp.PeerUp:
		var up bmp.Up
		if err := p.Up(rest, &up); err != nil {
			r.seen.Malformed++
			return
		}
		copy(known.header[:], m.Body)
		known.AS, known.BGPID, known.Up, known.Since, known.Reason, known.Role = p.AS, p.BGPID, true, now, nil, ""
		var open bgp.Open
		if open.Parse(up.Received.Body) == nil && open.HasRole {
			known.Role = open.Role.String()
		}
	case bmp.PeerDown:
		var d bmp.Down
		if err := bmp.ParseDown(rest, &d); err != nil {
			r.seen.Malformed++
			return
		}
		known.Up, known.Since, known.Reason = false, now, &reasons[min(int(d.Reason), len(reasons)-1)]
	case bmp.Statistics:
		known.counted(rest, &r.seen)
	}
}

// reasons are those of a Peer Down, by their number (RFC 7854, 4.9, and RFC 9069).
var reasons = [...]lawful.Text{
	say("理由の通知なし", "no reason told"),
	say("ルーターが通知を送って切りました", "the router ended it with a notification"),
	say("ルーターが切りました", "the router ended it"),
	say("相手が通知を送って切りました", "the peer ended it with a notification"),
	say("相手が切りました", "the peer ended it"),
	say("監視の対象ではなくなりました", "it isn't monitored any more"),
	say("経路表がなくなりました", "its table is gone"),
	say("理由の通知なし", "no reason told"),
}

// counted keeps a report of statistics.
func (p *peer) counted(rest []byte, seen *Status) {
	var c bmp.Counts
	if err := bmp.ParseCounts(rest, &c); err != nil {
		seen.Malformed++
		return
	}
	var k bmp.Count
	for c.Next(&k) {
		st := Stat{Type: uint16(k.Stat), Value: k.Value}
		if k.Scoped {
			st.Family = k.Family.String()
		}
		i := slices.IndexFunc(p.Stats, func(o Stat) bool { return o.Type == st.Type && o.Family == st.Family })
		switch {
		case i >= 0:
			p.Stats[i] = st
		case len(p.Stats) < maxStats:
			p.Stats = append(p.Stats, st)
		}
	}
	if c.Err() != nil {
		seen.Malformed++
	}
}

// Status is how it stands with one router.
type Status struct {
	Feed        string       `json:"feed"`
	Router      netip.Addr   `json:"router,omitzero"` // from where it calls; zero: it never has
	Name        string       `json:"name"`            // what it calls itself
	Description string       `json:"description"`
	Connected   bool         `json:"connected"`
	Since       time.Time    `json:"since,omitzero"` // of Connected
	Last        time.Time    `json:"last,omitzero"`  // message
	Ended       *lawful.Text `json:"ended"`          // why the last connection did
	Messages    uint64       `json:"messages"`
	Bytes       uint64       `json:"bytes"`
	Malformed   uint64       `json:"malformed"` // messages, or parts of them
	Resets      uint64       `json:"resets"`    // connections that ended
	Replaced    uint64       `json:"replaced"`  // by another of the same router: many are two routers behind one address
	Unnoted     uint64       `json:"unnoted"`   // messages of peers beyond those that are remembered
	Peers       []Peer       `json:"peers"`
}

// Peer is a BGP peer of a router, as the router tells.
type Peer struct {
	Address netip.Addr   `json:"address,omitzero"`
	AS      uint32       `json:"as"`
	BGPID   netip.Addr   `json:"bgp_id,omitzero"`
	RD      uint64       `json:"rd,omitempty"`
	Type    uint8        `json:"type"` // of RFC 7854 and 9069: 3 is the router's own table
	Up      bool         `json:"up"`
	Since   time.Time    `json:"since,omitzero"`
	Role    string       `json:"role,omitempty"` // what it says it is to the router (RFC 9234)
	Reason  *lawful.Text `json:"reason"`         // why it isn't up
	Stats   []Stat       `json:"stats"`          // that the router keeps
}

// Stat is one counter of a router (RFC 7854, 4.8).
type Stat struct {
	Type   uint16 `json:"type"`
	Family string `json:"family,omitempty"`
	Value  uint64 `json:"value"`
}

// Routers is how it stands with all that are configured or have called, by feed and address.
func (s *Station) Routers() (list []Status) {
	s.mu.Lock()
	routers := make([]*router, 0, len(s.routers))
	for _, r := range s.routers {
		routers = append(routers, r)
	}
	s.mu.Unlock()
	for _, r := range routers {
		list = append(list, r.status())
	}
	for _, c := range s.cfg.Routers {
		if !slices.ContainsFunc(list, func(st Status) bool { return st.Feed == c.Feed }) {
			list = append(list, Status{Feed: c.Feed})
		}
	}
	slices.SortFunc(list, func(a, b Status) int {
		return cmp.Or(strings.Compare(a.Feed, b.Feed), a.Router.Compare(b.Router))
	})
	return list
}

func (r *router) status() Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := r.seen
	st.Feed, st.Router = r.feed, r.addr
	st.Peers = make([]Peer, 0, len(r.each))
	for _, p := range r.each {
		q := p.Peer
		q.Stats = slices.Clone(q.Stats)
		st.Peers = append(st.Peers, q)
	}
	slices.SortFunc(st.Peers, func(a, b Peer) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Type, b.Type), cmp.Compare(a.RD, b.RD))
	})
	return st
}
