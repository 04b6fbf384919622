package ddos

import (
	"cmp"
	"math"
	"slices"

	"sakimori/base/sketch"
	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/observe"
)

// The bounds of one attack.
const (
	samples     = 512     // flows in its sample
	lookedMost  = 1 << 12 // distinct sources that are looked up
	ingressMost = 256     // interfaces
	targetsMost = 1 << 12 // addresses of a wide object that are counted one by one
	partsMost   = 1 << 12 // own addresses that take part
	portsMost   = 16      // ports of a class
)

// sourceForm counts an attack's sources: exactly some thousand, then ±1.6 % (95 %).
var sourceForm = sketch.Form{Precision: 14, Exact: 4096}

// attack is one attack while it is open.
type attack struct {
	saved
	warm     int32
	sources  sketch.Set
	byClass  [classes]*tally
	targets  map[packet.Addr]float64
	dests    sketch.Set
	ingress  map[uint64]*through
	partners map[packet.Addr]*partner
	sample   reservoir
	ordinary []detect.Sample
	usual    *detect.Rate
	limit    lines
	course   []uint32 // seconds whose course is to be told
	worst    cell
	latest   cell
}

// saved is the part of an attack that has a fixed size.
type saved struct {
	Addr     packet.Addr
	Role     uint8
	Ours     int32
	Measure  uint8
	Opened   uint32
	Detected uint32
	Over     uint32 // the last second above the line, in the time of the data
	Told     uint32 // when the last version was made
	Pulses   uint32
	Hold     uint32
	Up       bool
	Quiet    bool
	Rise     bool
	Both     bool // the other direction was told when it was opened
	Known    bool // what is usual was known

	Packets, Bytes, Variance float64 // in all
	BytesVariance            float64
	Seen                     float64 // packets that were looked at
	Single                   float64 // of them, in records of one packet that wasn't sampled
	Exact                    float64 // of them, in records that weren't sampled
	Bogon                    float64 // of them, from addresses that nobody can have
	Missed                   float64 // packets before it was opened that no record at hand tells of: a part of the error
	Share                    float64 // of what came on top, when it was opened
	Flooding                 [classes]bool
	FirstPeak, Peak          float64 // packets a second
	PeakBits                 float64
	ToldPeak                 float64
	ToldVectors              uint32
	Looked, Infected, Own    uint32
	FoundTold                uint32 // when the finding was told last
	Witnesses                []string
	Versions                 uint32
}

// tally is one class of an attack.
type tally struct {
	Packets, Bytes, Variance, Square float64 // Square: packets · length²
	sources                          sketch.Set
	dst, src                         [portsMost]portCount
}

// portCount is a port and its packets: the busiest are kept, by Space-Saving, so that a
// count is too high by no more than the least one.
type portCount struct {
	Port uint16
	Used bool
	P, B float64
}

type through struct{ Packets, Bytes float64 }

// partner is an own address that takes part.
type partner struct {
	Packets     float64
	First, Last uint32
}

// take counts a flow of the attacked object.
func (a *attack) take(d *Detector, f *observe.Flow, c class, x *portion, src uint32) {
	if !a.Flooding[c] || x.to+ring/2 < a.Opened || x.to < a.Opened && x.from < a.Opened {
		return
	}
	p, b := float64(x.p), float64(x.b)
	t := a.byClass[c]
	if t == nil {
		t = &tally{}
		a.byClass[c] = t
	}
	length := b / p
	t.Packets += p
	t.Bytes += b
	t.Variance += float64(x.v)
	t.Square += p * length * length
	a.Packets += p
	a.Bytes += b
	a.Variance += float64(x.v)
	a.BytesVariance += float64(x.vb)
	seen := float64(max(f.Seen, 1))
	a.Seen += seen
	if f.Rate <= 1 {
		a.Exact += seen
		if f.Packets == 1 {
			a.Single++
		}
	}
	if bogon(f.Src) {
		a.Bogon += seen
	}
	id := identity(f.Src, src)
	t.sources.Add(sketch.Coarse, id)
	if a.sources.Add(sourceForm, id) && a.Looked < lookedMost {
		a.look(d, f.Src)
	}
	count(&t.dst, f.DstPort, p, b)
	count(&t.src, f.SrcPort, p, b)
	a.enters(f, p, b)
	if role(a.Role) > foreign {
		if a.dests.Add(sketch.Coarse, mixed(f.Dst)) && len(a.targets) < targetsMost {
			a.targets[f.Dst] = 0
		}
		if n, ok := a.targets[f.Dst]; ok {
			a.targets[f.Dst] = n + p
		}
	}
	if r := role(a.Role); r == foreign || r == takes {
		a.partner(f, p, x)
	}
	a.sample.take(f, p, x.to)
}

// identity is an address in 32 bits: IPv4 itself.
func identity(a packet.Addr, mixed uint32) uint32 {
	if a.Is4() {
		return a.V4()
	}
	return mixed
}

// look asks what others know of a source.
func (a *attack) look(d *Detector, src packet.Addr) {
	a.Looked++
	if !d.rules.all && d.rules.isOwn(src) {
		a.Own++
	}
	if d.ports.Infected != nil && d.ports.Infected(src.Netip()) {
		a.Infected++
	}
}

func (a *attack) enters(f *observe.Flow, p, b float64) {
	k := uint64(f.Exporter)<<32 | uint64(f.In)
	t := a.ingress[k]
	if t == nil {
		if len(a.ingress) >= ingressMost {
			return
		}
		t = &through{}
		a.ingress[k] = t
	}
	t.Packets += p
	t.Bytes += b
}

// through is the share of the attack that comes in by a link.
func (a *attack) through(w *warm, d *Detector) float64 {
	if a.Packets == 0 {
		return 0
	}
	var n float64
	for k, t := range a.ingress {
		if i := d.linkAt[k]; i != 0 && &d.warms[i] == w {
			n += t.Packets
		}
	}
	// Most of the link's traffic of late must be this attack's, too.
	var all float64
	for c := range classes {
		all += float64(w.recent.p[c])
	}
	return min(n/a.Packets*float64(a.latest.p)/max(all, 1), 1)
}

func (a *attack) partner(f *observe.Flow, p float64, x *portion) {
	t := a.partners[f.Src]
	if t == nil {
		if len(a.partners) >= partsMost {
			return
		}
		t = &partner{First: x.from}
		a.partners[f.Src] = t
	}
	t.Packets += p
	t.First, t.Last = min(t.First, x.from), max(t.Last, x.to)
}

func count(ports *[portsMost]portCount, port uint16, p, b float64) {
	least := 0
	for i := range ports {
		c := &ports[i]
		if c.Used && c.Port == port {
			c.P += p
			c.B += b
			return
		}
		if !c.Used {
			*c = portCount{port, true, p, b}
			return
		}
		if c.P < ports[least].P {
			least = i
		}
	}
	c := &ports[least]
	*c = portCount{port, true, c.P + p, c.B + b}
}

// bogon tells whether an address of IPv4 can't be anybody's on the Internet: this host,
// private and link-local networks, loopback, multicast, reserved (RFC 6890). Networks
// for documentation and benchmarks aren't among them, as laboratories use them.
func bogon(a packet.Addr) bool {
	if !a.Is4() {
		return false
	}
	switch v := a.V4(); {
	case v>>24 == 0, v>>24 == 10, v>>24 == 127, v>>16 == 0xa9fe, v>>20 == 0xac1, v>>16 == 0xc0a8, v>>29 == 7:
		return true
	}
	return false
}

// reservoir is a priority sample (Duffield, Lund, Thorup 2007): flows are kept by packets
// over chance, and stand for their packets, or for the threshold where that is more.
// What is older counts half with each minute, so that it shows what passes now.
type reservoir struct {
	items []sampled // a heap, the lowest priority first
	seen  uint64
	from  uint32 // when the weights began to grow
	at    uint32
	grown float64 // by how much they have at that second
}

type sampled struct {
	priority, weight float64
	past             past
}

const fade = 60 // seconds in which a sampled flow's weight halves

func (r *reservoir) take(f *observe.Flow, packets float64, s uint32) {
	if r.seen == 0 {
		r.from, r.at, r.grown = s, s, 1
	}
	r.seen++
	if s > r.from+fade*500 { // before the weights grow out of what a float can hold
		k := math.Exp2(-float64(s-r.from) / fade)
		for i := range r.items {
			r.items[i].priority *= k
			r.items[i].weight *= k
		}
		r.from, r.at, r.grown = s, s, 1
	}
	if s != r.at {
		r.at, r.grown = s, math.Exp2(float64(s-min(r.from, s))/fade)
	}
	w := packets * r.grown
	u := (float64(sketch.Hash(uint32(r.seen))>>11) + 1) / (1 << 53) //nolint:gosec // the lower half is as good
	q := w / u
	if len(r.items) == samples {
		if q <= r.items[0].priority {
			return
		}
		r.items[0] = r.item(f, q, w, s)
		r.down()
		return
	}
	r.items = append(r.items, r.item(f, q, w, s))
	for i := len(r.items) - 1; i > 0 && r.items[i].priority < r.items[(i-1)/2].priority; i = (i - 1) / 2 {
		r.items[i], r.items[(i-1)/2] = r.items[(i-1)/2], r.items[i]
	}
}

func (r *reservoir) item(f *observe.Flow, q, w float64, s uint32) sampled {
	return sampled{q, w, past{
		src: f.Src, dst: f.Dst, second: s, length: meanLength(f), srcPort: f.SrcPort, dstPort: f.DstPort,
		proto: f.Proto, flags: f.TCPFlags, marks: f.Marks, used: true,
	}}
}

func (r *reservoir) down() {
	for i := 0; ; {
		j := 2*i + 1
		if j >= len(r.items) {
			return
		}
		if j+1 < len(r.items) && r.items[j+1].priority < r.items[j].priority {
			j++
		}
		if r.items[i].priority <= r.items[j].priority {
			return
		}
		r.items[i], r.items[j] = r.items[j], r.items[i]
		i = j
	}
}

// rows are the sample, scaled to so many packets in all.
func (r *reservoir) rows(total float64) []detect.Sample {
	if len(r.items) == 0 {
		return nil
	}
	items := slices.Clone(r.items)
	slices.SortFunc(items, func(x, y sampled) int { return cmp.Compare(y.priority, x.priority) })
	floor := 0.0
	if len(items) == samples {
		floor = items[samples-1].priority
	}
	var sum float64
	for _, s := range items {
		sum += max(s.weight, floor)
	}
	rows := make([]detect.Sample, 0, len(items))
	for _, s := range items {
		rows = append(rows, s.past.row(max(s.weight, floor)/sum*total))
	}
	return rows
}

func (p *past) row(packets float64) detect.Sample {
	return detect.Sample{
		Src: p.src.Netip(), Dst: p.dst.Netip(), SrcPort: p.srcPort, DstPort: p.dstPort, Proto: p.proto,
		Flags: p.flags, NoFlags: p.proto == packet.TCP && p.marks&observe.FlowNoFlags != 0,
		Later: p.marks&observe.FlowFragment != 0, Single: p.marks&observe.FlowSample != 0, Length: p.length, Packets: packets, Bytes: packets * float64(p.length),
	}
}
