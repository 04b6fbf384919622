// Package access reads what the access network writes about who had which address:
// RADIUS accounting as it arrives (Server), in captures (ReadCapture) and in the
// detail files of FreeRADIUS (ReadDetail), and the lease files of Kea (ReadKea) and
// ISC dhcpd (ReadISC). All of it becomes records of subscriber.Record.
//
// Readers stream: their memory is bounded whatever a file holds. What can't be
// used is counted with its reason, never quoted, and harms nothing else.
package access

import (
	"encoding/hex"
	"net/netip"
	"time"
	"unicode"
	"unicode/utf8"

	"sakimori/respond/subscriber"
)

// Emit takes one record, which is only lent. Its error ends the reading.
type Emit = func(*subscriber.Record) error

// earliest is a time before which no log of today was written: clocks that were
// never set begin in 1970.
var earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// ahead is how far a clock may be before the one that it is compared with.
const ahead = 24 * time.Hour

// maxText is the longest name that is kept of a line, a source or a session, in
// bytes. Four attributes of RADIUS fit in.
const maxText = 1024

// appendText writes a name that came as bytes: as it is when all of it is
// printable UTF-8, else "0x" and lower-case hexadecimal. So one circuit has one name,
// whichever log tells of it. A NUL behind it, as some senders write, is left out. not
// is a byte that may not stand in it either (0: none).
func appendText(dst, b []byte, not byte) []byte {
	if n := len(b); n > 1 && b[n-1] == 0 {
		b = b[:n-1]
	}
	if printable(b, not) {
		return append(dst, b...)
	}
	return hex.AppendEncode(append(dst, "0x"...), b)
}

func printable(b []byte, not byte) bool {
	for i := 0; i < len(b); {
		c := b[i]
		if c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f || c == not && not != 0 {
				return false
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 || !unicode.IsPrint(r) {
			return false
		}
		i += n
	}
	return true
}

// appendCircuit writes what names a line by its relay agent: "circuit|remote",
// "circuit" or "|remote" (RFC 3046 §3.1 and §3.2, RFC 4679 §3.3). It writes nothing
// when there is neither.
func appendCircuit(dst, circuit, remote []byte) []byte {
	if len(circuit) > 0 {
		dst = appendText(dst, circuit, '|')
	}
	if len(remote) > 0 {
		dst = appendText(append(dst, '|'), remote, '|')
	}
	return dst
}

// subscribers tells whether an address can be that of a subscriber at all.
func subscribers(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast() && a != broadcast
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// shortest is the shortest IPv6 prefix that may be one subscriber's: no operator has
// as much as a /16.
const shortest = 16
