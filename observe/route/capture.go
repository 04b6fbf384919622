package route

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"sakimori/base/wire/bgp"
	"sakimori/base/wire/bmp"
	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
)

// capture reads the connections with BMP or BGP of a capture.
func (f *reading) capture(ctx context.Context, r io.Reader) (err error) {
	c, err := pcap.NewReader(r)
	if err != nil {
		return fmt.Errorf("read routes: %w", err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	w := wires{list: map[wireKey]*wire{}, to: f}
	defer w.end()
	var b packet.Block
	var d packet.Decoder
	var p packet.Packet
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read routes: %w", err)
		}
		if err := c.ReadBlock(&b); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read routes: %w", err)
		}
		for i := range b.Frames {
			x := &b.Frames[i]
			if d.Decode(x.Link, b.Bytes(i), x.Orig, &p) == packet.OK && p.Proto == packet.TCP && p.Flags&(packet.LaterFragment|packet.NoTransport) == 0 {
				w.segment(&p, x.Time, x.Len < x.Orig || p.Flags&packet.Fragment != 0)
			}
		}
	}
}

// What is remembered of connections.
const (
	wiresMost  = 4096      // directions of connections at a time; beyond, segments are passed over and counted
	listenMost = 8 << 10   // bytes of a direction by which it must show what it carries
	wireMost   = 2 << 20   // bytes of a direction that wait for the rest of their message
	heldMost   = 256 << 10 // bytes that wait for a segment before them
	portBGP    = 179
)

// wireKey is one direction of a connection.
type wireKey struct {
	src, dst         packet.Addr
	srcPort, dstPort uint16
}

func (k wireKey) back() wireKey { return wireKey{k.dst, k.src, k.dstPort, k.srcPort} }

// wires puts the segments of connections in order.
type wires struct {
	list map[wireKey]*wire
	to   *reading
}

// wire is one direction.
type wire struct {
	key    wireKey
	begun  bool
	lost   bool   // something is missing: look for where a message begins
	slack  bool   // its SYN had data; writers of captures forget that it counts for one
	next   uint32 // sequence number that comes next
	buf    []byte // what is no whole message yet
	held   []segment
	bytes  int // of held
	speaks speech
	at     int64

	open    bgp.Open // of BGP: what its sender said, where opened
	opened  bool
	options bgp.Options
	agreed  bool
	peer    uint32
}

// speech is what a connection carries.
type speech uint8

const (
	unheard speech = iota
	speaksBGP
	speaksBMP
	foreign
)

// segment is one that came too early.
type segment struct {
	seq  uint32
	data []byte
	at   int64
}

// segment takes one segment; cut says that the capture has only its beginning.
func (w *wires) segment(p *packet.Packet, at int64, cut bool) {
	k := wireKey{p.Src, p.Dst, p.SrcPort, p.DstPort}
	c := w.list[k]
	if c == nil {
		if len(p.Payload) == 0 && p.TCPFlags&packet.SYN == 0 {
			return
		}
		if len(w.list) >= wiresMost {
			w.to.file.Skipped++
			return
		}
		c = &wire{key: k}
		w.list[k] = c
	}
	if c.speaks == foreign && p.TCPFlags&packet.SYN == 0 {
		return
	}
	c.at = at
	seq := p.Seq
	if p.TCPFlags&packet.SYN != 0 {
		if c.begun && seq+1 == c.next {
			return // said again
		}
		w.over(c)
		*c = wire{key: k, begun: true, next: seq + 1, at: at, buf: c.buf[:0], slack: len(p.Payload) > 0}
		seq++
	} else if len(p.Payload) > 0 && c.slack {
		if c.slack = false; seq+1 == c.next {
			c.next = seq
		}
	}
	if len(p.Payload) > 0 {
		if !c.begun { // the capture begins in its midst
			c.begun, c.lost, c.next = true, true, seq
		}
		w.put(c, segment{seq, p.Payload, at})
		if cut {
			w.gap(c)
			c.begun = false // what the segment had more isn't known
		}
	}
	if p.TCPFlags&(packet.FIN|packet.RST) != 0 {
		w.over(c)
		delete(w.list, k)
		if o := w.list[k.back()]; o != nil && o.speaks == speaksBMP && p.TCPFlags&packet.RST != 0 { // the station broke it off
			w.over(o)
			delete(w.list, o.key)
		}
	}
}

// put takes a segment in order, or holds it until those before it came.
func (w *wires) put(c *wire, s segment) {
	switch ahead := int32(s.seq - c.next); { //nolint:gosec // modulo 2³²
	case ahead > 0:
		s.data = slices.Clone(s.data)
		c.held, c.bytes = append(c.held, s), c.bytes+len(s.data)
		slices.SortStableFunc(c.held, func(a, b segment) int { return cmp.Compare(int32(a.seq-c.next), int32(b.seq-c.next)) }) //nolint:gosec // modulo 2³²
		if c.bytes > heldMost {
			w.gap(c)
		}
		return
	case int(-ahead) >= len(s.data) && ahead < 0:
		return // all of it was there
	default:
		w.take(c, s.data[-ahead:], s.at)
	}
	w.release(c)
}

// release takes what was held and comes next.
func (w *wires) release(c *wire) {
	for len(c.held) > 0 {
		s := c.held[0]
		ahead := int32(s.seq - c.next) //nolint:gosec // modulo 2³²
		if ahead > 0 {
			return
		}
		c.held, c.bytes = c.held[1:], c.bytes-len(s.data)
		if int(-ahead) < len(s.data) {
			w.take(c, s.data[-ahead:], s.at)
		}
	}
}

// gap gives up what is missing before what is held.
func (w *wires) gap(c *wire) {
	for len(c.held) > 0 {
		missing := c.held[0].seq - c.next
		w.to.file.Lost += uint64(missing) + uint64(len(c.buf))
		c.next, c.lost, c.buf = c.held[0].seq, true, c.buf[:0]
		w.release(c)
	}
}

// over ends a direction: the session, or the router, is gone.
func (w *wires) over(c *wire) {
	if !c.begun {
		return
	}
	w.gap(c)
	w.to.file.Lost += uint64(len(c.buf))
	t := w.to.table
	switch c.speaks {
	case speaksBGP:
		t.Down(c.peer, c.at)
		if o := w.list[c.key.back()]; o != nil {
			t.Down(o.peer, c.at)
		}
	case speaksBMP:
		t.Lost(w.to.o.Feed, c.key.src.Netip(), c.at)
	case unheard, foreign:
	}
}

// end gives up what waits at the end of the capture; sessions go on.
func (w *wires) end() {
	for _, k := range w.sorted() {
		c := w.list[k]
		w.gap(c)
		w.to.file.Lost += uint64(len(c.buf))
	}
}

// sorted are the directions in an order that depends on what they are alone.
func (w *wires) sorted() []wireKey {
	list := make([]wireKey, 0, len(w.list))
	for k := range w.list {
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b wireKey) int {
		return cmp.Or(a.src.Compare(b.src), a.dst.Compare(b.dst), cmp.Compare(a.srcPort, b.srcPort), cmp.Compare(a.dstPort, b.dstPort))
	})
	return list
}

// take takes bytes in order.
func (w *wires) take(c *wire, data []byte, at int64) {
	c.next += uint32(len(data)) //nolint:gosec // of one segment
	c.at = at
	if c.speaks == foreign {
		return
	}
	c.buf = append(c.buf, data...)
	b := c.buf
	for len(b) > 0 {
		if c.speaks == unheard {
			if len(b) < bgp.HeaderSize && !c.lost {
				break
			}
			if c.speaks = w.listen(c, b); c.speaks == unheard {
				break
			}
			if c.speaks == foreign {
				b = nil
				break
			}
		}
		if c.lost {
			n, ok := begins(b, c.speaks)
			w.to.file.Lost += uint64(n) //nolint:gosec // a length
			if b = b[n:]; !ok {
				break
			}
			c.lost = false
		}
		n, err := w.message(c, b, at)
		if errors.Is(err, bgp.ErrShort) || errors.Is(err, bmp.ErrShort) {
			break
		}
		if err != nil { // out of step
			w.to.wrong(err)
			w.to.file.Lost++
			c.lost, n = true, 1
		}
		b = b[n:]
	}
	c.buf = c.buf[:copy(c.buf, b)]
	if len(c.buf) > wireMost { // can't be: no message is so long
		w.to.file.Lost += uint64(len(c.buf))
		c.buf, c.lost = c.buf[:0], true
	}
}

// listen tells what a connection carries; unheard where more must come for that. In its
// midst BMP shows by a message with an UPDATE in it, and BGP by two messages, as one alone
// may be within BMP.
func (w *wires) listen(c *wire, b []byte) speech {
	var m bgp.Message
	_, err := bgp.Cut(b, bgp.MaxExtended, &m)
	switch {
	case c.key.srcPort == portBGP || c.key.dstPort == portBGP:
		return speaksBGP
	case !c.lost && (err == nil || errors.Is(err, bgp.ErrShort)):
		return speaksBGP
	}
	if !c.lost {
		var x bmp.Message
		if _, err := bmp.Cut(b, &x); (err == nil || errors.Is(err, bmp.ErrShort)) && b[5] <= byte(bmp.RouteMirroring) {
			return speaksBMP
		}
		return foreign
	}
	if _, ok := begins(b, speaksBMP); ok {
		return speaksBMP
	}
	for rest := b; ; rest = rest[1:] {
		at, ok := begins(rest, speaksBGP)
		if !ok {
			break
		}
		rest = rest[at:]
		if n, err := bgp.Cut(rest, bgp.MaxExtended, &m); err == nil && len(rest) >= n+16 && marker(rest[n:]) {
			return speaksBGP
		}
	}
	if len(b) < listenMost {
		return unheard
	}
	return foreign
}

// updateIn tells whether b begins with a BMP message that has an UPDATE.
func updateIn(b []byte) bool {
	const head = bmp.HeaderSize + 42
	return len(b) >= head+16 && b[5] == byte(bmp.RouteMonitoring) && marker(b[head:])
}

// begins looks for where a message begins, and tells how many bytes stand before it; where
// there is none, how many can't be the beginning of one. BMP has no marker: only a message
// with an UPDATE in it does.
func begins(b []byte, s speech) (n int, ok bool) {
	const head = bmp.HeaderSize + 42
	for i := range b {
		rest := b[i:]
		if s == speaksBMP {
			var m bmp.Message
			_, err := bmp.Cut(rest, &m)
			switch {
			case err != nil && !errors.Is(err, bmp.ErrShort):
				continue
			case len(rest) < head+16:
				return i, false // more may tell
			case updateIn(rest):
				return i, true
			}
			continue
		}
		if rest[0] != 0xff {
			continue
		}
		if len(rest) < bgp.HeaderSize {
			return i, false
		}
		var m bgp.Message
		if _, err := bgp.Cut(rest, bgp.MaxExtended, &m); err == nil && m.Type >= bgp.TypeOpen && m.Type <= bgp.TypeRefresh || errors.Is(err, bgp.ErrShort) && rest[18] <= byte(bgp.TypeRefresh) {
			return i, true
		}
	}
	return len(b), false
}

func marker(b []byte) bool {
	for _, x := range b[:16] {
		if x != 0xff {
			return false
		}
	}
	return true
}

// message takes the first message of b, and tells how many bytes it has.
func (w *wires) message(c *wire, b []byte, at int64) (int, error) {
	f := w.to
	if c.speaks == speaksBMP {
		var m bmp.Message
		n, err := bmp.Cut(b, &m)
		if err == nil {
			f.at(at)
			_ = f.table.BMP(f.o.Feed, c.key.src.Netip(), m.Raw, at) // counted there
		}
		return n, err
	}
	var m bgp.Message
	n, err := bgp.Cut(b, bgp.MaxExtended, &m)
	if err == nil {
		f.at(at)
		w.bgp(c, &m, at)
	}
	return n, err
}

// bgp takes a message of a session. What the sender is able to do stands in its OPEN;
// where the capture begins later, its AS and the size of numbers are those of its first
// UPDATE.
func (w *wires) bgp(c *wire, m *bgp.Message, at int64) {
	t := w.to.table
	switch m.Type {
	case bgp.TypeOpen:
		if err := c.open.Parse(m.Body); err != nil {
			w.to.wrong(err)
			return
		}
		c.opened, c.agreed = true, false
		c.peer = w.sender(c, c.open.AS, at)
		t.Up(c.peer, at, c.open.ID)
		return
	case bgp.TypeNotification:
		t.Down(c.peer, at)
		if o := w.list[c.key.back()]; o != nil {
			t.Down(o.peer, at)
		}
		return
	}
	if c.peer == 0 {
		as := uint32(0)
		if m.Type == bgp.TypeUpdate {
			u := &t.update
			for _, four := range [...]bool{true, false} {
				if u.Parse(m.Body, bgp.Options{AS4: four}); u.Fault < bgp.Withdraw {
					break
				}
			}
			if u.Path(&t.path); len(t.path.ASes) > 0 {
				as = t.path.ASes[0]
			}
		}
		if as == 0 {
			return // a keepalive of somebody, or a withdrawal of what nobody knows
		}
		c.peer = w.sender(c, as, at)
	}
	if !c.agreed {
		c.agreed = true
		c.options = bgp.Options{AS4: true}
		if o := w.list[c.key.back()]; c.opened && o != nil && o.opened {
			c.options = bgp.Agreed(&c.open, &o.open)
		}
	}
	_ = t.either(c.peer, &c.options, m, at) // counted there
}

func (w *wires) sender(c *wire, as uint32, at int64) uint32 {
	return w.to.table.PeerOf(Key{Feed: w.to.o.Feed, Address: c.key.src.Netip(), AS: as}, at)
}
