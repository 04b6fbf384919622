package telescope

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// underway is how many blocks are on their way at once.
const underway = 8

// Block is a block of frames that all workers read; the last one gives it back.
type Block struct {
	packet.Block
	readers atomic.Int32
	lists   [maxWorkers][]dealt // the frames that each worker must see
}

// dealt is a frame for a worker. Of a frame that is its shard's business alone the
// sender is known, and isn't dark: hash is mix of it, 0 for all others.
type dealt struct {
	hash  uint64
	frame uint32
}

// Block gives an empty block to fill and hand to Ingest. It waits until the
// workers have one to spare, which is how a reader is kept from running ahead.
func (t *Telescope) Block() *Block { return <-t.pool }

// Ingest takes a filled block of Block. The frames' times may go back by up to
// a minute; what is older by up to a day is counted in the oldest minute that is
// still open, and in Totals.Late. What bears a date that isn't believed (see Dates)
// is counted in Totals.Stray, and nowhere else.
func (t *Telescope) Ingest(b *Block) {
	t.frames += uint64(len(b.Frames))
	t.dates.Take(&b.Block)
	t.deal(b)
}

// deal gives a block to the workers.
func (t *Telescope) deal(b *Block) {
	for i := range t.workers {
		b.lists[i] = b.lists[i][:0]
	}
	if len(b.Frames) > 0 {
		t.clock(b)
	}
	b.readers.Store(int32(len(t.workers))) //nolint:gosec // at most 8
	t.send(order{block: b})
}

// Settle says that the input has ended: frames whose dates wait for others that
// agree wait no longer.
func (t *Telescope) Settle() {
	if t.dates.Waiting() > 0 {
		b := t.empty()
		t.dates.Settle(&b.Block)
		t.deal(b)
	}
}

// empty is a Block without frames.
func (t *Telescope) empty() *Block {
	b := t.Block()
	b.Buf, b.Frames = b.Buf[:0], b.Frames[:0]
	return b
}

// clock sets first and last, folds times that lie too far back, starts the
// workers at the first frame, and deals the frames out.
func (t *Telescope) clock(b *Block) {
	for i := range b.Frames {
		ft := &b.Frames[i].Time
		if *ft < 0 { // NoDate
			t.stray++
			continue
		}
		t.first, t.last = min(t.first, *ft), max(t.last, *ft)
		m := uint32(*ft / 60e9) //nolint:gosec // minutes since the epoch
		everybody := false
		switch {
		case !t.started:
			t.start(m)
			everybody = true
		case m > t.top: // all begin the minute at the same frame
			t.top = m
			everybody = true
		case m+1 < t.top:
			*ft = int64(t.top-1) * 60e9
			t.late++
		}
		if !everybody {
			if src, ok := sender(b.Frames[i].Link, b.Bytes(i), t.cfg.Tunnels); ok && !t.union.contains(src) {
				h := mix(src)
				list := &b.lists[shardOf(h, uint32(len(t.workers)))] //nolint:gosec // at most 8
				*list = append(*list, dealt{h, uint32(i)})
				continue
			}
		}
		for w := range t.workers {
			b.lists[w] = append(b.lists[w], dealt{0, uint32(i)})
		}
	}
}

// sender looks at a frame before it is decoded: what has the form of most is its
// source's shard's business alone. All shards must see fragments, what dark
// addresses send and what errors quote; these, and everything that isn't plain,
// are decoded by each.
func sender(link packet.LinkType, f []byte, tunnels packet.Tunnels) (packet.Addr, bool) {
	if link != packet.LinkEthernet || len(f) < 34 || f[12] != 8 || f[13] != 0 || f[14] != 0x45 ||
		f[20]&0x3f != 0 || f[21] != 0 || f[23] != packet.TCP && (f[23] != packet.UDP || tunnels != 0) {
		return packet.Addr{}, false
	}
	return packet.V4(binary.BigEndian.Uint32(f[26:])), true
}

func (t *Telescope) start(minute uint32) {
	t.started, t.top = true, minute
	go t.merger.run()
	for _, w := range t.workers {
		w.shard.begin(minute)
		w.ended.Add(1)
		go w.run()
	}
}

// order is what a worker is told: to read a block, or to do something between
// blocks and say when it is done.
type order struct {
	block *Block
	until uint32 // advance to this minute
	do    func(*shard)
	done  *sync.WaitGroup
}

func (t *Telescope) send(o order) {
	if !t.started { // nothing has come: there is nobody to read it
		if o.block != nil {
			t.pool <- o.block
		}
		return
	}
	for _, w := range t.workers {
		w.orders <- o
	}
}

type worker struct {
	shard  *shard
	orders chan order
	t      *Telescope
	ended  sync.WaitGroup
}

func newWorker(t *Telescope, id uint32) *worker {
	s := &shard{
		cfg: &t.cfg, id: id, of: uint32(t.cfg.Workers), dark: t.dark, now: &t.dark[0], union: t.union, //nolint:gosec // at most 8
		decode:   packet.Decoder{Tunnels: t.cfg.Tunnels},
		bySource: newIndex(), byKey: newIndex(), ases: t.ases, shelf: t.merger.shelf,
		tally: newTally(t.cfg.Detail), patience: int64(min(t.cfg.Slow, t.cfg.idle(true), t.cfg.idle(false))), give: func(p part) { t.merger.in <- p },
	}
	most := t.cfg.MaxEvents/int(s.of) + 1
	s.entries, s.asides, s.sources = newColumn[entry](most), newColumn[aside](most), newColumn[source](most)
	return &worker{shard: s, orders: make(chan order, underway), t: t}
}

func (w *worker) run() {
	defer w.ended.Done()
	for o := range w.orders {
		if o.block != nil {
			w.read(o.block)
			if o.block.readers.Add(-1) == 0 {
				w.t.pool <- o.block
			}
		}
		if o.until > w.shard.top {
			w.shard.advance(o.until)
		}
		if o.do != nil {
			o.do(w.shard)
		}
		if o.done != nil {
			o.done.Done()
		}
	}
}

func (w *worker) read(b *Block) {
	s := w.shard
	for _, d := range b.lists[s.id] {
		f := &b.Frames[d.frame]
		if m := uint32(f.Time / 60e9); m > s.top { //nolint:gosec // minutes since the epoch
			s.work()
			s.advance(m)
		}
		s.frame(f, b.Buf[f.Off:f.Off+f.Len], d.hash)
	}
	s.work() // while the bytes are there
}

// Advance tells the telescope that the data's time has come to at although no
// frame has: for live input that has fallen silent. When it returns, the sink
// has been given all that ended by then.
func (t *Telescope) Advance(at time.Time) {
	t.dates.Tell(min(max(at.Unix(), 0), maxNano/1e9) * 1e9)
	if t.dates.Waiting() > 0 {
		t.Ingest(t.empty())
	}
	if m := uint32(at.Unix() / 60); t.started && m > t.top { //nolint:gosec // minutes since the epoch
		t.top = m
		t.send(order{until: m})
		t.each(func(*shard) {})
	}
}

// each runs do in every worker, between blocks, and waits; then it waits until
// the merger has worked off everything that came before.
func (t *Telescope) each(do func(*shard)) {
	if !t.started {
		for _, w := range t.workers {
			do(w.shard)
		}
		return
	}
	var done sync.WaitGroup
	done.Add(len(t.workers))
	t.send(order{do: do, done: &done})
	done.Wait()
	t.merger.drain()
}

// Close ends the workers. What isn't in a checkpoint by then is gone.
func (t *Telescope) Close() {
	if !t.started {
		return
	}
	for _, w := range t.workers {
		close(w.orders)
	}
	for _, w := range t.workers {
		w.ended.Wait()
	}
	close(t.merger.in)
	<-t.merger.ended
	t.started = false
}

// Totals are the sums so far; exact at a call, as it waits for the workers.
func (t *Telescope) Totals() Totals { ta := t.summed(); return ta.Totals }

// Misdated is how many packets have been late, and stray, so far. It waits for
// nobody.
func (t *Telescope) Misdated() (late, stray uint64) { return t.late, t.stray }

// Hit is how many dark IPv4 addresses have been hit.
func (t *Telescope) Hit() uint64 {
	v4, _ := t.hits()
	return v4
}

// hits are how many dark addresses of IPv4 and IPv6 have been hit: those of the
// minutes that are over, and of the open ones.
func (t *Telescope) hits() (v4, v6 uint64) {
	t.each(func(*shard) {})
	h := newHits(t.union.v4)
	h.merge(&t.merger.census.hits)
	for _, w := range t.workers {
		for k := range w.shard.open {
			h.add(w.shard.open[k].packets.all())
		}
	}
	return ones(h.v4) + h.many.Count(), h.v6.Count()
}

// counted is the census with all who are new.
func (t *Telescope) counted() *census {
	t.each(func(s *shard) { s.pending = s.handOver() })
	for _, w := range t.workers {
		t.merger.census.take(w.shard.pending)
		w.shard.pending = nil
	}
	return t.merger.census
}

// summed is the tally of all shards.
func (t *Telescope) summed() tally {
	sum := newTally(t.cfg.Detail)
	shards := make([]*shard, len(t.workers))
	t.each(func(s *shard) { shards[s.id] = s })
	for _, s := range shards {
		sum.merge(&s.tally)
	}
	sum.Frames, sum.Late, sum.Stray = sum.Frames+t.frames, sum.Late+t.late, sum.Stray+t.stray+uint64(t.dates.Waiting()) //nolint:gosec // a count
	return sum
}

// maxTotal is from how many packets on the largest events aren't told apart.
const maxTotal = 1<<16 - 1

// Open are the events that haven't ended and have had a packet since then: of
// those worth keeping the largest ones, at most so many. left is how many more
// there are.
func (t *Telescope) Open(since time.Time, most int) (events []observe.Event, left int) {
	from := since.UnixNano()
	if since.IsZero() {
		from = minTime
	}
	found := make([][]uint32, len(t.workers))           // entries
	totals := make([][maxTotal + 1]int, len(t.workers)) // how many have so many packets, or more than that
	t.each(func(s *shard) {
		list, mine := make([]uint32, 0, s.entries.live()), &totals[s.id]
		s.each(func(i uint32, e *entry) {
			if e.last >= from && s.notable(e) {
				list = append(list, i)
				mine[min(e.total, maxTotal)]++
			}
		})
		found[s.id] = list
	})
	for _, list := range found {
		left += len(list)
	}
	if most <= 0 {
		return nil, left
	}
	least, kept := uint32(maxTotal), 0
	for {
		for id := range totals {
			kept += totals[id][least]
		}
		if least == 0 || kept >= most {
			break
		}
		least--
	}
	events = make([]observe.Event, kept)
	ends := make([]int, len(t.workers)) // of each shard's part of events
	for id := range totals {
		if id > 0 {
			ends[id] = ends[id-1]
		}
		for _, k := range totals[id][least:] {
			ends[id] += k
		}
	}
	t.each(func(s *shard) {
		at := ends[s.id]
		for _, i := range found[s.id] {
			if s.entries.at(i).total >= least {
				at--
				events[at] = s.report(i, true)
			}
		}
	})
	sortEvents(events)
	if len(events) > most { // many have as few packets as the last one of them
		packets := make([]uint64, len(events))
		for i := range events {
			packets[i] = events[i].Packets
		}
		slices.Sort(packets)
		few := packets[len(packets)-most]
		above, _ := slices.BinarySearch(packets, few+1)
		ties := most - (len(packets) - above)
		events = slices.DeleteFunc(events, func(e observe.Event) bool {
			if e.Packets == few {
				ties--
			}
			return e.Packets < few || e.Packets == few && ties < 0
		})
	}
	return events, left - len(events)
}

// sortSights puts sightings in the order in which detectors get them.
func sortSights(v []observe.Sighting) {
	slices.SortFunc(v, func(a, b observe.Sighting) int {
		if c := a.Source.Compare(b.Source); c != 0 {
			return c // nearly always
		}
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Since, b.Since), cmp.Compare(a.First, b.First))
	})
}
