package telescope

import (
	"sakimori/base/pages"
	"sakimori/base/sketch"
	"sakimori/observe"
)

// targets are the distinct dark addresses that an event has asked: the first
// four in place, and then in a block of a shard's memory. Up to 768 are counted
// exactly, more with a standard error of 1.63 %; when the blocks take more
// memory than the configuration gives them, exactly up to 48, and then with
// 6.5 % in 256 bytes.
type targets struct {
	near  [4]uint32
	block uint32 // see blocks; 0 none
	n     uint16 // how many, as long as they are counted exactly
	form  form
	zero  bool // the identity 0 is one of them: in a table it means an empty place
}

// form is how a block holds targets.
type form uint8

const (
	formNear  form = iota // no block
	formList              // 16 words, in order of their coming
	formSmall             // an open-addressing table of 64 words
	formTable             // of 256
	formLarge             // of 1024
	formDense             // 4096 registers of a HyperLogLog
	formRough             // 256 of them
	forms
)

// words is the size of a form's block.
var words = [forms]uint32{formList: 16, formSmall: 64, formTable: 256, formLarge: 1024, formDense: 1024, formRough: 64}

// most is how many elements a form holds: tables are filled to three quarters.
var most = [forms]uint16{formNear: 4, formList: 16, formSmall: 48, formTable: 192, formLarge: 768}

// blocks is the memory for targets: blocks of 16 words and multiples, named by
// where they stand, in units of 16 words.
type blocks struct {
	chunks []*pages.Span[uint32]
	free   [forms][]uint32 // by form, blocks to be used again; dense and rough ones are with the tables of their size
	fresh  uint32          // unit of the chunk that was never used
	bytes  int             // taken by blocks in use
}

const (
	unitWords  = 16
	chunkUnits = 1 << 19 // 32 MiB, of which nothing is there before it is used
)

// sized is the form that stands for all of its size.
func sized(f form) form {
	switch f {
	case formDense:
		return formLarge
	case formRough:
		return formSmall
	}
	return f
}

// at is the block of a form.
func (b *blocks) at(block uint32, f form) []uint32 {
	at := block % chunkUnits * unitWords
	return b.chunks[block/chunkUnits].All[at : at+words[f]]
}

// take hands out an empty block.
func (b *blocks) take(f form) uint32 {
	b.bytes += int(4 * words[f])
	free := &b.free[sized(f)]
	if n := len(*free); n > 0 {
		block := (*free)[n-1]
		*free = (*free)[:n-1]
		clear(b.at(block, f))
		return block
	}
	need := words[f] / unitWords
	if len(b.chunks) == 0 || b.fresh%chunkUnits+need > chunkUnits || b.fresh == uint32(len(b.chunks))*chunkUnits { //nolint:gosec // below 2^32
		b.fresh = max(uint32(len(b.chunks))*chunkUnits, unitWords) //nolint:gosec // as above; 0 means none
		b.chunks = append(b.chunks, pages.Reserve[uint32](chunkUnits*unitWords))
	}
	block := b.fresh
	b.fresh += need
	clear(b.at(block, f)) // a page that is first read is had twice: that of zeros, and its own
	return block
}

// give takes the block of t back, and empties t.
func (b *blocks) give(t *targets) {
	if t.form != formNear {
		b.bytes -= int(4 * words[t.form])
		f := sized(t.form)
		b.free[f] = append(b.free[f], t.block)
	}
	*t = targets{}
}

// slotOf is where a table of so many words has an identity, if it has it there.
func slotOf(id uint32, words int) uint32 { return id * 0x9e3779b1 >> 7 & uint32(words-1) } //nolint:gosec // at most 1024

// among tells whether an identity, which isn't 0, is one of words. Where it stands
// can't be foreseen: so all are looked at, without a branch.
func among(words []uint32, id uint32) bool {
	differ := uint64(0)
	for _, w := range words {
		differ |= uint64(w^id) - 1 // the highest bit is set if they are the same
	}
	return differ>>63 != 0
}

// add adds an identity. rough says that there is no more memory for sharp counts.
func (b *blocks) add(t *targets, id uint32, rough bool) {
	switch {
	case t.form >= formDense:
		sketch.Registers(b.at(t.block, t.form)).Add(id)
		return
	case id == 0:
		t.zero = true
		return
	case t.form <= formList:
		have := t.near[:]
		if t.form == formList {
			have = b.at(t.block, formList)
		}
		if among(have, id) {
			return
		}
		if int(t.n) < len(have) {
			have[t.n] = id
			t.n++
			return
		}
	default:
		tab := b.at(t.block, t.form)
		i := slotOf(id, len(tab))
		for ; tab[i] != 0; i = (i + 1) & uint32(len(tab)-1) { //nolint:gosec // at most 1024
			if tab[i] == id {
				return
			}
		}
		if t.n < most[t.form] {
			tab[i] = id
			t.n++
			return
		}
	}
	b.grow(t, rough)
	b.add(t, id, rough)
}

// grow gives t room for more.
func (b *blocks) grow(t *targets, rough bool) {
	next := t.form + 1
	if rough && t.form > formList {
		next = formRough
	}
	b.reform(t, next)
}

// reform moves t to a block of another form.
func (b *blocks) reform(t *targets, to form) {
	old := *t
	*t = targets{block: b.take(to), form: to, zero: old.zero}
	for _, id := range b.elements(&old) {
		if id != 0 {
			b.insert(t, id)
		}
	}
	if to >= formDense && old.zero {
		t.zero = false
		b.insert(t, 0)
	}
	b.give(&old)
}

// insert puts in an element that isn't there yet, where there is room for it.
func (b *blocks) insert(t *targets, id uint32) {
	if t.form == formNear {
		t.near[t.n] = id
		t.n++
		return
	}
	tab := b.at(t.block, t.form)
	switch {
	case t.form >= formDense:
		sketch.Registers(tab).Add(id)
		return
	case t.form == formList:
		tab[t.n] = id
	default:
		i := slotOf(id, len(tab))
		for tab[i] != 0 {
			i = (i + 1) & uint32(len(tab)-1) //nolint:gosec // at most 1024
		}
		tab[i] = id
	}
	t.n++
}

// elements are where the elements of t stand, as long as they are counted
// exactly; with zeros between them in a table.
func (b *blocks) elements(t *targets) []uint32 {
	switch {
	case t.form == formNear:
		return t.near[:t.n]
	case t.form == formList:
		return b.at(t.block, formList)[:t.n]
	case t.form < formDense:
		return b.at(t.block, t.form)
	}
	return nil
}

// place is where add of the same identity will look in a block first.
func (b *blocks) place(t *targets, id uint32) *uint32 {
	words := b.at(t.block, t.form)
	switch {
	case t.form == formList:
		return &words[0]
	case t.form < formDense:
		return &words[slotOf(id, len(words))]
	}
	return &words[sketch.Registers(words).Word(id)]
}

// count is how many targets there are.
func (b *blocks) count(t *targets) observe.Unique {
	if t.form >= formDense {
		r := sketch.Registers(b.at(t.block, t.form))
		return observe.Unique{N: r.Count(), Err: r.Error()}
	}
	n := uint64(t.n)
	if t.zero {
		n++
	}
	return observe.Unique{N: n}
}
