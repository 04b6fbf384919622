package record

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"sakimori/base/store"
	"sakimori/observe"
)

// alike are the columns by which rows are one; pieces of a minute that isn't over yet
// are put together by them.
const alike = `start, id, exporter, in_if, out_if, src_hi, src_lo, dst_hi, dst_lo, proto, src_port, dst_port, flags, tos, marks, folded, last`

// list selects rows as scanKept reads them.
func list(from, fits string) string {
	return `SELECT ` + alike + `, max(first) AS first, max(rate), sum(packets)::UBIGINT, sum(bytes)::UBIGINT, sum(flows)::UBIGINT, sum(seen)::UBIGINT,
		max(src_as), max(dst_as), max(src_country), max(dst_country), max(customer) FROM ` + from + ` WHERE ` + fits + ` GROUP BY ` + alike
}

// scanKept reads a row that list selects, with its id.
func scanKept(scan func(...any) error) (w observe.FlowRow, id uint64, err error) {
	f := &w.Flow
	var start int64
	var seen uint64
	var srcCountry, dstCountry uint16
	err = scan(&start, &id, &f.Exporter, &f.In, &f.Out, &f.Src.Hi, &f.Src.Lo, &f.Dst.Hi, &f.Dst.Lo, &f.Proto, &f.SrcPort, &f.DstPort, &f.TCPFlags, &f.TOS, &f.Marks, &w.Folded, &f.Last,
		&f.First, &f.Rate, &f.Packets, &f.Bytes, &w.Flows, &seen, &f.SrcAS, &f.DstAS, &srcCountry, &dstCountry, &w.Customer)
	f.Seen = uint32(min(seen, math.MaxUint32))
	if f.Rate == 0 {
		f.Rate = 1
		if seen > 0 {
			f.Rate = uint32(min(math.MaxUint32, max(1, (f.Packets+seen/2)/seen)))
		}
	}
	w.At = time.Unix(0, f.First).UTC()
	w.SrcPlace = observe.FlowPlace{Country: country(srcCountry), AS: f.SrcAS}
	w.DstPlace = observe.FlowPlace{Country: country(dstCountry), AS: f.DstAS}
	return w, id, err
}

// finest is the span for questions about single rows: raw where every record of it was
// kept as it came.
func finest(ctx context.Context, v store.Asker, in observe.Range) (observe.FlowSpan, error) {
	have, err := bucketsOf(ctx, v)
	if err != nil {
		return observe.FlowSpan{}, err
	}
	s := have.span(in, observe.FlowMinute)
	if s.Grain != observe.FlowMinute {
		return s, nil
	}
	var marks, left uint64
	const q = `SELECT count(*)::UBIGINT, count(*) FILTER (WHERE raw_left > 0)::UBIGINT FROM flow_bucket WHERE grain = ? AND start >= ? AND start < ?`
	if err := v.QueryRow(ctx, q, uint8(observe.FlowMinute), s.Range.From.Unix(), s.Range.To.Unix()).Scan(&marks, &left); err != nil {
		return s, err
	}
	if marks > 0 && left == 0 {
		s.Grain = observe.FlowRaw
	}
	return s, nil
}

// pageMark is where a page ends: rows stand by their end, and by id.
type pageMark struct {
	last  int64
	id    uint64
	grain observe.FlowGrain
}

func (m pageMark) String() string { return fmt.Sprintf("%d %d %d", m.grain, m.last, m.id) }

func parseMark(s string) (m pageMark, err error) {
	if n, err := fmt.Sscanf(s, "%d %d %d", &m.grain, &m.last, &m.id); err != nil || n != 3 || m.grain > observe.FlowHour {
		return m, errors.New("this page mark is none of ours: begin again without it")
	}
	return m, nil
}

// Search lists the rows that fit for sure, the latest first. after is the Next of the
// page before. Of a range for which every record was kept as it came it lists those.
func (r *Record) Search(ctx context.Context, q observe.FlowQuery, after string) (page observe.FlowPage, err error) {
	if q.Limit <= 0 {
		return page, fmt.Errorf("flow record: a page needs a limit of at least 1, not %d", q.Limit)
	}
	err = r.store.View(ctx, func(v store.Asker) error {
		s, err := finest(ctx, v, q.Range)
		if err != nil {
			return err
		}
		to := min(s.Range.To.Unix(), s.Data.To.Unix())
		fits, args := where(&q.FlowFilter)
		rest := fits.sure
		if !q.Before.IsZero() {
			rest += fmt.Sprintf(" AND last < %d", q.Before.UnixNano())
		}
		if after != "" {
			m, err := parseMark(after)
			if err != nil {
				return err
			}
			s.Grain = m.grain // as the first page
			to = min(to, m.last/nanos+1)
			rest += fmt.Sprintf(" AND (last < %d OR last = %d AND id < %d)", m.last, m.last, m.id)
		}
		page.FlowSpan = s
		if page.Lacks, err = lacksOf(ctx, v, &s); err != nil {
			return err
		}
		page.Rows, page.Next, err = newest(ctx, v, &s, to, rest, args, q)
		return err
	})
	return page, wrap(err, "search")
}

// newest are the latest rows before a time, and the mark of the last of them where
// there are more.
func newest(ctx context.Context, v store.Asker, s *observe.FlowSpan, to int64, fits string, args []any, q observe.FlowQuery) (found []observe.FlowRow, next string, err error) {
	from, w := s.Range.From.Unix()/s.Grain.Seconds()*s.Grain.Seconds(), s.Grain.Seconds()
	var end pageMark
	// Windows that grow: where much fits, one bucket has the page.
	for width := w; to > from && next == ""; width *= 2 {
		lo := max(from, (to-1)/w*w+w-width)
		err := func() error {
			rows, err := v.Query(ctx, list(source(s.Grain, lo, to), fits)+fmt.Sprintf(" HAVING sum(bytes) >= %d ORDER BY last DESC, id DESC LIMIT %d", q.MinBytes, q.Limit-len(found)+1), args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				row, id, err := scanKept(rows.Scan)
				if err != nil {
					return err
				}
				if len(found) == q.Limit {
					next = end.String()
					return nil
				}
				end = pageMark{row.Flow.Last, id, s.Grain}
				found = append(found, row)
			}
			return rows.Err()
		}()
		if err != nil {
			return nil, "", err
		}
		to = lo
	}
	return found, next, nil
}

// replayBatch is how many flows Replay hands over at once.
const replayBatch = 4096

// Replay gives the flows of a range in the order of their ends, from the finest grain
// that is kept for all of it. Rows of a bucket come as flows that last as long as it
// does; what was folded away is zero in them. The slice is good until f returns.
func (r *Record) Replay(ctx context.Context, in observe.Range, f func(batch []observe.Flow) error) (s observe.FlowSpan, err error) {
	err = r.store.View(ctx, func(v store.Asker) error {
		if s, err = finest(ctx, v, in); err != nil {
			return err
		}
		w := s.Grain.Seconds()
		list, err := starts(ctx, v, fmt.Sprintf(`SELECT DISTINCT start // %d * %d AS b FROM flow_bucket WHERE start >= %d AND start < %d ORDER BY b`, w, w, s.Range.From.Unix(), s.Range.To.Unix()))
		if err != nil {
			return err
		}
		batch := make([]observe.Flow, 0, replayBatch)
		for _, start := range list {
			if batch, err = replay(ctx, v, source(s.Grain, start, start+w), batch, f); err != nil {
				return err
			}
		}
		if len(batch) == 0 {
			return nil
		}
		return f(batch)
	})
	return s, wrap(err, "replay")
}

// replay gives the flows of one bucket; what doesn't fill a batch is given back.
func replay(ctx context.Context, v store.Asker, from string, batch []observe.Flow, f func([]observe.Flow) error) ([]observe.Flow, error) {
	rows, err := v.Query(ctx, list(from, "true")+" ORDER BY last, id")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		row, _, err := scanKept(rows.Scan)
		if err != nil {
			return nil, err
		}
		if batch = append(batch, row.Flow); len(batch) < replayBatch {
			continue
		}
		if err := f(batch); err != nil {
			return nil, err
		}
		batch = batch[:0]
	}
	return batch, rows.Err()
}
