package register

import (
	"context"
	"errors"
	"net/netip"
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

var attacksKept = kept[detect.Attack]{
	table: "detect_attack", what: "an attack", many: "attacks",
	version: func(a *detect.Attack) version { return version{a.ID, a.Changed.UnixNano(), a.State} },
	opened:  func(a *detect.Attack) time.Time { return a.Opened },
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

// A step of an attack's course is the mean of the seconds that are known in it.
var attackCourses = courses[detect.CoursePoint]{
	table: "detect_course", many: "attacks",
	second: func(p *detect.CoursePoint) int64 { return p.At },
	row: func(row store.Row, id string, p *detect.CoursePoint) error {
		return row(id, p.At, p.Packets, p.Bits, p.Error, p.Dropped, p.Usual, p.Limit)
	},
	mean: `avg(packets), avg(bits), sqrt(sum(error*error))/count(*), avg(dropped), avg(usual), max(line)`,
	into: func(p *detect.CoursePoint) []any {
		return []any{&p.At, &p.Packets, &p.Bits, &p.Error, &p.Dropped, &p.Usual, &p.Limit}
	},
}

// WriteAttacks adds versions of attacks, in the order in which they were made, and what
// is new of their courses. Writing the same again changes nothing.
func (r *Register) WriteAttacks(tx *store.Tx, attacks []detect.Attack, parts []Course[detect.CoursePoint]) error {
	return written(context.Background(), tx, &attacksKept, attacks, &attackCourses, parts) // a transaction is not stopped half way
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
	return attacksKept.page(ctx, r.store, pageQuery{q.Open, q.Range, q.Limit, q.After}, func(f *filter) {
		if q.Direction != "" {
			f.add("direction = ?", string(q.Direction))
		}
		if q.Vector != "" {
			f.add("contains(vectors, ?)", ","+q.Vector+",")
		}
		if q.Name != "" {
			f.add("starts_with(lower(name), lower(?))", q.Name)
		}
	}, func(a *detect.Attack) bool {
		return !q.Within.IsValid() || a.Object.Prefix.IsValid() && q.Within.Overlaps(a.Object.Prefix)
	})
}

// Running counts the attacks under way.
func (r *Register) Running(ctx context.Context) (int, error) {
	return attacksKept.running(ctx, r.store)
}

// AttackNow is an attack as it stands.
func (r *Register) AttackNow(ctx context.Context, id string) (detect.Attack, error) {
	return attacksKept.now(ctx, r.store, id, ErrNoAttack)
}

// Attack is an attack as it stands, and its versions without their samples, oldest first:
// the first one, and of the others the last hundred.
func (r *Register) Attack(ctx context.Context, id string) (detect.Attack, []detect.Attack, error) {
	now, err := r.AttackNow(ctx, id)
	if err != nil {
		return now, nil, err
	}
	history, err := attacksKept.versions(ctx, r.store, id)
	return now, history, err
}

// Course is the course of an attack in a span, by steps of so many seconds, each the mean
// of the seconds that are known in it; a zero span is all of it.
func (r *Register) Course(ctx context.Context, id string, span observe.Range, step int) ([]detect.CoursePoint, error) {
	return attackCourses.read(ctx, r.store, id, span, step)
}
