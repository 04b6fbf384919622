package pcap

import (
	"math"
	"math/bits"

	"sakimori/base/wire/packet"
)

const second = int64(1e9) // in nanoseconds

// clock turns an interface's timestamps into Unix nanoseconds, and holds what
// else each of its frames needs. Times outside the years 1678 to 2262, which
// nanoseconds can't reach, become the nearest that can.
type clock struct {
	times, over uint64 // decimal: ts*times/over, one of them 1
	shift       uint   // binary: units of 2^-shift seconds
	binary      bool
	offset      int64 // nanoseconds to add
	link        packet.LinkType
	snaplen     uint32
}

// newClock reads if_tsresol (10^-n, or 2^-n with the highest bit set) and
// if_tsoffset (seconds).
func newClock(resolution byte, offset int64) clock {
	c := clock{times: 1, over: 1}
	exponent := int(resolution & 0x7f)
	if resolution&0x80 != 0 {
		c.binary, c.shift = true, uint(exponent)
	}
	for i := exponent; i < 9; i++ {
		c.times *= 10
	}
	for i := 9; i < min(exponent, 28); i++ { // 10^19 is the largest that fits
		c.over *= 10
	}
	if exponent > 28 { // units too small to add up to a nanosecond in 64 bits
		c.times = 0
	}
	switch {
	case offset > math.MaxInt64/second:
		c.offset = math.MaxInt64
	case offset < math.MinInt64/second:
		c.offset = math.MinInt64
	default:
		c.offset = offset * second
	}
	return c
}

func (c *clock) unix(ts uint64) int64 {
	var hi, lo uint64
	if c.binary {
		hi, lo = bits.Mul64(ts, 1e9)
		if c.shift >= 64 {
			hi, lo = 0, hi>>(c.shift-64)
		} else {
			hi, lo = hi>>c.shift, lo>>c.shift|hi<<(64-c.shift)
		}
	} else {
		hi, lo = bits.Mul64(ts, c.times)
		lo /= c.over // hi is 0 whenever over isn't 1
	}
	if hi != 0 || lo > math.MaxInt64 {
		lo = math.MaxInt64
	}
	ns := int64(lo)
	sum := ns + c.offset
	if c.offset > 0 && sum < ns {
		return math.MaxInt64
	}
	return sum // ns isn't negative: a negative offset can't run below the range
}
