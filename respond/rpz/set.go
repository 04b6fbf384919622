package rpz

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"net/netip"
	"slices"

	"sakimori/base/wire/dns"
)

// Set is all rules of a zone, in order. It isn't changed any more; sets made from one
// another share what they have in common. The zero Set is empty.
//
// A rule is held as the records that a transfer sends: its owners end with a pointer to
// the question, so that they can stand in any message about the zone, and a transfer
// sends the chunks as they are. What a rule rests on stands beside them.
type Set struct {
	chunks []*Chunk
	rules  int
	bytes  int
}

// Chunk is a part of a set, as much as one message holds.
type Chunk struct {
	Wire    []byte // the records
	Records int
	notes   []byte // of each rule: the length of its records, then its ref; see note
	rules   int
}

// How many bytes of records a chunk has. A message must hold it with header, question and
// signature; below low it is joined to its neighbour.
const (
	chunkMost = 60_000
	chunkAim  = 45_000
	chunkLow  = 8_000
)

// entry is one rule as it is held.
type entry struct {
	wire []byte // its records
	ref  []byte
}

// cursor goes through the rules of a chunk.
type cursor struct {
	c       *Chunk
	at, not int
	ref     []byte
}

// next gives the next rule. The notes were written here, or checked by read.
func (c *cursor) next() (e entry, more bool) {
	if c.not >= len(c.c.notes) {
		return e, false
	}
	n, k := binary.Uvarint(c.c.notes[c.not:])
	c.not += k
	l, k := binary.Uvarint(c.c.notes[c.not:])
	c.not += k
	if l > 0 { // 0: the one before rests on the same
		c.ref = c.c.notes[c.not : c.not+int(l)-1] // #nosec G115 -- checked
		c.not += int(l) - 1                       // #nosec G115 -- checked
	}
	e = entry{c.c.Wire[c.at : c.at+int(n)], c.ref} // #nosec G115 -- checked
	c.at += int(n)                                 // #nosec G115 -- checked
	return e, true
}

// compare orders rules: *.x follows x.
func compare(a, b []byte) int {
	x, wild := cutStar(a[:ownerLen(a)])
	y, also := cutStar(b[:ownerLen(b)])
	if c := bytes.Compare(x, y); c != 0 || wild == also {
		return c
	}
	if wild {
		return 1
	}
	return -1
}

func cutStar(rel []byte) ([]byte, bool) {
	if len(rel) > 1 && rel[0] == 1 && rel[1] == '*' {
		return rel[2:], true
	}
	return rel, false
}

// writer makes chunks of rules that come in order.
type writer struct {
	set   Set
	open  *Chunk
	last  []byte // ref of the rule before
	first bool
}

func (w *writer) add(e entry) {
	if w.open == nil {
		w.open, w.first = &Chunk{Wire: make([]byte, 0, chunkAim+1024)}, true
	}
	c := w.open
	if len(c.Wire) > 0 && len(c.Wire)+len(e.wire) > chunkAim {
		w.flush()
		w.add(e)
		return
	}
	c.Wire = append(c.Wire, e.wire...)
	c.notes = binary.AppendUvarint(c.notes, uint64(len(e.wire)))
	if !w.first && bytes.Equal(w.last, e.ref) {
		c.notes = append(c.notes, 0)
	} else {
		c.notes = binary.AppendUvarint(c.notes, uint64(len(e.ref))+1)
		c.notes = append(c.notes, e.ref...)
	}
	w.last, w.first = e.ref, false
	c.rules++
	c.Records += records(e.wire)
}

// records counts those of one rule.
func records(wire []byte) (n int) {
	for at := 0; at < len(wire); n++ {
		at += ownerLen(wire[at:]) + 2
		at += 10 + int(binary.BigEndian.Uint16(wire[at+8:]))
	}
	return n
}

func (w *writer) flush() {
	if c := w.open; c != nil {
		c.Wire, c.notes = slices.Clip(c.Wire), slices.Clone(c.notes)
		w.take(c)
		w.open = nil
	}
}

func (w *writer) take(c *Chunk) {
	w.set.chunks = append(w.set.chunks, c)
	w.set.rules += c.rules
	w.set.bytes += len(c.Wire)
}

// change is a rule that comes, or goes when it has no ref: then only its owner is looked
// at.
type change struct {
	entry
	gone bool
}

// with is the set with changes, which are in order and name each owner once. Chunks that
// they don't touch are shared.
func (s *Set) with(changes []change) *Set {
	var w writer
	w.set.chunks = make([]*Chunk, 0, len(s.chunks)+1)
	if len(s.chunks) == 0 {
		for i := range changes {
			if !changes[i].gone {
				w.add(changes[i].entry)
			}
		}
		w.flush()
		return &w.set
	}
	for i, c := range s.chunks {
		n := len(changes)
		if i+1 < len(s.chunks) {
			next := s.chunks[i+1].Wire
			n, _ = slices.BinarySearchFunc(changes, next, func(x change, to []byte) int { return compare(x.wire, to) })
		}
		mine := changes[:n]
		changes = changes[n:]
		if len(mine) == 0 && w.open == nil {
			w.take(c)
			continue
		}
		w.merge(c, mine)
		if o := w.open; o != nil && len(o.Wire) >= chunkLow {
			w.flush()
		}
	}
	w.flush()
	return &w.set
}

// merge rewrites a chunk with changes. What was full stays full: it is split in halves.
func (w *writer) merge(c *Chunk, changes []change) {
	at := cursor{c: c}
	var all []entry
	size := 0
	put := func(e entry) { all, size = append(all, e), size+len(e.wire) }
	for e, more := at.next(); more; e, more = at.next() {
		for len(changes) > 0 && compare(changes[0].wire, e.wire) < 0 {
			if !changes[0].gone {
				put(changes[0].entry)
			}
			changes = changes[1:]
		}
		if len(changes) > 0 && compare(changes[0].wire, e.wire) == 0 {
			if !changes[0].gone {
				put(changes[0].entry)
			}
			changes = changes[1:]
			continue
		}
		put(e)
	}
	for i := range changes {
		if !changes[i].gone {
			put(changes[i].entry)
		}
	}
	if w.open != nil {
		size += len(w.open.Wire)
	}
	if size <= chunkMost { // as it was, or a little more
		w.fill(all)
		return
	}
	half := min(chunkAim, size/2+1)
	for _, e := range all {
		if w.open != nil && len(w.open.Wire) >= half {
			w.flush()
		}
		w.add(e)
	}
}

// fill puts all into the open chunk, beyond what it aims at.
func (w *writer) fill(all []entry) {
	for _, e := range all {
		if w.open != nil && len(w.open.Wire)+len(e.wire) > chunkAim && len(w.open.Wire)+len(e.wire) <= chunkMost {
			o := w.open
			o.Wire = append(o.Wire, e.wire...)
			o.notes = binary.AppendUvarint(o.notes, uint64(len(e.wire)))
			o.notes = binary.AppendUvarint(o.notes, uint64(len(e.ref))+1)
			o.notes = append(o.notes, e.ref...)
			w.last = e.ref
			o.rules++
			o.Records += records(e.wire)
			continue
		}
		w.add(e)
	}
}

// Rules is how many there are.
func (s *Set) Rules() int { return s.rules }

// Bytes is how many the records have.
func (s *Set) Bytes() int { return s.bytes }

// Chunks are the records, for transfers. Nobody changes them.
func (s *Set) Chunks() []*Chunk { return s.chunks }

// Digest is the SHA-256 over the records in order, each as it is in a message of which
// the question stands right behind the header.
func (s *Set) Digest() (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, c := range s.chunks {
		h.Write(c.Wire)
	}
	h.Sum(sum[:0])
	return sum
}

func (s *Set) entries() iter.Seq[entry] {
	return func(yield func(entry) bool) {
		for _, c := range s.chunks {
			at := cursor{c: c}
			for e, more := at.next(); more; e, more = at.next() {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// All are the rules, in order.
func (s *Set) All() iter.Seq[Rule] {
	return func(yield func(Rule) bool) {
		for e := range s.entries() {
			if !yield(rule(e.wire, string(e.ref))) {
				return
			}
		}
	}
}

// find gives the rule with an owner.
func (s *Set) find(rel []byte) (Rule, bool) {
	key := append(bytes.Clone(rel), dns.ToQuestion...)
	i, found := slices.BinarySearchFunc(s.chunks, key, func(c *Chunk, k []byte) int { return compare(c.Wire, k) })
	if !found {
		i--
	}
	if i < 0 {
		return Rule{}, false
	}
	at := cursor{c: s.chunks[i]}
	for e, more := at.next(); more; e, more = at.next() {
		if bytes.HasPrefix(e.wire, key) {
			return rule(e.wire, string(e.ref)), true
		}
	}
	return Rule{}, false
}

// Get is the rule of a name itself.
func (s *Set) Get(name dns.Name) (Rule, bool) {
	if len(name) < 2 || len(s.chunks) == 0 {
		return Rule{}, false
	}
	return s.find(name[:len(name)-1])
}

// Below are the rules of names that stand below one of those given, and of all below such a
// name. It goes once through the set, some 20 ms for a million rules.
func (s *Set) Below(names []dns.Name) iter.Seq[Rule] {
	above, least := make(map[string]bool, len(names)), dns.MaxName
	for _, n := range names {
		above[string(n[:len(n)-1])], least = true, min(least, len(n)-1)
	}
	return func(yield func(Rule) bool) {
		for e := range s.entries() {
			rel, _ := cutStar(e.wire[:ownerLen(e.wire)])
			for rel = rel[1+int(rel[0]):]; len(rel) >= least && len(rel) > 0; rel = rel[1+int(rel[0]):] {
				if above[string(rel)] {
					if !yield(rule(e.wire, string(e.ref))) {
						return
					}
					break
				}
			}
		}
	}
}

// nested finds a rule below a wildcard, but for those left out.
func (s *Set) nested(but map[string]bool) (below, above Rule, is bool) {
	wild := map[string]bool{}
	for e := range s.entries() {
		if rel, star := cutStar(e.wire[:ownerLen(e.wire)]); star {
			wild[string(rel)] = true
		}
	}
	for e := range s.entries() {
		rel, _ := cutStar(e.wire[:ownerLen(e.wire)])
		for len(rel) > 0 {
			if rel = rel[1+int(rel[0]):]; !wild[string(rel)] {
				continue
			}
			if below = rule(e.wire, string(e.ref)); but[below.Name] {
				break
			}
			above, _ = s.find(append([]byte(star), rel...))
			return below, above, true
		}
	}
	return Rule{}, Rule{}, false
}

// Match is the rule that answers a name: the one of that name, or of the nearest *. above.
func (s *Set) Match(name dns.Name) (Rule, bool) {
	if len(name) < 2 || len(s.chunks) == 0 {
		return Rule{}, false
	}
	if r, ok := s.find(name[:len(name)-1]); ok {
		return r, true
	}
	for n := name.Parent(); len(n) > 1; n = n.Parent() {
		if r, ok := s.find(append([]byte(star), n[:len(n)-1]...)); ok {
			return r, true
		}
	}
	return Rule{}, false
}

// MatchClient is the rule that answers a client: that of the longest prefix.
func (s *Set) MatchClient(a netip.Addr) (Rule, bool) {
	if len(s.chunks) == 0 {
		return Rule{}, false
	}
	a = a.Unmap().WithZone("")
	for bits := a.BitLen(); bits > 0; bits-- {
		p, err := a.Prefix(bits)
		if err != nil {
			break
		}
		rel, err := clientOwner(p)
		if err != nil {
			break
		}
		if r, ok := s.find(rel); ok {
			return r, true
		}
	}
	return Rule{}, false
}
