package translation

import (
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"time"

	"github.com/gaissmai/bart"
)

// Config is what an operator writes down of its translators. Each rule has a name; rules
// of one name are versions of it, and their times may not meet.
type Config struct {
	Deterministic []Deterministic `yaml:"deterministic"`
	MAP           []MAP           `yaml:"map"`
	Softwires     []Softwires     `yaml:"lw4o6"`
}

// Rules answers from a configuration. It doesn't change and may be used by several
// goroutines.
type Rules struct {
	outside bart.Table[[]*rule] // by public prefix
	inside  bart.Table[[]*rule] // by what the subscribers have
	names   map[string][]*rule
	count   int
}

// mapping is the arithmetic of one kind of rule.
type mapping interface {
	// toInside tells who has a port of a public address; Found, or why nobody.
	toInside(address netip.Addr, port uint16) (netip.Prefix, Reason)
	// toOutside tells what a subscriber has. in lies in one of insides.
	toOutside(in netip.Addr) (Share, bool)
	outsides() []netip.Prefix
	insides() []netip.Prefix
	// apart tells whether two rules over one public address never give the same port.
	apart(o mapping) bool
}

// rule is one version of a rule.
type rule struct {
	name, version string
	span          Span
	mapping
}

// label names the rule in an error.
func (r *rule) label() string {
	if r.version == "" {
		return fmt.Sprintf("%q", r.name)
	}
	return fmt.Sprintf("%q version %q", r.name, r.version)
}

// New checks a configuration and makes rules of it. Two rules that are in force at one
// time and give the same public address are an error that names both.
func New(c Config) (*Rules, error) {
	rs := &Rules{names: map[string][]*rule{}}
	for i, d := range c.Deterministic {
		m, err := d.compile()
		if err := rs.add(d.Name, d.Version, d.Span, m, err, "deterministic", i); err != nil {
			return nil, err
		}
	}
	for i, d := range c.MAP {
		m, err := d.compile()
		if err := rs.add(d.Name, d.Version, d.Span, m, err, "map", i); err != nil {
			return nil, err
		}
	}
	for i, d := range c.Softwires {
		m, err := d.compile()
		if err := rs.add(d.Name, d.Version, d.Span, m, err, "lw4o6", i); err != nil {
			return nil, err
		}
	}
	return rs, nil
}

// add takes one rule. err is what its own fields are wrong in, section and i where it
// stands.
func (rs *Rules) add(name, version string, span Span, m mapping, err error, section string, i int) error {
	r := &rule{name: name, version: version, span: span, mapping: m}
	switch {
	case name == "":
		return fmt.Errorf("translation: entry %d of %s has no name: give it one, answers refer to it", i+1, section)
	case err != nil:
		return fmt.Errorf("translation: rule %s: %w", r.label(), err)
	case !span.From.IsZero() && !span.Until.IsZero() && !span.From.Before(span.Until):
		return fmt.Errorf("translation: rule %s ends before it begins: from must be before until", r.label())
	}
	for _, o := range rs.names[name] {
		if o.version == version {
			return fmt.Errorf("translation: rule %s is there twice: give each version its own", r.label())
		}
		if o.span.meets(span) {
			return fmt.Errorf("translation: rule %s and rule %s are in force at one time: end the one where the other begins", o.label(), r.label())
		}
	}
	rs.names[name] = append(rs.names[name], r)
	for _, p := range m.outsides() {
		if err := rs.collide(p, r); err != nil {
			return err
		}
	}
	enter(&rs.outside, m.outsides(), r)
	enter(&rs.inside, m.insides(), r)
	rs.count++
	return nil
}

// collide looks for another rule that gives addresses of p at the same time. That two
// have the same inside addresses is no fault: translators use 10.0.0.0/8 each for itself.
func (rs *Rules) collide(p netip.Prefix, r *rule) error {
	for _, seq := range []iter.Seq2[netip.Prefix, []*rule]{rs.outside.Supernets(p), rs.outside.Subnets(p)} {
		for _, others := range seq {
			for _, o := range others {
				if o.span.meets(r.span) && !o.apart(r.mapping) {
					return fmt.Errorf("translation: rule %s and rule %s give the same public addresses at one time: end the one where the other begins, or take the common part from one", o.label(), r.label())
				}
			}
		}
	}
	return nil
}

// enter puts a rule under its prefixes.
func enter(t *bart.Table[[]*rule], prefixes []netip.Prefix, r *rule) {
	for _, p := range prefixes {
		t.Modify(p, func(old []*rule, _ bool) ([]*rule, bool) { return append(old, r), false })
	}
}

// Len is how many versions of rules there are.
func (rs *Rules) Len() int { return rs.count }

// Ask tells who had a public address and port at a time. Only when one and the same
// subscriber had it from q.At less q.Skew to q.At plus q.Skew is it Found.
func (rs *Rules) Ask(q Query) Answer {
	address, port := q.Address.Unmap(), q.Port
	if !ported(q.Proto) {
		port = 0
	}
	begin, end := q.At.Add(-q.Skew), q.At.Add(q.Skew)
	a := Answer{Reason: NoRule}
	var found []*rule // those that touch the time and give the port to somebody
	for _, list := range rs.outside.Supernets(netip.PrefixFrom(address, address.BitLen())) {
		for _, r := range list {
			if !r.span.touches(begin, end) {
				if a.Reason == NoRule {
					a = Answer{Reason: OutsideTime, Rule: r.name, Version: r.version}
				}
				continue
			}
			inside, reason := r.toInside(address, port)
			switch {
			case reason == Found && len(found) == 0:
				a = Answer{Inside: inside, Rule: r.name, Version: r.version}
			case reason == Found && inside != a.Inside:
				a.Reason = Ambiguous
			case reason != Found && (a.Reason == NoRule || a.Reason == OutsideTime):
				a = Answer{Reason: reason, Rule: r.name, Version: r.version}
			}
			if reason == Found {
				found = append(found, r)
			}
		}
	}
	switch {
	case a.Reason == NoPort && !ported(q.Proto):
		a.Reason = NoPortProtocol
	case a.Reason == Found && !covered(found, begin, end):
		a.Reason, a.Inside = OutsideTime, netip.Prefix{}
	case a.Reason == Ambiguous:
		a.Inside = netip.Prefix{}
		for _, r := range found {
			a.Others = append(a.Others, strings.TrimSpace(r.name+" "+r.version))
		}
	}
	return a
}

// touches tells whether a span has a moment from begin to end, both included.
func (s Span) touches(begin, end time.Time) bool {
	return (s.From.IsZero() || !end.Before(s.From)) && (s.Until.IsZero() || begin.Before(s.Until))
}

// covered tells whether the rules' spans together leave no moment from begin to end out.
func covered(rules []*rule, begin, end time.Time) bool {
	for at := begin; ; {
		reached := false
		for _, r := range rules {
			if !r.span.Holds(at) {
				continue
			}
			if r.span.Until.IsZero() || r.span.Until.After(end) {
				return true
			}
			at, reached = r.span.Until, true
			break
		}
		if !reached {
			return false
		}
	}
}

// Shares tells what a subscriber has of public addresses at a time: the way back, to
// show and to check.
func (rs *Rules) Shares(inside netip.Addr, at time.Time) (all []Share) {
	inside = inside.Unmap()
	for _, list := range rs.inside.Supernets(netip.PrefixFrom(inside, inside.BitLen())) {
		for _, r := range list {
			if !r.span.Holds(at) {
				continue
			}
			if s, ok := r.toOutside(inside); ok {
				s.Rule, s.Version = r.name, r.version
				all = append(all, s)
			}
		}
	}
	return all
}
