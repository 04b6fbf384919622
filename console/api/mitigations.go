package api

import (
	"context"
	"time"

	"sakimori/detect"
	"sakimori/observe"
)

// Mitigations are what is done against floods. by is a person or an own command line,
// and is written down before anything is done. Methods return ErrNotFound for what isn't
// there, ErrOwnReview for somebody who would be two people, and a Refusal for what can't
// be done.
type Mitigations interface {
	Mitigations(ctx context.Context, q MitigationQuery) (list []Mitigation, next string, err error)
	Mitigation(ctx context.Context, id string) (Mitigation, error)
	Propose(ctx context.Context, attack string, o PlanOrder, by string) (Mitigation, error)
	Decisions[Mitigation]
	// Means are the routers, and how much they may be asked.
	Means(ctx context.Context) (MitigationMeans, error)
}

// MitigationQuery selects mitigations; zero fields select everything.
type MitigationQuery struct {
	State, Attack string
	Limit         int
	After         string
}

// PlanOrder is what a plan should reach.
type PlanOrder struct {
	Share  float64 `json:"share,omitempty" minimum:"0" maximum:"1" doc:"of the attack that is to be stopped; 0: as configured"`
	Limit  float64 `json:"limit,omitempty" minimum:"0" maximum:"1" doc:"of the ordinary traffic that may be hit at most; 0: as configured"`
	Action string  `json:"action,omitempty" enum:",drop,rate,rtbh" doc:"empty: the least that does"`
}

// ProposalRule is one rule, as a router takes it.
type ProposalRule struct {
	Text   string      `json:"text" doc:"RFC 8955/8956 components in their order"`
	Action string      `json:"action" enum:"pass,drop,rate,mark,redirect,rtbh"`
	Rate   *float64    `json:"rate" doc:"bytes a second, of a rate; null: none"`
	Words  detect.Text `json:"words"`
}

// ProposalCollateral is what a proposal costs others.
type ProposalCollateral struct {
	Share   detect.Measure `json:"share" doc:"of the object's ordinary traffic, 0 to 1"`
	Limit   float64        `json:"limit"`
	Known   bool           `json:"known" doc:"false: what is ordinary isn't known, and share means nothing"`
	Samples int            `json:"ordinary_samples"`
	Method  detect.Text    `json:"method"`
}

// ProposalAlternative is what was tried and doesn't do.
type ProposalAlternative struct {
	Text       string         `json:"text"`
	Stops      detect.Measure `json:"stops"`
	Collateral detect.Measure `json:"collateral"`
	Why        detect.Text    `json:"why"`
}

// ProposalCondition is a condition of the guideline's case.
type ProposalCondition struct {
	Name  string      `json:"name"`
	Met   bool        `json:"met"`
	Words detect.Text `json:"words"`
}

// ProposalForms are the rules as others take them.
type ProposalForms struct {
	FlowSpec string      `json:"flowspec"`
	RTBH     string      `json:"rtbh"`
	NFTables string      `json:"nftables"`
	IPTables string      `json:"iptables"`
	Request  detect.Text `json:"request" doc:"to the upstream, to be sent by a person"`
}

// Proposal is a rule set with what it stops and what it costs.
type Proposal struct {
	Rules        []ProposalRule        `json:"rules" nullable:"false"`
	Stops        detect.Measure        `json:"stops" doc:"share of the attack, 0 to 1"`
	Collateral   ProposalCollateral    `json:"collateral"`
	Alternatives []ProposalAlternative `json:"alternatives" nullable:"false" doc:"what was tried and doesn't do"`
	Refused      bool                  `json:"refused"`
	Why          detect.Text           `json:"why"`
	Forms        ProposalForms         `json:"forms"`
	Conditions   []ProposalCondition   `json:"conditions" nullable:"false"`
	Rule         string                `json:"rule" doc:"of the guideline"`
	RuleTitle    detect.Text           `json:"rule_title"`
}

func (p Proposal) filled() Proposal {
	p.Rules, p.Alternatives, p.Conditions = filled(p.Rules), filled(p.Alternatives), filled(p.Conditions)
	return p
}

// MitigationHeld is what one router has of it.
type MitigationHeld struct {
	Peer  string    `json:"peer"`
	Rules int       `json:"rules"`
	At    time.Time `json:"at"`
}

// Mitigation is one act against an attack, and its life.
type Mitigation struct {
	ActLife

	State    string           `json:"state" enum:"proposed,approved,announced,confirmed,withdrawn,refused,failed,expired,rolled_back"`
	Attack   string           `json:"attack"`
	Object   AttackObject     `json:"object"`
	Proposal Proposal         `json:"proposal"`
	Effect   *int64           `json:"effect_ms" doc:"from the announcement until the attack fell; null: not seen"`
	Before   *detect.Rate     `json:"before"`
	After    *detect.Rate     `json:"after"`
	Held     []MitigationHeld `json:"held" nullable:"false"`
}

func (m Mitigation) filled() Mitigation {
	m.Proposal = m.Proposal.filled()
	m.ActLife, m.Held = m.ActLife.filled(), filled(m.Held)
	return m
}

// MitigationPeer is a router that is told rules.
type MitigationPeer struct {
	Name     string       `json:"name"`
	Address  string       `json:"address"`
	AS       uint32       `json:"as"`
	State    string       `json:"state" enum:"established,connecting,down"`
	Words    detect.Text  `json:"words"`
	Since    *time.Time   `json:"since"`
	Families []string     `json:"families" nullable:"false"`
	Held     int          `json:"held" doc:"rules that it was sent and that weren't withdrawn"`
	Error    *detect.Text `json:"error"`
}

// MitigationBudget is how many rules there may be.
type MitigationBudget struct {
	Rules int `json:"rules"`
	Max   int `json:"max"`
}

// ProtectedPrefix is what no rule may touch.
type ProtectedPrefix struct {
	Prefix string `json:"prefix"`
	Name   string `json:"name"`
}

// MitigationMeans are the routers, and how much they may be asked.
type MitigationMeans struct {
	Rehearsal bool              `json:"rehearsal" doc:"nothing is announced: the default until it is switched on"`
	Peers     []MitigationPeer  `json:"peers" nullable:"false"`
	Budget    MitigationBudget  `json:"budget"`
	Protected []ProtectedPrefix `json:"protected" nullable:"false"`
}

// Replays answer what other thresholds would have said of a time that is past. Nothing
// is changed by it.
type Replays interface {
	// Replay begins one. thresholds is the text of a file of thresholds (YAML).
	Replay(ctx context.Context, r observe.Range, thresholds, by string) (Replay, error)
	Replayed(ctx context.Context, id string) (Replay, error)
}

// ReplayAttack is an attack as one set of thresholds sees it.
type ReplayAttack struct {
	Target     string           `json:"target"`
	Direction  detect.Direction `json:"direction" enum:"incoming,outgoing"`
	Vectors    []string         `json:"vectors" nullable:"false"`
	Peak       detect.Rate      `json:"peak"`
	Opened     time.Time        `json:"opened"`
	Closed     *time.Time       `json:"closed"`
	Confidence float64          `json:"confidence"`
	Limit      detect.Rate      `json:"limit"`
}

// Replay is one what-if and how far it has come.
type Replay struct {
	ID    string         `json:"id"`
	State string         `json:"state" enum:"running,done,failed"`
	Done  float64        `json:"done" doc:"0 to 1"`
	From  time.Time      `json:"from"`
	To    time.Time      `json:"to"`
	Grain string         `json:"grain" enum:",raw,1m,5m,1h" doc:"of the flows that were still kept: a minute's mean hides what was shorter"`
	Flows uint64         `json:"flows" doc:"records that were replayed"`
	Same  []ReplayAttack `json:"same" nullable:"false"`
	New   []ReplayAttack `json:"new" nullable:"false" doc:"only the other thresholds see them"`
	Gone  []ReplayAttack `json:"gone" nullable:"false" doc:"only the thresholds in force see them"`
	Error *detect.Text   `json:"error"`
}

func (r Replay) filled() Replay {
	r.Same, r.New, r.Gone = filled(r.Same), filled(r.New), filled(r.Gone)
	for _, list := range [][]ReplayAttack{r.Same, r.New, r.Gone} {
		for i := range list {
			list[i].Vectors = filled(list[i].Vectors)
		}
	}
	return r
}

type (
	planInput struct {
		ID   string `path:"id" maxLength:"512"`
		Body PlanOrder
	}
	planBody struct {
		Proposals []Proposal `json:"proposals" nullable:"false" doc:"the least first"`
	}
	mitigationsInput struct {
		State  string `query:"state" maxLength:"16"`
		Attack string `query:"attack" maxLength:"512"`
		Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
		Cursor string `query:"cursor" maxLength:"2048"`
	}
	mitigationsBody struct {
		MitigationMeans

		Mitigations []Mitigation `json:"mitigations" nullable:"false"`
		Next        *string      `json:"next"`
	}
	mitigationInput struct {
		ID string `path:"id" maxLength:"128"`
	}
	mitigationBody struct {
		Mitigation Mitigation `json:"mitigation"`
	}
	replayInput struct {
		Body struct {
			From       time.Time `json:"from"`
			To         time.Time `json:"to"`
			Thresholds string    `json:"thresholds" maxLength:"65536" doc:"YAML, as docs/ddos.md says; empty: those in force"`
		}
	}
	replayOutput struct {
		Status int
		Body   Replay
	}
)

func (s *Server) acts() (Mitigations, error) {
	if s.deps.Mitigations == nil {
		return nil, fail("no_attacks")
	}
	return s.deps.Mitigations, nil
}

func (s *Server) planMitigation(ctx context.Context, in *planInput) (*output[planBody], error) {
	d, err := s.floods()
	if err != nil {
		return nil, err
	}
	list, err := d.Plan(ctx, in.ID, in.Body)
	if err != nil {
		return nil, err
	}
	list = filled(list)
	for i := range list {
		list[i] = list[i].filled()
	}
	return &output[planBody]{Body: planBody{list}}, nil
}

func mitigated(m Mitigation, err error) (*output[mitigationBody], error) {
	if err != nil {
		return nil, err
	}
	return &output[mitigationBody]{Body: mitigationBody{m.filled()}}, nil
}

func (s *Server) proposeMitigation(ctx context.Context, in *planInput) (*output[mitigationBody], error) {
	d, err := s.acts()
	if err != nil {
		return nil, err
	}
	return mitigated(d.Propose(ctx, in.ID, in.Body, s.actor(ctx)))
}

func (s *Server) mitigations(ctx context.Context, in *mitigationsInput) (*output[mitigationsBody], error) {
	d, err := s.acts()
	if err != nil {
		return nil, err
	}
	b := mitigationsBody{Mitigations: []Mitigation{}}
	if b.MitigationMeans, err = d.Means(ctx); err != nil {
		return nil, err
	}
	b.Peers, b.Protected = filled(b.Peers), filled(b.Protected)
	for i := range b.Peers {
		b.Peers[i].Families = filled(b.Peers[i].Families)
	}
	q := MitigationQuery{State: in.State, Attack: in.Attack, Limit: in.Limit}
	at := newCursor(queryDigest("mitigations", in.State, in.Attack), observe.Range{})
	if in.Cursor != "" {
		if at, err = s.seal.openCursor(in.Cursor, at.Query); err != nil {
			return nil, err
		}
		q.After = at.After
	}
	list, next, err := d.Mitigations(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		b.Mitigations = append(b.Mitigations, m.filled())
	}
	if next != "" {
		at.After = next
		b.Next = s.seal.cursor(at)
	}
	return &output[mitigationsBody]{Link: link(ctx, b.Next), Body: b}, nil
}

func (s *Server) mitigation(ctx context.Context, in *mitigationInput) (*output[mitigationBody], error) {
	d, err := s.acts()
	if err != nil {
		return nil, err
	}
	return mitigated(d.Mitigation(ctx, in.ID))
}

func (s *Server) whatIf() (Replays, error) {
	if s.deps.Replays == nil {
		return nil, fail("no_flows")
	}
	return s.deps.Replays, nil
}

func (s *Server) replay(ctx context.Context, in *replayInput) (*replayOutput, error) {
	d, err := s.whatIf()
	if err != nil {
		return nil, err
	}
	if !in.Body.From.Before(in.Body.To) {
		return nil, fail("range_invalid")
	}
	r, err := d.Replay(ctx, observe.Range{From: in.Body.From.UTC(), To: in.Body.To.UTC()}, in.Body.Thresholds, s.actor(ctx))
	if err != nil {
		return nil, err
	}
	return &replayOutput{Status: 202, Body: r.filled()}, nil
}

func (s *Server) replayed(ctx context.Context, in *mitigationInput) (*output[Replay], error) {
	d, err := s.whatIf()
	if err != nil {
		return nil, err
	}
	r, err := d.Replayed(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &output[Replay]{Body: r.filled()}, nil
}
