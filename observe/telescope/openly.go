package telescope

import (
	"maps"
	"slices"

	"sakimori/base/sketch"
)

// openly are, of the sources in a dimension's cells, those who say openly that
// they scan (see Researcher): whoever looks for a rise wants to know it without
// them. There are some thousands of them at most, so that they are counted apart,
// where there are any, and everybody else's counting is as it was.
//
// It takes some 100 bytes a cell that they came to, and four bytes for each of
// them in it, up to 4 KiB.
type openly map[uint32]*sketch.Set

// openForm is how sharply they are counted: exactly up to 512, else with
// 1.63 % standard error.
var openForm = sketch.Coarse

// openlyFrom notes that who, who says so openly, sent to a cell.
func (c *cells) openlyFrom(key, who uint32) {
	if c.open == nil {
		c.open = openly{}
	}
	s := c.open[key]
	if s == nil {
		s = &sketch.Set{}
		c.open[key] = s
	}
	s.Add(openForm, who)
}

// count is how many of them came to a cell.
func (o openly) count(key uint32) uint64 {
	if s := o[key]; s != nil {
		return s.Count()
	}
	return 0
}

// mergeOpen adds those of another span.
func (c *cells) mergeOpen(from openly) {
	for key, s := range from {
		if c.open == nil {
			c.open = openly{}
		}
		to := c.open[key]
		if to == nil {
			to = &sketch.Set{}
			c.open[key] = to
		}
		to.Merge(openForm, s)
	}
}

func (w *writer) openly(o openly) {
	w.u32(uint32(len(o))) //nolint:gosec // no more than cells
	for _, key := range slices.Sorted(maps.Keys(o)) {
		w.u32(key)
		w.b = o[key].AppendRaw(w.b)
	}
}

// size is how many bytes they take in a state at most.
func (o openly) size() int {
	n := 4
	for _, s := range o {
		n += 4 + s.RawSize()
	}
	return n
}

func (r *reader) openly(c *cells, ases uint32) {
	for range r.u32() {
		key := r.u32()
		if r.err != nil || !c.has(key, ases) || c.open[key] != nil {
			r.fail("those who scan openly came to an unknown cell")
			return
		}
		if c.open == nil {
			c.open = openly{}
		}
		c.open[key] = &sketch.Set{}
		r.raw(c.open[key], openForm)
	}
}
