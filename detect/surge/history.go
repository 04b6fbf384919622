package surge

import (
	"cmp"
	"math"
	"slices"
)

// key is one port, AS or country: its history and its finding.
type key struct {
	record
	weeks      [slots]week // by number of week modulo slots
	peakOpenly uint64      // hosts that scan openly, in the hour of PeakS
}

// record is the part of a key that is about now. Hours are since 1970.
type record struct {
	ID       uint64
	Born     int64 // first hour ever
	Heard    int64 // first hour in memory with a few sources; 0 none
	RunFirst int64 // the run of hours above the rule that may open a finding
	RunLast  int64
	Opened   int64 // of the open finding:
	PeakHour int64
	LastHigh int64
	PeakS    uint64
	PeakP    uint64
	EmPeak   uint64
	BaseS    float64 // expected when it opened
	BaseP    float64
	Seen     uint32 // hours with any source
	Run      uint32
	Calm     uint32
	Open     bool
	New      bool
	Short    bool
	Unseen   bool
}

// week is what is kept of a key's week: without a block, the most sources of
// an hour, always below ten, and all packets.
type week struct {
	packets uint64
	sources uint8
	block   *block
}

// block holds a week hour by hour, in steps of 7 % for sources and 10 % for
// packets: far finer than what any rule asks for.
type block struct {
	From             uint8 // the hours before it are known by Sources, Packets
	Sources, Packets uint8
	S, P             [weekHours]uint8
}

const (
	stepS = 1.07 // reaches 29 million sources
	stepP = 1.10 // reaches 32 thousand million packets
)

// code puts n on a logarithmic scale; 0 is none.
func code(n uint64, step float64) uint8 {
	if n == 0 {
		return 0
	}
	return uint8(min(1+math.Round(math.Log(float64(n))/math.Log(step)), 255))
}

var valuesS, valuesP = values(stepS), values(stepP)

func values(step float64) (v [256]float64) {
	for i := 1; i < len(v); i++ {
		v[i] = math.Pow(step, float64(i-1))
	}
	return v
}

// saw tells whether the telescope looked in hour h, when now is the hour in
// hand or the last one.
func (d *Detector) saw(h, now int64) bool {
	return h >= d.first && d.first != 0 && h/weekHours > now/weekHours-slots && d.looked[h/weekHours%slots][h%weekHours]
}

// at is what the key had in hour h, which was looked at.
func (d *Detector) at(k *key, h int64) (sources, packets float64) {
	w := &k.weeks[h/weekHours%slots]
	i := h % weekHours
	if b := w.block; b != nil {
		if i < int64(b.From) {
			return valuesS[b.Sources], valuesP[b.Packets]
		}
		return valuesS[b.S[i]], valuesP[b.P[i]]
	}
	return float64(w.sources), float64(w.packets) / float64(max(d.hours[h/weekHours%slots], 1))
}

func (d *Detector) look(h int64) {
	d.looked[h/weekHours%slots][h%weekHours] = true
	d.hours[h/weekHours%slots]++
}

// record adds the hour to the key's history.
func (d *Detector) record(k *key, h int64, c *count) {
	w := &k.weeks[h/weekHours%slots]
	i := h % weekHours
	if w.block == nil && c.sources >= tiny {
		if d.blocks >= d.cfg.Blocks {
			// Its week stays in the short form: nine sources at most, so
			// that the baseline would be too low. It is marked by 255.
			d.dropped++
			w.sources = 255
		} else {
			d.blocks++
			mean := w.packets / max(d.hours[h/weekHours%slots], 1)
			w.block = &block{From: uint8(i), Sources: code(uint64(w.sources), stepS), Packets: code(mean, stepP)} //nolint:gosec // below 168
		}
	}
	if c.sources > 0 {
		k.Seen++
	}
	if b := w.block; b != nil {
		b.S[i], b.P[i] = code(c.sources, stepS), code(c.packets, stepP)
	}
	if w.sources != 255 {
		w.sources = max(w.sources, uint8(min(c.sources, 254)))
	}
	w.packets += c.packets
}

// roll makes room for the week of hour h.
func (d *Detector) roll(h int64) {
	now := h / weekHours
	last := d.hour / weekHours
	if d.hour == 0 || now == last {
		return
	}
	for w := max(last+1, now-slots+1); w <= now; w++ {
		d.looked[w%slots], d.hours[w%slots] = [weekHours]bool{}, 0
		for id, k := range d.keys {
			d.clear(&k.weeks[w%slots])
			if most := k.most(); most == 0 && !k.Open {
				delete(d.keys, id)
			} else if most < heard {
				k.Heard = 0
			}
		}
	}
}

func (d *Detector) clear(w *week) {
	if w.block != nil {
		d.blocks--
	}
	*w = week{}
}

// most is the most sources in an hour that is still in memory, up to 254.
func (k *key) most() uint8 {
	var m uint8
	for i := range k.weeks {
		m = max(m, k.weeks[i].sources)
	}
	return m
}

// evict makes room: an eighth of the keys without a finding go, those first
// that were seen in fewest hours, then those that never had many sources.
func (d *Detector) evict(h int64) {
	type victim struct {
		id   uint64
		seen uint32
		most uint8
	}
	var vs []victim
	for _, k := range d.keys {
		if k.Open {
			continue
		}
		v := victim{k.ID, k.Seen, k.most()}
		vs = append(vs, v)
	}
	slices.SortFunc(vs, func(a, b victim) int {
		return cmp.Or(cmp.Compare(a.seen, b.seen), cmp.Compare(a.most, b.most), cmp.Compare(a.id, b.id))
	})
	for _, v := range vs[:(len(vs)+7)/8] {
		k := d.keys[v.id]
		for i := range k.weeks {
			d.clear(&k.weeks[i])
		}
		if v.most >= heard {
			d.forgot = h // from now on "never seen" would be a guess
		}
		delete(d.keys, v.id)
		d.dropped++
	}
}

// mode is what the history allows to say.
type mode uint8

const (
	unknown mode = iota // nothing
	short               // the short rule
	full                // the baseline
)

// expected is what the baseline says of a key at an hour.
type expected struct {
	mode       mode
	fresh      bool // hardly seen before the last day
	sources    float64
	packets    float64
	deviationS float64
	deviationP float64
}

// score is by how many of their usual deviations the sources rise.
func (e *expected) score(c *count) float64 {
	if e.mode == unknown {
		return 0
	}
	return (float64(c.sources) - e.sources) / e.deviationS
}

// expect looks up the baseline of a key for hour h, which isn't in it yet.
func (d *Detector) expect(k *key, h int64) expected {
	var e expected
	known := 0
	// The hour before and the one after belong to the baseline as well, as
	// the clocks of half the world are moved by an hour twice a year.
	for _, near := range []int64{0, -1, 1} {
		var s, p [weeks]float64
		n := 0
		for i := int64(1); i <= weeks; i++ {
			if past := h + near - i*weekHours; d.knows(k, past, h) {
				s[n], p[n] = d.at(k, past)
				n++
			}
		}
		if near == 0 {
			known = n
		}
		if n < leastWeek {
			continue
		}
		if m, dev := median(s[:n]); m >= e.sources {
			e.sources, e.deviationS = m, dev
		}
		if m, dev := median(p[:n]); m >= e.packets {
			e.packets, e.deviationP = m, dev
		}
	}
	if known >= leastWeek {
		e.mode = full
		e.fresh = (k.Heard == 0 || h-k.Heard < fresh) && d.remembers(h)
	} else {
		e = d.expectShort(k, h)
	}
	// Counting itself scatters by the root of the count, three hosts are
	// nothing, and packets scatter by more than that.
	e.deviationS = max(e.deviationS, math.Sqrt(e.sources), 3)
	e.deviationP = max(e.deviationP, math.Sqrt(e.packets), e.packets/10, 3)
	return e
}

// knows tells whether hour past of the key is known. It isn't when the
// telescope didn't look, when no block was left for that week, or when it was
// before the key's first hour and keys have been given up since, as this one
// may be one of them.
func (d *Detector) knows(k *key, past, now int64) bool {
	return d.saw(past, now) && k.weeks[past/weekHours%slots].sources != 255 &&
		(past >= k.Born || d.remembers(now))
}

// remembers tells that no key which had been heard was given up as far back as
// the baseline reaches.
func (d *Detector) remembers(now int64) bool {
	return d.forgot == 0 || now-d.forgot > weeks*weekHours
}

// expectShort is the highest of the same and the neighbouring hours of up to
// 14 days before.
func (d *Detector) expectShort(k *key, h int64) expected {
	var e expected
	for day := int64(1); day <= 14; day++ {
		for _, near := range []int64{0, -1, 1} {
			past := h + near - day*24
			if !d.saw(past, h) {
				continue
			}
			if !d.knows(k, past, h) {
				return expected{}
			}
			if near == 0 {
				e.mode = short
			}
			s, p := d.at(k, past)
			e.sources, e.packets = max(e.sources, s), max(e.packets, p)
		}
	}
	return e
}

// median is the middle of the values, and 1.4826 times the median of their
// distances from it: the standard deviation, were they normally distributed.
func median(v []float64) (mid, deviation float64) {
	mid = middle(v)
	var off [weeks]float64
	for i, x := range v {
		off[i] = math.Abs(x - mid)
	}
	return mid, 1.4826 * middle(off[:len(v)])
}

func middle(v []float64) float64 {
	slices.Sort(v)
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
