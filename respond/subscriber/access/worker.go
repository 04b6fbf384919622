package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"golang.org/x/net/ipv4"

	"sakimori/base/udp"
	"sakimori/base/wire/radius"
	"sakimori/respond/subscriber"
)

// worker serves one socket: it reads what has arrived, hands all of it to the sink,
// and answers. Meanwhile the kernel holds what comes.
type worker struct {
	server *Server
	socket *net.UDPConn
	batch  *ipv4.PacketConn // the same, for both families: what it asks of it is the socket's
	clerk  *clerk
	secret []*radius.Secret // of each client

	in      []ipv4.Message
	records []subscriber.Record
	marks   []mark     // of the requests whose records these are
	held    []question // the same, to be answered when they are kept
	now     []question // to be answered at once
	out     []ipv4.Message
	answers []byte
	lost    uint32 // as the kernel last said
}

// question is a request that is to be answered.
type question struct {
	request radius.Packet
	to      net.Addr
	from    *counts
	records int
}

func newWorker(s *Server, socket *net.UDPConn) *worker {
	w := &worker{server: s, socket: socket, batch: ipv4.NewPacketConn(socket), clerk: newClerk(s.cfg.Accounting)}
	for _, c := range s.clients {
		w.secret = append(w.secret, radius.NewSecret(c.client.Secret))
	}
	buffers := make([]byte, s.cfg.Batch*radius.MaxLen)
	w.in, w.out = make([]ipv4.Message, s.cfg.Batch), make([]ipv4.Message, 0, s.cfg.Batch)
	for i := range w.in {
		w.in[i].Buffers = [][]byte{buffers[i*radius.MaxLen : (i+1)*radius.MaxLen]}
		w.in[i].OOB = make([]byte, udp.Room)
	}
	return w
}

// run serves until ctx ends; keep is the context of the sink.
func (w *worker) run(ctx, keep context.Context) error {
	defer w.socket.Close()
	for {
		n, err := w.batch.ReadBatch(w.in, 0)
		if n > 0 {
			w.serve(keep, w.in[:n])
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("RADIUS accounting: the socket was closed: %w", err)
		case err != nil && n <= 0:
			return fmt.Errorf("RADIUS accounting: read: %w", err)
		}
	}
}

func (w *worker) serve(keep context.Context, in []ipv4.Message) {
	w.records, w.marks, w.held, w.now = w.records[:0], w.marks[:0], w.held[:0], w.now[:0]
	at := w.server.clock.Now()
	for i := range in {
		w.datagram(&in[i], at)
	}
	if n, ok := udp.Dropped(in[len(in)-1].OOB[:in[len(in)-1].NN]); ok {
		w.server.lost.Add(uint64(n - w.lost)) // counts modulo 2³²
		w.lost = n
	}
	w.answer(w.now)
	if len(w.records) == 0 {
		return
	}
	if !w.keep(keep) {
		return
	}
	w.answer(w.held)
}

// datagram decides what becomes of one.
func (w *worker) datagram(m *ipv4.Message, at time.Time) {
	sender, ok := m.Addr.(*net.UDPAddr)
	if !ok {
		return
	}
	from := sender.AddrPort().Addr().Unmap().WithZone("")
	client, ok := w.server.byAddr.Lookup(from)
	if !ok {
		w.server.stranger(from)
		return
	}
	client.requests.Add(1)
	p, err := radius.Parse(m.Buffers[0][:m.N])
	if err == nil && p.Code() != radius.AccountingRequest && p.Code() != radius.StatusServer {
		client.refused[otherCode].Add(1)
		return
	}
	if err == nil {
		err = w.secret[client.index].Check(p)
	}
	if err != nil {
		client.refused[why(err)].Add(1)
		return
	}
	q := question{request: p, to: m.Addr, from: client}
	if p.Code() == radius.StatusServer {
		client.ignored.Add(1)
		w.now = append(w.now, q)
		return
	}
	w.request(q, at, from)
}

// request takes an Accounting-Request that is known to be the client's.
func (w *worker) request(q question, at time.Time, from netip.Addr) {
	before := len(w.records)
	records, bad := w.clerk.packet(q.request, at, from, w.records)
	q.records = len(records) - before
	switch {
	case bad != fine:
		q.from.refused[bad].Add(1)
		return
	case q.records == 0:
		q.from.ignored.Add(1)
		w.now = append(w.now, q)
		return
	}
	m := marked(q.request, from)
	switch w.server.recent.meet(m, at) {
	case fresh:
		w.records, w.marks, w.held = records, append(w.marks, m), append(w.held, q)
	case pending: // the first one will be answered
		q.from.duplicates.Add(1)
	case kept:
		q.from.duplicates.Add(1)
		w.now = append(w.now, q)
	}
}

// keep hands the records to the sink.
func (w *worker) keep(ctx context.Context) bool {
	s := w.server
	err := s.sink.Take(ctx, w.records)
	if err != nil {
		s.recent.settle(w.marks, fresh)
		for _, q := range w.held {
			q.from.unkept.Add(1)
		}
		if !s.failing.Swap(true) {
			s.log.LogAttrs(ctx, slog.LevelError, "accounting records can't be kept; requests aren't answered until they can", slog.Any("error", err))
		}
		return false
	}
	s.recent.settle(w.marks, kept)
	for _, q := range w.held {
		q.from.records.Add(uint64(q.records)) //nolint:gosec // a length
	}
	if s.failing.Load() && s.failing.Swap(false) {
		s.log.LogAttrs(ctx, slog.LevelInfo, "accounting records are kept again")
	}
	return true
}

// answer sends the Accounting-Responses. What can't be sent is as if the network had
// lost it: the request comes again.
func (w *worker) answer(list []question) {
	w.answers, w.out = w.answers[:0], w.out[:0]
	for _, q := range list {
		at := len(w.answers)
		w.answers = w.secret[q.from.index].AppendResponse(w.answers, radius.AccountingResponse, q.request)
		// An array that had to grow stays alive for those before.
		w.out = append(w.out, ipv4.Message{Buffers: [][]byte{w.answers[at:len(w.answers):len(w.answers)]}, Addr: q.to})
	}
	for done := 0; done < len(w.out); {
		n, err := w.batch.WriteBatch(w.out[done:], 0)
		for _, q := range list[done : done+max(n, 0)] {
			q.from.answered.Add(1)
		}
		done += max(n, 0)
		if err != nil || n <= 0 {
			done++ // pass over the one that can't be sent
		}
	}
}
