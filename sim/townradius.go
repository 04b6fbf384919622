package sim

import (
	"cmp"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sakimori/base/wire/packet"
)

// Secret is what a town's BNGs share with its accounting server.
const Secret = townSecret

// status is what an Accounting-Request says (RFC 2866 §5.1).
type status uint8

const (
	statusStart   status = 1
	statusStop    status = 2
	statusInterim status = 3
	statusOn      status = 7
)

var statusNames = map[status]string{statusStart: "Start", statusStop: "Stop", statusInterim: "Interim-Update", statusOn: "Accounting-On"}

// entry is one Accounting-Request on the wire.
type entry struct {
	arrival int64
	at      int64 // when it happened
	session int32 // -1: the BNG was started anew
	delay   uint32
	again   uint8 // how often it was sent before with the same bytes
	bng     uint8
	status  status
}

// entries are all Accounting-Requests in the order of their arrival. Some come late, with
// Acct-Delay-Time; some come twice, as they are or stamped anew; some never come.
func (l *Life) entries() []entry {
	r := rng(mix(l.Seed, 0xacc7))
	var list []entry
	say := func(e entry) {
		e.arrival = e.at + int64(20*time.Millisecond) + int64(r.below(uint64(180*time.Millisecond)))
		switch r.below(50) {
		case 0: // nobody answered for a while
			e.delay = 30 + uint32(r.below(570))
			e.arrival += int64(e.delay) * int64(time.Second)
		case 1: // the answer was lost: the same again
			list = append(list, e)
			e.arrival, e.again = e.arrival+int64(3*time.Second), 1
		case 2: // again, and stamped anew
			list = append(list, e)
			e.delay = 5
			e.arrival += 5 * int64(time.Second)
		}
		list = append(list, e)
	}
	for i := range l.sessions {
		s := &l.sessions[i]
		e := entry{session: int32(i), bng: l.lines[s.line].bng}
		if s.from >= l.start && r.below(100) != 0 {
			e.at, e.status = s.from, statusStart
			say(e)
		}
		e.status = statusInterim
		for e.at = s.from + int64(townInterim); e.at < s.to; e.at += int64(townInterim) {
			if e.at >= l.start {
				say(e)
			}
		}
		if !s.silent && !s.cut && !s.open {
			e.at, e.status = s.to, statusStop
			say(e)
		}
	}
	say(entry{at: l.restart + int64(90*time.Second), session: -1, bng: restartBNG, status: statusOn})
	slices.SortStableFunc(list, func(a, b entry) int { return cmp.Compare(a.arrival, b.arrival) })
	return list
}

// stamp is the Event-Timestamp, by the BNG's own clock, of the sending that arrived.
func (e *entry) stamp() uint32 {
	at := e.at + int64(e.delay)*int64(time.Second)
	if e.bng == skewedBNG {
		at += int64(townSkew)
	}
	return uint32(at / int64(time.Second))
}

// prefix6 is delegated to a line; after the restart of its BNG it is another.
func (l *Life) prefix6(s *session) netip.Prefix {
	n := uint64(s.line)
	if l.lines[s.line].bng == restartBNG && s.from > l.restart {
		n += uint64(len(l.lines))
	}
	a := town6.Addr().As16()
	binary.BigEndian.PutUint64(a[:], binary.BigEndian.Uint64(a[:])|n<<8)
	return netip.PrefixFrom(netip.AddrFrom16(a), 56)
}

func (e *entry) used(s *session) uint32 {
	return uint32((e.at - s.from) / int64(time.Second))
}

// request is the packet.
func (l *Life) request(b []byte, e *entry, id uint8) []byte {
	b = append(b[:0], 4, id, 0, 0)
	b = append(b, make([]byte, 16)...)
	text := func(t byte, v string) { b = append(append(b, t, byte(2+len(v))), v...) }
	number := func(t byte, v uint32) { b = binary.BigEndian.AppendUint32(append(b, t, 6), v) }
	number(40, uint32(e.status)) // Acct-Status-Type
	text(32, bngs[e.bng])        // NAS-Identifier
	number(4, bngAddress(e.bng).V4())
	number(55, e.stamp()) // Event-Timestamp
	number(41, e.delay)   // Acct-Delay-Time
	if e.session >= 0 {
		s := &l.sessions[e.session]
		text(1, lineName(s.line))
		text(44, fmt.Sprintf("%08x", e.session)) // Acct-Session-Id
		number(8, s.addr)                        // Framed-IP-Address
		p := l.prefix6(s)
		six := p.Addr().As16()
		b = append(append(b, 123, 20, 0, byte(p.Bits())), six[:]...) // Delegated-IPv6-Prefix
		if e.status != statusStart {
			number(46, e.used(s)) // Acct-Session-Time
		}
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	sum := md5.Sum(append(b, townSecret...))
	copy(b[4:20], sum[:])
	return b
}

func bngAddress(n uint8) packet.Addr { return packet.V4(10<<24 | uint32(n) + 1) }

// Radius writes the accounting as a capture at the server: Accounting-Requests with right
// authenticators.
func (l *Life) Radius(w FrameWriter) error {
	f, ids := &frame{}, [len(bngs)]uint8{}
	server := packet.V4(10<<24 | 250)
	var b []byte
	known := map[[2]int64]uint8{} // of those that are sent again, by session and time
	list := l.entries()
	for i := range list {
		e := &list[i]
		key := [2]int64{int64(e.session), e.at}
		id, again := known[key]
		if e.again == 0 || !again {
			ids[e.bng]++
			id = ids[e.bng]
			known[key] = id
		}
		b = l.request(b, e, id)
		f.udp(ipHead{src: bngAddress(e.bng), dst: server, ttl: 62, id: uint16(i)}, 1646, 1813, b)
		if err := w.WriteFrame(e.arrival, f.buf[:f.n]); err != nil {
			return fmt.Errorf("writing request %d: %w", i+1, err)
		}
	}
	return nil
}

// Detail writes the same as FreeRADIUS writes it down.
func (l *Life) Detail(w io.Writer) error {
	list := l.entries()
	var b strings.Builder
	for i := range list {
		e := &list[i]
		if e.again > 0 {
			continue // the server answers it again, and doesn't write it down twice
		}
		b.Reset()
		line := func(format string, args ...any) { fmt.Fprintf(&b, "\t"+format+"\n", args...) }
		at := time.Unix(0, e.arrival).UTC()
		fmt.Fprintf(&b, "%s\n", at.Format("Mon Jan _2 15:04:05 2006"))
		line("Acct-Status-Type = %s", statusNames[e.status])
		line("NAS-Identifier = %q", bngs[e.bng])
		line("NAS-IP-Address = %s", bngAddress(e.bng).Netip())
		line("Event-Timestamp = %q", time.Unix(int64(e.stamp()), 0).UTC().Format("Jan _2 2006 15:04:05 MST"))
		line("Acct-Delay-Time = %d", e.delay)
		if e.session >= 0 {
			s := &l.sessions[e.session]
			line("User-Name = %q", lineName(s.line))
			line("Acct-Session-Id = \"%08x\"", e.session)
			line("Framed-IP-Address = %s", packet.V4(s.addr).Netip())
			line("Delegated-IPv6-Prefix = %s", l.prefix6(s))
			if e.status != statusStart {
				line("Acct-Session-Time = %d", e.used(s))
			}
		}
		line("Timestamp = %d", at.Unix())
		b.WriteByte('\n')
		if _, err := io.WriteString(w, b.String()); err != nil {
			return fmt.Errorf("writing request %d: %w", i+1, err)
		}
	}
	return nil
}

// Translator writes the translator's log, as Juniper's SRX writes it (RFC 5424).
func (l *Life) Translator(w io.Writer) error {
	type mark struct {
		at    int64
		block int
		end   bool
	}
	var marks []mark
	for i := range l.blocks {
		b := &l.blocks[i]
		marks = append(marks, mark{b.from, i, false})
		if b.to < l.end {
			marks = append(marks, mark{b.to, i, true})
		}
	}
	slices.SortStableFunc(marks, func(a, b mark) int { return cmp.Compare(a.at, b.at) })
	for _, m := range marks {
		b, what := &l.blocks[m.block], "ALLOC"
		if m.end {
			what = "RELEASE"
		}
		_, err := fmt.Fprintf(w, "<14>1 %s cgn1 RT_NAT - RT_SRC_NAT_PBA_%s [junos@2636.1.1.1.2.129 internal-ip=\"%s\" block-used=\"1\" block-max-per-host=\"4\" block-port-low=\"%d\" block-port-high=\"%d\" reflexive-ip=\"%s\" nat-pool-name=\"town\" logical-system-id=\"0\" epoch-time-64=\"%x\"]\n",
			time.Unix(0, m.at).UTC().Format("2006-01-02T15:04:05.000Z"), what, packet.V4(l.sessions[b.session].addr).Netip(), b.low, b.low+(blockPorts-1), packet.V4(b.addr).Netip(), m.at/int64(time.Second))
		if err != nil {
			return err
		}
	}
	return nil
}
