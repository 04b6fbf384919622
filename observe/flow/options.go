package flow

import (
	"encoding/binary"
	"math"

	"sakimori/base/wire/ipfix"
	"sakimori/observe"
)

// Which rate counts, the first of these that is told:
//
//  1. the configured one, where it is to override;
//  2. in the record itself: 305 with 306, 309 with 310, 311, else the greatest of 50, 34 and 305;
//  3. what options say of the record's sampler or selector (48, 302);
//  4. what options say of the interface that it came in by, of one counted where it leaves
//     of that;
//  5. what options say of the observation domain, or of the one sampler that there is in it;
//     or of domain 0, which stands for the whole exporter;
//  6. in the header of NetFlow version 5 (sFlow: in each sample);
//  7. the configured one.
//
// Otherwise the flow is taken to be unsampled, and counted in Health.RateUnknown. Options
// count from when they come.

// sampling are the elements that say how packets were chosen.
type sampling struct {
	rate, random, interval, space, size, population uint64
	spaced                                          bool
	likely                                          float64
}

func (s *sampling) put(to target, n uint64) {
	switch to {
	case rate:
		s.rate = n
	case random:
		s.random = n
	case interval:
		s.interval = n
	case space:
		s.space, s.spaced = n, true
	case size:
		s.size = n
	case population:
		s.population = n
	}
}

// chance takes a probability, a number of four or eight bytes (RFC 7011 §6.1.6).
func (s *sampling) chance(b []byte) {
	switch len(b) {
	case 4:
		s.likely = float64(math.Float32frombits(binary.BigEndian.Uint32(b)))
	case 8:
		s.likely = math.Float64frombits(binary.BigEndian.Uint64(b))
	}
}

// one is what a record says of its own sampling.
func (v *values) one(p *plan) uint32 {
	s := sampling{rate: v[rate], random: v[random], interval: v[interval], space: v[space], size: v[size], population: v[population], spaced: p.has&hasSpace != 0}
	if v[probability] > 0 {
		s.likely = math.Float64frombits(v[probability])
		if v[probability]>>32 == 0 { // of four bytes
			s.likely = float64(math.Float32frombits(uint32(v[probability]))) //nolint:gosec // of four bytes
		}
	}
	return s.one()
}

// one is the rate, 1 in so many, to the nearest whole; 0 not told.
func (s *sampling) one() uint32 {
	switch {
	case s.interval > 0 && s.spaced: // RFC 5477 §8.2: so many are taken, then so many passed over
		return nearest(1 + float64(s.space)/float64(s.interval))
	case s.size > 0 && s.population > 0:
		return nearest(float64(s.population) / float64(s.size))
	case s.likely > 0:
		return nearest(1 / s.likely)
	}
	// Some say the rate as an interval without a space. A 1 beside another is of no account.
	return nearest(float64(max(s.random, s.rate, s.interval)))
}

func nearest(x float64) uint32 {
	if !(x >= 1) || x > math.MaxUint32 { // and not a number
		return 0
	}
	return uint32(math.Round(x))
}

// rate is what counts for what says nothing of it but, maybe, its header.
func (x *exporter) rate(header uint32) uint32 {
	s := x.source.settings
	switch {
	case s.Override:
		return s.Rate
	case x.rateNow > 0:
		return x.rateNow
	case x.source.wholeRate > 0:
		return x.source.wholeRate
	case header > 0:
		return header
	}
	return s.Rate
}

// sampled is what counts for a record.
func (x *exporter) sampled(p *plan, v *values, f *observe.Flow) uint32 {
	if x.source.settings.Override {
		return x.source.settings.Rate
	}
	if p.has&hasRate != 0 {
		if r := v.one(p); r > 0 {
			return r
		}
	}
	if p.has&hasSampler != 0 {
		if r := x.samplers[v[sampler]]; r > 0 {
			return r
		}
	}
	if len(x.byFace) > 0 {
		face := f.In
		if f.Marks&observe.FlowEgress != 0 {
			face = f.Out
		}
		if r := x.byFace[face]; r > 0 {
			return r
		}
	}
	return x.rate(0)
}

// Bounds of what options may say of one exporter.
const (
	mostSamplers = 256
	longestName  = 80
)

// options is where an options template has what is looked at, -1 where it hasn't.
type options struct {
	sampler, face, name, about, boot int
	rates                            []place
}

// compileOptions reads an options template.
func compileOptions(t *ipfix.Template) *options {
	o := &options{sampler: -1, face: -1, name: -1, about: -1, boot: -1}
	for i, f := range t.Fields {
		if f.Enterprise != 0 {
			continue
		}
		if i < t.Scope && t.Version == ipfix.V9 { // RFC 3954 §6.1: 2 is an interface
			if f.ID == 2 {
				o.face = i
			}
			continue
		}
		switch f.ID {
		case 48, 302:
			o.sampler = i
		case 10, 252, 14, 253:
			if i < t.Scope || o.face < 0 {
				o.face = i
			}
		case 82:
			o.name = i
		case 83:
			o.about = i
		case 160:
			o.boot = i
		case 34, 50, 305, 306, 309, 310, 311:
			o.rates = append(o.rates, place{field: i, to: elements[f.ID]})
		}
	}
	return o
}

// option takes a record about the exporter.
func (c *Collector) option(x *exporter, o *options, r *ipfix.Records) {
	if len(o.rates) > 0 {
		var s sampling
		for _, f := range o.rates {
			if b := r.Bytes(f.field); f.to == probability {
				s.chance(b)
			} else {
				s.put(f.to, r.Uint(f.field))
			}
		}
		if one := s.one(); one > 0 {
			c.changed = x.sampler(o, r, one) || c.changed
		}
	}
	if o.boot >= 0 {
		x.booted = milliseconds.unix(r.Uint(o.boot))
	}
	if o.face >= 0 && (o.name >= 0 || o.about >= 0) {
		e := x.interfaces.find(uint32(r.Uint(o.face))) //nolint:gosec // of four bytes
		if e == nil {
			return
		}
		for _, n := range [...]struct {
			at int
			to *string
		}{{o.name, &e.name}, {o.about, &e.about}} {
			if n.at >= 0 && text(r.Bytes(n.at)) != *n.to {
				*n.to, c.changed = text(r.Bytes(n.at)), true
			}
		}
	}
}

// sampler takes the rate of a sampler, an interface, or of all, and tells whether it is news.
func (x *exporter) sampler(o *options, r *ipfix.Records, one uint32) bool {
	switch {
	case o.sampler >= 0 && r.Uint(o.sampler) > 0:
		id := r.Uint(o.sampler)
		if x.samplers[id] == one || x.samplers[id] == 0 && len(x.samplers) >= mostSamplers {
			return false
		}
		x.samplerIs(id, one)
	case o.face >= 0 && r.Uint(o.face) > 0:
		face := uint32(r.Uint(o.face)) //nolint:gosec // of four bytes
		if x.byFace[face] == one || x.byFace[face] == 0 && len(x.byFace) >= mostInterfaces {
			return false
		}
		x.faceIs(face, one)
	default:
		if x.domainRate == one {
			return false
		}
		x.allIs(one)
	}
	return true
}

func (x *exporter) samplerIs(id uint64, one uint32) {
	if x.samplers == nil {
		x.samplers = map[uint64]uint32{}
	}
	x.samplers[id] = one
	// Records that don't name theirs can only mean what is true of all there are.
	x.common = one
	for _, r := range x.samplers {
		if r != one {
			x.common = 0
		}
	}
	x.allIs(x.domainRate)
}

func (x *exporter) faceIs(face, one uint32) {
	if x.byFace == nil {
		x.byFace = map[uint32]uint32{}
	}
	x.byFace[face] = one
}

// allIs takes the rate of the whole domain, 0 not told.
func (x *exporter) allIs(one uint32) {
	x.domainRate, x.rateNow = one, one
	if one == 0 {
		x.rateNow = x.common
	}
	if x.domain.number == 0 {
		x.source.wholeRate = x.rateNow
	}
}

// text is a name without what pads it, and bounded.
func text(b []byte) string {
	if len(b) > longestName {
		b = b[:longestName]
	}
	for i, c := range b {
		if c == 0 {
			b = b[:i]
			break
		}
	}
	s := []rune(string(b))
	for i, r := range s {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			s[i] = '?'
		}
	}
	return string(s)
}
