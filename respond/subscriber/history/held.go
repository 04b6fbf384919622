package history

import (
	"context"
	"math"
	"net/netip"
	"slices"
	"sort"
	"time"

	"sakimori/respond/subscriber"
)

// heldStep is how many prefixes are looked at before others get their turn.
const heldStep = 1024

// Holds are the claims to an address, whole or a port of it, that a moment touches; of
// every prefix that covers it. until is when that changes by itself, zero not.
func (h *History) Holds(addr netip.Addr, at time.Time) (holds []subscriber.Hold, until time.Time) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	all, now, next := subscriber.Holds(h.spans(nil, addr.As16(), 0, 0), h.limits), nano(at), int64(math.MaxInt64)
	for _, x := range all {
		if x.Earliest > now {
			next = min(next, x.Earliest)
		} else if x.Latest >= now && x.Latest < math.MaxInt64 {
			next = min(next, x.Latest+1)
		}
	}
	if next < math.MaxInt64 {
		until = time.Unix(0, next).UTC()
	}
	return touching(all, now), until
}

// touching are the claims that a moment touches.
func touching(holds []subscriber.Hold, at int64) []subscriber.Hold {
	return slices.DeleteFunc(holds, func(x subscriber.Hold) bool { return x.Earliest > at || at > x.Latest })
}

// Held visits every prefix that somebody may have at a moment, in order, with their
// claims to just this prefix. It goes in short steps, so that others get their turn:
// what was taken since it began may be missing.
func (h *History) Held(ctx context.Context, at time.Time, visit func(p netip.Prefix, holds []subscriber.Hold) error) error {
	type found struct {
		place key
		holds []subscriber.Hold
	}
	memory, now := h.places(), nano(at)
	var after key // the place that was looked at last, with the last port
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var list []found
		h.mu.RLock()
		for range heldStep {
			var k key
			if k, more = h.place(after, memory); !more {
				break
			}
			if holds := touching(subscriber.Holds(h.exactly(k), h.limits), now); len(holds) > 0 {
				list = append(list, found{k, holds})
			}
			after = k
			after.port0 = 1<<16 - 1
		}
		h.mu.RUnlock()
		for _, f := range list {
			if err := visit(prefixOf(f.place), f.holds); err != nil {
				return err
			}
		}
	}
	return nil
}

// places are the prefixes in memory, in order, each once.
func (h *History) places() []key {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var list []key
	for _, t := range []*table{h.table, h.frozen} {
		if t == nil {
			continue
		}
		for p := range t.bucket {
			list = append(list, key{addr: p.addr, bits: p.bits})
		}
	}
	slices.SortFunc(list, func(a, b key) int {
		switch {
		case a.less(&b):
			return -1
		case b.less(&a):
			return 1
		}
		return 0
	})
	return slices.Compact(list)
}

// place is the first prefix behind a key, in memory or in a file.
func (h *History) place(after key, memory []key) (k key, more bool) {
	if i := sort.Search(len(memory), func(i int) bool { return after.less(&memory[i]) }); i < len(memory) {
		k, more = memory[i], true
	}
	for _, s := range h.segments {
		i := s.seek(after)
		if i == len(s.rows) {
			continue
		}
		c := s.rows[i].key()
		if c.port0 = 0; !more || c.less(&k) {
			k, more = c, true
		}
	}
	return k, more
}

// exactly are the spans of one prefix.
func (h *History) exactly(k key) []subscriber.Span {
	list := h.table.find(nil, k.addr, k.bits, 0, 0)
	if h.frozen != nil {
		list = h.frozen.find(list, k.addr, k.bits, 0, 0)
	}
	for _, s := range h.segments {
		if slices.Contains(s.bits, k.bits) {
			list = s.find(list, k.addr, k.bits, 0, 0)
		}
	}
	return list
}

// prefixOf is the prefix at a place.
func prefixOf(k key) netip.Prefix {
	a, bits := netip.AddrFrom16(k.addr), int(k.bits)
	if a.Is4In6() && bits >= 96 {
		a, bits = a.Unmap(), bits-96
	}
	return netip.PrefixFrom(a, bits)
}
