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

// memoryRoutes are two incidents, what can be done about them, and a table.
type memoryRoutes struct {
	rows  []IncidentRow
	acts  []RouteAct
	asked []IncidentQuery
	shown []time.Time
}

func newRoutes() *memoryRoutes {
	own := netip.MustParsePrefix("203.0.113.0/24")
	m := &memoryRoutes{}
	for i, kind := range []detect.IncidentKind{detect.Leak, detect.Blackhole} {
		at := dataEnd.Add(-time.Duration(i) * time.Minute)
		m.rows = append(m.rows, IncidentRow{
			ID: "incident-" + string(kind), State: detect.Opened, Kind: kind, Form: "type 4", Opened: at, Detected: at.Add(10 * time.Second), Changed: at, Last: at,
			Leaker: 15169, LeakerName: "=cmd()", To: 701, Adjacency: "701-15169", Severity: detect.Urgent, Confidence: 0.97, Prefixes: detect.Counted{N: 160000},
			Own:     []detect.OwnSpace{{Prefix: own, Prefixes: 25000, Addresses: 256}},
			Signals: []detect.Signal{{Name: "unexpected-transit", Score: 0.9, Count: 3}},
		})
	}
	return m
}

func (m *memoryRoutes) Incidents(_ context.Context, q IncidentQuery) (list []IncidentRow, running int, next string, err error) {
	m.asked = append(m.asked, q)
	for _, r := range m.rows {
		if q.Kind != "" && q.Kind != r.Kind || r.ID <= q.After {
			continue
		}
		if len(list) == q.Limit {
			return list, len(m.rows), list[len(list)-1].ID, nil
		}
		list = append(list, r)
	}
	return list, len(m.rows), "", nil
}

func (m *memoryRoutes) find(id string) (IncidentWhole, error) {
	i := slices.IndexFunc(m.rows, func(r IncidentRow) bool { return r.ID == id })
	if i < 0 {
		return IncidentWhole{}, ErrNotFound
	}
	host := netip.PrefixFrom(ownSource, 32)
	return IncidentWhole{
		IncidentRow: m.rows[i],
		Sample: []detect.HitPrefix{
			{Prefix: m.rows[i].Own[0].Prefix, Origin: 4713, ROV: "invalid", First: dataEnd, Own: true}, {Prefix: host, Origin: 4713, ROV: "unknown", First: dataEnd, Own: true},
		},
		Lanes: []detect.Lane{{Prefix: m.rows[i].Own[0].Prefix, Peer: 3356, Usual: []uint32{3356, 4713}, Is: []uint32{3356, 701, 15169, 4713}, Routes: 7, First: dataEnd}},
	}, nil
}

func (m *memoryRoutes) Incident(_ context.Context, id string) (IncidentWhole, error) {
	return m.find(id)
}

func (m *memoryRoutes) Course(_ context.Context, id string, _ observe.Range, _ int) ([]detect.RoutePoint, error) {
	_, err := m.find(id)
	return []detect.RoutePoint{{At: dataEnd.Unix(), Prefixes: 7, Announced: 9, Withdrawn: 2, Peers: 1}}, err
}

func (m *memoryRoutes) Lanes(_ context.Context, id string, at time.Time) ([]detect.Lane, error) {
	w, err := m.find(id)
	m.shown = append(m.shown, at)
	return w.Lanes, err
}

func (m *memoryRoutes) Impact(_ context.Context, id string) (IncidentImpact, error) {
	_, err := m.find(id)
	return IncidentImpact{Addresses: 256}, err
}

func (m *memoryRoutes) Newest() (*time.Time, int) { return &dataEnd, 2 }

func (m *memoryRoutes) Watched(context.Context) ([]WatchedPrefix, error) {
	return []WatchedPrefix{{Prefix: "203.0.113.0/24", State: "changed", Upstreams: []RouteUpstream{{AS: 701, Share: 0.5}}}}, nil
}

func (m *memoryRoutes) Neighbors(context.Context) ([]RouteNeighbor, error) {
	return []RouteNeighbor{{AS: 701, Relation: "peer", Prefixes: RouteCount{V4: 3}}}, nil
}

func (m *memoryRoutes) Feeds(context.Context) (RouteFeeds, error) {
	return RouteFeeds{Feeds: []RouteFeed{{Name: "edge1", Kind: "bmp", State: "stale"}}}, nil
}

func (m *memoryRoutes) Show(_ context.Context, prefix string, at time.Time) (RouteShown, error) {
	m.shown = append(m.shown, at)
	return RouteShown{Prefix: prefix, At: at, Routes: []RouteSeen{{Prefix: prefix, Match: "exact", PeerAS: 3356, Path: []uint32{3356, 4713}}}}, nil
}

func (m *memoryRoutes) Readiness(context.Context) (RouteReadiness, error) {
	return RouteReadiness{Paths: 4, ROV: map[string]int{"valid": 3}, Customers: []ReadyCustomer{{AS: 64500}}}, nil
}

func (m *memoryRoutes) Drill(_ context.Context, _, _, _ string) (RouteDrill, error) {
	return RouteDrill{ID: "D-1", State: "running"}, nil
}

func (m *memoryRoutes) Drilled(_ context.Context, id string) (RouteDrill, error) {
	if id != "D-1" {
		return RouteDrill{}, ErrNotFound
	}
	return RouteDrill{ID: id, State: "done", Incident: &m.rows[0]}, nil
}

func (m *memoryRoutes) Remedies(_ context.Context, id string) (RemedyList, error) {
	_, err := m.find(id)
	return RemedyList{Acts: m.acts}, err
}

func (m *memoryRoutes) Propose(_ context.Context, incident string, prefixes []string, by, _ string) (RouteAct, error) {
	m.acts = append(m.acts, RouteAct{ActLife: ActLife{ID: "A-1", ProposedBy: by, Needs: 2}, Incident: incident, Prefixes: prefixes, State: "proposed"})
	return m.acts[len(m.acts)-1], nil
}

func (m *memoryRoutes) decide(id, by, state string) (RouteAct, error) {
	i := slices.IndexFunc(m.acts, func(a RouteAct) bool { return a.ID == id })
	if i < 0 {
		return RouteAct{}, ErrNotFound
	}
	if by == m.acts[i].ProposedBy {
		return m.acts[i], ErrOwnReview
	}
	m.acts[i].State = state
	return m.acts[i], nil
}

func (m *memoryRoutes) Approve(_ context.Context, id, by, _ string) (RouteAct, error) {
	return m.decide(id, by, "approved")
}

func (m *memoryRoutes) Reject(_ context.Context, id, by, _ string) (RouteAct, error) {
	return m.decide(id, by, "refused")
}

func (m *memoryRoutes) Withdraw(_ context.Context, id, _, _ string) (RouteAct, error) {
	return m.decide(id, "", "withdrawn")
}

// A network is nobody's line, and is shown to everybody; a single own address stays masked.
func TestIncidentsShowNetworksAndNoLine(t *testing.T) {
	w := newWorld(t)
	for _, role := range []console.Roles{console.Viewer, console.Network, console.Admin} {
		list := w.ask(role, "GET", "/api/v1/routes/incidents", "", nil)
		if list.Code != 200 || !strings.Contains(list.Body.String(), "203.0.113.0/24") {
			t.Errorf("%s: %d %s", role, list.Code, list.Body)
		}
		one := w.ask(role, "GET", "/api/v1/routes/incidents/incident-blackhole", "", nil).Body.String()
		if strings.Contains(one, "203.0.113.7") || !strings.Contains(one, "203.0.113.x/32") {
			t.Errorf("%s is shown a single address: %s", role, one)
		}
	}
}

// An announcement is proposed, and agreed to by two who signed in; who sees the harm of it
// takes it back alone.
func TestAnnouncementTakesPeople(t *testing.T) {
	w := newWorld(t)
	const path, body = "/api/v1/routes/incidents/incident-leak/announce", `{"prefixes":["203.0.113.0/25"],"why":"ours"}`
	if got := w.ask(console.Viewer, "POST", path, body, nil).Code; got != http.StatusForbidden {
		t.Errorf("a viewer proposed: %d", got)
	}
	if got := w.ask(console.Network, "POST", path, body, nil); got.Code != 200 {
		t.Fatalf("propose: %d %s", got.Code, got.Body)
	}
	const why = `{"why":"seen"}`
	if got := w.ask(console.Network, "POST", "/api/v1/routes/acts/A-1/approve", why, nil).Code; got != http.StatusForbidden {
		t.Errorf("a token agreed: %d", got)
	}
	w.routes.acts[0].ProposedBy = "network:network"
	if got := w.ask(console.Public, "POST", "/api/v1/routes/acts/A-1/approve", why, w.cookie(console.Network)); !strings.Contains(got.Body.String(), "own_review") {
		t.Errorf("the same person agreed: %d %s", got.Code, got.Body)
	}
	if got := w.ask(console.Public, "POST", "/api/v1/routes/acts/A-1/approve", why, w.cookie(console.Operator)); got.Code != 200 || w.routes.acts[0].State != "approved" {
		t.Errorf("somebody else: %d %s", got.Code, got.Body)
	}
	if got := w.ask(console.Legal, "POST", "/api/v1/routes/acts/A-1/withdraw", why, nil); got.Code != 200 || w.routes.acts[0].State != "withdrawn" {
		t.Errorf("withdraw: %d %s", got.Code, got.Body)
	}
}

func TestRouteAnswers(t *testing.T) {
	w := newWorld(t)
	first := w.ask(console.Operator, "GET", "/api/v1/routes/incidents?limit=1", "", nil)
	if first.Header().Get("Link") == "" || strings.Count(first.Body.String(), `"id"`) != 1 {
		t.Errorf("a page of one: %s", first.Body)
	}
	for path, want := range map[string]string{
		"/api/v1/routes/incidents?format=csv&q=AS701&own=true":                                   "incident-leak,opened,leak,type 4,",
		"/api/v1/routes/incidents?kind=blackhole":                                                `"running":2`,
		"/api/v1/routes/incidents/incident-leak/course?step=20&format=csv":                       ",7,9,2,1",
		"/api/v1/routes/incidents/incident-leak/lanes?at=2016-09-20T12:00:00%2B09:00&format=csv": "203.0.113.0/24,,3356,3356 4713,3356 701 15169 4713,7,",
		"/api/v1/routes/incidents/incident-leak/lanes?at=yesterday":                              "range_invalid",
		"/api/v1/routes/incidents/incident-leak/prefixes?limit=1":                                `"kept":2`,
		"/api/v1/routes/incidents/incident-leak/prefixes?limit=1&format=csv":                     "203.0.113.0/24,4713,",
		"/api/v1/routes/incidents/incident-leak/impact":                                          `"addresses":256`,
		"/api/v1/routes/incidents/incident-leak/remedies":                                        `"filters":[]`,
		"/api/v1/routes/incidents/nothing":                                                       "not_found",
		"/api/v1/routes/watched?format=csv":                                                      "203.0.113.0/24,,,changed,0,0,701=0.5",
		"/api/v1/routes/neighbors?format=csv":                                                    "701,,peer,",
		"/api/v1/routes/feeds":                                                                   `"state":"stale"`,
		"/api/v1/routes/show?prefix=198.51.100.9&at=2016-09-20T12:00:00Z&format=csv":             "198.51.100.9/32,exact,3356,",
		"/api/v1/routes/show?prefix=nonsense":                                                    "filter_invalid",
		"/api/v1/routes/readiness":                                                               `"must":[]`,
		"/api/v1/routes/drill/D-1":                                                               `"state":"done"`,
	} {
		if got := w.ask(console.Operator, "GET", path, "", nil).Body.String(); !strings.Contains(got, want) {
			t.Errorf("%s has no %q:\n%s", path, want, got)
		}
	}
	if q := w.routes.asked; !slices.ContainsFunc(q, func(q IncidentQuery) bool { return q.Text == "AS701" && q.Own }) {
		t.Errorf("the question didn't arrive: %+v", q)
	}
	if want := time.Date(2016, 9, 20, 3, 0, 0, 0, time.UTC); !slices.ContainsFunc(w.routes.shown, want.Equal) {
		t.Errorf("lanes weren't asked for their time: %v", w.routes.shown)
	}
	if got := w.ask(console.Operator, "POST", "/api/v1/routes/drill", `{"scene":"leak-2017"}`, nil); got.Code != http.StatusAccepted {
		t.Errorf("drill: %d %s", got.Code, got.Body)
	}
}
