package api

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/console"
	"sakimori/detect"
	"sakimori/observe"
)

// memoryAttacks are two floods and what is done about them: one on an own address, one
// in which an own address takes part.
type memoryAttacks struct {
	rows  []AttackRow
	looks []string
	acts  []Mitigation
	plans []PlanOrder
}

func newAttacks() *memoryAttacks {
	m := &memoryAttacks{}
	for i, d := range []detect.Direction{detect.Incoming, detect.Outgoing} {
		at := dataEnd.Add(-time.Duration(i) * time.Minute)
		m.rows = append(m.rows, AttackRow{
			ID: "attack-" + string(d), State: detect.Opened, Direction: d, Object: AttackObject{detect.AddressObject, ownSource.String() + "/32", "=cmd()"},
			Opened: at, Detected: at.Add(2 * time.Second), Changed: at, Severity: detect.Urgent, Confidence: 0.9, Witnesses: []string{"flow"},
			Title:   detect.Textf("%s への攻撃", "Attack on %s", ownSource),
			Peak:    detect.Rate{Packets: detect.Measure{N: 20000, Error: 4000}},
			Vectors: []detect.Vector{{Name: "syn", Share: 1, DstPort: 443}},
		})
	}
	return m
}

func (m *memoryAttacks) Attacks(_ context.Context, q AttackQuery) (list []AttackRow, running int, next string, err error) {
	for _, a := range m.rows {
		if q.Within.IsValid() && !q.Within.Overlaps(netip.MustParsePrefix(a.Object.Prefix)) || q.Direction != "" && q.Direction != a.Direction || a.ID <= q.After {
			continue
		}
		if len(list) == q.Limit {
			return list, len(m.rows), list[len(list)-1].ID, nil
		}
		list = append(list, a)
	}
	return list, len(m.rows), "", nil
}

func (m *memoryAttacks) find(id string) (*AttackRow, error) {
	i := slices.IndexFunc(m.rows, func(a AttackRow) bool { return a.ID == id })
	if i < 0 {
		return nil, ErrNotFound
	}
	return &m.rows[i], nil
}

func (m *memoryAttacks) Attack(_ context.Context, id, by string) (AttackWhole, error) {
	a, err := m.find(id)
	if err != nil {
		return AttackWhole{}, err
	}
	m.looks = append(m.looks, by)
	return AttackWhole{AttackRow: *a, Hit: []detect.Share{{Key: ownSource.String(), Share: 1}}, Mitigations: m.acts}, nil
}

func (m *memoryAttacks) Course(_ context.Context, id string, _ observe.Range, step int) (AttackCourse, error) {
	_, err := m.find(id)
	return AttackCourse{Step: step, Points: []detect.CoursePoint{{At: dataEnd.Unix(), Packets: 20000, Error: 4000, Dropped: 3, Usual: 100}}}, err
}

func (m *memoryAttacks) Places(_ context.Context, id, by string, _ int) (AttackPlaces, error) {
	_, err := m.find(id)
	return AttackPlaces{Rows: []AttackPlace{{Share: detect.Share{Key: map[string]string{"country": "JP", "network": "AS64500"}[by], Share: 1}}}, Looked: 5}, err
}

func (m *memoryAttacks) Plan(_ context.Context, id string, o PlanOrder) ([]Proposal, error) {
	_, err := m.find(id)
	m.plans = append(m.plans, o)
	return []Proposal{{Rules: []ProposalRule{{Text: "dst " + ownSource.String() + "/32 proto =6", Action: "drop"}}}}, err
}

func (m *memoryAttacks) Rehearsal() bool { return true }

func (m *memoryAttacks) Mitigations(context.Context, MitigationQuery) (list []Mitigation, next string, err error) {
	return m.acts, "", nil
}

func (m *memoryAttacks) act(id string) (*Mitigation, error) {
	i := slices.IndexFunc(m.acts, func(a Mitigation) bool { return a.ID == id })
	if i < 0 {
		return nil, ErrNotFound
	}
	return &m.acts[i], nil
}

func (m *memoryAttacks) Mitigation(_ context.Context, id string) (Mitigation, error) {
	a, err := m.act(id)
	if err != nil {
		return Mitigation{}, err
	}
	return *a, nil
}

func (m *memoryAttacks) Propose(_ context.Context, attack string, o PlanOrder, by string) (Mitigation, error) {
	plan, err := m.Plan(context.Background(), attack, o)
	if err != nil {
		return Mitigation{}, err
	}
	m.acts = append(m.acts, Mitigation{ActLife: ActLife{ID: "M-1", ProposedBy: by, Needs: 1}, Attack: attack, State: "proposed", Proposal: plan[0]})
	return m.acts[len(m.acts)-1], nil
}

func (m *memoryAttacks) decide(id, by, state string) (Mitigation, error) {
	a, err := m.act(id)
	if err != nil {
		return Mitigation{}, err
	}
	if by == a.ProposedBy {
		return *a, ErrOwnReview
	}
	a.State = state
	return *a, nil
}

func (m *memoryAttacks) Approve(_ context.Context, id, by, _ string) (Mitigation, error) {
	return m.decide(id, by, "approved")
}

func (m *memoryAttacks) Reject(_ context.Context, id, by, _ string) (Mitigation, error) {
	return m.decide(id, by, "refused")
}

func (m *memoryAttacks) Withdraw(_ context.Context, id, _, _ string) (Mitigation, error) {
	return m.decide(id, "", "withdrawn")
}

func (m *memoryAttacks) Means(context.Context) (MitigationMeans, error) {
	return MitigationMeans{Rehearsal: true, Budget: MitigationBudget{0, 20}, Peers: []MitigationPeer{{Name: "edge1", Address: "192.0.2.1"}}}, nil
}

func (m *memoryAttacks) Replay(_ context.Context, r observe.Range, _, _ string) (Replay, error) {
	return Replay{ID: "R-1", State: "running", From: r.From, To: r.To}, nil
}

func (m *memoryAttacks) Replayed(_ context.Context, id string) (Replay, error) {
	if id != "R-1" {
		return Replay{}, ErrNotFound
	}
	return Replay{ID: id, State: "done", Grain: "1m", New: []ReplayAttack{{Target: "203.0.113.7/32"}}}, nil
}

// An attacked address is shown to who defends the network, on the attack's own page, and
// the look is written down; who takes part in an attack stays masked for everybody.
func TestAttackedAddressesAreForDefenders(t *testing.T) {
	w := newWorld(t)
	const full, masked = "203.0.113.7", "203.0.113.x"
	for _, role := range []console.Roles{console.Viewer, console.Abuse, console.Operator, console.Network, console.Legal, console.Admin} {
		sees := role.Any(console.Operator | console.Network | console.Legal | console.Admin)
		list := w.ask(role, "GET", "/api/v1/attacks", "", nil)
		if list.Code != 200 || strings.Contains(list.Body.String(), full) || !strings.Contains(list.Body.String(), masked) {
			t.Errorf("%s: list %d, %s", role, list.Code, list.Body)
		}
		before := len(w.attacks.looks)
		in := w.ask(role, "GET", "/api/v1/attacks/attack-incoming", "", nil).Body.String()
		if strings.Contains(in, full) != sees {
			t.Errorf("%s: attacked address shown: %t\n%s", role, !sees, in)
		}
		if len(w.attacks.looks) != before+1 {
			t.Errorf("%s: the look wasn't written down", role)
		}
		if out := w.ask(role, "GET", "/api/v1/attacks/attack-outgoing", "", nil).Body.String(); strings.Contains(out, full) || !strings.Contains(out, masked) {
			t.Errorf("%s is shown who takes part:\n%s", role, out)
		}
		if got := w.ask(role, "GET", "/api/v1/attacks?q=203.0.113.0/24", "", nil).Code; (got == http.StatusForbidden) == sees {
			t.Errorf("%s: search by address: %d", role, got)
		}
	}
}

// A mitigation is proposed, and agreed to by somebody else who signed in.
func TestMitigationTakesTwo(t *testing.T) {
	w := newWorld(t)
	if got := w.ask(console.Network, "POST", "/api/v1/attacks/attack-incoming/propose", `{"share":0.9}`, nil); got.Code != 200 || w.attacks.plans[0].Share != 0.9 {
		t.Fatalf("propose: %d %s", got.Code, got.Body)
	}
	const approve, why = "/api/v1/mitigations/M-1/approve", `{"why":"seen"}`
	if got := w.ask(console.Network, "POST", approve, why, nil).Code; got != http.StatusForbidden {
		t.Errorf("a token agreed: %d", got)
	}
	w.attacks.acts[0].ProposedBy = "network:network"
	if got := w.ask(console.Public, "POST", approve, why, w.cookie(console.Network)); got.Code != http.StatusForbidden || !strings.Contains(got.Body.String(), "own_review") {
		t.Errorf("the same person agreed: %d %s", got.Code, got.Body)
	}
	if got := w.ask(console.Public, "POST", approve, why, w.cookie(console.Operator)); got.Code != 200 || w.attacks.acts[0].State != "approved" {
		t.Errorf("somebody else: %d %s", got.Code, got.Body)
	}
	if got := w.ask(console.Legal, "POST", "/api/v1/mitigations/M-1/withdraw", why, nil); got.Code != 200 || w.attacks.acts[0].State != "withdrawn" {
		t.Errorf("withdraw: %d %s", got.Code, got.Body)
	}
	if got := w.ask(console.Viewer, "GET", "/api/v1/mitigations", "", nil).Body.String(); strings.Contains(got, ownSource.String()) {
		t.Errorf("a viewer is shown the rules' addresses: %s", got)
	}
}

func TestAttackLists(t *testing.T) {
	w := newWorld(t)
	first := w.ask(console.Operator, "GET", "/api/v1/attacks?limit=1", "", nil)
	if first.Header().Get("Link") == "" || strings.Count(first.Body.String(), `"id"`) != 1 {
		t.Errorf("a page of one: %s", first.Body)
	}
	for path, want := range map[string]string{
		"/api/v1/attacks?format=csv":                                    "attack-incoming,opened,incoming,address,203.0.113.x/32,'=cmd()",
		"/api/v1/attacks/attack-incoming/course?step=10&format=csv":     ",20000,4000,0,3,100,0",
		"/api/v1/attacks/attack-incoming/sources?by=network&format=csv": "AS64500,",
		"/api/v1/replay/R-1":                                            `"new":[{"target":"203.0.113.x/32"`,
		"/api/v1/attacks/nothing":                                       "not_found",
		"/api/v1/attacks?q=%E3%81%AA%E3%81%AB&direction=outgoing":       `"rehearsal":true`,
	} {
		if got := w.ask(console.Operator, "GET", path, "", nil).Body.String(); !strings.Contains(got, want) {
			t.Errorf("%s has no %q:\n%s", path, want, got)
		}
	}
}

var (
	_ Attacks     = (*memoryAttacks)(nil)
	_ Mitigations = (*memoryAttacks)(nil)
	_ Replays     = (*memoryAttacks)(nil)
)
