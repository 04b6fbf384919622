package dns

import (
	"errors"
	"io"
	"sync"
	"time"

	"sakimori/base/wire/dns"
	"sakimori/base/wire/dnstap"
)

// Source is where exchanges come from: a listener or a file. It counts what comes.
type Source struct {
	o    *Observer
	name string

	mu    sync.Mutex
	stats SourceStats
}

// SourceStats is what came from a source.
type SourceStats struct {
	Name        string    `json:"name"`
	Connections uint64    `json:"connections"`
	Strangers   uint64    `json:"strangers"` // connections of those who aren't named: refused
	Frames      uint64    `json:"frames"`
	Other       uint64    `json:"other"`     // of the resolver's own questions: not of clients
	Malformed   uint64    `json:"malformed"` // frames that can't be read
	Unread      uint64    `json:"unread"`
	Dropped     uint64    `json:"dropped"` // there was no room
	Broken      uint64    `json:"broken"`  // streams that ended without saying so
	Last        time.Time `json:"last,omitzero"`
}

// Stats is what came so far.
func (s *Source) Stats() SourceStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// note changes the figures, and tells the observer of what was lost.
func (s *Source) note(change func(st *SourceStats)) {
	s.mu.Lock()
	before := s.stats
	change(&s.stats)
	now := s.stats
	s.mu.Unlock()
	lost := Tally{Malformed: now.Malformed - before.Malformed, Unread: now.Unread - before.Unread, Dropped: now.Dropped - before.Dropped, Broken: now.Broken - before.Broken}
	if lost != (Tally{}) {
		at := now.Last
		if at.IsZero() || s.o.cfg.Live {
			at = s.o.clock.Now()
		}
		s.o.Lost(at, s.name, &lost)
	}
}

// lot is how many exchanges are taken at once.
const lot = 256

// reading decodes one stream of a source.
type reading struct {
	s     *Source
	names map[string]string // resolvers, by what they call themselves
	list  [lot]Exchange
	n     int
	arena []byte // of names
	add   SourceStats
}

func (s *Source) reading() *reading {
	return &reading{s: s, names: map[string]string{}, arena: make([]byte, 0, lot*64)}
}

// resolver is what a resolver calls itself, or the source.
func (r *reading) resolver(identity []byte) string {
	if s, is := r.names[string(identity)]; is {
		return s
	}
	name := r.s.name
	if len(identity) > 0 {
		name = r.s.o.resolverOf(string(identity))
	}
	const most = 1000
	if len(r.names) < most {
		r.names[string(identity)] = name
	}
	return name
}

// next is the place for another exchange.
func (r *reading) next() *Exchange {
	if r.n == lot {
		r.flush()
	}
	e := &r.list[r.n]
	*e = Exchange{} // one that couldn't be read may stand there
	return e
}

// flush hands on what was decoded, before the bytes that it lies in are used again.
func (r *reading) flush() {
	if r.n > 0 {
		r.s.o.Take(r.list[:r.n])
		r.add.Last = time.Unix(0, r.list[r.n-1].At).UTC()
		clear(r.list[:r.n]) // nobody stays in it
	}
	r.n, r.arena = 0, r.arena[:0]
	add := r.add
	r.add = SourceStats{}
	if add == (SourceStats{}) {
		return
	}
	r.s.note(func(st *SourceStats) {
		st.Frames += add.Frames
		st.Other += add.Other
		st.Malformed += add.Malformed
		st.Unread += add.Unread
		if add.Last.After(st.Last) {
			st.Last = add.Last
		}
	})
}

// name keeps a name until the next flush.
func (r *reading) name(n dns.Name) dns.Name {
	at := len(r.arena)
	r.arena = append(r.arena, n...) // where it moves, those before it stay where they were
	return r.arena[at:len(r.arena):len(r.arena)]
}

// message reads a DNS message into an exchange; false: it can't be read.
func (r *reading) message(e *Exchange, raw []byte) bool {
	var m dns.Message
	if m.Read(raw) != nil {
		return false
	}
	var buf [dns.MaxName]byte
	q, err := m.Question(buf[:0])
	switch {
	case err == nil:
		e.Name, e.Type = r.name(q.Name), q.Type
	case m.Counts[0] > 0:
		return false
	}
	e.Rcode = m.Rcode
	if e.Kind == Response {
		e.raw, e.infer = raw, true
	}
	return true
}

// dnstap reads a frame of dnstap. The frame is good until the next flush.
func (r *reading) dnstap(frame []byte) {
	r.add.Frames++
	var m dnstap.Message
	switch err := m.Read(frame); {
	case errors.Is(err, dnstap.ErrOther):
		r.add.Other++
		return
	case err != nil:
		r.add.Malformed++
		return
	case m.Type != dnstap.ClientQuery && m.Type != dnstap.ClientResponse:
		r.add.Other++
		return
	}
	e := r.next()
	e.At, e.Resolver, e.Client = m.At(), r.resolver(m.Identity), m.Client
	if m.Type.Response() {
		e.Kind = Response
	}
	if !r.message(e, m.Wire()) {
		r.add.Malformed++
		return
	}
	if string(m.Policy.Kind) == "RPZ" {
		e.dropped = e.Kind == Query && m.Policy.Action == dnstap.ActionDrop
		e.policy, e.passed = m.Policy.Rule, m.Policy.Action == dnstap.ActionPass
	}
	r.n++
}

// powerdns reads a message of PowerDNS.
func (r *reading) powerdns(frame []byte) {
	r.add.Frames++
	var m dnstap.PowerDNS
	if m.Read(frame) != nil {
		r.add.Malformed++
		return
	}
	if m.Type != dnstap.ClientQuery && m.Type != dnstap.ClientResponse {
		r.add.Other++
		return
	}
	e := r.next()
	e.At, e.Resolver, e.Client, e.Type = m.At, r.resolver(m.Identity), m.Client, m.QType
	if m.Type.Response() {
		e.Kind, e.Rcode, e.infer = Response, m.Rcode, !m.TimedOut
		e.word, e.passed, e.answered, e.answers = m.Policy, m.PolicyKind == dnstap.KindNoAction, m.Answered, m.Answers
	}
	if len(m.Name) > 0 {
		n, err := dns.ParseName(string(m.Name))
		if err != nil {
			r.add.Malformed++
			return
		}
		e.Name = r.name(n)
	}
	r.n++
}

// stream is frames one after the other.
type stream interface {
	Next() ([]byte, error)
	Buffered() bool
}

// decode reads all frames of a block and hands on what they say.
func (r *reading) decode(b *block, read func(*reading, []byte)) {
	from := int32(0)
	for _, end := range b.ends {
		read(r, b.bytes[from:end:end])
		from = end
	}
	r.flush()
}

// whole reads a stream to its end, for a file: nothing is dropped.
func (r *reading) whole(s stream, read func(*reading, []byte)) error {
	b := newBlock()
	for {
		frame, err := s.Next()
		if err != nil || !b.room(1, len(frame)) {
			r.decode(b, read)
			b.reset()
		}
		if err == nil {
			b.add(frame)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			r.s.note(func(st *SourceStats) { st.Broken++ })
			return err
		}
	}
}
