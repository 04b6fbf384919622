package lawful

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"
)

// Ground is why a measure isn't a breach of secrecy.
type Ground string

// The grounds of the guideline.
const (
	IndividualConsent    Ground = "individual_consent"    // 個別の同意
	ComprehensiveConsent Ground = "comprehensive_consent" // 契約約款等に基づく包括的な同意
	SelfDefence          Ground = "self_defence"          // 正当防衛 (刑法36条)
	Necessity            Ground = "necessity"             // 緊急避難 (刑法37条)
	LegitimateAct        Ground = "legitimate_business"   // 正当業務行為 (刑法35条)
	Statute              Ground = "statute"               // 法令に基づく行為
)

// Grounds names the grounds for people.
func Grounds() map[Ground]Text {
	return map[Ground]Text{
		IndividualConsent:    {"個別の同意", "individual consent"},
		ComprehensiveConsent: {"契約約款等による包括的な同意", "comprehensive consent, by terms"},
		SelfDefence:          {"正当防衛", "self-defence"},
		Necessity:            {"緊急避難", "necessity"},
		LegitimateAct:        {"正当業務行為", "legitimate business act"},
		Statute:              {"法令", "statute"},
	}
}

// Guideline is what a Gate decides by: the facts that it understands, and the
// rules in the order in which they are tried.
type Guideline struct {
	Facts []Fact `json:"facts"`
	Rules []Rule `json:"rules"`
}

// Rule is one case of the guideline, dated, with its source and conditions.
type Rule struct {
	ID         string      `json:"id"`
	Case       string      `json:"case"` // of the paper: ①, ②, ③; "" of a later one
	Title      Text        `json:"title"`
	Grounds    []Ground    `json:"grounds"`
	Edition    string      `json:"edition"` // of the guideline, or the act or report
	Source     string      `json:"source"`  // document and place in it
	Verified   Verified    `json:"verified,omitzero"`
	Note       Text        `json:"note,omitzero"`
	From       time.Time   `json:"from"`
	Until      time.Time   `json:"until,omitzero"` // zero to this day
	Measures   []Measure   `json:"measures"`
	Conditions []Condition `json:"conditions"`
	Widest     Text        `json:"widest"` // the widest act that it permits
	Limits     Limits      `json:"limits"`
	FourEyes   []Measure   `json:"four_eyes,omitempty"` // that a second person must agree to
}

// Verified is who compared the rule with its source, and when. The zero one means
// that it is still to be done: such a rule grants nothing.
type Verified struct {
	By string    `json:"by"`
	On time.Time `json:"on"`
}

// Limits bound the scope and the time of a Grant. They are the house's own, where
// the guideline speaks of the least scope and a fitting degree. A number of zero
// means that none may be named.
type Limits struct {
	Longest    time.Duration `json:"longest"` // that a Grant lasts
	Prefixes   int           `json:"prefixes"`
	Bits4      int           `json:"bits4"` // the shortest prefix length of IPv4 and of IPv6
	Bits6      int           `json:"bits6"`
	Subjects   int           `json:"subjects"`
	Consenting bool          `json:"consenting"` // may apply to all who consent
	Window     time.Duration `json:"window"`     // of logs, the longest
	Ports      int           `json:"ports"`
	Features   int           `json:"features"`
	To         int           `json:"to"`
}

// Condition is one thing that must hold, and the words for when it doesn't.
type Condition struct {
	Name    string    `json:"name"`            // stable, for programs
	Check   string    `json:"check"`           // how it is verified: a name of Checks
	Fact    string    `json:"fact,omitempty"`  // that it looks at
	Param   string    `json:"param,omitempty"` // of the check: a purpose, a bound, a list
	For     []Measure `json:"for,omitempty"`   // empty: for all of the rule's measures
	Missing Text      `json:"missing"`
	Satisfy Text      `json:"satisfy"`
}

// InForce tells whether the rule is in force at t. From is its first moment, Until
// the first one after it.
func (r *Rule) InForce(t time.Time) bool {
	return !t.Before(r.From) && (r.Until.IsZero() || t.Before(r.Until))
}

// Speaks tells whether the rule is about a measure.
func (r *Rule) Speaks(m Measure) bool { return slices.Contains(r.Measures, m) }

// For are the conditions that a measure must meet.
func (r *Rule) For(m Measure) (list []Condition) {
	for _, c := range r.Conditions {
		if len(c.For) == 0 || slices.Contains(c.For, m) {
			list = append(list, c)
		}
	}
	return list
}

// Sum names this very wording of the rule: the first half of its SHA-256.
func (r *Rule) Sum() string {
	b, _ := json.Marshal(r) // no field can fail
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:16])
}

// Rule finds a rule.
func (g *Guideline) Rule(id string) (*Rule, bool) {
	i := slices.IndexFunc(g.Rules, func(r Rule) bool { return r.ID == id })
	if i < 0 {
		return nil, false
	}
	return &g.Rules[i], true
}

// clone copies all of it.
func (g *Guideline) clone() (c Guideline) {
	b, _ := json.Marshal(g)   // no field can fail
	_ = json.Unmarshal(b, &c) // nor be read back
	return c
}

// fact finds a fact of the vocabulary.
func (g *Guideline) fact(name string) (Fact, bool) {
	i := slices.IndexFunc(g.Facts, func(f Fact) bool { return f.Name == name })
	if i < 0 {
		return Fact{}, false
	}
	return g.Facts[i], true
}
