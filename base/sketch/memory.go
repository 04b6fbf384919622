package sketch

import (
	"math/bits"

	"sakimori/base/pages"
)

// Memory is where very many Sets take their tables from: large pages that are
// used again and again, which the garbage collector needn't look at. A Set
// doesn't keep its Memory alive: whoever holds the Sets holds the Memory, too.
type Memory struct {
	spans []*pages.Span[uint32]
	fresh []uint32       // what is left of the last span
	free  [32][][]uint32 // by the logarithm of their size
}

const spanWords = 8 << 20 // 32 MiB, of which nothing is there before it is used

// take hands out so many words, a power of two, all zero.
func (m *Memory) take(words int) []uint32 {
	if m == nil || words > spanWords/8 {
		return make([]uint32, words)
	}
	free := &m.free[bits.Len(uint(words))]
	if n := len(*free); n > 0 {
		w := (*free)[n-1]
		*free = (*free)[:n-1]
		clear(w)
		return w
	}
	if len(m.fresh) < words {
		s := pages.Reserve[uint32](spanWords)
		m.spans, m.fresh = append(m.spans, s), s.All
	}
	w := m.fresh[:words:words]
	m.fresh = m.fresh[words:]
	clear(w) // a page that is first read is had twice: that of zeros, and its own
	return w
}

// give takes back what take handed out.
func (m *Memory) give(w []uint32) {
	if m == nil || len(w) == 0 || len(w) > spanWords/8 {
		return
	}
	free := &m.free[bits.Len(uint(len(w)))]
	*free = append(*free, w)
}
