package telescope

import (
	"slices"

	"sakimori/base/sketch"
	"sakimori/observe"
)

// counter is one cell of the counts: packets, and always beside them how many
// distinct sources sent them to how many distinct dark addresses.
type counter struct {
	packets          uint64
	sources, targets sketch.Set
}

// counts are all cells of one bucket of time, for every port, protocol, class,
// country and AS that was seen in it. The hot ones are found by index, without
// hashing.
type counts struct {
	start int64 // Unix seconds
	cells slab[counter]
	keys  []cellKey // of cells, in order of their first use

	class   [observe.Classes]uint32 // each: index of the cell, 0 none
	proto   [256]uint32
	country [27 * 27]uint32
	port    [2][1 << 16]uint32 // TCP, UDP
	as      []uint32           // by the number that the owner gave to the AS, to spare it the map
	asns    map[uint32]uint32  // the same by ASN
	rest    map[uint32]uint32  // ports of other protocols, by key
}

type cellKey struct {
	dim observe.Dim
	key uint32
}

// form is how sharp a cell counts distinct things once they are many: the ports
// that people look at, and everything that there are few of, are counted with
// 0.81 % standard error, the other ports and the ASes with 1.63 %.
func (k cellKey) form() sketch.Form {
	switch {
	case k.dim == observe.ByAS:
		return sketch.Coarse
	case k.dim == observe.ByPort && k.key&0xffff >= 1024 && !iotPort[k.key]:
		return sketch.Coarse
	}
	return sketch.Fine
}

func newCounts(start int64) *counts {
	c := &counts{start: start}
	c.cells.take() // index 0 means none
	c.keys = append(c.keys, cellKey{})
	return c
}

// reset empties it for another bucket, and keeps its memory.
func (c *counts) reset(start int64) {
	for i := uint32(1); i < c.cells.n; i++ {
		cell := c.cells.at(i)
		cell.packets = 0
		cell.sources.Reset()
		cell.targets.Reset()
	}
	for _, k := range c.keys[1:] {
		if slot := c.slot(k); slot != nil {
			*slot = 0
		}
	}
	c.cells.n = 1
	c.keys = c.keys[:1]
	c.start = start
	clear(c.as)
	clear(c.rest)
	clear(c.asns)
}

// slot is where the index of a cell stands, nil for those in a map.
func (c *counts) slot(k cellKey) *uint32 {
	switch k.dim {
	case observe.ByClass:
		return &c.class[k.key]
	case observe.ByProtocol:
		return &c.proto[k.key]
	case observe.ByCountry:
		return &c.country[countryIndex(k.key)]
	case observe.ByPort:
		switch k.key >> 16 {
		case 6:
			return &c.port[0][k.key&0xffff]
		case 17:
			return &c.port[1][k.key&0xffff]
		}
	}
	return nil
}

// cell is the index of the cell with this key, made when it isn't there.
func (c *counts) cell(k cellKey) uint32 {
	if slot := c.slot(k); slot != nil {
		if *slot == 0 {
			*slot = c.add(k)
		}
		return *slot
	}
	m := &c.rest
	if k.dim == observe.ByAS {
		m = &c.asns
	}
	if *m == nil {
		*m = map[uint32]uint32{}
	}
	i, ok := (*m)[k.key]
	if !ok {
		i = c.add(k)
		(*m)[k.key] = i
	}
	return i
}

// asCell is cell for an AS that the owner has given a number.
func (c *counts) asCell(number, asn uint32) uint32 {
	if int(number) >= len(c.as) {
		c.as = append(c.as, make([]uint32, int(number)+1-len(c.as))...)
	}
	if c.as[number] == 0 {
		c.as[number] = c.cell(cellKey{observe.ByAS, asn})
	}
	return c.as[number]
}

func (c *counts) add(k cellKey) uint32 {
	i := c.cells.take()
	c.keys = append(c.keys, k)
	return i
}

// merge adds everything in o.
func (c *counts) merge(o *counts) {
	for i, k := range o.keys[1:] {
		from := o.cells.at(uint32(i + 1)) //nolint:gosec // a slab's index
		to := c.cells.at(c.cell(k))
		f := k.form()
		to.packets += from.packets
		to.sources.Merge(f, &from.sources)
		to.targets.Merge(f, &from.targets)
	}
}

// total is the sum over the classes: every packet is in exactly one.
func (c *counts) total() (t counter) {
	for _, i := range c.class {
		if i == 0 {
			continue
		}
		cell := c.cells.at(i)
		t.packets += cell.packets
		t.sources.Merge(sketch.Fine, &cell.sources)
		t.targets.Merge(sketch.Fine, &cell.targets)
	}
	return t
}

// Row is one cell of a bucket as it is stored. The sets are there only for the
// cells that are worth the bytes: see Bucket.
type Row struct {
	Dim                       observe.Dim
	Key                       uint32
	Packets, Sources, Targets uint64
	SourcesErr, TargetsErr    float32 // standard error as a share; 0 exact
	SourceSet, TargetSet      []byte
}

// Bucket is one finished or still open span of counts, rows by dim and key.
type Bucket struct {
	Grain  observe.Grain
	Start  int64  // Unix seconds
	Open   bool   // will be written again, with more
	DarkV4 uint64 // IPv4 addresses monitored
	Looked float64
	Rows   []Row
}

// Sets are stored for the keepSets busiest cells of a dimension in hours and
// days (so that weeks can be merged exactly enough), and for every cell whose
// set takes at most smallSet bytes. Minutes are never merged, and have none.
const (
	keepSets = 256
	smallSet = 48
)

// rows writes the counts down, in order of dimension and key.
func (c *counts) rows(g observe.Grain) []Row {
	total := c.total()
	rows := make([]Row, 0, len(c.keys))
	if total.packets > 0 {
		rows = append(rows, row(cellKey{}, &total))
	}
	cells := make([]*counter, len(rows), len(c.keys))
	if len(rows) > 0 {
		cells[0] = &total
	}
	for i, k := range c.keys[1:] {
		cell := c.cells.at(uint32(i + 1)) //nolint:gosec // a slab's index
		if cell.packets == 0 {
			continue // only its targets are known so far
		}
		rows = append(rows, row(k, cell))
		cells = append(cells, cell)
	}
	if g != observe.Minute {
		addSets(rows, cells)
	}
	slices.SortFunc(rows, func(a, b Row) int {
		if a.Dim != b.Dim {
			return int(a.Dim) - int(b.Dim)
		}
		return int(int64(a.Key) - int64(b.Key))
	})
	return rows
}

func row(k cellKey, c *counter) Row {
	return Row{
		Dim: k.dim, Key: k.key, Packets: c.packets,
		Sources: c.sources.Count(), SourcesErr: float32(c.sources.Error()),
		Targets: c.targets.Count(), TargetsErr: float32(c.targets.Error()),
	}
}

func addSets(rows []Row, cells []*counter) {
	// The packets that a cell must have to be among the busiest of its dimension.
	var floor [observe.Dims]uint64
	var by [observe.Dims][]uint64
	for i := range rows {
		by[rows[i].Dim] = append(by[rows[i].Dim], rows[i].Packets)
	}
	for d, p := range by {
		if len(p) > keepSets {
			slices.Sort(p)
			floor[d] = p[len(p)-keepSets]
		}
	}
	for i := range rows {
		r, c := &rows[i], cells[i]
		busy := r.Packets >= floor[r.Dim]
		if busy || c.sources.Exact() && r.Sources <= smallSet/2 {
			r.SourceSet = c.sources.Append(nil)
		}
		if busy || c.targets.Exact() && r.Targets <= smallSet/2 {
			r.TargetSet = c.targets.Append(nil)
		}
	}
}

// countryIndex numbers the two-letter codes, 0 for unknown.
func countryIndex(key uint32) int {
	a, b := key>>8, key&0xff
	if a < 'A' || a > 'Z' || b < 'A' || b > 'Z' {
		return 0
	}
	return int((a-'A'+1)*27 + b - 'A' + 1)
}

func countryKey(c [2]byte) uint32 {
	k := uint32(c[0])<<8 | uint32(c[1])
	if countryIndex(k) == 0 {
		return 0
	}
	return k
}
