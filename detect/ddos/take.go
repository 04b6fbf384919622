package ddos

import (
	"math"

	"sakimori/base/pages"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// behind is how many seconds a flow may reach back from now, and ahead how many it may
// lie before it: clocks differ a little.
const (
	behind = 110
	ahead  = 2
)

// chunk is some records that are looked up together: their places in the table are
// computed first and asked for at once, as otherwise each would wait for memory.
type chunk struct {
	list     pages.List
	dst, src [chunkSize]uint64 // hashes
	to, from [chunkSize]role   // what their addresses are looked up as; nobody: not at all
}

const chunkSize = 64

// exporter is what is known of one that tells of flows.
type exporter struct {
	name   string
	heard  uint32     // when it told something last
	lag    [2]uint32  // seconds between a flow's first packet and its telling, at most, by generations
	lagged uint32     // when the generation began
	in     [64]uint64 // interfaces that it counts where packets come in, by hash
}

const exportersMost = 1 << 12

// exporter finds or enters one; of too many the last share a place.
func (d *Detector) exporter(number uint32) *exporter {
	e := d.exporters[number]
	if e == nil {
		if len(d.exporters) >= exportersMost {
			number = 0
			if e = d.exporters[0]; e != nil {
				return e
			}
		}
		e = &exporter{}
		d.exporters[number] = e
	}
	return e
}

// Take counts a batch of flows. Neither its size nor where it is cut matters to what is
// found, only the order of the records and the calls of Tick between them.
func (d *Detector) Take(batch []observe.Flow) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.ready && len(batch) > 0 {
		d.begin(batch[0].Last / second)
	}
	// While a chunk is counted, the memory of the next one is on its way.
	here, next := &d.chunks[0], &d.chunks[1]
	n := min(len(batch), chunkSize)
	d.ask(here, batch[:n])
	for len(batch) > 0 {
		m := min(len(batch)-n, chunkSize)
		d.ask(next, batch[n:n+m])
		for i := range n {
			d.take(&batch[i], here, i)
		}
		batch = batch[n:]
		n, here, next = m, next, here
	}
}

func (d *Detector) begin(s int64) {
	d.ready = true
	d.now = uint32(min(max(s, 1000), math.MaxUint32-1000))
	d.epoch, d.bothFrom, d.begun = d.now/epoch, d.now, d.now
}

// ask computes where a chunk's addresses stand and asks for that memory.
func (d *Detector) ask(h *chunk, batch []observe.Flow) {
	t := d.table
	for i := range batch {
		f := &batch[i]
		h.to[i], h.from[i] = nobody, nobody
		if d.rules.all {
			h.to[i], h.from[i] = hit, hit
		} else {
			src, dst := d.rules.isOwn(f.Src), d.rules.isOwn(f.Dst)
			if src {
				h.from[i] = takes
			}
			if dst {
				h.to[i] = hit
			} else if src {
				h.to[i] = foreign
			}
		}
		if h.to[i] != nobody {
			h.dst[i] = hash(f.Dst, h.to[i])
			pages.Add(&h.list, &t.slots[h.dst[i]&t.mask])
		}
		if h.from[i] != nobody {
			h.src[i] = hash(f.Src, h.from[i])
			pages.Add(&h.list, &t.slots[h.src[i]&t.mask])
		}
	}
	h.list.Fetch()
}

// take counts one record; i is its place in the chunk.
func (d *Detector) take(f *observe.Flow, h *chunk, i int) {
	d.figures.Records++
	if f.Packets == 0 {
		d.figures.Empty++
		return
	}
	x, ok, future, cut := portionOf(f, d.now)
	if future {
		d.figures.Future++
	}
	if !ok {
		d.figures.Late++
		return
	}
	if cut {
		d.figures.Cut++
	}
	if !d.note(f) {
		d.figures.Twice++
		return
	}
	c := classOf(f)
	x.flows = newFlows(f, c)
	answers := answerClass(f, c)
	src := mixed(f.Src)
	x.dst, x.port = mixed(f.Dst), uint32(f.DstPort)*0x9e3779b1>>16

	to, from := h.to[i], h.from[i]
	if to != nobody {
		if to == hit {
			d.inward[0] += float64(x.p)
		}
		e := d.table.find(h.dst[i], f.Dst, to)
		if e == nil {
			e = d.enter(h.dst[i], f.Dst, to, x.p)
		}
		if e != nil {
			idle := e.epoch+1 < d.epoch
			d.count(e, f, c, &x, src)
			if to == hit {
				d.around(e, idle, f, c, &x, src)
			}
		}
	}
	if from != nobody {
		e := d.table.find(h.src[i], f.Src, from)
		idle := e != nil && e.epoch+1 < d.epoch
		if from == takes {
			d.inward[1] += float64(x.p)
			if e == nil {
				e = d.enter(h.src[i], f.Src, from, x.p)
			}
			if e != nil {
				d.count(e, f, c, &x, src)
			}
		} else if e != nil { // every destination is protected, so a source that answers is one, too
			d.inward[1] += float64(x.p)
		}
		if e != nil {
			d.backAround(e, idle, answers, x.p)
		}
	}
	d.back(f, answers, x.p, src, x.dst)
	if len(d.linkAt) > 0 {
		d.throughLink(f, c, &x, src)
	}
}

// portionOf cuts a flow into its seconds, as it looks at second now. It tells whether the
// flow was later than now, and whether a part of it was too old.
func portionOf(f *observe.Flow, now uint32) (x portion, ok, future, cut bool) {
	first, last := f.First, f.Last
	if last >= int64(now+ahead+1)*second {
		future = true
		span := min(max(last-first, 0), int64(now)*second)
		last = int64(now)*second + second/2
		first = last - span
	}
	if first > last {
		first = last
	}
	a, b := first/second, last/second
	oldest := int64(now) - behind
	if b < oldest {
		return x, false, future, false
	}
	x.p, x.b = float32(f.Packets), float32(f.Bytes)
	if f.Rate > 1 {
		looked := float32(max(f.Seen, 1))
		x.v = x.p * x.p / looked * (1 - 1/float32(f.Rate))
		x.vb = x.b * x.b / looked * (1 - 1/float32(f.Rate))
	}
	x.dropped = f.Marks&observe.FlowDropped != 0
	x.to = uint32(b) //nolint:gosec // near now
	if a == b {
		x.from = x.to
		return x, true, future, false
	}
	whole := float32(last - first)
	x.mid = float32(second) / whole
	x.last = float32(last-b*second) / whole
	if a >= oldest {
		x.from = uint32(a) //nolint:gosec // near now
		x.first = float32((a+1)*second-first) / whole
		return x, true, future, false
	}
	x.from = uint32(oldest) //nolint:gosec // near now
	x.first = x.mid
	if b == oldest { // only its end is left
		x.p, x.b, x.v, x.vb = x.p*x.last, x.b*x.last, x.v*x.last, x.vb*x.last
	}
	return x, true, future, true
}

// note keeps the record for the beginning of an attack, and its exporter's delay. It is
// false where the same packets were told already: an exporter that counts them where they
// come in by this interface tells of them again where they leave.
func (d *Detector) note(f *observe.Flow) bool {
	e := d.teller
	if e == nil || d.telling != f.Exporter {
		e = d.exporter(f.Exporter)
		d.teller, d.telling = e, f.Exporter
	}
	if f.In != 0 {
		h := f.In * 0x9e3779b1 >> 20
		if f.Marks&observe.FlowEgress == 0 {
			e.in[h>>6] |= 1 << (h & 63)
		} else if e.in[h>>6]>>(h&63)&1 != 0 {
			return false
		}
	}
	d.recent[d.logged%logSize] = *f
	d.logged++
	e.heard = d.now
	if lag := int64(d.now) - f.First/second; lag > int64(e.lag[0]) && lag < 2*behind {
		e.lag[0] = uint32(lag) //nolint:gosec // bounded
	}
	return true
}

// enter makes an address's entry. When the table is full, the sketch tells whether it is
// busy enough for somebody else to go.
func (d *Detector) enter(h uint64, a packet.Addr, r role, n float32) *entry {
	e := d.table.add(h, a, r)
	if e == nil {
		least := d.rules.list[0].warm[r].Packets / 2
		estimate := d.beyond.add(h, d.epoch, n)
		if float64(estimate) < least || !d.table.makeRoom(h) {
			d.figures.Uncounted++
			return nil
		}
		d.figures.Forgotten++
		e = d.table.add(h, a, r)
		e.epoch, e.packets = d.epoch, estimate-n
	}
	if r != foreign {
		e.rule = d.rules.of(a)
		e.net = d.someNet(a)
	}
	return e
}

// someNet is the narrowest prefix around an address for which there is room, -2 if none.
func (d *Detector) someNet(a packet.Addr) int32 {
	for r := narrow; r <= wide; r++ {
		if i := d.net(a, r); i >= 0 {
			return i
		}
	}
	return -2
}

// net finds or enters the prefix of a role's width around an address, and those around
// it; -2 where there is no room.
func (d *Detector) net(a packet.Addr, r role) int32 {
	k := netKey{masked(a, r), r}
	if i, ok := d.netAt[k]; ok {
		return i
	}
	i := int32(len(d.nets)) //nolint:gosec // bounded
	if len(d.nets) <= d.cfg.Prefixes {
		d.nets = append(d.nets, entry{})
	} else if i = d.idleNet(); i < 0 {
		d.figures.NoPrefix++
		return -2
	}
	d.nets[i] = entry{addr: k.addr, role: r, rule: d.rules.of(k.addr), epoch: d.epoch, net: -2}
	d.netAt[k] = i
	if r < wide {
		d.nets[i].net = d.net(a, r+1)
	}
	return i
}

// idleNet frees the place of a prefix without traffic for some epochs.
func (d *Detector) idleNet() int32 {
	for range min(64, len(d.nets)) {
		d.netHand++
		if d.netHand >= len(d.nets) {
			d.netHand = 1
		}
		if n := &d.nets[d.netHand]; n.warm == 0 && n.epoch+3 < d.epoch {
			delete(d.netAt, netKey{n.addr, n.role})
			return int32(d.netHand) //nolint:gosec // bounded
		}
	}
	return -1
}

// count adds a flow to an object, and makes it warm when it may matter.
func (d *Detector) count(e *entry, f *observe.Flow, c class, x *portion, src uint32) {
	if e.warm == 0 {
		if e.epoch != d.epoch {
			e.epoch = d.epoch
			e.packets, e.bytes, e.flows = 0, 0, 0
		}
		e.packets += x.p
		e.bytes += x.b
		e.flows += x.flows
		least := &d.rules.list[e.rule].warm[e.role]
		if (float64(e.packets) < least.Packets && 8*float64(e.bytes) < least.Bits && float64(e.flows) < least.Flows) ||
			// Two sampled packets say nothing yet, however many they stand for.
			e.packets < 3*float32(f.Rate) && f.Rate > 1 || !d.urgent(e, x, least) || !d.promote(e) {
			e.keep(x)
			return
		}
	}
	w := &d.warms[e.warm]
	e.epoch = d.epoch
	d.heed(w, e.warm, f, c, x, src)
}

// urgent tells whether an object may take a place. The last eighth of them is for those
// that reach half their line in a second.
func (d *Detector) urgent(e *entry, x *portion, least *Line) bool {
	if len(d.free) > d.cfg.Warm/8 {
		return true
	}
	p, b, f := x.p, x.b, x.flows
	if e.second == x.to {
		p, b, f = p+e.p, b+e.b, f+e.f
	}
	if float64(p) >= 4*least.Packets || 8*float64(b) >= 4*least.Bits || float64(f) >= 4*least.Flows {
		return true
	}
	d.figures.WarmFull++
	return false
}

// keep adds a flow to a cold object's newest second.
func (e *entry) keep(x *portion) {
	share := x.last
	if x.from == x.to {
		share = 1
	}
	if x.to > e.second {
		e.second = x.to
		e.p, e.b, e.f, e.v = 0, 0, 0, 0
	}
	if x.to == e.second {
		e.p += x.p * share
		e.b += x.b * share
		e.v += x.v * share
		e.f += x.flows
	}
}

// heed adds a flow to a warm object and its attack.
func (d *Detector) heed(w *warm, i int32, f *observe.Flow, c class, x *portion, src uint32) {
	if !w.touched {
		w.touched = true
		d.touched = append(d.touched, i)
	}
	w.spread(x)
	w.count(f, c, x, src)
	if x.to-x.from >= lump {
		w.lumps += x.p
	}
	if w.attack != 0 {
		d.attacks[w.attack].take(d, f, c, x, src)
	}
}

// around counts a flow for the prefixes and customers of its destination. A prefix makes
// room for another only after some epochs without traffic, so that its place needs to be
// checked only where something was idle.
func (d *Detector) around(e *entry, idle bool, f *observe.Flow, c class, x *portion, src uint32) {
	if e.net == -1 || idle && e.net >= 0 && !d.nets[e.net].around(e.addr) {
		e.net = d.someNet(e.addr)
	}
	for i := e.net; i >= 0; {
		n := &d.nets[i]
		if idle = n.epoch+1 < d.epoch; idle && n.role != wide && (n.net < 0 || d.nets[n.net].role != n.role+1 || !d.nets[n.net].around(n.addr)) {
			j := d.net(n.addr, n.role+1)
			d.nets[i].net = j // the list may have moved
			n = &d.nets[i]
		}
		d.count(n, f, c, x, src)
		i = n.net
	}
	for i := d.rules.list[e.rule].customer; i >= 0; i = d.rules.parents[i] {
		w := d.customers[i]
		d.heed(&d.warms[w], w, f, c, x, src)
	}
}

// around tells whether a prefix holds an address.
func (e *entry) around(a packet.Addr) bool {
	return e.addr.Is4() == a.Is4() && e.addr == masked(a, e.role)
}

// backAround counts packets the other way for the prefixes and customers of a source.
func (d *Detector) backAround(e *entry, idle bool, c class, v float32) {
	if idle && e.net >= 0 && !d.nets[e.net].around(e.addr) {
		e.net = -1
	}
	for i := e.net; i >= 0; {
		n := &d.nets[i]
		switch {
		case n.warm != 0:
			d.warms[n.warm].fresh.k[c] += v
		case n.epoch != d.epoch:
			n.epoch, n.packets, n.bytes, n.flows = d.epoch, 0, 0, 0
		}
		if i = n.net; i >= 0 && n.role+1 != d.nets[i].role {
			break
		}
	}
	for i := d.rules.list[e.rule].customer; i >= 0; i = d.rules.parents[i] {
		d.warms[d.customers[i]].fresh.k[c] += v
	}
}

// back counts packets the other way for warm addresses.
func (d *Detector) back(f *observe.Flow, c class, n float32, src, dst uint32) {
	if d.may(src) {
		if i := d.backIn[f.Src]; i != 0 {
			d.warms[i].fresh.k[c] += n
		}
	}
	if d.may(dst) {
		if i := d.backOut[f.Dst]; i != 0 {
			d.warms[i].fresh.k[c] += n
		}
	}
}

// may tells whether an address of that hash may be warm.
func (d *Detector) may(h uint32) bool {
	return d.bloom[h>>6&(uint32(len(d.bloom))-1)]>>(h&63)&1 != 0
}

// throughLink counts a flow where it comes in. What goes out there says nothing of it, as
// answers may leave by another link.
func (d *Detector) throughLink(f *observe.Flow, c class, x *portion, src uint32) {
	if i := d.linkAt[uint64(f.Exporter)<<32|uint64(f.In)]; i != 0 && f.Marks&observe.FlowEgress == 0 {
		d.heed(&d.warms[i], i, f, c, x, src)
	}
}

// promote makes an object warm.
func (d *Detector) promote(e *entry) bool {
	i := d.heat(e.role, e.addr, e.rule, e.net, -1)
	if i == 0 {
		d.figures.WarmFull++
		return false
	}
	e.warm = i
	w := &d.warms[i]
	if e.second+behind > d.now {
		w.head = max(w.head, e.second)
		v := cell{p: e.p, b: e.b, f: e.f, v: e.v}
		if e.p > 0 {
			v.vb = e.v * (e.b / e.p) * (e.b / e.p)
		}
		w.cells[e.second%ring] = v
		w.lo, w.hi = min(w.lo, e.second), max(w.hi, e.second)
	}
	return true
}

// heat takes a place for a warm object; 0 where there is none.
func (d *Detector) heat(r role, a packet.Addr, rule uint16, net, ours int32) int32 {
	if len(d.free) == 0 {
		return 0
	}
	i := d.free[len(d.free)-1]
	d.free = d.free[:len(d.free)-1]
	d.highest = max(d.highest, i)
	w := &d.warms[i]
	*w = warm{addr: a, role: r, rule: rule, net: net, ours: ours, head: d.now, born: d.now, told: d.now, heard: d.now, lo: math.MaxUint32}
	switch r {
	case hit, foreign:
		d.backIn[a] = i
	case takes:
		d.backOut[a] = i
	}
	if r <= foreign {
		h := mixed(a)
		d.bloom[h>>6&(uint32(len(d.bloom))-1)] |= 1 << (h & 63)
	}
	return i
}
