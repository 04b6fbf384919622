package primary

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
)

// source is where a request came from.
type source struct {
	addr netip.Addr
	tls  *tls.ConnectionState
	udp  bool
}

// request is one that was read.
type request struct {
	msg      dns.Message
	question []byte // in the bytes that came: the answer has the same
	kind     uint16
	zone     rpz.Zone
	edns     bool
	peer     *peer
	version  *rpz.Version
	serial   uint32      // that the peer has, of IXFR
	stream   *dns.Stream // that signs the answer; nil: it isn't signed
}

// refusal is an answer that isn't what was asked for.
type refusal struct {
	code uint8
	tsig []byte // record that goes with it
	sign bool   // or it is signed
	late *dns.Signature
}

// read reads a request and finds who asks. A nil refusal lets it through; drop: there is
// nothing to answer.
func (s *Server) read(raw []byte, from source) (r *request, no *refusal, drop bool) {
	s.Counters.Requests.Add(1)
	r = &request{}
	if err := r.msg.Read(raw); err != nil || r.msg.Response {
		s.Counters.Malformed.Add(1)
		return nil, nil, true
	}
	q, err := r.msg.Question(nil)
	if err != nil || r.msg.Counts[0] != 1 || raw[dns.HeaderSize]&0xc0 != 0 {
		s.Counters.Malformed.Add(1)
		return r, &refusal{code: dns.FormErr}, false
	}
	end := dns.HeaderSize + len(q.Name) + 4
	r.question, r.kind = raw[dns.HeaderSize:end], q.Type
	sig, signed, err := r.msg.Signature()
	if err == nil {
		err = r.look()
	}
	switch {
	case err != nil:
		s.Counters.Malformed.Add(1)
		return r, &refusal{code: dns.FormErr}, false
	case r.msg.Opcode != dns.Query:
		return r, &refusal{code: dns.NotImp}, false
	}
	var key dns.Name
	if signed {
		if no := s.verify(r, &sig, from); no != nil {
			return r, no, false
		}
		key = sig.Key
	}
	r.peer = s.whoAsks(r, from, key, signed)
	zone, ours := s.zones[string(q.Name)]
	switch {
	case r.peer == nil:
		s.Counters.Refused.Add(1)
		return r, &refusal{code: dns.Refused, sign: signed}, false
	case !ours || !r.peer.takes(zone) || q.Class != dns.IN:
		s.refuse(r.peer, from, "zone")
		return r, &refusal{code: dns.Refused, sign: signed}, false
	}
	r.zone, r.version = zone, s.store.Current(zone)
	if r.version == nil {
		return r, &refusal{code: dns.ServFail, sign: signed}, false
	}
	switch r.kind {
	case dns.SOA, dns.NS:
	case dns.IXFR:
		if r.serial == 0 && r.msg.Counts[2] == 0 {
			return r, &refusal{code: dns.FormErr, sign: signed}, false
		}
	case dns.AXFR:
		if from.udp { // there is none (RFC 5936 §4.2)
			return r, &refusal{code: dns.FormErr, sign: signed}, false
		}
	default:
		s.refuse(r.peer, from, "zone")
		return r, &refusal{code: dns.Refused, sign: signed}, false
	}
	return r, nil, false
}

// look finds the serial that an IXFR tells, and whether the other side speaks EDNS.
func (r *request) look() error {
	records := r.msg.Records()
	var rr dns.RR
	for records.Next(&rr) {
		switch {
		case rr.Type == dns.OPT && rr.Section == dns.Additional:
			r.edns = true
		case rr.Type == dns.SOA && rr.Section == dns.Authority && r.kind == dns.IXFR:
			start, err := r.msg.Start(&rr)
			if err != nil {
				return err
			}
			r.serial = start.Serial
		}
	}
	return records.Err()
}

// wall is the time that signatures are made at: the machine's, as the resolver's is.
func wall() time.Time { return clock.System{}.Now() }

// verify looks at the signature of a request. What is wrong with it is told as the RFC has
// it, and counted for whoever has that address.
func (s *Server) verify(r *request, sig *dns.Signature, from source) *refusal {
	key := s.keys[string(sig.Key)]
	err := dns.ErrKey
	if key != nil {
		err = key.Begin(nil).VerifySigned(&r.msg, sig, wall())
		r.stream = key.Begin(sig.MAC)
	}
	if err == nil {
		return nil
	}
	reason, code := "signature", uint16(dns.BadSig)
	switch {
	case errors.Is(err, dns.ErrKey):
		reason, code = "key", dns.BadKey
	case errors.Is(err, dns.ErrTime):
		reason, code = "time", dns.BadTime
	case errors.Is(err, dns.ErrTrunc):
		reason, code = "truncated", dns.BadTrunc
	}
	for _, p := range s.peers {
		if p.has(from.addr) {
			s.refuse(p, from, reason)
		}
	}
	s.Counters.Refused.Add(1)
	if code == dns.BadTime {
		return &refusal{code: dns.NotAuth, late: sig}
	}
	r.stream = nil
	return &refusal{code: dns.NotAuth, tsig: sig.Unsigned(code)}
}

func (p *Peer) has(a netip.Addr) bool {
	return slices.ContainsFunc(p.Address, func(x netip.Prefix) bool { return x.Contains(a) })
}

// whoAsks is the peer with that address, key and certificate.
func (s *Server) whoAsks(r *request, from source, key dns.Name, signed bool) *peer {
	near := map[*peer]string{} // who has the address, and isn't it
	for _, p := range s.peers {
		switch {
		case !p.has(from.addr):
			continue
		case string(p.Key) != string(key):
			near[p] = map[bool]string{true: "key", false: "unsigned"}[signed]
		case p.OnlyTLS && from.tls == nil && r.kind == dns.SOA: // Unbound asks for it by UDP, always: it tells no more than the serial
			return p
		case p.OnlyTLS && from.tls == nil, p.Subject != "" && !named(from.tls, p.Subject):
			near[p] = "tls"
		default:
			p.on("", func(st *PeerState, _ *ZoneState) { st.Address = from.addr })
			return p
		}
	}
	for p, reason := range near {
		s.refuse(p, from, reason)
	}
	return nil
}

// named tells whether the other side's certificate, which was verified, is for a name.
func named(c *tls.ConnectionState, name string) bool {
	return c != nil && len(c.VerifiedChains) > 0 && c.PeerCertificates[0].VerifyHostname(name) == nil
}

// reasons for refusing, for people.
var reasons = map[string][2]string{
	"unsigned":  {"署名のない要求", "a request that isn't signed"},
	"key":       {"知らない鍵、または別の相手の鍵による署名", "signed with a key that isn't known here, or is somebody else's"},
	"signature": {"署名が合わない(共有鍵が両側で異なる)", "its signature doesn't hold: the secrets differ"},
	"time":      {"時計が5分以上ずれている", "its clock is off by more than five minutes"},
	"truncated": {"切り詰められた署名", "its signature is cut off"},
	"tls":       {"TLS ではない、または証明書の名前が違う", "it doesn't come by TLS, or its certificate has another name"},
	"zone":      {"許されていないゾーン、または種類の要求", "it asks for a zone or type that it isn't to have"},
}

// refuse counts a refusal of a peer.
func (s *Server) refuse(p *peer, from source, reason string) {
	p.on("", func(st *PeerState, _ *ZoneState) { st.Refused[reason]++ })
	w := reasons[reason]
	p.trouble(s.cfg.Clock.Now(), from.addr.String()+" を拒否: "+w[0], from.addr.String()+" was refused: "+w[1])
}

// head writes header and question of an answer.
func (r *request) head(dst []byte, code uint8, answers, more int) []byte {
	m := dns.Message{ID: r.msg.ID, Response: true, Opcode: r.msg.Opcode, Authority: code == dns.NoError, Desired: r.msg.Desired, Rcode: code}
	if len(r.question) > 0 {
		m.Counts[0] = 1
	}
	m.Counts[1], m.Counts[3] = uint16(answers), uint16(more) // #nosec G115 -- what a message has room for
	return append(m.AppendHeader(dst), r.question...)
}

// ednsRecord says that we speak EDNS, too (RFC 6891), and what fits by UDP.
const ednsRecord = "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"

// whole is an answer of one message.
func (r *request) whole(dst []byte, code uint8, records []byte, count int, no *refusal) []byte {
	more := 0
	if r.edns {
		more = 1
	}
	at := len(dst)
	dst = append(r.head(dst, code, count, more), records...)
	if r.edns {
		dst = append(dst, ednsRecord...)
	}
	var tsig []byte
	switch {
	case no != nil && no.tsig != nil:
		tsig = no.tsig
	case no != nil && no.late != nil:
		tsig = r.stream.Late(no.late, wall(), dst[at:])
	case r.stream != nil && (no == nil || no.sign):
		tsig = r.stream.Sign(wall(), dst[at:])
	}
	if tsig != nil {
		dst = append(dst, tsig...)
		binary.BigEndian.PutUint16(dst[at+10:], uint16(more)+1) // #nosec G115 -- 1 or 2
	}
	return dst
}

// short answers what one message answers: a refusal, SOA, NS, and IXFR where there is
// nothing to send or no room by UDP; false: it is a transfer.
func (s *Server) short(dst []byte, r *request, no *refusal, from source) ([]byte, bool) {
	now := s.cfg.Clock.Now()
	if no != nil {
		return r.whole(dst, no.code, nil, 0, no), true
	}
	v := r.version
	switch r.kind {
	case dns.SOA:
		r.peer.on(r.zone, func(_ *PeerState, z *ZoneState) { z.Asked, z.asked = now, v.Serial })
		return r.whole(dst, dns.NoError, rpz.StartRecord(v.Zone, v.Serial), 1, nil), true
	case dns.NS:
		return r.whole(dst, dns.NoError, rpz.ServerRecord(), 1, nil), true
	case dns.IXFR:
		r.peer.on(r.zone, func(_ *PeerState, z *ZoneState) { z.Serial, z.How, z.At, z.asked = r.serial, Said, now, 0 })
		// By UDP the SOA says: come by TCP, or that there is nothing new (RFC 1995 §4). A
		// peer that is ahead of us has what we lost: it is told where we are.
		if from.udp || !rpz.After(v.Serial, r.serial) {
			return r.whole(dst, dns.NoError, rpz.StartRecord(v.Zone, v.Serial), 1, nil), true
		}
	}
	return dst, false
}
