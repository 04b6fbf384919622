package sketch

import (
	"math"
	"math/bits"
)

// Registers are those of a HyperLogLog: 2^p of them, four to a word, lowest byte
// first. Whoever has memory of their own for them counts with them directly.
type Registers []uint32

func (r Registers) precision() int { return bits.Len(uint(len(r))) + 1 }

func (r Registers) register(i int) uint8 { return uint8(r[i>>2] >> (i & 3 * 8)) } //nolint:gosec // the byte

// raise makes register i at least v, and tells whether it was below.
func (r Registers) raise(i int, v uint8) bool {
	w, shift := &r[i>>2], i&3*8
	if uint8(*w>>shift) >= v { //nolint:gosec // the byte
		return false
	}
	*w = *w&^(0xff<<shift) | uint32(v)<<shift
	return true
}

// Add counts an identity, and tells whether that changed anything.
func (r Registers) Add(id uint32) bool {
	h, p := Hash(id), r.precision()
	rho := uint8(bits.LeadingZeros64(h<<p|1<<(p-1)) + 1) //nolint:gosec // at most 65
	return r.raise(int(h>>(64-p)), rho)                  //nolint:gosec // below 2^p
}

// addAll counts many identities.
func (r Registers) addAll(ids []uint32) {
	p, last := r.precision()&31, uint64(4*len(r)-1) //nolint:gosec // at least 16 registers
	for _, id := range ids {
		h := Hash(id)
		i := h >> (64 - p) & last                             // below 2^p
		rho := uint32(bits.LeadingZeros64(h<<p|1<<(p-1))) + 1 //nolint:gosec // at most 65
		w, shift := &r[i>>2], i&3*8                           // the byte's place
		if *w>>shift&0xff < rho {
			*w = *w&^(0xff<<shift) | rho<<shift
		}
	}
}

// Word is the index of the word that Add of the same identity looks at.
func (r Registers) Word(id uint32) uint32 {
	return uint32(Hash(id) >> (66 - r.precision())) //nolint:gosec // below 2^14
}

// Error is the standard error of Count as a share of it.
func (r Registers) Error() float64 { return 1.04 / math.Sqrt(float64(4*len(r))) }

// Count estimates the number of distinct identities by the improved raw
// estimator of Ertl (2017, arXiv 1702.01284, algorithm 6), which needs no bias
// table and no switch for small numbers.
func (r Registers) Count() uint64 {
	q := 64 - r.precision()
	var c [256]int
	for _, w := range r {
		c[w&0xff]++
		c[w>>8&0xff]++
		c[w>>16&0xff]++
		c[w>>24]++
	}
	m := float64(4 * len(r))
	z := m * tau(1-float64(c[q+1])/m)
	for k := q; k >= 1; k-- {
		z = 0.5 * (z + float64(c[k]))
	}
	z += m * sigma(float64(c[0])/m)
	return uint64(math.Round(m * m / (2 * math.Ln2 * z)))
}

func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	y, z := 1.0, x
	for {
		x *= x
		old := z
		z += x * y
		y += y
		if z == old {
			return z
		}
	}
}

func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	y, z := 1.0, 1-x
	for {
		x = math.Sqrt(x)
		old := z
		y *= 0.5
		z -= (1 - x) * (1 - x) * y
		if z == old {
			return z / 3
		}
	}
}
