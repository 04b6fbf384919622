package geo

import (
	"math"
	"math/bits"

	"sakimori/base/wire/packet"
)

// layer gives the whole address space, IPv4 at ::ffff:0:0/96 in the midst of
// IPv6, one value each: val[i] from start[i] up to the address before
// start[i+1]. Starts ascend, start[0] is ::, neighbours differ. Value 0 is
// "unknown". An empty layer is unknown everywhere.
type layer struct {
	start []packet.Addr
	val   []uint32
}

// push says that from start on, v holds. Starts must not descend.
func (l *layer) push(start packet.Addr, v uint32) {
	n := len(l.start)
	if n == 0 && start != (packet.Addr{}) {
		l.start, l.val = append(l.start, packet.Addr{}), append(l.val, 0)
		n = 1
	}
	if n > 0 && l.start[n-1] == start { // what was said of start is replaced
		n--
		l.start, l.val = l.start[:n], l.val[:n]
	}
	if n > 0 && l.val[n-1] == v {
		return
	}
	l.start, l.val = append(l.start, start), append(l.val, v)
}

// add says that first to last, both included, have the value v. False: the
// range is upside down, or begins before the end of what was added before.
func (l *layer) add(first, last packet.Addr, v uint32) bool {
	if last.Compare(first) < 0 {
		return false
	}
	if n := len(l.start); n > 0 && (first.Compare(l.start[n-1]) < 0 || first == l.start[n-1] && l.val[n-1] != 0) {
		return false
	}
	if v == 0 {
		return true
	}
	l.push(first, v)
	if after, ok := next(last); ok {
		l.push(after, 0)
	}
	return true
}

// most is how many layers a sweep takes.
const most = 4

// sweep walks the stretches on which none of the layers changes, in order. It is
// what loading spends its time on, so what comes next in each layer is kept at
// hand.
func sweep(ls []*layer, visit func(start packet.Addr, vals *[most]uint32)) {
	var (
		at    [most]int // the span of each layer that comes next
		vals  [most]uint32
		ahead [most]packet.Addr // and its start; :: after the last, which no later span has
		start packet.Addr
	)
	for {
		var soonest packet.Addr
		for i, l := range ls {
			if ahead[i] == start { // at :: all of them, afterwards those that change here
				if n := at[i]; n < len(l.start) && l.start[n] == start {
					vals[i] = l.val[n]
					at[i]++
				}
				ahead[i] = packet.Addr{}
				if n := at[i]; n < len(l.start) {
					ahead[i] = l.start[n]
				}
			}
			if a := ahead[i]; a != (packet.Addr{}) && (soonest == (packet.Addr{}) || a.Compare(soonest) < 0) {
				soonest = a
			}
		}
		visit(start, &vals)
		if start = soonest; start == (packet.Addr{}) {
			return
		}
	}
}

// overlay is top where it knows something, and bottom elsewhere.
func overlay(top, bottom *layer) *layer {
	if len(bottom.start) == 0 {
		return top
	}
	if len(top.start) == 0 {
		return bottom
	}
	var out layer
	sweep([]*layer{top, bottom}, func(start packet.Addr, vals *[most]uint32) {
		if vals[0] != 0 {
			out.push(start, vals[0])
		} else {
			out.push(start, vals[1])
		}
	})
	return &out
}

// The grain of compiled positions: one per IPv4 /24 and per IPv6 /48, the
// smallest networks that the Internet routes.
const (
	grain4 = 0xff          // host bits of the low half
	grain6 = 0xffff        // host bits of the high half
	above4 = mapped4 >> 32 // the low half's upper word of an IPv4 address
)

const mapped4 = 0xffff << 32

// block is the first and last address of the grain that a lies in.
func block(a packet.Addr) (first, last packet.Addr) {
	if a.Hi == 0 && a.Lo>>32 == above4 {
		return packet.Addr{Lo: a.Lo &^ grain4}, packet.Addr{Lo: a.Lo | grain4}
	}
	if a.Hi == 0 { // below 0:0:0:1:: the grain is IPv4's /96, so that no block straddles it
		return packet.Addr{Lo: a.Lo &^ math.MaxUint32}, packet.Addr{Lo: a.Lo | math.MaxUint32}
	}
	if a.Hi <= grain6 {
		return packet.Addr{Hi: 1}, packet.Addr{Hi: grain6, Lo: math.MaxUint64}
	}
	return packet.Addr{Hi: a.Hi &^ grain6}, packet.Addr{Hi: a.Hi | grain6, Lo: math.MaxUint64}
}

// coarse gives each block that holds several values the one that most of its
// addresses have (the smaller value on a tie).
func (l *layer) coarse() *layer {
	var out layer
	share := map[uint32]float64{}
	for i, s := range l.start {
		end := packet.Addr{Hi: math.MaxUint64, Lo: math.MaxUint64} // last address of this span
		if i+1 < len(l.start) {
			end = prev(l.start[i+1])
		}
		first, last := block(s)
		if s != first { // the block's earlier part had another value
			stop := minAddr(end, last)
			share[l.val[i]] += size(s, stop)
			if stop != last {
				continue
			}
			out.push(first, winner(share))
			clear(share)
			if s = last; end == last {
				continue
			}
			s, _ = next(s)
		}
		first, last = block(end)
		if end == last {
			out.push(s, l.val[i])
			continue
		}
		if s.Compare(first) < 0 {
			out.push(s, l.val[i])
			s = first
		}
		share[l.val[i]] += size(s, end)
	}
	return &out
}

func winner(share map[uint32]float64) uint32 {
	var best uint32
	most := -1.0
	for v, n := range share {
		if n > most || n == most && v < best {
			best, most = v, n
		}
	}
	return best
}

// size is the number of addresses from first to last.
func size(first, last packet.Addr) float64 {
	d := sub(last, first)
	return float64(d.Hi)*(1<<64) + float64(d.Lo) + 1
}

func sub(a, b packet.Addr) packet.Addr {
	lo, borrow := bits.Sub64(a.Lo, b.Lo, 0)
	hi, _ := bits.Sub64(a.Hi, b.Hi, borrow)
	return packet.Addr{Hi: hi, Lo: lo}
}

// plus is a+b; false when it runs over the end.
func plus(a, b packet.Addr) (packet.Addr, bool) {
	lo, carry := bits.Add64(a.Lo, b.Lo, 0)
	hi, carry := bits.Add64(a.Hi, b.Hi, carry)
	return packet.Addr{Hi: hi, Lo: lo}, carry == 0
}

func next(a packet.Addr) (packet.Addr, bool) { return plus(a, packet.Addr{Lo: 1}) }
func prev(a packet.Addr) packet.Addr         { return sub(a, packet.Addr{Lo: 1}) }

func minAddr(a, b packet.Addr) packet.Addr {
	if a.Compare(b) < 0 {
		return a
	}
	return b
}
