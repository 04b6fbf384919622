package access

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sakimori/base/clock"
	"sakimori/respond/subscriber"
)

// LeaseOptions say how a file of DHCP leases is read.
type LeaseOptions struct {
	Source string // names the server in the records, as the file doesn't; required where there are several
	// MAC takes the hardware address for the line, where no relay names the circuit.
	// By default it is the client identifier or DUID, and the hardware address only where
	// there is none.
	MAC bool
	// Clock tells which times lie too far ahead; nil is the machine's.
	Clock clock.Clock
}

// lease is one entry of a lease file.
type lease struct {
	address         netip.Prefix
	client, mac     []byte // client identifier or DUID; hardware address
	iaid            uint32 // of an identity association (IPv6)
	circuit, remote []byte // from the relay agent
	given, until    time.Time
	over            bool // released, expired, reclaimed or declined
}

// mostID is the longest client identifier, DUID or hardware address, in bytes: an
// option of DHCPv4 holds no more, and a DUID has up to 130 (RFC 8415 §11.1).
const mostID = 255

// Reasons why a lease can't be used.
const (
	noAddress   = "no address, or one that can't be read"
	noTime      = "no time, or one that can't be read"
	longID      = "an identifier is too long"
	leaseFuture = "its time lies more than a day ahead"
)

// book turns leases into records.
type book struct {
	LeaseOptions
	latest time.Time // beyond which a time is a mistake
	emit   Emit
	stats  subscriber.Stats
	text   []byte
}

func newBook(o LeaseOptions, emit Emit) *book {
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	return &book{LeaseOptions: o, latest: o.Clock.Now().Add(ahead), emit: emit}
}

// bad counts what can't be used.
func (b *book) bad(line uint64, why string) {
	b.stats.Bad("line "+strconv.FormatUint(line, 10), why)
}

// take hands on the record of a lease that stands at a line: Begin when it was given or
// renewed, End when it is over.
func (b *book) take(l *lease, line uint64) error {
	r := subscriber.Record{Kind: subscriber.Begin, Source: b.Source, Address: l.address.Masked(), At: l.given, Until: l.until}
	if l.over {
		r.Kind, r.At, r.Until = subscriber.End, l.until, time.Time{}
	}
	switch {
	case !r.Address.IsValid(), r.Address.Addr().Is6() && r.Address.Bits() < shortest:
		b.bad(line, noAddress)
		return nil
	case !subscribers(r.Address.Addr()):
		b.stats.Ignored++
		return nil
	case len(l.client) > mostID || len(l.mac) > mostID || len(l.circuit) > mostID || len(l.remote) > mostID:
		b.bad(line, longID)
		return nil
	case r.At.IsZero():
		b.bad(line, noTime)
		return nil
	case r.At.Before(earliest):
		b.bad(line, tooEarly.String())
		return nil
	case r.At.After(b.latest):
		b.bad(line, leaseFuture)
		return nil
	}
	b.names(&r, l)
	if err := b.emit(&r); err != nil {
		return err
	}
	b.stats.Took(&r)
	return nil
}

// names sets Line. A lease has no session: it is its holder's until it runs out, and a
// renewal is another one.
func (b *book) names(r *subscriber.Record, l *lease) {
	client, mac := colons(l.client), colons(l.mac)
	b.text = appendCircuit(b.text[:0], l.circuit, l.remote)
	switch {
	case len(b.text) > 0:
		r.Line = string(b.text)
	case b.MAC && mac != "" || client == "":
		r.Line = mac
	default:
		r.Line = client
	}
}

// colons writes bytes as "00:1a:2b".
func colons(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	out := make([]byte, 0, 3*len(b))
	for i := range b {
		if i > 0 {
			out = append(out, ':')
		}
		out = hex.AppendEncode(out, b[i:i+1])
	}
	return string(out)
}

// fromColons reads bytes in hexadecimal with colons between them, also where leading
// zeros are left out ("0:4:ff").
func fromColons(s string) ([]byte, bool) {
	if s == "" {
		return nil, true
	}
	out := make([]byte, 0, len(s)/2+1)
	for f := range strings.SplitSeq(s, ":") {
		n, err := strconv.ParseUint(f, 16, 8)
		if err != nil || len(out) > mostID {
			return nil, false
		}
		out = append(out, byte(n))
	}
	return out, true
}
