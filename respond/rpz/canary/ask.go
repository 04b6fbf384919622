package canary

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"sakimori/base/wire/dns"
)

// Question is one question of a synthetic client.
type Question struct {
	From   netip.Addr // of the client; zero: whichever the machine takes
	To     netip.AddrPort
	Name   dns.Name
	Type   uint16
	DNSSEC bool // DO=1: signatures are asked for
}

// Answer is what a resolver said.
type Answer struct {
	Rcode     uint8
	Texts     []string     // of TXT records
	Addresses []netip.Addr // of A and AAAA records
	Aliases   []string     // targets of CNAME records
	Serial    uint32       // of a SOA record
	Records   int          // in the answer
	Signed    bool         // RRSIG records are among them
	EDE       int          // info code of RFC 8914; -1 none
	Why       string       // text beside it
	TCP       bool         // it came by TCP
}

// ErrAnswer is an answer that isn't one.
var ErrAnswer = errors.New("the answer can't be read")

// Ask asks once, by UDP, and by TCP if the answer was cut. What comes from elsewhere, with
// another number or to another question is passed over. No answer is the error of ctx.
func Ask(ctx context.Context, q Question) (Answer, error) {
	query, err := write(q)
	if err != nil {
		return Answer{}, err
	}
	a, cut, err := exchange(ctx, "udp", q, query)
	if err == nil && cut {
		a, _, err = exchange(ctx, "tcp", q, query)
		a.TCP = true
	}
	return a, err
}

const (
	wanted   = 1232 // bytes of UDP that never need fragments (DNS flag day 2020)
	extended = 15   // the EDNS option of RFC 8914
	rrsig    = 46
)

func write(q Question) ([]byte, error) {
	var id [2]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	m := dns.Message{ID: binary.BigEndian.Uint16(id[:]), Desired: true, Counts: [4]uint16{1, 0, 0, 1}}
	out := dns.AppendQuestion(m.AppendHeader(nil), dns.Question{Name: q.Name, Type: q.Type, Class: dns.IN})
	var flags uint32
	if q.DNSSEC {
		flags = 1 << 15
	}
	return dns.AppendRR(out, dns.Root(), dns.OPT, wanted, flags, nil), nil
}

func exchange(ctx context.Context, network string, q Question, query []byte) (a Answer, cut bool, err error) {
	var d net.Dialer
	if q.From.IsValid() {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(q.From, 0))
		if network == "tcp" {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(q.From, 0))
		}
	}
	conn, err := d.DialContext(ctx, network, q.To.String())
	if err != nil {
		return a, false, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer conn.Close()
	sent := query
	if network == "tcp" {
		sent = dns.AppendFrame(nil, query)
	}
	if _, err := conn.Write(sent); err != nil {
		return a, false, silence(ctx, err)
	}
	buf := make([]byte, dns.MaxMessage)
	for {
		var raw []byte
		if network == "tcp" {
			raw, err = dns.ReadFrame(conn, buf)
		} else {
			var n int
			n, err = conn.Read(buf)
			raw = buf[:n]
		}
		if err != nil {
			return a, false, silence(ctx, err)
		}
		var m dns.Message
		if m.Read(raw) != nil || !m.Response || m.ID != binary.BigEndian.Uint16(query) {
			continue
		}
		got, err := m.Question(nil)
		if err != nil || string(got.Name) != string(q.Name) || got.Type != q.Type || got.Class != dns.IN {
			continue
		}
		a, err = read(&m)
		return a, m.Truncated, err
	}
}

// silence says that nobody answered in time, rather than that the connection was closed.
func silence(ctx context.Context, err error) error {
	if e := context.Cause(ctx); e != nil {
		return e
	}
	return err
}

func read(m *dns.Message) (Answer, error) {
	a := Answer{Rcode: m.Rcode, EDE: -1}
	records := m.Records()
	var rr dns.RR
	for records.Next(&rr) {
		switch {
		case rr.Type == dns.OPT:
			a.EDE, a.Why = reason(rr.Data)
			a.Rcode |= uint8(rr.TTL >> 24 << 4) // #nosec G115 -- eight bits of it
		case rr.Section != dns.Answer:
		case rr.Type == rrsig:
			a.Signed = true
		default:
			a.Records++
			a.take(m, &rr)
		}
	}
	if err := records.Err(); err != nil {
		return a, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return a, nil
}

func (a *Answer) take(m *dns.Message, rr *dns.RR) {
	switch rr.Type {
	case dns.TXT:
		var text strings.Builder
		for d := rr.Data; len(d) > 0 && len(d) > int(d[0]); d = d[1+int(d[0]):] {
			text.Write(d[1 : 1+int(d[0])])
		}
		a.Texts = append(a.Texts, text.String())
	case dns.A, dns.AAAA:
		if ip, ok := netip.AddrFromSlice(rr.Data); ok {
			a.Addresses = append(a.Addresses, ip)
		}
	case dns.SOA:
		if s, err := m.Start(rr); err == nil {
			a.Serial = s.Serial
		}
	case dns.CNAME:
		if n, _, err := dns.AppendName(nil, m.Raw, rr.DataAt); err == nil {
			a.Aliases = append(a.Aliases, n.String())
		}
	}
}

// reason is the first extended error of an OPT record.
func reason(options []byte) (code int, text string) {
	for o := options; len(o) >= 4; {
		n := int(binary.BigEndian.Uint16(o[2:]))
		if len(o) < 4+n {
			break
		}
		if binary.BigEndian.Uint16(o) == extended && n >= 2 {
			return int(binary.BigEndian.Uint16(o[4:])), string(o[6 : 4+n])
		}
		o = o[4+n:]
	}
	return -1, ""
}
