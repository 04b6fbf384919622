package telescope

import (
	"slices"
	"sync"

	"sakimori/base/sketch"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// counter is one cell of the counts: packets, and always beside them how many
// distinct sources sent them to how many distinct dark addresses.
type counter struct {
	packets          uint64
	sources, targets sketch.Set
	coarse           bool   // counted with sketch.Coarse once there are many
	number           uint32 // of the AS, in a cell of one
}

// form is how sharply the cell counts.
func (c *counter) form() sketch.Form {
	if c.coarse {
		return sketch.Coarse
	}
	return sketch.Fine
}

// counts are all cells of one bucket of time, for every port, protocol, class,
// country and AS that was seen in it. The hot ones are found by index, without
// hashing.
type counts struct {
	start int64 // Unix seconds
	spare bool  // of a minute in which no frame came: open for late packets only
	ases  *register
	cells slab[counter]
	keys  []cellKey // of cells, in order of their first use

	class   [observe.Classes]uint32 // each: index of the cell, 0 none
	proto   [256]uint32
	country [27 * 27]uint32
	port    [2][1 << 16]uint32 // TCP, UDP
	as      []uint32           // by the AS's number in ases
	rest    map[uint32]uint32  // ports of other protocols, by key
	touched uint32             // see merge
}

// register numbers the ASes that a telescope has seen, so that its tables find
// their cells without hashing. Workers share it: it is asked once for a source.
type register struct {
	mu sync.Mutex
	m  map[uint32]uint32
}

func (r *register) number(asn uint32) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.m[asn]
	if !ok {
		n = uint32(len(r.m)) //nolint:gosec // there are fewer ASes
		r.m[asn] = n
	}
	return n
}

type cellKey struct {
	dim observe.Dim
	key uint32
}

// coarse tells how sharply a cell counts distinct things once they are many: the
// ports that people look at, and everything that there are few of, are counted
// with 0.81 % standard error, the other ports and the ASes with 1.63 %.
func (k cellKey) coarse() bool {
	return k.dim == observe.ByAS || k.dim == observe.ByPort && k.key&0xffff >= 1024 && !iotPort[k.key]
}

func newCounts(start int64, ases *register) *counts {
	c := &counts{start: start, ases: ases}
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
	c.start, c.spare = start, false
	clear(c.as)
	clear(c.rest)
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
	if k.dim == observe.ByAS {
		return c.asCell(c.ases.number(k.key), k.key)
	}
	if c.rest == nil {
		c.rest = map[uint32]uint32{}
	}
	i, ok := c.rest[k.key]
	if !ok {
		i = c.add(k)
		c.rest[k.key] = i
	}
	return i
}

// asCell is cell for an AS whose number is known.
func (c *counts) asCell(number, asn uint32) uint32 {
	if int(number) >= len(c.as) {
		c.as = append(c.as, make([]uint32, int(number)+1-len(c.as))...)
	}
	if c.as[number] == 0 {
		c.as[number] = c.add(cellKey{observe.ByAS, asn})
		c.cells.at(c.as[number]).number = number
	}
	return c.as[number]
}

func (c *counts) add(k cellKey) uint32 {
	i := c.cells.take()
	c.cells.at(i).coarse = k.coarse()
	c.keys = append(c.keys, k)
	return i
}

// at is the cell whose index stands in slot, made when there is none.
func (c *counts) at(slot *uint32, d observe.Dim, key uint32) uint32 {
	if *slot == 0 {
		*slot = c.add(cellKey{d, key})
	}
	return *slot
}

// portCell is the cell of a port.
func (c *counts) portCell(proto uint8, port uint16) uint32 {
	switch proto {
	case packet.TCP:
		return c.at(&c.port[0][port], observe.ByPort, portKey(proto, port))
	case packet.UDP:
		return c.at(&c.port[1][port], observe.ByPort, portKey(proto, port))
	}
	return c.cell(cellKey{observe.ByPort, portKey(proto, port)})
}

// merge adds everything in o. Like packets, cells are looked up in batches: the
// memory of many is asked for before the first is needed.
func (c *counts) merge(o *counts) {
	var at [batch]uint32
	var sum uint32
	for first := 1; first < len(o.keys); first += batch {
		keys := o.keys[first:min(first+batch, len(o.keys))]
		for i, k := range keys {
			from := o.cells.at(uint32(first + i))
			if k.dim == observe.ByAS {
				at[i] = c.asCell(from.number, k.key)
			} else {
				at[i] = c.cell(k)
			}
			to := c.cells.at(at[i])
			sum += to.sources.Head() + to.targets.Head()
		}
		for i := range keys {
			to := c.cells.at(at[i])
			sum += to.sources.Touch(0) + to.targets.Touch(0)
		}
		for i := range keys {
			from, to := o.cells.at(uint32(first+i)), c.cells.at(at[i])
			f := to.form()
			to.packets += from.packets
			to.sources.Merge(f, &from.sources)
			to.targets.Merge(f, &from.targets)
		}
	}
	c.touched = sum
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

// Sets are stored for the busiest cells of a dimension in hours and days (so that
// weeks can be merged exactly enough), keepSets of them, and for every cell whose
// set takes at most smallSet bytes. Minutes have none.
const smallSet = 48

var keepSets = [...]int{observe.Minute: 0, observe.Hour: 48, observe.Day: 256}

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
		cell := c.cells.at(uint32(i + 1))
		if cell.packets == 0 {
			continue // only its targets are known so far
		}
		rows = append(rows, row(k, cell))
		cells = append(cells, cell)
	}
	if g != observe.Minute {
		addSets(rows, cells, keepSets[g])
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

func addSets(rows []Row, cells []*counter, keep int) {
	// The packets that a cell must have to be among the busiest of its dimension.
	var floor [observe.Dims]uint64
	var by [observe.Dims][]uint64
	for i := range rows {
		by[rows[i].Dim] = append(by[rows[i].Dim], rows[i].Packets)
	}
	for d, p := range by {
		if len(p) > keep {
			slices.Sort(p)
			floor[d] = p[len(p)-keep]
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
