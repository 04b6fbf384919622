package sim_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"sakimori/sim"
)

// truths are the truths of the labelled scenes, each recounted by an oracle
// that knows only the frames: gopacket, and rules written a second time.
func truths(t *testing.T) map[string]sim.Truth {
	t.Helper()
	all, err := recounted()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var recounted = sync.OnceValues(func() (map[string]sim.Truth, error) {
	all := map[string]sim.Truth{}
	for _, s := range sim.Labelled() {
		o := newOracle(s.Scene.Dark)
		truth, err := s.Scene.Write(o)
		if err != nil {
			return nil, err
		}
		if err := o.agrees(truth); err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		all[s.Name] = truth
	}
	return all, nil
})

// event is what the oracle adds up by.
type event struct {
	src   netip.Addr
	port  uint16
	proto uint8
	class string
}

type tally struct {
	packets uint64
	targets map[netip.Addr]bool
}

type oracle struct {
	dark                                   []netip.Prefix
	packets, darkPackets, fromDark, broken uint64
	later                                  uint64
	classes                                map[string]uint64
	sources, hit                           map[netip.Addr]bool
	events                                 map[event]*tally
	firsts                                 map[string]bool // fragments whose datagram was counted
	last                                   int64
	wrong                                  []string
	ether                                  layers.Ethernet
	ip4                                    layers.IPv4
	ip6                                    layers.IPv6
	tcp                                    layers.TCP
	udp                                    layers.UDP
	icmp4                                  layers.ICMPv4
	icmp6                                  layers.ICMPv6
}

func newOracle(dark []netip.Prefix) *oracle {
	return &oracle{
		dark: dark, classes: map[string]uint64{}, sources: map[netip.Addr]bool{}, hit: map[netip.Addr]bool{},
		events: map[event]*tally{}, firsts: map[string]bool{},
	}
}

func (o *oracle) isDark(a netip.Addr) bool {
	for _, p := range o.dark {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (o *oracle) errorf(format string, args ...any) {
	if len(o.wrong) < 5 {
		o.wrong = append(o.wrong, fmt.Sprintf("frame %d: ", o.packets)+fmt.Sprintf(format, args...))
	}
}

// WriteFrame decodes and counts one frame.
func (o *oracle) WriteFrame(ts int64, data []byte) error {
	o.packets++
	if ts < o.last {
		o.errorf("goes back in time by %d ns", o.last-ts)
	}
	o.last = ts
	fb := gopacket.NilDecodeFeedback
	if err := o.ether.DecodeFromBytes(data, fb); err != nil {
		o.errorf("ethernet: %v", err)
		return nil
	}
	var src, dst netip.Addr
	var proto layers.IPProtocol
	var body []byte
	switch o.ether.EthernetType {
	case layers.EthernetTypeIPv4:
		if err := o.ip4.DecodeFromBytes(o.ether.Payload, fb); err != nil || o.ip4.Version != 4 || o.ip4.IHL < 5 {
			o.broken++
			return nil
		}
		if naive(0, o.ether.Payload[:20]) != 0xffff {
			o.errorf("IPv4 header checksum is wrong")
		}
		src, _ = netip.AddrFromSlice(o.ip4.SrcIP)
		dst, _ = netip.AddrFromSlice(o.ip4.DstIP)
		proto, body = o.ip4.Protocol, o.ip4.Payload
	case layers.EthernetTypeIPv6:
		if err := o.ip6.DecodeFromBytes(o.ether.Payload, fb); err != nil {
			o.broken++
			return nil
		}
		src, _ = netip.AddrFromSlice(o.ip6.SrcIP)
		dst, _ = netip.AddrFromSlice(o.ip6.DstIP)
		proto, body = o.ip6.NextHeader, o.ip6.Payload
	default:
		return nil // no IP
	}
	if len(data) < 60 {
		o.errorf("frame of %d bytes isn't padded", len(data))
	}
	if o.isDark(src) {
		o.fromDark++
		return nil
	}
	if !o.isDark(dst) {
		return nil
	}
	o.darkPackets++
	if o.ether.EthernetType == layers.EthernetTypeIPv4 {
		id := fmt.Sprint(src, dst, o.ip4.Id)
		switch {
		case o.ip4.FragOffset > 0 && o.firsts[id]:
			o.later++
			return nil
		case o.ip4.FragOffset > 0:
			o.count(event{src, 0, 17, "other"}, dst)
			return nil
		case o.ip4.Flags&layers.IPv4MoreFragments != 0:
			o.firsts[id] = true
			o.count(event{src, binary.BigEndian.Uint16(body), 17, "backscatter"}, dst)
			return nil
		}
	}
	if naive(pseudo(src, dst, uint8(proto), len(body)), body) != 0xffff {
		o.errorf("checksum of protocol %v is wrong", proto)
	}
	o.count(o.form(src, proto, body), dst)
	return nil
}

// form is the class of a packet by its form, and the event it belongs to.
func (o *oracle) form(src netip.Addr, proto layers.IPProtocol, body []byte) event {
	fb := gopacket.NilDecodeFeedback
	e := event{src: src, proto: uint8(proto), class: "other"}
	switch proto {
	case layers.IPProtocolTCP:
		if err := o.tcp.DecodeFromBytes(body, fb); err != nil {
			o.errorf("tcp: %v", err)
			return e
		}
		e.port = uint16(o.tcp.DstPort)
		switch {
		case o.tcp.RST, o.tcp.SYN && o.tcp.ACK:
			e.class, e.port = "backscatter", uint16(o.tcp.SrcPort)
		case o.tcp.ACK:
		default:
			e.class = "scan"
		}
	case layers.IPProtocolUDP:
		if err := o.udp.DecodeFromBytes(body, fb); err != nil {
			o.errorf("udp: %v", err)
			return e
		}
		e.port, e.class = uint16(o.udp.SrcPort), udpClass(uint16(o.udp.SrcPort), o.udp.Payload)
		if e.class == "scan" {
			e.port = uint16(o.udp.DstPort)
		}
	case layers.IPProtocolICMPv4:
		if err := o.icmp4.DecodeFromBytes(body, fb); err != nil {
			o.errorf("icmp: %v", err)
			return e
		}
		e.port, e.class = uint16(o.icmp4.TypeCode), "backscatter"
		switch o.icmp4.TypeCode.Type() {
		case layers.ICMPv4TypeEchoRequest:
			e.class = "scan"
		case layers.ICMPv4TypeDestinationUnreachable: // what was attacked is in the quotation
			q := o.icmp4.Payload
			e.proto, e.port = q[9], binary.BigEndian.Uint16(q[22:])
			if naive(0, q[:20]) != 0xffff || netip.AddrFrom4([4]byte(q[16:20])) != src {
				o.errorf("the quotation is wrong")
			}
		}
	case layers.IPProtocolICMPv6:
		if err := o.icmp6.DecodeFromBytes(body, fb); err != nil {
			o.errorf("icmpv6: %v", err)
			return e
		}
		e.port, e.class = uint16(o.icmp6.TypeCode), "backscatter"
		switch o.icmp6.TypeCode.Type() {
		case layers.ICMPv6TypeEchoRequest:
			e.class = "scan"
		case layers.ICMPv6TypeDestinationUnreachable:
			q := o.icmp6.Payload[4:] // gopacket keeps the second word in the payload
			e.proto, e.port = q[6], binary.BigEndian.Uint16(q[42:])
			if netip.AddrFrom16([16]byte(q[24:40])) != src {
				o.errorf("the quotation is wrong")
			}
		}
	default:
		o.errorf("protocol %v", proto)
	}
	return e
}

// udpClass tells answers of services from questions to them.
func udpClass(sport uint16, p []byte) string {
	switch sport {
	case 53:
		if len(p) > 2 && p[2]&0x80 != 0 {
			return "backscatter"
		}
	case 123:
		if len(p) > 0 && p[0]&7 == 4 {
			return "backscatter"
		}
		if len(p) > 0 && p[0]&7 == 7 && p[0]&0x80 != 0 {
			return "reflection"
		}
	case 161, 443:
		return "backscatter"
	case 19, 389, 1900, 11211:
		return "reflection"
	}
	return "scan"
}

func (o *oracle) count(e event, dst netip.Addr) {
	o.classes[e.class]++
	o.sources[e.src], o.hit[dst] = true, true
	t := o.events[e]
	if t == nil {
		t = &tally{targets: map[netip.Addr]bool{}}
		o.events[e] = t
	}
	t.packets++
	t.targets[dst] = true
}

// agrees compares with the truth, source by source.
func (o *oracle) agrees(t sim.Truth) error {
	if len(o.wrong) > 0 {
		return fmt.Errorf("%q", o.wrong)
	}
	var hit4, hit6 uint64
	for a := range o.hit {
		if a.Is4() {
			hit4++
		} else {
			hit6++
		}
	}
	c := t.Classes
	for _, x := range []struct {
		what        string
		truth, seen uint64
	}{
		{"packets", t.Packets, o.packets},
		{"dark packets", t.DarkPackets, o.darkPackets},
		{"from dark", t.FromDark, o.fromDark},
		{"malformed", t.Malformed, o.broken},
		{"later fragments", t.LaterFragment, o.later},
		{"sources", t.UniqueSources, uint64(len(o.sources))},
		{"hit", t.DarkAddresses.Hit, hit4},
		{"hit6", t.DarkAddresses.Hit6, hit6},
		{"scan", c.Scan, o.classes["scan"]},
		{"backscatter", c.Backscatter, o.classes["backscatter"]},
		{"reflection", c.Reflection, o.classes["reflection"]},
		{"other", c.Other, o.classes["other"]},
		{"keys", t.Keys, uint64(len(o.events))},
	} {
		if x.truth != x.seen {
			return fmt.Errorf("%s: truth says %d, the frames say %d", x.what, x.truth, x.seen)
		}
	}
	for _, s := range t.Scanners {
		if s.Role == sim.RoleVertical {
			continue // told as one
		}
		if err := o.same(event{s.Source, s.Port, s.Protocol, "scan"}, s.Packets, s.Targets); err != nil {
			return err
		}
	}
	for _, q := range append(t.Misconfigured, t.Benign...) {
		if err := o.same(event{q.Address, q.Port, q.Protocol, "scan"}, q.Packets, q.Targets); err != nil {
			return err
		}
	}
	victims := map[event]uint64{}
	for _, v := range t.Victims {
		victims[event{v.Address, v.Port, v.Protocol, "backscatter"}] += v.Packets
	}
	for e, n := range victims {
		if got := o.events[e]; got == nil || got.packets != n {
			return fmt.Errorf("victim %v: truth says %d packets, the frames say %+v", e, n, got)
		}
	}
	return nil
}

func (o *oracle) same(e event, packets, targets uint64) error {
	got := o.events[e]
	if got == nil || got.packets != packets || uint64(len(got.targets)) != targets {
		return fmt.Errorf("%v: truth says %d packets to %d targets, the frames say %+v", e, packets, targets, got)
	}
	return nil
}

// naive adds up 16-bit words with end-around carry, a word at a time (RFC 1071).
func naive(s uint32, b []byte) uint16 {
	for i := 0; i < len(b); i += 2 {
		w := uint32(b[i]) << 8
		if i+1 < len(b) {
			w |= uint32(b[i+1])
		}
		s += w
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

func pseudo(src, dst netip.Addr, proto uint8, n int) uint32 {
	if proto == 1 {
		return 0
	}
	s := uint32(naive(0, src.AsSlice())) + uint32(naive(0, dst.AsSlice())) + uint32(proto) + uint32(n)
	return s&0xffff + s>>16
}
