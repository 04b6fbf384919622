package sim

import (
	"encoding/binary"

	"sakimori/base/wire/packet"
)

// Tool is the program that sent a packet, in truth.
type Tool uint8

// The tools.
const (
	ToolUnknown Tool = iota
	ToolMirai
	ToolZMapOld
	ToolZMapNew
	ToolMasscanOld
	ToolMasscanNew
	ToolNmap
	ToolHping3
	ToolIrregular
)

var tools = [...]struct {
	name, versions string
	nameable       bool
}{
	{"unknown", "", false},
	{"mirai", "2016 and its descendants", true},
	{"zmap", "up to 4.0", true},
	{"zmap", "4.1.0 (2024-03-21) or later", true},
	{"masscan", "before 2023-11-07", true},
	{"masscan", "2023-11-07 or later", true},
	{"nmap", "", true},
	{"hping3", "", true},
	{"irregular-syn", "no tool named: a SYN that no operating system sends", true},
}

// String is the tool's name, "unknown" for a program of no renown.
func (t Tool) String() string { return tools[t].name }

// Versions says which versions of it are meant, "" when that can't be told.
func (t Tool) Versions() string { return tools[t].versions }

// Nameable tells whether the form of the packets is enough to name it.
func (t Tool) Nameable() bool { return tools[t].nameable }

// Form is how a prober builds its packets.
type Form uint8

// The forms. Those of tools are as the tools' sources have them.
const (
	FormAny        Form = iota // a mixture of operating systems, differing by source
	FormLinux                  // connect() on Linux: MSS, SACK, timestamps, window scale; TTL 64, DF
	FormWindows                // connect() on Windows: MSS, window scale, SACK; TTL 128, DF
	FormMirai                  // seq is the target's address, no options, TTL 64, one source port
	FormZMapOld                // up to 4.0: IP ID 54321, window 65535, no options, TTL 255
	FormZMapMSS                // 3.0 to 4.0: the same with MSS 1460
	FormZMapNew                // 4.1.1 or later: see zmapNew; options as Windows has them, TTL 64
	FormZMap410                // 4.1.0: options as Ubuntu has them, TTL 255
	FormZMapMac                // 4.1.1 or later, told to send the options of macOS
	FormMasscanOld             // IP ID is target ^ port ^ seq, window 1024, no options, TTL 255
	FormMasscanNew             // the same with MSS 1460, since 2023-11-07
	FormNmap                   // -sS: window 1024 to 4096, MSS 1460 alone, one seq for the run, TTL 37 to 59
	FormHping3                 // -S: window 512, no options, TTL 64, source port counts up, ack not zero
	FormNoDF                   // FormLinux or FormWindows with window 65535, behind a firewall that clears DF and scrambles the IP ID
	FormIrregular              // raw socket: no options, TTL 255, window 14600
	FormFIN                    // stealth scans of RFC 793 corner cases
	FormNULL
	FormXmas
	FormACK  // ACK alone
	FormEcho // ICMP or ICMPv6 echo request
	FormUDP  // the probe that fits the port, see service.go
	forms
)

// tool is who sends such packets.
func (f Form) tool(v6 bool) Tool {
	if v6 {
		return ToolUnknown // no form of IPv6 has been published
	}
	return [forms]Tool{
		FormMirai: ToolMirai, FormZMapOld: ToolZMapOld, FormZMapMSS: ToolZMapOld,
		FormZMapNew: ToolZMapNew, FormZMap410: ToolZMapNew, FormZMapMac: ToolZMapNew,
		FormMasscanOld: ToolMasscanOld, FormMasscanNew: ToolMasscanNew,
		FormNmap: ToolNmap, FormHping3: ToolHping3, FormIrregular: ToolIrregular,
	}[f]
}

var (
	optMSS     = []byte{2, 4, 5, 0xb4}                                // 1460
	optWindows = []byte{2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2}        // MSS, NOP, WS, NOP, NOP, SACK
	optLinux   = []byte{2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0} // MSS, SACK, TS, then NOP, WS
)

// probe is what a prober sends next; the same values of it make the same kind
// of packet again.
type probe struct {
	form     Form
	src, dst packet.Addr
	port     uint16
	who      uint64 // the run: one source port, one distance, one operating system
	k        uint64 // number of the packet in the run
	low      uint16 // of the translator's ports, 0 none
	began    int64  // the run, Unix seconds
	role     Role
}

// probe makes the packet and marks it.
func (f *frame) probe(p probe, r *rng) {
	v6 := !p.src.Is4()
	f.mark = mark{src: p.src, dst: p.dst, port: p.port, proto: packet.TCP, class: ByScan, role: p.role, kind: kindSyn}
	if p.form == FormAny {
		p.form = FormLinux
		if mix(p.who, 5)%3 == 0 {
			p.form = FormWindows
		}
	}
	f.mark.tool = p.form.tool(v6)
	h := ipHead{src: p.src, dst: p.dst, id: r.u16(), ttl: 64 - hops(p.who)}
	t := tcpHead{dport: p.port, seq: r.u32(), flags: packet.SYN}
	ephemeral := func() uint16 { return 32768 + uint16(r.below(28232)) }
	switch p.form {
	case FormLinux:
		h.frag = dontFragment
		t.sport, t.window, t.options = ephemeral(), [...]uint16{64240, 29200, 65535}[mix(p.who, 6)%3], f.linuxOptions(p.who, v6, r)
	case FormWindows:
		h.frag, h.ttl, h.id = dontFragment, 128-hops(p.who), uint16(mix(p.who, 7)+p.k)
		t.sport, t.window, t.options = 49152+uint16(r.below(16384)), 64240, optWindows
	case FormMirai:
		t.sport = 1024 + uint16(mix(p.who, 8)%64512)
		t.seq, t.window = p.dst.V4(), uint16(mix(p.who, 9))
	case FormNoDF:
		t.sport, t.window, t.options = ephemeral(), 65535, f.linuxOptions(0, v6, r)
		if mix(p.who, 5)%3 == 0 {
			h.ttl, t.sport, t.options = 128-hops(p.who), 49152+uint16(r.below(16384)), optWindows
		}
	case FormZMapOld, FormZMapMSS:
		h.ttl, h.id = 255-hops(p.who), 54321
		t.sport, t.window = ephemeral(), 65535
		if p.form == FormZMapMSS {
			t.options = optMSS
		}
	case FormZMapNew, FormZMap410, FormZMapMac:
		f.zmapNew(&p, &h, &t)
	case FormMasscanOld, FormMasscanNew:
		h.ttl = 255 - hops(p.who)
		h.id = uint16(p.dst.V4() ^ uint32(p.port) ^ t.seq)
		t.sport, t.window = 40000+uint16(mix(p.who, 8)%20000), 1024
		if p.form == FormMasscanNew {
			t.options = optMSS
		}
	case FormNmap:
		h.ttl = 37 + uint8(r.below(23)) - hops(p.who)
		t.sport, t.seq = 33000+uint16(mix(p.who, 8)%32000), uint32(mix(p.who, 10))
		t.window, t.options = 1024*(1+uint16(r.below(4))), optMSS
	case FormHping3:
		t.sport, t.window, t.ack = uint16(1024+(mix(p.who, 8)+p.k)%64000), 512, r.u32()
	case FormIrregular:
		h.ttl = 255 - hops(p.who)
		t.sport, t.window = 1024+uint16(r.below(64000)), 14600
	case FormFIN, FormNULL, FormXmas, FormACK:
		t.flags = [forms]packet.TCPFlags{
			FormFIN: packet.FIN, FormXmas: packet.FIN | packet.PSH | packet.URG, FormACK: packet.ACK,
		}[p.form]
		f.mark.kind = kindStealth
		if p.form == FormACK {
			t.ack, f.mark.kind, f.mark.class = r.u32(), kindAck, Other
		}
		t.sport, t.window = ephemeral(), 1024
	case FormEcho:
		f.echo(h, uint16(p.who), uint16(p.k))
		return
	default: // FormUDP
		h.frag = dontFragment
		f.mark.proto, f.mark.kind = packet.UDP, kindUDP
		f.part = request(f.part[:0], p.port, r)
		f.udp(h, ephemeral(), p.port, f.part)
		return
	}
	if p.low != 0 {
		t.sport = p.low + t.sport%blockPorts
	}
	f.tcp(h, t)
}

// zmapNew is ZMap's probe from 4.1.0 on. Sequence number, source port and IP ID
// are words of a block that source, target and port give under the run's key
// (here a hash stands for AES): whoever is asked again sees the same ones. The
// timestamp of all packets is the time at which the run began.
func (f *frame) zmapNew(p *probe, h *ipHead, t *tcpHead) {
	word := func(i uint64) uint32 { return uint32(mix(mix(p.who, p.dst.Lo^p.src.Lo<<32)^uint64(p.port), 20+i)) }
	t.seq, h.id = word(0), uint16(word(3))
	t.sport, t.window = 32768+uint16(word(1)%28233), 65535
	began := uint32(p.began)
	switch p.form {
	case FormZMap410:
		h.ttl = 255 - hops(p.who)
		f.part = binary.BigEndian.AppendUint32(append(f.part[:0], 2, 4, 5, 0xb4, 4, 2, 8, 10), began)
		t.options = append(f.part, 0, 0, 0, 0, 1, 3, 3, 7)
	case FormZMapMac:
		f.part = binary.BigEndian.AppendUint32(append(f.part[:0], 2, 4, 5, 0xb4, 1, 3, 3, 6, 1, 1, 8, 10), began)
		t.options = append(f.part, 0, 0, 0, 0, 4, 2, 0, 0)
	default:
		t.options = optWindows
	}
}

// echo makes an echo request of ping's usual length.
func (f *frame) echo(h ipHead, id, seq uint16) {
	f.part = f.part[:0]
	for i := range 56 {
		f.part = append(f.part, byte(i))
	}
	typ := uint8(8)
	f.mark.port, f.mark.proto, f.mark.kind = 8<<8, packet.ICMP, kindRequest
	if !h.src.Is4() {
		typ, f.mark.port, f.mark.proto = 128, 128<<8, packet.ICMPv6
	}
	f.icmp(h, typ, 0, uint32(id)<<16|uint32(seq), f.part)
}

// linuxOptions are MSS, SACK permitted, timestamps, NOP and window scale, 20
// bytes; the MSS is that of the source's link.
func (f *frame) linuxOptions(who uint64, v6 bool, r *rng) []byte {
	o := append(f.part[:0], optLinux...)
	mss := [...]uint16{1460, 1452, 1400}[mix(who, 11)%3]
	if who == 0 {
		mss = 1460
	}
	if v6 {
		mss -= 20
	}
	binary.BigEndian.PutUint16(o[2:], mss)
	binary.BigEndian.PutUint32(o[8:], r.u32())
	o = binary.BigEndian.AppendUint32(o[:12], 0)
	o = append(o, 1, 3, 3, 7)
	f.part = o
	return o
}
