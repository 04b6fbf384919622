package session

import (
	"encoding/binary"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/bgp"
	"sakimori/base/wire/bmp"
)

// What is written here is all that a session ever sends.

var marker = [16]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// message is a BGP message.
func message(t bgp.Type, body ...byte) []byte {
	b := append([]byte(nil), marker[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(19+len(body))) // #nosec G115 -- ours are short
	return append(append(b, byte(t)), body...)
}

var keepalive = message(bgp.TypeKeepalive)

// greeting is our OPEN: routes of IPv4 and IPv6, AS numbers of four bytes, long messages, and
// what the neighbour's configuration adds. It asks for no graceful restart: when this process
// dies its neighbours may forget it.
func (t *talk) greeting() []byte {
	be := binary.BigEndian
	caps := []byte{2, 0, 6, 0} // refresh, extended messages
	families := [][2]byte{{0, 1}, {0, 2}}
	switch t.Only {
	case "ipv4":
		families = families[:1]
	case "ipv6":
		families = families[1:]
	}
	for _, f := range families {
		caps = append(caps, 1, 4, f[0], f[1], 0, 1)
	}
	caps = be.AppendUint32(append(caps, 65, 4), t.LocalAS)
	if t.AddPath {
		caps = append(caps, 69, byte(4*len(families))) // #nosec G115 -- two at most
		for _, f := range families {
			caps = append(caps, f[0], f[1], 1, 1) // we are able to receive
		}
	}
	if t.Role != "" {
		caps = append(caps, 9, 1, byte(roles[t.Role].ours))
	}
	as := uint16(23456) // AS_TRANS (RFC 6793)
	if t.LocalAS <= 0xffff {
		as = uint16(t.LocalAS)
	}
	body := be.AppendUint16([]byte{4}, as)
	body = be.AppendUint16(body, uint16(t.Hold.Seconds())) // #nosec G115 -- Config.complete checks it
	id := t.cfg.RouterID.As4()
	body = append(body, id[:]...)
	return message(bgp.TypeOpen, append(append(body, byte(2+len(caps)), 2, byte(len(caps))), caps...)...) // #nosec G115 -- 40 bytes
}

// say sends a NOTIFICATION, and gives it.
func (t *talk) say(code, sub byte) []byte {
	b := message(bgp.TypeNotification, code, sub)
	_ = t.write(b)
	return b
}

// write sends one message whole. A neighbour that reads nothing for ten seconds is gone.
func (t *talk) write(b []byte) error {
	t.writing.Lock()
	defer t.writing.Unlock()
	if err := t.conn.SetWriteDeadline(deadline(10 * time.Second)); err != nil {
		return err
	}
	_, err := t.conn.Write(b)
	return err
}

// Types of BMP messages that are handed on.
const (
	routeMonitoring = byte(bmp.RouteMonitoring)
	peerDown        = byte(bmp.PeerDown)
	peerUp          = byte(bmp.PeerUp)
)

// bmpHead is what stands before what a neighbour sent: the header of BMP and of the peer.
const bmpHead = bmp.HeaderSize + 42

// hand hands a BMP message on: what the neighbour sent, as it came before any policy.
func (t *talk) hand(kind byte, at time.Time, body []byte) {
	be := binary.BigEndian
	b := append(t.frame[:bmpHead], body...)
	t.frame = b[:bmpHead]
	b[0], b[5] = bmp.Version, kind
	be.PutUint32(b[1:], uint32(len(b))) // #nosec G115 -- bounded by what BGP may send
	p := b[bmp.HeaderSize:bmpHead]
	clear(p)
	if t.Address.Is6() {
		p[1] = 0x80
	}
	if !t.open.AS4 {
		p[1] |= 0x20
	}
	addr := t.Address.As16()
	if t.Address.Is4() {
		clear(addr[:12])
	}
	copy(p[10:], addr[:])
	be.PutUint32(p[26:], t.AS)
	id := t.open.ID.As4()
	copy(p[30:], id[:])
	be.PutUint32(p[34:], uint32(at.Unix()))            // #nosec G115 -- until 2106
	be.PutUint32(p[38:], uint32(at.Nanosecond()/1000)) // #nosec G115 -- microseconds
	t.sink.BMP(t.Feed, t.cfg.RouterID, b, at)
}

// deadline is so far from now by the machine's clock, which is the one that sockets go by.
func deadline(d time.Duration) time.Time { return clock.System{}.Now().Add(d) }
