package indicator

import (
	"regexp"
	"strings"

	"sakimori/observe"
)

// This file reads the part of STIX patterning (STIX 2.1, section 9) that names
// something on the network, and tells what alone is enough for a match: of alternatives
// each, of conditions that belong together the one thing that they describe, an address
// and its port. What only holds together with something else isn't told.

// matched is what a pattern names, or why it doesn't.
type matched struct {
	value string
	kind  observe.IndicatorKind
	why   Reason
}

const (
	deepestPattern = 50
	mostMatched    = 10_000 // of one pattern
)

// pattern reads a pattern.
func pattern(s string) []matched {
	p := parser{rest: s}
	p.next()
	alternatives := p.observations(0)
	if p.broken || p.tok != "" || len(alternatives) == 0 {
		return []matched{{why: badPattern}}
	}
	if p.beyond {
		return []matched{{why: unknownPattern}}
	}
	out := make([]matched, 0, len(alternatives))
	for _, all := range alternatives {
		out = append(out, all.matched())
	}
	return out
}

// condition is one comparison: a property of an object and a value.
type condition struct {
	path  string // domain-name:value
	value string
	other bool // not an equality: what is named isn't told by the value
}

// conjunction are conditions that hold together.
type conjunction []condition

// parser reads tokens of a pattern.
type parser struct {
	rest   string
	tok    string // in hand; "" none is left
	str    bool   // it is the content of a string
	broken bool
	beyond bool // it is well formed, and more than is understood
}

var tokens = regexp.MustCompile(`^(?:'(?:[^'\\]|\\.)*'|[A-Za-z0-9_-]+:[A-Za-z_](?:[A-Za-z0-9_-]|\.'[^']*'|\.|\[(?:\*|[0-9]+)\])*|!=|<=|>=|[=<>\[\](),]|[A-Za-z]'[^']*'|-?[0-9][0-9.]*|[A-Za-z]+)`)

// next takes a token.
func (p *parser) next() {
	p.rest = strings.TrimLeft(p.rest, " \t\r\n")
	p.tok, p.str = "", false
	if p.rest == "" {
		return
	}
	t := tokens.FindString(p.rest)
	if t == "" {
		p.broken, p.rest = true, ""
		return
	}
	p.rest = p.rest[len(t):]
	if t[0] == '\'' {
		t, p.str = unescape(t[1:len(t)-1]), true
		if t == "" {
			t = " " // a value of nothing: no value
		}
	}
	p.tok = t
}

func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// is takes a token if it is that one.
func (p *parser) is(t string) bool {
	if p.str || !strings.EqualFold(p.tok, t) {
		return false
	}
	p.next()
	return true
}

func (p *parser) want(t string) {
	if !p.is(t) {
		p.broken = true
	}
}

// observations reads alternatives of [ … ]. Two that must both be seen are beyond.
func (p *parser) observations(depth int) (all []conjunction) {
	for !p.broken {
		switch {
		case depth > deepestPattern:
			p.broken = true
		case p.is("("):
			all = append(all, p.observations(depth+1)...)
			p.want(")")
		case p.is("["):
			all = append(all, p.either(depth+1)...)
			p.want("]")
		default:
			p.broken = true
		}
		p.qualifiers()
		switch {
		case p.is("OR"):
		case p.is("AND"), p.is("FOLLOWEDBY"):
			p.beyond = true
		default:
			return all
		}
		if len(all) > mostMatched {
			p.broken = true
		}
	}
	return nil
}

// qualifiers say how often and when: that isn't understood, but read over.
func (p *parser) qualifiers() {
	for !p.broken {
		switch {
		case p.is("WITHIN"):
			p.next()
			p.want("SECONDS")
		case p.is("REPEATS"):
			p.next()
			p.want("TIMES")
		case p.is("START"):
			p.next()
			p.want("STOP")
			p.next()
		default:
			return
		}
		p.beyond = true
	}
}

// either reads alternatives: a OR b OR …
func (p *parser) either(depth int) (all []conjunction) {
	for !p.broken {
		all = append(all, p.both(depth)...)
		if len(all) > mostMatched {
			p.broken = true
		}
		if !p.is("OR") {
			return all
		}
	}
	return nil
}

// both reads what holds together: a AND b AND … Alternatives among them are multiplied.
func (p *parser) both(depth int) []conjunction {
	all := p.comparison(depth)
	for !p.broken && p.is("AND") {
		right := p.comparison(depth)
		if len(all)*len(right) > mostMatched {
			p.broken = true
			return nil
		}
		joined := make([]conjunction, 0, len(all)*len(right))
		for _, a := range all {
			for _, b := range right {
				joined = append(joined, append(append(conjunction{}, a...), b...))
			}
		}
		all = joined
	}
	return all
}

// comparison reads one condition, or some in parentheses.
func (p *parser) comparison(depth int) (all []conjunction) {
	if depth > deepestPattern {
		p.broken = true
		return nil
	}
	if p.is("(") {
		all = p.either(depth + 1)
		p.want(")")
		return all
	}
	if p.is("EXISTS") {
		c := condition{path: p.tok, other: true}
		p.next()
		return []conjunction{{c}}
	}
	c := condition{path: strings.ToLower(p.tok)}
	if p.str || strings.IndexByte(p.tok, ':') < 0 {
		p.broken = true
		return nil
	}
	p.next()
	c.other = p.is("NOT")
	switch {
	case p.is("IN"):
		p.want("(")
		for !p.broken {
			c.value = p.value()
			all = append(all, conjunction{c})
			if !p.is(",") {
				break
			}
		}
		p.want(")")
		return all
	case p.is("="), p.is("ISSUBSET"):
	case p.is("!="), p.is("<="), p.is(">="), p.is("<"), p.is(">"), p.is("LIKE"), p.is("MATCHES"), p.is("ISSUPERSET"):
		c.other = true
	default:
		p.broken = true
		return nil
	}
	c.value = p.value()
	return []conjunction{{c}}
}

// value takes a constant.
func (p *parser) value() string {
	v := p.tok
	if v == "" || !p.str && strings.ContainsAny(v, "[]()=,<>!") {
		p.broken = true
	}
	p.next()
	return v
}

// matched tells the one thing that conditions describe together.
func (all conjunction) matched() matched {
	var m matched
	port := ""
	found := 0
	for _, c := range all {
		object, property, _ := strings.Cut(c.path, ":")
		end := property == "dst_ref.value" || property == "src_ref.value"
		switch {
		case object == "domain-name" && property == "value":
			m.kind, m.value = observe.IndicatorName, c.value
		case (object == "ipv4-addr" || object == "ipv6-addr") && property == "value", object == "network-traffic" && end:
			m.kind, m.value = observe.IndicatorAddress, c.value
			if end && strings.Trim(c.value, "0123456789.:abcdefABCDEF/") != "" {
				m.kind = observe.IndicatorName
			}
		case object == "url" && property == "value":
			m.kind, m.value = observe.IndicatorURL, c.value
		case object == "network-traffic" && (property == "dst_port" || property == "src_port") && !c.other:
			port = c.value
			continue
		// What describes the same thing: its kind, its protocol, what a name leads to.
		case object == "network-traffic" && (strings.HasPrefix(property, "protocols") || strings.HasSuffix(property, "_ref.type")) && !c.other,
			object == "domain-name" && strings.HasPrefix(property, "resolves_to_refs") && !c.other:
			continue
		default:
			if len(all) > 1 && all.network() {
				return matched{why: combined}
			}
			return matched{why: notNetwork}
		}
		if c.other {
			return matched{why: unknownPattern}
		}
		found++
	}
	switch {
	case found == 0:
		return matched{why: notNetwork}
	case found > 1:
		return matched{why: combined}
	case port == "":
	case m.kind == observe.IndicatorAddress && !strings.Contains(m.value, "/"):
		m.value, m.kind = withPort(m.value, port), observe.IndicatorEndpoint
	case m.kind == observe.IndicatorName:
		m.kind = observe.IndicatorHost // whatever the port: as little as can be
	default:
		return matched{why: combined}
	}
	return m
}

// network tells whether some condition is about the network.
func (all conjunction) network() bool {
	for _, c := range all {
		switch object, _, _ := strings.Cut(c.path, ":"); object {
		case "domain-name", "ipv4-addr", "ipv6-addr", "url", "network-traffic":
			return true
		}
	}
	return false
}
