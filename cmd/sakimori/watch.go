package main

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sakimori/detect"
	"sakimori/detect/ddos/backscatter"
	"sakimori/detect/infected"
	"sakimori/detect/surge"
	"sakimori/observe"
	"sakimori/observe/telescope"
	"sakimori/observe/telescope/record"
)

// watch is one run of the telescope with the detectors behind it: from packets
// to findings, without a store. What it makes waits in pending until a keeper
// takes it, or is forgotten when nothing is kept.
type watch struct {
	part  uint64 // names the run in the store
	input string // in gaps
	tel   *telescope.Telescope
	inf   *infected.Detector
	ddos  *backscatter.Detector
	surge *surge.Detector
	kept  *record.Record // where pending will be kept; nil: nobody takes it
	tell  func(detect.Finding)
	hit   atomic.Uint64 // dark addresses hit, as of the last snapshot
	bots  *bots         // hears of malware's packets; nil: nobody wants to know

	mu      sync.Mutex
	pending pending
	now     time.Time // the data's time
}

type pending struct {
	buckets  []record.Bucket
	bytes    int // of the buckets, about
	closed   []observe.Event
	gaps     []observe.Gap
	findings []detect.Finding
}

// newWatch makes a run. tell, if not nil, hears of each finding at once.
func newWatch(cfg telescope.Config, part uint64, input string, kept *record.Record, tell func(detect.Finding)) (*watch, error) {
	w := &watch{part: part, input: input, kept: kept, tell: tell}
	tel, err := telescope.New(cfg, w)
	if err != nil {
		return nil, err
	}
	w.tel = tel
	victims := backscatter.DefaultConfig()
	victims.DarkAddresses = tel.Monitored(time.Now())
	scans := infected.DefaultConfig()
	scans.Verified = cfg.Verified
	w.inf = infected.New(scans, w)
	w.ddos = backscatter.New(victims, w)
	w.surge = surge.New(surge.DefaultConfig(), w)
	return w, nil
}

// detectors are those that live through a restart, by name.
func (w *watch) detectors() []namedDetector {
	return []namedDetector{{"infected", w.inf}, {"ddos", w.ddos}, {"surge", w.surge}}
}

type namedDetector struct {
	name string
	detect.Detector
}

// Sight hands the sightings of a minute to those whom they concern.
func (w *watch) Sight(batch []observe.Sighting) {
	if w.bots != nil {
		w.bots.sight(batch)
	}
	w.inf.Sight(batch)
	w.ddos.Sight(batch)
}

// Clock tells the detectors the data's time.
func (w *watch) Clock(t time.Time) {
	w.mu.Lock()
	w.now = t
	w.mu.Unlock()
	for _, d := range w.detectors() {
		d.Tick(t)
	}
}

// Bucket takes a finished bucket, or one that is still open, for the store.
func (w *watch) Bucket(b telescope.Bucket) {
	if b.Grain == observe.Hour && !b.Open {
		w.surge.Hour(time.Unix(b.Start, 0).UTC(), points(b.Rows))
	}
	if w.kept == nil {
		return
	}
	kept := record.Bucket{Grain: b.Grain, Start: b.Start, Open: b.Open, DarkV4: b.DarkV4, Looked: b.Looked, Rows: b.Rows}
	if err := w.kept.Pack(&kept); err != nil { // who writes it meets the same error
		kept.Rows = slices.Clone(b.Rows)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending.buckets = append(w.pending.buckets, kept)
	w.pending.bytes += kept.Size()
}

func points(rows []telescope.Row) []surge.Point {
	p := make([]surge.Point, 0, len(rows))
	for i := range rows {
		switch r := &rows[i]; r.Dim {
		case observe.ByPort, observe.ByCountry, observe.ByAS:
			open := min(r.Openly, r.Sources) // both may be estimates
			p = append(p, surge.Point{Dim: r.Dim, Key: r.Key, Packets: r.Packets, Sources: r.Sources - open, Openly: open})
		}
	}
	return p
}

// Closed takes events that have ended.
func (w *watch) Closed(e []observe.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.kept != nil {
		w.pending.closed = append(w.pending.closed, e...)
	}
}

// Gap notes a span in which no frame came at all.
func (w *watch) Gap(from, until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending.gaps = append(w.pending.gaps, observe.Gap{From: from, To: until, Input: w.input, Reason: "no frame at all for over an hour"})
}

// Find takes a finding from a detector.
func (w *watch) Find(f detect.Finding) {
	w.mu.Lock()
	if w.kept != nil {
		w.pending.findings = append(w.pending.findings, f)
	}
	w.mu.Unlock()
	if w.tell != nil {
		w.tell(f)
	}
}

// time is the data's time.
func (w *watch) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// waiting is how much memory the buckets take that wait for the keeper, in bytes.
func (w *watch) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pending.bytes
}

// take empties pending.
func (w *watch) take() pending {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.pending
	w.pending = pending{}
	return p
}

// takeBuckets takes those out of pending.
func (w *watch) takeBuckets() []record.Bucket {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.pending.buckets
	w.pending.buckets, w.pending.bytes = nil, 0
	return b
}

// takeClosed takes the events out of pending.
func (w *watch) takeClosed() []observe.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.pending.closed
	w.pending.closed = nil
	return e
}

// document is what was seen since the telescope's Begin. At the end of the input
// the detectors are shown the minutes that are still open, as they will never
// be closed by a later packet.
func (w *watch) document() report {
	doc, all := w.tel.Summary()
	d := report{doc, all}
	d.Scanners = all.First(keptRows)
	first, _, ok := w.tel.Span()
	if !ok {
		return d
	}
	for _, v := range w.ddos.Victims() {
		if !v.Last.Before(first) {
			d.Victims = append(d.Victims, telescope.Victim{
				Address: v.Address.Netip(), Port: v.Port, Protocol: telescope.ProtocolName(v.Proto), Packets: v.Packets, First: v.First, Last: v.Last,
			})
		}
	}
	slices.SortFunc(d.Victims, func(a, b telescope.Victim) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), a.Address.Compare(b.Address), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	for _, h := range w.inf.All() {
		if h.Last.Before(first) {
			continue
		}
		for _, p := range h.Ports {
			d.Infected = append(d.Infected, telescope.Infected{Address: h.Address.Netip(), Port: p.Port, Protocol: telescope.ProtocolName(p.Proto), Packets: p.Packets, Family: p.Family})
		}
	}
	slices.SortFunc(d.Infected, func(a, b telescope.Infected) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), a.Address.Compare(b.Address), cmp.Compare(a.Port, b.Port))
	})
	return d
}

// finish closes the open minutes at the end of an input, so that detectors and
// counts have everything. A later input goes on after them.
func (w *watch) finish() {
	w.tel.Settle()
	if _, last, ok := w.tel.Span(); ok {
		w.tel.Advance(last.Add(2 * time.Minute))
	}
}

var _ telescope.Sink = (*watch)(nil)

// provisional marks the pending buckets as open: the snapshot that goes with them
// will give them again.
func (w *watch) provisional() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.pending.buckets {
		w.pending.buckets[i].Open = true
	}
}
