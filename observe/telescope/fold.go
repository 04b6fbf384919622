package telescope

import (
	"cmp"
	"math/bits"
	"slices"
	"sync"

	"sakimori/base/pages"
	"sakimori/base/sketch"
	"sakimori/observe"
)

// folder counts the records of a minute. It sorts them by cell, so that each
// cell is counted while its addresses are in the cache, exactly, and only what
// is distinct goes on to the cell of the hour. It belongs to the merger.
type folder struct {
	space *space // numbers the dark addresses
	ases  *register
	sides [2]side
	all   wide
	class [observe.Classes]wide
	proto [256]*wide // the usual ones
	// Countries are counted in the same way in a dark space of usual size.
	country [countries]wide

	sources uint64   // of the minute
	marks   uint32   // of all records together
	rows    [2][]Row // of the minute in hand: of ports, of places
	rare    []item   // packets of other protocols
	scans   []item   // packets by port
}

// piece are records to be counted: a minute, or a part of a large one.
type piece struct {
	packets, hosts [][]record
	n              int     // of packets
	into           *counts // the hour, or the minute when there is more of it to come
	more           bool    // no rows yet
	again          uint64  // sources that may have been counted twice
	asns           []uint32
	census         *census // what is added up of the tally, too
	detail         bool    // and of its ports
}

func newFolder(union *space, ases *register) *folder {
	f := &folder{space: union, ases: ases}
	for _, p := range []uint8{1, 6, 17, 58} {
		f.proto[p] = &wide{}
	}
	return f
}

// fold adds a piece to the counts, and gives its rows in order when it is a
// whole minute; they are good until the next one. Ports and places have nothing
// in common, and are counted side by side.
func (f *folder) fold(p *piece) []Row {
	p.asns = f.ases.list()
	for _, chunk := range p.packets {
		p.n += len(chunk)
	}
	var done sync.WaitGroup
	done.Go(func() { f.rows[1] = f.places(p) })
	f.rows[0] = f.ports(p)
	done.Wait()
	f.rows[0] = append(f.rows[0], f.rows[1]...)
	return f.rows[0]
}

// wide counts a cell in which most addresses come again and again. What it costs
// goes with the packets of the minute, not with the size of the dark space.
type wide struct {
	packets, hosts uint64
	hit            []uint64   // bitmap over the dark space
	touched        []uint32   // its words that aren't 0
	far            sketch.Set // what has no number in it

	cell  *counter // the hour's, and what of hit it has already
	known []uint64
}

func (w *wide) reset(n uint64) {
	if w.packets, w.hosts = 0, 0; n <= bitmapMost && w.hit == nil {
		w.hit = make([]uint64, (n+63)/64)
	}
	for _, i := range w.touched {
		w.hit[i] = 0
	}
	w.touched = w.touched[:0]
	w.far.Reset()
}

func (w *wide) add(r *record) {
	w.packets++
	if r.what&far != 0 {
		w.far.Add(exactly, r.who)
		return
	}
	w.set(r.who>>6, 1<<(r.who&63))
}

// set adds addresses of one word.
func (w *wide) set(i uint32, bits uint64) {
	if w.hit[i] == 0 {
		w.touched = append(w.touched, i)
	}
	w.hit[i] |= bits
}

// exactly is the form of a set that is never estimated.
var exactly = sketch.Form{Precision: 14, Exact: 1 << 31}

// flush gives the cell's row, and adds it to the hour's.
func (w *wide) flush(f *folder, p *piece, to *cells, key uint32, rows []Row) []Row {
	if w.packets == 0 {
		return rows
	}
	cell, form := to.at(key), to.form(key)
	cell.packets += w.packets
	cell.hosts += w.hosts
	if w.cell != cell { // another hour
		w.cell, w.known = cell, make([]uint64, len(w.hit))
	}
	for _, i := range w.touched {
		for fresh := w.hit[i] &^ w.known[i]; fresh != 0; fresh &= fresh - 1 {
			cell.targets.Add(form, f.space.address(64*i+uint32(bits.TrailingZeros64(fresh)))) //nolint:gosec // below 2^24
		}
		w.known[i] |= w.hit[i]
	}
	cell.targets.Merge(form, &w.far)
	return p.row(rows, to.dim, rowKey(to.dim, key, p.asns), w.packets, w.hosts, w.count())
}

func (w *wide) count() uint64 {
	n := w.far.Count()
	for _, i := range w.touched {
		n += uint64(bits.OnesCount64(w.hit[i])) //nolint:gosec // at most 64
	}
	return n
}

func ones(words []uint64) (n uint64) {
	for _, w := range words {
		n += uint64(bits.OnesCount64(w)) //nolint:gosec // at most 64
	}
	return n
}

// merge adds one bitmap to another.
func merge(to, from []uint64) {
	for i, w := range from {
		to[i] |= w
	}
}

// row adds a row to those of a whole minute.
func (p *piece) row(rows []Row, dim observe.Dim, key uint32, packets, sources, targets uint64) []Row {
	if p.more {
		return rows
	}
	r := Row{Dim: dim, Key: key, Packets: packets, Sources: sources, Targets: targets}
	if p.again > 0 {
		r.SourcesErr = float32(min(1, float64(p.again)/float64(sources)))
	}
	return append(rows, r)
}

// ports counts the total, the classes, the protocols and the ports.
func (f *folder) ports(p *piece) []Row {
	s := &f.sides[0]
	f.wide(p)
	rows := f.total(p)
	dim := &p.into.dims[observe.ByClass]
	for class := range f.class {
		rows = f.class[class].flush(f, p, dim, uint32(class), rows)
	}
	first := len(rows)
	dim = &p.into.dims[observe.ByProtocol]
	for proto, w := range f.proto {
		if w != nil {
			rows = w.flush(f, p, dim, uint32(proto), rows)
		}
	}
	s.items = f.rare
	rows = s.count(f.space, p, dim, nil, rows)
	f.rare, s.items = s.items[:0], nil
	sortRows(rows[first:])

	dim = &p.into.dims[observe.ByPort]
	s.items = f.scans
	var tally *cells
	if p.detail {
		tally = &p.census.ports
	}
	rows = s.count(f.space, p, dim, tally, rows)
	s.items = s.items[:0]
	classes, protos := &p.into.dims[observe.ByClass], &p.into.dims[observe.ByProtocol]
	for _, chunk := range p.hosts {
		for i := range chunk {
			r := &chunk[i]
			class, proto := r.what>>whatClass&3, r.what>>whatProto&0xff
			if r.what&newClass != 0 {
				classes.at(class).sources.Add(classes.form(class), r.who)
			}
			if r.what&newProto != 0 {
				protos.at(proto).sources.Add(protos.form(proto), r.who)
			}
			if r.what&newPort != 0 {
				s.items = append(s.items, item{r.what & portMask, r.who})
				if r.what&research != 0 {
					dim.openlyFrom(r.what&portMask, r.who)
				}
			}
		}
	}
	s.hosts(dim, dim.form)
	f.scans = s.items[:0]
	return rows
}

// wide adds all packets to the cells of the classes and protocols, and sorts out
// those that are counted by port.
func (f *folder) wide(p *piece) {
	f.sources, f.marks = 0, 0
	f.rare, f.scans = f.rare[:0], room(f.scans, p.n)
	for i := range f.class {
		f.class[i].reset(f.space.v4)
	}
	for _, w := range f.proto {
		if w != nil {
			w.reset(f.space.v4)
		}
	}
	for _, chunk := range p.packets {
		for i := range chunk {
			r := &chunk[i]
			f.sources += uint64(r.what / newPlace & 1)
			f.marks |= r.what
			class := observe.Class(r.what >> whatClass & 3)
			c := &f.class[class]
			c.hosts += uint64(r.what / newClass & 1)
			c.add(r)
			if w := f.proto[r.what>>whatProto&0xff]; w != nil {
				w.hosts += uint64(r.what / newProto & 1)
				w.add(r)
			} else {
				f.rare = append(f.rare, r.item(r.what>>whatProto&0xff, newProto))
			}
			if class == observe.Scan {
				f.scans = append(f.scans, r.item(r.what&portMask, newPort))
			}
		}
	}
}

// total is the row of everything: every packet is in exactly one class.
func (f *folder) total(p *piece) []Row {
	all := &f.all
	all.reset(f.space.v4)
	for i := range f.class {
		c := &f.class[i]
		all.packets += c.packets
		all.far.Merge(exactly, &c.far)
		for _, k := range c.touched {
			all.set(k, c.hit[k])
		}
	}
	if all.packets == 0 {
		return f.rows[0][:0]
	}
	if f.marks&(before|far) == 0 {
		for _, k := range all.touched {
			p.census.hits.v4[k] |= all.hit[k]
		}
	} else {
		p.census.hits.add(p.packets)
	}
	return p.row(f.rows[0][:0], observe.ByTotal, 0, all.packets, f.sources, all.count())
}

// places counts the countries and the ASes.
func (f *folder) places(p *piece) []Row {
	s := &f.sides[1]
	dim := &p.into.dims[observe.ByCountry]
	var rows []Row
	if f.space.v4 <= wideMost {
		rows = f.countries(p, dim)
	} else {
		s.items = room(s.items, p.n)
		for _, chunk := range p.packets {
			for i := range chunk {
				s.items = append(s.items, chunk[i].item(chunk[i].country(), newPlace))
			}
		}
		rows = s.count(f.space, p, dim, nil, f.rows[1][:0])
	}
	first := len(rows)
	s.items = room(s.items, p.n)
	for _, chunk := range p.packets {
		for i := range chunk {
			s.items = append(s.items, chunk[i].item(chunk[i].as(), newPlace))
		}
	}
	rows = s.count(f.space, p, &p.into.dims[observe.ByAS], nil, rows)
	sortRows(rows[first:])
	s.items = s.items[:0]
	ases := &p.into.dims[observe.ByAS]
	for _, chunk := range p.hosts {
		for i := range chunk {
			if r := &chunk[i]; r.what&newPlace != 0 {
				c := r.country()
				dim.at(c).sources.Add(dim.form(c), r.who)
				s.items = append(s.items, item{r.as(), r.who})
				if r.what&research != 0 {
					dim.openlyFrom(c, r.who)
					ases.openlyFrom(r.as(), r.who)
				}
			}
		}
	}
	s.hosts(ases, ases.form)
	return rows
}

// wideMost is the largest dark space in which each country has a bitmap of its
// own: 524,288 addresses, and 64 KiB.
const wideMost = 1 << 19

// countries counts the packets of each country.
func (f *folder) countries(p *piece, dim *cells) []Row {
	for i := range f.country {
		if c := &f.country[i]; c.packets > 0 {
			c.reset(f.space.v4)
		}
	}
	for _, chunk := range p.packets {
		for i := range chunk {
			r := &chunk[i]
			c := &f.country[r.country()]
			if c.packets == 0 {
				c.reset(f.space.v4)
			}
			c.hosts += uint64(r.what / newPlace & 1)
			c.add(r)
		}
	}
	rows := f.rows[1][:0]
	for i := range f.country {
		rows = f.country[i].flush(f, p, dim, uint32(i), rows)
	}
	return rows
}

// item is a record on its way to a cell: the cell's key with two marks.
type item struct{ key, who uint32 }

const (
	itemNew    = 1 << 31 // the source is new there
	itemFar    = 1 << 30 // see far
	itemBefore = 1 << 29 // see before
	itemKey    = itemBefore - 1
)

// item is the record as an item of the cell key; new is the mark of that cell.
func (r *record) item(key, new uint32) item {
	return item{key | r.what/new&1*itemNew | r.what&far | r.what/before*itemBefore, r.who}
}

// room makes room for n items, with some to spare: the next minute has as many.
func room(items []item, n int) []item {
	if cap(items) < n {
		return pages.Make[item](n + n/4)[:0]
	}
	return items[:0]
}

// side is what one of the two goroutines works with.
type side struct {
	items, spare []item
	hit          []uint64 // bitmap over the dark space, empty between two cells
	ids          []uint32
}

// count sorts the items and counts the cells of a dimension. What is distinct is
// added to the cells, the minute's rows to rows, and packets to the tally's cells.
func (s *side) count(space *space, p *piece, to, tally *cells, rows []Row) []Row {
	if len(s.items) == 0 {
		return rows
	}
	if s.hit == nil && space.v4 <= bitmapMost {
		s.hit = make([]uint64, (space.v4+63)/64)
	}
	s.sort()
	targets := to.room(len(s.items))
	for rest := s.items; len(rest) > 0; {
		group := first(rest)
		rest = rest[len(group):]
		key, hosts, old := group[0].key&itemKey, uint64(0), uint64(0)
		for i := range group {
			hosts += uint64(group[i].key >> 31)
			old += uint64(group[i].key / itemBefore & 1)
		}
		packets := uint64(len(group))
		if tally != nil && packets > old {
			tally.at(key).packets += packets - old
		}
		before := len(targets)
		targets = s.distinct(space, group, targets)
		cell := to.at(key)
		cell.packets += packets
		cell.hosts += hosts
		rows = p.row(rows, to.dim, rowKey(to.dim, key, p.asns), packets, hosts, uint64(len(targets)-before)) //nolint:gosec // a length
	}
	to.wait(targets)
	return rows
}

// first are the first of sorted items that belong to one cell.
func first(items []item) []item {
	n, key := 1, items[0].key&itemKey
	for n < len(items) && items[n].key&itemKey == key {
		n++
	}
	return items[:n]
}

// distinct appends the different addresses of a group to targets, as identities.
func (s *side) distinct(space *space, group, targets []item) []item {
	var others sketch.Set
	key, n := group[0].key&itemKey, len(targets)
	targets = slices.Grow(targets, len(group))[:n+len(group)]
	for i := range group {
		it := &group[i]
		if it.key&itemFar != 0 {
			if others.Add(exactly, it.who) {
				targets[n] = item{key, it.who}
				n++
			}
			continue
		}
		// Whether an address is new can't be foreseen: each is written down, and
		// the next one over it if it wasn't.
		w, at := &s.hit[it.who>>6], it.who&63
		fresh := ^*w >> at & 1
		*w |= 1 << at
		targets[n] = item{key, space.address(it.who)}
		n += int(fresh)
	}
	for i := range group {
		if group[i].key&itemFar == 0 {
			s.hit[group[i].who>>6] = 0
		}
	}
	return targets[:n]
}

// hosts sorts the items and adds them as sources to the cells of a dimension.
func (s *side) hosts(to *cells, form func(key uint32) sketch.Form) {
	s.sort()
	for rest := s.items; len(rest) > 0; {
		group := first(rest)
		rest = rest[len(group):]
		s.ids = s.ids[:0]
		for i := range group {
			s.ids = append(s.ids, group[i].who)
		}
		key := group[0].key & itemKey
		to.at(key).sources.AddAll(form(key), s.ids)
	}
}

// lowBits is how many bits of the key the second step of a sort takes at most.
const lowBits = 10

// sort orders the items by key, equal ones as they came: first by the upper bits,
// into lists that are written side by side, and then each of these lists, which
// a cache holds, by the lower ones.
func (s *side) sort() {
	n := len(s.items)
	if n < fewItems {
		slices.SortStableFunc(s.items, func(a, b item) int { return cmp.Compare(a.key&itemKey, b.key&itemKey) })
		return
	}
	all := uint32(0)
	for i := range s.items {
		all |= s.items[i].key
	}
	width := bits.Len32(all & itemKey)
	low := max(min(lowBits, width/2), width-maxHigh)
	s.spare = room(s.spare, n)[:n]
	var first [1<<maxHigh + 1]uint32 // where each list begins
	for i := range s.items {
		first[s.items[i].key&itemKey>>low+1]++
	}
	lists := 1 << (width - low)
	for k := range lists {
		first[k+1] += first[k]
	}
	at := first
	for _, it := range s.items {
		k := it.key & itemKey >> low
		s.spare[at[k]] = it
		at[k]++
	}
	mask := uint32(1)<<low - 1
	var next [1 << lowMost]uint32
	for k := range lists {
		from, to := s.spare[first[k]:first[k+1]], s.items[first[k]:first[k+1]]
		if len(from) == 0 {
			continue
		}
		clear(next[:mask+1])
		for i := range from {
			next[from[i].key&mask]++
		}
		sum := uint32(0)
		for i, count := range next[:mask+1] {
			next[i], sum = sum, sum+count
		}
		for _, it := range from {
			to[next[it.key&mask]] = it
			next[it.key&mask]++
		}
	}
}

// fewItems is how many are sorted by comparing: to clear the lists would take
// longer.
const fewItems = 2048

// maxHigh is how many bits the first step takes at most, and lowMost how many that
// leaves of a port's key.
const (
	maxHigh = 11
	lowMost = 24 - maxHigh
)

// minute are the rows of a minute that was counted piece by piece.
func (c *counts) minute(p *piece) []Row {
	total := c.total()
	if total.packets == 0 {
		return nil
	}
	var rows []Row
	for d := range c.dims {
		first, cells := len(rows), &c.dims[d]
		cells.each(func(key uint32, cell *counter) {
			rows = p.row(rows, cells.dim, rowKey(cells.dim, key, p.asns), cell.packets, cell.hosts, cell.targets.Count())
			rows[len(rows)-1].TargetsErr = float32(cell.targets.Error())
			if cells.dim == observe.ByCountry {
				total.hosts += cell.hosts
			}
		})
		sortRows(rows[first:])
	}
	first := p.row(nil, observe.ByTotal, 0, total.packets, total.hosts, total.targets.Count())
	first[0].TargetsErr = float32(total.targets.Error())
	return append(first, rows...)
}
