package bmp

import (
	"encoding/binary"
	"net/netip"

	"sakimori/base/wire/bgp"
)

// Up tells that a session of the router came up.
type Up struct {
	Local                 netip.Addr // the router's address; zero where the peer has none
	LocalPort, RemotePort uint16
	Sent, Received        bgp.Message // the OPENs: the router's and the peer's
	Info                  []byte      // pieces of information: NextTLV
}

// Up reads a PeerUp message, from what stands behind the header of its peer p.
func (p *Peer) Up(rest []byte, u *Up) error {
	*u = Up{}
	if len(rest) < 20 {
		return ErrBody
	}
	switch {
	case p.Type == LocRIB: // it has neither address nor port
	case p.Address.Is6():
		u.Local = netip.AddrFrom16([16]byte(rest))
	default:
		u.Local = netip.AddrFrom4([4]byte(rest[12:]))
	}
	u.LocalPort, u.RemotePort = binary.BigEndian.Uint16(rest[16:]), binary.BigEndian.Uint16(rest[18:])
	rest = rest[20:]
	for _, m := range [...]*bgp.Message{&u.Sent, &u.Received} {
		n, err := bgp.Cut(rest, bgp.MaxExtended, m)
		if err != nil || m.Type != bgp.TypeOpen {
			return ErrBGP
		}
		rest = rest[n:]
	}
	u.Info = rest
	return nil
}

// Reason is why a session of the router went down.
type Reason uint8

// The reasons.
const (
	LocalNotification  Reason = 1 // the router ended it and said so to the peer: Notification
	LocalSilent        Reason = 2 // the router ended it: Event of its state machine
	RemoteNotification Reason = 3 // the peer ended it and said why: Notification
	RemoteSilent       Reason = 4
	Unmonitored        Reason = 5 // it goes on, but isn't told of any more
	TableGone          Reason = 6 // of LocRIB: Info
)

// Down tells that a session of the router went down, or isn't told of any more.
type Down struct {
	Reason       Reason
	Notification bgp.Message // of LocalNotification and RemoteNotification
	Event        uint16      // of LocalSilent: number in RFC 4271, section 8.1; 0 none
	Info         []byte      // of TableGone: pieces of information, NextTLV
}

// ParseDown reads a PeerDown message, from what stands behind the header of its peer.
func ParseDown(rest []byte, d *Down) error {
	*d = Down{}
	if len(rest) < 1 {
		return ErrBody
	}
	d.Reason, rest = Reason(rest[0]), rest[1:]
	switch d.Reason {
	case LocalNotification, RemoteNotification:
		if _, err := bgp.Cut(rest, bgp.MaxExtended, &d.Notification); err != nil || d.Notification.Type != bgp.TypeNotification {
			d.Notification = bgp.Message{}
			return ErrBGP
		}
	case LocalSilent:
		if len(rest) < 2 {
			return ErrBody
		}
		d.Event = binary.BigEndian.Uint16(rest)
	case TableGone:
		d.Info = rest
	}
	return nil
}

// Stat is a counter of a Statistics message.
type Stat uint16

// The counters that something is made of; the others are numbers of RFC 7854, 8671 and
// 9972.
const (
	StatRejected     Stat = 0 // prefixes that the policy refused
	StatDuplicates   Stat = 1 // announced again, unchanged
	StatLoops        Stat = 4 // updates with the router's own AS in their path
	StatAdjIn        Stat = 7 // routes before policy
	StatLocal        Stat = 8 // routes in use
	StatAdjInFamily  Stat = 9
	StatLocalFamily  Stat = 10
	StatWithdrawn    Stat = 11 // updates treated as withdraw (RFC 7606)
	StatAdjOut       Stat = 14 // routes announced, before policy
	StatAdjOutPost   Stat = 15 // and after it
	StatAdjOutFamily Stat = 16
	StatOutFamily    Stat = 17
)

// Count is one counter.
type Count struct {
	Stat   Stat
	Family bgp.Family // where it is of one: Scoped
	Scoped bool
	Value  uint64
}

// Counts walks the counters of a Statistics message.
type Counts struct {
	rest []byte
	left uint32
	err  error
}

// ParseCounts reads the beginning of a Statistics message, from what stands behind the
// header of its peer.
func ParseCounts(rest []byte, c *Counts) error {
	*c = Counts{}
	if len(rest) < 4 {
		return ErrBody
	}
	c.left, c.rest = binary.BigEndian.Uint32(rest), rest[4:]
	return nil
}

// Next gives the next counter and tells whether there was one. Counters of sizes that no
// RFC has are passed over.
func (c *Counts) Next(k *Count) bool {
	var t TLV
	for c.left > 0 && c.err == nil {
		rest, ok, err := NextTLV(c.rest, &t)
		if !ok {
			if c.err = err; err == nil {
				c.err = ErrBody // fewer than it says
			}
			return false
		}
		c.rest = rest
		c.left--
		*k = Count{Stat: Stat(t.Type)}
		switch len(t.Value) {
		case 4:
			k.Value = uint64(binary.BigEndian.Uint32(t.Value))
		case 8:
			k.Value = binary.BigEndian.Uint64(t.Value)
		case 11:
			k.Scoped, k.Family = true, bgp.FamilyOf(binary.BigEndian.Uint16(t.Value), t.Value[2])
			k.Value = binary.BigEndian.Uint64(t.Value[3:])
		default:
			continue
		}
		return true
	}
	return false
}

// Err is why Next ended early; nil at the end of the message.
func (c *Counts) Err() error { return c.err }

// Types of the pieces of a RouteMirroring message.
const (
	MirrorMessage = 0 // a BGP message as it came
	MirrorInfo    = 1 // two bytes: 0 the message before was damaged, 1 some were lost
)
