package main

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/detect/ddos"
	"sakimori/detect/infected"
	"sakimori/detect/register"
	"sakimori/observe"
)

// floods is one run of flows with the detectors behind it: from flows to attacks, without
// a store. What it makes waits until a keeper takes it, or is forgotten when nothing is
// kept. One goroutine at a time gives it flows and the time.
type floods struct {
	attacks  *ddos.Detector
	infected *infected.Flows       // nil: whose addresses are own isn't known, or nobody may be looked at
	keep     func([]observe.Flow)  // takes them for the store; nil: nobody does
	tell     func(detect.Finding)  // hears of each finding at once; nil: nobody
	changed  func(a detect.Attack) // and of each attack; nil: nobody
	second   int64                 // of the data, up to which it was judged

	mu      sync.Mutex
	pending floodNews
	open    map[string]detect.Attack
	closed  []detect.Attack                 // since somebody asked
	recent  map[string][]detect.CoursePoint // of those under way, the last minutes
}

// floodNews is what was made since the last time somebody took it.
type floodNews struct {
	attacks  []detect.Attack
	courses  []register.Course[detect.CoursePoint]
	findings []detect.Finding
}

// floodPorts is what a run asks of others; each may be nil.
type floodPorts struct {
	place    func(packet.Addr) ([2]byte, uint32)
	infected func(netip.Addr) bool
	flows    infected.FlowsPorts
}

func newFloods(cfg ddos.Config, p floodPorts) (f *floods, err error) {
	f = &floods{open: map[string]detect.Attack{}, recent: map[string][]detect.CoursePoint{}}
	f.attacks, err = ddos.New(cfg, ddos.Ports{Place: p.place, Infected: p.infected}, ddos.Sinks{Attacks: f, Findings: f})
	if err != nil {
		return nil, err
	}
	if len(cfg.Own) > 0 {
		set := infected.DefaultFlows()
		set.Own = cfg.Own
		f.infected = infected.NewFlows(set, p.flows, f)
	}
	return f, nil
}

// detectors are those that live through a restart, by name.
func (f *floods) detectors() []namedDetector {
	list := []namedDetector{{"ddos-flow", f.attacks}}
	if f.infected != nil {
		list = append(list, namedDetector{"infected-flow", f.infected})
	}
	return list
}

// take hands flows to all that want them.
func (f *floods) take(batch []observe.Flow) {
	f.attacks.Take(batch)
	if f.infected != nil {
		f.infected.Take(batch)
	}
	if f.keep != nil {
		f.keep(batch)
	}
}

// takeTimed hands on flows that were recorded, and judges each second of them that is over:
// their own times are the clock.
func (f *floods) takeTimed(batch []observe.Flow) {
	begin := 0
	for i := range batch {
		s := batch[i].Last / int64(time.Second)
		if s <= f.second {
			continue
		}
		f.take(batch[begin:i])
		begin = i
		f.until(s)
	}
	f.take(batch[begin:])
}

// until judges each second before one in which something comes.
func (f *floods) until(second int64) {
	if f.second == 0 || second-f.second > catchUpMost {
		f.tick(second)
		return
	}
	for t := f.second + 1; t <= second; t++ {
		f.tick(t)
	}
}

// catchUpMost is for how many seconds in a row without a flow each is judged by itself.
const catchUpMost = 3600

// tick says that a second has begun: those before it are judged.
func (f *floods) tick(second int64) {
	f.second = max(f.second, second)
	at := time.Unix(f.second, 0).UTC()
	f.attacks.Tick(at)
	if f.infected == nil {
		return
	}
	if f.second%partsEvery == 0 {
		f.parts()
	}
	f.infected.Tick(at)
}

// partsEvery is how often, in seconds, it is asked who takes part in attacks.
const partsEvery = 10

// parts tells who looks for infections which own addresses take part in attacks.
func (f *floods) parts() {
	for _, p := range f.attacks.Participants() {
		f.infected.TookPart(f.part(&p))
	}
}

// part is what an own address did in an attack, in the words of who looks for infections.
func (f *floods) part(p *ddos.Participant) infected.Part {
	f.mu.Lock()
	a := f.open[p.Attack]
	f.mu.Unlock()
	return infected.Part{
		Attack: p.Attack, Address: p.Address, Target: p.Target, Vectors: []string{p.Vector}, Packets: p.Packets, First: p.First, Last: p.Last,
		Confidence: a.Confidence, Forged: a.Sources.Forged,
	}
}

// busy tells whether an attack is under way.
func (f *floods) busy() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.open) > 0
}

// ended hands on attacks that ended while nobody looked.
func (f *floods) ended(list []detect.Attack) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = append(f.closed, list...)
}

// giveBack takes news again that couldn't be kept.
func (f *floods) giveBack(n floodNews) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &f.pending
	p.attacks, p.courses, p.findings = append(n.attacks, p.attacks...), append(n.courses, p.courses...), append(n.findings, p.findings...)
}

// finish says that nothing more comes.
func (f *floods) finish() {
	f.tick(f.second + 1)
	if f.infected != nil {
		f.parts()
		f.infected.Finish()
	}
}

// Attack takes a version of an attack from the detector.
func (f *floods) Attack(a detect.Attack) {
	f.mu.Lock()
	f.pending.attacks = append(f.pending.attacks, a)
	if f.open[a.ID] = a; a.State == detect.Closed {
		delete(f.open, a.ID)
		delete(f.recent, a.ID)
		f.closed = append(f.closed, a)
	}
	f.mu.Unlock()
	if f.changed != nil {
		f.changed(a)
	}
}

// Course takes a part of an attack's course.
func (f *floods) Course(id string, points []detect.CoursePoint) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pending.courses = append(f.pending.courses, register.Course[detect.CoursePoint]{ID: id, Points: slices.Clone(points)})
	have := f.recent[id]
	for _, p := range points {
		i, again := slices.BinarySearchFunc(have, p.At, func(x detect.CoursePoint, at int64) int { return cmp.Compare(x.At, at) })
		if again {
			have[i] = p
		} else {
			have = slices.Insert(have, i, p)
		}
	}
	f.recent[id] = have[max(0, len(have)-recentMost):]
}

// recentMost is of how many seconds an attack's course is at hand.
const recentMost = 600

// course is the recent course of an attack under way.
func (f *floods) course(id string) []detect.CoursePoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.recent[id])
}

// Find takes a finding.
func (f *floods) Find(x detect.Finding) {
	f.mu.Lock()
	f.pending.findings = append(f.pending.findings, x)
	f.mu.Unlock()
	if f.tell != nil {
		f.tell(x)
	}
}

// news takes what is new.
func (f *floods) news() floodNews {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.pending
	f.pending = floodNews{}
	return n
}

// running are the attacks under way, and those that ended since it was asked, the newest
// version of each.
func (f *floods) running() []detect.Attack {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.closed
	f.closed = nil
	for _, id := range slices.Sorted(maps.Keys(f.open)) {
		out = append(out, f.open[id])
	}
	return out
}

// under are the attacks under way.
func (f *floods) under() []detect.Attack {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.open))
}

// adopt has attacks of before a restart go on.
func (f *floods) adopt(list []detect.Attack) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range list {
		f.open[list[i].ID] = list[i]
	}
}

var (
	_ detect.Attacks  = (*floods)(nil)
	_ detect.Findings = (*floods)(nil)
)
