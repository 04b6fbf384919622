package record

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"time"

	"sakimori/base/clock"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// Places estimates where an address is: "" and 0 for what isn't known.
type Places interface {
	Place(a packet.Addr) (country string, asn uint32)
}

// Customers knows our own addresses, and by what name their customer goes ("" none).
type Customers interface {
	Customer(a packet.Addr) (name string, ours bool)
}

// Options are how flows are kept. The zero value is fine.
type Options struct {
	Part uint64 // names who writes: an import or the collector. Two at once differ in it

	// Keys is how many rows a bucket has at most, besides one for each exporter; the
	// others are folded together. 0 is 16,384. Memory: at most Horizon in minutes × 4 ×
	// Keys × 130 bytes (100 MB), and as much again until Save.
	Keys int
	// Horizon is how long before the latest flow a minute still takes what comes late;
	// 0 is ten minutes. It is to be longer than the exporters' active time-out.
	Horizon time.Duration
	// Raw is how many records a second are kept as they come, by the minute; 0 none.
	// What is more than that is counted, and is in the minutes as all others are.
	Raw int
	// Clock tells what is in the future, when flows come in as they happen; nil for
	// captures. A flow that ends more than a minute ahead of it is taken as ending now.
	Clock clock.Clock

	Places    Places    // nil: nothing but what exporters say
	Customers Customers // nil: nobody is ours
}

const (
	minute    = int64(60)
	hour      = int64(3600)
	nanos     = int64(time.Second)
	minuteNs  = uint64(time.Minute)
	keysKept  = 16_384
	horizon   = 10 * time.Minute
	ahead     = time.Minute
	largest   = 1 << 48 // packets or bytes of one flow: 5 Tbit/s for seven minutes
	waitsMost = 64      // batches of rows × Keys that wait to be saved before detail is given up
)

// Stats count what a part was given. They are kept with the rows.
type Stats struct {
	Flows, Packets, Bytes             uint64 // taken, late ones with it
	LateFlows, LatePackets, LateBytes uint64 // of which before the horizon: they aren't kept. A flow that began before it is late in part
	Early                             uint64 // flows that ended in the future
	Impossible                        uint64 // flows with more than 2⁴⁸ packets or bytes: they aren't kept
	Raw, RawLeft                      uint64 // records kept as they came, and those that didn't fit
	Coarse                            uint64 // buckets whose detail was given up, because nobody saved
}

// Writer counts flows into minutes. Take and Cut are called by one goroutine, Save by one.
type Writer struct {
	record *Record
	o      Options
	seed   seed
	fold   folder

	base  int64     // the first minute that is open, since 1970; 0 before the first flow
	open  []*bucket // ring by minute
	spare []*bucket
	raw   []observe.Flow
	stats Stats

	ahead   [64]looked
	touched uint64  // keeps look's reads from being left out
	last    *bucket // the one that was counted in last, and its minute
	lastAt  int64

	cut    batch  // what the next Cut hands over
	serial uint64 // of the last Cut
	queue  queue  // what was cut and isn't on disk
}

// bucket is a minute that is being counted.
type bucket struct {
	table

	lacks   uint64 // see folder.fold
	raw     int    // records kept as they came
	rawLeft uint64 // and those that weren't
}

func newWriter(r *Record, o Options) *Writer {
	if o.Keys <= 0 {
		o.Keys = keysKept
	}
	if o.Horizon <= 0 {
		o.Horizon = horizon
	}
	w := &Writer{record: r, o: o}
	for i := range w.seed {
		w.seed[i] = rand.Uint64() //nolint:gosec // only has to be unknown to who sends flows
	}
	w.fold.seed = w.seed
	w.open = make([]*bucket, int(o.Horizon/time.Minute)+1)
	return w
}

// Stats are what was counted so far; from the goroutine that takes.
func (w *Writer) Stats() Stats { return w.stats }

// Take counts flows. The slice is the caller's again afterwards.
func (w *Writer) Take(batch []observe.Flow) {
	future := int64(math.MaxInt64)
	if w.o.Clock != nil {
		future = w.o.Clock.Now().Add(ahead).UnixNano()
	}
	for len(batch) > 0 {
		n := min(len(batch), len(w.ahead))
		w.look(batch[:n])
		for i := range batch[:n] {
			f := &batch[i]
			if f.Packets|f.Bytes >= largest {
				w.stats.Impossible++
				continue
			}
			if f.Last > future {
				f = w.back(f, future-int64(ahead))
			}
			w.take(f, &w.ahead[i])
		}
		batch = batch[n:]
	}
}

// looked is what look makes of a flow.
type looked struct {
	key

	hash uint64
}

// look hashes some flows and reads where their rows are likely to be, all of them at
// once: so the memory answers while others are still asked, and take finds them near.
func (w *Writer) look(batch []observe.Flow) {
	for i := range batch {
		l := &w.ahead[i]
		l.key = keyOf(&batch[i])
		l.hash = l.key.hash(&w.seed)
	}
	if w.last == nil || len(w.last.slots) == 0 {
		return
	}
	t, mask := &w.last.table, uint64(len(w.last.slots)-1) //nolint:gosec // a power of two
	for i := range batch {
		if s := uint32(t.slots[w.ahead[i].hash&mask]); s != 0 { //nolint:gosec // the lower half is the index
			w.touched += t.rows[s-1].key.src.Lo + t.rows[s-1].flows
		}
	}
}

// back is a flow from the future, as one that ends now.
func (w *Writer) back(f *observe.Flow, now int64) *observe.Flow {
	w.stats.Early++
	g := *f
	g.First, g.Last = now-max(0, min(f.Last-f.First, int64(w.o.Horizon))), now
	return &g
}

func (w *Writer) take(f *observe.Flow, l *looked) {
	end, begin := max(f.Last, 0), min(max(f.First, 0), max(f.Last, 0))
	last := int64(uint64(end) / minuteNs) //nolint:gosec // not negative
	first := last
	if uint64(begin) < uint64(last)*minuteNs { //nolint:gosec // not negative
		first = -1
	}
	w.stats.Flows++
	w.stats.Packets += f.Packets
	w.stats.Bytes += f.Bytes
	if w.base == 0 {
		w.base = max(1, last-int64(len(w.open))+1)
	}
	if last >= w.base+int64(len(w.open)) {
		w.advance(last - int64(len(w.open)) + 1)
	}
	all := part{f.Packets, f.Bytes, uint64(f.Seen)}
	switch {
	case last < w.base:
		w.stats.LateFlows++
		w.late(all)
		return
	case first == last:
		w.count(f, l, last, all, 1)
	default:
		w.spread(f, l, uint64(begin), uint64(end), all)
	}
	w.keepRaw(f, last)
}

// part is a share of a flow.
type part struct{ packets, bytes, seen uint64 }

func (p part) minus(o part) part {
	return part{p.packets - o.packets, p.bytes - o.bytes, p.seen - o.seen}
}

func (w *Writer) late(p part) {
	w.stats.LatePackets += p.packets
	w.stats.LateBytes += p.bytes
}

// spread gives each minute of a flow's life its part of it, so that an active time-out
// doesn't look like a spike. The parts are differences of what had passed until then,
// rounded down, so they add up to the flow.
func (w *Writer) spread(f *observe.Flow, l *looked, begin, end uint64, all part) {
	life := end - begin + 1
	var done part
	until := func(m int64) part { // of what had passed when minute m began
		t := uint64(m)*minuteNs - begin //nolint:gosec // m is after the beginning
		return part{passed(all.packets, t, life), passed(all.bytes, t, life), passed(all.seen, t, life)}
	}
	m, last := int64(begin/minuteNs), int64(end/minuteNs) //nolint:gosec // minutes
	if m < w.base {
		m = w.base
		done = until(m)
		w.late(done)
	}
	for ; m < last; m++ {
		if upto := until(m + 1); upto != done {
			w.count(f, l, m, upto.minus(done), 0)
			done = upto
		}
	}
	w.count(f, l, last, all.minus(done), 1)
}

// passed is n × t / life, rounded down.
func passed(n, t, life uint64) uint64 {
	hi, lo := bits.Mul64(n, t)
	if hi == 0 {
		return lo / life
	}
	q, _ := bits.Div64(hi, lo, life) // n·t/life < n, so it fits
	return q
}

// count adds a part of a flow to a minute.
func (w *Writer) count(f *observe.Flow, l *looked, m int64, p part, ended uint64) {
	b := w.bucket(m)
	if len(b.rows) >= 4*w.o.Keys {
		b.lacks += w.fold.fold(&b.table, w.o.Keys)
	}
	r := b.at(&l.key, l.hash)
	r.packets += p.packets
	r.bytes += p.bytes
	r.seen += p.seen
	if f.Marks&observe.FlowSample == 0 {
		r.flows += ended
	}
	if r.srcAS|r.dstAS == 0 {
		r.srcAS, r.dstAS = f.SrcAS, f.DstAS
	}
	r.spread(p.packets, p.bytes, f.Rate)
}

// spread adds how far a sampled count may be off. Each of the packets that were looked
// at stands for rate, with a variance of rate·(rate−1); their lengths aren't known one
// by one, so they are taken to be equal.
func (r *row) spread(packets, bytes uint64, rate uint32) {
	if rate <= 1 || packets == 0 {
		return
	}
	v := float64(packets) * float64(rate-1)
	length := float64(bytes) / float64(packets)
	r.packetsVariance += v
	r.bytesVariance += v * length * length
}

func (w *Writer) bucket(m int64) *bucket {
	if w.last != nil && w.lastAt == m {
		return w.last
	}
	at := &w.open[uint64(m)%uint64(len(w.open))] //nolint:gosec // not negative
	if *at == nil {
		if n := len(w.spare); n > 0 {
			*at, w.spare = w.spare[n-1], w.spare[:n-1]
		} else {
			*at = &bucket{table: table{seed: &w.seed}}
		}
	}
	w.last, w.lastAt = *at, m
	return *at
}

func (w *Writer) keepRaw(f *observe.Flow, last int64) {
	b := w.bucket(last)
	if w.o.Raw == 0 {
		b.rawLeft++
		return
	}
	if b.raw >= w.o.Raw*int(minute) || len(w.raw) >= rawWaits {
		b.rawLeft++
		w.stats.RawLeft++
		return
	}
	b.raw++
	w.stats.Raw++
	w.raw = append(w.raw, *f)
}

// rawWaits is how many records as they came wait for Save at most: 110 MB.
const rawWaits = 1 << 20

// advance closes the minutes before base.
func (w *Writer) advance(base int64) {
	w.last = nil
	for m := w.base; m < min(base, w.base+int64(len(w.open))); m++ {
		w.hand(m)
		if at := &w.open[uint64(m)%uint64(len(w.open))]; *at != nil { //nolint:gosec // not negative
			(*at).raw = 0
			w.spare, *at = append(w.spare, *at), nil
		}
	}
	w.base = max(w.base, base)
}

// hand moves what a minute has counted to the next cut.
func (w *Writer) hand(m int64) {
	b := w.open[uint64(m)%uint64(len(w.open))] //nolint:gosec // not negative
	if b == nil || len(b.rows) == 0 && b.rawLeft == 0 {
		return
	}
	keep := w.o.Keys
	if w.queue.rows()+w.cut.rows > waitsMost*keep {
		keep = 0
		w.stats.Coarse++
	}
	b.lacks += w.fold.fold(&b.table, keep)
	w.cut.minutes = append(w.cut.minutes, counted{m * minute, slices.Clone(b.rows), b.lacks, b.rawLeft})
	w.cut.rows += len(b.rows)
	b.clear()
	b.lacks, b.rawLeft = 0, 0
}

// Cut hands over what was counted, to be saved by Save with the number that it gives.
// It is called between batches, where the caller takes down its own state.
func (w *Writer) Cut() (serial uint64) {
	if w.o.Clock != nil && w.base > 0 {
		w.advance(w.o.Clock.Now().Unix()/minute - int64(len(w.open)) + 1)
	}
	return w.enqueue(w.base * minute)
}

// Finish is the Cut at the end of an import: no more will ever come in this part. What
// goes on after a restart ends with Cut.
func (w *Writer) Finish() (serial uint64) {
	w.advance(w.base + int64(len(w.open)))
	w.base = ended / minute
	return w.enqueue(ended)
}

// ended is later than all buckets, and begins one of each grain.
const ended = 1 << 50 / hour * hour

func (w *Writer) enqueue(closed int64) uint64 {
	for i := range int64(len(w.open)) {
		w.hand(w.base + i)
	}
	w.serial++
	w.cut.serial, w.cut.closed, w.cut.stats, w.cut.raw = w.serial, closed, w.stats, w.raw
	w.queue.put(w.cut)
	w.cut, w.raw = batch{}, nil
	return w.serial
}
