package telescope

import (
	"cmp"
	"math"
	"slices"
	"sync"

	"sakimori/base/sketch"
	"sakimori/observe"
)

// counter is one cell of an hour or a day, or of a minute with more packets than
// are sorted at once: packets, and always beside them how many distinct sources
// sent them to how many distinct dark addresses.
type counter struct {
	packets          uint64
	hosts            uint64 // sources of a minute, exactly; see news
	sources, targets sketch.Set
}

// counts are all cells of one bucket of time, for every class, protocol, country,
// AS and port that was seen in it. The key of a country is its index, that of an
// AS its number in the register.
type counts struct {
	start int64 // Unix seconds
	ases  *register
	dims  [observe.Dims]cells // that of the total is empty
}

// register numbers the ASes that a telescope has seen, so that its tables find
// their cells without hashing. Workers share it: it is asked once for a source.
type register struct {
	mu   sync.Mutex
	m    map[uint32]uint32
	asns []uint32 // by number
}

// maxASes is how many ASes a record's place can tell apart. There are some
// 120,000; whoever brings a table with more gets the rest as unknown.
const maxASes = 1 << (31 - placeBits)

func newRegister() *register { return &register{m: map[uint32]uint32{0: 0}, asns: []uint32{0}} }

func (r *register) number(asn uint32) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.m[asn]
	if !ok {
		if len(r.asns) == maxASes {
			return 0
		}
		n = uint32(len(r.asns)) //nolint:gosec // below maxASes
		r.m[asn] = n
		r.asns = append(r.asns, asn)
	}
	return n
}

// restore numbers the ASes as another register did.
func (r *register) restore(asns []uint32) {
	*r = register{m: make(map[uint32]uint32, len(asns)), asns: asns}
	for i, asn := range asns {
		r.m[asn] = uint32(i)
	}
}

// list are the ASes by number. What it returns doesn't change.
func (r *register) list() []uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clip(r.asns)
}

// cells are those of one dimension. They are found by index in two steps,
// without hashing; the leaves are there for the keys that came.
type cells struct {
	dim    observe.Dim
	leaves [][]uint32 // by key>>leafBits, then by the rest: index of the cell, 0 none
	all    slab[counter]
	keys   []uint32         // of all, in order of their first use
	memory [2]sketch.Memory // for the even keys and for the odd ones
	open   openly           // of the sources, by key

	// Targets of the last minutes, each minute's sorted by key, that aren't in the
	// cells yet: a cell is far away, and worth a visit only for many at once.
	waiting [][]item
	n       int      // of them
	spare   [][]item // memory for the next ones
}

// waitMost is how many targets wait at most: 32 MiB.
const waitMost = 1 << 22

// room is memory for n targets.
func (c *cells) room(n int) (items []item) {
	if k := len(c.spare); k > 0 {
		items, c.spare = c.spare[k-1], c.spare[:k-1]
	}
	return room(items, n)
}

// wait keeps targets, sorted by key, until there are enough of them.
func (c *cells) wait(targets []item) {
	c.waiting = append(c.waiting, targets)
	if c.n += len(targets); c.n >= waitMost {
		c.settle()
	}
}

// settle adds the targets that wait to their cells: two goroutines do, one for the
// even keys and one for the odd ones. The cells are all there, and each half has
// its memory.
func (c *cells) settle() {
	var done sync.WaitGroup
	for half := range uint32(len(c.memory)) {
		done.Go(func() { c.settleHalf(half) })
	}
	done.Wait()
	c.spare = append(c.spare, c.waiting...)
	c.waiting, c.n = c.waiting[:0], 0
}

func (c *cells) settleHalf(half uint32) {
	runs := slices.Clone(c.waiting) // what is left of each
	var ids []uint32
	for {
		key := uint32(math.MaxUint32)
		for i, r := range runs {
			for len(r) > 0 && r[0].key%2 != half {
				r = r[1:]
			}
			if runs[i] = r; len(r) > 0 {
				key = min(key, r[0].key)
			}
		}
		if key == math.MaxUint32 {
			return
		}
		ids = ids[:0]
		for i, r := range runs {
			n := 0
			for ; n < len(r) && r[n].key == key; n++ {
				ids = append(ids, r[n].who)
			}
			runs[i] = r[n:]
		}
		c.at(key).targets.AddAll(c.form(key), ids)
	}
}

func (c *counts) settle() {
	var done sync.WaitGroup
	for d := range c.dims {
		if c.dims[d].n > 0 {
			done.Go(c.dims[d].settle)
		}
	}
	done.Wait()
}

const (
	leafBits = 12
	leafSize = 1 << leafBits
)

func newCounts(start int64, ases *register) *counts {
	c := &counts{start: start, ases: ases}
	for d := range c.dims {
		c.dims[d] = newCells(observe.Dim(d))
	}
	return c
}

func newCells(d observe.Dim) cells {
	c := cells{dim: d, keys: []uint32{0}}
	c.all.take() // index 0 means none
	return c
}

// at is the cell with this key, made when it isn't there.
func (c *cells) at(key uint32) *counter {
	if n := int(key >> leafBits); n >= len(c.leaves) {
		c.leaves = append(c.leaves, make([][]uint32, n+1-len(c.leaves))...)
	}
	leaf := c.leaves[key>>leafBits]
	if leaf == nil {
		leaf = make([]uint32, leafSize)
		c.leaves[key>>leafBits] = leaf
	}
	i := &leaf[key%leafSize]
	if *i == 0 {
		*i = c.all.take()
		c.keys = append(c.keys, key)
	}
	return c.all.at(*i)
}

// form is how sharply the cell of a key counts distinct things once they are
// many: the ports that people look at, and everything that there are few of,
// with 0.81 % standard error, the other ports and the ASes with 1.63 %.
func (c *cells) form(key uint32) sketch.Form {
	f := sketch.Fine
	if c.dim == observe.ByAS || c.dim == observe.ByPort && key&0xffff >= 1024 && !iotPort[key] {
		f = sketch.Coarse
	}
	f.Memory = &c.memory[key%2]
	return f
}

// each goes through the cells in order of their first use.
func (c *cells) each(do func(key uint32, cell *counter)) {
	for i := 1; i < len(c.keys); i++ {
		do(c.keys[i], c.all.at(uint32(i)))
	}
}

// merge adds everything in o.
func (c *counts) merge(o *counts) {
	o.settle()
	for d := range c.dims {
		to := &c.dims[d]
		o.dims[d].each(func(key uint32, from *counter) {
			cell, f := to.at(key), to.form(key)
			cell.packets += from.packets
			cell.hosts += from.hosts
			cell.sources.Merge(f, &from.sources)
			cell.targets.Merge(f, &from.targets)
		})
		to.mergeOpen(o.dims[d].open)
	}
}

// total is the sum over the classes: every packet is in exactly one.
func (c *counts) total() (t counter) {
	c.dims[observe.ByClass].each(func(_ uint32, cell *counter) {
		t.packets += cell.packets
		t.sources.Merge(sketch.Fine, &cell.sources)
		t.targets.Merge(sketch.Fine, &cell.targets)
	})
	return t
}

// Row is one cell of a bucket as it is stored; of its sets see keepSets.
type Row = observe.Count

// Bucket is one finished or still open span of counts, rows by dim and key.
type Bucket struct {
	Grain  observe.Grain
	Start  int64  // Unix seconds
	Open   bool   // will be written again, with more
	DarkV4 uint64 // IPv4 addresses monitored
	Looked float64
	Rows   []Row
}

// Sets are stored for the busiest cells of a dimension in hours and days (so that
// weeks can be merged exactly enough), keepSets of them, and for every cell whose
// set takes at most smallSet bytes. Minutes have none.
const smallSet = 48

var keepSets = [...]int{observe.Minute: 0, observe.Hour: 48, observe.Day: 256}

// table is the counts of an hour or a day written down, rows by dimension and
// key, without sets.
type table struct {
	rows  []Row
	cells []*counter        // of the rows
	ends  [observe.Dims]int // where the rows of a dimension end
}

func (c *counts) table() table {
	c.settle()
	asns := c.ases.list()
	total := c.total()
	var t table
	n := 0
	for d := range c.dims {
		n += len(c.dims[d].keys) - 1
		if observe.Dim(d) == observe.ByTotal && total.packets > 0 {
			n++
		}
		t.ends[d] = n
	}
	t.rows, t.cells = make([]Row, n), make([]*counter, n)
	eachDim(func(d observe.Dim) {
		cells := &c.dims[d]
		type keyed struct {
			key  uint32
			cell *counter
			open uint64
		}
		list := make([]keyed, 0, len(cells.keys))
		if d == observe.ByTotal && total.packets > 0 {
			list = append(list, keyed{0, &total, 0})
		}
		cells.each(func(key uint32, cell *counter) {
			list = append(list, keyed{rowKey(d, key, asns), cell, cells.open.count(key)})
		})
		slices.SortFunc(list, func(a, b keyed) int { return cmp.Compare(a.key, b.key) })
		from := t.ends[d] - len(list)
		for i, k := range list {
			t.rows[from+i], t.cells[from+i] = row(d, k.key, k.cell), k.cell
			t.rows[from+i].Openly = k.open
		}
	})
	return t
}

// eachDim does something for every dimension, side by side.
func eachDim(do func(d observe.Dim)) {
	var done sync.WaitGroup
	for d := range observe.Dims {
		done.Go(func() { do(observe.Dim(d)) }) //nolint:gosec // below 6
	}
	done.Wait()
}

// with are the rows with the sets that a grain keeps.
func (t *table) with(g observe.Grain) []Row {
	rows := slices.Clone(t.rows)
	eachDim(func(d observe.Dim) {
		from, to := 0, t.ends[d]
		if d > 0 {
			from = t.ends[d-1]
		}
		floor := floor(rows[from:to], keepSets[g])
		for i := from; i < to; i++ {
			withSets(&rows[i], t.cells[i], rows[i].Packets >= floor)
		}
	})
	return rows
}

func sortRows(rows []Row) {
	slices.SortFunc(rows, func(a, b Row) int { return int(int64(a.Key) - int64(b.Key)) })
}

// rowKey is the key by which others know a cell.
func rowKey(dim observe.Dim, key uint32, asns []uint32) uint32 {
	switch dim {
	case observe.ByAS:
		return asns[key]
	case observe.ByCountry:
		return countryOfIndex(key)
	}
	return key
}

func row(d observe.Dim, key uint32, c *counter) Row {
	return Row{
		Dim: d, Key: key, Packets: c.packets,
		Sources: c.sources.Count(), SourcesErr: float32(c.sources.Error()),
		Targets: c.targets.Count(), TargetsErr: float32(c.targets.Error()),
	}
}

// floor are the packets that a row must have to be among the busiest.
func floor(rows []Row, keep int) uint64 {
	if len(rows) <= keep {
		return 0
	}
	p := make([]uint64, len(rows))
	for i := range rows {
		p[i] = rows[i].Packets
	}
	slices.Sort(p)
	return p[len(p)-keep]
}

func withSets(r *Row, c *counter, busy bool) {
	if busy || c.sources.Exact() && r.Sources <= smallSet/2 {
		r.SourceSet = c.sources.Append(nil)
	}
	if busy || c.targets.Exact() && r.Targets <= smallSet/2 {
		r.TargetSet = c.targets.Append(nil)
	}
}

// countries is how many indices of countries there are.
const countries = 27 * 27

// countryIndex numbers the two-letter codes, 0 for unknown.
func countryIndex(key uint32) uint32 {
	a, b := key>>8, key&0xff
	if a < 'A' || a > 'Z' || b < 'A' || b > 'Z' {
		return 0
	}
	return (a-'A'+1)*27 + b - 'A' + 1
}

func countryOfIndex(i uint32) uint32 {
	if i == 0 {
		return 0
	}
	return ('A'+i/27-1)<<8 | ('A' + i%27 - 1)
}

func countryKey(c [2]byte) uint32 {
	return countryOfIndex(countryIndex(uint32(c[0])<<8 | uint32(c[1])))
}
