package telescope

import (
	"encoding/binary"
	"math"
	"math/bits"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// Rule is a dated fingerprint: which packets a tool sends, since when, who says
// so, and how often a packet of something else would fit by accident.
type Rule struct {
	Tool    observe.Tool
	Version int       // of the rule, raised when it changes
	From    time.Time // first release that sends such packets; zero from the start
	Until   time.Time // first release that doesn't; zero to this day
	Source  string    // where the form was read
	Form    string    // the form in words
	Chance  float64   // that one SYN with random header fields fits
	Least   int       // matching packets, each different, before the tool is named
	Kinds   []observe.Kind
	// SameSeq says that the tool sends one sequence number to all its targets,
	// but for the number of the try, mirrored in both halves: a packet whose
	// halves differ in another way contradicts it.
	SameSeq bool
	// Options are the TCP options that the tool sends: with others the rule isn't
	// even asked.
	Options Options
	// Clock says that the tool writes the time at which it began into the TCP
	// timestamp option, where it sends one: see began.
	Clock bool
	match func(p *packet.Packet) bool
}

// Options is a form of the TCP options.
type Options uint8

// The forms by which rules are told apart.
const (
	AnyOptions Options = iota
	NoOptions          // none at all
	MSS1460            // a maximum segment size of 1460 alone
	Several            // more than four bytes, as operating systems send
)

var (
	syn     = []observe.Kind{observe.KindTCPSyn}
	echoUDP = []observe.Kind{observe.KindICMPRequest, observe.KindUDP}
)

// Rules are all fingerprints. The order is that of the bits in a mask; a tool
// named by an earlier rule is preferred. Dates are the releases' dates: old
// versions go on being used, so a rule isn't switched off when it ends.
var Rules = []Rule{
	{
		Tool: observe.Mirai, Version: 1, From: date(2016, 8, 1),
		Source: "mirai/bot/scanner.c of the published source (2016-09-30)",
		Form:   "SYN, TCP sequence number = destination address",
		Chance: math.Ldexp(1, -32), Least: 2,
		Kinds: syn,
		match: func(p *packet.Packet) bool {
			return p.Dst.Is4() && p.Seq == p.Dst.V4()
		},
	},
	{
		Tool: observe.ZMapOld, Version: 1, From: date(2013, 8, 1), Until: date(2024, 3, 21),
		Source: "zmap src/probe_modules/packet.c before 4.1.0",
		Form:   "SYN, IP ID 54321, window 65535, no TCP options, TTL from 255",
		Chance: math.Ldexp(1, -16-16-1), Least: 3,
		Options: NoOptions,
		Kinds:   syn,
		match:   zmapOld,
	},
	{
		Tool: observe.ZMapOld, Version: 1, From: date(2023, 6, 23), Until: date(2024, 3, 21),
		Source: "zmap CHANGELOG of 3.0.0 (#673), src/probe_modules/packet.c (set_mss_option) before 4.1.0",
		Form:   "SYN, IP ID 54321, window 65535, option MSS 1460 alone, TTL from 255",
		Chance: math.Ldexp(1, -16-16-1), Least: 3,
		Options: MSS1460,
		Kinds:   syn,
		match:   zmapOld,
	},
	{
		Tool: observe.ZMapOld, Version: 1, From: date(2013, 8, 1), Until: date(2024, 3, 21),
		Source: "zmap src/probe_modules/packet.c before 4.1.0; measured with zmap 2.1.1",
		Form:   "echo request or UDP datagram, IP ID 54321, TTL from 255",
		Chance: math.Ldexp(1, -16-1), Least: 3,
		Kinds: echoUDP,
		match: func(p *packet.Packet) bool { return p.Dst.Is4() && p.ID == 54321 && p.TTL > 128 },
	},
	{
		Tool: observe.ZMapNew, Version: 1, From: date(2024, 3, 21),
		Source: "zmap 4.1.0 and later: src/probe_modules/packet.c and packet.h, module_tcp_synscan.c, " +
			"the exact options in its test of JA4T, packets of tcpdump in pull requests #850 and #855",
		Form: "SYN, DF clear, window 65535, source port 32768 to 61000, TTL from 64 (4.1.0: 255), the TCP options of Windows " +
			"(the default from 4.1.1 on), Ubuntu (of 4.1.0) or macOS to the byte with MSS 1460; where there is a timestamp, " +
			"it is the Unix second at which the scan began, with no echo",
		Chance: math.Ldexp(1, -18), Least: 3,
		Options: Several,
		Kinds:   syn, Clock: true,
		match: zmapNew,
	},
	{
		Tool: observe.MasscanOld, Version: 1, From: date(2013, 9, 1), Until: date(2023, 11, 7),
		Source: "masscan src/templ-pkt.c before 2023-11-07",
		Form:   "SYN, IP ID = (destination ^ port ^ sequence) & 0xffff, window 1024, no TCP options, TTL from 255",
		Chance: math.Ldexp(1, -16-16), Least: 3,
		Options: NoOptions,
		Kinds:   syn,
		match: func(p *packet.Packet) bool {
			return masscanCookie(p) && p.Window == 1024 && p.TTL > 128
		},
	},
	{
		Tool: observe.MasscanNew, Version: 1, From: date(2023, 11, 7),
		Source: "masscan src/templ-pkt.c from 2023-11-07",
		Form:   "SYN, IP ID = (destination ^ port ^ sequence) & 0xffff, window 1024, option MSS 1460 alone, TTL from 255",
		Chance: math.Ldexp(1, -16-16), Least: 3,
		Options: MSS1460,
		Kinds:   syn,
		match: func(p *packet.Packet) bool {
			return masscanCookie(p) && p.Window == 1024 && p.TTL > 128
		},
	},
	{
		Tool: observe.Nmap, Version: 2, From: date(2007, 12, 1),
		Source: "nmap scan_engine_raw.cc (seq32_encode), tcpip.cc; measured with nmap 7.93 and on two captures",
		Form:   "SYN, window 1024, 2048, 3072 or 4096, option MSS 1460 alone, TTL from 37–59, one sequence number for all targets but for the number of the try, which stands in both halves of it",
		Chance: math.Ldexp(1, -14), Least: 3,
		Options: MSS1460,
		Kinds:   syn, SameSeq: true,
		match: func(p *packet.Packet) bool {
			return p.Window != 0 && p.Window <= 4096 && p.Window%1024 == 0 && p.TTL < 60 && p.Ack == 0
		},
	},
	{
		Tool: observe.Hping3, Version: 1, From: date(2005, 11, 1),
		Source: "hping3 sendtcp.c, globals.c; measured with hping3 3.0.0-alpha-2",
		Form:   "SYN, window 512, no TCP options, TTL from 64, an acknowledgement number although ACK isn't set",
		Chance: math.Ldexp(1, -16), Least: 3,
		Options: NoOptions,
		Kinds:   syn,
		match: func(p *packet.Packet) bool {
			return p.Window == 512 && p.TTL <= 64 && p.Ack != 0
		},
	},
	{
		Tool: observe.IrregularSYN, Version: 1,
		Source: "Spoki, USENIX Security 2022: TTL above 200, or no TCP options, or IP ID 54321",
		Form:   "a SYN that no operating system sends: TTL above 200, no TCP options, or IP ID 54321",
		Chance: 0.3, Least: 3,
		Kinds: syn,
		match: irregular,
	},
}

// ZMap from 4.1.0 (2024-03-21) on draws sequence number, source port and IP ID
// from one block of AES, whose key nobody knows: of none of them can be said
// what it ought to be. It copies the options of operating systems, too, but not
// the rest of their headers: it still clears DF, which all of them set, and the
// window is still 65535. What else clears DF on the way, by RFC 7915 a
// translator from IPv6, leaves room in the MSS, so that it isn't 1460; a
// firewall that does (pf's no-df) leaves Windows at a TTL above 64, and Linux
// and macOS their own clocks in the timestamps.
//
// Its other probes aren't told from those of other programs: smallest-probes
// (MSS alone), echo requests and datagrams, and scans whose source ports were
// set by hand. They have no name.

// The options of ZMap's profiles; of those with timestamps, what stands before
// and after them.
const (
	zmapWindows = "\x02\x04\x05\xb4\x01\x03\x03\x08\x01\x01\x04\x02" //nolint:gosec // TCP options, no credentials
	zmapLinux   = "\x02\x04\x05\xb4\x04\x02\x08\x0a"
	zmapLinuxWS = "\x00\x00\x00\x00\x01\x03\x03\x07"
	zmapMac     = "\x02\x04\x05\xb4\x01\x03\x03\x06\x01\x01\x08\x0a"
	zmapMacSACK = "\x00\x00\x00\x00\x04\x02\x00\x00"
)

func zmapOld(p *packet.Packet) bool {
	return p.Dst.Is4() && p.ID == 54321 && p.Window == 65535 && p.TTL > 128
}

func zmapNew(p *packet.Packet) bool {
	if !p.Dst.Is4() || p.Window != 65535 || p.Flags&packet.DontFragment != 0 || p.Ack != 0 ||
		p.SrcPort < 32768 || p.SrcPort > 61000 || p.TTL > 64 && p.TTL <= 200 {
		return false
	}
	o := p.TCPOptions
	switch len(o) {
	case 12:
		return string(o) == zmapWindows
	case 20:
		return string(o[:8]) == zmapLinux && string(o[12:]) == zmapLinuxWS
	case 24:
		return string(o[:12]) == zmapMac && string(o[16:]) == zmapMacSACK
	}
	return false
}

// began tells whether the TCP timestamp is the Unix time, in seconds, of a scan
// that may be under way at the given time (Unix nanoseconds): it began at most
// 45 days before (one pass over the Internet at 10,000 packets a second takes
// five), or by a wrong clock up to a day later. A timestamp of any other origin
// lies there once in a thousand times.
func began(p *packet.Packet, at int64) bool {
	const day = 86400
	o := p.TCPOptions
	i := len(zmapLinux)
	if len(o) == 24 {
		i = len(zmapMac)
	} else if len(o) != 20 {
		return true // no timestamp
	}
	age := at/1e9 - int64(binary.BigEndian.Uint32(o[i:]))
	return age >= -day && age <= 45*day
}

const mss1460 = 2<<24 | 4<<16 | 1460 // as on the wire

func masscanCookie(p *packet.Packet) bool {
	return p.Dst.Is4() && p.ID == (p.Dst.V4()^uint32(p.DstPort)^p.Seq)&0xffff
}

func irregular(p *packet.Packet) bool {
	return p.TTL > 200 || len(p.TCPOptions) == 0 || p.Dst.Is4() && p.ID == 54321
}

func date(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

// irregular1 is the bit of the rule that names no tool.
var irregular1 = func() (m uint16) {
	for i := range Rules {
		if Rules[i].Tool == observe.IrregularSYN {
			m |= 1 << i
		}
	}
	return m
}()

// sameSeq is the set of rules whose tool never changes its sequence number.
var sameSeq = func() (m uint16) {
	for i := range Rules {
		if Rules[i].SameSeq {
			m |= 1 << i
		}
	}
	return m
}()

// clocks is the set of rules whose tool tells when it began.
var clocks = func() (m uint16) {
	for i := range Rules {
		if Rules[i].Clock {
			m |= 1 << i
		}
	}
	return m
}()

// ordinary tells the SYNs of nearly all systems, which send several options from
// a usual TTL: it spares them the list of rules.
func ordinary(p *packet.Packet) bool {
	return len(p.TCPOptions) > 4 && p.TTL <= 200 && p.ID != 54321 && uint64(p.Seq) != p.Dst.Lo&math.MaxUint32 &&
		(p.Window != 65535 || p.Flags&packet.DontFragment != 0)
}

// mask is the set of rules that a packet of a time (Unix nanoseconds) fits, bit i
// for Rules[i]; only those of the set that is asked for.
func mask(p *packet.Packet, k observe.Kind, asked uint16, at int64) uint16 {
	if p.Flags&packet.NoTransport != 0 {
		return 0
	}
	form := AnyOptions
	switch {
	case k != observe.KindTCPSyn:
	case len(p.TCPOptions) == 0:
		form = NoOptions
	case len(p.TCPOptions) == 4 && binary.BigEndian.Uint32(p.TCPOptions) == mss1460:
		form = MSS1460
	case len(p.TCPOptions) > 4:
		form = Several
	}
	rules := &rulesOf[k][form]
	switch {
	case rules.all&asked == 0:
		return 0
	case k == observe.KindTCPSyn:
		if ordinary(p) {
			return 0
		}
	case p.ID != 54321:
		return 0
	}
	var m uint16
	for rest := rules.all & asked; rest != 0; rest &= rest - 1 {
		if i := bits.TrailingZeros16(rest); rules.match[i](p) {
			m |= 1 << i
		}
	}
	if m&clocks != 0 && !began(p, at) {
		m &^= clocks
	}
	return m
}

// allRules is the set of all.
const allRules = math.MaxUint16

// ruleSet are the rules that one kind of packet can fit.
type ruleSet struct {
	all   uint16 // of their bits
	match [16]func(p *packet.Packet) bool
}

// rulesOf are the rules for each kind of packet, and form of its options.
var rulesOf = func() (of [observe.Kinds][Several + 1]ruleSet) {
	for i := range Rules {
		for _, k := range Rules[i].Kinds {
			for form := range of[k] {
				if o := Rules[i].Options; o == AnyOptions || int(o) == form {
					of[k][form].all |= 1 << i
					of[k][form].match[i] = Rules[i].match
				}
			}
		}
	}
	return of
}()

// evidence is what the sampled packets of an event, or of a source, have in
// common. It has no pointer and is part of the tables' entries.
type evidence struct {
	agreed   uint16 // the rules that every packet fits
	differ   uint16 // packets that weren't a repetition of the one before
	seq, dst uint32
}

// add takes one more packet into account: its mask, and what makes it differ from
// the one before; port tells whether it went to the same port as that.
func (e *evidence) add(m uint16, seq, dst uint32, port bool) {
	switch {
	case e.differ == 0:
		e.agreed, e.differ = m, 1
	case e.seq == seq && e.dst == dst && port:
		e.agreed &= m // a repetition can contradict, but confirms nothing
	default:
		if halves(e.seq) != halves(seq) {
			m &^= sameSeq
		}
		e.agreed &= m
		if e.differ < math.MaxUint16 {
			e.differ++
		}
	}
	e.seq, e.dst = seq, dst
}

// halves is what stays of a sequence number when something is mirrored into
// both of its halves. To dark space each probe of nmap is tried again.
func halves(seq uint32) uint16 { return uint16(seq>>16) ^ uint16(seq) } //nolint:gosec // both halves

// tool is what an event's packets agree on, helped out by the other events of
// its source when these agree on the same: a scan of a thousand ports sends one
// packet to each.
func tool(event, source *evidence) observe.Tool {
	if t := named(event.agreed, event.differ); t != observe.Unknown {
		return t
	}
	return named(event.agreed&source.agreed, source.differ)
}

func named(agreed, n uint16) observe.Tool {
	for i := range Rules {
		if agreed&(1<<i) != 0 && int(n) >= Rules[i].Least {
			return Rules[i].Tool
		}
	}
	return observe.Unknown
}
