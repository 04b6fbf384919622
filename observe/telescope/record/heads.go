package record

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"sakimori/base/store"
	"sakimori/observe"
)

// head is what the head of a bucket has of one dimension, of all parts.
type head struct {
	headPlace

	parts uint64               // of the bucket
	since uint64               // version of the picture that it was read from
	read  bool                 // rows and cuts are there
	rows  []headRow            // in order of key
	cuts  []cuts               // by part
	more  map[uint32][]headRow // what the counts have of keys that were asked for besides
}

type headPlace struct {
	level level
	dim   observe.Dim
	start int64
}

type headRow struct {
	key                       uint32
	part                      uint16 // its place in cuts
	most                      bool
	packets, sources, targets uint64
	sourcesErr, targetsErr    float32
}

// cuts are the most that a key has in a part whose head it isn't in.
type cuts [2]uint64

// order is one of the two numbers that heads are made for.
type order int

const (
	byPackets order = iota
	bySources
)

func (o order) String() string { return [...]string{"packets", "sources"}[o] }

func (o order) of(w *headRow) uint64 { return [...]uint64{w.packets, w.sources}[o] }

// of are the rows of a key, one for each part that has it; all says that the
// counts have no others.
func (h *head) of(key uint32) (rows []headRow, all bool) {
	if more, ok := h.more[key]; ok {
		return more, true
	}
	from, _ := slices.BinarySearchFunc(h.rows, key, func(w headRow, k uint32) int { return cmp.Compare(w.key, k) })
	to := from
	for to < len(h.rows) && h.rows[to].key == key {
		to++
	}
	return h.rows[from:to], h.read && (!manyKeys(h.dim) || uint64(to-from) == h.parts) //nolint:gosec // not negative
}

func headRowOf(w *count) headRow {
	return headRow{key: w.key, packets: w.packets, sources: w.sources, targets: w.targets, sourcesErr: w.sourcesErr, targetsErr: w.targetsErr}
}

// sum adds up the rows of a key.
func (h *head) sum(key uint32) sum {
	all := sum{key: key}
	rows, _ := h.of(key)
	for i := range rows {
		all.join(rows[i].sum())
	}
	return all
}

// sum is a row as the sum of itself.
func (w *headRow) sum() sum {
	count := func(n uint64, err float32) tally {
		return tally{Unique: observe.Unique{N: n, Err: float64(err)}, n: 1, most: w.most}
	}
	return sum{key: w.key, packets: w.packets, sources: count(w.sources, w.sourcesErr), targets: count(w.targets, w.targetsErr)}
}

// heads keeps those that were asked for lately. A bucket that is over doesn't
// change as a rule, and a span that moves on has nearly all of its buckets in
// common with the one before: only the rest is asked of the database.
//
// What is kept holds in every picture from the one on that it was read from:
// whoever writes a bucket takes its heads out before he commits, and until his
// commit shows in the version of the store none is put in.
type heads struct {
	mu     sync.Mutex
	kept   lately[headPlace, *head]
	coming map[headPlace]bool // taken out at a version, with dim 0
	at     uint64             // that version
}

// headRowsKept bounds what is kept, in rows of 40 bytes: to some 8 MB, and as much
// of what was asked for before. A year of NICTER's ports and ASes is 50,000 rows.
const headRowsKept = 200_000

func (h *head) weight() int { return 8 + len(h.rows) + 2*len(h.more) }

// change says that the transaction under way writes a bucket.
func (k *heads) change(s *store.Store, l level, start int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now, _ := s.Current(); now != k.at || k.coming == nil {
		k.at, k.coming = now, map[headPlace]bool{}
	}
	k.coming[headPlace{level: l, start: start}] = true
	for dim := range observe.Dim(observe.Dims) {
		k.kept.drop(headPlace{l, dim, start})
	}
}

// keep puts in the heads that were read from a picture, if it is still the last.
func (k *heads) keep(s *store.Store, v picture, fresh map[headPlace]*head) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if now, _ := s.Current(); !v.dated || now != v.version {
		return
	}
	for p, h := range fresh {
		if k.at != v.version || !k.coming[headPlace{level: p.level, start: p.start}] {
			k.kept.put(p, h, h.weight())
		}
	}
}

// get is a head that holds in a picture, or nil.
func (k *heads) get(p headPlace, v picture) *head {
	if h, ok := k.kept.get(p, (*head).weight); ok && v.dated && h.since <= v.version {
		return h
	}
	return nil
}

// headsOf are the heads of a dimension in the buckets that spans are made of,
// by span; unread ones may be without their rows.
func (r *Record) headsOf(ctx context.Context, v picture, spans []span, dim observe.Dim, unread bool) ([][]*head, error) {
	all := make([][]*head, len(spans))
	fresh := map[headPlace]*head{}
	var runs []span
	r.heads.mu.Lock()
	for i, s := range spans {
		gap := false
		for _, m := range v.marks(s) {
			h := &head{headPlace: headPlace{s.level, dim, m.start}, parts: m.parts, since: v.version}
			if have := r.heads.get(h.headPlace, v); have != nil && (have.read || unread) {
				h = have
			} else {
				if have != nil {
					h.more = have.more
				}
				fresh[h.headPlace] = h
			}
			all[i] = append(all[i], h)
			if h.read || unread {
				gap = false
				continue
			}
			if !gap {
				runs = append(runs, span{level: s.level, from: m.start})
			}
			runs[len(runs)-1].to = m.start + 1
			gap = true
		}
	}
	r.heads.mu.Unlock()
	if len(runs) > 0 {
		if err := r.readHeads(ctx, v, runs, dim, fresh); err != nil {
			return nil, err
		}
	}
	r.heads.keep(r.store, v, fresh)
	return all, nil
}

// readHeads fills heads from the tables.
func (r *Record) readHeads(ctx context.Context, a store.Asker, runs []span, dim observe.Dim, into map[headPlace]*head) error {
	parts := make([]string, len(runs))
	for i, s := range runs {
		parts[i] = rowsOf(s, level.heads, pick{dim: dim})
	}
	seen := map[*head]map[uint64]uint16{} // the place of each part
	if err := eachRow(ctx, a, parts, dim, func(p headPlace, part uint64, w headRow) {
		h := into[p]
		if h == nil {
			return
		}
		if seen[h] == nil {
			seen[h] = map[uint64]uint16{}
		}
		i, ok := seen[h][part]
		if !ok {
			i = uint16(len(seen[h])) //nolint:gosec // nobody reads 65,536 captures of one minute
			seen[h][part] = i
		}
		w.part = i
		h.rows = append(h.rows, w)
	}); err != nil {
		return err
	}
	for _, h := range into {
		slices.SortFunc(h.rows, func(x, y headRow) int { return cmp.Or(cmp.Compare(x.key, y.key), cmp.Compare(x.part, y.part)) })
		h.rows = slices.Clip(h.rows)
		h.read, h.cuts = true, make([]cuts, len(seen[h]))
		if manyKeys(dim) {
			h.cut(r.headOf(h.level))
		}
	}
	return nil
}

// rowsOf is the SQL that eachRow reads.
func rowsOf(s span, table func(level) string, p pick) string {
	return fmt.Sprintf("SELECT %d::UTINYINT AS level, * FROM %s", s.level, union([]span{s}, table, rowColumns, p))
}

func eachRow(ctx context.Context, a store.Asker, parts []string, dim observe.Dim, do func(p headPlace, part uint64, w headRow)) error {
	rows, err := a.Query(ctx, strings.Join(parts, " UNION ALL "))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		p := headPlace{dim: dim}
		var w headRow
		var part uint64
		if err := rows.Scan(&p.level, &p.start, &w.key, &w.packets, &w.sources, &w.targets, &w.sourcesErr, &w.targetsErr, &w.most, &part); err != nil {
			return err
		}
		do(p, part, w)
	}
	return rows.Err()
}

// complete reads what heads lack of the keys picked, and keeps it with them.
func (r *Record) complete(ctx context.Context, v picture, heads [][]*head, p pick) error {
	return r.lookUp(ctx, v, heads, p, false)
}

// lookedUp is what is read from the leaves of minutes.
type lookedUp struct {
	span
	pick
}

// lookUp reads what heads lack of the keys picked from the tables of heads, which
// are small, or from those that have all. It keeps what is complete.
func (r *Record) lookUp(ctx context.Context, v picture, heads [][]*head, p pick, small bool) error {
	from := table(p.dim)
	if small {
		from = level.heads
	}
	var parts []string
	var minutes []lookedUp
	asked := make([][]uint32, len(heads))
	r.heads.mu.Lock()
	for i, of := range heads {
		var where span // from the first to the last that lacks something
		for _, k := range p.keys {
			lacks := func(h *head) bool { _, all := h.of(k); return !all }
			first := slices.IndexFunc(of, lacks)
			if first < 0 {
				continue
			}
			last := len(of) - 1
			for !lacks(of[last]) {
				last--
			}
			if len(asked[i]) == 0 {
				where = span{of[first].level, of[first].start, of[last].start + 1}
			}
			where.from, where.to = min(where.from, of[first].start), max(where.to, of[last].start+1)
			asked[i] = append(asked[i], k)
		}
		rest := pick{p.dim, asked[i]}
		switch {
		case len(rest.keys) == 0:
		case where.level == level(observe.Minute) && manyKeys(p.dim) && !small:
			minutes = append(minutes, lookedUp{where, rest})
		default:
			parts = append(parts, rowsOf(where, from, rest))
		}
	}
	r.heads.mu.Unlock()
	found := map[headPlace]map[uint32][]headRow{}
	take := func(at headPlace, _ uint64, w headRow) {
		if found[at] == nil {
			found[at] = map[uint32][]headRow{}
		}
		found[at][w.key] = append(found[at][w.key], w)
	}
	if len(parts) > 0 {
		if err := eachRow(ctx, v, parts, p.dim, take); err != nil {
			return err
		}
	}
	for _, m := range minutes {
		if err := r.leafRows(ctx, v, []span{m.span}, m.pick, func(start int64, rows []count) {
			for i := range rows {
				take(headPlace{m.level, p.dim, start}, 0, headRowOf(&rows[i]))
			}
		}); err != nil {
			return err
		}
	}
	r.heads.mu.Lock()
	defer r.heads.mu.Unlock()
	for i, of := range heads {
		for _, h := range of {
			for _, k := range asked[i] {
				rows := found[h.headPlace][k] // nil when there is nothing
				if _, has := h.of(k); has || small && uint64(len(rows)) < h.parts {
					continue
				}
				if h.more == nil {
					h.more = map[uint32][]headRow{}
				}
				h.more[k] = rows
				r.heads.kept.weight += 2
			}
		}
	}
	return nil
}

// cut finds the cuts of a head that was made of the first size keys.
func (h *head) cut(size int) {
	for i := range h.cuts {
		for _, o := range []order{byPackets, bySources} {
			var all []uint64
			for j := range h.rows {
				if w := &h.rows[j]; int(w.part) == i {
					all = append(all, o.of(w))
				}
			}
			if len(all) >= size {
				slices.Sort(all)
				h.cuts[i][o] = all[len(all)-size]
			}
		}
	}
}
