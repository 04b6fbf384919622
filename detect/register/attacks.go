package register

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sakimori/base/store"
	"sakimori/detect"
	"sakimori/observe"
)

// An attack has one row, its newest version, with the samples that filters are made of;
// of the versions before only what changed is kept. Its course has one row a second.
var attackTables = store.Migration{Version: 2, Name: "attacks", SQL: `
	CREATE TABLE detect_attack (
		id VARCHAR NOT NULL,
		open BOOLEAN NOT NULL,
		direction VARCHAR NOT NULL,
		object VARCHAR NOT NULL,  -- prefix, or "" of a customer or link
		name VARCHAR NOT NULL,
		vectors VARCHAR NOT NULL, -- names, each between commas
		opened BIGINT NOT NULL,   -- Unix nanoseconds
		changed BIGINT NOT NULL,
		closed BIGINT NOT NULL,   -- 0 while it lasts
		doc VARCHAR NOT NULL      -- the whole attack as JSON
	);
	CREATE TABLE detect_attack_version (id VARCHAR NOT NULL, changed BIGINT NOT NULL, state VARCHAR NOT NULL, doc VARCHAR NOT NULL);
	CREATE TABLE detect_course (
		id VARCHAR NOT NULL,
		second BIGINT NOT NULL, -- Unix
		packets DOUBLE NOT NULL,
		bits DOUBLE NOT NULL,
		error DOUBLE NOT NULL,
		dropped DOUBLE NOT NULL,
		usual DOUBLE NOT NULL,
		line DOUBLE NOT NULL
	)`}

// Course is a part of an attack's course.
type Course struct {
	ID     string
	Points []detect.CoursePoint
}

// WriteAttacks adds versions of attacks, in the order in which they were made, and what
// is new of their courses. Writing the same again changes nothing.
func (r *Register) WriteAttacks(tx *store.Tx, attacks []detect.Attack, courses []Course) error {
	ctx := context.Background() // a transaction is not stopped half way
	if err := writeAttacks(ctx, tx, attacks); err != nil {
		return fmt.Errorf("register of attacks: write: %w", err)
	}
	if err := writeCourses(ctx, tx, courses); err != nil {
		return fmt.Errorf("register of attacks: write a course: %w", err)
	}
	return nil
}

func writeAttacks(ctx context.Context, tx *store.Tx, attacks []detect.Attack) error {
	k := kept[detect.Attack]{
		table: "detect_attack", what: "an attack",
		version: func(a *detect.Attack) version { return version{a.ID, a.Changed.UnixNano(), a.State} },
		slim: func(a detect.Attack) detect.Attack {
			a.Sample, a.Ordinary, a.Hit, a.Ingress = nil, nil, nil, nil
			return a
		},
		row: func(row store.Row, a *detect.Attack, doc string) error {
			object, names := "", ","
			if a.Object.Prefix.IsValid() {
				object = a.Object.Prefix.String()
			}
			for i := range a.Vectors {
				names += a.Vectors[i].Name + ","
			}
			return row(a.ID, a.State != detect.Closed, string(a.Direction), object, a.Object.Name, names, a.Opened.UnixNano(), a.Changed.UnixNano(), nanos(a.Closed), doc)
		},
	}
	return k.write(ctx, tx, attacks)
}

func writeCourses(ctx context.Context, tx *store.Tx, courses []Course) error {
	type second struct {
		id string
		at int64
	}
	points := map[second]detect.CoursePoint{}
	var order []second
	for _, c := range courses {
		for _, p := range c.Points {
			s := second{c.ID, p.At}
			if _, again := points[s]; !again {
				order = append(order, s)
			}
			points[s] = p
		}
	}
	if len(order) == 0 {
		return nil
	}
	ids, times := make([]string, len(order)), make([]int64, len(order))
	for i, s := range order {
		ids[i], times[i] = s.id, s.at
	}
	if err := tx.Exec(ctx, `DELETE FROM detect_course WHERE (id, second) IN (SELECT unnest(?::VARCHAR[]), unnest(?::BIGINT[]))`, ids, times); err != nil {
		return err
	}
	return tx.Append("detect_course", func(row store.Row) error {
		for _, s := range order {
			p := points[s]
			if err := row(s.id, p.At, p.Packets, p.Bits, p.Error, p.Dropped, p.Usual, p.Limit); err != nil {
				return err
			}
		}
		return nil
	})
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// AttackQuery selects attacks as they stand; zero fields select everything.
type AttackQuery struct {
	Open      *bool
	Direction detect.Direction
	Vector    string
	Name      string        // of a customer or link: its beginning
	Within    netip.Prefix  // objects that share an address with it
	Range     observe.Range // attacks that were open in it
	Limit     int           // 1..500
	After     string        // next of the page before
}

// ErrNoAttack says that no attack has the id.
var ErrNoAttack = errors.New("no attack has this id: see sakimori attack list")

// Attacks is a page of attacks: under way first, then by when they were opened, the
// latest first. next is "" on the last page.
func (r *Register) Attacks(ctx context.Context, q AttackQuery) (out []detect.Attack, next string, err error) {
	return pageOf(q.Limit, q.After,
		func(after string) ([]detect.Attack, bool, error) { return r.attackPage(ctx, q, after) },
		func(a *detect.Attack) bool {
			return !q.Within.IsValid() || a.Object.Prefix.IsValid() && q.Within.Overlaps(a.Object.Prefix)
		},
		func(a *detect.Attack) string { return lifeMark(a.State, a.Opened, a.ID) })
}

func (r *Register) attackPage(ctx context.Context, q AttackQuery, after string) (out []detect.Attack, more bool, err error) {
	where := []string{"true"}
	var args []any
	add := func(s string, a ...any) { where, args = append(where, s), append(args, a...) }
	if q.Open != nil {
		add("open = ?", *q.Open)
	}
	if q.Direction != "" {
		add("direction = ?", string(q.Direction))
	}
	if q.Vector != "" {
		add("contains(vectors, ?)", ","+q.Vector+",")
	}
	if q.Name != "" {
		add("starts_with(lower(name), lower(?))", q.Name)
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
	out, err = r.attackDocs(ctx, `SELECT doc FROM detect_attack WHERE `+strings.Join(where, " AND ")+` ORDER BY open DESC, opened DESC, id LIMIT `+strconv.Itoa(q.Limit+1), args...)
	return out, len(out) > q.Limit, err
}

func (r *Register) attackDocs(ctx context.Context, query string, args ...any) ([]detect.Attack, error) {
	return documents[detect.Attack](ctx, r.store, "attacks", query, args...)
}

// Running counts the attacks under way.
func (r *Register) Running(ctx context.Context) (n int, err error) {
	if err := r.store.QueryRow(ctx, `SELECT count(*) FROM detect_attack WHERE open`).Scan(&n); err != nil {
		return 0, fmt.Errorf("register of attacks: %w", err)
	}
	return n, nil
}

// AttackNow is an attack as it stands.
func (r *Register) AttackNow(ctx context.Context, id string) (detect.Attack, error) {
	now, err := r.attackDocs(ctx, `SELECT doc FROM detect_attack WHERE id = ?`, id)
	if err != nil {
		return detect.Attack{}, err
	}
	if len(now) == 0 {
		return detect.Attack{}, fmt.Errorf("attack %s: %w", id, ErrNoAttack)
	}
	return now[0], nil
}

// Attack is an attack as it stands, and its versions without their samples, oldest first:
// the first one, and of the others the last hundred.
func (r *Register) Attack(ctx context.Context, id string) (detect.Attack, []detect.Attack, error) {
	now, err := r.AttackNow(ctx, id)
	if err != nil {
		return now, nil, err
	}
	history, err := r.attackDocs(ctx, lastVersions("detect_attack"), id, versionsMost)
	return now, history, err
}

// Course is the course of an attack in a span, by steps of so many seconds, each the mean
// of the seconds that are known in it; a zero span is all of it.
func (r *Register) Course(ctx context.Context, id string, span observe.Range, step int) ([]detect.CoursePoint, error) {
	from, to := int64(0), int64(1)<<40
	if !span.From.IsZero() {
		from = span.From.Unix()
	}
	if !span.To.IsZero() {
		to = span.To.Unix()
	}
	step = max(step, 1)
	rows, err := r.store.Query(ctx, `
		SELECT second // ? * ?, avg(packets), avg(bits), sqrt(sum(error*error))/count(*), avg(dropped), avg(usual), max(line)
		FROM detect_course WHERE id = ? AND second >= ? AND second < ? GROUP BY 1 ORDER BY 1`, step, step, id, from, to)
	if err != nil {
		return nil, fmt.Errorf("register of attacks: course: %w", err)
	}
	defer rows.Close()
	out := []detect.CoursePoint{}
	for rows.Next() {
		var p detect.CoursePoint
		if err := rows.Scan(&p.At, &p.Packets, &p.Bits, &p.Error, &p.Dropped, &p.Usual, &p.Limit); err != nil {
			return nil, fmt.Errorf("register of attacks: course: %w", err)
		}
		out = append(out, p)
	}
	return out, rows.Err()
}
