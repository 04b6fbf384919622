// Package surge finds ports, AS and countries from which, or to which, more
// hosts than usual send: measured against the same hour of the week in the
// five weeks before, by median and median absolute deviation.
//
// Hosts count first and packets second, and both must rise: one host that
// sends a lot is no surge. The rhythm of the day and the week is part of the
// baseline. Hosts of known research scanners are told apart by whoever counts:
// they raise nothing, whether they begin or end, and a finding says how many of
// them there were beside. Their packets are among the packets.
//
// While fewer than four of those weeks are known the baseline isn't known yet,
// and the short rule holds: the highest value of the same hour (and its
// neighbours) on the days before, at least one, five times surpassed by 30
// hosts or more in two hours running. The highest instead of the median, since
// a day or two give no median; a factor of five, since no rhythm of day and
// week known to us reaches it. Such findings say so, with less confidence.
package surge

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"sakimori/detect"
	"sakimori/observe"
)

// Point is one key's counts in one hour. Dim is ByPort, ByCountry or ByAS;
// points of other dimensions are passed over, and so is the unknown country
// or AS.
type Point struct {
	Dim     observe.Dim
	Key     uint32 // as in observe.Dim
	Packets uint64
	Sources uint64 // without Openly
	Openly  uint64 // hosts beside them that say openly that they scan: evidence, and no surge
}

// Rising is one line of the console's list of what rises, finding or not.
type Rising struct {
	Dim      observe.Dim
	Key      uint32
	Packets  uint64
	Sources  uint64
	Expected float64 // sources, from the baseline
	Score    float64 // by how many of their usual deviations the sources rise
	New      bool    // hardly seen before the last day
}

// Config is what may be set. Zero fields take the value of DefaultConfig.
type Config struct {
	Score, Ratio float64 // sources: deviations above and factor over the expected
	Hours        int     // for so many hours running
	Strong       float64 // so many times this score and factor need one hour alone

	// The same of packets, which only confirm: they scatter so much more than
	// hosts that a strict rule would miss a third of the surges.
	PacketScore, PacketRatio float64

	NewSources uint64 // hosts an hour on a port hardly seen before; AS, country three times as many
	NewHours   int    // in so many hours, or
	NewStrong  uint64 // so many hosts in one hour

	ShortScore, ShortRatio float64 // the rule of a short history
	ShortSources           uint64

	Calm   int           // hours near the baseline until a finding closes
	Unseen time.Duration // and without any hour seen

	// The bounds of memory: Keys keys of 220 bytes, and Blocks weeks of one
	// key in detail, of 352 bytes. A key needs no block for a week in which
	// it never had ten sources an hour. With the defaults at most 200 MB.
	Keys, Blocks int
}

// DefaultConfig is what runs when nothing is set. The figures are chosen for
// few false alarms: see TestNoAlarmOnRhythm for what they were tried on.
func DefaultConfig() Config {
	return Config{
		Score: 6, Ratio: 2, Hours: 2, Strong: 2,
		PacketScore: 1, PacketRatio: 1.2,
		NewSources: 10, NewHours: 3, NewStrong: 50,
		ShortScore: 12, ShortRatio: 5, ShortSources: 30,
		Calm: 6, Unseen: 24 * time.Hour,
		Keys: 1 << 18, Blocks: 400_000,
	}
}

const (
	weekHours = 168
	weeks     = 5         // of the baseline
	slots     = weeks + 1 // and the one being filled
	leastWeek = 4         // known weeks that make a baseline
	tiny      = 10        // sources an hour below which a week needs no block
	heard     = 3         // sources an hour from which a key counts as seen
	fresh     = 24        // hours for which a key is new
	mostRises = 200       // lines kept for Rising
	leastRise = 3         // deviations from which a key is among them
)

// Detector holds the history of every key and the open findings. Its methods
// may be called from several goroutines; the Findings is called under its lock
// and must not call back.
type Detector struct {
	cfg Config
	out detect.Findings

	mu      sync.Mutex
	hour    int64 // the last hour seen, in hours since 1970; 0 none
	first   int64 // the first one
	forgot  int64 // the last hour in which a key that had been heard was given up
	looked  [slots][weekHours]bool
	hours   [slots]uint64 // how many of them
	keys    map[uint64]*key
	active  []uint64 // keys with an open finding, in order
	rising  []Rising
	blocks  int
	dropped uint64
}

// New makes a detector that hands each version of a finding to out.
func New(cfg Config, out detect.Findings) *Detector {
	def := DefaultConfig()
	cfg.Score = cmp.Or(cfg.Score, def.Score)
	cfg.Ratio = cmp.Or(cfg.Ratio, def.Ratio)
	cfg.Hours = cmp.Or(cfg.Hours, def.Hours)
	cfg.Strong = cmp.Or(cfg.Strong, def.Strong)
	cfg.PacketScore = cmp.Or(cfg.PacketScore, def.PacketScore)
	cfg.PacketRatio = cmp.Or(cfg.PacketRatio, def.PacketRatio)
	cfg.NewSources = cmp.Or(cfg.NewSources, def.NewSources)
	cfg.NewHours = cmp.Or(cfg.NewHours, def.NewHours)
	cfg.NewStrong = cmp.Or(cfg.NewStrong, def.NewStrong)
	cfg.ShortScore = cmp.Or(cfg.ShortScore, def.ShortScore)
	cfg.ShortRatio = cmp.Or(cfg.ShortRatio, def.ShortRatio)
	cfg.ShortSources = cmp.Or(cfg.ShortSources, def.ShortSources)
	cfg.Calm = cmp.Or(cfg.Calm, def.Calm)
	cfg.Unseen = cmp.Or(cfg.Unseen, def.Unseen)
	cfg.Keys = cmp.Or(cfg.Keys, def.Keys)
	cfg.Blocks = cmp.Or(cfg.Blocks, def.Blocks)
	return &Detector{cfg: cfg, out: out, keys: map[uint64]*key{}}
}

// Hour takes the counts of one whole hour, in any order. Hours come in order
// of time, each once, when nothing more can be added to it; an earlier or
// equal one is passed over and counted in Dropped. A key without a row was not
// seen; an hour that never comes was not looked at.
func (d *Detector) Hour(start time.Time, rows []Point) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h := start.Unix() / 3600
	if h <= d.hour || h <= 0 {
		d.dropped++
		return
	}
	d.lapse(start)
	if d.first == 0 {
		d.first = h
	}
	d.roll(h)
	now := d.gather(rows)
	d.rising = d.rising[:0]
	opened := false
	for i := range now {
		opened = d.see(h, &now[i]) || opened
	}
	d.look(h)
	d.hour = h
	if opened || len(d.active) > 0 {
		d.relist(now)
	}
	slices.SortFunc(d.rising, func(a, b Rising) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Dim, b.Dim), cmp.Compare(a.Key, b.Key))
	})
	d.rising = d.rising[:min(len(d.rising), mostRises)]
}

// count is one key's row of the hour.
type count struct {
	id               uint64
	packets, sources uint64
	openly           uint64
}

func identity(dim observe.Dim, k uint32) uint64 { return uint64(dim)<<32 | uint64(k) }

// gather sorts the rows, adds up doubles, and adds the keys with an open
// finding that weren't seen.
func (d *Detector) gather(rows []Point) []count {
	now := make([]count, 0, len(rows)+len(d.active))
	for _, p := range rows {
		switch p.Dim {
		case observe.ByCountry, observe.ByAS:
			if p.Key == 0 {
				continue
			}
		case observe.ByPort:
		default:
			continue
		}
		now = append(now, count{identity(p.Dim, p.Key), p.Packets, p.Sources, p.Openly})
	}
	for _, id := range d.active {
		now = append(now, count{id: id})
	}
	slices.SortFunc(now, func(a, b count) int { return cmp.Compare(a.id, b.id) })
	out := now[:0]
	for _, c := range now {
		if n := len(out); n > 0 && out[n-1].id == c.id {
			out[n-1].packets += c.packets
			out[n-1].sources += c.sources
			out[n-1].openly += c.openly
			continue
		}
		out = append(out, c)
	}
	return out
}

// relist finds the keys with an open finding among those of this hour, where
// all of them are.
func (d *Detector) relist(now []count) {
	d.active = d.active[:0]
	for i := range now {
		if k := d.keys[now[i].id]; k != nil && k.Open {
			d.active = append(d.active, now[i].id)
		}
	}
}

// see judges one key's hour and then adds it to its history. It tells whether
// a finding was opened.
func (d *Detector) see(h int64, c *count) bool {
	k := d.keys[c.id]
	if k == nil {
		if c.sources == 0 {
			return false
		}
		if len(d.keys) >= d.cfg.Keys {
			d.evict(h)
		}
		if len(d.keys) >= d.cfg.Keys {
			d.dropped++
			return false
		}
		k = &key{record: record{ID: c.id, Born: h}}
		d.keys[c.id] = k
	}
	if c.sources >= heard && k.Heard == 0 {
		k.Heard = h
	}
	opened := false
	least := min(d.cfg.NewSources, uint64(3*d.cfg.Score))
	if k.Open || c.sources >= least {
		e := d.expect(k, h)
		d.list(c, &e)
		if k.Open {
			d.follow(h, k, c, &e)
		} else {
			opened = d.judge(h, k, c, &e)
		}
	}
	d.record(k, h, c)
	return opened
}

func (d *Detector) list(c *count, e *expected) {
	s := e.score(c)
	if e.mode == unknown || s < leastRise || c.sources < tiny || !d.packetsRise(c, e) {
		return
	}
	d.rising = append(d.rising, Rising{
		Dim: observe.Dim(c.id >> 32), Key: uint32(c.id), //nolint:gosec // as identity put them
		Packets: c.packets, Sources: c.sources, Expected: e.sources, Score: s, New: e.fresh,
	})
}

// judge opens a finding when the rule of the key's history is met.
func (d *Detector) judge(h int64, k *key, c *count, e *expected) bool {
	above, strong := d.above(k, c, e)
	if !above {
		k.Run = 0
		return false
	}
	if k.Run == 0 || h-k.RunLast > 1+d.missed(h) {
		k.Run, k.RunFirst = 0, h
	}
	k.Run++
	k.RunLast = h
	need := uint32(d.cfg.Hours) //nolint:gosec // small
	if e.fresh {
		need = uint32(d.cfg.NewHours) //nolint:gosec // small
	}
	if k.Run < need && !strong {
		return false
	}
	k.Open, k.Calm, k.Opened = true, 0, k.RunFirst
	k.New, k.Short = e.fresh, e.mode == short
	k.BaseS, k.BaseP = e.sources, e.packets
	k.PeakS, k.PeakP, k.PeakHour, k.LastHigh = c.sources, c.packets, h, h
	k.peakOpenly = c.openly
	k.Run = 0
	d.emit(k, detect.Opened, (h+1)*3600)
	return true
}

// missed is how many hours the telescope did not look just before h, at most
// two: so short a gap doesn't break a run.
func (d *Detector) missed(h int64) int64 { return min(max(h-d.hour-1, 0), 2) }

func (d *Detector) packetsRise(c *count, e *expected) bool {
	p := float64(c.packets)
	return p >= d.cfg.PacketRatio*e.packets && (p-e.packets)/e.deviationP >= d.cfg.PacketScore
}

// above applies the rule that the key's history allows.
func (d *Detector) above(k *key, c *count, e *expected) (above, strong bool) {
	s, score := float64(c.sources), e.score(c)
	switch {
	case e.mode == unknown || !d.packetsRise(c, e):
		return false, false
	case e.mode == short:
		return c.sources >= d.cfg.ShortSources && s >= d.cfg.ShortRatio*e.sources &&
			score >= d.cfg.ShortScore, false
	case e.fresh:
		least, most := d.cfg.NewSources, d.cfg.NewStrong
		if observe.Dim(k.ID>>32) != observe.ByPort { //nolint:gosec // as ID packs it
			least, most = 3*least, 3*most
		}
		return c.sources >= least, c.sources >= most
	}
	above = score >= d.cfg.Score && s >= d.cfg.Ratio*e.sources
	strong = score >= d.cfg.Strong*d.cfg.Score && s >= d.cfg.Strong*d.cfg.Ratio*e.sources
	return above, above && strong
}

// follow changes or closes an open finding.
func (d *Detector) follow(h int64, k *key, c *count, e *expected) {
	base, dev := k.BaseS, max(k.BaseS/4, 3)
	if e.mode == full { // the short one would soon be that of the surge itself
		base, dev = e.sources, e.deviationS
	}
	// Half of what opens it: between the two nothing changes.
	s := float64(c.sources)
	if (s-base)/dev < d.cfg.Score/2 || s < base*(1+d.cfg.Ratio)/2 {
		k.Calm++
	} else {
		k.Calm, k.LastHigh = 0, h
	}
	if c.sources > k.PeakS {
		k.PeakS, k.PeakP, k.PeakHour = c.sources, c.packets, h
		k.peakOpenly = c.openly
	}
	switch {
	case int(k.Calm) >= d.cfg.Calm:
		d.emit(k, detect.Closed, (h+1)*3600)
		k.Open = false
	case k.PeakS >= 2*k.EmPeak:
		d.emit(k, detect.Changed, (h+1)*3600)
	}
}

func (d *Detector) emit(k *key, state detect.State, at int64) {
	k.EmPeak = k.PeakS
	d.out.Find(finding(&d.cfg, k, state, at))
}

// Tick tells that the data's time has come to at.
func (d *Detector) Tick(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lapse(at)
}

// lapse closes every finding when no hour was seen for Config.Unseen at t.
func (d *Detector) lapse(t time.Time) {
	end := (d.hour + 1) * 3600
	until := end + int64(d.cfg.Unseen.Seconds())
	if len(d.active) == 0 || t.Unix() < until {
		return
	}
	for _, id := range d.active {
		k := d.keys[id]
		k.Unseen = true
		d.emit(k, detect.Closed, until)
		k.Open, k.Unseen = false, false
	}
	d.active = d.active[:0]
}

// Rising is what rose most in the last hour, against the baseline, at most
// limit lines of at most 200. It is empty while no baseline is known.
func (d *Detector) Rising(limit int) []Rising {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Rising{}, d.rising[:min(max(limit, 0), len(d.rising))]...)
}

// Baseline is how many of the five weeks before are known at the hour of the
// week seen last, and whether that makes a baseline; otherwise the short rule
// holds.
func (d *Detector) Baseline() (known int, enough bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := int64(1); i <= weeks; i++ {
		if d.hour != 0 && d.saw(d.hour-i*weekHours, d.hour) {
			known++
		}
	}
	return known, known >= leastWeek
}

// Dropped is how many keys, weeks in detail and hours were given up because a
// bound of Config was reached or because they came too late.
func (d *Detector) Dropped() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dropped
}

var _ detect.Detector = (*Detector)(nil)
