package casework

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Flow is how many cases came so far within a time. A case counts once in each,
// however often it came there.
type Flow struct {
	Opened       int `json:"opened"`
	Notified     int `json:"notified"`
	Acknowledged int `json:"acknowledged"`
	Cleaned      int `json:"cleaned"`
	Relapsed     int `json:"relapsed"`
	Unreachable  int `json:"unreachable"`
}

// Group is the cases of one family or kind of device, "" of those that aren't known.
type Group struct {
	Name string `json:"name"`
	Open int    `json:"open"` // now
	Flow
}

// Day is what happened on one, in UTC.
type Day struct {
	At time.Time `json:"at"`
	Flow
}

// Summary is how the desk does: the cases as they stand now, and what happened in a
// time. Cases that were merged into others aren't counted.
type Summary struct {
	States     map[State]int `json:"states"`
	Open       int           `json:"open"`
	Overdue    int           `json:"overdue"`
	Held       int           `json:"held"`
	Unassigned int           `json:"unassigned"` // of the open ones
	Nobody     int           `json:"nobody"`     // signs that are nobody's
	Flow       Flow          `json:"flow"`
	Families   []Group       `json:"families"` // most open first
	Devices    []Group       `json:"devices"`
	Days       []Day         `json:"days"` // all of the time, also those without anything
}

// Summary counts; the time is from inclusive, to exclusive.
func (d *Desk) Summary(ctx context.Context, from, to time.Time) (s Summary, err error) {
	s.States = map[State]int{}
	families, devices := map[string]*Group{}, map[string]*Group{}
	if err := d.standing(ctx, &s, families, devices); err != nil {
		return s, err
	}
	if err := d.db.QueryRow(ctx, `SELECT count(*) FROM casework_sign WHERE case_id = ''`).Scan(&s.Nobody); err != nil {
		return s, fmt.Errorf("count signs: %w", err)
	}
	if err := d.flow(ctx, &s, from, to, families, devices); err != nil {
		return s, err
	}
	s.Families, s.Devices = ranked(families), ranked(devices)
	return s, nil
}

// standing counts the cases as they are.
func (d *Desk) standing(ctx context.Context, s *Summary, families, devices map[string]*Group) error {
	rows, err := d.db.Query(ctx, `SELECT state, family, device, held, count(*),
		sum(CASE WHEN assignee = '' THEN 1 ELSE 0 END), sum(CASE WHEN due > 0 AND due < $1 THEN 1 ELSE 0 END)
		FROM casework_case WHERE merged = '' GROUP BY state, family, device, held`, d.clock.Now().UnixNano())
	if err != nil {
		return fmt.Errorf("count cases: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var state State
		var family, device string
		var held bool
		var n, free, late int
		if err := rows.Scan(&state, &family, &device, &held, &n, &free, &late); err != nil {
			return fmt.Errorf("count cases: %w", err)
		}
		s.States[state] += n
		if !state.Open() {
			continue
		}
		s.Open += n
		group(families, family).Open += n
		group(devices, device).Open += n
		s.Unassigned += free
		s.Overdue += late
		if held {
			s.Held += n
		}
	}
	return rows.Err()
}

// flow counts what happened. Events come in order of the cases, so that what has
// counted is known for one case alone.
func (d *Desk) flow(ctx context.Context, s *Summary, from, to time.Time, families, devices map[string]*Group) error {
	const day = 24 * time.Hour
	first := from.UTC().Truncate(day)
	for t := first; t.Before(to); t = t.Add(day) {
		s.Days = append(s.Days, Day{At: t})
	}
	rows, err := d.db.Query(ctx, `SELECT e.case_id, e.what, e.at, c.family, c.device FROM casework_event e JOIN casework_case c ON c.id = e.case_id
		WHERE e.at >= $1 AND e.at < $2 AND e.what IN ('new', 'notified', 'acknowledged', 'clean', 'relapsed', 'unreachable') AND c.merged = '' ORDER BY e.case_id`, from.UnixNano(), to.UnixNano())
	if err != nil {
		return fmt.Errorf("count what happened: %w", err)
	}
	defer rows.Close()
	type once struct {
		what State
		day  int // -1 of the whole time
	}
	last, had := "", map[once]bool{}
	for rows.Next() {
		var id, family, device string
		var what State
		var at int64
		if err := rows.Scan(&id, &what, &at, &family, &device); err != nil {
			return fmt.Errorf("count what happened: %w", err)
		}
		if id != last {
			last = id
			clear(had)
		}
		if whole := (once{what, -1}); !had[whole] {
			had[whole] = true
			s.Flow.count(what)
			group(families, family).count(what)
			group(devices, device).count(what)
		}
		n := int(time.Unix(0, at).UTC().Sub(first) / day)
		if today := (once{what, n}); !had[today] {
			had[today] = true
			s.Days[n].count(what)
		}
	}
	return rows.Err()
}

func (f *Flow) count(what State) {
	switch what {
	case New:
		f.Opened++
	case Notified:
		f.Notified++
	case Acknowledged:
		f.Acknowledged++
	case Clean:
		f.Cleaned++
	case Relapsed:
		f.Relapsed++
	case Unreachable:
		f.Unreachable++
	}
}

func group(all map[string]*Group, name string) *Group {
	g, known := all[name]
	if !known {
		g = &Group{Name: name}
		all[name] = g
	}
	return g
}

func ranked(all map[string]*Group) []Group {
	list := make([]Group, 0, len(all))
	for _, g := range all {
		list = append(list, *g)
	}
	slices.SortFunc(list, func(a, b Group) int {
		if a.Open != b.Open {
			return b.Open - a.Open
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list
}
