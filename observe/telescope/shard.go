package telescope

import (
	"math"

	"sakimori/base/pages"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// shard holds everything about the sources that fall to it. It belongs to one
// worker, and shares nothing with the others.
type shard struct {
	cfg    *Config
	id, of uint32
	dark   darkness
	now    *space // the dark space at the time of the last packet
	union  *space // all dark space there ever is: numbers addresses in hit
	decode packet.Decoder
	jobs   [batch]job
	n      int        // jobs waiting
	list   pages.List // what the batch will need

	sources  column[source]
	bySource index
	entries  column[entry]
	asides   column[aside] // of the entries
	byKey    index
	blocks   blocks
	ases     *register

	open   [2]sheet // this minute and the one before
	shelf  *shelf
	give   func(part)
	active [2][]uint32 // entries with a sighting to come in it
	top    uint32      // the newest minute, since the epoch
	sights [2][]observe.Sighting
	seen   fragments
	glance glance
	tally  tally
	closed []observe.Event
	swept  uint32 // minute of the last sweep

	patience int64 // the shortest time-out of an event, in nanoseconds

	pending []item // see counted
}

// begin sets the shard to the minute of its first packet.
func (s *shard) begin(minute uint32) {
	s.top, s.swept = minute, minute
	s.open = [2]sheet{{minute: minute}, {minute: minute - 1, spare: true}}
}

// A batch is as many packets as are looked up together. The tables are far
// larger than the caches, and a packet that waits for one line of memory after
// the other takes ten times as long as one whose lines were asked for before:
// so a batch first touches everything it will need, in independent loads.
const batch = 64

type job struct {
	packet.Packet
	t      int64
	h      uint64
	tag    uint32 // of the event's key
	ref    uint32 // slab index + 1 of the entry that probably is the event's
	target uint32 // who was asked
	number uint32 // the same as records have it
	kind   observe.Kind
	port   uint16
	shadow bool   // stands for the victim that the packet quotes
	marks  uint32 // of the target in a record's what
	six    uint32 // and in its place
}

// frame takes one frame into account; h is that of dealt. Its time is never more
// than a minute before the newest (the telescope folds later ones, and counts them).
func (s *shard) frame(f *packet.Frame, data []byte, h uint64) {
	j, t := &s.jobs[s.n], f.Time
	p := &j.Packet
	if st := s.decode.Decode(f.Link, data, f.Orig, p); st != packet.OK {
		// It belongs to its source's shard if it is plain, and else to the first.
		mine := h != 0 || s.id == 0
		if src, ok := sender(f.Link, data, s.decode.Tunnels); ok {
			mine = s.keeps(mix(src))
		}
		if mine {
			s.tally.undecoded(st)
		}
		return
	}
	if t < s.now.from || t >= s.now.until {
		s.work() // what waits was sent to the space of its own time
		s.jobs[0] = *j
		j = &s.jobs[0]
		p = &j.Packet
		s.now = s.dark.at(t)
	}
	if h == 0 && s.now.contains(p.Src) {
		s.work()
		s.fromDark(p)
		return
	}
	number, dark := s.now.index(p.Dst)
	if !dark {
		return
	}
	mine := true
	if j.h = h; h == 0 {
		j.h = mix(p.Src)
		mine = s.keeps(j.h)
	}
	// Every worker remembers all fragments: what falls out of the table must not
	// depend on how many there are.
	if p.Flags&packet.Fragment != 0 && s.seen.repeated(p, t) {
		if mine {
			s.tally.Fragments++
		}
		return
	}
	if !mine && !p.Quoted.Valid {
		return
	}
	j.t, j.target, j.kind, j.shadow = t, identity(p.Dst), kindOf(p), false
	if mine {
		if s.now != s.union && p.Dst.Is4() {
			number, _ = s.union.index(p.Dst)
		}
		if j.number, j.marks, j.six = number, 0, 0; !p.Dst.Is4() {
			j.marks, j.six = far, six
		} else if s.union.v4 > bitmapMost {
			j.number, j.marks = j.target, far
		}
		j.port = portOf(p, j.kind)
		j.tag = keyTag(j.h, j.port, uint8(j.kind), p.Proto)
		s.next()
	}
	if p.Quoted.Valid && j.kind == observe.KindICMPError {
		s.quoted(j)
	}
}

// keeps tells whether an address with this hash falls to this shard.
func (s *shard) keeps(h uint64) bool { return shardOf(h, s.of) == s.id }

func shardOf(h uint64, of uint32) uint32 { return uint32(h >> 40 * uint64(of) >> 24) } //nolint:gosec // below of

// next takes the job that was filled in, and works when the batch is full. A
// job stays readable until the next one is filled in.
func (s *shard) next() {
	if s.n++; s.n == batch {
		s.work()
	}
}

// quoted makes a second job of what the ICMP error in j proves about somebody
// else: the packet that it quotes seemed to come from dark space, so its
// destination is under a flood with forged sources (reference §8). The router
// that answers is no victim, unless it is that destination itself. The victim's
// shard books it, so that all routers' errors about one victim come together.
func (s *shard) quoted(j *job) {
	q := &j.Quoted
	h := mix(q.Dst)
	if !s.keeps(h) || !s.now.contains(q.Src) || s.now.contains(q.Dst) {
		return
	}
	v := &s.jobs[s.n]
	*v = *j
	v.shadow, v.h, v.port = true, h, q.DstPort
	v.tag = keyTag(h, q.DstPort, uint8(observe.KindICMPError), q.Proto)
	s.next()
}

// work books the packets of the batch. The frames' bytes must still be there.
func (s *shard) work() {
	jobs := s.jobs[:s.n]
	s.n = 0
	for i := range jobs {
		pages.Add(&s.list, s.byKey.place(jobs[i].tag))
	}
	s.list.Fetch()
	for i := range jobs {
		j := &jobs[i]
		if j.ref = s.byKey.ref(j.tag); j.ref != 0 {
			pages.Add(&s.list, s.entries.at(j.ref-1))
		} else {
			pages.Add(&s.list, s.bySource.place(sourceTag(j.h)))
		}
	}
	s.list.Fetch()
	for i := range jobs {
		j := &jobs[i]
		if j.ref != 0 {
			e := s.entries.at(j.ref - 1)
			pages.Add(&s.list, s.sources.at(e.source))
			if e.form != formNear {
				pages.Add(&s.list, s.blocks.place(&e.targets, j.target))
			}
		} else if ref := s.bySource.ref(sourceTag(j.h)); ref != 0 {
			pages.Add(&s.list, s.sources.at(ref-1))
		}
	}
	s.list.Fetch()
	for i := range jobs {
		j := &jobs[i]
		if j.shadow {
			s.victim(j)
			continue
		}
		s.tally.DarkPackets++
		s.tally.Classes[j.kind.Class()]++
		s.count(j)
		if s.cfg.Glance != nil {
			s.glance.see(j, s.cfg.Glance)
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

// count books a packet on its event, and makes its record.
func (s *shard) count(j *job) {
	p, k := &j.Packet, j.kind
	i := s.event(p.Src, j, k, p.Proto)
	e := s.entries.at(i)
	if e.total == 0 {
		s.opened(i, p, j.t)
	}
	if e.marks&markTallied == 0 {
		e.marks |= markTallied
		s.tallied(e)
	}
	s.book(e, uint32(j.t/60e9), j) //nolint:gosec // minutes since the epoch
	if k.SourcePort() || e.marks&markOwn != 0 {
		s.sight(i, j.t)
	}
	s.add(e, j.t, j.target)

	// Rules that an earlier packet contradicted needn't be asked again, but for
	// the source's evidence and for a start TTL that would be a hint.
	asked := e.agreed
	if e.total <= 4 || e.marks&markSpoof == 0 && p.TTL >= 200 {
		asked = allRules
	}
	m := mask(p, k, asked, j.t)
	e.evidence.add(m, p.Seq, j.target, true)
	if e.total <= 4 {
		src := s.sources.at(e.source)
		src.evidence.add(m, p.Seq, j.target, src.port == e.port)
		src.port = e.port
	}
	if e.marks&markSpoof == 0 && (spoofHint(p, k, m&^irregular1 != 0) || e.total == 1 && forged(p.Src)) {
		e.marks |= markSpoof
	}
	if k == observe.KindUDP && e.asks < math.MaxUint16 && amplifierAsk(p.DstPort, p.Payload) {
		e.asks++
	}
	if k == observe.KindUDP && peerAsk(p.Payload) {
		e.marks |= markPeer
	}
	if k.SourcePort() {
		s.answered(e, p.Dst)
	}
	if e.marks&markScanner == 0 && s.isScan(e) {
		e.marks |= markScanner
	}
}

// add counts one packet at time t to target.
func (s *shard) add(e *entry, t int64, target uint32) {
	if e.total < math.MaxUint32 {
		e.total++
	}
	e.last = max(e.last, t)
	s.blocks.add(&e.targets, target, s.blocks.bytes > s.cfg.SetBytes/int(s.of))
}

// answered notes an answer to a dark address that had sent something: it may
// have been asked for.
func (s *shard) answered(e *entry, dst packet.Addr) {
	if len(s.tally.Answering) > 0 && s.tally.Answering[dst] > 0 && e.asks < math.MaxUint16 {
		e.asks++
	}
}

// victim books an answer on the victim that an ICMP error quotes; see quoted.
func (s *shard) victim(j *job) {
	q := &j.Quoted
	i := s.event(q.Dst, j, observe.KindICMPError, q.Proto)
	e := s.entries.at(i)
	if e.total == 0 {
		e.marks |= markShadow
		s.opened(i, &j.Packet, j.t)
	}
	s.answered(e, j.Dst)
	s.sight(i, j.t)
	s.add(e, j.t, j.target)
}

// find is the entry of this key.
func (s *shard) find(src packet.Addr, tag uint32, port uint16, k observe.Kind, proto uint8) (uint32, bool) {
	mask := uint32(len(s.byKey.slots) - 1) //nolint:gosec // fewer than 2^32 slots
	for i := tag & mask; ; i = (i + 1) & mask {
		sl := s.byKey.slots[i]
		if sl.ref == 0 {
			return 0, false
		}
		if sl.tag != tag {
			continue
		}
		if s.is(sl.ref-1, src, port, k, proto) {
			return sl.ref - 1, true
		}
	}
}

// is tells whether entry i has this key.
func (s *shard) is(i uint32, src packet.Addr, port uint16, k observe.Kind, proto uint8) bool {
	e := s.entries.at(i)
	return e.port == port && e.kind == uint8(k) && e.proto == proto && e.marks&markFree == 0 && s.addr(e) == src
}

// addr is whose event it is.
func (s *shard) addr(e *entry) packet.Addr { return s.sources.at(e.source).addr }

// event is the entry of a job's key; one that has timed out is closed, and begun
// anew, first.
func (s *shard) event(src packet.Addr, j *job, k observe.Kind, proto uint8) uint32 {
	i, ok := j.ref-1, j.ref != 0 && s.is(j.ref-1, src, j.port, k, proto)
	if !ok {
		i, ok = s.find(src, j.tag, j.port, k, proto)
	}
	if ok {
		if e := s.entries.at(i); j.t-e.last > s.patience && j.t-e.last > s.idle(e) && e.total > 0 {
			s.close(i)
		}
		return i
	}
	if s.entries.live() >= s.cfg.MaxEvents/int(s.of) {
		s.makeRoom()
	}
	i, from := s.entries.take(), s.sourceOf(src, j.h)
	s.asides.take()
	e := s.entries.at(i)
	*e = entry{port: j.port, kind: uint8(k), proto: proto}
	*s.asides.at(i) = aside{}
	s.belongs(e, from)
	s.byKey.put(j.tag, i)
	return i
}

// belongs makes e one of the events of a source.
func (s *shard) belongs(e *entry, from uint32) {
	src := s.sources.at(from)
	src.events++
	e.source = from
	if e.marks &^= markOwn; src.flags&uint8(observe.Own) != 0 {
		e.marks |= markOwn
	}
	if observe.Kind(e.kind) == observe.KindTCPStealth {
		src.marks |= markStealth
	}
}

// keyTag is the part of a key's hash by which the index works; h is mix of the source.
func keyTag(h uint64, port uint16, kind, proto uint8) uint32 {
	key := (h ^ uint64(port)<<32 ^ uint64(kind)<<48 ^ uint64(proto)<<52) * 0x9e3779b97f4a7c15
	return uint32(key >> 32)
}

func (s *shard) tag(e *entry) uint32 { return keyTag(mix(s.addr(e)), e.port, e.kind, e.proto) }

// opened begins an event with its first packet.
func (s *shard) opened(i uint32, p *packet.Packet, t int64) {
	e, a := s.entries.at(i), s.asides.at(i)
	a.first, e.last = t, t
	a.sample = sample{
		dst: p.Dst, seq: p.Seq, id: uint16(p.ID), window: p.Window, srcPort: p.SrcPort, toPort: p.DstPort, //nolint:gosec // 16 bits in IPv4
		length: uint16(min(p.Length, math.MaxUint16)), ttl: p.TTL, flags: uint8(p.TCPFlags), options: uint8(len(p.TCPOptions)), //nolint:gosec // at most 40
	}
	k := observe.Kind(e.kind)
	if e.marks&markShadow != 0 {
		return
	}
	if k.Class() != observe.Scan {
		return
	}
	// A UDP traceroute walks these ports towards one host, and peers listen on
	// ports of their own: neither is a scan of ports.
	if k == observe.KindUDP && (e.port >= 33434 && e.port <= 33534 || peerAsk(p.Payload)) {
		return
	}
	src := s.sources.at(e.source)
	now := uint32(t / 60e9)                //nolint:gosec // minutes since the epoch
	if now >= src.window+portScanMinutes { // a late packet belongs to the present window
		src.window, src.opened = now, 0
	}
	if src.opened++; src.opened >= portScanPorts {
		src.marks |= markPorts
	}
}

// A source that asks portScanPorts ports within portScanMinutes minutes scans
// ports: Zeek's rule, 15 ports in 5 minutes.
const (
	portScanPorts   = 15
	portScanMinutes = 5
)

// sourceTag is the part of an address's hash by which the index of sources works.
func sourceTag(h uint64) uint32 { return uint32(h >> 8) } //nolint:gosec // any 32 bits

func (s *shard) sourceOf(addr packet.Addr, h uint64) uint32 {
	tag := sourceTag(h)
	mask := uint32(len(s.bySource.slots) - 1) //nolint:gosec // fewer than 2^32 slots
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
		src.asn = asn
		src.place = s.ases.number(asn)<<placeBits | countryIndex(countryKey(c))
	}
	if s.cfg.own != nil && s.cfg.own.contains(addr) {
		src.flags |= uint8(observe.Own)
	}
	if s.cfg.Research != nil && s.cfg.Research(addr) {
		src.flags |= uint8(observe.Research)
	}
	s.bySource.put(tag, i)
	return i
}

func portKey(proto uint8, port uint16) uint32 { return uint32(proto)<<16 | uint32(port) }
