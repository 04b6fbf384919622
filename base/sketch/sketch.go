// Package sketch counts distinct things in little memory: exactly while they
// are few, and by HyperLogLog with a stated error when they are many.
//
// The library that the field uses costs 20–40 ns an insertion and is exact only
// as a side effect; a telescope inserts six times a packet. A Set takes 32-bit
// identities, costs a few nanoseconds, merges without loss (minute → hour →
// day), and gives the same bytes whatever the order in which things came.
package sketch

import (
	"math"
	"math/bits"
	"slices"
)

// Form says how a Set trades memory for accuracy.
type Form struct {
	Precision uint8   // p: 2^p registers of one byte once it is dense; 4..16
	Exact     uint32  // how many elements are counted exactly before that, at least
	Memory    *Memory // where tables and registers come from; nil: Go's own
}

// The forms in use. The standard error of a dense set is 1.04/√(2^p)
// (Flajolet et al. 2007): 0.81 % at p = 14, 1.63 % at p = 12.
var (
	Fine   = Form{Precision: 14, Exact: 1024}
	Coarse = Form{Precision: 12, Exact: 512}
	// Exact is for the few totals that a document prints to the last digit.
	Exact = Form{Precision: 14, Exact: 1 << 19}
)

// Error is the standard error of a dense set of this form, as a share.
func (f Form) Error() float64 { return 1.04 / math.Sqrt(float64(uint32(1)<<f.Precision)) }

// Set is a set of 32-bit identities. The zero Set is empty. It isn't safe for
// use by several goroutines at once. It has 56 bytes, so that two of them and a
// number share two cache lines: what a counter costs is the lines it touches.
type Set struct {
	// While dense is false, the first elements stand in tiny, in order of their
	// coming: most sets never have more, and so need no memory elsewhere. After
	// that tab is an open-addressing table of a power of two in which 0 is an
	// empty slot; the identity 0 itself is kept in zero. A dense set has 2^p
	// registers in tab, four to a word, lowest byte first.
	tiny  [tinySize]uint32
	n     uint32 // elements in tiny or tab
	zero  bool
	dense bool
	tab   []uint32
}

const tinySize = 5

// Hash spreads an identity over 64 bits (the finaliser of splitmix64, a
// bijection: two identities never collide).
func Hash(id uint32) uint64 {
	x := uint64(id) + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Add puts id into the set and tells whether the set may have changed: always
// right while it is exact.
func (s *Set) Add(f Form, id uint32) bool {
	if s.dense {
		return Registers(s.tab).Add(id)
	}
	if id == 0 {
		if s.zero {
			return false
		}
		s.zero = true
		return true
	}
	if len(s.tab) == 0 {
		return s.addTiny(f, id)
	}
	mask := uint32(len(s.tab) - 1) //nolint:gosec // at most 2^20 slots
	i := slot(id) & mask
	for {
		switch s.tab[i] {
		case id:
			return false
		case 0:
			s.tab[i] = id
			s.n++
			if s.n*4 > uint32(len(s.tab))*3 { //nolint:gosec // as above
				s.grow(f)
			}
			return true
		}
		i = (i + 1) & mask
	}
}

func (s *Set) addTiny(f Form, id uint32) bool {
	if slices.Contains(s.tiny[:s.n], id) {
		return false
	}
	if s.n < tinySize {
		s.tiny[s.n] = id
		s.n++
		return true
	}
	s.retab(f, 16)
	s.insert(id)
	s.n++
	return true
}

// insert puts an element into a table that has room and doesn't have it.
func (s *Set) insert(id uint32) {
	mask := uint32(len(s.tab) - 1) //nolint:gosec // as above
	i := slot(id) & mask
	for s.tab[i] != 0 {
		i = (i + 1) & mask
	}
	s.tab[i] = id
}

// slot picks the first place to look; a multiplication is enough, as the
// table is small and never hostile for long.
func slot(id uint32) uint32 { return (id * 0x9e3779b1) >> 7 }

// grow makes the table four times as large while it is small, as most that grow
// at all go on growing, and then twice.
func (s *Set) grow(f Form) {
	if s.n > f.Exact {
		s.densify(f)
		return
	}
	by := 2
	if len(s.tab) <= 64 {
		by = 4
	}
	s.retab(f, by*len(s.tab))
}

// retab moves the elements to a table of so many slots.
func (s *Set) retab(f Form, slots int) {
	old := s.exact()
	tab := s.tab
	s.tab = f.Memory.take(slots)
	for _, id := range old {
		if id != 0 {
			s.insert(id)
		}
	}
	f.Memory.give(tab)
}

// AddAll puts many identities into the set: cheaper than one by one, as the
// table grows once.
func (s *Set) AddAll(f Form, ids []uint32) {
	if s.dense {
		Registers(s.tab).addAll(ids)
		return
	}
	if want := int(s.n) + len(ids); want > tinySize && len(s.tab) <= int(f.Exact) && want*4 > len(s.tab)*3 {
		slots := max(len(s.tab), 16)
		for slots*3 < want*4 && slots <= int(f.Exact) {
			slots *= 2
		}
		if slots > len(s.tab) {
			s.retab(f, slots)
		}
	}
	for _, id := range ids {
		s.Add(f, id)
	}
}

func (s *Set) densify(f Form) {
	old := s.exact()
	if len(s.tab) == 0 { // a copy: the registers take the place of tiny too
		old = append([]uint32(nil), old...)
	}
	zero, tab := s.zero, s.tab
	*s = Set{dense: true, tab: f.Memory.take(1 << f.Precision / 4)}
	for _, id := range old {
		if id != 0 {
			Registers(s.tab).Add(id)
		}
	}
	if zero {
		Registers(s.tab).Add(0)
	}
	f.Memory.give(tab)
}

func (s *Set) precision() int { return Registers(s.tab).precision() }

// exact is where the elements of an exact set stand, zeros between them.
func (s *Set) exact() []uint32 {
	if len(s.tab) == 0 {
		return s.tiny[:s.n]
	}
	return s.tab
}

// Merge adds everything in o. Sets of different precision meet at the lower one.
func (s *Set) Merge(f Form, o *Set) {
	if !o.dense {
		for _, id := range o.exact() {
			if id != 0 {
				s.Add(f, id)
			}
		}
		if o.zero {
			s.Add(f, 0)
		}
		return
	}
	if !s.dense {
		s.densify(Form{Precision: uint8(o.precision()), Memory: f.Memory}) //nolint:gosec // at most 16
	}
	if len(s.tab) == len(o.tab) {
		for i, w := range o.tab {
			if w != s.tab[i] {
				s.tab[i] = highest(s.tab[i], w)
			}
		}
		return
	}
	if len(s.tab) > len(o.tab) {
		s.fold(len(o.tab))
	}
	by := o.precision() - s.precision()
	for i := range 4 * len(o.tab) {
		Registers(s.tab).raise(i>>by, refold(i, Registers(o.tab).register(i), by))
	}
}

// highest is the maximum of each of the four bytes.
func highest(a, b uint32) uint32 {
	var m uint32
	for shift := 0; shift < 32; shift += 8 {
		m |= max(a>>shift&0xff, b>>shift&0xff) << shift
	}
	return m
}

// fold lowers the precision to words words of registers, as if it had been so
// from the start.
func (s *Set) fold(words int) {
	d := Set{dense: true, tab: make([]uint32, words)}
	by := s.precision() - d.precision()
	for i := range 4 * len(s.tab) {
		Registers(d.tab).raise(i>>by, refold(i, Registers(s.tab).register(i), by))
	}
	*s = d
}

// refold is the register value r of index i after the lowest by bits of the
// index have become the first bits that are looked at for leading zeros.
func refold(i int, r uint8, by int) uint8 {
	if by == 0 || r == 0 {
		return r
	}
	low := i & (1<<by - 1)
	if low == 0 {
		return r + uint8(by) //nolint:gosec // by is at most 12
	}
	return uint8(by - bits.Len(uint(low)) + 1) //nolint:gosec // as above
}

// Exact tells whether Count is the exact number.
func (s *Set) Exact() bool { return !s.dense }

// Error is the standard error of Count as a share of it, 0 while exact.
func (s *Set) Error() float64 {
	if !s.dense {
		return 0
	}
	return Registers(s.tab).Error()
}

// Count is the number of distinct identities: exact, or estimated.
func (s *Set) Count() uint64 {
	if !s.dense {
		n := uint64(s.n)
		if s.zero {
			n++
		}
		return n
	}
	return Registers(s.tab).Count()
}

// Reset empties the set.
func (s *Set) Reset() {
	*s = Set{}
}

// IDs are the identities of an exact set in ascending order; nil of a dense one.
func (s *Set) IDs() []uint32 {
	if s.dense {
		return nil
	}
	ids, at := make([]uint32, s.Count()), 0
	if s.zero {
		at = 1
	}
	for _, id := range s.exact() {
		if at == len(ids) {
			break
		}
		ids[at] = id
		if id != 0 { // as in AppendRaw
			at++
		}
	}
	slices.Sort(ids)
	return ids
}
