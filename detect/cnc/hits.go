package cnc

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Sinkholes is the zone of a hit that wasn't blocked, because defenders have the entry.
const Sinkholes = "sinkhole"

// Hit is how often an entry was asked for on a day.
type Hit struct {
	Entry   string
	Day     time.Time // any time of it, UTC
	Zone    string    // that blocked it; "" it would have been blocked; or Sinkholes
	Count   int64
	Clients int64 // how many different ones, with consent; 0 not counted
}

// Hits adds to the counts of entries. What isn't on the list is left out, and counted.
func (l *List) Hits(ctx context.Context, list []Hit) (unknown int, err error) {
	byKey := map[int64][]Hit{}
	var keys []int64
	for _, h := range list {
		k, err := parseID(h.Entry)
		if err != nil || h.Count <= 0 {
			unknown++
			continue
		}
		if byKey[k] == nil {
			keys = append(keys, k)
		}
		byKey[k] = append(byKey[k], h)
	}
	slices.Sort(keys)
	for part := range slices.Chunk(keys, lotSize) {
		missing := 0
		err := l.write(ctx, func(w *work) error {
			missing = 0
			entries, said, err := w.both(ctx, part)
			if err != nil {
				return err
			}
			for _, k := range part {
				e := entries[k]
				if e == nil {
					missing += len(byKey[k])
					continue
				}
				if err := w.hit(ctx, e, said[k], byKey[k]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return unknown, err
		}
		unknown += missing
	}
	return unknown, nil
}

func (w *work) hit(ctx context.Context, e *Entry, said []Said, hits []Hit) error {
	was := *e
	for _, h := range hits {
		day := dayOf(h.Day)
		if _, err := w.tx.Exec(ctx, `INSERT INTO cnc_hit (key, day, zone, n, clients) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (key, day, zone) DO UPDATE SET n = cnc_hit.n + excluded.n, clients = CASE WHEN excluded.clients > cnc_hit.clients THEN excluded.clients ELSE cnc_hit.clients END`,
			e.key, day.UnixNano(), h.Zone, h.Count, h.Clients); err != nil {
			return fmt.Errorf("count hits: %w", err)
		}
		switch h.Zone {
		case "":
			e.Would += h.Count
		case Sinkholes:
			e.Hits += h.Count
		default:
			e.Hits += h.Count
			w.blocks[blocked{day.UnixNano(), e.Family}] += h.Count
		}
		e.Hit = later(e.Hit, h.Day.UTC())
	}
	e.Score, e.Scored = w.weigh(e, said, w.reads, w.now, nil), w.now
	return w.save(ctx, e, was, 0)
}

// blocked is what blocks are counted by.
type blocked struct {
	day    int64
	family string
}

// Counted is how often an entry was asked for, over some days.
type Counted struct {
	Hits   int64 `json:"hits"`   // blocked, or led to a sinkhole
	Would  int64 `json:"would"`  // would have been blocked: it was in shadow
	Blocks int64 `json:"blocks"` // of the hits
}

// Counted tells how often entries were asked for since a day (UTC), that day with all its
// hours. Those that nobody asked for aren't in it.
func (l *List) Counted(ctx context.Context, ids []string, from time.Time) (map[string]Counted, error) {
	out := map[string]Counted{}
	keys := make([]int64, len(ids))
	for i, id := range ids {
		var err error
		if keys[i], err = parseID(id); err != nil {
			return nil, err
		}
	}
	for part := range slices.Chunk(keys, lotSize) {
		rows, err := l.db.Query(ctx, `SELECT key, zone, CAST(sum(n) AS BIGINT) FROM cnc_hit WHERE key IN (`+in(part)+`) AND day >= $1 GROUP BY key, zone`, dayOf(from).UnixNano())
		if err != nil {
			return nil, fmt.Errorf("read hits: %w", err)
		}
		defer rows.Close()
		for rows.Next() {
			var key, n int64
			var zone string
			if err := rows.Scan(&key, &zone, &n); err != nil {
				return nil, fmt.Errorf("read hits: %w", err)
			}
			c := out[idOf(key)]
			switch zone {
			case "":
				c.Would += n
			case Sinkholes:
				c.Hits += n
			default:
				c.Hits += n
				c.Blocks += n
			}
			out[idOf(key)] = c
		}
		if err := rows.Err(); err != nil {
			return nil, fmt.Errorf("read hits: %w", err)
		}
	}
	return out, nil
}

// Blocks is what was blocked of a family on a day.
type Blocks struct {
	Day    time.Time `json:"day"` // UTC
	Family string    `json:"family"`
	Count  int64     `json:"count"`
}

// Blocks are those since a day, day by day, the family with most of them first. Days and
// families without any aren't among them.
func (l *List) Blocks(ctx context.Context, from time.Time) (list []Blocks, err error) {
	rows, err := l.db.Query(ctx, `SELECT day, family, n FROM cnc_blocks WHERE day >= $1 ORDER BY day, n DESC, family`, dayOf(from).UnixNano())
	if err != nil {
		return nil, fmt.Errorf("read blocks: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var b Blocks
		var day int64
		if err := rows.Scan(&day, &b.Family, &b.Count); err != nil {
			return nil, fmt.Errorf("read blocks: %w", err)
		}
		b.Day = when(day)
		list = append(list, b)
	}
	return list, rows.Err()
}

func dayOf(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }
