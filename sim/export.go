package sim

import (
	"encoding/binary"
	"time"

	"sakimori/base/wire/packet"
)

// The sizes and numbers of the formats.
const (
	most5       = 30 // records in a datagram of NetFlow 5
	templateOf4 = 256
	templateOf6 = 257
	optionsOf   = 258

	sampledHead = 128 // bytes of a packet that a sample holds
	flowSample  = 1   // sFlow: enterprise 0, format 1
)

var be = binary.BigEndian

// head is a datagram's header; close fills in what is known at its end only.
func (r *router) head(b []byte, now int64, records int) []byte {
	clock := r.clock(now)
	secs := uint32(clock / 1e9)
	switch r.Format {
	case NetFlow5:
		b = be.AppendUint16(b, 5)
		b = be.AppendUint16(b, uint16(records))
		b = be.AppendUint32(b, r.uptime(now))
		b = be.AppendUint32(b, secs)
		b = be.AppendUint32(b, uint32(clock%1e9))
		b = be.AppendUint32(b, r.sequence)
		b = be.AppendUint16(b, uint16(r.Domain)) // engine type and ID
		if r.Sampling > 1 && r.Tells != TellsNothing {
			return be.AppendUint16(b, 2<<14|uint16(r.Sampling)) // mode 2: random
		}
		return be.AppendUint16(b, 0)
	case NetFlow9:
		b = be.AppendUint16(b, 9)
		b = be.AppendUint16(b, uint16(records))
		b = be.AppendUint32(b, r.uptime(now))
		b = be.AppendUint32(b, secs)
		b = be.AppendUint32(b, r.sequence)
		return be.AppendUint32(b, r.Domain)
	case IPFIX:
		b = be.AppendUint16(b, 10)
		b = be.AppendUint16(b, 0) // length
		b = be.AppendUint32(b, secs)
		b = be.AppendUint32(b, r.sequence)
		return be.AppendUint32(b, r.Domain)
	}
	b = be.AppendUint32(b, 5)
	agent := packet.FromNetip(r.Address.Addr())
	if agent.Is4() {
		b = be.AppendUint32(b, 1)
		b = be.AppendUint32(b, agent.V4())
	} else {
		b = be.AppendUint32(b, 2)
		b = be.AppendUint64(be.AppendUint64(b, agent.Hi), agent.Lo)
	}
	b = be.AppendUint32(b, r.Domain)
	b = be.AppendUint32(b, r.sequence)
	b = be.AppendUint32(b, r.uptime(now))
	return be.AppendUint32(b, uint32(records))
}

func (r *router) close(b []byte) []byte {
	if r.Format == IPFIX {
		be.PutUint16(b[2:], uint16(len(b)))
	}
	return b
}

// appendSet is a set of NetFlow 9 or IPFIX, padded to four bytes; none when it is empty.
func appendSet(b []byte, id uint16, body []byte) []byte {
	if len(body) == 0 {
		return b
	}
	pad := -len(body) & 3
	b = be.AppendUint16(b, id)
	b = be.AppendUint16(b, uint16(4+len(body)+pad))
	b = append(b, body...)
	return append(b, make([]byte, pad)...)
}

// append5 is a record of NetFlow 5.
func (r *router) append5(b []byte, f *openFlow) []byte {
	in, out := interfaces(f.outward)
	b = be.AppendUint32(b, f.src.V4())
	b = be.AppendUint32(b, f.dst.V4())
	b = be.AppendUint32(b, 0) // next hop
	b = be.AppendUint16(b, uint16(in))
	b = be.AppendUint16(b, uint16(out))
	b = be.AppendUint32(b, uint32(f.packets))
	b = be.AppendUint32(b, uint32(f.bytes))
	b = be.AppendUint32(b, r.uptime(f.first))
	b = be.AppendUint32(b, r.uptime(f.last))
	b = be.AppendUint16(b, f.sport)
	b = be.AppendUint16(b, f.dport)
	b = append(b, 0, uint8(f.flags), f.proto, f.tos)
	b = be.AppendUint16(b, uint16(r.n.asOf(f.src)))
	b = be.AppendUint16(b, uint16(r.n.asOf(f.dst)))
	return append(b, 16, 16, 0, 0) // masks
}

// field is an information element and its length.
type field struct{ id, size uint16 }

// fields is the template of a router's records; appendRecord writes them in this order.
func (r *router) fields(v6 bool) []field {
	list := []field{{8, 4}, {12, 4}}
	icmp := field{32, 2}
	if v6 {
		list, icmp = []field{{27, 16}, {28, 16}}, field{139, 2}
	}
	list = append(list, field{7, 2}, field{11, 2}, field{4, 1}, field{5, 1}, field{6, 1}, field{2, 8}, field{1, 8})
	if r.Format == NetFlow9 {
		list = append(list, field{22, 4}, field{21, 4}) // by sysUpTime
	} else {
		list = append(list, field{152, 8}, field{153, 8}) // in Unix milliseconds
	}
	list = append(list, field{10, 4}, field{14, 4}, field{16, 4}, field{17, 4}, icmp, field{88, 2}) // 88: fragment offset
	switch r.Tells {
	case TellsSampler:
		list = append(list, field{48, 1})
	case TellsRecord:
		list = append(list, field{34, 4})
	}
	return list
}

func (r *router) appendRecord(b []byte, f *openFlow) []byte {
	if f.src.Is4() {
		b = be.AppendUint32(b, f.src.V4())
		b = be.AppendUint32(b, f.dst.V4())
	} else {
		b = be.AppendUint64(be.AppendUint64(b, f.src.Hi), f.src.Lo)
		b = be.AppendUint64(be.AppendUint64(b, f.dst.Hi), f.dst.Lo)
	}
	sport, dport, icmp := f.sport, f.dport, uint16(0)
	if f.proto == packet.ICMP || f.proto == packet.ICMPv6 {
		sport, dport, icmp = 0, 0, f.dport
	}
	b = be.AppendUint16(b, sport)
	b = be.AppendUint16(b, dport)
	b = append(b, f.proto, f.tos, uint8(f.flags))
	b = be.AppendUint64(b, f.packets)
	b = be.AppendUint64(b, f.bytes)
	if r.Format == NetFlow9 {
		b = be.AppendUint32(b, r.uptime(f.first))
		b = be.AppendUint32(b, r.uptime(f.last))
	} else {
		b = be.AppendUint64(b, uint64(r.clock(f.first)/1e6))
		b = be.AppendUint64(b, uint64(r.clock(f.last)/1e6))
	}
	in, out := interfaces(f.outward)
	b = be.AppendUint32(b, in)
	b = be.AppendUint32(b, out)
	b = be.AppendUint32(b, r.n.asOf(f.src))
	b = be.AppendUint32(b, r.n.asOf(f.dst))
	b = be.AppendUint16(b, icmp)
	offset := uint16(0)
	if f.later {
		offset = laterOffset
	}
	b = be.AppendUint16(b, offset)
	switch r.Tells {
	case TellsSampler:
		b = append(b, 1)
	case TellsRecord:
		b = be.AppendUint32(b, r.Sampling)
	}
	return b
}

// laterOffset is where the second fragment of a datagram begins, in eights of bytes.
const laterOffset = 185

// templates sends those of the records, and how the router samples.
func (r *router) templates(now int64) error {
	b := r.head(r.message[:0], now, 0)
	var body []byte
	for i, id := range [...]uint16{templateOf4, templateOf6} {
		list := r.fields(i == 1)
		body = be.AppendUint16(body, id)
		body = be.AppendUint16(body, uint16(len(list)))
		for _, f := range list {
			body = be.AppendUint16(be.AppendUint16(body, f.id), f.size)
		}
	}
	set, optionSet := uint16(0), uint16(1)
	if r.Format == IPFIX {
		set, optionSet = 2, 3
	}
	b = appendSet(b, set, body)
	count, options := 2, 0
	if scope, list, data, n := r.options(); n > 0 {
		body = be.AppendUint16(body[:0], optionsOf)
		if r.Format == IPFIX {
			body = be.AppendUint16(body, uint16(1+len(list))) // fields, of which scopes
			body = be.AppendUint16(body, 1)
		} else {
			body = be.AppendUint16(body, 4) // bytes of scopes, of options
			body = be.AppendUint16(body, uint16(4*len(list)))
		}
		body = be.AppendUint16(be.AppendUint16(body, scope.id), scope.size)
		for _, f := range list {
			body = be.AppendUint16(be.AppendUint16(body, f.id), f.size)
		}
		b = appendSet(b, optionSet, body)
		b = appendSet(b, optionsOf, data)
		count, options = count+1+n, n
	}
	if r.Format == NetFlow9 {
		be.PutUint16(b[2:], uint16(count))
	}
	r.message = r.close(b)
	if r.Format == IPFIX {
		r.sequence += uint32(options)
	} else {
		r.sequence++
	}
	r.told++
	return r.send(now, 0, r.told <= r.LoseTemplates)
}

// options is the options template by which it tells its sampling, and its records.
func (r *router) options() (scope field, list []field, data []byte, records int) {
	u8 := func(v uint8) { data = append(data, v) }
	u16 := func(v uint16) { data = be.AppendUint16(data, v) }
	u32 := func(v uint32) { data = be.AppendUint32(data, v) }
	const random = 2    // algorithm
	scope = field{1, 4} // System of NetFlow 9
	if r.Format == IPFIX {
		scope = field{149, 4} // observationDomainId
	}
	switch r.Tells {
	case TellsSystem:
		u32(r.Domain)
		u32(r.Sampling)
		u8(random)
		return scope, []field{{34, 4}, {35, 1}}, data, 1
	case TellsSampler:
		u32(r.Domain)
		u8(1)
		u8(random)
		u32(r.Sampling)
		return scope, []field{{48, 1}, {49, 1}, {50, 4}}, data, 1
	case TellsSpace:
		u32(r.Domain)
		u32(1)
		u32(r.Sampling - 1)
		return scope, []field{{305, 4}, {306, 4}}, data, 1
	case TellsInterface:
		if scope.id = 2; r.Format == IPFIX { // Interface of NetFlow 9
			scope.id = 10 // ingressInterface
		}
		for _, i := range [...]uint32{outsideIf, insideIf} {
			u32(i)
			u32(r.Sampling)
			u16(random)
		}
		return scope, []field{{34, 4}, {35, 2}}, data, 2
	}
	return scope, nil, nil, 0
}

// sample encodes a packet as a flow sample of sFlow.
func (r *router) sample(now int64, p *pass) error {
	if p.attack >= 0 && r.n.truth.Attacks[p.attack].Told.IsZero() {
		r.n.truth.Attacks[p.attack].Told = time.Unix(0, now).UTC()
	}
	head := r.header(p)
	pad := -len(head) & 3
	in, out := interfaces(p.outward)
	r.samples++
	b := be.AppendUint32(r.records4, flowSample)
	b = be.AppendUint32(b, uint32(32+8+16+len(head)+pad))
	b = be.AppendUint32(b, r.samples)
	b = be.AppendUint32(b, in) // source: this interface
	b = be.AppendUint32(b, r.Sampling)
	b = be.AppendUint32(b, uint32(r.pool))
	b = be.AppendUint32(b, 0) // drops
	b = be.AppendUint32(b, in)
	b = be.AppendUint32(b, out)
	b = be.AppendUint32(b, 1) // records
	b = be.AppendUint32(b, 1) // raw header
	b = be.AppendUint32(b, uint32(16+len(head)+pad))
	b = be.AppendUint32(b, 1) // Ethernet
	b = be.AppendUint32(b, max(etherMin, etherLen+uint32(p.length))+4)
	b = be.AppendUint32(b, 4) // stripped: the frame's checksum
	b = be.AppendUint32(b, uint32(len(head)))
	b = append(b, head...)
	r.records4 = append(b, make([]byte, pad)...)
	r.count4++
	const room = 1200
	if len(r.records4) > room {
		return r.flush(now)
	}
	return nil
}

// header is the beginning of a packet's frame.
func (r *router) header(p *pass) []byte {
	f := &r.frame
	ipLen, off := 20, etherLen+20
	h := ipHead{src: p.src, dst: p.dst, ttl: 64 - hops(p.src.Lo), frag: dontFragment}
	if !p.src.Is4() {
		ipLen, off = 40, etherLen+40
	}
	if h.frag = dontFragment; p.later {
		h.frag = laterOffset
	}
	body := max(int(p.length)-ipLen, 8)
	f.ip(h, p.proto, body)
	b := f.buf[off : off+max(min(body, sampledHead-off), 0)]
	clear(b)
	switch {
	case p.later && ipLen == 20, len(b) < 8:
	case p.proto == packet.TCP && len(b) >= 20:
		be.PutUint16(b, p.sport)
		be.PutUint16(b[2:], p.dport)
		b[12], b[13] = 5<<4, uint8(p.flags)
		be.PutUint16(b[14:], 64240)
	case p.proto == packet.UDP:
		be.PutUint16(b, p.sport)
		be.PutUint16(b[2:], p.dport)
		be.PutUint16(b[4:], uint16(body))
	case p.proto == packet.ICMP || p.proto == packet.ICMPv6:
		be.PutUint16(b, p.dport)
	case p.proto == protoGRE:
		be.PutUint16(b[2:], 0x0800)
	}
	return f.buf[:min(f.n, sampledHead)]
}
