package register_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sakimori/base/store"
	"sakimori/detect"
	"sakimori/detect/register"
	"sakimori/observe"
)

func leak(n int, state detect.State, at time.Time) detect.Incident {
	i := detect.Incident{
		ID: fmt.Sprintf("incident-%02d", n), State: state, Kind: detect.Leak, Form: "type 4", Opened: time.Unix(1_700_000_000+int64(n), 0).UTC(), Changed: at.UTC(),
		Leaker: 15169, To: 701, Adjacency: "701-15169", Origins: []uint32{4713},
		Sample: []detect.HitPrefix{{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(n), 0}), 24), Origin: 4713}},
	}
	if n%2 == 0 {
		i.Own = []detect.OwnSpace{{Prefix: i.Sample[0].Prefix, Name: "Example Shop"}}
	}
	if state == detect.Closed {
		i.Closed, i.Restored = at.UTC(), true
	}
	return i
}

// What is written is read again, the newest version whole; writing it twice changes
// nothing; and each question finds what it should.
func TestIncidentsAreKept(t *testing.T) {
	s, r := open(t, t.TempDir())
	at := time.Unix(1_700_001_000, 0)
	var list []detect.Incident
	for n := range 6 {
		list = append(list, leak(n, detect.Opened, at), leak(n, detect.Changed, at.Add(time.Second)))
		if n < 2 {
			list = append(list, leak(n, detect.Closed, at.Add(2*time.Second)))
		}
	}
	courses := []register.Course[detect.RoutePoint]{
		{ID: "incident-03", Points: []detect.RoutePoint{{At: 100, Prefixes: 5, Announced: 5, Peers: 1}, {At: 110, Prefixes: 7, Announced: 2, Peers: 2}}},
		{ID: "incident-03", Points: []detect.RoutePoint{{At: 110, Prefixes: 8, Announced: 4, Withdrawn: 1, Peers: 2}}},
	}
	for range 2 {
		if err := s.Tx(t.Context(), func(tx *store.Tx) error { return r.WriteIncidents(tx, list, courses) }); err != nil {
			t.Fatal(err)
		}
	}
	now, err := r.Incident(t.Context(), "incident-01")
	versions, err2 := r.IncidentVersions(t.Context(), "incident-01")
	if err != nil || err2 != nil || now.State != detect.Closed || !now.Restored || len(now.Sample) != 1 || len(versions) != 3 || len(versions[0].Sample) != 0 {
		t.Errorf("%v %v: %+v, %d versions", err, err2, now, len(versions))
	}
	if _, err := r.Incident(t.Context(), "incident-99"); !errors.Is(err, register.ErrNoIncident) {
		t.Error(err)
	}
	if n, err := r.OpenIncidents(t.Context()); err != nil || n != 4 {
		t.Error(n, err)
	}
	points, err := r.IncidentCourse(t.Context(), "incident-03", observe.Range{}, 20)
	if err != nil || len(points) != 1 || points[0] != (detect.RoutePoint{At: 100, Prefixes: 8, Announced: 9, Withdrawn: 1, Peers: 2}) {
		t.Errorf("%v %+v", err, points)
	}
	open, ended := true, false
	for what, q := range map[string]struct {
		q    register.IncidentQuery
		want string
	}{
		"all":      {register.IncidentQuery{}, "[05 04 03 02 01 00]"},
		"open":     {register.IncidentQuery{Open: &open}, "[05 04 03 02]"},
		"ended":    {register.IncidentQuery{Open: &ended}, "[01 00]"},
		"own":      {register.IncidentQuery{Own: true}, "[04 02 00]"},
		"as":       {register.IncidentQuery{AS: 701}, "[05 04 03 02 01 00]"},
		"no as":    {register.IncidentQuery{AS: 70}, "[]"},
		"customer": {register.IncidentQuery{Name: "example"}, "[04 02 00]"},
		"within":   {register.IncidentQuery{Within: netip.MustParsePrefix("203.0.3.9/32")}, "[03]"},
		"kind":     {register.IncidentQuery{Kind: detect.Hijack}, "[]"},
	} {
		t.Run(what, func(t *testing.T) {
			got := []string{}
			for q.q.Limit = 2; ; {
				page, next, err := r.Incidents(t.Context(), q.q)
				if err != nil {
					t.Fatal(err)
				}
				for i := range page {
					got = append(got, page[i].ID[len("incident-"):])
				}
				if next == "" {
					break
				}
				q.q.After = next
			}
			if fmt.Sprint(got) != q.want {
				t.Errorf("%v, not %s", got, q.want)
			}
		})
	}
}
