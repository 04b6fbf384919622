package history

import (
	"container/heap"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"sakimori/respond/subscriber"
)

// fanIn is how many segments of one size become one of the next: a record is written
// again a few times in its life, and a search looks into a few files of each size.
const fanIn = 4

// merge joins segments as long as there are enough of one size.
func (h *History) merge() error {
	h.merging.Lock()
	defer h.merging.Unlock()
	for {
		h.mu.RLock()
		some := alike(h.segments, h.opts.Rows)
		h.mu.RUnlock()
		if some == nil {
			return nil
		}
		if err := h.replace(some, 0); err != nil {
			return err
		}
	}
}

// alike are segments of one size, when there are enough of them.
func alike(all []*segment, rows int) []*segment {
	sizes := map[int][]*segment{}
	for _, s := range all {
		class := 0
		for n := s.head.Rows / uint64(rows); n >= fanIn; n /= fanIn { //nolint:gosec // positive
			class++
		}
		sizes[class] = append(sizes[class], s)
	}
	for class := range 64 {
		if len(sizes[class]) >= fanIn {
			return sizes[class]
		}
	}
	return nil
}

// replace writes one segment for some, without what ended before a moment (Unix
// nanoseconds; 0 keeps all).
func (h *History) replace(some []*segment, before int64) error {
	h.mu.Lock()
	h.made++
	name := fmt.Sprintf("%016x.seg", h.made)
	h.mu.Unlock()
	head, err := writeSegment(h.dir, name, merged(some, before))
	if err != nil {
		return err
	}
	var s *segment
	if head.Rows > 0 {
		if s, err = openSegment(h.dir, name, false); err != nil {
			return err
		}
	}
	h.mu.Lock()
	kept := slices.DeleteFunc(slices.Clone(h.segments), func(o *segment) bool { return slices.Contains(some, o) })
	if s != nil {
		kept = append(kept, s)
	}
	h.segments = kept
	h.mu.Unlock()
	if err := h.save(); err != nil {
		return err
	}
	if s == nil {
		some = append(some, &segment{name: name})
	}
	h.mu.Lock() // nobody searches them any more
	defer h.mu.Unlock()
	for _, o := range some {
		if err := o.close(); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(h.dir, o.name)); err != nil {
			return err
		}
	}
	return nil
}

// merged are the rows of segments in order, those of one use in one.
func merged(some []*segment, before int64) func() (*row, bool) {
	var q queue
	for _, s := range some {
		if len(s.rows) > 0 {
			q = append(q, &cursor{rows: s.rows, span: s.rows[0].span()})
		}
	}
	next := q.merged()
	held, have := next()
	var r row
	return func() (*row, bool) {
		for have {
			out := held
			for {
				if held, have = next(); !have || !out.Join(&held) {
					break
				}
			}
			if max(out.Last, out.End, out.Until) >= before {
				r = rowOf(&out)
				return &r, true
			}
		}
		return nil, false
	}
}

// merged gives the spans of all cursors in order.
func (q *queue) merged() func() (subscriber.Span, bool) {
	heap.Init(q)
	return func() (subscriber.Span, bool) {
		if len(*q) == 0 {
			return subscriber.Span{}, false
		}
		c := (*q)[0]
		s := c.span
		if c.rows = c.rows[1:]; len(c.rows) == 0 {
			heap.Pop(q)
		} else {
			c.span = c.rows[0].span()
			heap.Fix(q, 0)
		}
		return s, true
	}
}

// cursor goes through a segment.
type cursor struct {
	rows []row
	span subscriber.Span
}

type queue []*cursor

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].span.Compare(&q[j].span) < 0 }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(*cursor)) } //nolint:forcetypeassert // nothing else is pushed
func (q *queue) Pop() any {
	old := *q
	c := old[len(old)-1]
	*q = old[:len(old)-1]
	return c
}

// Forget removes what ended before t. What is still in memory stays until it is in a
// file.
func (h *History) Forget(t time.Time) error {
	before := t.UnixNano()
	h.merging.Lock()
	defer h.merging.Unlock()
	h.mu.Lock()
	var old []*segment
	for _, s := range h.segments {
		if s.head.First < before {
			old = append(old, s)
		}
	}
	for n, list := range h.resets {
		i, _ := slices.BinarySearch(list, before)
		h.resets[n] = slices.Delete(list, 0, i)
	}
	h.mu.Unlock()
	for _, s := range old {
		if err := h.replace([]*segment{s}, before); err != nil {
			return err
		}
	}
	return nil
}

// Size is how much there is.
type Size struct {
	Rows     uint64 // in files
	Memory   int    // rows in memory
	Segments int
	Bytes    int64 // on disk
	Sources  int
}

// Size tells how much there is.
func (h *History) Size() Size {
	h.mu.RLock()
	defer h.mu.RUnlock()
	z := Size{Memory: len(h.table.rows), Segments: len(h.segments), Sources: len(h.names)}
	if h.frozen != nil {
		z.Memory += len(h.frozen.rows)
	}
	for _, s := range h.segments {
		z.Rows += s.head.Rows
		z.Bytes += int64(headBytes + len(s.rows)*rowBytes + len(s.index)*keyBytes)
	}
	if h.log != nil {
		z.Bytes += h.log.size
	}
	return z
}

// Check reads all files and compares them with their sums. Meanwhile none is replaced.
func (h *History) Check() error {
	h.merging.Lock()
	defer h.merging.Unlock()
	h.mu.RLock()
	var names []string
	for _, s := range h.segments {
		names = append(names, s.name)
	}
	h.mu.RUnlock()
	for _, n := range names {
		s, err := openSegment(h.dir, n, true)
		if err != nil {
			return err
		}
		if err := s.close(); err != nil {
			return err
		}
	}
	return nil
}
