package record

import (
	"context"
	"fmt"
	"slices"

	"sakimori/base/store"
	"sakimori/observe"
)

// Save writes all that was handed over up to a Cut into the transaction, and makes the
// coarser grains of what is over. Whatever becomes of the transaction, each cut is
// written once: the next Save looks up which one was the last that got to disk.
func (w *Writer) Save(ctx context.Context, tx *store.Tx, serial uint64) error {
	p, err := positionOf(ctx, tx, w.o.Part)
	if err != nil {
		return wrap(err, "where the writer ended")
	}
	batches := w.queue.after(p.serial, serial)
	if len(batches) == 0 {
		return nil
	}
	s := &saving{w: w, tx: tx, about: whereabouts{o: &w.o}, now: p, folds: folder{seed: known}}
	if s.begun, err = starts(ctx, tx, fmt.Sprintf(`SELECT DISTINCT start FROM %s WHERE part = %d`, fresh, w.o.Part)); err != nil {
		return wrap(err, "open minutes")
	}
	for i := range batches {
		s.sort(&batches[i])
	}
	if err := s.write(ctx); err != nil {
		return wrap(err, "write flows")
	}
	return wrap(s.now.write(ctx, tx, w.o.Part), "where the writer ended")
}

// saving is one Save under way.
type saving struct {
	w     *Writer
	tx    *store.Tx
	about whereabouts
	now   position
	folds folder
	begun []int64 // minutes of which something is in flow_fresh

	open, over, raw []*kept
	marks           []mark
}

// mark is a line of flow_bucket; those of one bucket add up.
type mark struct {
	grain   observe.FlowGrain
	start   int64
	lacks   uint64
	rawLeft uint64
}

// sort says for each row of a batch where it belongs. A minute that is over goes to
// its table at once, unless a part of it is in flow_fresh.
func (s *saving) sort(b *batch) {
	for i := range b.minutes {
		m := &b.minutes[i]
		slices.SortFunc(m.rows, func(x, y row) int { return x.compare(&y.key) })
		s.marks = append(s.marks, mark{observe.FlowMinute, m.start, m.lacks, m.rawLeft})
		into := &s.over
		if m.start >= b.closed || slices.Contains(s.begun, m.start) {
			into = &s.open
			if !slices.Contains(s.begun, m.start) {
				s.begun = append(s.begun, m.start)
			}
		}
		for j := range m.rows {
			*into = append(*into, s.about.keep(m.start, &m.rows[j]))
		}
	}
	for i := range b.raw {
		s.raw = append(s.raw, s.rawRow(&b.raw[i], b.stats.Raw-uint64(len(b.raw)-i))) //nolint:gosec // counts
	}
	s.now.serial, s.now.stats = b.serial, b.stats
	s.now.until[observe.FlowMinute] = max(s.now.until[observe.FlowMinute], b.closed)
}

// rawRow is a record as it came; number counts those of the part.
func (s *saving) rawRow(f *observe.Flow, number uint64) *kept {
	r := &row{key: keyOf(f), packets: f.Packets, bytes: f.Bytes, seen: uint64(f.Seen), srcAS: f.SrcAS, dstAS: f.DstAS}
	if f.Marks&observe.FlowSample == 0 {
		r.flows = 1
	}
	r.spread(f.Packets, f.Bytes, f.Rate)
	k := s.about.keep(max(f.Last, 0)/nanos/minute*minute, r)
	k.raw, k.id = f, mix(s.w.o.Part^known[0], number^known[1])
	return k
}

// write puts everything in its place, and then makes the coarser grains.
func (s *saving) write(ctx context.Context) error {
	for _, t := range []struct {
		table   string
		columns []column
		rows    []*kept
	}{{fresh, columns, s.open}, {tables[observe.FlowMinute], columns, s.over}, {tables[observe.FlowRaw], rawColumns, s.raw}} {
		if err := appendRows(s.tx, t.table, t.columns, t.rows); err != nil {
			return err
		}
	}
	if err := s.close(ctx); err != nil {
		return err
	}
	for _, g := range []observe.FlowGrain{observe.FlowFive, observe.FlowHour} {
		if err := s.rollUp(ctx, g); err != nil {
			return err
		}
	}
	return s.tx.Append("flow_bucket", func(row store.Row) error {
		for _, m := range s.marks {
			if err := row(uint8(m.grain), m.start, s.w.o.Part, m.lacks, m.rawLeft); err != nil {
				return err
			}
		}
		return nil
	})
}

// close makes one of the pieces of each minute that is over.
func (s *saving) close(ctx context.Context) error {
	slices.Sort(s.begun)
	for _, m := range s.begun {
		if m >= s.now.until[observe.FlowMinute] {
			break
		}
		if err := s.gather(ctx, fresh, observe.FlowMinute, m, nil); err != nil {
			return err
		}
		if err := s.tx.Exec(ctx, fmt.Sprintf(`DELETE FROM %s WHERE part = %d AND start = %d`, fresh, s.w.o.Part, m)); err != nil {
			return err
		}
	}
	return nil
}

// rollUp makes the buckets of a grain of those of the one below that are over.
func (s *saving) rollUp(ctx context.Context, g observe.FlowGrain) error {
	from, width := s.now.until[g], g.Seconds()
	to := s.now.until[g-1] / width * width
	if to <= from {
		return nil
	}
	s.now.until[g] = to
	list, err := starts(ctx, s.tx, fmt.Sprintf(`SELECT DISTINCT start - start %% %d AS b FROM %s WHERE part = %d AND start >= %d AND start < %d`,
		width, tables[g-1], s.w.o.Part, from, to))
	if err != nil {
		return err
	}
	slices.Sort(list)
	for _, b := range list {
		lacks, err := s.lacks(ctx, g-1, b, b+width)
		if err != nil {
			return err
		}
		if err := s.gather(ctx, tables[g-1], g, b, &lacks); err != nil {
			return err
		}
	}
	return nil
}

// lacks is the sum of what rows of some buckets may lack.
func (s *saving) lacks(ctx context.Context, g observe.FlowGrain, from, to int64) (lacks uint64, err error) {
	err = s.tx.QueryRow(ctx, fmt.Sprintf(`SELECT coalesce(sum(lacks), 0)::UBIGINT FROM flow_bucket WHERE grain = %d AND part = %d AND start >= %d AND start < %d`,
		g, s.w.o.Part, from, to)).Scan(&lacks)
	for _, m := range s.marks {
		if m.grain == g && m.start >= from && m.start < to {
			lacks += m.lacks
		}
	}
	return lacks, err
}

// gather makes a bucket of the rows of a table within it. below, if not nil, is what
// they may lack already.
func (s *saving) gather(ctx context.Context, from string, g observe.FlowGrain, start int64, below *uint64) error {
	t := &table{seed: &known}
	rows, err := s.tx.Query(ctx, fmt.Sprintf(`SELECT exporter, in_if, out_if, src_hi, src_lo, dst_hi, dst_lo, proto, src_port, dst_port, flags, tos, marks, folded,
		packets, bytes, flows, seen, packets_var, bytes_var, src_as, dst_as FROM %s WHERE part = %d AND start >= %d AND start < %d`, from, s.w.o.Part, start, start+g.Seconds()))
	if err != nil {
		return err
	}
	defer rows.Close()
	m := mark{grain: g, start: start}
	if below != nil {
		m.lacks = *below
	}
	for rows.Next() {
		r, err := scanRow(rows.Scan)
		if err != nil {
			return err
		}
		t.at(&r.key, r.hash(&known)).merge(&r)
		if len(t.rows) >= 4*s.w.o.Keys {
			m.lacks += s.folds.fold(t, s.w.o.Keys)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	m.lacks += s.folds.fold(t, s.w.o.Keys)
	slices.SortFunc(t.rows, func(x, y row) int { return x.compare(&y.key) })
	list := make([]*kept, len(t.rows))
	for i := range t.rows {
		list[i] = s.about.keep(start, &t.rows[i])
	}
	if m.lacks > 0 || g != observe.FlowMinute { // the minute has a mark of each piece
		s.marks = append(s.marks, m)
	}
	return appendRows(s.tx, tables[g], columns, list)
}

// scanRow reads a row of the columns that gather asks for.
func scanRow(scan func(...any) error) (r row, err error) {
	var exporter, in, out uint32
	var srcPort, dstPort uint16
	var proto, flags, tos, marks, folded uint8
	err = scan(&exporter, &in, &out, &r.key.src.Hi, &r.key.src.Lo, &r.key.dst.Hi, &r.key.dst.Lo, &proto, &srcPort, &dstPort, &flags, &tos, &marks, &folded,
		&r.packets, &r.bytes, &r.flows, &r.seen, &r.packetsVariance, &r.bytesVariance, &r.srcAS, &r.dstAS)
	r.ends = uint64(exporter)<<32 | uint64(srcPort)<<16 | uint64(dstPort)
	r.interfaces = uint64(in)<<32 | uint64(out)
	r.rest = uint64(folded)<<32 | uint64(marks)<<24 | uint64(tos)<<16 | uint64(flags)<<8 | uint64(proto)
	return r, err
}

func starts(ctx context.Context, a store.Asker, q string) (list []int64, err error) {
	rows, err := a.Query(ctx, q)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var t int64
		if err := rows.Scan(&t); err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, rows.Err()
}
