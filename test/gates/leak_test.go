package gates_test

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sakimori/detect"
	"sakimori/detect/leak"
	"sakimori/observe"
	"sakimori/observe/route"
	"sakimori/observe/route/relation"
	"sakimori/observe/route/rpki"
	"sakimori/sim"
)

// What the gate of routing incidents asks for.
const (
	leastLeakPrecision = 0.95
	leastLeakRecall    = 0.95
	mostLeakDelay      = time.Minute // from when the first peer told of it, in the time of the data
)

// lookout is what table and detector make of routes.
type lookout struct {
	table     *route.Table
	detector  *leak.Detector
	incidents map[string]detect.Incident
	order     []string
}

// newLookout makes one for somebody who knows so much.
func newLookout(t *testing.T, cfg leak.Config, ports leak.Ports, relations, siblings, registry []byte, now time.Time) *lookout {
	t.Helper()
	w := &lookout{incidents: map[string]detect.Incident{}}
	if relations != nil {
		r, err := relation.Read(bytes.NewReader(relations))
		if err != nil {
			t.Fatal(err)
		}
		ports.Relation, ports.RelationsAt, ports.Tier1, ports.RouteServer = r.Relation, r.Date(), r.Tier1, r.Exchange
	}
	if siblings != nil {
		s, err := relation.ReadSiblings(bytes.NewReader(siblings))
		if err != nil {
			t.Fatal(err)
		}
		ports.Sibling = s.Same
	}
	if registry != nil {
		data, err := rpki.Read(bytes.NewReader(registry))
		if err != nil {
			t.Fatal(err)
		}
		r := rpki.NewTable(now, data)
		ports.Origin = r.Origin
		ports.Hop = func(customer, provider uint32) observe.ASPA {
			switch r.Hop(customer, provider) {
			case rpki.Provider:
				return observe.ASPAValid
			case rpki.NotProvider:
				return observe.ASPAInvalid
			}
			return observe.ASPAUnknown
		}
	}
	var err error
	if w.detector, err = leak.New(cfg, ports, leak.Sinks{Incidents: w}); err != nil {
		t.Fatal(err)
	}
	if w.table, err = route.New(route.Config{}, w.detector); err != nil {
		t.Fatal(err)
	}
	return w
}

// Incident hears of a version.
func (w *lookout) Incident(i detect.Incident) {
	if _, again := w.incidents[i.ID]; !again {
		w.order = append(w.order, i.ID)
	}
	w.incidents[i.ID] = i
}

// IncidentCourse isn't judged.
func (w *lookout) IncidentCourse(string, []detect.RoutePoint) {}

// read takes a file, second by second.
func (w *lookout) read(t *testing.T, file []byte, feed string) route.File {
	t.Helper()
	n, err := route.ReadFrom(t.Context(), w.table, bytes.NewReader(file), int64(len(file)), route.ReadOptions{Feed: feed, Each: func(second int64) {
		w.detector.Tick(time.Unix(second, 0))
	}})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// knows is what the operator of a scene has written down.
func knows(k *sim.RouteKnows) leak.Config {
	cfg := leak.Config{
		AS: []uint32{k.Home}, NoTransit: k.NoTransit, RouteServers: k.RouteServers, Anycast: k.Anycast, Mitigators: k.Mitigators, Plan: k.Plan,
		Paths: 1 << 17, Prefixes: 1 << 16, Ways: 1 << 17, Adjacencies: 1 << 14, // a hundred of them are much
	}
	for _, o := range k.Own {
		cfg.Own = append(cfg.Own, leak.Own{Prefix: o.Prefix, Origins: o.Origins, Name: o.Name, Customer: o.Name != ""})
	}
	for _, n := range k.Neighbors {
		cfg.Neighbors = append(cfg.Neighbors, leak.Neighbor{AS: n.AS, Relation: n.Relation})
	}
	for _, m := range k.Maintenance {
		cfg.Maintenance = append(cfg.Maintenance, leak.Window{From: m.From, To: m.To, Prefix: m.Prefix, AS: m.AS, Why: m.Why})
	}
	return cfg
}

// leakage is a route scene with what was made of it.
type leakage struct {
	scene    sim.NamedRouteScene
	truth    sim.RouteTruth
	score    score
	calm     score
	rows     []leakRow
	restored int // of the incidents that were found and end within the scene
	ended    int
}

// leakRow is one incident of the truth in the table.
type leakRow struct {
	truth *sim.RouteIncident
	said  *detect.Incident // nil: nothing
	extra []string         // what is wrong with it
}

// asGood are signs that say as much as another: where ASPA says that a way bends the wrong
// way, nobody needs to guess it from relations.
var asGood = map[string][]string{
	"valley":        {"between-tier1s", "aspa-invalid", "otc"},
	"first-hop":     {"aspa-invalid", "new-upstream"},
	"origin-change": {"rov-invalid"},
}

func playLeak(t *testing.T, s sim.NamedRouteScene) *leakage {
	t.Helper()
	l := &leakage{scene: s}
	var dump, updates, relations, siblings, registry bytes.Buffer
	var err error
	if l.truth, err = s.Scene.WriteMRT(&dump, &updates); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{l.truth.WriteRelations(&relations), l.truth.WriteSiblings(&siblings), l.truth.WriteRPKI(&registry)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w := newLookout(t, knows(&l.truth.Knows), leak.Ports{}, relations.Bytes(), siblings.Bytes(), registry.Bytes(), l.truth.Start)
	table, news := w.read(t, dump.Bytes(), "sim"), w.read(t, updates.Bytes(), "sim")
	w.table.Flush()
	w.detector.Tick(l.truth.End)
	w.detector.Finish()
	// The reader's counts are the truth's, but for messages that are damaged.
	if int(table.Announcements) != l.truth.Entries || news.Malformed != l.truth.Damaged ||
		l.truth.Damaged == 0 && (news.Announcements != l.truth.Announced || news.Withdrawals != l.truth.Withdrawn) {
		t.Errorf("%d routes, %d announced, %d withdrawn, %d malformed; the truth says %d, %d, %d, %d", table.Announcements, news.Announcements, news.Withdrawals, news.Malformed,
			l.truth.Entries, l.truth.Announced, l.truth.Withdrawn, l.truth.Damaged)
	}
	l.judge(w)
	return l
}

// ofSame tells whether what was said is about an incident of the truth.
func ofSame(a *detect.Incident, x *sim.RouteIncident) bool {
	kind := string(a.Kind) == x.Kind || x.Or != "" && string(a.Kind) == x.Or
	late := x.End
	if late.IsZero() {
		late = a.Opened
	}
	return kind && a.Leaker == x.Leaker && (x.Adjacency == "" || a.Adjacency == x.Adjacency) &&
		!a.Opened.Before(x.First.Add(-5*time.Second)) && !a.Opened.After(late.Add(5*time.Second))
}

// judge compares. A claim is right if kind, leaker and, where there is a single one, the
// adjacency are, and if it is the only one about that event.
func (l *leakage) judge(w *lookout) {
	heard := make([]*detect.Incident, len(l.truth.Incidents))
	wrong := 0
	for _, id := range w.order {
		a := w.incidents[id]
		i := slices.IndexFunc(l.truth.Incidents, func(x sim.RouteIncident) bool { return ofSame(&a, &x) })
		right := i >= 0 && heard[i] == nil
		l.score.claim(right, "%s: said %s", l.scene.Name, saidOfIncident(&a))
		if right {
			heard[i] = &a
		} else {
			wrong++
		}
	}
	for i := range l.truth.Incidents {
		x := &l.truth.Incidents[i]
		row := leakRow{truth: x, said: heard[i]}
		l.score.want(row.said != nil, "%s: %s", l.scene.Name, trueOfIncident(x))
		if a := row.said; a != nil {
			delay := a.Detected.Sub(x.First)
			l.score.delays = append(l.score.delays, delay)
			if delay > mostLeakDelay {
				row.extra = append(row.extra, fmt.Sprintf("told after %s", delay))
			}
			for _, s := range x.Signals {
				if !slices.ContainsFunc(a.Signals, func(b detect.Signal) bool { return b.Name == s || slices.Contains(asGood[s], b.Name) }) {
					row.extra = append(row.extra, "no "+s)
				}
			}
			if n := int(a.Prefixes.N); x.Kind != "outage" && n != x.Prefixes {
				row.extra = append(row.extra, fmt.Sprintf("%d prefixes of %d", n, x.Prefixes))
			}
			if !x.End.IsZero() && x.End.Add(7*time.Minute).Before(l.truth.End) {
				l.ended++
				if a.State == detect.Closed && a.Restored {
					l.restored++
				} else {
					row.extra = append(row.extra, "no restoration")
				}
			}
		}
		l.rows = append(l.rows, row)
	}
	if len(l.truth.Incidents) == 0 {
		l.calm.claim(wrong == 0, "%s: %d said", l.scene.Name, wrong)
	}
}

func saidOfIncident(a *detect.Incident) string {
	var signs []string
	for _, s := range a.Signals {
		signs = append(signs, s.Name)
	}
	return fmt.Sprintf("%s %s, AS%d, %s, %d prefixes, confidence %.2f, opened %s, by %s; %s", a.Kind, a.Form, a.Leaker, cmp.Or(a.Adjacency, "–"), a.Prefixes.N, a.Confidence,
		a.Opened.Format(time.TimeOnly), strings.Join(signs, " "), a.Why.EN)
}

func trueOfIncident(x *sim.RouteIncident) string {
	return fmt.Sprintf("%s %s, AS%d, %s, %d prefixes, %d peers, onset %s", x.Kind, x.Form, x.Leaker, cmp.Or(x.Adjacency, "–"), x.Prefixes, x.Peers, x.Onset.Format(time.TimeOnly))
}

// TestLeaks is the gate of routing incidents: every labelled route scene, as files, through
// the table and the detector. It keeps docs/gates-leak.md (go test ./test/gates -run TestLeaks -update).
func TestLeaks(t *testing.T) {
	t.Parallel()
	scenes := sim.RouteScenes()
	results := make([]*leakage, len(scenes))
	var mu sync.Mutex
	t.Run("scene", func(t *testing.T) {
		for i, s := range scenes {
			s.Scene.Seed += *seed
			t.Run(s.Name, func(t *testing.T) {
				t.Parallel()
				l := playLeak(t, s)
				mu.Lock()
				defer mu.Unlock()
				results[i] = l
			})
		}
	})
	whole := !slices.Contains(results, nil)
	results = slices.DeleteFunc(results, func(l *leakage) bool { return l == nil })
	var all, calm score
	for _, l := range results {
		all.add(&l.score)
		calm.add(&l.calm)
		for _, r := range l.rows {
			for _, x := range r.extra {
				if strings.HasPrefix(x, "told after") || strings.HasPrefix(x, "no ") && x != "no restoration" {
					t.Errorf("%s: %s", l.scene.Name, x)
				}
			}
		}
	}
	for _, m := range slices.Concat(all.misses, calm.misses) {
		t.Log(m)
	}
	var files []leakFile
	t.Run("files", func(t *testing.T) { files = leakFiles(t) })
	page := leakPage(results, files, &all, &calm)
	t.Log("\n" + page)
	if all.precision() < leastLeakPrecision || all.recall() < leastLeakRecall {
		t.Errorf("precision %.4f (of %d), recall %.4f (of %d)", all.precision(), all.claims, all.recall(), all.wanted)
	}
	if *update && *seed == 0 && whole && len(files) > 0 && !t.Failed() {
		if err := os.WriteFile(filepath.Join(root, "docs", "gates-leak.md"), []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
