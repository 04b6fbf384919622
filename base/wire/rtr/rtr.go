// Package rtr reads and writes what a router and a cache of the RPKI tell each other: the
// protocol of RFC 6810 (version 0), RFC 8210 (version 1) and draft-ietf-sidrops-8210bis
// (version 2, which adds ASPA). An ASPA is read in both forms that caches send: with its
// flags in the header as the draft has it now, and as its revisions up to 10 had it, one
// for each address family with a count of providers. It is written in the former.
//
// Parse reads one PDU in place into the caller's PDU, and the functions that begin with
// Append write one. Nothing is copied or allocated.
package rtr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// Newest is the highest version that is spoken here.
const Newest = 2

// Type is what a PDU says.
type Type uint8

// The types.
const (
	SerialNotify  Type = 0 // cache: there is something new
	SerialQuery   Type = 1 // router: what is new since that serial?
	ResetQuery    Type = 2 // router: everything, please
	CacheResponse Type = 3 // cache: here it comes
	IPv4Prefix    Type = 4
	IPv6Prefix    Type = 6
	EndOfData     Type = 7
	CacheReset    Type = 8 // cache: I don't know what is new since then, ask for everything
	RouterKey     Type = 9 // of BGPsec, from version 1 on
	ErrorReport   Type = 10
	ASPA          Type = 11 // from version 2 on
)

// Code is why an Error Report was sent (RFC 8210, 12).
type Code uint16

// The codes.
const (
	CorruptData        Code = 0
	InternalError      Code = 1
	NoData             Code = 2 // the cache has none yet: the one that isn't fatal
	InvalidRequest     Code = 3
	UnsupportedVersion Code = 4
	UnsupportedType    Code = 5
	UnknownWithdrawal  Code = 6
	DuplicateAnnounced Code = 7
	UnexpectedVersion  Code = 8
	ProviderList       Code = 9 // of an ASPA, version 2
)

var codes = [...]string{"corrupt data", "internal error", "no data available", "invalid request", "unsupported protocol version", "unsupported PDU type", "withdrawal of unknown record", "duplicate announcement received", "unexpected protocol version", "ASPA provider list error"}

// String is the code in the words of the RFC.
func (c Code) String() string {
	if int(c) < len(codes) {
		return codes[c]
	}
	return fmt.Sprintf("error %d", uint16(c))
}

// PDU is one message. Which fields mean something depends on Type. Slices refer to the
// bytes that were parsed.
type PDU struct {
	Version   uint8
	Type      Type
	Announce  bool         // of a prefix, a key and an ASPA: it holds from now on; else no longer
	Session   uint16       // of a query, a response, a notification and the end of data
	Serial    uint32       // of a query, a notification and the end of data
	Prefix    netip.Prefix // host bits that were set are cleared
	MaxLength uint8
	AS        uint32 // the origin; of an ASPA the customer
	Refresh   uint32 // seconds until the next query; of the end of data, from version 1 on
	Retry     uint32 // seconds after a query that failed
	Expire    uint32 // seconds until data that nobody renewed is void
	Code      Code   // of an Error Report
	Copy      []byte // the PDU that it is about, as much of it as was sent back
	Text      []byte // what it says to people, UTF-8
	Family    uint8  // of an ASPA in the old form: 4 or 6; 0 is both
	providers []byte
}

// Providers is how many providers an ASPA names.
func (p *PDU) Providers() int { return len(p.providers) / 4 }

// Provider is the i-th of them.
func (p *PDU) Provider(i int) uint32 { return binary.BigEndian.Uint32(p.providers[4*i:]) }

const (
	headerSize = 8
	// MaxSize is the longest PDU that is read, in bytes: an ASPA with 16,000 providers, and
	// an Error Report about it.
	MaxSize = 1 << 17
)

// What is wrong with the bytes. All but ErrMore are the end of a session.
var (
	ErrMore    = errors.New("rtr: the PDU goes on")
	ErrLength  = errors.New("rtr: a PDU can't have this length: does something else answer at this port?")
	ErrVersion = errors.New("rtr: this version of the protocol isn't known")
	ErrType    = errors.New("rtr: no PDU of this type in this version")
	ErrPrefix  = errors.New("rtr: a prefix is longer than its address or its maximum length, or its maximum longer than an address")
)

// Parse reads the PDU that b begins with and says how long it is. With ErrMore, n is how
// many bytes are needed to get further. With another error p holds what could be told:
// version and type always.
func Parse(b []byte, p *PDU) (n int, err error) {
	if len(b) < headerSize {
		return headerSize, ErrMore
	}
	be16, be32 := binary.BigEndian.Uint16, binary.BigEndian.Uint32
	*p = PDU{Version: b[0], Type: Type(b[1])}
	size := be32(b[4:])
	if size < headerSize || size > MaxSize {
		return 0, ErrLength
	}
	n = int(size)
	if p.Version > Newest && p.Type != ErrorReport { // whose form never changed
		return n, ErrVersion
	}
	if len(b) < n {
		return n, ErrMore
	}
	head, body := b[2:4], b[headerSize:n]
	want := -1 // any
	switch p.Type {
	case SerialNotify, SerialQuery:
		want = 4
	case ResetQuery, CacheResponse, CacheReset:
		want = 0
	case IPv4Prefix:
		want = 12
	case IPv6Prefix:
		want = 24
	case EndOfData:
		if want = 16; p.Version == 0 {
			want = 4
		}
	case RouterKey:
		if p.Version < 1 {
			return n, ErrType
		}
	case ASPA:
		if p.Version < 2 {
			return n, ErrType
		}
	case ErrorReport:
	default:
		return n, ErrType
	}
	if want >= 0 && len(body) != want {
		return n, ErrLength
	}
	switch p.Type {
	case SerialNotify, SerialQuery:
		p.Session, p.Serial = be16(head), be32(body)
	case CacheResponse:
		p.Session = be16(head)
	case IPv4Prefix:
		return n, p.prefix(body, netip.AddrFrom4([4]byte(body[4:])), be32(body[8:]))
	case IPv6Prefix:
		return n, p.prefix(body, netip.AddrFrom16([16]byte(body[4:])), be32(body[20:]))
	case EndOfData:
		p.Session, p.Serial = be16(head), be32(body)
		if p.Version > 0 {
			p.Refresh, p.Retry, p.Expire = be32(body[4:]), be32(body[8:]), be32(body[12:])
		}
	case RouterKey: // nobody here verifies BGPsec: it is told apart, and that is all
		p.Announce = head[0]&1 != 0
		if len(body) < 24 {
			return n, ErrLength
		}
		p.AS = be32(body[20:])
	case ASPA:
		if len(body) < 4 || len(body)%4 != 0 {
			return n, ErrLength
		}
		// Now an announcement has its flag in the header, and a withdrawal nothing but the
		// customer: whatever is longer and has no flag there is in the old form.
		if head[0] == 0 && len(body) > 4 {
			p.Family = 4 + body[1]&1*2
			if int(be16(body[2:]))*4 != len(body)-8 {
				return n, ErrLength
			}
			p.Announce, p.AS, p.providers = body[0]&1 != 0, be32(body[4:]), body[8:]
			break
		}
		p.Announce, p.AS, p.providers = head[0]&1 != 0, be32(body), body[4:]
	case ErrorReport:
		p.Code = Code(be16(head))
		if len(body) < 8 || int64(be32(body)) > int64(len(body)-8) {
			return n, ErrLength
		}
		c := int(be32(body))
		p.Copy, body = body[4:4+c], body[4+c:]
		if int64(be32(body)) > int64(len(body)-4) {
			return n, ErrLength
		}
		p.Text = body[4 : 4+be32(body)]
	}
	return n, nil
}

func (p *PDU) prefix(body []byte, a netip.Addr, as uint32) error {
	bits, most := body[1], body[2]
	p.Announce, p.MaxLength, p.AS = body[0]&1 != 0, most, as
	if bits > most || int(most) > a.BitLen() {
		return ErrPrefix
	}
	p.Prefix = netip.PrefixFrom(a, int(bits)).Masked()
	return nil
}

func head(b []byte, version uint8, t Type, field uint16, size int) []byte {
	b = append(b, version, byte(t))
	b = binary.BigEndian.AppendUint16(b, field)
	return binary.BigEndian.AppendUint32(b, uint32(size)) // #nosec G115 -- callers keep it below MaxSize
}

// AppendSerialQuery asks what is new since a serial of a session.
func AppendSerialQuery(b []byte, version uint8, session uint16, serial uint32) []byte {
	return binary.BigEndian.AppendUint32(head(b, version, SerialQuery, session, 12), serial)
}

// AppendResetQuery asks for everything.
func AppendResetQuery(b []byte, version uint8) []byte {
	return head(b, version, ResetQuery, 0, 8)
}

// AppendSerialNotify says that there is something new.
func AppendSerialNotify(b []byte, version uint8, session uint16, serial uint32) []byte {
	return binary.BigEndian.AppendUint32(head(b, version, SerialNotify, session, 12), serial)
}

// AppendCacheResponse begins an answer.
func AppendCacheResponse(b []byte, version uint8, session uint16) []byte {
	return head(b, version, CacheResponse, session, 8)
}

// AppendCacheReset says that what is new since then isn't known.
func AppendCacheReset(b []byte, version uint8) []byte { return head(b, version, CacheReset, 0, 8) }

// AppendPrefix announces or withdraws what an AS may originate.
func AppendPrefix(b []byte, version uint8, announce bool, p netip.Prefix, maxLength uint8, as uint32) []byte {
	t, size := IPv4Prefix, 20
	if p.Addr().Is6() {
		t, size = IPv6Prefix, 32
	}
	b = append(head(b, version, t, 0, size), flag(announce), byte(p.Bits()), maxLength, 0) // #nosec G115 -- 128 at most
	if p.Addr().Is6() {
		a := p.Addr().As16()
		b = append(b, a[:]...)
	} else {
		a := p.Addr().As4()
		b = append(b, a[:]...)
	}
	return binary.BigEndian.AppendUint32(b, as)
}

// AppendASPA announces or withdraws the providers of a customer; a withdrawal names none.
func AppendASPA(b []byte, version uint8, announce bool, customer uint32, providers []uint32) []byte {
	b = head(b, version, ASPA, uint16(flag(announce))<<8, 12+4*len(providers))
	b = binary.BigEndian.AppendUint32(b, customer)
	for _, p := range providers {
		b = binary.BigEndian.AppendUint32(b, p)
	}
	return b
}

// AppendEndOfData ends an answer; the intervals are told from version 1 on.
func AppendEndOfData(b []byte, version uint8, session uint16, serial, refresh, retry, expire uint32) []byte {
	if version == 0 {
		return binary.BigEndian.AppendUint32(head(b, version, EndOfData, session, 12), serial)
	}
	b = head(b, version, EndOfData, session, 24)
	for _, n := range [...]uint32{serial, refresh, retry, expire} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

// AppendErrorReport says what is wrong with a PDU, of which the first 128 bytes are sent back.
func AppendErrorReport(b []byte, version uint8, code Code, about []byte, text string) []byte {
	about = about[:min(len(about), 128)]
	b = head(b, version, ErrorReport, uint16(code), 16+len(about)+len(text))
	b = binary.BigEndian.AppendUint32(b, uint32(len(about))) // #nosec G115 -- 128 at most
	b = append(b, about...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(text))) // #nosec G115 -- a sentence
	return append(b, text...)
}

func flag(is bool) byte {
	if is {
		return 1
	}
	return 0
}
