package radius

import (
	"encoding/binary"
	"net/netip"
)

// Type is the number of an attribute.
type Type uint8

// The attributes that the house reads.
const (
	UserName             Type = 1   // RFC 2865 §5.1
	NASIPAddress         Type = 4   // RFC 2865 §5.4
	FramedIPAddress      Type = 8   // RFC 2865 §5.8
	Class                Type = 25  // RFC 2865 §5.25
	VendorSpecific       Type = 26  // RFC 2865 §5.26
	SessionTimeout       Type = 27  // RFC 2865 §5.27, seconds
	CallingStationID     Type = 31  // RFC 2865 §5.31
	NASIdentifier        Type = 32  // RFC 2865 §5.32
	ProxyState           Type = 33  // RFC 2865 §5.33
	AcctStatusType       Type = 40  // RFC 2866 §5.1
	AcctDelayTime        Type = 41  // RFC 2866 §5.2, seconds
	AcctSessionID        Type = 44  // RFC 2866 §5.5
	AcctSessionTime      Type = 46  // RFC 2866 §5.7, seconds
	AcctMultiSessionID   Type = 50  // RFC 2866 §5.11
	EventTimestamp       Type = 55  // RFC 2869 §5.3, Unix seconds
	MessageAuthenticator Type = 80  // RFC 3579 §3.2
	NASIPv6Address       Type = 95  // RFC 3162 §2.1
	FramedIPv6Prefix     Type = 97  // RFC 3162 §2.3
	DelegatedIPv6Prefix  Type = 123 // RFC 4818 §3
	FramedIPv6Address    Type = 168 // RFC 6911 §3.1
)

// Vendors, by SMI number, whose attributes have a name here.
const (
	ADSLForum     uint32 = 3561 // RFC 4679
	AgentCircuit  Type   = 1    // of ADSLForum: Agent-Circuit-Id, §3.3.1
	AgentRemoteID Type   = 2    // of ADSLForum: Agent-Remote-Id, §3.3.2
)

// The values of Acct-Status-Type (RFC 2866 §5.1, RFC 2867 §3).
const (
	Start         uint32 = 1
	Stop          uint32 = 2
	InterimUpdate uint32 = 3
	AccountingOn  uint32 = 7
	AccountingOff uint32 = 8
	TunnelStart   uint32 = 9 // 9 to 14 speak of tunnels and their links
	LinkReject    uint32 = 14
	Failed        uint32 = 15
)

// Uint32 reads an integer or a time (RFC 8044 §3.1, §3.3).
func Uint32(value []byte) (n uint32, ok bool) {
	if len(value) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(value), true
}

// Addr reads an IPv4 or an IPv6 address, by its length (RFC 8044 §3.8, §3.9).
func Addr(value []byte) (a netip.Addr, ok bool) {
	switch len(value) {
	case 4:
		return netip.AddrFrom4([4]byte(value)), true
	case 16:
		return netip.AddrFrom16([16]byte(value)), true
	}
	return netip.Addr{}, false
}

// IPv6Prefix reads a prefix: a reserved byte, the length in bits, and as many bytes
// as that needs, or more (RFC 3162 §2.3, RFC 8044 §3.10). Bits behind the prefix are
// cleared, though senders ought to have done it.
func IPv6Prefix(value []byte) (p netip.Prefix, ok bool) {
	if len(value) < 2 || len(value) > 18 {
		return p, false
	}
	bits := int(value[1])
	if bits > 128 || (bits+7)/8 > len(value)-2 {
		return p, false
	}
	var a [16]byte
	copy(a[:], value[2:])
	return netip.PrefixFrom(netip.AddrFrom16(a), bits).Masked(), true
}
