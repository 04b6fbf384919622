package telescope

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"

	"sakimori/base/pages"
	"sakimori/observe"
)

// The state of a telescope: everything that the next packet's treatment depends
// on. Restored into a telescope of the same configuration it goes on as if it
// had never stopped: no event is split, no source counted twice. The number of
// workers may be another one.
const stateMagic = "sakimori-telescope-9\n"

// Snapshot writes the state down. Buckets that are still open are part of it; see
// OpenBuckets for those who want to read them meanwhile. The bytes are good until
// the next one, and only as long as the telescope is reachable: it may be hundreds
// of megabytes, again and again.
func (t *Telescope) Snapshot() []byte {
	t.each(func(*shard) {}) // all is worked off
	var done sync.WaitGroup
	done.Go(func() { t.counted() })
	for _, s := range []*span{t.merger.hour, t.merger.day} {
		if s != nil {
			done.Go(s.settle)
		}
	}
	for _, m := range t.merger.waiting {
		done.Go(m.counts.settle)
	}
	done.Wait()
	// Everybody writes into a part of the same buffer, large enough for all that
	// may come.
	rooms := make([]int, 1+len(t.workers))
	rooms[0] = t.headSize()
	t.each(func(s *shard) { rooms[1+s.id] = s.size() })
	all := len(stateMagic)
	for _, n := range rooms {
		all += partHead + n
	}
	if t.written == nil || len(t.written.All) < all {
		t.written = pages.Reserve[byte](all + all/4)
	}
	buf := writer{t.written.All[:0:all]}
	buf.b = append(buf.b, stateMagic...)
	parts := make([]writer, len(rooms))
	for i, room := range rooms {
		at := len(buf.b) + partHead
		parts[i].b = buf.b[at : at : at+room]
		buf.b = buf.b[:at+room]
	}
	done.Go(func() { t.writeHead(&parts[0]) })
	t.each(func(s *shard) { s.write(&parts[1+s.id]) })
	done.Wait()
	at := len(stateMagic)
	for i, room := range rooms {
		if len(parts[i].b) > room { // it stands elsewhere: its size was wrong
			return joined(parts)
		}
		head := writer{buf.b[at:at]}
		head.part(len(parts[i].b), room-len(parts[i].b))
		at += partHead + room
		clear(buf.b[at-(room-len(parts[i].b)) : at])
	}
	return buf.b
}

// joined are the parts of a state one after the other.
func joined(parts []writer) []byte {
	w := writer{[]byte(stateMagic)}
	for i := range parts {
		w.part(len(parts[i].b), 0)
		w.b = append(w.b, parts[i].b...)
	}
	return w.b
}

// part begins a part of so many bytes, after which so many mean nothing.
func (w *writer) part(n, gap int) {
	w.u64(uint64(n))   //nolint:gosec // a length
	w.u64(uint64(gap)) //nolint:gosec // as above
}

const partHead = 16

// part goes on with the next part of the state.
func (r *reader) part() {
	if len(r.b) > 0 {
		r.fail("a part goes on after its end")
		return
	}
	r.b, r.rest = r.rest, nil
	n, gap := r.u64(), r.u64()
	if left := uint64(len(r.b)); n > left || gap > left-n {
		r.fail("it ends too early")
		return
	}
	r.b, r.rest = r.b[:n], r.b[n+gap:]
}

// headSize is how many bytes writeHead writes, about.
func (t *Telescope) headSize() int {
	n := 1<<17 + len(t.dates.waiting.Buf) + 4*len(t.ases.list()) + 24*len(t.workers[0].shard.tally.Answering)
	g := t.merger
	for _, s := range []*span{g.hour, g.day} {
		if s != nil {
			n += s.size()
		}
	}
	for _, m := range g.waiting {
		n += m.counts.size()
	}
	return n + g.census.sources.RawSize() + g.census.ports.size() + 8*len(g.census.hits.v4)
}

// writeHead puts down what isn't one shard's.
func (t *Telescope) writeHead(w *writer) {
	w.u64(t.union.v4)
	w.bool(t.started)
	w.u64(t.frames)
	w.u64(t.late)
	w.u64(t.stray)
	w.dates(&t.dates)
	w.i64(t.first)
	w.i64(t.last)
	w.u32(t.top)
	w.i64(t.merger.last)
	asns := t.ases.list()
	w.u32(uint32(len(asns))) //nolint:gosec // below 2^22
	for _, asn := range asns {
		w.u32(asn)
	}
	w.span(t.merger.hour)
	w.span(t.merger.day)
	w.minutes(t.merger.waiting)
	w.census(t.merger.census)
	w.answering(t.workers[0].shard.tally.Answering) // every worker knows the same
	w.fragments(&t.workers[0].shard.seen)
	w.u32(uint32(len(t.workers))) //nolint:gosec // at most 8
}

// OpenBuckets gives the sink the hour and the day that aren't over. Open and
// Summary may be asked beside it.
func (t *Telescope) OpenBuckets() {
	t.each(func(*shard) {})
	for _, b := range t.merger.open() {
		t.merger.sink.Bucket(b)
	}
}

// Restore goes on from a state. The telescope must be new, and watch as many
// addresses as the one that wrote the state.
func (t *Telescope) Restore(state []byte) (err error) {
	if t.started || t.frames > 0 {
		return errors.New("a telescope that has seen packets can't be restored")
	}
	rest, ok := bytes.CutPrefix(state, []byte(stateMagic))
	if !ok {
		return errors.New("the saved state isn't one of this version's telescope: start it anew, or run the version that wrote it")
	}
	r := reader{rest: rest, ases: t.ases}
	defer func() {
		if r.err != nil {
			err = fmt.Errorf("the saved state is damaged: %w", r.err)
		}
	}()
	r.part()
	if v4 := r.u64(); r.err == nil && v4 != t.union.v4 {
		return fmt.Errorf("the saved state is of a telescope with %d dark IPv4 addresses, this one has %d: import into another data folder", v4, t.union.v4)
	}
	started := r.bool()
	t.frames, t.late, t.stray, t.dates = r.u64(), r.u64(), r.u64(), r.dates()
	t.first, t.last, t.top = r.i64(), r.i64(), r.u32()
	t.merger.last = r.i64()
	r.register()
	t.merger.hour, t.merger.day = r.span(3600), r.span(86400)
	t.merger.waiting = r.minutes(t.top)
	t.merger.census = r.census(t.union.v4)
	if last := t.merger.last; last < 0 || last%60 != 0 || last > int64(t.top)*60 {
		r.fail("its last minute lies after its newest")
	}
	answering, seen := r.answering(), r.fragments()
	of := r.u32()
	if of == 0 || of > maxWorkers {
		r.fail("it has no shards, or too many")
		of = 0
	}
	for id := range of {
		r.part()
		t.readShard(&r, id)
	}
	if len(r.b)+len(r.rest) > 0 {
		r.fail("it goes on after its end")
	}
	for _, w := range t.workers {
		w.shard.tally.Answering = maps.Clone(answering)
		w.shard.seen.slots = slices.Clone(seen)
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

// size is how many bytes write writes: what there are many of exactly, and for the
// rest at least as many.
func (s *shard) size() int {
	n := 1<<16 + s.sources.live()*sourceBytes + len(s.closed)*512 + len(s.tally.scans)*scanBytes +
		binary.Size(s.sights[0]) + binary.Size(s.sights[1])
	for i := range s.open {
		n += recordBytes * (s.open[i].packets.len() + s.open[i].hosts.len())
	}
	for i := range s.entries.n {
		e := s.entries.at(i)
		switch {
		case e.marks&markFree != 0:
			continue
		case e.form >= formDense:
			n += int(4 * words[e.form])
		default:
			n += 2 + 4*int(e.targets.n)
		}
		if n += entryBytes + sampleBytes + 2; e.marks&markQueued != 0 {
			n += queuedBytes
		}
		if !s.asides.at(i).dst.Is4() {
			n += addrBytes
		}
	}
	return n
}

// stateAhead is how many events' targets are asked for before they are written.
const stateAhead = 32

// write puts down one shard.
func (s *shard) write(w *writer) {
	w.u32(s.top)
	w.u32(s.swept)
	places := make([]uint32, s.sources.n)
	w.u32(uint32(s.sources.live())) //nolint:gosec // below 2^32
	n := uint32(0)
	for i := range s.sources.n {
		if src := s.sources.at(i); src.events > 0 {
			w.source(src)
			places[i] = n
			n++
		}
	}
	w.u32(uint32(s.entries.live())) //nolint:gosec // below 2^32
	for i := range s.entries.n {
		if i%stateAhead == 0 { // the blocks of targets stand all over the place
			for k := i; k < min(i+stateAhead, s.entries.n); k++ {
				if e := s.entries.at(k); e.form > formNear && e.form < formDense {
					for at, words := 0, s.blocks.elements(&e.targets); at < len(words); at += 16 {
						pages.Add(&s.list, &words[at])
					}
				}
			}
			s.list.Fetch()
		}
		if e := s.entries.at(i); e.marks&markFree == 0 {
			a := s.asides.at(i)
			w.entry(e, a, places[e.source])
			w.sample(&a.sample)
			w.targets(&s.blocks, &e.targets)
		}
	}
	w.sheet(&s.open[0])
	w.sheet(&s.open[1])
	w.sights(s.sights[0])
	w.sights(s.sights[1])
	w.events(s.closed)
	s.tally.write(w)
}

// readShard reads what one shard wrote, and deals it out among t's shards: all
// of it to the same one when there are as many as there were.
func (t *Telescope) readShard(r *reader, id uint32) {
	top, swept := r.u32(), r.u32()
	if r.err == nil && top != t.top {
		r.fail("its shards are at different minutes")
	}
	if r.err != nil {
		return
	}
	home := t.workers[int(id)%len(t.workers)].shard
	for _, w := range t.workers {
		w.shard.top, w.shard.swept = top, swept
		w.shard.open[0].minute, w.shard.open[1].minute = top, top-1
	}
	n := r.u32()
	if uint64(n)*sourceBytes > uint64(len(r.b)) {
		r.fail("it ends too early")
		return
	}
	sources := make([]source, n)
	for i := range sources {
		sources[i] = r.source()
	}
	for range r.u32() {
		if r.err != nil {
			return
		}
		in, at, from := r.entry()
		if from >= n {
			r.fail("an event of an unknown source")
			return
		}
		src := &sources[from]
		at.sample = r.sample()
		switch {
		case int(in.kind) >= observe.Kinds || in.marks&markFree != 0:
			r.fail("an event of an unknown kind")
		case in.marks&markQueued != 0 && at.minute != top && at.minute != top-1:
			r.fail("an event in a minute that isn't open")
		}
		if r.err != nil {
			return
		}
		to := shardOf(mix(src.addr), uint32(len(t.workers))) //nolint:gosec // at most 8
		s := t.workers[to].shard
		in.targets = r.targets(&s.blocks)
		s.adopt(in, at, src)
	}
	for k := range home.open {
		spare := r.bool()
		for _, w := range t.workers { // it is spare for all, or for none
			w.shard.open[k].spare = spare
		}
		home.open[k].again += r.u64()
		r.log(&home.open[k].packets, home.shelf, t.union.v4)
		r.log(&home.open[k].hosts, home.shelf, math.MaxUint64)
	}
	for i := range home.sights {
		home.sights[i] = append(home.sights[i], r.sights()...)
	}
	home.closed = append(home.closed, r.events()...)
	home.tally.read(r)
	for range r.u32() {
		v := r.scan()
		if r.err != nil {
			return
		}
		if to := t.workers[shardOf(mix(v.src), uint32(len(t.workers)))].shard; to.tally.detail { //nolint:gosec // at most 8
			to.tally.scans = append(to.tally.scans, v)
		}
	}
}

// adopt puts a restored event into the tables.
func (s *shard) adopt(in entry, at aside, src *source) {
	from := s.sourceOf(src.addr, mix(src.addr))
	s.belongs(&in, from)
	to := s.sources.at(from)
	to.window, to.opened, to.marks, to.port, to.evidence = src.window, src.opened, src.marks, src.port, src.evidence
	to.minute, to.hour, to.seen, to.hosts = src.minute, src.hour, src.seen, src.hosts
	i := s.entries.take()
	s.asides.take()
	*s.entries.at(i), *s.asides.at(i) = in, at
	s.byKey.put(s.tag(&in), i)
	if in.marks&markQueued != 0 {
		slot := s.slot(at.minute)
		s.active[slot] = append(s.active[slot], i)
	}
}

func (t *tally) write(w *writer) {
	w.any(t.Totals)
	w.u32(uint32(len(t.scans))) //nolint:gosec // below 2^32
	for i := range t.scans {
		w.scan(&t.scans[i])
	}
}

// read adds what write wrote.
func (t *tally) read(r *reader) {
	o := newTally(false)
	r.any(&o.Totals)
	t.merge(&o)
}
