package routertest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/respond/leak"
)

// The types of BGP messages (RFC 4271, section 4.1).
const (
	open         = 1
	update       = 2
	notification = 3
	keepalive    = 4
)

// Speak opens a session with a router as one of its neighbours and announces routes, each
// exactly as it is given: the path, the communities and the OTC attribute (RFC 9234) too.
// The session ends with the test.
func Speak(t testing.TB, from netip.Addr, as uint32, to netip.AddrPort, routes []leak.Offered) {
	t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Timeout: 5 * time.Second}
	c, err := d.DialContext(t.Context(), "tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(clock.System{}.Now().Add(30 * time.Second))
	if err := hello(c, from, as); err != nil {
		t.Fatalf("AS%d at %s: %v", as, from, err)
	}
	var b []byte
	for i := range routes {
		b = append(b, message(update, body(&routes[i]))...)
	}
	go func() { // what it says is heard, or it would wait for us
		_, _ = io.Copy(io.Discard, c)
	}()
	if _, err := c.Write(append(b, message(keepalive, nil)...)); err != nil {
		t.Fatalf("AS%d at %s: %v", as, from, err)
	}
}

// hello is the hand-shake: an OPEN with both families of unicast and large AS numbers.
func hello(c net.Conn, id netip.Addr, as uint32) error {
	caps := []byte{1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 65, 4}
	caps = binary.BigEndian.AppendUint32(caps, as)
	two := uint16(23456) // AS_TRANS, RFC 6793
	if as < 1<<16 {
		two = uint16(as)
	}
	b := binary.BigEndian.AppendUint16([]byte{4}, two)
	b = binary.BigEndian.AppendUint16(b, 90)
	b = append(b, id.AsSlice()...)
	b = append(b, byte(len(caps)+2), 2, byte(len(caps)))
	if _, err := c.Write(message(open, append(b, caps...))); err != nil {
		return err
	}
	for _, want := range []byte{open, keepalive} {
		kind, body, err := read(c)
		if err != nil {
			return err
		}
		if kind != want {
			return fmt.Errorf("message %d % x, not %d", kind, body, want)
		}
		if kind == open {
			if _, err := c.Write(message(keepalive, nil)); err != nil {
				return err
			}
		}
	}
	return nil
}

func read(c net.Conn) (kind byte, body []byte, err error) {
	var head [19]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint16(head[16:]))
	if n < len(head) {
		return 0, nil, errors.New("a message shorter than its header")
	}
	body = make([]byte, n-len(head))
	_, err = io.ReadFull(c, body)
	return head[18], body, err
}

func message(kind byte, body []byte) []byte {
	b := make([]byte, 16, 19+len(body))
	for i := range b {
		b[i] = 0xff
	}
	b = binary.BigEndian.AppendUint16(b, uint16(19+len(body))) // #nosec G115 -- a test's own, short
	return append(append(b, kind), body...)
}

// body is an UPDATE with one route.
func body(r *leak.Offered) []byte {
	nlri := append([]byte{byte(r.Prefix.Bits())}, r.Prefix.Addr().AsSlice()[:(r.Prefix.Bits()+7)/8]...)
	if r.Withdrawn && r.Prefix.Addr().Is4() {
		b := binary.BigEndian.AppendUint16(nil, uint16(len(nlri))) // #nosec G115 -- at most 5
		return append(append(b, nlri...), 0, 0)
	}
	var a []byte
	attr := func(flags, kind byte, v []byte) {
		a = append(a, flags|0x10, kind) // with a length of two bytes
		a = binary.BigEndian.AppendUint16(a, uint16(len(v)))
		a = append(a, v...)
	}
	attr(0x40, 1, []byte{0})
	var path []byte
	segment := func(kind byte, ases []uint32) {
		if len(ases) > 0 {
			path = append(path, kind, byte(len(ases)))
		}
		for _, as := range ases {
			path = binary.BigEndian.AppendUint32(path, as)
		}
	}
	if n := len(r.Path); r.Set && n > 0 { // the last is a set of one
		segment(2, r.Path[:n-1])
		segment(1, r.Path[n-1:])
	} else {
		segment(2, r.Path)
	}
	attr(0x40, 2, path)
	four := r.Prefix.Addr().Is4()
	if four {
		attr(0x40, 3, []byte{198, 51, 100, 1}) // FRR takes none of loopback
	}
	if len(r.Communities) > 0 {
		var v []byte
		for _, c := range r.Communities {
			v = binary.BigEndian.AppendUint32(v, c)
		}
		attr(0xc0, 8, v)
	}
	if len(r.Large) > 0 {
		var v []byte
		for _, c := range r.Large {
			for _, x := range c {
				v = binary.BigEndian.AppendUint32(v, x)
			}
		}
		attr(0xc0, 32, v)
	}
	if r.HasOTC {
		attr(0xc0, 35, binary.BigEndian.AppendUint32(nil, r.OTC))
	}
	if !four {
		v := []byte{0, 2, 1, 16}
		v = append(v, netip.MustParseAddr("2001:db8:ffff::1").AsSlice()...)
		attr(0x80, 14, append(append(v, 0), nlri...))
		nlri = nil
	}
	b := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(a))) // #nosec G115 -- a test's own, short
	return append(append(b, a...), nlri...)
}
