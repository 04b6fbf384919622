package bgp

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Open is an OPEN message: what a speaker is able to do.
type Open struct {
	Version  uint8
	AS       uint32 // of four bytes where it says so
	HoldTime uint16 // seconds, 0 for ever
	ID       netip.Addr
	AS4      bool     // AS numbers of four bytes (RFC 6793)
	Families Families // it exchanges (RFC 4760); without any, IPv4 unicast
	Others   int      // further families, that aren't read
	Send     Families // it is able to send several paths (RFC 7911)
	Receive  Families // and to take them
	Extended bool     // messages above 4,096 bytes (RFC 8654)
	Refresh  bool     // ROUTE-REFRESH (RFC 2918)
	Restart  bool     // graceful restart (RFC 4724)
	Role     Role     // RFC 9234, where HasRole
	HasRole  bool
}

// Role is what a speaker is to its neighbour (RFC 9234).
type Role uint8

// The roles.
const (
	Provider Role = iota
	RouteServer
	RouteServerClient
	Customer
	Peer
)

var roleNames = [...]string{"provider", "rs", "rs-client", "customer", "peer"}

// String is the role's name.
func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return "unknown"
}

// Capabilities that are read.
const (
	capFamily   = 1
	capRefresh  = 2
	capExtended = 6
	capRole     = 9
	capRestart  = 64
	capAS4      = 65
	capAddPath  = 69
)

// ErrOpen says that an OPEN is damaged.
var ErrOpen = errors.New("bgp: the OPEN is shorter than what it says it holds")

// Parse reads the body of an OPEN. What stood before damage is kept.
func (o *Open) Parse(body []byte) error {
	*o = Open{}
	if len(body) < 10 {
		return ErrOpen
	}
	be := binary.BigEndian
	o.Version, o.AS, o.HoldTime, o.ID = body[0], uint32(be.Uint16(body[1:])), be.Uint16(body[3:]), netip.AddrFrom4([4]byte(body[5:]))
	n, b, wide := int(body[9]), body[10:], 1
	if n == 255 && len(b) >= 3 && b[0] == 255 { // lengths of two bytes: RFC 9072
		n, b, wide = int(be.Uint16(b[1:])), b[3:], 2
	}
	if len(b) < n {
		return ErrOpen
	}
	for b = b[:n]; len(b) > 0; {
		if len(b) < 1+wide {
			return ErrOpen
		}
		kind, size := b[0], int(b[1])
		if wide == 2 {
			size = size<<8 | int(b[2])
		}
		if b = b[1+wide:]; len(b) < size {
			return ErrOpen
		}
		if kind == 2 && !o.capabilities(b[:size]) {
			return ErrOpen
		}
		b = b[size:]
	}
	return nil
}

// capabilities reads one parameter of capabilities (RFC 5492).
func (o *Open) capabilities(b []byte) bool {
	be := binary.BigEndian
	for len(b) > 0 {
		if len(b) < 2 || len(b)-2 < int(b[1]) {
			return false
		}
		code, v := b[0], b[2:2+int(b[1])]
		b = b[2+int(b[1]):]
		switch {
		case code == capFamily && len(v) == 4:
			if f := FamilyOf(be.Uint16(v), v[3]); f != Other {
				o.Families = o.Families.With(f)
			} else {
				o.Others++
			}
		case code == capAS4 && len(v) == 4:
			o.AS4, o.AS = true, be.Uint32(v)
		case code == capAddPath && len(v)%4 == 0:
			for ; len(v) > 0; v = v[4:] {
				if f := FamilyOf(be.Uint16(v), v[2]); f != Other {
					if v[3]&1 != 0 {
						o.Receive = o.Receive.With(f)
					}
					if v[3]&2 != 0 {
						o.Send = o.Send.With(f)
					}
				}
			}
		case code == capRole && len(v) == 1:
			o.HasRole, o.Role = true, Role(v[0])
		case code == capExtended:
			o.Extended = true
		case code == capRefresh:
			o.Refresh = true
		case code == capRestart:
			o.Restart = true
		}
	}
	return true
}

// Agreed is how the sender of one OPEN writes its UPDATEs to the receiver who sent the
// other.
func Agreed(sender, receiver *Open) Options {
	return Options{AS4: sender.AS4 && receiver.AS4, AddPath: sender.Send & receiver.Receive}
}

// Notification is why a session ends.
type Notification struct {
	Code, Subcode uint8 // RFC 4271, section 4.5
	Data          []byte
}

// ErrNotification says that a NOTIFICATION is damaged.
var ErrNotification = errors.New("bgp: the NOTIFICATION is shorter than its header")

// Parse reads the body of a NOTIFICATION.
func (n *Notification) Parse(body []byte) error {
	*n = Notification{}
	if len(body) < 2 {
		return ErrNotification
	}
	*n = Notification{Code: body[0], Subcode: body[1], Data: body[2:]}
	return nil
}

// Words is the text that came with an administrative shutdown or reset (RFC 9003), as
// sent; nil without.
func (n *Notification) Words() []byte {
	if n.Code != 6 || n.Subcode != 2 && n.Subcode != 4 || len(n.Data) == 0 || len(n.Data)-1 < int(n.Data[0]) {
		return nil
	}
	return n.Data[1 : 1+int(n.Data[0])]
}

// Refresh asks for all routes of a family anew (RFC 2918), or says that they begin or are
// complete (RFC 7313).
type Refresh struct {
	Family  Family
	Subtype uint8 // 0 the request, 1 beginning, 2 end
}

// ErrRefresh says that a ROUTE-REFRESH is damaged.
var ErrRefresh = errors.New("bgp: the ROUTE-REFRESH is shorter than four bytes")

// Parse reads the body of a ROUTE-REFRESH.
func (r *Refresh) Parse(body []byte) error {
	*r = Refresh{}
	if len(body) < 4 {
		return ErrRefresh
	}
	*r = Refresh{Family: FamilyOf(binary.BigEndian.Uint16(body), body[3]), Subtype: body[2]}
	return nil
}
