package sim

import "math/bits"

// rng is the splitmix64 generator (Steele, Lea, Flood 2014): eight bytes of
// state, so that each of tens of thousands of actors has a stream of its own.
type rng uint64

func (r *rng) u64() uint64 {
	*r += 0x9e3779b97f4a7c15
	return scramble(uint64(*r))
}

func scramble(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// mix makes an independent number from two, for properties that an actor must
// have again whenever it is asked: its address, its port, its distance.
func mix(a, b uint64) uint64 { return scramble(scramble(a+0x9e3779b97f4a7c15) ^ b*0xd1342543de82ef95) }

// below is uniform in [0, n).
func (r *rng) below(n uint64) uint64 {
	hi, _ := bits.Mul64(r.u64(), n)
	return hi
}

func (r *rng) u32() uint32 { return uint32(r.u64() >> 32) }
func (r *rng) u16() uint16 { return uint16(r.u64() >> 48) }

// gap is an exponentially distributed time with the given mean, both in
// nanoseconds: the time between two packets that know nothing of each other.
// It works in integers so that every machine draws the same.
func (r *rng) gap(mean int64) int64 {
	u := r.u64()
	e := lnTable[u>>52] // quantile in 1/4096, in 2^-16 units
	width := e - lnTable[u>>52+1]
	e -= width * int64(u>>36&0xffff) >> 16
	hi, lo := bits.Mul64(uint64(mean), uint64(e))
	return int64(hi<<48 | lo>>16)
}

// lnTable[i] is -ln(i/4096) in units of 2^-16, for i in 0..4096; entry 0, the
// rarest case, stands at -ln(1/16384).
var lnTable = negLog()

func negLog() (t [4097]int64) {
	// ln by the series of atanh, in integers of 2^-40: ln(x) = 2·atanh((x-1)/(x+1)).
	const one = int64(1) << 40
	const ln2 = int64(762123384786) // ln 2 · 2^40
	for i := 1; i <= 4096; i++ {
		// i = m·2^k with m in [1,2), held in 2^-40
		k := bits.Len(uint(i)) - 1
		m := int64(i) << (40 - k)
		z := mulDiv(m-one, one, m+one)
		term, sum := z, int64(0)
		for n := int64(1); term > 0; n += 2 {
			sum += term / n
			term = mulDiv(mulDiv(term, z, one), z, one)
		}
		t[i] = (12*ln2 - int64(k)*ln2 - 2*sum) >> 24
	}
	t[0] = (14 * ln2) >> 24
	return t
}

// mulDiv is a·b/c without overflow, for values that aren't negative.
func mulDiv(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	q, _ := bits.Div64(hi, lo, uint64(c))
	return int64(q)
}
