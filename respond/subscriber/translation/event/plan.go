package event

import (
	"errors"
	"net/netip"
	"time"

	"sakimori/base/wire/ipfix"
	"sakimori/respond/subscriber"
)

// The information elements of IANA's IPFIX registry that are read. Those in brackets are
// what Cisco's ASA 8.2 called them before it took the registry's.
const (
	protocolIdentifier          = 4
	sourceIPv4Address           = 8
	sourceIPv6Address           = 27
	flowID                      = 148
	flowStartMilliseconds       = 152
	postNATSourceIPv4Address    = 225 // [40001]
	postNAPTSourceTransportPort = 227 // [40003]
	natEvent                    = 230
	firewallEvent               = 233 // [40005]
	ingressVRFID                = 234
	postNATSourceIPv6Address    = 281
	observationTimeSeconds      = 322
	observationTimeMilliseconds = 323
	observationTimeMicroseconds = 324
	observationTimeNanoseconds  = 325
	portRangeStart              = 361
	portRangeEnd                = 362
	portRangeStepSize           = 363
	portRangeNumPorts           = 364
)

// plan is where a template has the elements, -1 where it hasn't.
type plan struct {
	nat, firewall           int
	inside4, inside6        int
	public4, public6, port  int
	start, end, step, ports int
	proto, vrf, flow, began int
	sec, milli, micro, nano int
}

func newPlan(t *ipfix.Template) plan {
	find := func(ids ...uint16) int {
		for _, id := range ids {
			if i := t.Find(0, id); i >= 0 {
				return i
			}
		}
		return -1
	}
	return plan{
		nat: find(natEvent), firewall: find(firewallEvent, 40005),
		inside4: find(sourceIPv4Address), inside6: find(sourceIPv6Address),
		public4: find(postNATSourceIPv4Address, 40001), public6: find(postNATSourceIPv6Address), port: find(postNAPTSourceTransportPort, 40003),
		start: find(portRangeStart), end: find(portRangeEnd), step: find(portRangeStepSize), ports: find(portRangeNumPorts),
		proto: find(protocolIdentifier), vrf: find(ingressVRFID), flow: find(flowID), began: find(flowStartMilliseconds),
		sec: find(observationTimeSeconds), milli: find(observationTimeMilliseconds),
		micro: find(observationTimeMicroseconds), nano: find(observationTimeNanoseconds),
	}
}

// What is wrong with a record.
var (
	errNoTemplate = errors.New("data came before its template: it is lost; let the exporter send templates more often")
	errInside     = errors.New("a translation without an inside address: look at the template that the exporter is configured with")
	errPorts      = errors.New("a block of ports that ends before it begins or beyond 65535")
	errScattered  = errors.New("a scattered set of more than 4096 ports")
	errTime       = errors.New("a time that is none")
)

// reading is a record in hand and where to find things in it.
type reading struct {
	*ipfix.Records
	p *plan
}

// number is an element, 0 where it is missing.
func (f reading) number(i int) uint64 {
	if i < 0 {
		return 0
	}
	return f.Uint(i)
}

// address is an element that is an address; the unspecified address says that there is
// none.
func (f reading) address(i int) netip.Addr {
	if i < 0 {
		return netip.Addr{}
	}
	a := f.Addr(i).Unmap()
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

func (f reading) vrf() uint32 { return uint32(f.number(f.p.vrf)) } //nolint:gosec // the element has 32 bits

// kind is what the event means; 0: nothing about who has an address.
//
// IANA's registry of natEvent: 1 and 2 are the historic forms of 4 and 5; 4 to 11 are
// sessions and bindings of NAT44 and NAT64; 14 and 15 bind addresses; 16 and 17 give and
// take blocks of ports; 3, 12, 13 and 18 tell that something ran out. Of firewallEvent: 1
// created, 2 deleted, 3 denied, 4 alert, 5 update.
func (f reading) kind() subscriber.Kind {
	if f.p.nat >= 0 {
		switch f.Uint(f.p.nat) {
		case 1, 4, 6, 8, 10, 14, 16:
			return subscriber.Begin
		case 2, 5, 7, 9, 11, 15, 17:
			return subscriber.End
		}
		return 0
	}
	switch f.number(f.p.firewall) {
	case 1:
		return subscriber.Begin
	case 2:
		return subscriber.End
	case 5:
		return subscriber.Alive
	}
	return 0
}

// span is n runs of ports, each of length ports, step apart. The whole address is one run
// from port 0 to 0, as subscriber.Ports has it.
type span struct{ n, first, step, length int }

// mostScattered ports of one event are told one by one.
const mostScattered = 4096

// block fills a record but for source and ports, which it returns; none: the record
// says nothing of a subscriber.
func (f reading) block(h *ipfix.Header, exclusive bool, rec *subscriber.Record) (b span, err error) {
	kind := f.kind()
	public := f.address(f.p.public4)
	if !public.IsValid() {
		public = f.address(f.p.public6)
	}
	if kind == 0 || !public.IsValid() {
		return span{}, nil
	}
	// DS-Lite tells the B4's address beside the inside one, which every home may have.
	inside := f.address(f.p.inside6)
	if !inside.IsValid() {
		inside = f.address(f.p.inside4)
	}
	switch {
	case !inside.IsValid():
		return span{}, errInside
	case inside == public: // seen, not translated
		return span{}, nil
	}
	if b, err = f.span(exclusive); err != nil || b.n == 0 {
		return span{}, err
	}
	at, err := f.at(h)
	if err != nil {
		return span{}, err
	}
	*rec = subscriber.Record{
		Kind: kind, Address: netip.PrefixFrom(public, public.BitLen()), Inside: inside, At: at,
		Proto: uint8(f.number(f.p.proto)), //nolint:gosec // the element has 8 bits
	}
	if began, ok := clock(f.number(f.p.began)/1000, f.number(f.p.began)%1000*1e6); ok && kind != subscriber.Begin && !began.After(at) {
		rec.Since = began
	}
	if f.p.flow >= 0 {
		rec.Session = hex(f.Uint(f.p.flow))
	}
	return b, nil
}

// hex is a session's number as a name.
func hex(v uint64) string {
	const digits = "0123456789abcdef"
	var b [16]byte
	i := len(b)
	for ok := true; ok; ok = v > 0 {
		i--
		b[i] = digits[v&15]
		v >>= 4
	}
	return string(b[i:])
}

// span reads the ports. Port 0, which ICMP's identifier may be, can't be told from the
// whole address in a Record, so it is passed over.
func (f reading) span(exclusive bool) (span, error) {
	if f.p.start < 0 {
		switch port := int(f.number(f.p.port)); { //nolint:gosec // the element has 16 bits
		case f.p.port < 0 && exclusive:
			return span{n: 1, length: 1}, nil
		case f.p.port < 0 || port == 0:
			return span{}, nil
		case port > 65535:
			return span{}, errPorts
		default:
			return span{1, port, 1, 1}, nil
		}
	}
	first, last := int(f.number(f.p.start)), int(f.number(f.p.end))  //nolint:gosec // 16 bits
	step, ports := int(f.number(f.p.step)), int(f.number(f.p.ports)) //nolint:gosec // 16 bits
	step = max(step, 1)
	switch {
	case first == 0 && last == 0 && ports == 0:
		return span{}, nil
	case f.p.end < 0 || last == 0 && ports > 0:
		last = first + step*(max(ports, 1)-1)
	}
	switch {
	case first < 0 || last < first || last > 65535:
		return span{}, errPorts
	case first == 0 && last == 0:
		return span{}, nil
	case step == 1:
		return span{1, first, 1, last - first + 1}, nil
	case (last-first)/step+1 > mostScattered:
		return span{}, errScattered
	}
	return span{(last-first)/step + 1, first, step, 1}, nil
}

// at is when it happened: the observation time as finely as it is told, else when it was
// exported. Seconds and milliseconds count from 1970, micro- and nanoseconds are NTP
// timestamps (RFC 7011 §6.1.7 to §6.1.10).
func (f reading) at(h *ipfix.Header) (time.Time, error) {
	const ntp = 2208988800 // seconds from 1900 to 1970
	seconds, nanoseconds := uint64(h.ExportTime), uint64(0)
	if v := f.number(f.p.sec); v > 0 {
		seconds = v
	}
	if v := f.number(f.p.milli); v > 0 {
		seconds, nanoseconds = v/1000, v%1000*1e6
	}
	for _, i := range [...]int{f.p.micro, f.p.nano} {
		if v := f.number(i); v > 0 {
			seconds, nanoseconds = v>>32-ntp, v&0xffffffff*1e9>>32 // before 1970 it wraps, and isn't taken
		}
	}
	t, ok := clock(seconds, nanoseconds)
	if !ok {
		return time.Time{}, errTime
	}
	return t, nil
}
