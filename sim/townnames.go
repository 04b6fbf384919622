package sim

import (
	"cmp"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"sakimori/base/wire/dns"
	"sakimori/base/wire/dnstap"
	"sakimori/base/wire/packet"
)

// Lookup is one question of a line to the operator's resolver, for the address of a name.
type Lookup struct {
	At     time.Time
	Line   string
	Client netip.Addr // that the resolver sees: before the translator, where there is one
	Name   string     // in lower case
	Family string     // of the infection that asks; "" nobody's
}

// ControlNames are the C&C servers of a family that Lookups asks for.
func ControlNames(family string) (list []string) {
	for i := range 3 {
		list = append(list, fmt.Sprintf("cnc%d.%s-mihon.jp", i+1, family))
	}
	return list
}

// How often a line asks: what people look at, and an infected device for its C&C server.
const (
	lookGap    = 30 * time.Minute
	controlGap = 40 * time.Minute
	popular    = 400 // names that people look at
)

// Lookups draws what the town asks between two times, hour by hour and in order.
func (l *Life) Lookups(from, until time.Time) iter.Seq[Lookup] {
	return func(yield func(Lookup) bool) {
		for at := from.Truncate(time.Hour); at.Before(until); at = at.Add(time.Hour) {
			for _, x := range l.hour(at) {
				if !x.At.Before(from) && x.At.Before(until) && !yield(x) {
					return
				}
			}
		}
	}
}

// hour are the questions of an hour: the same whichever hours are drawn.
func (l *Life) hour(at time.Time) (list []Lookup) {
	begin, end := at.UnixNano(), at.Add(time.Hour).UnixNano()
	for i := range l.sessions {
		s := &l.sessions[i]
		if s.from >= end || s.to <= begin {
			continue
		}
		r := rng(mix(mix(l.Seed, 0xd25), mix(uint64(i), uint64(begin))))
		line, client := lineName(s.line), packet.V4(s.addr).Netip()
		ask := func(gap time.Duration, a, b int64, name func() string, family string) {
			for t := max(a, begin) + r.gap(int64(gap)); t < min(b, end); t += r.gap(int64(gap)) {
				list = append(list, Lookup{time.Unix(0, t).UTC(), line, client, name(), family})
			}
		}
		ask(lookGap, s.from, s.to, func() string { // some names often, most seldom
			n := r.below(popular) * r.below(popular) / popular
			return fmt.Sprintf("www.mise%03d.jp", n)
		}, "")
		for _, p := range l.spells {
			if p.line != s.line {
				continue
			}
			to := s.to
			if !p.To.IsZero() {
				to = min(to, p.To.UnixNano())
			}
			names := ControlNames(p.Family)
			ask(controlGap, max(s.from, p.From.UnixNano()), to, func() string { return names[r.below(uint64(len(names)))] }, p.Family)
		}
	}
	slices.SortStableFunc(list, func(a, b Lookup) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Line, b.Line)) })
	return list
}

// Resolver is the operator's, as it tells what it is asked and answers.
type Resolver struct {
	Identity string
	Address  netip.Addr
}

// Tell writes a question and its answer as dnstap: the name doesn't exist, by a policy
// zone that marks the answer as BIND does, or it leads somewhere, with zone "".
func (r *Resolver) Tell(w *dnstap.Writer, x *Lookup, zone string) error {
	name, err := dns.ParseName(x.Name)
	if err != nil {
		return err
	}
	at := x.At.UnixNano()
	id := uint16(mix(uint64(at), 0x1d))
	q := dns.Question{Name: name, Type: dns.A, Class: dns.IN}
	m := dns.Message{ID: id, Desired: true, Counts: [4]uint16{1}}
	query := dns.AppendQuestion(m.AppendHeader(nil), q)
	m.Response, m.Available = true, true
	var answer []byte
	if zone == "" {
		m.Counts[1] = 1
		answer = dns.AppendQuestion(m.AppendHeader(nil), q)
		answer = dns.AppendRR(answer, dns.ToQuestion, dns.A, dns.IN, 300, leadsTo(name))
	} else {
		policy, err := dns.ParseName(zone)
		if err != nil {
			return err
		}
		m.Rcode, m.Counts[3] = dns.NXDomain, 1
		start := dns.Start{Primary: dns.Root(), Mail: dns.Root(), Serial: 1, Refresh: 300, Retry: 60, Expire: 86400, Minimum: 5}
		answer = dns.AppendQuestion(m.AppendHeader(nil), q)
		answer = dns.AppendRR(answer, policy, dns.SOA, dns.IN, 5, start.Append(nil))
	}
	told := dnstap.Message{
		Identity: []byte(r.Identity), Type: dnstap.ClientQuery, Client: x.Client, ClientPort: 1024 + id%60000, Server: r.Address, ServerPort: 53, QueryTime: at, Query: query,
	}
	if err := w.Write(&told); err != nil {
		return err
	}
	told.Type, told.Query, told.Response, told.ResponseTime = dnstap.ClientResponse, nil, answer, at+int64(time.Millisecond)
	return w.Write(&told)
}
