package telescope_test

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"sakimori/base/sketch"
	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/telescope"
)

// oracle counts what a telescope should have counted, the slow and simple way:
// it keeps every dark packet in a list and adds up what it is asked for. It has
// the decoder and the classification in common with the engine, nothing else.
type oracle struct {
	cfg     telescope.Config
	dec     packet.Decoder
	doc     telescope.Document
	packets []seen
	watched map[int64]bool // minutes (Unix seconds) that a frame began, or a dark packet came in
	top     int64          // newest minute, in minutes since the epoch; -1 before the first
	first   int64
	last    int64
	any     bool    // frame was admitted
	back    int64   // date far back that is believed; 0 none
	newest  int64   // date that is believed, to a minute; -1 before the first
	minutes []int64 // in which frames came since time jumped
	pauses  []int64 // the first date of each
	waiting []rec   // can't be judged yet
	frags   map[any]int64
}

// seen is a packet to dark space.
type seen struct {
	packet.Packet
	t    int64 // folded as the engine documents it
	kind observe.Kind
	port uint16
}

func newOracle(cfg telescope.Config) *oracle {
	return &oracle{cfg: cfg, top: -1, newest: -1, watched: map[int64]bool{}, frags: map[any]int64{}}
}

func (o *oracle) dark(a packet.Addr) bool {
	for _, p := range o.cfg.Dark {
		if p.Prefix.Contains(a.Netip()) {
			return true
		}
	}
	return false
}

// take takes frames in the order in which the telescope gets them.
func (o *oracle) take(recs ...rec) {
	o.doc.Packets += uint64(len(recs))
	o.waiting = append(o.waiting, recs...)
	o.judge(false)
}

// settle takes it that no more come.
func (o *oracle) settle() { o.judge(true) }

// admit takes a frame whose date is believed.
func (o *oracle) admit(r rec) {
	t := r.t
	if m := t / minute; len(o.minutes) == 0 || m > o.minutes[len(o.minutes)-1] {
		o.minutes, o.pauses = append(o.minutes, m), append(o.pauses, t)
		o.newest = max(o.newest, t)
	}
	if !o.any {
		o.any, o.first, o.last = true, t, t
	}
	o.first, o.last = min(o.first, t), max(o.last, t)
	switch m := t / minute; {
	case m > o.top:
		if m == o.top+2 {
			o.watched[(m-1)*60] = true
		}
		o.top = m
		o.watched[m*60] = true
	case m < o.top-1:
		t = (o.top - 1) * minute
		o.doc.Late++
	}
	o.packet(r, t)
}

// judge judges what waits, as Dates documents it: of the longest beginning that
// can be judged each frame is admitted or stray.
func (o *oracle) judge(last bool) {
	for len(o.waiting) > 0 {
		n := o.judged(last)
		if n == 0 {
			return
		}
		o.waiting = o.waiting[n:]
	}
}

// reach is how far ahead a date may be.
func (o *oracle) reach() int64 {
	if n := len(o.pauses); n > 5 {
		return max(day, o.pauses[n-1]-o.pauses[n-6])
	}
	return day
}

// judged judges some of the frames that wait, and tells how many.
func (o *oracle) judged(last bool) int {
	begun := o.newest >= 0
	const ordinary, never, past, strange = 0, 1, 2, 3
	kind := func(r rec) int {
		switch {
		case r.t < 0:
			return never
		case !begun:
			return strange
		case r.t < o.newest-day:
			if o.back > 0 && r.t >= o.back-day && r.t <= o.back+day {
				return past
			}
			return strange
		case r.t > o.newest+o.reach():
			return strange
		}
		return ordinary
	}
	switch kind(o.waiting[0]) {
	case ordinary, past:
		o.admit(o.waiting[0])
		return 1
	case never:
		o.doc.Stray++
		return 1
	}
	var all []rec
	var passed []int // between the strange ones
	for n, r := range o.waiting {
		switch kind(r) {
		case ordinary:
			o.doc.Stray += uint64(n - len(passed))
			for _, i := range passed {
				o.admit(o.waiting[i])
			}
			return n
		case past:
			passed = append(passed, n)
		case strange:
			all = append(all, r)
			if agreed := near(all, []int64{r.t}, day); len(agreed) > 5 {
				if span := slices.Max(agreed) - slices.Min(agreed); begun && r.t < o.newest-day {
					o.back = slices.Max(agreed)
				} else {
					agreed = near(ahead(all, o.newest), agreed, max(day, span))
					o.minutes, o.pauses = nil, nil
				}
				o.decide(n+1, passed, agreed)
				return n + 1
			}
		}
		if n == 63 || last && n == len(o.waiting)-1 {
			o.all(all, n+1, passed, begun)
			return n + 1
		}
	}
	return 0
}

// all judges the first n that wait, where no more than five agree.
func (o *oracle) all(all []rec, n int, passed []int, begun bool) {
	var most []int64
	for _, r := range all {
		if v := near(all, []int64{r.t}, day); len(v) > len(most) || len(v) == len(most) && slices.Min(v) < slices.Min(most) {
			most = v
		}
	}
	switch {
	case !begun && 2*len(most) >= len(all):
		o.minutes, o.pauses = nil, nil
		o.decide(n, passed, near(all, most, max(day, slices.Max(most)-slices.Min(most))))
	case !begun || len(all) > 32:
		for i, r := range o.waiting[:n] {
			if slices.Contains(passed, i) || r.t >= 0 && r.t >= o.newest-day {
				o.admit(r)
			} else {
				o.doc.Stray++
			}
		}
	default:
		o.decide(n, passed, nil)
	}
}

// decide admits those of the first n that wait that bear one of these dates, or
// have passed already.
func (o *oracle) decide(n int, passed []int, dates []int64) {
	for i, r := range o.waiting[:n] {
		if slices.Contains(passed, i) || slices.Contains(dates, r.t) {
			o.admit(r)
		} else {
			o.doc.Stray++
		}
	}
}

// ahead are the frames that aren't far back.
func ahead(all []rec, newest int64) (out []rec) {
	for _, r := range all {
		if newest < 0 || r.t >= newest-day {
			out = append(out, r)
		}
	}
	return out
}

// near are the dates of frames that are within reach of one of these, or of each
// other through others.
func near(all []rec, of []int64, reach int64) (out []int64) {
	for {
		out = nil
		for _, r := range all {
			if slices.ContainsFunc(of, func(t int64) bool { return t-r.t <= reach && r.t-t <= reach }) {
				out = append(out, r.t)
			}
		}
		if len(out) == len(of) {
			return out
		}
		of = out
	}
}

func (o *oracle) packet(r rec, t int64) {
	var p packet.Packet
	switch o.dec.Decode(r.link, r.data, r.orig, &p) {
	case packet.OK:
	case packet.NotIP:
		o.doc.NotIP++
		return
	case packet.UnknownLink:
		o.doc.UnknownLink++
		return
	default:
		o.doc.Malformed++
		return
	}
	if o.dark(p.Src) {
		o.doc.FromDark++
		return
	}
	if !o.dark(p.Dst) {
		return
	}
	if p.Flags&packet.Fragment != 0 {
		key := [4]any{p.Src, p.Dst, p.ID, p.Proto}
		before, again := o.frags[key]
		o.frags[key] = t
		if again && t-before < 30*second && before-t < 30*second {
			o.doc.Fragments++
			return
		}
	}
	o.doc.DarkPackets++
	o.watched[t/minute*60] = true
	p.Payload, p.TCPOptions = nil, nil
	o.packets = append(o.packets, seen{p, t, telescope.KindOf(decoded(r)), telescope.PortOf(decoded(r))})
}

func decoded(r rec) *packet.Packet {
	var d packet.Decoder
	var p packet.Packet
	d.Decode(r.link, r.data, r.orig, &p)
	return &p
}

type set map[packet.Addr]bool

type tallied struct {
	packets                  uint64
	sources, targets, openly set // the last of ports and places alone
}

type cell struct {
	dim observe.Dim
	key uint32
}

// rows are the cells of the packets for which in holds.
func (o *oracle) rows(in func(t int64) bool) map[cell]*tallied {
	rows := map[cell]*tallied{}
	for i := range o.packets {
		p := &o.packets[i]
		if !in(p.t) {
			continue
		}
		c, asn := o.cfg.Place(p.Src)
		country := uint32(c[0])<<8 | uint32(c[1])
		if c[0] < 'A' || c[0] > 'Z' {
			country = 0
		}
		keys := []cell{{observe.ByTotal, 0}, {observe.ByClass, uint32(p.kind.Class())}, {observe.ByProtocol, uint32(p.Proto)}, {observe.ByCountry, country}, {observe.ByAS, asn}}
		if p.kind.Class() == observe.Scan {
			keys = append(keys, cell{observe.ByPort, uint32(p.Proto)<<16 | uint32(p.port)})
		}
		for _, k := range keys {
			r := rows[k]
			if r == nil {
				r = &tallied{sources: set{}, targets: set{}, openly: set{}}
				rows[k] = r
			}
			r.packets++
			r.sources[p.Src], r.targets[p.Dst] = true, true
			if o.cfg.Research(p.Src) && (k.dim == observe.ByPort || k.dim == observe.ByCountry || k.dim == observe.ByAS) {
				r.openly[p.Src] = true
			}
		}
	}
	return rows
}

// buckets are the minutes, hours and days that have ended when the data's time
// has come to minute top, and the gaps.
func (o *oracle) buckets(top int64) (out []telescope.Bucket, gaps [][2]time.Time) {
	var v4 uint64
	for _, p := range o.cfg.Dark {
		if p.Prefix.Addr().Is4() {
			v4 += 1 << (32 - p.Prefix.Bits())
		}
	}
	var all []int64
	for m := range o.watched {
		if m < (top-1)*60 {
			all = append(all, m)
		}
	}
	slices.Sort(all)
	filled := all
	for i := 1; i < len(all); i++ {
		switch missing := all[i] - all[i-1] - 60; {
		case missing > 3600:
			gaps = append(gaps, [2]time.Time{time.Unix(all[i-1]+60, 0).UTC(), time.Unix(all[i], 0).UTC()})
		default:
			for m := all[i-1] + 60; m < all[i]; m += 60 {
				filled = append(filled, m)
			}
		}
	}
	slices.Sort(filled)
	looked := map[[2]int64]int64{} // grain and start → seconds
	for _, m := range filled {
		for _, g := range []observe.Grain{observe.Minute, observe.Hour, observe.Day} {
			looked[[2]int64{int64(g), m - m%g.Seconds()}] += 60
		}
	}
	if len(filled) == 0 {
		return nil, nil
	}
	end := filled[len(filled)-1] // an hour ends with the first minute of another
	for k, sec := range looked {
		g := observe.Grain(k[0])
		if g != observe.Minute && end < k[1]+g.Seconds() {
			continue
		}
		b := telescope.Bucket{Grain: g, Start: k[1], DarkV4: v4, Looked: float64(sec) / float64(g.Seconds())}
		for key, r := range o.rows(func(t int64) bool { return t >= k[1]*second && t < (k[1]+g.Seconds())*second && t/minute*60 <= end }) {
			row := telescope.Row{Dim: key.dim, Key: key.key, Packets: r.packets, Sources: uint64(len(r.sources)), Targets: uint64(len(r.targets))}
			if g != observe.Minute {
				row.Openly = uint64(len(r.openly))
			}
			b.Rows = append(b.Rows, row)
		}
		slices.SortFunc(b.Rows, func(a, b telescope.Row) int { return cmp.Or(cmp.Compare(a.Dim, b.Dim), cmp.Compare(a.Key, b.Key)) })
		out = append(out, b)
	}
	sortBuckets(out)
	return out, gaps
}

func sortBuckets(b []telescope.Bucket) {
	slices.SortFunc(b, func(a, b telescope.Bucket) int {
		return cmp.Or(cmp.Compare(a.Grain, b.Grain), cmp.Compare(a.Start, b.Start))
	})
}

// plain are buckets without their stored sets, sorted. A stored set must say
// the same as the row it belongs to; a minute has none.
func plain(buckets []telescope.Bucket, fail func(string, ...any)) (out []telescope.Bucket) {
	for _, b := range buckets {
		b.Rows = append([]telescope.Row(nil), b.Rows...) // nil without any
		for i := range b.Rows {
			r := &b.Rows[i]
			if b.Grain == observe.Minute && (r.SourceSet != nil || r.TargetSet != nil) {
				fail("a minute with stored sets")
			}
			for _, s := range []struct {
				stored []byte
				n      uint64
			}{{r.SourceSet, r.Sources}, {r.TargetSet, r.Targets}} {
				if s.stored == nil {
					continue
				}
				if x, rest, err := sketch.Read(s.stored); err != nil || len(rest) > 0 || x.Count() != s.n {
					fail("the stored set of %v %d isn't that of its row: %v", r.Dim, r.Key, err)
				}
			}
			r.SourceSet, r.TargetSet = nil, nil
		}
		out = append(out, b)
	}
	sortBuckets(out)
	return out
}

// document is what the telescope's document must say of sums.
func (o *oracle) document() telescope.Document {
	d := o.doc
	sources, hit, hit6 := set{}, set{}, set{}
	ports := map[cell]*tallied{}
	for i := range o.packets {
		p := &o.packets[i]
		sources[p.Src] = true
		if p.Dst.Is4() {
			hit[p.Dst] = true
		} else {
			hit6[p.Dst] = true
		}
		switch p.kind.Class() {
		case observe.Scan:
			d.Classes.Scan++
			k := cell{0, uint32(p.Proto)<<16 | uint32(p.port)}
			if ports[k] == nil {
				ports[k] = &tallied{sources: set{}}
			}
			ports[k].packets++
			ports[k].sources[p.Src] = true
		case observe.Backscatter:
			d.Classes.Backscatter++
		case observe.Reflection:
			d.Classes.Reflection++
		default:
			d.Classes.Other++
		}
	}
	d.UniqueSources, d.DarkAddresses.Hit, d.DarkAddresses.HitV6 = uint64(len(sources)), uint64(len(hit)), uint64(len(hit6))
	for _, p := range o.cfg.Dark {
		if p.Prefix.Addr().Is4() {
			d.DarkAddresses.Monitored += 1 << (32 - p.Prefix.Bits())
		}
	}
	if o.any {
		first, last := time.Unix(0, o.first).UTC(), time.Unix(0, o.last).UTC()
		d.First, d.Last = &first, &last
	}
	for k, p := range ports {
		d.Ports = append(d.Ports, telescope.PortCount{Port: uint16(k.key), Protocol: telescope.ProtocolName(uint8(k.key >> 16)), Packets: p.packets, Sources: uint64(len(p.sources))})
	}
	slices.SortFunc(d.Ports, func(a, b telescope.PortCount) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	return d
}

// sums are the fields of a document that an oracle can know.
func sums(d telescope.Document) telescope.Document {
	d.Scanners, d.Victims, d.Infected, d.Answering, d.Errors, d.IdleSeconds = nil, nil, nil, nil, nil, 0
	if len(d.Ports) == 0 {
		d.Ports = nil
	}
	return d
}

// told is what the sightings say of one source, port and kind in one minute.
type told struct {
	minute int64
	source netip.Addr
	port   uint16
	proto  uint8
	kind   observe.Kind
}

type toldOf struct {
	Packets uint32
	Bins    [observe.BinsPerMinute]uint32
}

// sightings are what detectors must be told until minute top: what own
// addresses send, and what answers there are, with the victims that errors quote.
func (o *oracle) sightings(top int64) map[told]toldOf {
	m := map[told]toldOf{}
	add := func(k told, t int64) {
		v := m[k]
		v.Packets++
		v.Bins[t/second%60/10]++
		m[k] = v
	}
	for i := range o.packets {
		p := &o.packets[i]
		at := p.t / minute * 60
		if at >= (top-1)*60 {
			continue
		}
		class := p.kind.Class()
		mine := slices.ContainsFunc(o.cfg.Own, func(own netip.Prefix) bool { return own.Contains(p.Src.Netip()) })
		if mine || class == observe.Backscatter || class == observe.Reflection {
			add(told{at, p.Src.Netip(), p.port, p.Proto, p.kind}, p.t)
		}
		if q := p.Quoted; p.kind == observe.KindICMPError && q.Valid && o.dark(q.Src) && !o.dark(q.Dst) {
			add(told{at, q.Dst.Netip(), q.DstPort, q.Proto, p.kind}, p.t)
		}
	}
	return m
}

func toldBy(sights []observe.Sighting) map[told]toldOf {
	m := map[told]toldOf{}
	for _, s := range sights {
		k := told{s.Minute, s.Source.Netip(), s.Port, s.Proto, s.Kind}
		v := m[k]
		v.Packets += s.Packets
		for i := range v.Bins {
			v.Bins[i] += s.Bins[i]
		}
		m[k] = v
	}
	return m
}
