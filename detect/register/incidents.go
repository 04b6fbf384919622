package register

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

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

// RouteCourse is a part of an incident's course.
type RouteCourse struct {
	ID     string
	Points []detect.RoutePoint
}

// WriteIncidents adds versions of incidents, in the order in which they were made, and
// what is new of their courses. Writing the same again changes nothing.
func (r *Register) WriteIncidents(tx *store.Tx, incidents []detect.Incident, courses []RouteCourse) error {
	ctx := context.Background() // a transaction is not stopped half way
	k := kept[detect.Incident]{
		table: "detect_incident", what: "an incident",
		version: func(i *detect.Incident) version { return version{i.ID, i.Changed.UnixNano(), i.State} },
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
	if err := k.write(ctx, tx, incidents); err != nil {
		return fmt.Errorf("register of incidents: write: %w", err)
	}
	if err := writeRouteCourses(ctx, tx, courses); err != nil {
		return fmt.Errorf("register of incidents: write a course: %w", err)
	}
	return nil
}

func writeRouteCourses(ctx context.Context, tx *store.Tx, courses []RouteCourse) error {
	type step struct {
		id string
		at int64
	}
	points := map[step]detect.RoutePoint{}
	var ids []string
	var times []int64
	for _, c := range courses {
		for _, p := range c.Points {
			s := step{c.ID, p.At}
			if _, again := points[s]; !again {
				ids, times = append(ids, s.id), append(times, s.at)
			}
			points[s] = p
		}
	}
	if len(ids) == 0 {
		return nil
	}
	if err := tx.Exec(ctx, `DELETE FROM detect_incident_course WHERE (id, second) IN (SELECT unnest(?::VARCHAR[]), unnest(?::BIGINT[]))`, ids, times); err != nil {
		return err
	}
	return tx.Append("detect_incident_course", func(row store.Row) error {
		for i, id := range ids {
			p := points[step{id, times[i]}]
			if err := row(id, p.At, int64(p.Prefixes), int64(p.Announced), int64(p.Withdrawn), int64(p.Peers)); err != nil {
				return err
			}
		}
		return nil
	})
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
	return pageOf(q.Limit, q.After,
		func(after string) ([]detect.Incident, bool, error) { return r.incidentPage(ctx, q, after) },
		func(i *detect.Incident) bool { return !q.Within.IsValid() || touches(i, q.Within) },
		func(i *detect.Incident) string { return lifeMark(i.State, i.Opened, i.ID) })
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

func (r *Register) incidentPage(ctx context.Context, q IncidentQuery, after string) (out []detect.Incident, more bool, err error) {
	where := []string{"true"}
	var args []any
	add := func(s string, a ...any) { where, args = append(where, s), append(args, a...) }
	if q.Open != nil {
		add("open = ?", *q.Open)
	}
	if q.Kind != "" {
		add("kind = ?", string(q.Kind))
	}
	if q.Own {
		add("own")
	}
	if q.AS != 0 {
		add("contains(ases, ?)", fmt.Sprintf(",%d,", q.AS))
	}
	if q.Name != "" {
		add("contains(lower(words), lower(?))", q.Name)
	}
	if !q.Range.From.IsZero() {
		add("(open OR closed >= ?)", q.Range.From.UnixNano())
	}
	if !q.Range.To.IsZero() {
		add("opened < ?", q.Range.To.UnixNano())
	}
	if after != "" {
		if err := afterMark(after, add); err != nil {
			return nil, false, err
		}
	}
	out, err = r.incidentDocs(ctx, `SELECT doc FROM detect_incident WHERE `+strings.Join(where, " AND ")+` ORDER BY open DESC, opened DESC, id LIMIT `+strconv.Itoa(q.Limit+1), args...)
	return out, len(out) > q.Limit, err
}

func (r *Register) incidentDocs(ctx context.Context, query string, args ...any) ([]detect.Incident, error) {
	return documents[detect.Incident](ctx, r.store, "incidents", query, args...)
}

// OpenIncidents counts the incidents that last.
func (r *Register) OpenIncidents(ctx context.Context) (n int, err error) {
	if err := r.store.QueryRow(ctx, `SELECT count(*) FROM detect_incident WHERE open`).Scan(&n); err != nil {
		return 0, fmt.Errorf("register of incidents: %w", err)
	}
	return n, nil
}

// Incident is an incident as it stands.
func (r *Register) Incident(ctx context.Context, id string) (detect.Incident, error) {
	now, err := r.incidentDocs(ctx, `SELECT doc FROM detect_incident WHERE id = ?`, id)
	if err != nil {
		return detect.Incident{}, err
	}
	if len(now) == 0 {
		return detect.Incident{}, fmt.Errorf("incident %s: %w", id, ErrNoIncident)
	}
	return now[0], nil
}

// IncidentVersions are an incident's versions without their samples, the oldest first: the
// first one, and of the others the last hundred.
func (r *Register) IncidentVersions(ctx context.Context, id string) ([]detect.Incident, error) {
	return r.incidentDocs(ctx, lastVersions("detect_incident"), id, versionsMost)
}

// IncidentCourse is the course of an incident in a span, by steps of so many seconds: what
// stood at the end of each, and what came in it. A zero span is all of it.
func (r *Register) IncidentCourse(ctx context.Context, id string, span observe.Range, step int) ([]detect.RoutePoint, error) {
	from, to := int64(0), int64(1)<<40
	if !span.From.IsZero() {
		from = span.From.Unix()
	}
	if !span.To.IsZero() {
		to = span.To.Unix()
	}
	step = max(step, 1)
	rows, err := r.store.Query(ctx, `
		SELECT second // ? * ? AS at, arg_max(prefixes, second), sum(announced)::BIGINT, sum(withdrawn)::BIGINT, arg_max(peers, second)
		FROM detect_incident_course WHERE id = ? AND second >= ? AND second < ? GROUP BY 1 ORDER BY 1`, step, step, id, from, to)
	if err != nil {
		return nil, fmt.Errorf("register of incidents: course: %w", err)
	}
	defer rows.Close()
	out := []detect.RoutePoint{}
	for rows.Next() {
		var p detect.RoutePoint
		if err := rows.Scan(&p.At, &p.Prefixes, &p.Announced, &p.Withdrawn, &p.Peers); err != nil {
			return nil, fmt.Errorf("register of incidents: course: %w", err)
		}
		out = append(out, p)
	}
	return out, rows.Err()
}
