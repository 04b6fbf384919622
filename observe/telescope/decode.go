package telescope

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"sakimori/base/sketch"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// reader reads what a writer wrote. After a failure it gives zeros.
type reader struct {
	ases *register // for the counts that are read
	b    []byte    // what is left of the part
	rest []byte    // and the parts after it
	err  error
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

// entry reads an event and the place of its source among the sources.
func (r *reader) entry() (e entry, a aside, from uint32) {
	from = r.u32()
	e.last, a.first, e.total, e.seen = r.i64(), r.i64(), r.u32(), r.u32()
	e.port, e.asks, e.marks = r.u16(), r.u16(), r.u16()
	e.kind, e.proto = r.u8(), r.u8()
	e.agreed, e.differ, e.seq, e.dst = r.u16(), r.u16(), r.u32(), r.u32()
	if e.marks&markQueued != 0 {
		a.minute, a.packets, a.firstIn = r.u32(), r.u32(), r.i64()
		for i := range a.bins {
			a.bins[i] = r.u16()
		}
	}
	return e, a, from
}

func (r *reader) sample() sample {
	m := sample{
		dst: packet.V4(r.u32()), seq: r.u32(), id: r.u16(), window: r.u16(), srcPort: r.u16(), toPort: r.u16(), length: r.u16(),
		ttl: r.u8(), flags: r.u8(), options: r.u8(),
	}
	if r.bool() {
		m.dst = r.addr()
	}
	return m
}

// targets reads targets into the blocks of the shard that they go to.
func (r *reader) targets(b *blocks) (t targets) {
	f, zero := form(r.u8()), r.bool()
	if r.err != nil || f >= forms {
		r.fail("targets of an unknown form")
		return t
	}
	if t = (targets{form: f, zero: zero}); f != formNear {
		t.block = b.take(f)
	}
	if f >= formDense {
		for i, at := 0, b.at(t.block, f); i < len(at); i++ {
			at[i] = r.u32()
		}
		return t
	}
	n := r.u16()
	if n > most[f] {
		r.fail("more targets than their form holds")
		return t
	}
	for range n {
		if id := r.u32(); id != 0 {
			b.insert(&t, id)
		}
	}
	return t
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

func (r *reader) source() source {
	return source{
		addr: r.addr(), window: r.u32(), minute: r.u32(), hour: r.u32(), opened: r.u16(),
		seen: [2]uint8{r.u8(), r.u8()}, hosts: r.u8(), marks: r.u8(),
		evidence: evidence{agreed: r.u16(), differ: r.u16(), seq: r.u32(), dst: r.u32()}, port: r.u16(),
	}
}

func (r *reader) raw(s *sketch.Set, f sketch.Form) {
	if r.err != nil {
		return
	}
	rest, err := s.ReadRaw(f, r.b)
	if err != nil {
		r.fail(err.Error())
		return
	}
	r.b = rest
}

func (r *reader) counts() *counts {
	c := newCounts(r.i64(), r.ases)
	for d := range c.dims {
		r.cells(&c.dims[d])
	}
	return c
}

func (r *reader) cells(c *cells) {
	ases := uint32(len(r.ases.list())) //nolint:gosec // below 2^22
	for range r.u32() {
		key := r.u32()
		if r.err != nil || !c.has(key, ases) {
			r.fail("the counts have an unknown key")
			return
		}
		cell := c.at(key)
		cell.packets, cell.hosts = r.u64(), r.u64()
		r.raw(&cell.sources, c.form(key))
		r.raw(&cell.targets, c.form(key))
	}
	r.openly(c, ases)
}

// census reads one of a telescope with so many dark addresses.
func (r *reader) census(v4 uint64) *census {
	c := newCensus(v4)
	c.sources = *r.set()
	r.cells(&c.ports)
	r.any(&c.hits.v4)
	c.hits.many, c.hits.v6 = *r.set(), *r.set()
	return c
}

// register reads the ASes by number, before anything that names one so.
func (r *reader) register() {
	n := r.u32()
	if n == 0 || n > maxASes || uint64(len(r.b)) < 4*uint64(n) {
		r.fail("it has no ASes, or too many")
		return
	}
	asns := make([]uint32, n)
	for i := range asns {
		asns[i] = r.u32()
	}
	r.ases.restore(asns)
}

// minutes reads the large minutes that aren't over; top is the newest one.
func (r *reader) minutes(top uint32) map[uint32]*minute {
	m := map[uint32]*minute{}
	for range r.u32() {
		again := r.u64()
		c := r.counts()
		k := uint32(c.start / 60) //nolint:gosec // checked below
		if r.err != nil || c.start != int64(k)*60 || k != top && k+1 != top {
			r.fail("counts of a minute that isn't open")
			return m
		}
		m[k] = &minute{part: part{minute: k, again: again}, counts: c}
	}
	return m
}

// has tells whether there may be a cell with this key, among so many ASes.
func (c *cells) has(key, ases uint32) bool {
	switch c.dim {
	case observe.ByClass:
		return key < uint32(observe.Classes)
	case observe.ByProtocol:
		return key < 256
	case observe.ByCountry:
		return key < countries
	case observe.ByPort:
		return key < 1<<24
	case observe.ByAS:
		return key < ases
	}
	return false
}

// log reads records of a telescope with so many dark addresses.
func (r *reader) log(to *log, from *shelf, dark uint64) {
	n, ases := r.u32(), uint32(len(r.ases.list())) //nolint:gosec // below 2^22
	for range n {
		v := record{r.u32(), r.u32(), r.u32()}
		if r.err != nil {
			return
		}
		if v.what&far == 0 && uint64(v.who) >= dark || v.as() >= ases || v.country() >= countries {
			r.fail("a record of an unknown address, country or AS")
			return
		}
		to.add(v, from)
	}
}

// span reads an hour or a day, of so many seconds.
func (r *reader) span(seconds int64) *span {
	if !r.bool() {
		return nil
	}
	looked := r.i64()
	s := &span{r.counts(), looked}
	if s.start < 0 || s.start > maxTime/1_000_000_000 || s.start%seconds != 0 || looked < 0 || looked > seconds {
		r.fail("an hour or a day that is none")
		return nil
	}
	return s
}

func (r *reader) answering() map[packet.Addr]uint64 {
	n := r.u32()
	if n > maxAnswering {
		r.fail("too many dark addresses that answer")
		return nil
	}
	m := map[packet.Addr]uint64{}
	for range n {
		a, packets := r.addr(), r.u64()
		if r.err != nil {
			break
		}
		m[a] = packets
	}
	return m
}

func (r *reader) dates() (d Dates) {
	d.begun, d.top, d.back, d.n = r.bool(), r.i64(), r.i64(), int(r.u64()&math.MaxInt32)
	r.any(&d.minutes)
	n := r.u32()
	if n > window {
		r.fail("more frames wait than may")
		return d
	}
	d.waiting.Frames = make([]packet.Frame, n)
	r.any(d.waiting.Frames)
	d.waiting.Buf = slices.Clone(r.take(int(r.u32())))
	ok := d.top >= 0 && d.top <= maxNano && d.back >= 0 && d.back <= maxNano
	for _, t := range d.minutes {
		ok = ok && t >= 0 && t <= maxNano
	}
	for _, f := range d.waiting.Frames {
		ok = ok && uint64(f.Off)+uint64(f.Len) <= uint64(len(d.waiting.Buf))
	}
	if !ok {
		r.fail("dates that can't be")
		return Dates{}
	}
	if d.n > 0 {
		d.next = minuteAfter(d.minutes[(d.n-1)%len(d.minutes)])
	}
	d.reckon()
	return d
}

func (r *reader) fragments() []datagram {
	if !r.bool() {
		return nil
	}
	slots := make([]datagram, fragmentSlots)
	for i := range slots {
		slots[i] = datagram{r.u64(), r.i64()}
	}
	return slots
}

func (r *reader) events() (v []observe.Event) {
	for range r.u32() {
		e := observe.Event{
			ID: r.u64(), Source: r.addr().Netip(), Port: r.u16(),
			Proto: r.u8(), Kind: observe.Kind(r.u8()), Tool: observe.Tool(r.u8()), Flags: observe.Flags(r.u8()),
			First: r.time(), Last: r.time(), Packets: r.u64(), Targets: observe.Unique{N: r.u64()},
		}
		r.any(&e.Targets.Err, &e.Coverage, &e.Rate)
		e.Country, e.ASN, e.Sample = r.text(), r.u32(), strings.Split(r.text(), "\n")
		if r.err == nil && int(e.Kind) >= observe.Kinds {
			r.fail("an event of an unknown kind")
		}
		if r.err != nil {
			return nil
		}
		v = append(v, e)
	}
	return v
}

func (r *reader) scan() scan {
	v := scan{src: r.addr(), first: r.i64(), last: r.i64(), packets: r.u64(), targets: r.u64()}
	r.any(&v.err)
	v.port, v.proto, v.tool, v.research, v.maybeVictim = r.u16(), r.u8(), observe.Tool(r.u8()), r.bool(), r.bool()
	return v
}

func (r *reader) time() time.Time { return time.Unix(0, r.i64()).UTC() }

func (r *reader) text() string {
	n := int(r.u16())
	if len(r.b) < n {
		r.fail("it ends too early")
		return ""
	}
	return string(r.take(n))
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
	for i := range v {
		if int(v[i].Kind) >= observe.Kinds {
			r.fail("a sighting of an unknown kind")
			return nil
		}
	}
	return v
}
