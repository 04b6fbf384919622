package access

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"

	"sakimori/base/wire/radius"
	"sakimori/respond/subscriber"
)

// DetailOptions say how a detail file is read.
type DetailOptions struct {
	Accounting Accounting
	// Zone is where the server stood that wrote the file: of its headings, of dates
	// without a zone and of the names of zones (EST is several). nil is UTC.
	Zone *time.Location
}

// ReadDetail reads a detail file of FreeRADIUS: blocks of a heading, the date, and a
// line for each attribute. The time of arrival is the line "Timestamp", else the
// heading. Packets of other kinds are ignored, and so are attributes that nothing here
// asks for, with names or without. A block that can't be used is malformed, once.
func ReadDetail(r io.Reader, o DetailOptions, emit Emit) (subscriber.Stats, error) {
	d := &detail{clerk: newClerk(o.Accounting), zone: o.Zone, emit: emit}
	if d.zone == nil {
		d.zone = time.UTC
	}
	if k := o.Accounting.Line; k.where == inVendor {
		d.vendor = fmt.Sprintf("Attr-26.%d.%d", k.vendor, k.number)
	}
	in := newLines(r)
	for {
		line, long, err := in.next()
		if errors.Is(err, io.EOF) {
			return d.stats, d.end()
		}
		if err != nil {
			return d.stats, fmt.Errorf("detail file, line %d: %w", in.number+1, err)
		}
		if err := d.line(line, long, in.number); err != nil {
			return d.stats, err
		}
	}
}

type detail struct {
	clerk   *clerk
	zone    *time.Location
	vendor  string // the attribute of Key, as FreeRADIUS writes unknown ones
	emit    Emit
	stats   subscriber.Stats
	records []subscriber.Record

	open  bool
	from  uint64 // the line that the block begins with
	other bool   // not an Accounting-Request
	bad   string // why the block can't be used
	badAt uint64
	text  []byte // the values of the block
}

func (d *detail) line(line []byte, long bool, number uint64) error {
	switch {
	case !long && len(bytes.TrimSpace(line)) == 0:
		return d.end()
	case long || line[0] == '\t' || line[0] == ' ':
		if !d.open {
			d.start(number)
		}
		if why := d.attribute(line, long); why != "" && d.bad == "" {
			d.bad, d.badAt = why, number
		}
		return nil
	}
	if err := d.end(); err != nil {
		return err
	}
	d.start(number)
	// A heading in another form leaves the arrival to the line "Timestamp".
	if t, err := time.ParseInLocation("Mon Jan _2 15:04:05 2006", string(line), d.zone); err == nil {
		d.clerk.facts.arrival = t.UTC()
	}
	return nil
}

func (d *detail) start(number uint64) {
	d.clerk.begin(time.Time{}, netip.Addr{})
	d.open, d.from, d.other, d.bad, d.text = true, number, false, "", d.text[:0]
}

// end hands on what the block comes to.
func (d *detail) end() error {
	if !d.open {
		return nil
	}
	d.open = false
	if d.other {
		d.stats.Ignored++
		return nil
	}
	if d.bad == "" {
		var why reason
		if d.records, why = d.clerk.records(d.records[:0]); why != fine {
			d.bad, d.badAt = why.String(), d.from
		}
	}
	switch {
	case d.bad != "":
		d.stats.Bad("line "+strconv.FormatUint(d.badAt, 10), d.bad)
		return nil
	case len(d.records) == 0:
		d.stats.Ignored++
		return nil
	}
	return hand(d.records, &d.stats, d.emit)
}

// form is how a value is written.
type form uint8

const (
	asText form = iota
	asNumber
	asStatus
	asDate
	asAddress
	asPrefix
)

// meaning is what the name of an attribute stands for.
func meaning(name []byte) (t radius.Type, f form) {
	switch string(name) {
	case "User-Name":
		return radius.UserName, asText
	case "Calling-Station-Id":
		return radius.CallingStationID, asText
	case "Class":
		return radius.Class, asText
	case "NAS-Identifier":
		return radius.NASIdentifier, asText
	case "Acct-Session-Id":
		return radius.AcctSessionID, asText
	case "Acct-Multi-Session-Id":
		return radius.AcctMultiSessionID, asText
	case "Acct-Status-Type":
		return radius.AcctStatusType, asStatus
	case "Acct-Delay-Time":
		return radius.AcctDelayTime, asNumber
	case "Acct-Session-Time":
		return radius.AcctSessionTime, asNumber
	case "Session-Timeout":
		return radius.SessionTimeout, asNumber
	case "Event-Timestamp":
		return radius.EventTimestamp, asDate
	case "NAS-IP-Address":
		return radius.NASIPAddress, asAddress
	case "NAS-IPv6-Address":
		return radius.NASIPv6Address, asAddress
	case "Framed-IP-Address":
		return radius.FramedIPAddress, asAddress
	case "Framed-IPv6-Address":
		return radius.FramedIPv6Address, asAddress
	case "Framed-IPv6-Prefix":
		return radius.FramedIPv6Prefix, asPrefix
	case "Delegated-IPv6-Prefix":
		return radius.DelegatedIPv6Prefix, asPrefix
	}
	return 0, asText
}

// attribute takes a line "Name = value" and says why it can't.
func (d *detail) attribute(line []byte, long bool) string {
	if long {
		return "a line is too long"
	}
	name, value, ok := bytes.Cut(bytes.TrimSpace(line), []byte(" = "))
	if !ok {
		return "a line has no value"
	}
	if t, f := meaning(name); t != 0 {
		raw, ok := d.value(value, f)
		if !ok && f == asDate {
			return "a date can't be read, or its zone isn't known: set the zone of the server"
		}
		if why := wrongValue; !ok {
			return why.String()
		}
		if why := d.clerk.attribute(t, raw); why != fine {
			return why.String()
		}
		return ""
	}
	return d.special(name, value)
}

// special takes the attributes that aren't in a packet under that name.
func (d *detail) special(name, value []byte) string {
	facts, dst := &d.clerk.facts, (*[]byte)(nil)
	switch string(name) {
	case "Timestamp", "Donestamp": // the latter of a block that a relay has sent on
		s, err := strconv.ParseUint(string(value), 10, 32)
		if err != nil {
			return wrongValue.String()
		}
		facts.arrival = time.Unix(int64(s), 0).UTC()
	case "Packet-Type":
		d.other = string(value) != "Accounting-Request"
	case "Packet-Src-IP-Address", "Packet-Src-IPv6-Address", "Client-IP-Address":
		a, err := netip.ParseAddr(string(value))
		if err != nil {
			return wrongValue.String()
		}
		facts.from = a
	case "ADSL-Agent-Circuit-Id", "Attr-26.3561.1":
		dst = &facts.circuit
	case "ADSL-Agent-Remote-Id", "Attr-26.3561.2":
		dst = &facts.remote
	}
	if k := d.clerk.Line; k.where == inVendor && (string(name) == d.vendor || k.name != "" && string(name) == k.name) {
		dst = &facts.line
	}
	if dst == nil {
		return ""
	}
	raw, ok := d.value(value, asText)
	if !ok {
		return wrongValue.String()
	}
	first(dst, raw)
	return ""
}

// value reads what is written behind an attribute's name into the bytes that stand
// for it in a packet. They hold until the block ends.
func (d *detail) value(b []byte, f form) (raw []byte, ok bool) {
	at := len(d.text)
	switch {
	case bytes.HasPrefix(b, []byte("0x")) && len(b)%2 == 0:
		d.text, ok = appendHex(d.text, b[2:])
	case f == asText:
		d.text, ok = appendQuoted(d.text, b)
	case f == asNumber:
		d.text, ok = appendNumber(d.text, b)
	case f == asStatus:
		if n := status(b); n != 0 {
			d.text, ok = binary.BigEndian.AppendUint32(d.text, n), true
		} else {
			d.text, ok = appendNumber(d.text, b)
		}
	case f == asDate:
		var t time.Time
		if t, ok = date(string(unquoted(b)), d.zone); ok && (t.Unix() < 0 || t.Unix() >= 1<<32) {
			ok = false
		}
		d.text = binary.BigEndian.AppendUint32(d.text, uint32(t.Unix())) //nolint:gosec // just looked at
	case f == asAddress:
		var a netip.Addr
		if a, ok = parsed(netip.ParseAddr(string(b))); ok {
			d.text = append(d.text, a.AsSlice()...)
		}
	case f == asPrefix:
		var p netip.Prefix
		if p, ok = parsed(netip.ParsePrefix(string(b))); ok && p.Addr().Is6() {
			d.text = append(append(d.text, 0, byte(p.Bits())), p.Addr().AsSlice()...) //nolint:gosec // up to 128
		}
	}
	raw = d.text[at:len(d.text):len(d.text)]
	return raw, ok && len(raw) <= maxText
}

func parsed[T any](v T, err error) (T, bool) { return v, err == nil }
