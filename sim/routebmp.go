package sim

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"sakimori/base/clock"
)

// BMP message types (RFC 7854).
const (
	bmpMonitor  = 0
	bmpDown     = 2
	bmpUp       = 3
	bmpInitiate = 4
	bmpEnd      = 5
)

// bmpWriter is the sink of a stream of a router that has the scene's peers as neighbours and
// tells what comes from them, before its policy.
type bmpWriter struct {
	w     io.Writer
	wait  func(at int64) error // nil: nothing waits
	peers []RoutePeer
	now   int64
	buf   []byte
	sent  *RoutesSent
}

func (b *bmpWriter) head(kind byte) { b.buf = append(b.buf[:0], 3, 0, 0, 0, 0, kind) }

func (b *bmpWriter) peer(at int64, k int) {
	p := b.peers[k]
	flags := byte(0)
	if p.Address.Is6() {
		flags = 0x80
	}
	b.buf = append(b.buf, 0, flags, 0, 0, 0, 0, 0, 0, 0, 0)
	b.buf = append16(b.buf, p.Address)
	b.buf = binary.BigEndian.AppendUint32(b.buf, p.AS)
	b.buf = append(b.buf, p.BGPID.AsSlice()...)
	b.buf = binary.BigEndian.AppendUint32(b.buf, uint32(at/1e9))
	b.buf = binary.BigEndian.AppendUint32(b.buf, uint32(at%1e9/1e3))
}

// append16 appends an address as BMP does: one of IPv4 at the end of 16 bytes.
func append16(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		b = append(b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	}
	return append(b, a.AsSlice()...)
}

func (b *bmpWriter) flush() error {
	binary.BigEndian.PutUint32(b.buf[1:], uint32(len(b.buf)))
	n, err := b.w.Write(b.buf)
	b.sent.Messages++
	b.sent.Bytes += uint64(n)
	return err
}

func (b *bmpWriter) Begin(start int64, peers []RoutePeer) error {
	b.peers, b.now = append([]RoutePeer{}, peers...), start
	b.head(bmpInitiate)
	for kind, s := range [...]string{1: "sakimori sim: a router of a made-up Internet", 2: "sim"} {
		if s != "" {
			b.buf = binary.BigEndian.AppendUint16(b.buf, uint16(kind))
			b.buf = append(binary.BigEndian.AppendUint16(b.buf, uint16(len(s))), s...)
		}
	}
	if err := b.flush(); err != nil {
		return err
	}
	for k := range b.peers {
		if err := b.up(start, k); err != nil {
			return err
		}
	}
	return nil
}

// up tells that a session is there, with the OPEN of both sides.
func (b *bmpWriter) up(at int64, k int) error {
	p := b.peers[k]
	b.head(bmpUp)
	b.peer(at, k)
	local := collector4
	if p.Address.Is6() {
		local = collector6
	}
	b.buf = append16(b.buf, local)
	b.buf = append(b.buf, 0, 179, 0xc0, byte(k))
	b.buf = append(b.buf, open(collectorAS, collector4)...)
	b.buf = append(b.buf, open(p.AS, p.BGPID)...)
	return b.flush()
}

// open is an OPEN message: both families, AS numbers of four bytes.
func open(as uint32, id netip.Addr) []byte {
	const asTrans = 23456
	m := startBGP(nil, 1)
	m = binary.BigEndian.AppendUint16(append(m, 4), uint16(min(as, asTrans)))
	if as < 1<<16 {
		binary.BigEndian.PutUint16(m[len(m)-2:], uint16(as))
	}
	m = append(append(m, 0, 180), id.AsSlice()...)
	caps := []byte{1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 65, 4}
	caps = binary.BigEndian.AppendUint32(caps, as)
	m = append(m, byte(len(caps)+2), 2, byte(len(caps)))
	return finishBGP(append(m, caps...))
}

// Entry tells a route of the table as an UPDATE of its own.
func (b *bmpWriter) Entry(p netip.Prefix, routes []RouteEntry) error {
	for _, r := range routes {
		b.head(bmpMonitor)
		b.peer(b.now, r.Peer)
		at := len(b.buf)
		b.buf = append(startBGP(b.buf, bgpUpdate), 0, 0, 0, 0)
		attrs := len(b.buf)
		for a := r.Attrs; len(a) > 2; {
			n := 3 + int(a[2])
			if a[0]&extended != 0 {
				n = 4 + int(binary.BigEndian.Uint16(a[2:]))
			}
			if a[1] == attrReach { // of a dump it has the next hop alone
				hop := a[3:n]
				b.buf = attr(b.buf, optional, attrReach, func(to []byte) []byte {
					to = append(append(to, 0, 2, 1), hop...)
					return appendPrefix(append(to, 0), p)
				})
			} else {
				b.buf = append(b.buf, a[:n]...)
			}
			a = a[n:]
		}
		binary.BigEndian.PutUint16(b.buf[attrs-2:], uint16(len(b.buf)-attrs))
		if p.Addr().Is4() {
			b.buf = appendPrefix(b.buf, p)
		}
		binary.BigEndian.PutUint16(b.buf[at+16:], uint16(len(b.buf)-at))
		if err := b.flush(); err != nil {
			return err
		}
	}
	return nil
}

// Ready ends each peer's table.
func (b *bmpWriter) Ready() error {
	for k := range b.peers {
		for _, m := range [...][]byte{endOfRIB4, endOfRIB6} {
			if err := b.Message(b.now, k, m); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bmpWriter) Message(at int64, peer int, message []byte) error {
	if b.wait != nil {
		if err := b.wait(at); err != nil {
			return err
		}
	}
	b.head(bmpMonitor)
	b.peer(at, peer)
	b.buf = append(b.buf, message...)
	return b.flush()
}

func (b *bmpWriter) State(at int64, peer int, up bool) error {
	if b.wait != nil {
		if err := b.wait(at); err != nil {
			return err
		}
	}
	if up {
		return b.up(at, peer)
	}
	b.head(bmpDown)
	b.peer(at, peer)
	b.buf = append(b.buf, 4) // the other side closed, without a notification
	return b.flush()
}

// WriteBMP writes a scene as the stream of a router (RFC 7854): its neighbours are the
// scene's peers.
func (s RouteScene) WriteBMP(w io.Writer) (RouteTruth, error) {
	t, err := s.Play(&bmpWriter{w: w, sent: &RoutesSent{}})
	if err != nil {
		return t, err
	}
	_, err = w.Write([]byte{3, 0, 0, 0, 12, bmpEnd, 0, 1, 0, 2, 0, 0}) // administratively closed
	return t, err
}

// RouteSender plays a route scene to a BMP station on this machine, and to nobody else.
type RouteSender struct {
	To    netip.AddrPort // an address of the loopback interface
	Speed float64        // scene seconds a second; 0: as fast as it goes
	Now   bool           // the scene happens now; at its own time otherwise
	Hold  bool           // the session stays when the scene is over, until ctx ends
}

// RoutesSent is how sending went.
type RoutesSent struct {
	Messages uint64        `json:"messages"` // of BMP
	Bytes    uint64        `json:"bytes"`
	Took     time.Duration `json:"took_ns"`
	Truth    RouteTruth    `json:"truth"`
}

// Send sends until the scene or ctx ends.
func (f *RouteSender) Send(ctx context.Context, s RouteScene) (sent RoutesSent, err error) {
	if !onLoopback(f.To.Addr()) {
		return sent, fmt.Errorf("%s isn't an address of the loopback interface: routes of the simulator stay on this machine", f.To.Addr())
	}
	if f.Speed < 0 {
		return sent, errors.New("a speed can't be below zero")
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", f.To.String())
	if err != nil {
		return sent, fmt.Errorf("nobody listens for BMP at %s: %w", f.To, err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(clock.System{}.Now()) }) // a write that waits ends
	defer stop()
	begin := clock.System{}.Now()
	if f.Now {
		s.Start = begin.UTC()
	}
	p := pacer{begin: begin, timer: time.NewTimer(0)}
	defer p.timer.Stop()
	start := s.Start.UnixNano()
	b := bufio.NewWriterSize(c, 1<<16)
	w := &bmpWriter{w: b, sent: &sent, wait: func(at int64) error {
		if f.Speed == 0 {
			return ctx.Err()
		}
		if due := time.Duration(float64(at-start) / f.Speed); due > p.ahead {
			return errors.Join(b.Flush(), p.wait(ctx, due))
		}
		return ctx.Err()
	}}
	sent.Truth, err = s.Play(w)
	err = errors.Join(err, b.Flush())
	sent.Took = clock.System{}.Now().Sub(begin)
	if err == nil && f.Hold {
		<-ctx.Done()
	}
	return sent, err
}
