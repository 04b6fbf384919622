package access

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"

	"sakimori/respond/subscriber"
)

// ReadISC reads a lease file of ISC dhcpd (dhcpd.leases(5)): leases of IPv4, and the
// identity associations ia-na, ia-ta and ia-pd of IPv6. Statements and blocks that
// nothing here asks for are passed over.
//
// An active lease is a Begin at its client's last transaction (cltt, else starts); any
// other state is an End when the lease ended, and nothing where the file tells no
// time. Every change of a lease is a block of its own, so renewals are Begins again.
func ReadISC(r io.Reader, o LeaseOptions, emit Emit) (subscriber.Stats, error) {
	d := &isc{book: newBook(o, emit)}
	in := newStatements(r)
	for {
		s, err := in.next()
		if errors.Is(err, io.EOF) {
			d.unclosed()
			return d.stats, nil
		}
		if err != nil {
			return d.stats, fmt.Errorf("lease file, line %d: %w", in.line, err)
		}
		if err := d.statement(s); err != nil {
			return d.stats, err
		}
	}
}

// isc is where in a file of dhcpd the reading stands.
type isc struct {
	*book
	big bool // the machine that wrote it is big-endian

	depth   int // blocks that are open
	passing int // of them, how many nobody asked for
	inIA    bool
	iaAt    uint64 // the line that it begins on
	outer   lease  // of an identity association: who, and since when
	lease   lease
	at      uint64 // the line that lease begins on, 0: none
	cltt    time.Time
	starts  time.Time
	state   string
	prefix  bool // inside ia-pd
	why     string
}

func (d *isc) statement(s *statement) error {
	first := ""
	if len(s.words) > 0 {
		first = s.words[0]
	}
	switch s.end {
	case '{':
		d.open(s, first)
	case '}':
		if d.depth == 0 {
			d.bad(s.line, "a brace too many")
			return nil
		}
		return d.close()
	case ';':
		if first == "authoring-byte-order" && len(s.words) == 2 {
			d.big = s.words[1] == "big-endian"
		}
		if d.depth > 0 && d.passing == 0 && (d.at != 0 || d.inIA) {
			d.field(s, first)
		}
	default:
		if d.depth == 0 {
			d.bad(s.line, "the file ends in a statement")
		}
	}
	return nil
}

// open begins a block. One that can only stand at the top shows that the one before
// was never closed.
func (d *isc) open(s *statement, first string) {
	top := first == "lease" || first == "ia-na" || first == "ia-ta" || first == "ia-pd"
	switch {
	case top:
		d.unclosed()
		d.depth = 1
		if len(s.words) != 2 || s.long {
			d.passing = 1
			d.bad(s.line, noAddress)
			return
		}
		if first == "lease" {
			d.begin(s, lease{})
			return
		}
		d.inIA, d.iaAt, d.prefix, d.outer, d.cltt = true, s.line, first == "ia-pd", lease{}, time.Time{}
		id, ok := appendQuoted(nil, []byte(s.words[1]))
		if !ok || len(id) < 5 {
			d.passing = 1
			d.bad(s.line, "an identifier can't be read")
			return
		}
		d.outer.iaid = binary.LittleEndian.Uint32(id)
		if d.big {
			d.outer.iaid = binary.BigEndian.Uint32(id)
		}
		d.outer.client = id[4:]
	case d.inIA && d.depth == 1 && d.passing == 0 && (first == "iaaddr" || first == "iaprefix") && len(s.words) == 2:
		d.depth = 2
		d.begin(s, d.outer)
	default:
		d.depth++
		d.passing++
	}
}

// begin begins a lease of the address that stands behind the block's name.
func (d *isc) begin(s *statement, l lease) {
	d.lease, d.at, d.state, d.starts, d.why = l, s.line, "active", time.Time{}, ""
	if !d.inIA {
		d.cltt = time.Time{}
	}
	if d.prefix && d.inIA {
		p, err := netip.ParsePrefix(s.words[1])
		if err != nil {
			d.why = noAddress
		}
		d.lease.address = p
		return
	}
	a, err := netip.ParseAddr(s.words[1])
	if err != nil || a.Zone() != "" {
		d.why = noAddress
		return
	}
	d.lease.address = netip.PrefixFrom(a, a.BitLen())
}

// close ends a block, and hands on the lease that it was.
func (d *isc) close() error {
	d.depth--
	if d.passing > 0 {
		d.passing--
	}
	at := d.at
	if d.depth == 0 {
		defer func() { d.inIA = false }()
	}
	if at == 0 || d.depth != 0 && !(d.inIA && d.depth == 1) {
		return nil
	}
	d.at = 0
	if d.why != "" {
		d.bad(at, d.why)
		return nil
	}
	l := &d.lease
	if l.given = d.cltt; l.given.IsZero() {
		l.given = d.starts
	}
	switch d.state {
	case "active", "bootp":
	case "free", "expired", "released", "abandoned", "reset", "backup":
		if l.over = true; l.until.IsZero() {
			l.until = l.given
		}
		if l.until.IsZero() {
			d.stats.Ignored++
			return nil
		}
	default:
		d.bad(at, "an unknown state")
		return nil
	}
	return d.take(l, at)
}

// unclosed counts what was open when it couldn't be any more.
func (d *isc) unclosed() {
	switch {
	case d.at != 0:
		d.bad(d.at, "a block isn't closed")
	case d.depth > 0 && d.inIA && d.passing == 0:
		d.bad(d.iaAt, "a block isn't closed")
	}
	d.depth, d.passing, d.at, d.inIA = 0, 0, 0, false
}

// field takes a statement of a lease, or of an identity association.
func (d *isc) field(s *statement, first string) {
	l := &d.lease
	ok := true
	switch {
	case first == "cltt":
		d.cltt, ok = iscTime(s.words)
	case d.at == 0: // the rest is of a lease alone
	case first == "starts":
		d.starts, ok = iscTime(s.words)
	case first == "ends":
		l.until, ok = iscTime(s.words)
	case first == "binding" && len(s.words) == 3:
		d.state = s.words[2]
	case first == "abandoned":
		d.state = first
	case first == "hardware" && len(s.words) == 3:
		l.mac, ok = fromColons(s.words[2])
	case first == "uid" && len(s.words) == 2:
		l.client, ok = identifier(s.words[1])
	case first == "option" && len(s.words) == 3 && s.words[1] == "agent.circuit-id":
		l.circuit, ok = identifier(s.words[2])
	case first == "option" && len(s.words) == 3 && s.words[1] == "agent.remote-id":
		l.remote, ok = identifier(s.words[2])
	}
	if !ok && d.why == "" {
		d.why = "a statement can't be read: " + first
	}
}

// identifier reads a string in quotes, or bytes with colons between them.
func identifier(s string) ([]byte, bool) {
	if s != "" && s[0] == '"' {
		return appendQuoted(nil, []byte(s))
	}
	return fromColons(s)
}

// iscTime reads "W YYYY/MM/DD HH:MM:SS" (UTC), "epoch N" or "never", behind the
// statement's name.
func iscTime(words []string) (t time.Time, ok bool) {
	switch {
	case len(words) == 2 && words[1] == "never":
		return t, true
	case len(words) == 3 && words[1] == "epoch":
		n, err := strconv.ParseInt(words[2], 10, 64)
		return time.Unix(n, 0).UTC(), err == nil && n >= 0 && n < 1<<33
	case len(words) == 4:
		t, err := time.Parse("2006/01/02 15:04:05", words[2]+" "+words[3])
		return t, err == nil
	}
	return t, false
}
