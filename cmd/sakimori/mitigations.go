package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/console"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/detect/register"
	"sakimori/lawful"
	"sakimori/respond"
	"sakimori/respond/mitigate"
	"sakimori/respond/mitigate/speaker"
)

// mitigations is what is done against floods: the desk, and those who tell the routers. A
// nil one does nothing.
type mitigations struct {
	actDecisions[mitigate.Mitigation, api.Mitigation]

	desk      *mitigate.Desk
	speaker   *speaker.Speaker // nil: no peers
	peers     func() []speaker.Peer
	attacks   attackBook
	protected []mitigate.Protected
}

var _ api.Mitigations = (*mitigations)(nil)

// openMitigations opens the desk in a house.
func (h *office) openMitigations(ctx context.Context, cfg *config, attacks *register.Register, log *slog.Logger) (*mitigations, error) {
	m := &mitigations{attacks: attackBook{attacks}}
	policy, err := cfg.Mitigation.policy()
	if err != nil {
		return nil, err
	}
	m.protected = policy.Protected
	announcers, err := cfg.Mitigation.announcers(cfg.now())
	if err != nil {
		return nil, err
	}
	if m.speaker, err = cfg.Mitigation.BGP.speaker(cfg.now(), log); err != nil {
		return nil, err
	}
	switch {
	case m.speaker != nil:
		announcers = append(announcers, m.speaker)
		m.peers = m.speaker.Peers
	case cfg.Mitigation.sample != nil:
		m.peers = cfg.Mitigation.sample.peers
	}
	m.desk, err = mitigate.Open(ctx, mitigate.Deps{
		DB: h.db, Clock: cfg.now(), Attacks: m.attacks, Gate: h.gate, Guideline: h.guideline, Recorder: filterDeeds{h.book}, Announcers: announcers, Policy: policy,
	})
	m.actDecisions = actDecisions[mitigate.Mitigation, api.Mitigation]{m.desk, apiMitigation, mitigationError, log}
	return m, err
}

// filters is the desk for the API: nil where there is none, and no nil in an interface.
func (h *office) filters() api.Mitigations {
	if h.acts == nil {
		return nil
	}
	return h.acts
}

// keptAttacks tells the gate how attacks stand, as they are kept.
type keptAttacks struct{ *register.Register }

func (k keptAttacks) Open(ctx context.Context, id string) (lawful.Finding, error) {
	a, err := k.Register.AttackNow(ctx, id)
	if errors.Is(err, register.ErrNoAttack) {
		return lawful.Finding{}, nil
	}
	if err != nil {
		return lawful.Finding{}, err
	}
	return lawful.Finding{Detector: "ddos", Subject: subjectOf(&a), Open: a.State != detect.Closed}, nil
}

// attackBook knows attacks as they are kept.
type attackBook struct{ *register.Register }

func (b attackBook) Attack(ctx context.Context, id string) (detect.Attack, error) {
	return b.Register.AttackNow(ctx, id)
}

// filterDeeds writes down what is about to be done. The rules name addresses of subscribers:
// they are kept apart.
type filterDeeds struct{ book *ledger.Book }

func (d filterDeeds) Record(ctx context.Context, x mitigate.Deed) error {
	apart, err := json.Marshal(map[string]any{"rules": x.Rules, "object": x.Object})
	if err != nil {
		return err
	}
	kind := account.Acted
	if x.To == respond.Approved || x.To == respond.Refused {
		kind = account.Approved
	}
	_, err = d.book.Append(ctx, ledger.Line{Kind: kind, Who: x.By, What: x, Private: apart})
	return err
}

// mitigationError says in both languages what the desk says no to.
func mitigationError(err error) error {
	if none, is := errors.AsType[*mitigate.NoProposal](err); is {
		return &console.Refusal{Text: none.Why()}
	}
	return actError(err, register.ErrNoAttack, map[error]string{mitigate.ErrProtected: "保護対象に触れる規則です", mitigate.ErrOver: "攻撃は終わっています"})
}

func (m *mitigations) rehearsal() bool { return m == nil || m.desk.Rehearsal() }

// of are the mitigations of an attack, the newest first.
func (m *mitigations) of(ctx context.Context, attack string) (out []api.Mitigation, err error) {
	if m == nil {
		return nil, nil
	}
	list, err := m.desk.List(ctx, respond.Query{About: attack})
	for i := range list {
		out = append(out, apiMitigation(&list[i]))
	}
	return out, err
}

// brief is the mitigation of an attack that has come furthest.
func (m *mitigations) brief(ctx context.Context, attack string) (*api.MitigationBrief, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // nothing is done
	}
	list, err := m.desk.List(ctx, respond.Query{About: attack})
	return actBrief(list, func(x *mitigate.Mitigation) *respond.Act { return &x.Act }), err
}

func (o planOrder) order() mitigate.Order {
	out := mitigate.Order{Share: o.Share, Limit: o.Limit}
	switch o.Action {
	case "drop":
		out.Action = mitigate.Drop
	case "rate":
		out.Action = mitigate.RateBytes
	case "rtbh":
		out.Action = mitigate.RTBH
	}
	return out
}

type planOrder api.PlanOrder

func (m *mitigations) plan(ctx context.Context, a *detect.Attack, o api.PlanOrder) (out []api.Proposal, err error) {
	if m == nil {
		return nil, nil
	}
	list, err := m.desk.Plan(ctx, a, planOrder(o).order())
	for i := range list {
		out = append(out, apiProposal(&list[i]))
	}
	return out, mitigationError(err)
}

func (m *mitigations) Propose(ctx context.Context, attack string, o api.PlanOrder, by string) (api.Mitigation, error) {
	a, err := m.attacks.Attack(ctx, attack)
	if err != nil {
		return api.Mitigation{}, mitigationError(err)
	}
	return m.told(m.desk.Propose(ctx, &a, planOrder(o).order(), by, ""))
}

func (m *mitigations) Mitigations(ctx context.Context, q api.MitigationQuery) (out []api.Mitigation, next string, err error) {
	query := respond.Query{State: respond.State(q.State), About: q.Attack, Limit: q.Limit + 1}
	if q.After != "" {
		if err := json.Unmarshal([]byte(q.After), &query.Before); err != nil {
			return nil, "", err
		}
	}
	list, err := m.desk.List(ctx, query)
	if err != nil {
		return nil, "", err
	}
	if len(list) > q.Limit {
		list = list[:q.Limit]
		last := &list[q.Limit-1]
		mark, err := json.Marshal(respond.After{At: last.ProposedAt, ID: last.ID})
		if err != nil {
			return nil, "", err
		}
		next = string(mark)
	}
	for i := range list {
		out = append(out, apiMitigation(&list[i]))
	}
	return out, next, nil
}

func (m *mitigations) Mitigation(ctx context.Context, id string) (api.Mitigation, error) {
	return m.told(m.desk.Get(ctx, id))
}

func (m *mitigations) Means(ctx context.Context) (out api.MitigationMeans, err error) {
	out = api.MitigationMeans{Rehearsal: m.rehearsal()}
	if out.Budget.Rules, out.Budget.Max, err = m.desk.Budget(ctx); err != nil {
		return out, err
	}
	for i := range m.protected {
		p := &m.protected[i]
		out.Protected = append(out.Protected, api.ProtectedPrefix{Prefix: p.Match.Text(), Name: p.Name})
	}
	if m.peers == nil {
		return out, nil
	}
	for _, p := range m.peers() {
		x := api.MitigationPeer{Name: p.Name, Address: p.Address.String(), AS: p.AS, State: string(p.State), Words: p.Words, Since: momentOrNull(p.Since), Held: p.Held, Error: p.Error}
		for _, f := range p.Families {
			x.Families = append(x.Families, string(f))
		}
		out.Peers = append(out.Peers, x)
	}
	return out, nil
}

// follow tells the desk how attacks and their courses go, and has done what is due.
func (m *mitigations) follow(ctx context.Context, news []detect.Attack, course func(id string) []detect.CoursePoint) error {
	var err error
	for i := range news {
		a := &news[i]
		failed := m.desk.Attack(ctx, a)
		if failed == nil && a.State != detect.Closed {
			failed = m.desk.Watch(ctx, a, course(a.ID))
		}
		err = errors.Join(err, failed)
	}
	_, failed := m.desk.Tick(ctx)
	return errors.Join(err, failed)
}

// Withdraw takes back what stands on a grant that has ended, when the gate says so.
func (w mitigationEnds) Withdraw(ctx context.Context, end lawful.Decision) error {
	why := detect.Text(end.Why)
	if why == (detect.Text{}) {
		why = detect.Text{JA: "許可が終わりました", EN: "the grant has ended"}
	}
	var err error
	if m := w.h.acts; m != nil {
		err = m.desk.Ended(ctx, end.ID, why)
	}
	if r := w.h.remedies; r != nil {
		err = errors.Join(err, r.desk.Ended(ctx, end.ID, why))
	}
	return err
}

// mitigationEnds is what the gate tells of ends.
type mitigationEnds struct{ h *office }

func apiProposal(p *mitigate.Proposal) api.Proposal {
	out := api.Proposal{
		Stops: p.Stops, Refused: p.Refused, Why: p.Why, Rule: p.Rule, RuleTitle: p.RuleTitle,
		Collateral: api.ProposalCollateral{Share: p.Collateral.Share, Limit: p.Collateral.Limit, Known: p.Collateral.Known, Samples: p.Collateral.Ordinary, Method: p.Collateral.Method},
		Forms:      api.ProposalForms{FlowSpec: p.Forms.FlowSpec, RTBH: p.Forms.RTBH, NFTables: p.Forms.NFTables, IPTables: p.Forms.IPTables, Request: p.Forms.Request},
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		x := api.ProposalRule{Text: r.Match.Text(), Action: apiAction(r.Action), Words: r.Words()}
		if r.Action == mitigate.RateBytes || r.Action == mitigate.RatePackets {
			rate := r.Rate
			x.Rate = &rate
		}
		out.Rules = append(out.Rules, x)
	}
	for _, a := range p.Alternatives {
		out.Alternatives = append(out.Alternatives, api.ProposalAlternative{Text: a.Text, Stops: a.Stops, Collateral: a.Collateral, Why: a.Why})
	}
	for _, c := range p.Conditions {
		out.Conditions = append(out.Conditions, api.ProposalCondition{Name: c.Name, Met: c.Met, Words: c.Words})
	}
	return out
}

// apiAction is an action in the words of the API.
func apiAction(a mitigate.Action) string {
	switch a {
	case mitigate.RateBytes, mitigate.RatePackets:
		return "rate"
	default:
		return string(a)
	}
}

func apiMitigation(m *mitigate.Mitigation) api.Mitigation {
	out := api.Mitigation{
		ActLife: apiAct(&m.Act), State: string(m.State), Attack: m.Attack, Object: attackObject(&m.Object), Proposal: apiProposal(&m.Proposal), Effect: m.EffectMS, Before: m.Before, After: m.After,
	}
	for _, h := range m.Held {
		out.Held = append(out.Held, api.MitigationHeld{Peer: h.Peer, Rules: h.Rules, At: h.At})
	}
	return out
}
