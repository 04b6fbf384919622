package forward

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	wire "sakimori/base/wire/dns"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/policy"
)

// question is one in the bytes that it came in.
type question struct {
	msg    wire.Message
	from   netip.AddrPort
	tcp    bool
	at     time.Time
	name   wire.Name // in lower case; its room is used again
	typ    uint16
	class  uint16
	end    int // of the question in the message
	edns   bool
	secure bool // DO: signatures are wanted
	most   int  // bytes of an answer
}

// read reads a question.
func (q *question) read(raw []byte, from netip.AddrPort, tcp bool, at time.Time) error {
	q.from, q.tcp, q.at, q.edns, q.secure, q.most, q.end = from, tcp, at, false, false, 512, 0
	if err := q.msg.Read(raw); err != nil {
		return err
	}
	if q.msg.Counts[0] != 1 {
		return wire.ErrShort
	}
	asked, err := q.msg.Question(q.name[:0])
	if err != nil {
		return err
	}
	q.name, q.typ, q.class = asked.Name, asked.Type, asked.Class
	records := q.msg.Records()
	q.end = records.End()
	var rr wire.RR
	for records.Next(&rr) {
		if rr.Type == wire.OPT {
			q.edns, q.secure = true, rr.TTL&(1<<15) != 0
			q.most = min(max(int(rr.Class), 512), 1232)
		}
	}
	if tcp {
		q.most = wire.MaxMessage
	}
	return records.Err()
}

// ours is the size of answers that we take, and say that we give.
const ours = 1232

// begin writes the head of an answer, and the question as it was asked.
func (q *question) begin(out []byte, rcode uint8) []byte {
	m := wire.Message{ID: q.msg.ID, Response: true, Opcode: q.msg.Opcode, Desired: q.msg.Desired, Available: true, Rcode: rcode}
	const checkingDisabled = 0x10
	cd := q.msg.Raw[3] & checkingDisabled
	if q.end > 0 {
		m.Counts[0] = 1
		out = append(m.AppendHeader(out), q.msg.Raw[wire.HeaderSize:q.end]...)
	} else {
		out = m.AppendHeader(out)
	}
	out[3] |= cd
	return out
}

// count adds records to the header: 1 answers, 2 authority, 3 additional.
func count(out []byte, section int, n uint16) {
	at := out[4+2*section:]
	binary.BigEndian.PutUint16(at, binary.BigEndian.Uint16(at)+n)
}

// finish adds what EDNS says, and cuts off what is too long: whoever wants it comes by TCP.
func (q *question) finish(out []byte, options []byte) []byte {
	room := 0
	if q.edns {
		room = 11 + len(options)
	}
	if len(out)+room > q.most {
		out = out[:q.end]
		clear(out[6:12])
		out[2] |= 0x02
		options = nil
	}
	if q.edns {
		var flags uint32
		if q.secure {
			flags = 1 << 15
		}
		out = wire.AppendRR(out, wire.Root(), wire.OPT, ours, flags, options)
		count(out, 3, 1)
	}
	return out
}

// refuse answers with a code and nothing else.
func (q *question) refuse(out []byte, rcode uint8) []byte { return q.finish(q.begin(out, rcode), nil) }

// quick answers a question, in out, if upstream needn't be asked; nil is silence.
func (s *Server) quick(q *question, raw []byte, from netip.AddrPort, tcp bool, now time.Time, out []byte) (a []byte, done bool) {
	client := from.Addr()
	err := q.read(raw, from, tcp, now)
	switch {
	case len(raw) < wire.HeaderSize, q.msg.Response: // whoever answers them makes a loop
		s.refused.Add(1)
		return nil, true
	case q.msg.Opcode == wire.Notify && s.cfg.Notified != nil:
		return s.cfg.Notified(client, raw), true
	case !s.own(client), q.msg.Opcode != wire.Query, err == nil && q.class != wire.IN:
		s.refused.Add(1)
		return q.refuse(out, wire.Refused), true
	case err != nil:
		s.refused.Add(1)
		return q.refuse(out, wire.FormErr), true
	case !s.within(client, now):
		s.limited.Add(1)
		return nil, true
	}
	set := s.set.Load()
	m, hit := set.Match(client, q.name)
	if hit && blocks(m, tcp) {
		return s.act(q, q.name, m, out), true
	}
	k := s.find(q)
	if k == nil {
		return nil, false
	}
	return s.judged(q, set, m, hit, k, out, true), true
}

// slow asks upstream. The question was found good.
func (s *Server) slow(q *question, raw []byte, from netip.AddrPort, tcp bool) []byte {
	if q.read(raw, from, tcp, s.clock.Now()) != nil {
		return nil
	}
	set := s.set.Load()
	m, hit := set.Match(from.Addr(), q.name)
	if hit && blocks(m, tcp) { // it has been listed just now
		return s.act(q, q.name, m, nil)
	}
	k := s.fetch(q)
	if k == nil {
		s.failed.Add(1)
		return q.refuse(nil, wire.ServFail)
	}
	return s.judged(q, set, m, hit, k, nil, false)
}

// blocks tells whether a rule keeps back the truth.
func blocks(m policy.Match, tcp bool) bool {
	a := m.Action()
	return a != rpz.Passthru && (a != rpz.TCPOnly || !tcp)
}

// judged answers with the truth, unless an alias in it leads to what is listed itself.
func (s *Server) judged(q *question, set *policy.Set, m policy.Match, hit bool, k *kept, out []byte, cached bool) []byte {
	if !hit {
		for _, alias := range k.aliases {
			if m, hit = set.Match(q.from.Addr(), alias); !hit {
				continue
			}
			if blocks(m, q.tcp) {
				return s.act(q, alias, m, out)
			}
			break
		}
	}
	if cached {
		s.cached.Add(1)
	} else {
		s.asked.Add(1)
	}
	a := q.finish(k.append(q, out), nil)
	s.tell(q, a, m, hit)
	return a
}

// own tells whose questions are answered.
func (s *Server) own(client netip.Addr) bool {
	return slices.ContainsFunc(s.cfg.Clients, func(p netip.Prefix) bool { return p.Contains(client) })
}

// within counts a client's questions.
func (s *Server) within(client netip.Addr, t time.Time) bool {
	c, ok := s.rates.Get(client)
	if !ok {
		c = &second{}
		s.rates.Add(client, c)
	}
	if now := t.Unix(); c.at.Swap(now) != now {
		c.n.Store(0)
	}
	return c.n.Add(1) <= int64(s.cfg.Rate)
}

// act answers by a rule.
func (s *Server) act(q *question, name wire.Name, m policy.Match, out []byte) []byte {
	rcode := uint8(wire.NoError)
	switch m.Action() {
	case rpz.Drop:
		s.dropped.Add(1)
		s.tell(q, nil, m, true)
		return nil
	case rpz.NXDomain:
		rcode = wire.NXDomain
	}
	s.blocked.Add(1)
	out = q.begin(out, rcode)
	switch m.Action() {
	case rpz.TCPOnly:
		out[2] |= 0x02
	case rpz.Local:
		for _, r := range m.Local(name, q.typ) {
			const ttl = 5
			out = wire.AppendRR(out, wire.ToQuestion, r.Type, wire.IN, ttl, r.Data)
			count(out, 1, 1)
		}
	}
	out = q.finish(out, s.why)
	s.tell(q, out, m, true)
	return out
}
