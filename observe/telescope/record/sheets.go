package record

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"sakimori/base/store"
	"sakimori/observe"
)

// sheetName names the sheet of a bucket so that the order of names is the order
// of starts, also before 1970.
func sheetName(l level, start int64, part uint64) string {
	return fmt.Sprintf("%s/%016x", sheetsFrom(l, start), part)
}

// sheetsFrom is where the sheets of a level from start on begin.
func sheetsFrom(l level, start int64) string {
	return fmt.Sprintf("telescope/sketches/%s/%016x", l, uint64(start)^1<<63) //nolint:gosec // the bits
}

func startOf(name string) (int64, error) {
	u, err := strconv.ParseUint(path.Base(path.Dir(name)), 16, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is no name of sketches: %w", name, err)
	}
	return int64(u ^ 1<<63), nil //nolint:gosec // the bits
}

// WriteSketches keeps the sketches of a bucket alone: its counts stand already.
func (r *Record) WriteSketches(tx *store.Tx, part uint64, b Bucket) error {
	return wrap(putSheet(context.Background(), tx, level(b.Grain), b.Start, part, b.Rows), "write sketches")
}

// putSheet keeps the sketches of a bucket's rows, if there are any.
func putSheet(ctx context.Context, tx *store.Tx, l level, start int64, part uint64, rows []Row) error {
	b, err := sheetOf(rows)
	if err != nil || b == nil {
		return err
	}
	return tx.PutBlob(ctx, sheetName(l, start, part), b)
}

// sheets are the open sheets of some spans, in order of time within a level.
type sheets []sheet

// openSheets opens the sheets of the buckets that spans are made of. They are to
// be closed, also after an error.
func (r *Record) openSheets(ctx context.Context, a store.Asker, spans []span) (sheets, error) {
	names := make([]store.Names, len(spans))
	for i, s := range spans {
		names[i] = store.Names{From: sheetsFrom(s.level, s.from), To: sheetsFrom(s.level, s.to)}
	}
	files, err := r.store.OpenBlobs(ctx, a, names...)
	all := make(sheets, len(files))
	for i, f := range files {
		all[i] = sheet{name: f.Name, file: f.File}
	}
	if err != nil {
		return all, err
	}
	for i := range all {
		var err error
		if all[i].start, err = startOf(all[i].name); err != nil {
			return all, err
		}
		if err := r.indexes.open(&all[i]); err != nil {
			return all, err
		}
	}
	return all, nil
}

// indexes keeps the lines of sheets that were read lately. A file is named by its
// content, so its lines stay what they are.
type indexes struct {
	mu   sync.Mutex
	kept lately[string, []byte]
}

// indexesKept bounds them to 4 MB, and as much of before: a hundred of NICTER's size.
const indexesKept = 4 << 20

func linesWeight(lines []byte) int { return len(lines) }

func (x *indexes) open(s *sheet) (err error) {
	name := s.file.Name()
	x.mu.Lock()
	lines, ok := x.kept.get(name, linesWeight)
	x.mu.Unlock()
	if ok {
		s.lines = lines
		return nil
	}
	if err := s.open(); err != nil {
		return err
	}
	s.lines = slices.Clone(s.lines) // without what was read beyond
	x.mu.Lock()
	defer x.mu.Unlock()
	x.kept.put(name, s.lines, len(s.lines))
	return nil
}

func (h sheets) close() error {
	var err error
	for i := range h {
		err = errors.Join(err, h[i].file.Close())
	}
	return err
}

// at are the sheets of the buckets that begin at start, of sheets in order.
func (h sheets) at(start int64) sheets {
	from, _ := slices.BinarySearchFunc(h, start, func(s sheet, t int64) int { return int(min(max(s.start-t, -1), 1)) })
	to := from
	for to < len(h) && h[to].start == start {
		to++
	}
	return h[from:to]
}

// desk is memory for the sketches of one key, or for one leaf, cleared for the next.
type desk struct {
	all, free []byte
	rows      []count
}

func (d *desk) clear() { d.free = d.all }

func (d *desk) take(n int) []byte {
	if n > len(d.free) {
		d.all = make([]byte, max(n, 2*len(d.all), 1<<20))
		d.free = d.all
	}
	b := d.free[:n:n]
	d.free = d.free[n:]
	return b
}

// atDesks does n pieces of work, side by side where there are processors, each
// at a desk that was cleared for it.
func atDesks(n int, do func(i int, d *desk) error) error {
	var next atomic.Int64
	var g errgroup.Group
	for range min(n, runtime.GOMAXPROCS(0)) {
		g.Go(func() error {
			var d desk
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				d.clear()
				if err := do(i, &d); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// load puts the sketches of a key on a side into its tally. They are good until
// the desk is cleared.
func (h sheets) load(dim observe.Dim, key uint32, of side, t *tally, d *desk) error {
	for i := range h {
		line := h[i].find(dim, key)
		if line == nil || !of.in(line) {
			continue
		}
		set, n, err := h[i].read(line, of, d.take)
		if err != nil {
			return err
		}
		t.sets, t.have = append(t.sets, set), t.have+n
	}
	return nil
}
