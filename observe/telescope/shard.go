package telescope

import (
	"math"

	"sakimori/base/sketch"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// shard holds everything about the sources that fall to it. It belongs to one
// worker, and shares nothing with the others: each worker reads every frame
// (the decoder costs less than handing packets over) and keeps its own.
type shard struct {
	cfg     *Config
	id, of  uint32
	dark    darkness
	now     *space // the dark space at the time of the last packet
	union   *space // all dark space there ever is: numbers addresses in hit
	decode  packet.Decoder
	jobs    [batch]job
	n       int    // jobs waiting
	touched uint32 // see work

	sources   slab[source]
	bySource  index
	entries   slab[entry]
	byKey     index
	sets      slab[sketch.Set]
	setBytes  int
	asNumbers map[uint32]uint32 // AS → the number that counts use here

	open   [2]*counts   // this minute and the one before
	active [2][]uint32  // entries with packets in it
	free   chan *counts // to be used again, shared with the merger
	top    uint32       // the newest minute, since the epoch
	sights []observe.Sighting
	seen   fragments
	glance glance
	tally  tally
	closed []observe.Event
	swept  uint32 // minute of the last sweep

	unflushed map[uint32]uint64 // see pending
}

// begin sets the shard to the minute of its first packet.
func (s *shard) begin(minute uint32) {
	s.top, s.swept = minute, minute
	s.open = [2]*counts{s.fresh(minute), s.fresh(minute - 1)}
}

func (s *shard) fresh(minute uint32) *counts {
	start := int64(minute) * 60
	select {
	case c := <-s.free:
		c.reset(start)
		return c
	default:
		return newCounts(start)
	}
}

// A batch is as many packets as are looked up together. The tables are far
// larger than the caches, and a packet that waits for one line of memory after
// the other takes ten times as long as one whose lines were asked for before:
// so a batch first touches everything it will need, in independent loads.
const batch = 128

type job struct {
	packet.Packet
	t      int64
	h      uint64
	tag    uint32 // of the event's key
	ref    uint32 // slab index + 1 of the entry that probably is the event's
	target uint32
	kind   observe.Kind
	port   uint16
}

// frame takes one frame into account. t is its time, never more than a minute
// before the newest (the telescope folds later ones, and counts them).
func (s *shard) frame(link packet.LinkType, data []byte, orig uint32, t int64) {
	j := &s.jobs[s.n]
	p := &j.Packet
	if st := s.decode.Decode(link, data, orig, p); st != packet.OK {
		if s.id == 0 {
			s.tally.undecoded(st)
		}
		return
	}
	if t < s.now.from || t >= s.now.until {
		s.now = s.dark.at(t)
	}
	if s.now.contains(p.Src) {
		s.work()
		s.fromDark(p)
		return
	}
	number, dark := s.now.index(p.Dst)
	if !dark {
		return
	}
	j.h = mix(p.Src)
	if uint32(j.h>>40)%s.of != s.id {
		return
	}
	if p.Flags&packet.Fragment != 0 && s.seen.repeated(p, t) {
		s.tally.Fragments++
		return
	}
	if s.now != s.union && p.Dst.Is4() {
		number, _ = s.union.index(p.Dst)
	}
	s.tally.hit(p.Dst, number)
	j.t, j.target, j.kind = t, identity(p.Dst), kindOf(p)
	j.port = portOf(p, j.kind)
	j.tag = keyTag(j.h, j.port, uint8(j.kind), p.Proto)
	if s.n++; s.n == batch {
		s.work()
	}
}

// work books the packets of the batch. The frames' bytes must still be there.
func (s *shard) work() {
	jobs := s.jobs[:s.n]
	s.n = 0
	mask := uint32(len(s.byKey.slots) - 1) //nolint:gosec // fewer than 2^32 slots
	var sum uint32                         // keeps the loads from being optimised away
	for i := range jobs {
		sum += s.byKey.slots[jobs[i].tag&mask].ref
	}
	for i := range jobs {
		j := &jobs[i]
		j.ref = 0
		for at := j.tag & mask; s.byKey.slots[at].ref != 0; at = (at + 1) & mask {
			if s.byKey.slots[at].tag == j.tag {
				j.ref = s.byKey.slots[at].ref
				e := s.entries.at(j.ref - 1)
				sum += e.minute + uint32(e.waiting) + e.evidence.seq
				break
			}
		}
	}
	for i := range jobs {
		if ref := jobs[i].ref; ref != 0 {
			e := s.entries.at(ref - 1)
			sum += uint32(s.sources.at(e.source).flags)
			if e.set != 0 {
				sum += s.sets.at(e.set).Touch(jobs[i].target)
			}
		}
	}
	s.touched = sum
	for i := range jobs {
		j := &jobs[i]
		s.tally.DarkPackets++
		s.tally.Classes[j.kind.Class()]++
		s.count(j)
		if s.cfg.Glance != nil {
			s.glance.see(j, s.cfg.Glance)
		}
		if j.kind == observe.KindICMPError {
			s.victimOf(&j.Packet, j.t)
		}
	}
}

// fromDark notes that a dark address has sent something. Every worker does, as
// each must know which answers were asked for.
func (s *shard) fromDark(p *packet.Packet) {
	if s.id == 0 {
		s.tally.FromDark++
	}
	if n := len(s.tally.Answering); n < maxAnswering || s.tally.Answering[p.Src] > 0 {
		s.tally.Answering[p.Src]++
	}
}

// count books a packet on its event; the counts of the minute get its target
// with the next drain, and the rest with the flush at the minute's end.
func (s *shard) count(j *job) {
	p, k := &j.Packet, j.kind
	e := s.event(p.Src, j.h, j.tag, j.port, k, p.Proto, j.t)
	if e.total == 0 {
		s.opened(e, p, j.t)
	}
	c := s.minute(e, j.t)
	if e.recent[e.waiting] = j.target; int(e.waiting) == len(e.recent)-1 {
		e.waiting++
		s.drain(e, c)
	} else {
		e.waiting++
	}
	s.add(e, j.t, j.target)

	m := mask(p, k)
	e.evidence.add(m, p.Seq, j.target, e.port)
	if e.total <= 4 {
		s.sources.at(e.source).add(m, p.Seq, j.target, e.port)
	}
	if e.marks&markSpoof == 0 && spoofHint(p, k, m&^irregular1 != 0) {
		e.marks |= markSpoof
	}
	if k == observe.KindUDP && e.asks < math.MaxUint16 && amplifierAsk(p.DstPort, p.Payload) {
		e.asks++
	}
	if k.SourcePort() && e.marks&markSolicited == 0 && len(s.tally.Answering) > 0 && s.tally.Answering[p.Dst] > 0 {
		e.marks |= markSolicited
	}
	if e.marks&markScanner == 0 && s.isScan(e) {
		e.marks |= markScanner
	}
}

// add counts one packet at time t to target.
func (s *shard) add(e *entry, t int64, target uint32) {
	e.packets++
	if e.total < math.MaxUint32 {
		e.total++
	}
	e.last = max(e.last, t)
	if b := &e.bins[(t/1e9%60)/10]; *b < math.MaxUint16 {
		*b++
	}
	s.addTarget(e, target)
}

// victimOf books what an ICMP error proves about somebody else: the packet that
// it quotes seemed to come from dark space, so its destination is under a flood
// with forged sources (reference §8). The router that answers is no victim.
func (s *shard) victimOf(p *packet.Packet, t int64) {
	q := &p.Quoted
	if !q.Valid || q.Dst == p.Src || !s.now.contains(q.Src) || s.now.contains(q.Dst) {
		return
	}
	// The shard is that of the router; its events of this victim stay here, and
	// detect adds up what several shards say of one victim.
	h := mix(q.Dst)
	e := s.event(q.Dst, h, keyTag(h, q.DstPort, uint8(observe.KindICMPError), q.Proto), q.DstPort, observe.KindICMPError, q.Proto, t)
	if e.total == 0 {
		e.marks |= markShadow
		s.opened(e, p, t)
	}
	s.minute(e, t)
	s.add(e, t, identity(p.Dst))
}

// event is the entry of this key; one that has timed out is closed, and begun
// anew, first.
func (s *shard) event(src packet.Addr, h uint64, tag uint32, port uint16, k observe.Kind, proto uint8, t int64) *entry {
	mask := uint32(len(s.byKey.slots) - 1) //nolint:gosec // fewer than 2^32 slots
	for i := tag & mask; ; i = (i + 1) & mask {
		sl := s.byKey.slots[i]
		if sl.ref == 0 {
			break
		}
		if sl.tag != tag {
			continue
		}
		e := s.entries.at(sl.ref - 1)
		if e.src != src || e.port != port || e.kind != uint8(k) || e.proto != proto {
			continue
		}
		if t-e.last > s.idle(e) && e.total > 0 {
			s.close(e)
		}
		return e
	}
	if s.entries.live() >= s.cfg.MaxEvents/int(s.of) {
		s.makeRoom()
	}
	i := s.entries.take()
	e := s.entries.at(i)
	*e = entry{src: src, port: port, kind: uint8(k), proto: proto, source: s.sourceOf(src, h)}
	s.sources.at(e.source).events++
	s.byKey.put(tag, i)
	return e
}

// keyTag is the part of a key's hash by which the index works; h is mix of the source.
func keyTag(h uint64, port uint16, kind, proto uint8) uint32 {
	key := (h ^ uint64(port)<<32 ^ uint64(kind)<<48 ^ uint64(proto)<<52) * 0x9e3779b97f4a7c15
	return uint32(key >> 32)
}

func (e *entry) tag() uint32 { return keyTag(mix(e.src), e.port, e.kind, e.proto) }

// opened begins an event with its first packet.
func (s *shard) opened(e *entry, p *packet.Packet, t int64) {
	e.first, e.last = t, t
	e.sample = sample{
		dst: p.Dst, seq: p.Seq, id: uint16(p.ID), window: p.Window, srcPort: p.SrcPort, toPort: p.DstPort, //nolint:gosec // 16 bits in IPv4
		length: uint16(min(p.Length, math.MaxUint16)), ttl: p.TTL, flags: uint8(p.TCPFlags), options: uint8(len(p.TCPOptions)), //nolint:gosec // at most 40
	}
	k := observe.Kind(e.kind)
	if e.marks&markShadow != 0 {
		return
	}
	s.tally.sources.Add(sketch.Exact, identity(e.src))
	if k.Class() != observe.Scan {
		return
	}
	s.tally.newEvent(e)
	// A UDP traceroute walks these ports towards one host; that isn't a scan.
	if k == observe.KindUDP && e.port >= 33434 && e.port <= 33534 {
		return
	}
	src := s.sources.at(e.source)
	now := uint32(t / 60e9) //nolint:gosec // minutes since the epoch
	if now-src.window >= portScanMinutes {
		src.window, src.opened = now, 0
	}
	if src.opened++; src.opened >= portScanPorts {
		src.ports = true
	}
}

// A source that asks portScanPorts ports within portScanMinutes minutes scans
// ports: Zeek's rule, 15 ports in 5 minutes.
const (
	portScanPorts   = 15
	portScanMinutes = 5
)

func (s *shard) sourceOf(addr packet.Addr, h uint64) uint32 {
	tag := uint32(h >> 8) //nolint:gosec // any 32 bits
	mask := uint32(len(s.bySource.slots) - 1)
	for i := tag & mask; ; i = (i + 1) & mask {
		sl := s.bySource.slots[i]
		if sl.ref == 0 {
			break
		}
		if sl.tag == tag && s.sources.at(sl.ref-1).addr == addr {
			return sl.ref - 1
		}
	}
	i := s.sources.take()
	src := s.sources.at(i)
	*src = source{addr: addr}
	if s.cfg.Place != nil {
		c, asn := s.cfg.Place(addr)
		src.country, src.asn = uint16(countryIndex(countryKey(c))), asn //nolint:gosec // below 729
	}
	number, ok := s.asNumbers[src.asn]
	if !ok {
		number = uint32(len(s.asNumbers)) //nolint:gosec // there are fewer ASes
		s.asNumbers[src.asn] = number
	}
	src.as = number
	if s.cfg.own != nil && s.cfg.own.contains(addr) {
		src.flags |= uint8(observe.Own)
	}
	if s.cfg.Research != nil && s.cfg.Research(addr) {
		src.flags |= uint8(observe.Research)
	}
	s.bySource.put(tag, i)
	return i
}

// minute makes e's counts of a minute those of t, and gives that minute's cells.
func (s *shard) minute(e *entry, t int64) *counts {
	m := uint32(t / 60e9) //nolint:gosec // minutes since the epoch
	slot := 0
	if m != s.top {
		slot = 1
	}
	if e.minute != m || e.marks&markQueued == 0 {
		if e.marks&markQueued != 0 {
			s.flush(e, s.counts(e.minute))
		}
		e.minute, e.firstIn = m, t
		e.marks |= markQueued
		s.active[slot] = append(s.active[slot], s.indexOf(e))
	}
	return s.open[slot]
}

// counts are those of an open minute.
func (s *shard) counts(minute uint32) *counts {
	if minute == s.top {
		return s.open[0]
	}
	return s.open[1]
}

// indexOf finds the slab index of an entry through its key: only on the first
// packet of a minute.
func (s *shard) indexOf(e *entry) uint32 {
	tag := e.tag()
	mask := uint32(len(s.byKey.slots) - 1)
	for i := tag & mask; ; i = (i + 1) & mask {
		if sl := s.byKey.slots[i]; sl.tag == tag && s.entries.at(sl.ref-1) == e {
			return sl.ref - 1
		}
	}
}

// advance makes m the newest minute, and gives away the minutes that end.
func (s *shard) advance(m uint32, out func(minute uint32, c *counts, sights []observe.Sighting)) {
	for s.top < m {
		s.end(1, out)
		s.open[1], s.active[1], s.active[0] = s.open[0], s.active[0], s.active[1]
		step := s.top + 1
		if m-s.top > 2 { // nothing came for a while: both minutes end at once
			s.end(1, out)
			step = m - 1
			s.open[1] = s.fresh(step)
			step = m
		}
		s.top = step
		s.open[0] = s.fresh(step)
	}
	if m-s.swept >= s.cfg.sweepMinutes() {
		s.swept = m
		s.sweep(int64(m) * 60e9)
	}
}

// end closes one of the open minutes.
func (s *shard) end(slot int, out func(uint32, *counts, []observe.Sighting)) {
	c := s.open[slot]
	minute := uint32(c.start / 60) //nolint:gosec // minutes since the epoch
	for rest := s.active[slot]; len(rest) > 0; {
		group := rest[:min(batch, len(rest))]
		rest = rest[len(group):]
		s.touch(group, c)
		for _, i := range group {
			if e := s.entries.at(i); e.marks&markQueued != 0 && e.minute == minute {
				s.flush(e, c)
			}
		}
	}
	s.active[slot] = s.active[slot][:0]
	sights := s.sights
	s.sights = nil
	out(minute, c, sights)
}

// flush books what an event did in its minute on the counts, and tells the
// detectors of it when it is their business.
func (s *shard) flush(e *entry, c *counts) {
	e.marks &^= markQueued
	if e.packets == 0 {
		return
	}
	k := observe.Kind(e.kind)
	src := s.sources.at(e.source)
	if e.marks&markShadow == 0 {
		id, n := identity(e.src), uint64(e.packets)
		for _, i := range s.cells(e, c) {
			if i != 0 {
				cell := c.cells.at(i)
				cell.packets += n
				cell.sources.Add(c.keys[i].form(), id)
			}
		}
		if k.Class() == observe.Scan {
			s.tally.port(portKey(e.proto, e.port), n)
		}
		s.drain(e, c)
	}
	if src.flags&uint8(observe.Own) != 0 || k.Class() == observe.Backscatter || k.Class() == observe.Reflection {
		s.sights = append(s.sights, s.sighting(e, src))
	}
	e.packets = 0
	e.bins = [6]uint16{}
}

// cells are the five cells that an event's packets count in; the last is 0 for
// what isn't a scan, as its port is no service that was asked for.
func (s *shard) cells(e *entry, c *counts) (at [5]uint32) {
	src := s.sources.at(e.source)
	class := observe.Kind(e.kind).Class()
	at[0] = c.cell(cellKey{observe.ByClass, uint32(class)})
	at[1] = c.cell(cellKey{observe.ByProtocol, uint32(e.proto)})
	at[2] = c.cell(cellKey{observe.ByCountry, countryOfIndex(src.country)})
	at[3] = c.asCell(src.as, src.asn)
	if class == observe.Scan {
		at[4] = c.cell(cellKey{observe.ByPort, portKey(e.proto, e.port)})
	}
	return at
}

// drain adds the waiting targets to the counts.
func (s *shard) drain(e *entry, c *counts) {
	if e.waiting == 0 {
		return
	}
	for _, i := range s.cells(e, c) {
		if i == 0 {
			continue
		}
		form, set := c.keys[i].form(), &c.cells.at(i).targets
		for _, target := range e.recent[:e.waiting] {
			set.Add(form, target)
		}
	}
	e.waiting = 0
}

// touch asks for the memory that the flushes of a group will need.
func (s *shard) touch(group []uint32, c *counts) {
	var sum uint32
	for _, i := range group {
		e := s.entries.at(i)
		sum += e.minute + uint32(e.waiting) + e.evidence.seq
	}
	for _, i := range group {
		sum += s.sources.at(s.entries.at(i).source).asn
	}
	for _, i := range group {
		e := s.entries.at(i)
		for _, at := range s.cells(e, c) {
			cell := c.cells.at(at)
			sum += cell.sources.Touch(identity(e.src)) + cell.targets.Touch(e.recent[0])
		}
	}
	s.touched += sum
}

func (s *shard) sighting(e *entry, src *source) observe.Sighting {
	g := observe.Sighting{
		Source: e.src, Minute: int64(e.minute) * 60, First: e.firstIn, Last: e.last, Since: e.first,
		Packets: e.packets, Targets: uint32(s.targets(e).N), Total: e.total, //nolint:gosec // at most 2^24 dark addresses
		ASN: src.asn, Port: e.port, Proto: e.proto, Kind: observe.Kind(e.kind),
		Tool: tool(&e.evidence, &src.evidence), Flags: s.flags(e, src),
	}
	if k := countryOfIndex(src.country); k != 0 {
		g.Country = [2]byte{byte(k >> 8), byte(k)}
	}
	for i, n := range e.bins {
		g.Bins[i] = uint32(n)
	}
	if e.first/60e9 == int64(e.minute) {
		g.Flags |= observe.FirstMinute
	}
	return g
}

func (s *shard) flags(e *entry, src *source) observe.Flags {
	f := observe.Flags(src.flags)
	if e.marks&markSpoof != 0 {
		f |= observe.SpoofHint
	}
	if e.marks&markSolicited != 0 {
		f |= observe.Solicited
	}
	if observe.Kind(e.kind) == observe.KindICMPError && e.marks&markShadow == 0 {
		f |= observe.Solicited // a router's error proves nothing about the router
	}
	if s.baits(e) {
		f |= observe.AmplifierAsk
	}
	if e.marks&markScanner != 0 || s.isScan(e) {
		f |= observe.Scanner
	}
	return f
}

// isScan is the telescope's definition of a scan. One host that keeps calling
// one dark address, or two (a primary and its secondary), is misconfigured; a
// scan asks many. So: three addresses on one port, or fifteen ports in five
// minutes, or packets that only a scanning tool sends. A source that asks few
// addresses again and again for an amplified answer may be the intended victim.
func (s *shard) isScan(e *entry) bool {
	if observe.Kind(e.kind).Class() != observe.Scan || e.marks&markShadow != 0 {
		return false
	}
	src := s.sources.at(e.source)
	if src.ports {
		return true
	}
	n := uint64(e.few)
	if e.set != 0 {
		n = s.sets.at(e.set).Count()
	}
	if s.baits(e) {
		return false
	}
	if n >= scanTargets {
		return true
	}
	t := tool(&e.evidence, &src.evidence)
	return t != observe.Unknown && t != observe.IrregularSYN
}

const scanTargets = 3

// baits tells whether a source asks few addresses, ten times each and more, for
// an amplified answer: so behaves an attacker who forges the victim's address
// and takes dark addresses for reflectors, not a scanner who looks for them.
func (s *shard) baits(e *entry) bool {
	return e.asks > 0 && e.total >= 10 && uint64(e.total) >= 10*s.targets(e).N
}

func (s *shard) addTarget(e *entry, id uint32) {
	if e.set != 0 {
		set := s.sets.at(e.set)
		before := set.Bytes()
		set.Add(s.setForm(), id)
		s.setBytes += set.Bytes() - before
		return
	}
	for _, have := range e.near[:e.few] {
		if have == id {
			return
		}
	}
	if int(e.few) < len(e.near) {
		e.near[e.few] = id
		e.few++
		return
	}
	e.set = s.sets.take()
	set := s.sets.at(e.set)
	set.Reset()
	for _, have := range e.near {
		set.Add(sketch.Coarse, have)
	}
	set.Add(sketch.Coarse, id)
	s.setBytes += set.Bytes()
}

// setForm is how sharply the targets of events are counted: exactly up to 512,
// then with 1.63 %; when the sets take more memory than the configuration gives
// them, exactly up to 32, then with 6.5 % in 256 bytes.
func (s *shard) setForm() sketch.Form {
	if s.setBytes > s.cfg.SetBytes/int(s.of) {
		return sketch.Form{Precision: 8, Exact: 32}
	}
	return sketch.Coarse
}

func (s *shard) targets(e *entry) observe.Unique {
	if e.set == 0 {
		return observe.Unique{N: uint64(e.few)}
	}
	set := s.sets.at(e.set)
	return observe.Unique{N: set.Count(), Err: set.Error()}
}

func portKey(proto uint8, port uint16) uint32 { return uint32(proto)<<16 | uint32(port) }

func countryOfIndex(i uint16) uint32 {
	if i == 0 {
		return 0
	}
	return uint32('A'+i/27-1)<<8 | uint32('A'+i%27-1)
}
