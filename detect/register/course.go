package register

import (
	"context"
	"fmt"

	"sakimori/base/store"
	"sakimori/observe"
)

// Course is a part of the course of an attack or an incident.
type Course[P any] struct {
	ID     string
	Points []P
}

// courses is how courses are kept: a row for each second of a thing, in table.
type courses[P any] struct {
	table, many string
	second      func(*P) int64 // Unix
	row         func(row store.Row, id string, p *P) error
	mean        string           // the columns of one step, as SQL
	into        func(p *P) []any // where they go, after the second
}

// write puts down what is new; a second that is there already is written over.
func (c *courses[P]) write(ctx context.Context, tx *store.Tx, list []Course[P]) error {
	type second struct {
		id string
		at int64
	}
	points := map[second]*P{}
	var ids []string
	var times []int64
	for i := range list {
		for k := range list[i].Points {
			p := &list[i].Points[k]
			s := second{list[i].ID, c.second(p)}
			if points[s] == nil {
				ids, times = append(ids, s.id), append(times, s.at)
			}
			points[s] = p
		}
	}
	if len(ids) == 0 {
		return nil
	}
	if err := tx.Exec(ctx, `DELETE FROM `+c.table+` WHERE (id, second) IN (SELECT unnest(?::VARCHAR[]), unnest(?::BIGINT[]))`, ids, times); err != nil {
		return err
	}
	return tx.Append(c.table, func(row store.Row) error {
		for i, id := range ids {
			if err := c.row(row, id, points[second{id, times[i]}]); err != nil {
				return err
			}
		}
		return nil
	})
}

// read gives a course in a span, by steps of so many seconds; a zero span is all of it.
func (c *courses[P]) read(ctx context.Context, s *store.Store, id string, span observe.Range, step int) ([]P, error) {
	from, to := int64(0), int64(1)<<40
	if !span.From.IsZero() {
		from = span.From.Unix()
	}
	if !span.To.IsZero() {
		to = span.To.Unix()
	}
	step = max(step, 1)
	rows, err := s.Query(ctx, `SELECT second // ? * ? AS at, `+c.mean+` FROM `+c.table+` WHERE id = ? AND second >= ? AND second < ? GROUP BY 1 ORDER BY 1`, step, step, id, from, to)
	if err != nil {
		return nil, fmt.Errorf("register of %s: course: %w", c.many, err)
	}
	defer rows.Close()
	out := []P{}
	for rows.Next() {
		var p P
		if err := rows.Scan(c.into(&p)...); err != nil {
			return nil, fmt.Errorf("register of %s: course: %w", c.many, err)
		}
		out = append(out, p)
	}
	return out, rows.Err()
}

// written is what a write of things and their courses ends with.
func written[T, P any](ctx context.Context, tx *store.Tx, k *kept[T], list []T, c *courses[P], parts []Course[P]) error {
	if err := k.write(ctx, tx, list); err != nil {
		return fmt.Errorf("register of %s: write: %w", k.many, err)
	}
	if err := c.write(ctx, tx, parts); err != nil {
		return fmt.Errorf("register of %s: write a course: %w", k.many, err)
	}
	return nil
}
