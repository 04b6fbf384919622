package forward

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"sakimori/base/clock"
	wire "sakimori/base/wire/dns"
	"sakimori/respond/rpz/policy"
)

// stall is how long a primary may send nothing.
const stall = 30 * time.Second

// transfer asks for the difference to what is held, reads it record by record, and applies it
// when all of it is there. It gives the new zone; nil if nothing is new.
func (s *Secondary) transfer(ctx context.Context, h *held, from netip.AddrPort) (*held, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", from.String())
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // ends the wait
	defer conn.Close()
	wait := func() { _ = conn.SetDeadline(clock.System{}.Now().Add(stall)) } // what fails here fails at the next read
	wait()
	if s.src.TLS != nil {
		c := s.src.TLS.Clone()
		c.NextProtos = []string{"dot"} // RFC 9103
		conn = tls.Client(conn, c)
	}
	t := taking{held: h, kind: wire.AXFR}
	if h.begun {
		t.kind = wire.IXFR
	}
	query, stream, err := s.request(h, t.kind)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(wire.AppendFrame(nil, query)); err != nil {
		return nil, err
	}
	buf := make([]byte, wire.MaxMessage)
	for !t.done {
		wait()
		if buf, err = wire.ReadFrame(conn, buf); err != nil {
			return nil, err
		}
		var m wire.Message
		switch err := m.Read(buf); {
		case err != nil:
			return nil, err
		case m.ID != binary.BigEndian.Uint16(query), !m.Response:
			return nil, errors.New("it answers something else")
		case m.Rcode != wire.NoError:
			return nil, fmt.Errorf("it answers with code %d: is this machine among its peers, with this key?", m.Rcode)
		}
		if stream != nil {
			if err := stream.Verify(&m, s.clock.Now()); err != nil {
				return nil, err
			}
		}
		if err := t.message(&m); err != nil {
			return nil, err
		}
	}
	if stream != nil && !stream.Settled() {
		return nil, wire.ErrUnsigned
	}
	return t.apply()
}

// request is the question, and what its answer must be signed with.
func (s *Secondary) request(h *held, kind uint16) (raw []byte, stream *wire.Stream, err error) {
	var id [2]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, nil, err
	}
	m := wire.Message{ID: binary.BigEndian.Uint16(id[:]), Counts: [4]uint16{1}}
	if kind == wire.IXFR {
		m.Counts[2] = 1
	}
	raw = wire.AppendQuestion(m.AppendHeader(nil), wire.Question{Name: h.Zone.Name(), Type: kind, Class: wire.IN})
	if kind == wire.IXFR {
		soa := wire.Start{Primary: wire.Root(), Mail: wire.Root(), Serial: h.Serial}
		raw = wire.AppendRR(raw, h.Zone.Name(), wire.SOA, wire.IN, 0, soa.Append(nil))
	}
	if s.key == nil {
		return raw, nil, nil
	}
	raw = append(raw, s.key.Begin(nil).Sign(s.clock.Now(), raw)...)
	binary.BigEndian.PutUint16(raw[10:], 1)
	if err := m.Read(raw); err != nil {
		return nil, nil, err
	}
	x, _, err := m.Signature()
	if err != nil {
		return nil, nil, err
	}
	return raw, s.key.Begin(x.MAC), nil
}

// taking is a transfer under way: all of a zone, or what changed in it, condensed.
type taking struct {
	*held
	kind    uint16
	n       int // records so far
	first   uint32
	whole   map[record]struct{}
	changes map[record]bool // what comes is true, what goes false; nil: the whole zone comes
	at      uint32          // serial that is being changed from, or to
	adding  bool
	done    bool
	buf     []byte
}

var errTransfer = errors.New("the transfer can't be read")

func (t *taking) message(m *wire.Message) error {
	records := m.Records()
	var rr wire.RR
	for records.Next(&rr) {
		if rr.Section != wire.Answer {
			continue
		}
		if t.done {
			return fmt.Errorf("%w: something stands behind its end", errTransfer)
		}
		if err := t.record(m, &rr); err != nil {
			return err
		}
	}
	if t.n == 1 && !t.done && t.kind == wire.IXFR {
		return fmt.Errorf("the primary has serial %d of %s and we have %d: it doesn't send it", t.first, t.Zone, t.Serial)
	}
	return records.Err()
}

func (t *taking) record(m *wire.Message, rr *wire.RR) error {
	t.n++
	if rr.Type == wire.SOA {
		soa, err := m.Start(rr)
		if err != nil {
			return err
		}
		return t.soa(soa.Serial)
	}
	switch t.n {
	case 1:
		return fmt.Errorf("%w: it doesn't begin with a SOA record", errTransfer)
	case 2:
		t.whole = map[record]struct{}{}
	}
	r, err := t.read(m, rr)
	if err != nil {
		return err
	}
	if t.changes == nil {
		t.whole[r] = struct{}{}
		return nil
	}
	there, changed := t.changes[r]
	if !changed {
		_, there = t.records[r]
	}
	if there == t.adding {
		return fmt.Errorf("%w: it differs from another serial than ours", errTransfer)
	}
	t.changes[r] = t.adding
	return nil
}

// soa is where a transfer begins, goes on and ends (RFC 1995 §4).
func (t *taking) soa(serial uint32) error {
	switch {
	case t.n == 1:
		t.first = serial
		t.done = t.begun && serial == t.Serial // nothing is new
	case t.n == 2 && t.kind == wire.IXFR && serial == t.Serial:
		t.changes, t.at = map[record]bool{}, serial
	case t.changes == nil: // the end of all of it
		if t.done = serial == t.first; !t.done {
			return fmt.Errorf("%w: it ends with another serial than it began with", errTransfer)
		}
	case !t.adding:
		t.at, t.adding = serial, true
	case serial != t.at:
		return fmt.Errorf("%w: it leaves out a serial", errTransfer)
	case serial == t.first:
		t.done = true
	default:
		t.adding = false
	}
	return nil
}

// read reads a record, names in its data written out.
func (t *taking) read(m *wire.Message, rr *wire.RR) (record, error) {
	owner, _, err := wire.AppendName(wire.Name(t.buf[:0]), m.Raw, rr.Owner)
	if err != nil {
		return "", err
	}
	b := binary.BigEndian.AppendUint16(owner, rr.Type)
	switch rr.Type {
	case wire.CNAME, wire.NS, wire.PTR:
		if b, _, err = wire.AppendName(b, m.Raw, rr.DataAt); err != nil {
			return "", err
		}
	default:
		b = append(b, rr.Data...)
	}
	t.buf = b
	return record(b), nil
}

// apply gives the zone with what came, nil if nothing did. The records are the same ones: they
// are changed when nothing can fail any more.
func (t *taking) apply() (*held, error) {
	h := t.held
	if h.begun && t.first == h.Serial {
		return nil, nil //nolint:nilnil // nothing new
	}
	next := *h
	next.Serial, next.begun, next.unkept = t.first, true, true
	if t.changes == nil {
		next.records = t.whole
		next.Records = len(next.records)
		return &next, next.compile()
	}
	for r, comes := range t.changes { // what went and came again didn't change
		if _, there := h.records[r]; there == comes {
			delete(t.changes, r)
		}
	}
	move := func(forth bool) {
		for r, comes := range t.changes {
			if comes == forth {
				h.records[r] = struct{}{}
			} else {
				delete(h.records, r)
			}
		}
	}
	move(true)
	next.Records = len(h.records)
	if next.compiled = t.edited(); next.compiled != nil {
		return &next, nil
	}
	if err := next.compile(); err != nil {
		move(false)
		return nil, err
	}
	return &next, nil
}

// edited is what answers, with what changed; nil: it must be compiled anew.
func (t *taking) edited() *policy.Zone {
	if t.compiled == nil {
		return nil
	}
	b, ok := t.compiled.Edit()
	if !ok {
		return nil
	}
	for r, comes := range t.changes {
		if !comes && !b.Remove(r.parts()) {
			return nil
		}
	}
	for r, comes := range t.changes {
		if comes && b.Record(r.parts()) != nil {
			return nil // compiling says why
		}
	}
	return b.Zone(t.first)
}
