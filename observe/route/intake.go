package route

import (
	"fmt"
	"net/netip"

	"sakimori/base/pages"
	"sakimori/base/wire/bgp"
	"sakimori/observe"
)

// waiting is messages that came and aren't applied yet. They wait so that the memory of
// all that they touch can be asked for together: a look-up in tables of this size costs a
// few hundred nanoseconds when it stands alone.
type waiting struct {
	elements []element
	says     []say
	words    []uint32
	bytes    []byte
	ends     []int // of each message in bytes
	second   int64
}

// element is one prefix of a message.
type element struct {
	key  key
	at   int64
	hash uint32
	id   uint32
	say  uint32 // what is announced, from 1; 0: it is withdrawn
	raw  uint32 // its message, from 1; 0 not kept
	n    uint32 // the prefix that it seems to be of; 0 none
	peer uint16
	mark observe.RouteMarks
}

// say is a path as a message has it.
type say struct {
	from, to uint32 // of its words
	hash     uint32
	path     uint32 // its number, once it was interned; before, that which it seems to be
	done     bool
}

// waitBytes bounds the messages that wait.
const waitBytes = 256 << 10

// heard notes that something came of a peer.
func (t *Table) heard(p *peer, at int64) {
	if s := at / 1e9; s != t.wait.second {
		t.Flush()
		t.wait.second = s
	}
	t.now = max(t.now, at)
	p.Last = unix(at)
	if at >= p.minute || p.first[0].on && at >= p.first[0].look || p.first[1].on && at >= p.first[1].look {
		t.look(p, at)
	}
}

// Heard says that a peer is there: a keepalive, or statistics of it.
func (t *Table) Heard(n uint32, at int64) {
	if p := t.peer(n); p != nil {
		t.heard(p, at)
	}
}

// Update takes a BGP message with its header, as a peer sent it at a time (Unix
// nanoseconds). It is copied. An error says what is wrong with it, and was counted; what
// can be used of the message (RFC 7606) was.
func (t *Table) Update(n uint32, o bgp.Options, message []byte, at int64) error {
	p := t.peer(n)
	if p == nil {
		t.counts.Refused.Peers++
		return nil
	}
	t.counts.Messages++
	t.heard(p, at)
	var m bgp.Message
	if _, err := bgp.Cut(message, bgp.MaxExtended, &m); err != nil {
		return t.fault(p, err)
	}
	if m.Type != bgp.TypeUpdate {
		p.kept(m.Type)
		return nil
	}
	return t.take(p, o, m.Body, m.Raw, at)
}

// body is Update for a message that was cut already; files from before 2000 have it
// without its header, whole is nil then.
func (t *Table) body(n uint32, o bgp.Options, kind bgp.Type, body, whole []byte, at int64) error {
	p := t.peer(n)
	if p == nil {
		t.counts.Refused.Peers++
		return nil
	}
	t.counts.Messages++
	t.heard(p, at)
	if kind != bgp.TypeUpdate {
		p.kept(kind)
		return nil
	}
	return t.take(p, o, body, whole, at)
}

// kept notes that a peer tells keepalives: so its silence is one.
func (p *peer) kept(kind bgp.Type) {
	if kind == bgp.TypeKeepalive {
		p.keeps = true
		p.hush.take(p.Last)
	}
}

// take takes the body of an UPDATE.
func (t *Table) take(p *peer, o bgp.Options, body, whole []byte, at int64) error {
	u := &t.update
	u.Parse(body, o)
	t.counts.Discarded += uint64(u.Discarded) //nolint:gosec // counts
	t.counts.Other += uint64(u.Skipped)       //nolint:gosec // counts
	if u.Fault == bgp.Reset {
		return t.fault(p, u.Err)
	}
	if !p.Up { // it was said to be gone
		t.begin(p, at)
	}
	raw := t.keep(whole)
	withdrawn, announced := u.Withdrawn(), u.Announced()
	for i := range withdrawn {
		t.counts.Withdrawals += t.prefixesOf(p, &withdrawn[i], 0, raw, at, 0)
	}
	for i := range announced {
		b := &announced[i]
		if u.Fault == bgp.Withdraw {
			t.counts.Withdrawals += t.prefixesOf(p, b, 0, raw, at, observe.RouteMalformed)
			continue
		}
		mark := observe.RouteMarks(0)
		if p.first[familyOf(b.Family)].on {
			mark = observe.RouteState
		}
		t.counts.Announcements += t.prefixesOf(p, b, t.say(p, u, b.NextHop), raw, at, mark)
	}
	if u.Fault != bgp.Sound {
		return t.fault(p, u.Err)
	}
	if f, ok := u.EndOfRIB(); ok && p.first[familyOf(f)].on && !multicast(f) {
		t.Flush()
		t.ended(familyOf(f), at, p)
	}
	if len(t.wait.elements) >= t.cfg.Batch || len(t.wait.bytes) >= waitBytes {
		t.Flush()
	}
	return nil
}

func familyOf(f bgp.Family) int {
	if f.IPv6() {
		return 1
	}
	return 0
}

func multicast(f bgp.Family) bool { return f == bgp.IPv4Multicast || f == bgp.IPv6Multicast }

// fault counts what is wrong with a message.
func (t *Table) fault(p *peer, err error) error {
	p.Malformed++
	p.faults.add(err)
	t.malformed(err)
	return fmt.Errorf("%s AS%d (%s): %w", p.Address, p.AS, p.Feed, err)
}

func (t *Table) malformed(err error) {
	t.counts.Malformed++
	t.faults.add(err)
}

// keep copies a message.
func (t *Table) keep(whole []byte) uint32 {
	if t.cfg.NoMessages || whole == nil {
		return 0
	}
	w := &t.wait
	w.bytes = append(w.bytes, whole...)
	w.ends = append(w.ends, len(w.bytes))
	return uint32(len(w.ends)) //nolint:gosec // far fewer
}

// say keeps what a message says of its routes.
func (t *Table) say(p *peer, u *bgp.Update, hop netip.Addr) uint32 {
	w := &t.wait
	from := len(w.words)
	w.words = wordsOf(w.words, u, hop, &t.path, p)
	if len(t.path.ASes) > 0 {
		p.told++
		if t.path.ASes[0] != p.AS && p.View < observe.RouteLocal {
			p.others++
		}
		p.RouteServer = 2*p.others > p.told
	}
	w.says = append(w.says, say{from: uint32(from), to: uint32(len(w.words)), hash: t.paths.hash(w.words[from:])}) //nolint:gosec // of some messages
	return uint32(len(w.says))                                                                                     //nolint:gosec // far fewer
}

// prefixesOf puts the prefixes of a block with those that wait, and counts them.
func (t *Table) prefixesOf(p *peer, b *bgp.Block, say, raw uint32, at int64, mark observe.RouteMarks) (n uint64) {
	if multicast(b.Family) {
		for x := (bgp.Prefix{}); b.Next(&x); n++ {
		}
		t.counts.Multicast += n
	} else {
		meta := uint16(familyOf(b.Family)) << 8 //nolint:gosec // 0 or 1
		for x := (bgp.Prefix{}); b.Next(&x); n++ {
			k := key{x.Hi, x.Lo, meta | uint16(x.Bits)}
			t.wait.elements = append(t.wait.elements, element{
				key: k, at: at, hash: t.prefixes.hash(&k), id: x.ID, say: say, raw: raw, peer: uint16(p.Number), mark: mark, //nolint:gosec // at most 65,535
			})
		}
	}
	p.Elements += n
	t.counts.Elements += n
	return n
}

// Entry takes one route of a table dump: the attributes as the dump has them, and when the
// route was made (Unix nanoseconds), or the dump where it doesn't tell.
func (t *Table) Entry(n uint32, prefix *bgp.Prefix, id uint32, attributes []byte, o bgp.Options, at int64) error {
	p := t.peer(n)
	if p == nil {
		t.counts.Refused.Peers++
		return nil
	}
	t.counts.Elements++
	t.counts.Announcements++
	p.Elements++
	p.known = true
	u := &t.update
	u.ParseEntry(attributes, o)
	t.counts.Discarded += uint64(u.Discarded) //nolint:gosec // counts
	if u.Fault >= bgp.Withdraw {
		return t.fault(p, u.Err)
	}
	if multicast(prefix.Family) {
		t.counts.Multicast++
		return nil
	}
	w := &t.wait
	e := element{
		key: key{prefix.Hi, prefix.Lo, uint16(familyOf(prefix.Family))<<8 | uint16(prefix.Bits)}, //nolint:gosec // 0 or 1
		at:  at, id: id, peer: uint16(n), mark: observe.RouteState,                               //nolint:gosec // at most 65,535
	}
	e.raw, e.say, e.hash = t.keep(attributes), t.say(p, u, u.NextHop), t.prefixes.hash(&e.key)
	w.elements = append(w.elements, e)
	if len(w.elements) >= t.cfg.Batch || len(w.bytes) >= waitBytes {
		t.Flush()
	}
	return nil
}

// Flush applies what waits, and hands on what changed.
func (t *Table) Flush() {
	w := &t.wait
	if len(w.elements) > 0 {
		t.apply()
		t.hand()
	}
	w.elements, w.says, w.words, w.bytes, w.ends = w.elements[:0], w.says[:0], w.words[:0], w.bytes[:0], w.ends[:0]
	if t.peers.since >= 1024 {
		t.judge()
	}
}

// Tick tells the table that the data's time has come so far, although nothing may have
// come of any peer.
func (t *Table) Tick(at int64) {
	t.now = max(t.now, at)
	t.Flush()
	t.expire(at)
	for _, p := range t.peers.list {
		t.look(p, at)
	}
}

// apply applies what waits, in order.
func (t *Table) apply() {
	const some = 128 // whose memory is asked for together
	w := &t.wait
	said := 0
	for rest := w.elements; len(rest) > 0; {
		part := rest[:min(some, len(rest))]
		rest = rest[len(part):]
		last := said
		for i := range part {
			last = max(last, int(part[i].say))
		}
		t.ask(part, w.says[said:last])
		said = last
		for i := range part {
			t.change(&part[i])
		}
	}
}

// ask asks for the memory that elements and what they say touch: first the indexes, then
// what these name, then what that refers to.
func (t *Table) ask(elements []element, says []say) {
	l := &t.list
	for i := range elements {
		pages.Add(l, t.prefixes.slot(elements[i].hash))
	}
	for i := range says {
		pages.Add(l, t.paths.slot(says[i].hash))
	}
	l.Fetch()
	for i := range elements {
		e := &elements[i]
		if e.n = t.prefixes.seems(e.hash); e.n != 0 {
			pages.Add(l, &t.prefixes.entries.All[e.n])
		}
	}
	for i := range says {
		s := &says[i]
		if s.path = t.paths.seems(s.hash); s.path != 0 {
			pages.Add(l, &t.paths.notes.All[s.path])
		}
	}
	l.Fetch()
	for i := range elements {
		if x := &t.prefixes.entries.All[elements[i].n]; x.class() > 0 {
			pages.Add(l, &t.prefixes.pool.span.All[x.pool])
			pages.Add(l, &t.prefixes.pool.span.All[x.pool+uint32(max(x.n, 1))-1]) // pieces don't begin where lines do
		}
	}
	for i := range says {
		if s := &says[i]; s.path != 0 {
			words := t.paths.memory.of(&t.paths.notes.All[s.path])
			pages.Add(l, &words[0])
			pages.Add(l, &words[len(words)-1])
		}
	}
	l.Fetch()
}

// change applies one element.
func (t *Table) change(e *element) {
	p := t.peers.list[e.peer-1]
	n, path := e.n, uint32(0)
	if n == 0 || !t.prefixes.entries.All[n].is(&e.key) { // another has its hash, or it was new when it was looked for
		n = t.prefixes.find(&e.key, e.hash)
	}
	if e.say != 0 {
		if path = t.intern(&t.wait.says[e.say-1]); path == 0 {
			t.counts.Refused.Paths++ // what stood before isn't so any more, and goes
		}
	}
	if path == 0 {
		t.gone(p, e, n)
		return
	}
	fresh := n == 0
	if fresh {
		if n = t.prefixes.add(&e.key, e.hash); n == 0 {
			t.counts.Refused.Prefixes++
			return
		}
	}
	x := &t.prefixes.entries.All[n]
	list := t.prefixes.routes(x)
	i, there := place(list, e.peer, e.id)
	now := momentOf(e.at)
	out := observe.Route{At: e.at, Prefix: n, Peer: uint32(e.peer), Path: path, Message: e.raw, ID: e.id, Marks: e.mark}
	if there {
		r := &list[i]
		if r.when&sessionBit != p.turn {
			p.left--
			r.when ^= sessionBit
		}
		if r.path == path {
			t.counts.Unchanged++
			return
		}
		if e.mark&observe.RouteState == 0 {
			p.flapped(recent(now, r.when))
		}
		out.Was = r.path
		t.paths.use(path)
		t.paths.drop(r.path)
		r.path, r.when = path, now|p.turn
		t.emit(out)
		return
	}
	other := i > 0 && list[i-1].peer == e.peer || i < len(list) && list[i].peer == e.peer
	if t.routes >= t.cfg.MaxRoutes || !t.prefixes.insert(x, i, route{peer: e.peer, when: now | p.turn, path: path, id: e.id}) {
		t.counts.Refused.Routes++
		return
	}
	t.paths.use(path)
	t.routes++
	if p.Routes++; p.Routes == 1 && p.View != observe.RouteCollector {
		t.peers.choose(p.key)
	}
	f := x.family()
	if !other {
		p.has[f]++
		if p.first[f].on {
			p.first[f].fresh++
		}
	}
	if e.mark&observe.RouteState == 0 {
		p.flapped(x.left == e.peer && recent(now, x.gone))
	}
	if fresh {
		out.Marks |= observe.RouteFirst
	}
	t.emit(out)
}

func (t *Table) intern(s *say) uint32 {
	if !s.done {
		s.done = true
		if w := t.wait.words[s.from:s.to]; s.path == 0 || !t.paths.is(s.path, w) {
			s.path = t.paths.intern(w, s.hash)
		}
	}
	return s.path
}

// gone withdraws a route.
func (t *Table) gone(p *peer, e *element, n uint32) {
	if n == 0 {
		t.counts.Unchanged++
		return
	}
	x := &t.prefixes.entries.All[n]
	i, there := place(t.prefixes.routes(x), e.peer, e.id)
	if !there {
		t.counts.Unchanged++
		return
	}
	was := t.prefixes.routes(x)[i]
	now := momentOf(e.at)
	p.flapped(recent(now, was.when))
	t.lose(x, i, p)
	x.gone, x.left = now, e.peer
	mark := e.mark & observe.RouteMalformed
	t.emit(observe.Route{At: e.at, Prefix: n, Peer: uint32(e.peer), Was: was.path, Message: e.raw, ID: e.id, Marks: mark})
}

// lose takes a route out of the table.
func (t *Table) lose(x *entry, i int, p *peer) {
	list := t.prefixes.routes(x)
	r := list[i]
	if r.when&sessionBit != p.turn {
		p.left--
	}
	if !(i > 0 && list[i-1].peer == r.peer || i+1 < len(list) && list[i+1].peer == r.peer) {
		p.has[x.family()]--
	}
	t.prefixes.remove(x, i)
	t.paths.drop(r.path)
	if p.Routes--; p.Routes == 0 && p.View != observe.RouteCollector {
		t.peers.choose(p.key)
	}
	t.routes--
}

func (p *peer) flapped(again bool) {
	if again {
		p.flaps++
	} else {
		p.steady++
	}
}

// A moment is 16 seconds, modulo six days: enough to tell what happened just now.
const sessionBit = 1 << 15

func momentOf(at int64) uint16 { return uint16(at>>34) &^ sessionBit } //nolint:gosec // modulo

func recent(now, when uint16) bool { return (now-when)&^sessionBit <= uint16(flapSpan>>34) }

// emit puts a change into the batch.
func (t *Table) emit(r observe.Route) {
	t.batch.Routes = append(t.batch.Routes, r)
	t.counts.Changes++
	t.peers.since++
	if r.Marks&(observe.RouteState|observe.RouteDown) == 0 {
		t.peers.list[r.Peer-1].Changes++
	}
}

// hand hands the batch on, and frees what nobody uses after it.
func (t *Table) hand() {
	b, w := &t.batch, &t.wait
	if len(b.Routes) > 0 {
		at := 0
		for _, end := range w.ends {
			b.Messages = append(b.Messages, w.bytes[at:end:end])
			at = end
		}
		for _, o := range t.out {
			o.Routed(b)
		}
		b.Routes, b.Messages = b.Routes[:0], b.Messages[:0]
	}
	t.paths.sweep()
}
