package access

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sakimori/base/wire/radius"
	"sakimori/respond/subscriber"
)

// Accounting says how RADIUS accounting is to be understood. The zero value is the
// usual way.
type Accounting struct {
	// Line names the contract; by default User-Name.
	Line Key
	// WholeAddress takes a Framed-IPv6-Address for one address. By default it stands
	// for the /64 around it, as a host in it changes the rest as it likes. Set it where
	// several subscribers share a /64.
	WholeAddress bool
	// StampKept is for a NAS that keeps the Event-Timestamp when it sends a request again,
	// as RFC 2869 §5.3 has it: Acct-Delay-Time isn't taken off it then. By default it is,
	// as most stamp each sending anew.
	StampKept bool
}

// Key is where the name of the contract stands. The zero Key is User-Name.
type Key struct {
	where  where
	vendor uint32
	number radius.Type
	name   string // in detail files, where the dictionary knows it; else it is Attr-26.vendor.number
}

type where uint8

const (
	inUserName where = iota
	inCallingStation
	inClass
	inCircuit
	inVendor
)

// ParseKey reads "user-name", "calling-station-id", "class", "agent-circuit"
// (Agent-Circuit-Id and Agent-Remote-Id of RFC 4679) or "vendor:NUMBER:TYPE", behind
// which may stand the attribute's name in FreeRADIUS' dictionary, for detail files:
// "vendor:4874:177:ERX-Pppoe-Description". "" is "user-name".
func ParseKey(s string) (Key, error) {
	switch s {
	case "", "user-name":
		return Key{}, nil
	case "calling-station-id":
		return Key{where: inCallingStation}, nil
	case "class":
		return Key{where: inClass}, nil
	case "agent-circuit":
		return Key{where: inCircuit}, nil
	}
	if f := strings.SplitN(s, ":", 4); len(f) >= 3 && f[0] == "vendor" {
		vendor, err1 := strconv.ParseUint(f[1], 10, 24)
		number, err2 := strconv.ParseUint(f[2], 10, 8)
		if err1 == nil && err2 == nil && vendor > 0 && number > 0 {
			k := Key{where: inVendor, vendor: uint32(vendor), number: radius.Type(number)}
			if len(f) == 4 {
				k.name = f[3]
			}
			return k, nil
		}
	}
	return Key{}, fmt.Errorf("%q names no attribute: write user-name, calling-station-id, class, agent-circuit or vendor:NUMBER:TYPE", s)
}

// facts are what one Accounting-Request says, in whatever form it was found.
type facts struct {
	arrival time.Time
	from    netip.Addr // who sent it

	status, event, delay, time, timeout uint32
	hasStatus, hasEvent, hasTime        bool
	nasID, session, multi, line         []byte
	circuit, remote                     []byte
	nas                                 netip.Addr
	addresses                           []netip.Prefix // as they stand in it, each once
}

// clerk turns facts into records. It belongs to one goroutine.
type clerk struct {
	Accounting
	facts   facts
	sources map[string]string // the names of the sources seen, each kept once
	text    []byte
}

func newClerk(a Accounting) *clerk {
	return &clerk{Accounting: a, sources: map[string]string{}}
}

// mostAddresses is how many one request may tell of, and mostSources how many names
// are kept to be used again.
const (
	mostAddresses = 64
	mostSources   = 1 << 16
)

// begin forgets the last request.
func (c *clerk) begin(arrival time.Time, from netip.Addr) {
	c.facts = facts{arrival: arrival, from: from, addresses: c.facts.addresses[:0]}
}

// records appends what the facts come to: one record for each address, one Reset,
// or nothing when they say nothing of an address.
func (c *clerk) records(dst []subscriber.Record) ([]subscriber.Record, reason) {
	f := &c.facts
	r := subscriber.Record{}
	switch {
	case !f.hasStatus:
		return dst, noStatus
	case f.status == radius.Start:
		r.Kind = subscriber.Begin
	case f.status == radius.InterimUpdate:
		r.Kind = subscriber.Alive
	case f.status == radius.Stop:
		r.Kind = subscriber.End
	case f.status == radius.AccountingOn, f.status == radius.AccountingOff:
		r.Kind = subscriber.Reset
	case f.status >= radius.TunnelStart && f.status <= radius.LinkReject, f.status == radius.Failed:
		return dst, fine
	default:
		return dst, badStatus
	}
	if why := c.times(&r); why != fine {
		return dst, why
	}
	r.Source = c.source()
	if r.Kind == subscriber.Reset {
		return append(dst, r), fine
	}
	c.names(&r)
	for _, p := range f.addresses {
		r.Address = p
		dst = append(dst, r)
	}
	return dst, fine
}

// times sets At, Since and Until.
func (c *clerk) times(r *subscriber.Record) reason {
	f := &c.facts
	delay := time.Duration(f.delay) * time.Second
	switch {
	case f.arrival.IsZero():
		return noArrival
	case !f.hasEvent:
		r.At = f.arrival.Add(-delay)
	case c.StampKept:
		r.At = time.Unix(int64(f.event), 0).UTC()
	default:
		r.At = time.Unix(int64(f.event), 0).UTC().Add(-delay)
	}
	if r.At.Before(earliest) {
		return tooEarly
	}
	if r.At.After(f.arrival.Add(ahead)) {
		return tooLate
	}
	begun := time.Time{}
	switch r.Kind {
	case subscriber.Begin:
		begun = r.At
	case subscriber.Alive, subscriber.End:
		if f.hasTime {
			begun = r.At.Add(-time.Duration(f.time) * time.Second)
			if begun.Before(earliest) {
				return begunTooEarly
			}
			r.Since = begun
		}
	}
	// Both ends of the range are in use for "without end".
	if f.timeout > 0 && f.timeout < 1<<32-1 && r.Kind != subscriber.End && r.Kind != subscriber.Reset && !begun.IsZero() {
		r.Until = begun.Add(time.Duration(f.timeout) * time.Second)
	}
	return fine
}

// source is the name of the NAS: as it calls itself, else its address, else that
// of the sender.
func (c *clerk) source() string {
	f := &c.facts
	c.text = c.text[:0]
	switch {
	case len(f.nasID) > 0:
		c.text = appendText(c.text, f.nasID, 0)
	case f.nas.IsValid():
		c.text = f.nas.AppendTo(c.text)
	case f.from.IsValid():
		c.text = f.from.AppendTo(c.text)
	}
	if s, ok := c.sources[string(c.text)]; ok {
		return s
	}
	s := string(c.text)
	if len(c.sources) < mostSources {
		c.sources[s] = s
	}
	return s
}

// names sets Line and Session, which share one allocation. The links of a multilink
// bundle have an Acct-Session-Id each (RFC 2866 §5.11) and stay uses of their own:
// when one of them stops, the others go on. Acct-Multi-Session-Id stands in only where
// there is no other.
func (c *clerk) names(r *subscriber.Record) {
	f := &c.facts
	if c.Line.where == inCircuit {
		c.text = appendCircuit(c.text[:0], f.circuit, f.remote)
	} else {
		c.text = appendText(c.text[:0], f.line, 0)
	}
	n := len(c.text)
	if len(f.session) > 0 {
		c.text = appendText(c.text, f.session, 0)
	} else {
		c.text = appendText(c.text, f.multi, 0)
	}
	both := string(c.text)
	r.Line, r.Session = both[:n], both[n:]
}

// add takes an address or prefix that the request tells of.
func (f *facts) add(p netip.Prefix) reason {
	p = p.Masked()
	switch {
	case p.Addr().Is6() && p.Bits() < shortest:
		return hugePrefix
	case !subscribers(p.Addr()):
		return fine
	}
	if slices.Contains(f.addresses, p) {
		return fine
	}
	if len(f.addresses) == mostAddresses {
		return tooMany
	}
	f.addresses = append(f.addresses, p)
	return fine
}

// chooses are the values of Framed-IP-Address by which a server lets the user, or
// the NAS, choose (RFC 2865 §5.8): nobody's address.
func chooses(a netip.Addr) bool {
	return a == broadcast || a == netip.AddrFrom4([4]byte{255, 255, 255, 254})
}

// framed6 takes a Framed-IPv6-Address.
func (c *clerk) framed6(a netip.Addr) reason {
	bits := 64
	if c.WholeAddress {
		bits = 128
	}
	if !subscribers(a) {
		return fine
	}
	return c.facts.add(netip.PrefixFrom(a, bits))
}
