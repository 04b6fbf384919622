package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"sakimori/detect"
	"sakimori/lawful"
)

// Gate is lawful's, which decides. It is asked here, and nothing is decided here.
type Gate interface {
	Ask(ctx context.Context, r lawful.Request) (lawful.Grant, error)
	Find(ctx context.Context, id string) (lawful.Grant, error)
	Approve(ctx context.Context, id, who string) (lawful.Grant, error)
	Decline(ctx context.Context, id, who, why string) error
	Revoke(ctx context.Context, id, who, why string) error
	InForce() []lawful.Decision
	Waiting() []lawful.Decision
}

// Consents tell how subscribers stand to the terms. Nobody is named.
type Consents interface {
	Consents(ctx context.Context) ([]Terms, []ConsentCount, error)
}

// Terms is a version of the terms under which subscribers consent.
type Terms struct {
	Version            string        `json:"version"`
	Ground             string        `json:"ground"`
	From               time.Time     `json:"from"`
	Purposes           []string      `json:"purposes" nullable:"false"`
	OptOut             bool          `json:"opt_out" doc:"may be declined at any time"`
	OtherwiseUnchanged bool          `json:"otherwise_unchanged" doc:"declining changes nothing else"`
	Limited            bool          `json:"limited" doc:"to its purposes"`
	Notices            []TermsNotice `json:"notices" nullable:"false"`
}

// TermsNotice is one that was given of a version of the terms.
type TermsNotice struct {
	At        time.Time `json:"at"`
	Channel   string    `json:"channel"`
	Reference string    `json:"reference"`
}

// ConsentCount is how many subscribers stand how to a purpose.
type ConsentCount struct {
	Purpose    string `json:"purpose"`
	Consenting uint64 `json:"consenting"`
	Outdated   uint64 `json:"outdated" doc:"to an earlier version: they must be asked again"`
	Declined   uint64 `json:"declined"`
}

type (
	groundBody struct {
		Ground string      `json:"ground"`
		Words  detect.Text `json:"words"`
	}
	conditionBody struct {
		Name    string      `json:"name"`
		Fact    string      `json:"fact" doc:"that it looks at; empty: at the scope"`
		Missing detect.Text `json:"missing"`
		Satisfy detect.Text `json:"satisfy"`
		For     []string    `json:"for" nullable:"false" doc:"measures; empty: all of the rule's"`
	}
	limitsBody struct {
		Longest    float64 `json:"longest_seconds" doc:"that a grant lasts"`
		Subjects   int     `json:"subjects"`
		Prefixes   int     `json:"prefixes"`
		Bits4      int     `json:"bits4" doc:"shortest length of an IPv4 prefix"`
		Bits6      int     `json:"bits6"`
		Consenting bool    `json:"consenting" doc:"may apply to all who consent"`
		Window     float64 `json:"window_seconds" doc:"longest time of logs"`
		Ports      int     `json:"ports"`
		Features   int     `json:"features"`
		To         int     `json:"to"`
	}
	ruleBody struct {
		ID         string          `json:"id"`
		Case       string          `json:"case" doc:"①, ② or ③ of the paper; empty: a later one"`
		Title      detect.Text     `json:"title"`
		Grounds    []groundBody    `json:"grounds" nullable:"false"`
		Edition    string          `json:"edition"`
		Source     string          `json:"source"`
		Verified   bool            `json:"verified" doc:"compared with its source: one that isn't grants nothing"`
		VerifiedBy string          `json:"verified_by"`
		VerifiedOn *time.Time      `json:"verified_on"`
		Note       detect.Text     `json:"note"`
		From       time.Time       `json:"from"`
		Until      *time.Time      `json:"until" doc:"null: to this day"`
		InForce    bool            `json:"in_force"`
		Measures   []string        `json:"measures" nullable:"false"`
		Conditions []conditionBody `json:"conditions" nullable:"false"`
		Widest     detect.Text     `json:"widest" doc:"the widest act that it permits"`
		Limits     limitsBody      `json:"limits"`
		FourEyes   []string        `json:"four_eyes" nullable:"false" doc:"measures that a second person must agree to"`
	}
	measureBody struct {
		Measure string      `json:"measure"`
		Words   detect.Text `json:"words"`
	}
	factBody struct {
		Name string      `json:"name"`
		Kind string      `json:"kind" enum:"bool,number,time,duration,text,list,statement"`
		Text detect.Text `json:"text"`
	}
	rulesBody struct {
		Rules    []ruleBody    `json:"rules" nullable:"false"`
		Measures []measureBody `json:"measures" nullable:"false"`
		Facts    []factBody    `json:"facts" nullable:"false"`
	}
	scopeBody struct {
		Prefixes   []string    `json:"prefixes,omitempty" nullable:"false" maxItems:"1000"`
		Subjects   []string    `json:"subjects,omitempty" nullable:"false" maxItems:"1000" doc:"pseudonyms or cases"`
		Consenting string      `json:"consenting,omitempty" maxLength:"200"`
		Window     *windowBody `json:"window,omitempty"`
		Ports      []uint16    `json:"ports,omitempty" nullable:"false" maxItems:"1000"`
		Features   []string    `json:"features,omitempty" nullable:"false" maxItems:"1000"`
		To         []string    `json:"to,omitempty" nullable:"false" maxItems:"1000"`
	}
	windowBody struct {
		From  time.Time `json:"from"`
		Until time.Time `json:"until"`
	}
	askInput struct {
		Body struct {
			Measure string         `json:"measure" maxLength:"64"`
			Purpose string         `json:"purpose" minLength:"1" maxLength:"1000" doc:"what for, in a sentence"`
			Rule    string         `json:"rule,omitempty" maxLength:"64" doc:"only by this one"`
			Until   *time.Time     `json:"until,omitempty" doc:"by default as long as the rule permits"`
			Scope   *scopeBody     `json:"scope,omitempty"`
			Facts   map[string]any `json:"facts,omitempty" doc:"by the names of the vocabulary"`
			Try     bool           `json:"try,omitempty" doc:"say what would be decided: nothing is granted, verified or written down"`
		}
	}
	askOfInput struct {
		ID   string `path:"id" maxLength:"64"`
		Body struct {
			Measure string         `json:"measure" enum:"name_subscriber,notify"`
			Purpose string         `json:"purpose" minLength:"1" maxLength:"1000"`
			Facts   map[string]any `json:"facts,omitempty" doc:"besides what the house knows of the case"`
		}
	}
	lackBody struct {
		Condition string      `json:"condition"`
		Missing   detect.Text `json:"missing"`
		Satisfy   detect.Text `json:"satisfy"`
		Detail    detect.Text `json:"detail"`
	}
	answerBody struct {
		Outcome string      `json:"outcome" enum:"granted,refused,waiting"`
		ID      string      `json:"id" doc:"of the grant, or of the request that waits; empty: there is none"`
		Rule    string      `json:"rule" doc:"by which, or the nearest one"`
		Until   *time.Time  `json:"until" doc:"of the grant, or until when a second person may agree"`
		Text    detect.Text `json:"text"`
		Missing []lackBody  `json:"missing" nullable:"false"`
	}
	proofBody struct {
		Condition string `json:"condition"`
		Verified  bool   `json:"verified" doc:"by the house; else as it was stated"`
		By        string `json:"by"`
	}
	decisionBody struct {
		ID       string      `json:"id"`
		Outcome  string      `json:"outcome" enum:"granted,refused,waiting,declined,lapsed,revoked,expired"`
		At       time.Time   `json:"at"`
		Until    *time.Time  `json:"until"`
		Measure  string      `json:"measure"`
		Purpose  string      `json:"purpose"`
		Who      string      `json:"who" doc:"asked"`
		Second   string      `json:"second" doc:"agreed, or didn't"`
		Rule     string      `json:"rule"`
		Title    detect.Text `json:"title"`
		Edition  string      `json:"edition"`
		Source   string      `json:"source"`
		Subjects []string    `json:"subjects" nullable:"false" doc:"pseudonyms"`
		Proofs   []proofBody `json:"proofs" nullable:"false"`
	}
	grantsBody struct {
		Grants  []decisionBody `json:"grants" nullable:"false"`
		Waiting []decisionBody `json:"waiting" nullable:"false"`
	}
	grantInput struct {
		ID string `path:"id" maxLength:"64"`
	}
	grantWhyInput struct {
		ID   string `path:"id" maxLength:"64"`
		Body struct {
			Why string `json:"why" minLength:"1" maxLength:"1000"`
		}
	}
	decidedBody struct {
		Decision decisionBody `json:"decision"`
	}
	consentsBody struct {
		Terms  []Terms        `json:"terms" nullable:"false"`
		Counts []ConsentCount `json:"counts" nullable:"false"`
	}
)

// gate is the port, or why there is none.
func (s *Server) gate() (Gate, error) {
	if s.deps.Office.Gate == nil {
		return nil, noOffice()
	}
	return s.deps.Office.Gate, nil
}

func (s *Server) rules(context.Context, *empty) (*output[rulesBody], error) {
	if s.deps.Office.Gate == nil {
		return nil, noOffice()
	}
	g, now, grounds := &s.deps.Office.Guideline, s.deps.Office.Clock.Now(), lawful.Grounds()
	b := rulesBody{Rules: []ruleBody{}, Facts: []factBody{}}
	for i := range g.Rules {
		r := &g.Rules[i]
		x := ruleBody{
			ID: r.ID, Case: r.Case, Title: detect.Text(r.Title), Edition: r.Edition, Source: r.Source,
			Verified: r.Verified != (lawful.Verified{}), VerifiedBy: r.Verified.By, VerifiedOn: momentOrNull(r.Verified.On),
			Note: detect.Text(r.Note), From: r.From, Until: momentOrNull(r.Until), InForce: r.InForce(now), Measures: strs(r.Measures),
			Conditions: []conditionBody{}, Widest: detect.Text(r.Widest), FourEyes: strs(r.FourEyes),
			Limits: limitsBody{
				Longest: r.Limits.Longest.Seconds(), Subjects: r.Limits.Subjects, Prefixes: r.Limits.Prefixes, Bits4: r.Limits.Bits4, Bits6: r.Limits.Bits6,
				Consenting: r.Limits.Consenting, Window: r.Limits.Window.Seconds(), Ports: r.Limits.Ports, Features: r.Limits.Features, To: r.Limits.To,
			},
		}
		for _, ground := range r.Grounds {
			x.Grounds = append(x.Grounds, groundBody{string(ground), detect.Text(grounds[ground])})
		}
		for _, c := range r.Conditions {
			x.Conditions = append(x.Conditions, conditionBody{c.Name, c.Fact, detect.Text(c.Missing), detect.Text(c.Satisfy), strs(c.For)})
		}
		b.Rules = append(b.Rules, x)
	}
	for _, m := range lawful.Measures() {
		b.Measures = append(b.Measures, measureBody{string(m), detect.Text(m.Words())})
	}
	for _, f := range g.Facts {
		b.Facts = append(b.Facts, factBody{f.Name, string(f.Kind), detect.Text(f.Text)})
	}
	return &output[rulesBody]{Body: b}, nil
}

func strs[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, x := range list {
		out[i] = string(x)
	}
	return out
}

func momentOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (s *Server) ask(ctx context.Context, in *askInput) (*output[answerBody], error) {
	b := &in.Body
	r := lawful.Request{Measure: lawful.Measure(b.Measure), Purpose: b.Purpose, Who: s.actor(ctx), Rule: b.Rule, Facts: b.Facts}
	if b.Until != nil {
		r.Until = *b.Until
	}
	if x := b.Scope; x != nil {
		r.Scope = lawful.Scope{Subjects: x.Subjects, Consenting: x.Consenting, Ports: x.Ports, Features: x.Features, To: x.To}
		if x.Window != nil {
			r.Scope.Window = lawful.Window(*x.Window)
		}
		var err error
		if r.Scope.Prefixes, err = prefixes(x.Prefixes); err != nil {
			return nil, err
		}
	}
	return s.asked(ctx, r, b.Try)
}

func (s *Server) askOf(ctx context.Context, in *askOfInput) (*output[answerBody], error) {
	c, err := s.subjectOf(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	facts := lawful.Facts{}
	maps.Copy(facts, in.Body.Facts)
	facts["finding"] = c.ID // the house knows it: nobody states another one
	return s.asked(ctx, lawful.Request{
		Measure: lawful.Measure(in.Body.Measure), Purpose: in.Body.Purpose, Who: s.actor(ctx), Facts: facts,
		Scope: lawful.Scope{Subjects: []string{c.Subject}},
	}, false)
}

// asked asks the gate. That it says no is an answer, not an error.
func (s *Server) asked(ctx context.Context, r lawful.Request, try bool) (*output[answerBody], error) {
	gate, err := s.gate()
	if err != nil {
		return nil, err
	}
	// A request that is wrong in itself is no refusal.
	d, err := s.deps.Office.Guideline.Try(ctx, r, s.deps.Office.Clock.Now())
	if err != nil {
		return nil, fail("ask_invalid", err)
	}
	if try {
		d.ID = ""
		return &output[answerBody]{Body: s.answer(&d)}, nil
	}
	if d.Outcome == lawful.Waiting { // two people are two people
		if _, err := s.human(ctx); err != nil {
			return nil, err
		}
	}
	g, err := gate.Ask(ctx, r)
	if p, is := errors.AsType[*lawful.Pending](err); is {
		return &output[answerBody]{Body: s.answer(&p.Decision)}, nil
	}
	if x, is := errors.AsType[*lawful.Refusal](err); is {
		return &output[answerBody]{Body: s.answer(&lawful.Decision{Outcome: lawful.Refused, Measure: x.Measure, Rule: x.Rule, Missing: x.Missing})}, nil
	}
	if err != nil {
		return nil, err
	}
	return &output[answerBody]{Body: s.answer(&lawful.Decision{Outcome: lawful.Granted, ID: g.ID(), Measure: r.Measure, Rule: g.Rule(), Until: g.Until()})}, nil
}

// answer says a decision to who asked.
func (s *Server) answer(d *lawful.Decision) answerBody {
	b := answerBody{Outcome: string(d.Outcome), ID: d.ID, Rule: d.Rule, Until: momentOrNull(d.Until), Missing: []lackBody{}}
	var title lawful.Text
	if r, known := s.deps.Office.Guideline.Rule(d.Rule); known {
		title = r.Title
	}
	until := d.Until.UTC().Format(time.RFC3339)
	switch d.Outcome {
	case lawful.Granted:
		b.Text = detect.Textf("認められます。規則 %s、%s まで。", "Granted by rule %s, until %s.", d.Rule, until)
	case lawful.Waiting:
		b.Text = detect.Textf("規則 %s により、二人目の承認が必要です(%s まで)。", "By rule %s a second person must agree, before %s.", d.Rule, until)
	default:
		refusal := lawful.Refusal{Measure: d.Measure, Rule: d.Rule, Title: title, Missing: d.Missing}
		b.Text = detect.Text(refusal.Text())
	}
	for _, l := range d.Missing {
		b.Missing = append(b.Missing, lackBody{l.Condition, detect.Text(l.Missing), detect.Text(l.Satisfy), detect.Text(l.Detail)})
	}
	return b
}

// decision is how a decision is shown: of its scope the subjects alone.
func (s *Server) decision(d *lawful.Decision) decisionBody {
	b := decisionBody{
		ID: d.ID, Outcome: string(d.Outcome), At: d.At, Until: momentOrNull(d.Until), Measure: string(d.Measure), Purpose: d.Purpose, Who: d.Who, Second: d.Second,
		Rule: d.Rule, Edition: d.Edition, Source: d.Source, Subjects: filled(d.Scope.Subjects), Proofs: []proofBody{},
	}
	if r, known := s.deps.Office.Guideline.Rule(d.Rule); known {
		b.Title = detect.Text(r.Title)
	}
	for _, p := range d.Proofs {
		b.Proofs = append(b.Proofs, proofBody(p))
	}
	return b
}

func (s *Server) decisions(list []lawful.Decision) []decisionBody {
	out := make([]decisionBody, 0, len(list))
	for i := range list {
		out = append(out, s.decision(&list[i]))
	}
	return out
}

func (s *Server) grants(context.Context, *empty) (*output[grantsBody], error) {
	gate, err := s.gate()
	if err != nil {
		return nil, err
	}
	return &output[grantsBody]{Body: grantsBody{s.decisions(gate.InForce()), s.decisions(gate.Waiting())}}, nil
}

// grantsFor are the decisions in force for a subscriber, by pseudonym or case.
func (s *Server) grantsFor(names ...string) []decisionBody {
	if s.deps.Office.Gate == nil {
		return []decisionBody{}
	}
	return s.decisions(slices.DeleteFunc(s.deps.Office.Gate.InForce(), func(d lawful.Decision) bool {
		return !slices.ContainsFunc(d.Scope.Subjects, func(s string) bool { return slices.Contains(names, s) })
	}))
}

func find(list []lawful.Decision, id string) (lawful.Decision, error) {
	i := slices.IndexFunc(list, func(d lawful.Decision) bool { return d.ID == id })
	if i < 0 {
		return lawful.Decision{}, ErrNotFound
	}
	return list[i], nil
}

// seconding is the gate with a request that waits, and the second person who answers it.
func (s *Server) seconding(ctx context.Context, id string) (gate Gate, who string, d lawful.Decision, err error) {
	if gate, err = s.gate(); err != nil {
		return nil, "", d, err
	}
	if who, err = s.human(ctx); err != nil {
		return nil, "", d, err
	}
	d, err = find(gate.Waiting(), id)
	return gate, who, d, err
}

func (s *Server) approve(ctx context.Context, in *grantInput) (*output[decidedBody], error) {
	gate, who, d, err := s.seconding(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	g, err := gate.Approve(ctx, in.ID, who)
	if err != nil {
		return nil, gateProblem(err)
	}
	d.Outcome, d.Second, d.Until = lawful.Granted, who, g.Until()
	return s.decided(&d), nil
}

func (s *Server) decline(ctx context.Context, in *grantWhyInput) (*output[decidedBody], error) {
	gate, who, d, err := s.seconding(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := gate.Decline(ctx, in.ID, who, in.Body.Why); err != nil {
		return nil, gateProblem(err)
	}
	d.Outcome, d.Second, d.At, d.Until = lawful.Declined, who, s.deps.Office.Clock.Now(), time.Time{}
	return s.decided(&d), nil
}

func (s *Server) revoke(ctx context.Context, in *grantWhyInput) (*output[decidedBody], error) {
	gate, err := s.gate()
	if err != nil {
		return nil, err
	}
	d, err := find(gate.InForce(), in.ID)
	if err != nil {
		return nil, err
	}
	if err := gate.Revoke(ctx, in.ID, s.actor(ctx), in.Body.Why); err != nil {
		return nil, gateProblem(err)
	}
	d.Outcome, d.Until = lawful.Revoked, s.deps.Office.Clock.Now()
	return s.decided(&d), nil
}

func (s *Server) decided(d *lawful.Decision) *output[decidedBody] {
	return &output[decidedBody]{Body: decidedBody{s.decision(d)}}
}

// gateProblem explains what the law's side says no to.
func gateProblem(err error) error {
	if x, is := errors.AsType[*lawful.Refusal](err); is {
		return &Refusal{Text: detect.Text(x.Text())}
	}
	switch {
	case errors.Is(err, lawful.ErrSamePerson):
		return fail("own_request")
	case errors.Is(err, lawful.ErrUnknown):
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return err
}

func (s *Server) consents(ctx context.Context, _ *empty) (*output[consentsBody], error) {
	if s.deps.Office.Consents == nil {
		return nil, noOffice()
	}
	terms, counts, err := s.deps.Office.Consents.Consents(ctx)
	if err != nil {
		return nil, err
	}
	return &output[consentsBody]{Body: consentsBody{filled(terms), filled(counts)}}, nil
}
