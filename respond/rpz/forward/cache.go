package forward

import (
	"crypto/tls"
	"encoding/binary"
	"hash/maphash"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	wire "sakimori/base/wire/dns"
)

// kept is an answer as it is sent again: what stands behind the question, and where the
// times in it are.
type kept struct {
	name      wire.Name // whose it is
	typ       uint16
	secure    bool
	flags     [2]byte // of the header
	counts    [3]uint16
	body      []byte
	ttls      []int       // places in body
	aliases   []wire.Name // that the answer goes through
	at, until time.Time
}

// seed is the process's own, so that nobody outside can choose names that collide.
var seed = maphash.MakeSeed()

// key is where an answer to a question is kept. Two may meet there: then one gives way.
func (q *question) key() uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	_, _ = h.Write(q.name)                         // it never fails
	more := [3]byte{byte(q.typ >> 8), byte(q.typ)} // #nosec G115 -- both halves
	if q.secure {
		more[2] = 1
	}
	_, _ = h.Write(more[:]) // the same
	return h.Sum64()
}

// find looks into the cache.
func (s *Server) find(q *question) *kept {
	k, ok := s.cache.Get(q.key())
	if !ok || k.typ != q.typ || k.secure != q.secure || string(k.name) != string(q.name) || !q.at.Before(k.until) {
		return nil
	}
	return k
}

// append writes the answer to a question, with what is left of its times.
func (k *kept) append(q *question, out []byte) []byte {
	out = q.begin(out, k.flags[1]&0x0f)
	out[3] |= k.flags[1] & 0x20 // AD
	for i, n := range k.counts {
		count(out, i+1, n)
	}
	at := len(out)
	out = append(out, k.body...)
	if age := q.at.Sub(k.at); age >= time.Second {
		gone := uint32(age / time.Second) // #nosec G115 -- it isn't kept for longer
		for _, i := range k.ttls {
			ttl := out[at+i:]
			left := binary.BigEndian.Uint32(ttl)
			binary.BigEndian.PutUint32(ttl, left-min(left, gone))
		}
	}
	return out
}

// fetch asks upstream, once for all who want to know the same, and keeps the answer.
func (s *Server) fetch(q *question) *kept {
	if k := s.find(q); k != nil {
		return k // somebody was quicker
	}
	key := q.key()
	label := string(binary.BigEndian.AppendUint64(nil, key)) + string(q.name)
	v, _, _ := s.same.Do(label, func() (any, error) {
		m := new(dns.Msg).SetQuestion(dns.Fqdn(q.name.String()), q.typ)
		m.SetEdns0(ours, q.secure)
		a := s.ask(m)
		if a == nil {
			return (*kept)(nil), nil
		}
		k := keep(q, a)
		if k != nil && k.until.After(k.at) {
			s.cache.Add(key, k)
		}
		return k, nil
	})
	k, _ := v.(*kept)
	return k
}

// keep makes an answer of upstream one of ours; nil if it can't be one.
func keep(q *question, a *dns.Msg) *kept {
	a.Extra = slices.DeleteFunc(a.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT || rr.Header().Rrtype == dns.TypeTSIG })
	a.Compress = true
	raw, err := a.Pack()
	if err != nil {
		return nil
	}
	var m wire.Message
	if m.Read(raw) != nil {
		return nil
	}
	records := m.Records()
	begin := records.End()
	if begin != wire.HeaderSize+len(q.name)+4 {
		return nil // pointers to the question would lead elsewhere
	}
	k := &kept{name: slices.Clone(q.name), typ: q.typ, secure: q.secure, flags: [2]byte(raw[2:]), counts: [3]uint16(m.Counts[1:]), body: raw[begin:], at: q.at}
	var rr wire.RR
	for records.Next(&rr) {
		k.ttls = append(k.ttls, rr.DataAt-6-begin)
		if rr.Section == wire.Answer && rr.Type == wire.CNAME {
			n, _, err := wire.AppendName(nil, raw, rr.DataAt)
			if err != nil {
				return nil
			}
			k.aliases = append(k.aliases, n)
		}
	}
	if records.Err() != nil {
		return nil
	}
	k.until = q.at.Add(lifetime(a))
	return k
}

// lifetime is for how long an answer holds: its shortest TTL; of a denial the SOA's (RFC
// 2308); an hour at most.
func lifetime(a *dns.Msg) time.Duration {
	ttl := uint32(3600)
	n := 0
	for _, rr := range slices.Concat(a.Answer, a.Ns) {
		n++
		ttl = min(ttl, rr.Header().Ttl)
		if soa, ok := rr.(*dns.SOA); ok {
			ttl = min(ttl, soa.Minttl)
		}
	}
	if n == 0 || ttl > math.MaxInt32 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// upstream is whom it asks, and the connections to it that are open and wait for a question.
type upstream struct {
	*Upstream
	client dns.Client
	idle   chan *dns.Conn
}

func newUpstream(u *Upstream) *upstream {
	x := &upstream{Upstream: u, client: dns.Client{Timeout: patience}, idle: make(chan *dns.Conn, 16)}
	if u.Name != "" {
		c := &tls.Config{MinVersion: tls.VersionTLS12}
		if u.CA != nil {
			c = u.CA.Clone()
		}
		c.ServerName, c.ClientSessionCache = u.Name, tls.NewLRUClientSessionCache(16)
		x.client.Net, x.client.TLSConfig = "tcp-tls", c
	}
	return x
}

// patience is how long upstream may take.
const patience = 2 * time.Second

// ask asks each in turn.
func (s *Server) ask(q *dns.Msg) *dns.Msg {
	for _, u := range s.ups {
		a, err := u.ask(q)
		if err == nil && (a.Rcode == dns.RcodeSuccess || a.Rcode == dns.RcodeNameError) && len(a.Question) == 1 && strings.EqualFold(a.Question[0].Name, q.Question[0].Name) && a.Question[0].Qtype == q.Question[0].Qtype {
			return a
		}
	}
	return nil
}

func (u *upstream) ask(q *dns.Msg) (a *dns.Msg, err error) {
	if u.Name != "" {
		return u.secure(q)
	}
	if a, _, err = u.client.Exchange(q, u.Addr.String()); err == nil {
		a.AuthenticatedData = false // whoever is on the way could have said so
		if a.Truncated {
			c := dns.Client{Net: "tcp", Timeout: patience}
			a, _, err = c.Exchange(q, u.Addr.String())
		}
	}
	return a, err
}

// secure asks by TLS, on a connection that is open already if there is one. It may have been
// closed meanwhile: then a new one is made.
func (u *upstream) secure(q *dns.Msg) (a *dns.Msg, err error) {
	select {
	case c := <-u.idle:
		if a, err = u.on(c, q); err == nil {
			return a, nil
		}
	default:
	}
	c, err := u.client.Dial(u.Addr.String())
	if err != nil {
		return nil, err
	}
	return u.on(c, q)
}

// on asks on a connection, which stays open if it is good.
func (u *upstream) on(c *dns.Conn, q *dns.Msg) (*dns.Msg, error) {
	a, _, err := u.client.ExchangeWithConn(q, c)
	if err == nil {
		select {
		case u.idle <- c:
			return a, nil
		default: // there are enough
		}
	}
	_ = c.Close() // it is of no use any more
	return a, err
}
