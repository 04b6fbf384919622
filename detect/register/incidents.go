package register

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"sakimori/base/store"
	"sakimori/detect"
	"sakimori/observe"
)

// An incident of routing has one row, its newest version whole; of the versions before
// what changed is kept. Its course has one row for ten seconds.
var incidentTables = store.Migration{Version: 3, Name: "incidents", SQL: `
	CREATE TABLE detect_incident (
		id VARCHAR NOT NULL,
		open BOOLEAN NOT NULL,
		kind VARCHAR NOT NULL,
		own BOOLEAN NOT NULL,     -- own or customers' space is hit
		ases VARCHAR NOT NULL,    -- numbers of who takes part, each between commas
		words VARCHAR NOT NULL,   -- customers' names and the adjacency
		opened BIGINT NOT NULL,   -- Unix nanoseconds
		changed BIGINT NOT NULL,
		closed BIGINT NOT NULL,   -- 0 while it lasts
		doc VARCHAR NOT NULL      -- the whole incident as JSON
	);
	CREATE TABLE detect_incident_version (id VARCHAR NOT NULL, changed BIGINT NOT NULL, state VARCHAR NOT NULL, doc VARCHAR NOT NULL);
	CREATE TABLE detect_incident_course (
		id VARCHAR NOT NULL,
		second BIGINT NOT NULL, -- Unix
		prefixes BIGINT NOT NULL,
		announced BIGINT NOT NULL,
		withdrawn BIGINT NOT NULL,
		peers BIGINT NOT NULL
	)`}

var incidentsKept = kept[detect.Incident]{
	table: "detect_incident", what: "an incident", many: "incidents",
	version: func(i *detect.Incident) version { return version{i.ID, i.Changed.UnixNano(), i.State} },
	opened:  func(i *detect.Incident) time.Time { return i.Opened },
	slim: func(i detect.Incident) detect.Incident {
		i.Sample, i.Whose, i.Peers, i.Evidence, i.History = nil, nil, nil, nil, nil
		return i
	},
	row: func(row store.Row, i *detect.Incident, doc string) error {
		ases, words := ",", i.Adjacency
		for _, as := range append(append([]uint32{i.Leaker, i.From, i.To}, i.Origins...), i.Expected...) {
			if as != 0 {
				ases += strconv.FormatUint(uint64(as), 10) + ","
			}
		}
		for _, o := range i.Own {
			words += "\n" + o.Name
		}
		return row(i.ID, i.State != detect.Closed, string(i.Kind), len(i.Own) > 0, ases, words, i.Opened.UnixNano(), i.Changed.UnixNano(), nanos(i.Closed), doc)
	},
}

// A step of an incident's course is what stood at its end, and what came in it.
var incidentCourses = courses[detect.RoutePoint]{
	table: "detect_incident_course", many: "incidents",
	second: func(p *detect.RoutePoint) int64 { return p.At },
	row: func(row store.Row, id string, p *detect.RoutePoint) error {
		return row(id, p.At, int64(p.Prefixes), int64(p.Announced), int64(p.Withdrawn), int64(p.Peers))
	},
	mean: `arg_max(prefixes, second), sum(announced)::BIGINT, sum(withdrawn)::BIGINT, arg_max(peers, second)`,
	into: func(p *detect.RoutePoint) []any {
		return []any{&p.At, &p.Prefixes, &p.Announced, &p.Withdrawn, &p.Peers}
	},
}

// WriteIncidents adds versions of incidents, in the order in which they were made, and
// what is new of their courses. Writing the same again changes nothing.
func (r *Register) WriteIncidents(tx *store.Tx, incidents []detect.Incident, parts []Course[detect.RoutePoint]) error {
	return written(context.Background(), tx, &incidentsKept, incidents, &incidentCourses, parts) // a transaction is not stopped half way
}

// IncidentQuery selects incidents as they stand; zero fields select everything.
type IncidentQuery struct {
	Open   *bool
	Kind   detect.IncidentKind
	Own    bool          // only those that hit own or customers' space
	AS     uint32        // who takes part in it
	Name   string        // a part of a customer's name or of the adjacency
	Within netip.Prefix  // incidents with a prefix that shares an address with it, as far as their prefixes are kept
	Range  observe.Range // incidents that were open in it
	Limit  int           // 1..500
	After  string        // next of the page before
}

// ErrNoIncident says that no incident has the id.
var ErrNoIncident = errors.New("no incident has this id: see sakimori incident list")

// Incidents is a page of incidents: open ones first, then by when they were opened, the
// latest first. next is "" on the last page.
func (r *Register) Incidents(ctx context.Context, q IncidentQuery) (out []detect.Incident, next string, err error) {
	return incidentsKept.page(ctx, r.store, pageQuery{q.Open, q.Range, q.Limit, q.After}, func(f *filter) {
		if q.Kind != "" {
			f.add("kind = ?", string(q.Kind))
		}
		if q.Own {
			f.add("own")
		}
		if q.AS != 0 {
			f.add("contains(ases, ?)", fmt.Sprintf(",%d,", q.AS))
		}
		if q.Name != "" {
			f.add("contains(lower(words), lower(?))", q.Name)
		}
	}, func(i *detect.Incident) bool { return !q.Within.IsValid() || touches(i, q.Within) })
}

// touches tells whether a prefix of the incident shares an address with p.
func touches(i *detect.Incident, p netip.Prefix) bool {
	for j := range i.Sample {
		if i.Sample[j].Prefix.Overlaps(p) {
			return true
		}
	}
	for j := range i.Own {
		if i.Own[j].Prefix.Overlaps(p) {
			return true
		}
	}
	return false
}

// OpenIncidents counts the incidents that last.
func (r *Register) OpenIncidents(ctx context.Context) (int, error) {
	return incidentsKept.running(ctx, r.store)
}

// Incident is an incident as it stands.
func (r *Register) Incident(ctx context.Context, id string) (detect.Incident, error) {
	return incidentsKept.now(ctx, r.store, id, ErrNoIncident)
}

// IncidentVersions are an incident's versions without their samples, the oldest first: the
// first one, and of the others the last hundred.
func (r *Register) IncidentVersions(ctx context.Context, id string) ([]detect.Incident, error) {
	return incidentsKept.versions(ctx, r.store, id)
}

// IncidentCourse is the course of an incident in a span, by steps of so many seconds: what
// stood at the end of each, and what came in it. A zero span is all of it.
func (r *Register) IncidentCourse(ctx context.Context, id string, span observe.Range, step int) ([]detect.RoutePoint, error) {
	return incidentCourses.read(ctx, r.store, id, span, step)
}
