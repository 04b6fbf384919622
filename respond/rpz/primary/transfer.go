package primary

import (
	"encoding/binary"
	"net"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
)

// batchSize is how many bytes are handed to the kernel at once.
const batchSize = 256 << 10

// transfer sends a zone, or what changed in it, message by message. The records are those
// of the set, which all transfers share: nothing is copied.
type transfer struct {
	s       *Server
	r       *request
	conn    net.Conn
	out     func(*net.Buffers) error
	stall   time.Duration
	parts   [][]byte // of the message in hand
	records int
	size    int // of them
	room    int // of a message
	batch   net.Buffers
	waiting int // bytes in the batch

	bytes, messages int
}

// transfer answers an AXFR or IXFR.
func (s *Server) transfer(r *request, conn net.Conn, out func(*net.Buffers) error) error {
	begun := clock.System{}.Now()
	t := &transfer{s: s, r: r, conn: conn, out: out, stall: s.cfg.Limits.Stall}
	t.room = dns.MaxMessage - dns.HeaderSize - len(r.question) - len(ednsRecord)
	if r.peer.Key != nil {
		t.room -= 2*dns.MaxName + 128
	}
	v := r.version
	was, _ := r.peer.zone(r.zone)
	kind, full := "axfr", true
	var d *rpz.Delta
	if r.kind == dns.IXFR {
		if d, _ = s.store.Since(v, r.serial); d != nil && !(r.peer.KeepsClients() && d.ClientsGo()) {
			kind, full = "ixfr", false
		}
	}
	start := rpz.StartRecord(v.Zone, v.Serial)
	err := t.put(start, 1)
	if full {
		err = t.all(err, rpz.ServerRecord(), v.Set)
	} else {
		err = t.all(err, rpz.StartRecord(v.Zone, d.From), d.Removed)
		err = t.all(err, start, d.Added)
	}
	if err == nil {
		err = t.put(start, 1)
	}
	if err == nil {
		err = t.end()
	}
	s.Counters.Bytes.Add(uint64(t.bytes)) // #nosec G115 -- counted up from 0
	now := s.cfg.Clock.Now()
	if err != nil {
		s.Counters.Cut.Add(1)
		r.peer.on(r.zone, func(st *PeerState, _ *ZoneState) { st.Cut++ })
		r.peer.trouble(now, string(v.Zone)+" の転送が途中で切れました", "a transfer of "+string(v.Zone)+" was cut off")
		return err
	}
	r.peer.on(r.zone, func(st *PeerState, z *ZoneState) {
		z.Serial, z.How, z.At, z.asked = v.Serial, Fetched, now, 0
		z.Last = &Transfer{Kind: kind, From: r.serial, To: v.Serial, Bytes: t.bytes, Messages: t.messages, Took: clock.System{}.Now().Sub(begun), At: now}
		switch {
		case !full:
			st.Incremental++
			z.SinceFull++
		default:
			st.Full++
			if r.kind == dns.AXFR && was.Serial != 0 && z.SinceFull > 0 {
				z.FullAfter = z.SinceFull
			}
			z.SinceFull = 0
		}
	})
	if full {
		s.Counters.Full.Add(1)
	} else {
		s.Counters.Incremental.Add(1)
	}
	return nil
}

// all puts a record and a set, unless something has failed.
func (t *transfer) all(err error, first []byte, set *rpz.Set) error {
	if err == nil {
		err = t.put(first, 1)
	}
	for _, c := range set.Chunks() {
		if err != nil {
			return err
		}
		err = t.put(c.Wire, c.Records)
	}
	return err
}

// put adds records to the message in hand, or to a next one.
func (t *transfer) put(wire []byte, records int) error {
	if t.size+len(wire) > t.room {
		if err := t.message(); err != nil {
			return err
		}
	}
	t.parts, t.size, t.records = append(t.parts, wire), t.size+len(wire), t.records+records
	return nil
}

// message closes the message in hand.
func (t *transfer) message() error {
	r, more := t.r, 0
	if r.edns && t.messages == 0 { // once is enough
		t.parts, t.size, more = append(t.parts, []byte(ednsRecord)), t.size+len(ednsRecord), 1
	}
	head := r.head(make([]byte, 2, 2+dns.HeaderSize+len(r.question)), dns.NoError, t.records, more)
	size := len(head) - 2 + t.size
	if r.stream != nil {
		tsig := r.stream.Sign(wall(), append([][]byte{head[2:]}, t.parts...)...)
		binary.BigEndian.PutUint16(head[12:], uint16(more)+1) // #nosec G115 -- 1 or 2
		t.parts, size = append(t.parts, tsig), size+len(tsig)
	}
	binary.BigEndian.PutUint16(head, uint16(size)) // #nosec G115 -- what has room
	t.batch = append(append(t.batch, head), t.parts...)
	t.waiting += size + 2
	t.parts, t.size, t.records = t.parts[:0], 0, 0
	t.messages++
	if t.waiting >= batchSize {
		return t.flush()
	}
	return nil
}

func (t *transfer) flush() error {
	if err := t.conn.SetWriteDeadline(clock.System{}.Now().Add(t.stall)); err != nil {
		return err
	}
	batch := t.batch // WriteTo eats it
	err := t.out(&batch)
	if err == nil {
		t.bytes += t.waiting
	}
	clear(t.batch)
	t.batch, t.waiting = t.batch[:0], 0
	return err
}

func (t *transfer) end() error {
	if err := t.message(); err != nil {
		return err
	}
	return t.flush()
}
