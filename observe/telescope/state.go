package telescope

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"sakimori/base/sketch"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// The state of a telescope: everything that the next packet's treatment depends
// on. Restored into a telescope of the same configuration it goes on as if it
// had never stopped: no event is split, no source counted twice. The number of
// workers may be another one.
const stateMagic = "sakimori-telescope-1\n"

// State writes the state down. Buckets that are still open are part of it, and
// are also given to the sink (Bucket.Open), so that a reader sees them; they
// will be given again.
func (t *Telescope) State() []byte {
	w := writer{b: []byte(stateMagic)}
	w.u64(t.union.v4)
	w.bool(t.started)
	w.u64(t.frames)
	w.u64(t.late)
	w.i64(t.first)
	w.i64(t.last)
	w.u32(t.top)
	t.each(func(*shard) {})
	w.i64(t.merger.last)
	w.span(t.merger.hour)
	w.span(t.merger.day)
	w.u32(uint32(len(t.workers))) //nolint:gosec // at most 8
	for _, wk := range t.workers {
		wk.shard.write(&w)
	}
	return w.b
}

// OpenBuckets gives the sink the hour and the day that aren't over.
func (t *Telescope) OpenBuckets() {
	t.each(func(*shard) {})
	for _, b := range t.merger.open() {
		t.merger.sink.Bucket(b)
	}
}

// Restore goes on from a state. The telescope must be new, and watch as many
// addresses as the one that wrote the state.
func (t *Telescope) Restore(state []byte) (err error) {
	if t.started {
		return errors.New("a telescope that has seen packets can't be restored")
	}
	rest, ok := bytes.CutPrefix(state, []byte(stateMagic))
	if !ok {
		return errors.New("the saved state isn't one of this version's telescope: start it anew, or run the version that wrote it")
	}
	r := reader{b: rest}
	defer func() {
		if r.err != nil {
			err = fmt.Errorf("the saved state is damaged: %w", r.err)
		}
	}()
	if v4 := r.u64(); v4 != t.union.v4 {
		return fmt.Errorf("the saved state is of a telescope with %d dark IPv4 addresses, this one has %d: import into another data folder", v4, t.union.v4)
	}
	started := r.bool()
	t.frames, t.late, t.first, t.last, t.top = r.u64(), r.u64(), r.i64(), r.i64(), r.u32()
	t.merger.last = r.i64()
	t.merger.hour, t.merger.day = r.span(), r.span()
	n := r.u32()
	for i := range n {
		if r.err != nil || i >= 8 {
			break
		}
		t.readShard(&r, n)
	}
	if r.err == nil && started {
		t.started = true
		go t.merger.run()
		for _, w := range t.workers {
			w.ended.Add(1)
			go w.run()
		}
	}
	return nil
}

// write puts down one shard.
func (s *shard) write(w *writer) {
	w.u32(s.id)
	w.u32(s.top)
	w.u32(s.swept)
	live := make([]uint32, 0, s.entries.live())
	for i := range s.entries.n {
		if s.entries.at(i).marks&markFree == 0 {
			live = append(live, i)
		}
	}
	w.u32(uint32(len(live))) //nolint:gosec // below 2^32
	for _, i := range live {
		e := s.entries.at(i)
		w.entry(e)
		src := s.sources.at(e.source)
		w.u32(src.window)
		w.u16(src.opened)
		w.bool(src.ports)
		w.evidence(&src.evidence)
		w.bool(e.set != 0)
		if e.set != 0 {
			w.b = s.sets.at(e.set).Append(w.b)
		}
	}
	w.bool(s.open[0] != nil)
	if s.open[0] != nil {
		w.counts(s.open[0])
		w.counts(s.open[1])
	}
	w.sights(s.sights)
	s.tally.write(w)
	w.u32(uint32(len(s.seen.slots))) //nolint:gosec // 4096
	for _, d := range s.seen.slots {
		w.u64(d.key)
		w.i64(d.seen)
	}
}

// readShard reads what one shard wrote, and deals it out among t's shards: all
// of it to the same one when there are as many as there were.
func (t *Telescope) readShard(r *reader, of uint32) {
	id, top, swept := r.u32(), r.u32(), r.u32()
	home := t.workers[int(id)%len(t.workers)].shard
	for _, w := range t.workers {
		w.shard.top, w.shard.swept = top, swept
		if w.shard.open[0] == nil {
			w.shard.open = [2]*counts{newCounts(int64(top) * 60), newCounts(int64(top-1) * 60)}
		}
	}
	for range r.u32() {
		if r.err != nil {
			return
		}
		in := r.entry()
		src := source{window: r.u32(), opened: r.u16(), ports: r.bool(), evidence: r.evidence()}
		var set *sketch.Set
		if r.bool() {
			set = r.set()
		}
		if int(in.kind) >= observe.Kinds || int(in.few) > len(in.near) {
			r.fail("an event of an unknown kind")
			return
		}
		s := home
		if int(of) != len(t.workers) {
			s = t.workers[uint32(mix(in.src)>>40)%uint32(len(t.workers))].shard //nolint:gosec // any 32 bits
		}
		s.adopt(in, src, set)
	}
	if r.bool() {
		for _, c := range home.open {
			r.counts(c)
		}
	}
	home.sights = append(home.sights, r.sights()...)
	home.tally.read(r)
	n := r.u32()
	if n > fragmentSlots {
		r.fail("too many fragments")
		return
	}
	home.seen.slots = slices.Grow(home.seen.slots[:0], int(n))
	for range n {
		home.seen.slots = append(home.seen.slots, datagram{r.u64(), r.i64()})
	}
	if len(home.seen.slots) != fragmentSlots {
		home.seen.slots = nil
	}
}

// adopt puts a restored event into the tables.
func (s *shard) adopt(in entry, src source, set *sketch.Set) {
	h := mix(in.src)
	in.source = s.sourceOf(in.src, h)
	to := s.sources.at(in.source)
	to.events++
	to.window, to.opened, to.ports, to.evidence = src.window, src.opened, src.ports, src.evidence
	if set != nil {
		in.set = s.sets.take()
		*s.sets.at(in.set) = *set
		s.setBytes += set.Bytes()
	}
	i := s.entries.take()
	*s.entries.at(i) = in
	s.byKey.put(in.tag(), i)
	if in.marks&markQueued != 0 {
		slot := 0
		if in.minute != s.top {
			slot = 1
		}
		s.active[slot] = append(s.active[slot], i)
	}
}

func (t *tally) write(w *writer) {
	w.any(t.Totals)
	w.b = t.sources.Append(w.b)
	w.any(t.hits)
	w.b = t.hits6.Append(w.b)
	w.b = t.hits4.Append(w.b)
	w.u32(uint32(len(t.Answering))) //nolint:gosec // at most maxAnswering
	addrs := make([]packet.Addr, 0, len(t.Answering))
	for a := range t.Answering {
		addrs = append(addrs, a)
	}
	slices.SortFunc(addrs, packet.Addr.Compare)
	for _, a := range addrs {
		w.any(a, t.Answering[a])
	}
	keys := make([]uint32, 0, len(t.ports))
	for k := range t.ports {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	w.u32(uint32(len(keys))) //nolint:gosec // at most 2^24
	for _, k := range keys {
		w.u32(k)
		w.u64(t.ports[k].packets)
		w.b = t.ports[k].sources.Append(w.b)
	}
}

// read adds what write wrote.
func (t *tally) read(r *reader) {
	o := newTally(0, t.ports != nil)
	o.hits = make([]uint64, len(t.hits))
	if t.hits == nil {
		o.hits = nil
	}
	r.any(&o.Totals)
	o.sources = *r.set()
	r.any(&o.hits)
	o.hits6 = *r.set()
	o.hits4 = *r.set()
	for range r.u32() {
		var a packet.Addr
		var n uint64
		if r.any(&a, &n); r.err != nil {
			return
		}
		o.Answering[a] = n
	}
	for range r.u32() {
		k, n, set := r.u32(), r.u64(), r.set()
		if r.err != nil {
			return
		}
		if o.ports != nil {
			o.ports[k] = &portTally{packets: n, sources: *set}
		}
	}
	t.merge(&o)
	for a, n := range o.Answering {
		t.Answering[a] = n
	}
}

// writer and reader are the plainest of encodings: little-endian numbers in a
// fixed order.
type writer struct{ b []byte }

func (w *writer) u32(v uint32) { w.b = binary.LittleEndian.AppendUint32(w.b, v) }
func (w *writer) u64(v uint64) { w.b = binary.LittleEndian.AppendUint64(w.b, v) }
func (w *writer) i64(v int64)  { w.u64(uint64(v)) } //nolint:gosec // the same bits

func (w *writer) bool(v bool) {
	b := byte(0)
	if v {
		b = 1
	}
	w.b = append(w.b, b)
}

// any writes fixed-size values; they can't fail to be written.
func (w *writer) any(values ...any) {
	for _, v := range values {
		if b, err := binary.Append(w.b, binary.LittleEndian, v); err == nil {
			w.b = b
		}
	}
}

func (w *writer) u8(v uint8)   { w.b = append(w.b, v) }
func (w *writer) u16(v uint16) { w.b = binary.LittleEndian.AppendUint16(w.b, v) }

func (w *writer) addr(a packet.Addr) {
	w.u64(a.Hi)
	w.u64(a.Lo)
}

func (w *writer) evidence(v *evidence) {
	w.u16(v.agreed)
	w.u16(v.differ)
	w.u16(v.port)
	w.u32(v.seq)
	w.u32(v.dst)
}

func (w *writer) entry(e *entry) {
	w.addr(e.src)
	w.i64(e.last)
	w.i64(e.first)
	w.i64(e.firstIn)
	w.u32(e.minute)
	w.u32(e.packets)
	w.u32(e.total)
	w.u16(e.port)
	w.u16(e.asks)
	w.b = append(w.b, e.kind, e.proto, e.marks, e.few)
	for _, v := range e.near {
		w.u32(v)
	}
	for _, v := range e.bins {
		w.u16(v)
	}
	w.evidence(&e.evidence)
	m := &e.sample
	w.addr(m.dst)
	w.u32(m.seq)
	w.u16(m.id)
	w.u16(m.window)
	w.u16(m.srcPort)
	w.u16(m.toPort)
	w.u16(m.length)
	w.b = append(w.b, m.ttl, m.flags, m.options)
}

func (w *writer) counts(c *counts) {
	w.i64(c.start)
	w.u32(uint32(len(c.keys) - 1)) //nolint:gosec // below 2^32
	for i, k := range c.keys[1:] {
		cell := c.cells.at(uint32(i + 1)) //nolint:gosec // a slab's index
		w.b = append(w.b, byte(k.dim))
		w.u32(k.key)
		w.u64(cell.packets)
		w.b = cell.sources.Append(w.b)
		w.b = cell.targets.Append(w.b)
	}
}

func (w *writer) span(s *span) {
	w.bool(s != nil)
	if s != nil {
		w.i64(s.looked)
		w.counts(s.counts)
	}
}

func (w *writer) sights(v []observe.Sighting) {
	w.u32(uint32(len(v))) //nolint:gosec // below 2^32
	w.any(v)
}

type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = errors.New(what)
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.fail("it ends too early")
		return make([]byte, min(n, 8))
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }
func (r *reader) i64() int64  { return int64(r.u64()) } //nolint:gosec // the same bits
func (r *reader) bool() bool  { return r.take(1)[0] != 0 }

func (r *reader) u8() uint8   { return r.take(1)[0] }
func (r *reader) u16() uint16 { return binary.LittleEndian.Uint16(r.take(2)) }

func (r *reader) addr() packet.Addr { return packet.Addr{Hi: r.u64(), Lo: r.u64()} }

func (r *reader) evidence() evidence {
	return evidence{agreed: r.u16(), differ: r.u16(), port: r.u16(), seq: r.u32(), dst: r.u32()}
}

func (r *reader) entry() (e entry) {
	e.src, e.last, e.first, e.firstIn = r.addr(), r.i64(), r.i64(), r.i64()
	e.minute, e.packets, e.total = r.u32(), r.u32(), r.u32()
	e.port, e.asks = r.u16(), r.u16()
	e.kind, e.proto, e.marks, e.few = r.u8(), r.u8(), r.u8(), r.u8()
	for i := range e.near {
		e.near[i] = r.u32()
	}
	for i := range e.bins {
		e.bins[i] = r.u16()
	}
	e.evidence = r.evidence()
	e.sample = sample{
		dst: r.addr(), seq: r.u32(), id: r.u16(), window: r.u16(), srcPort: r.u16(), toPort: r.u16(), length: r.u16(),
		ttl: r.u8(), flags: r.u8(), options: r.u8(),
	}
	return e
}

func (r *reader) any(values ...any) {
	for _, v := range values {
		n, err := binary.Decode(r.b, binary.LittleEndian, v)
		if err != nil {
			r.fail("it ends too early")
			return
		}
		r.b = r.b[n:]
	}
}

func (r *reader) set() *sketch.Set {
	if r.err != nil {
		return &sketch.Set{}
	}
	s, rest, err := sketch.Read(r.b)
	if err != nil {
		r.fail(err.Error())
		return &sketch.Set{}
	}
	r.b = rest
	return s
}

// counts adds what was written to c.
func (r *reader) counts(c *counts) {
	o := newCounts(r.i64())
	if r.err != nil || o.start != c.start {
		r.fail("the counts are of another minute")
		return
	}
	r.cells(o)
	c.merge(o)
}

func (r *reader) cells(o *counts) {
	for range r.u32() {
		k := cellKey{observe.Dim(r.take(1)[0]), r.u32()}
		if r.err != nil || int(k.dim) >= observe.Dims || k.dim == observe.ByClass && k.key >= uint32(observe.Classes) || k.dim == observe.ByProtocol && k.key > 255 {
			r.fail("the counts have an unknown dimension")
			return
		}
		cell := o.cells.at(o.cell(k))
		cell.packets += r.u64()
		cell.sources, cell.targets = *r.set(), *r.set()
	}
}

func (r *reader) span() *span {
	if !r.bool() {
		return nil
	}
	looked := r.i64()
	s := &span{newCounts(r.i64()), looked}
	r.cells(s.counts)
	return s
}

func (r *reader) sights() []observe.Sighting {
	n := r.u32()
	size := uint32(binary.Size(observe.Sighting{})) //nolint:gosec // about a hundred
	if uint64(n)*uint64(size) > uint64(len(r.b)) {
		r.fail("it ends too early")
		return nil
	}
	v := make([]observe.Sighting, n)
	r.any(v)
	return v
}
