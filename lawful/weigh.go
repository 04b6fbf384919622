package lawful

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Proof is how one condition of a rule was shown.
type Proof struct {
	Condition string `json:"condition"`
	Verified  bool   `json:"verified"`     // by the house itself
	By        string `json:"by,omitempty"` // who stated it, when it isn't
}

// Lack is what kept a rule from granting, and what would satisfy it.
type Lack struct {
	Condition string `json:"condition"`
	Missing   Text   `json:"missing"`
	Satisfy   Text   `json:"satisfy"`
	Detail    Text   `json:"detail,omitzero"` // figures and ids
}

// verdict is what one rule says of a request.
type verdict struct {
	rule    *Rule
	proofs  []Proof
	lacks   []Lack
	until   time.Time
	consent string
}

// weigh tries the rules that speak of the measure, and gives the first that has
// nothing against it, else the one that lacks least. rule nil: none speaks of it.
func weigh(ctx context.Context, g *Guideline, q inquiry, r *Request) (best verdict) {
	for i := range g.Rules {
		rule := &g.Rules[i]
		if !rule.Speaks(r.Measure) || !rule.InForce(q.now) || r.Rule != "" && r.Rule != rule.ID {
			continue
		}
		q.rule = rule
		v := q.judge(ctx, r)
		if len(v.lacks) == 0 {
			return v
		}
		if best.rule == nil || len(v.lacks) < len(best.lacks) {
			best = v
		}
	}
	return best
}

// judge asks one rule.
func (q *inquiry) judge(ctx context.Context, r *Request) verdict {
	v := verdict{rule: q.rule, until: q.now.Add(q.rule.Limits.Longest)}
	earlier := func(t time.Time) {
		if !t.IsZero() && t.Before(v.until) {
			v.until = t
		}
	}
	earlier(q.rule.Until)
	earlier(r.Until)
	if q.rule.Verified == (Verified{}) {
		v.lacks = append(v.lacks, unverified)
	}
	conditions := q.rule.For(r.Measure)
	for i := range conditions {
		c := &conditions[i]
		a := checks[c.Check].ask(ctx, q, c)
		if !a.holds {
			v.lacks = append(v.lacks, Lack{c.Name, c.Missing, c.Satisfy, a.why})
			continue
		}
		p := Proof{Condition: c.Name, Verified: a.verified}
		if !a.verified {
			p.By = r.Who
		}
		v.proofs = append(v.proofs, p)
		earlier(a.until)
		if c.Check == "consent" {
			v.consent = c.Param
		}
	}
	v.lacks = append(v.lacks, q.rule.Limits.lacks(q.scope)...)
	if q.scope.Consenting != "" && v.consent != q.scope.Consenting {
		v.lacks = append(v.lacks, tooWide("consenting", Text{"別の目的への同意者です", "who consents to another purpose"}))
	}
	if !q.now.Before(v.until) {
		v.lacks = append(v.lacks, over)
	}
	return v
}

// over is what a request lacks that would end before it begins.
var over = Lack{
	Condition: "time_left",
	Missing:   Text{"求める終了時刻、または根拠の期限が過ぎています", "the end that is asked for, or of what it rests on, has passed"},
	Satisfy:   Text{"将来の終了時刻を指定し、期限内の根拠を示してください", "ask for an end in the future, with a ground that lasts"},
}

// unverified is what a rule lacks whose source nobody has compared yet.
var unverified = Lack{
	Condition: "source_verified",
	Missing:   Text{"この規則の出典がまだ確認されていません", "the source of this rule hasn't been verified yet"},
	Satisfy:   Text{"法務担当が原文と照合し、事業者の規則ファイルに確認者と確認日を記入してください", "have the legal desk compare it with the official text, and write who verified it and when into the operator's file of rules"},
}

func tooWide(what string, detail Text) Lack {
	return Lack{
		Condition: "scope_" + what,
		Missing:   Text{"求める範囲が、この規則で許される最も広い範囲を超えています", "the scope is wider than the widest that this rule permits"},
		Satisfy:   Text{"範囲を必要最小限に絞り、複数の措置に分けてください", "narrow the scope to what is needed, or ask for several measures"},
		Detail:    detail,
	}
}

// lacks says where a scope is wider than the limits.
func (l *Limits) lacks(s *Scope) (list []Lack) {
	if len(s.Prefixes)+len(s.Subjects) == 0 && s.Consenting == "" {
		return []Lack{{
			Condition: "scope_named",
			Missing:   Text{"対象(アドレスまたは契約者)が指定されていません", "the scope names neither an address nor a subscriber"},
			Satisfy:   Text{"対象のプレフィックス、または契約者の仮名を指定してください", "name the prefixes, or the subscribers by their pseudonyms"},
		}}
	}
	count := func(what string, n, most int) {
		if n > most {
			list = append(list, tooWide(what, textf("%[2]s は %[1]d、上限は %[3]d", "%d %s, at most %d", n, what, most)))
		}
	}
	count("prefixes", len(s.Prefixes), l.Prefixes)
	count("subjects", len(s.Subjects), l.Subjects)
	count("ports", len(s.Ports), l.Ports)
	count("features", len(s.Features), l.Features)
	count("to", len(s.To), l.To)
	if s.Consenting != "" && !l.Consenting {
		list = append(list, tooWide("consenting", Text{"契約者を個別に指定すること", "only named subjects"}))
	}
	for _, p := range s.Prefixes {
		least := l.Bits4
		if p.Addr().Is6() {
			least = l.Bits6
		}
		if p.Bits() < least {
			list = append(list, tooWide("width", textf("/%d を指定、/%d より広くないこと", "/%d is named, at least /%d is needed", p.Bits(), least)))
			break
		}
	}
	return list
}

// about tells whether the subject of a finding, an address or a pseudonym, is in
// the scope.
func (s *Scope) about(subject string) bool {
	if a, err := netip.ParseAddr(subject); err == nil {
		return slices.ContainsFunc(s.Prefixes, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
	}
	return slices.Contains(s.Subjects, subject)
}

// check refuses a scope that says nothing, or in a form that would never match.
func (s *Scope) check() error {
	for i, p := range s.Prefixes {
		if !p.IsValid() || p.Addr().Is4In6() || p != p.Masked() {
			return fmt.Errorf("prefix %d of the scope: write address/length, without bits after the length, and IPv4 as IPv4", i+1)
		}
	}
	for what, list := range map[string][]string{"subjects": s.Subjects, "features": s.Features, "to": s.To} {
		if len(list) > mostItems || slices.ContainsFunc(list, func(t string) bool { return t == "" || len(t) > mostText }) {
			return fmt.Errorf("the scope's %s must be at most %d texts, none of them empty or longer than %d bytes", what, mostItems, mostText)
		}
	}
	if s.Consenting != "" && len(s.Subjects) > 0 {
		return errors.New("the scope names subjects, or all who consent to a purpose, not both")
	}
	if len(s.Prefixes) > mostItems || len(s.Ports) > mostItems {
		return fmt.Errorf("the scope names more than %d prefixes or ports", mostItems)
	}
	return nil
}
