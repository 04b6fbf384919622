package dns

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"sakimori/base/wire/dns"
	"sakimori/observe"
)

// mark is what an answer itself says of a policy, and what else is looked at in it.
type mark struct {
	zone    string // of ours, "" none
	pass    bool   // the policy left it alone
	foreign bool   // a policy that isn't ours
	blocked bool   // EDE 15: some policy kept it back
	form    observe.Form
	records int
	answers [most]netip.Addr
}

// zones are our policy zones, by their names on the wire.
type zones struct {
	byName map[string]zone
}

type zone struct {
	name string
	pass bool
}

func newZones(blocking, passing []string) (z zones, err error) {
	z.byName = map[string]zone{}
	for i, list := range [][]string{blocking, passing} {
		for _, s := range list {
			n, err := dns.ParseName(s)
			if err != nil {
				return z, err
			}
			z.byName[string(n)] = zone{s, i == 1}
		}
	}
	return z, nil
}

// of finds the zone that a name is, or ends with.
func (z *zones) of(n dns.Name) (zone, bool) {
	for {
		if f, is := z.byName[string(n)]; is {
			return f, true
		}
		if len(n) <= 1 {
			return zone{}, false
		}
		n = n.Parent()
	}
}

// word finds a zone by what a log or PowerDNS calls it: with or without the dot.
func (z *zones) word(w []byte) (zone, bool) {
	s := strings.ToLower(strings.TrimSuffix(string(w), "."))
	for _, f := range z.byName {
		if strings.TrimSuffix(f.name, ".") == s {
			return f, true
		}
	}
	return zone{}, false
}

// read looks into an answer. buf is for names.
func (z *zones) read(e *Exchange, buf dns.Name) (m mark) {
	m.records, m.answers = e.answered, e.answers
	if len(e.policy) > 0 {
		if n, _, err := dns.AppendName(buf[:0], e.policy, 0); err == nil {
			m.take(z.of(n))
		}
	}
	if len(e.word) > 0 {
		m.take(z.word(e.word))
	}
	m.pass = m.pass || e.passed
	if e.raw != nil {
		z.message(&m, e.raw, buf)
	}
	return m
}

func (m *mark) take(f zone, ours bool) {
	if !ours {
		m.foreign = true
		return
	}
	m.zone, m.pass = f.name, f.pass
}

// message looks through the records of an answer.
func (z *zones) message(m *mark, raw []byte, buf dns.Name) {
	var d dns.Message
	if d.Read(raw) != nil {
		return
	}
	if d.Desired {
		m.form |= observe.Recursive
	}
	const checkingDisabled = 0x10
	if raw[3]&checkingDisabled != 0 {
		m.form |= observe.Unchecked
	}
	n := 0
	var rr dns.RR
	for r := d.Records(); r.Next(&rr); {
		switch {
		case rr.Section == dns.Answer:
			m.records++
			if rr.Type == dns.A || rr.Type == dns.AAAA {
				if a, ok := netip.AddrFromSlice(rr.Data); ok && n < most {
					m.answers[n] = a
					n++
				}
			}
		case rr.Type == dns.SOA:
			// The SOA of the policy zone that the answer comes from: BIND adds it.
			if m.zone != "" {
				continue
			}
			if name, _, err := dns.AppendName(buf[:0], raw, rr.Owner); err == nil {
				if f, is := z.byName[string(name)]; is {
					m.take(f, true)
				}
			}
		case rr.Type == dns.OPT:
			m.option(&rr)
		}
	}
}

// option reads EDNS (RFC 6891), and in it the extended error (RFC 8914).
func (m *mark) option(rr *dns.RR) {
	m.form |= observe.EDNS
	const do = 0x8000
	if rr.TTL&do != 0 {
		m.form |= observe.Signed
	}
	for b := rr.Data; len(b) >= 4; {
		code, l := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if 4+l > len(b) {
			return
		}
		const extended, blocked = 15, 15
		if code == extended && l >= 2 && binary.BigEndian.Uint16(b[4:]) == blocked {
			m.blocked = true
		}
		b = b[4+l:]
	}
}
