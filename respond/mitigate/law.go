package mitigate

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go4.org/netipx"

	"sakimori/detect"
	"sakimori/lawful"
)

// The rules of the guideline on which a mitigation can stand.
const (
	UnderAttack = "facilities-attack"   // case ②: an attack is under way
	Foreseen    = "facilities-foreseen" // case ②: a disturbance is foreseeable
	ByConsent   = "consent-individual"  // the customer whose traffic it is asks for it
)

// side is the object's side of a rule: what a Grant's scope names.
func (m *Mitigation) side(r *Rule) netip.Prefix {
	if m.Outgoing {
		return r.Match.Src
	}
	return r.Match.Dst
}

// measure is what rules do to communications: those that fit an attack's features
// filter, a route to discard by blocks whatever there is.
func measure(rules []Rule) lawful.Measure {
	if slices.ContainsFunc(rules, func(r Rule) bool { return r.Action == RTBH }) {
		return lawful.Block
	}
	return lawful.Filter
}

// ruleOf is the rule of the guideline that is asked for.
func (m *Mitigation) ruleOf() string {
	switch {
	case m.Asked != nil:
		return ByConsent
	case m.Forecast != "":
		return Foreseen
	}
	return UnderAttack
}

// request is what a Grant for a mitigation is asked with: the least scope, and the facts
// that the attack and the plan show.
func (m *Mitigation) request(a *detect.Attack, who string, now time.Time) (lawful.Request, error) {
	p := &m.Proposal
	r := lawful.Request{Measure: measure(p.Rules), Who: who, Rule: m.ruleOf(), Purpose: fmt.Sprintf("stop attack %s with the least filter (mitigation %s)", a.ID, m.ID)}
	for i := range p.Rules {
		if p.Rules[i].Action == Pass {
			continue
		}
		text := p.Rules[i].String()
		const most = 1000 // bytes that a scope holds of a feature
		if len(text) > most {
			return r, fmt.Errorf("a rule takes %d bytes to write, more than a grant can name: fewer ports", len(text))
		}
		r.Scope.Features = append(r.Scope.Features, text)
		if x := m.side(&p.Rules[i]); x.IsValid() && !slices.Contains(r.Scope.Prefixes, x) {
			r.Scope.Prefixes = append(r.Scope.Prefixes, x)
		}
	}
	if m.Asked != nil {
		r.Scope.Subjects = []string{m.Asked.Subject}
		return r, nil // consent and terms are the register's to know
	}
	alternatives := make([]string, 0, len(p.Alternatives))
	for i := range p.Alternatives {
		x := &p.Alternatives[i]
		alternatives = append(alternatives, cut(x.Words.JA+": "+x.Why.JA+" / "+x.Words.EN+": "+x.Why.EN))
	}
	r.Facts = lawful.Facts{"alternatives": alternatives, "collateral": p.Collateral.Upper()}
	if m.Forecast != "" {
		r.Facts["forecast"], r.Facts["forecast_at"] = cut(m.Forecast), now
		return r, nil
	}
	r.Facts["finding"], r.Facts["harm"], r.Facts["harm_at"] = a.ID, harm(a), a.Changed
	return r, nil
}

// cut keeps a text within what a fact holds.
func cut(s string) string {
	const most = 990
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// harm says which facility suffers, with figures.
func harm(a *detect.Attack) string {
	what := string(a.Object.Kind)
	if a.Object.Name != "" {
		what += " " + a.Object.Name
	}
	s := fmt.Sprintf("%s: 現在 / now %s (%s ± %s packets/s), 最大 / peak %s (%s packets/s)", what, bits(a.Now.Bits.N), grouped(a.Now.Packets.N), grouped(a.Now.Packets.Error), bits(a.Peak.Bits.N), grouped(a.Peak.Packets.N))
	if a.Limit.Packets.N > 0 || a.Limit.Bits.N > 0 {
		s += fmt.Sprintf(", 上限 / limit %s packets/s, %s", grouped(a.Limit.Packets.N), bits(a.Limit.Bits.N))
	}
	if a.Usual != nil {
		s += fmt.Sprintf(", 平常 / usual %s packets/s, %s", grouped(a.Usual.Packets.N), bits(a.Usual.Bits.N))
	}
	return cut(s)
}

// allowed tells whether a Grant allows each rule now: on all of the addresses it speaks
// of, by its very text.
func (m *Mitigation) allowed(g lawful.Grant, now time.Time) bool {
	what := measure(m.Proposal.Rules)
	for i := range m.Proposal.Rules {
		r := &m.Proposal.Rules[i]
		if r.Action == Pass {
			continue
		}
		side := m.side(r)
		if !side.IsValid() {
			return false
		}
		for _, x := range []netip.Addr{side.Addr(), netipx.PrefixLastIP(side)} {
			t := lawful.Target{Address: x, Feature: r.String()}
			if m.Asked != nil {
				t.Subject = m.Asked.Subject
			}
			if !g.Allows(what, t, now) {
				return false
			}
		}
	}
	return true
}

// try fills in what the guideline would say, of facts that nobody has verified yet.
func (m *Mitigation) try(ctx context.Context, g *lawful.Guideline, a *detect.Attack, who string, now time.Time) {
	p := &m.Proposal
	r, err := m.request(a, who, now)
	if err == nil && m.Asked != nil {
		r.Facts = lawful.Facts{"consent": true, "terms_limited": true, "terms_opt_out": true}
	}
	var d lawful.Decision
	if err == nil {
		d, err = g.Try(ctx, r, now)
	}
	p.Rule = m.ruleOf()
	if err != nil {
		p.Conditions = append(p.Conditions, Condition{Name: "request", Words: detect.Text{JA: "求め自体が成り立ちません: " + err.Error(), EN: "it can't be asked for: " + err.Error()}})
		return
	}
	if rule, known := g.Rule(p.Rule); known {
		p.RuleTitle = detect.Text(rule.Title)
	}
	for _, x := range d.Missing {
		p.Conditions = append(p.Conditions, Condition{Name: x.Condition, Words: detect.Text(x.Missing)})
	}
	for _, x := range d.Proofs {
		p.Conditions = append(p.Conditions, Condition{Name: x.Condition, Met: true, Words: met(g, p.Rule, x.Condition)})
	}
}

// met says what a condition is about that holds, by the words for when it doesn't.
func met(g *lawful.Guideline, id, condition string) detect.Text {
	if rule, known := g.Rule(id); known {
		for _, c := range rule.Conditions {
			if c.Name == condition {
				return detect.Text{JA: "満たす(満たさないとき:「" + c.Missing.JA + "」)", EN: "holds (otherwise: " + c.Missing.EN + ")"}
			}
		}
	}
	return detect.Text{JA: "満たす", EN: "holds"}
}
