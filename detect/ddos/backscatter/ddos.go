// Package backscatter infers denial-of-service attacks anywhere from the answers of
// their victims: a flood with forged random sources makes the victim answer to
// addresses that never asked, and some of these are dark (backscatter).
//
// A run of answers from one address is an attack when it has at least 25
// packets, lasts at least 60 s, and holds at least 30 packets in some window
// of 60 s that slides by 10 s; it ends after 300 s of silence. That is the
// classical RSDoS rule (CAIDA's corsaro). What stays below is discarded and
// counted. One victim under attack is one finding, with the attacked ports,
// protocols and kinds of answer inside it.
package backscatter

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/observe"
)

// Config is what may be set. Zero fields take the value of DefaultConfig.
type Config struct {
	// DarkAddresses is the number of dark IPv4 addresses, for the estimate of
	// the attack's rate; 0 leaves the estimate out.
	DarkAddresses uint64

	Packets uint64        // an attack has at least so many packets
	Length  time.Duration // and lasts at least so long
	Window  uint64        // and has so many packets in some 60 s
	Silence time.Duration // and ends after so long without a packet; at least 60 s

	Every time.Duration // least time between versions for new vectors alone
	Large float64       // estimated packets/s from which an attack is of severity Soon

	// The bounds of memory: Victims addresses with at most Vectors vectors
	// each (more only until the minute in hand is over); Pending sightings of the minute in hand; Results rows of ended
	// attacks. With the defaults at most 220 MB, when every one of 131,072
	// victims has 32 vectors; 40 MB when each has one.
	Victims, Vectors, Pending, Results int
}

// DefaultConfig is what runs when nothing is set.
func DefaultConfig() Config {
	return Config{
		Packets: 25,
		Length:  60 * time.Second,
		Window:  30,
		Silence: 300 * time.Second,
		Every:   10 * time.Minute,
		Large:   100_000,
		Victims: 1 << 17,
		Vectors: 32,
		Pending: 1 << 16,
		Results: 1 << 16,
	}
}

// Victim is one attacked service of an address whose answers met the
// thresholds. Packets, First and Last are the service's own.
type Victim struct {
	Address packet.Addr
	Port    uint16 // of the victim; for ICMP type<<8|code
	Proto   uint8  // of the answers; the attack's own unless these are ICMP errors
	Packets uint64
	First   time.Time
	Last    time.Time
}

// Detector holds the runs of answers. Its methods may be called from several
// goroutines; the Findings is called under its lock and must not call back.
type Detector struct {
	cfg Config
	out detect.Findings

	mu      sync.Mutex
	minute  detect.Minute
	runs    map[packet.Addr]*run
	wheel   map[int64][]packet.Addr // when to look at a run again, by minute
	waiting []packet.Addr           // attacks whose next version is due later
	ended   []Victim                // in order of end
	below   uint64
}

// New makes a detector that hands each version of a finding to out.
func New(cfg Config, out detect.Findings) *Detector {
	def := DefaultConfig()
	cfg.Packets = cmp.Or(cfg.Packets, def.Packets)
	cfg.Length = cmp.Or(cfg.Length, def.Length)
	cfg.Window = cmp.Or(cfg.Window, def.Window)
	// A sighting can't tell a pause within its minute.
	cfg.Silence = max(cmp.Or(cfg.Silence, def.Silence), time.Minute)
	cfg.Every = cmp.Or(cfg.Every, def.Every)
	cfg.Large = cmp.Or(cfg.Large, def.Large)
	cfg.Victims = cmp.Or(cfg.Victims, def.Victims)
	cfg.Vectors = cmp.Or(cfg.Vectors, def.Vectors)
	cfg.Pending = cmp.Or(cfg.Pending, def.Pending)
	cfg.Results = cmp.Or(cfg.Results, def.Results)
	return &Detector{cfg: cfg, out: out, runs: map[packet.Addr]*run{}, wheel: map[int64][]packet.Addr{}}
}

// Sight takes sightings in order of minute. One that comes again is added exactly when
// it is the one before the newest, otherwise without joining windows across minutes.
func (d *Detector) Sight(batch []observe.Sighting) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.minute.Sight(batch, d.cfg.Pending, judge{d})
}

// Tick tells that the data's time has come to at.
func (d *Detector) Tick(at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.minute.Tick(at, judge{d})
}

// judge is the detector as a minute knows it.
type judge struct{ *Detector }

func (judge) Wants(s *observe.Sighting) bool {
	return s.Flags&observe.Solicited == 0 && s.Kind.Class() == observe.Backscatter
}

func (judge) Order(a, b observe.Sighting) int {
	return cmp.Or(
		cmp.Compare(a.Port, b.Port), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Kind, b.Kind),
		cmp.Compare(a.First, b.First), cmp.Compare(a.Packets, b.Packets),
	)
}

func (d judge) Judge(a packet.Addr) {
	if r := d.runs[a]; r != nil && r.Touched {
		r.Touched = false
		d.trim(r)
		d.judge(r)
	}
}

func (d judge) Add(group []observe.Sighting, first, last int64) { d.add(group, first, last) }
func (d judge) Expire(t int64)                                  { d.expire(t) }
func (d judge) Flush()                                          { d.flush() }

// add brings one address's answers of a minute into its run.
func (d *Detector) add(group []observe.Sighting, first, last int64) {
	a, silence := group[0].Source, int64(d.cfg.Silence)
	r := d.runs[a]
	if r != nil && first-r.Last > silence {
		d.end(r)
		r = nil
	}
	if r == nil && last+silence < d.minute.Now || r != nil && last+silence < r.First {
		d.minute.Dropped += uint64(len(group)) // too late to say anything about
		return
	}
	if r == nil {
		if len(d.runs) >= d.cfg.Victims {
			d.evict()
		}
		if len(d.runs) >= d.cfg.Victims {
			d.minute.Dropped += uint64(len(group))
			return
		}
		r = &run{record: record{Addr: a, First: first, Last: last, Base: group[0].Minute - 120}}
		d.runs[a] = r
		d.enqueue(r, last+silence)
	}
	r.First, r.Last = min(r.First, first), max(r.Last, last)
	r.add(group)
	if !r.Touched {
		r.Touched = true
		d.minute.Touched = append(d.minute.Touched, a)
	}
}

// evict makes room: a quarter of the runs that are no attack go, those first
// that have fewest packets, then those quiet longest.
func (d *Detector) evict() {
	var rs []*run
	for _, r := range d.runs {
		if !r.Open {
			rs = append(rs, r)
		}
	}
	slices.SortFunc(rs, func(a, b *run) int {
		return cmp.Or(cmp.Compare(a.Packets, b.Packets), cmp.Compare(a.Last, b.Last), a.Addr.Compare(b.Addr))
	})
	for _, r := range rs[:(len(rs)+3)/4] {
		delete(d.runs, r.Addr)
		d.minute.Dropped++
	}
	clear(d.wheel) // or what was evicted would stay in it
	for _, r := range d.runs {
		d.enqueue(r, r.Last+int64(d.cfg.Silence))
	}
}

// trim keeps the largest vectors of a run.
func (d *Detector) trim(r *run) {
	n := len(r.vectors) - d.cfg.Vectors
	if n <= 0 {
		return
	}
	slices.SortFunc(r.vectors, func(a, b vector) int {
		return cmp.Or(cmp.Compare(a.Packets, b.Packets), cmp.Compare(a.Last, b.Last), a.order(&b))
	})
	for _, v := range r.vectors[:n] {
		r.Other += v.Packets
	}
	d.minute.Dropped += uint64(n)
	r.vectors = slices.Clone(r.vectors[n:])
	slices.SortFunc(r.vectors, func(a, b vector) int { return a.order(&b) })
}

// enqueue has the run looked at when the time comes to at. Each run is in the
// wheel once; a run that answered meanwhile is put further on when its turn
// comes, so that a minute costs no walk over all runs.
func (d *Detector) enqueue(r *run, at int64) {
	r.queued = at / int64(time.Minute)
	d.wheel[r.queued] = append(d.wheel[r.queued], r.Addr)
}

// expire ends the runs that have been silent for Config.Silence at t.
func (d *Detector) expire(t int64) {
	var over []*run
	upto := t / int64(time.Minute)
	for _, m := range slices.Sorted(maps.Keys(d.wheel)) {
		if m > upto {
			break
		}
		queue := d.wheel[m]
		delete(d.wheel, m)
		for _, a := range queue {
			r := d.runs[a]
			if r == nil || r.queued != m {
				continue // evicted, or ended and begun anew
			}
			if until := r.Last + int64(d.cfg.Silence); until < t {
				r.queued = -1
				over = append(over, r)
			} else {
				d.enqueue(r, until)
			}
		}
	}
	slices.SortFunc(over, func(a, b *run) int {
		return cmp.Or(cmp.Compare(a.Last, b.Last), a.Addr.Compare(b.Addr))
	})
	for _, r := range over {
		d.end(r)
	}
}

// end closes a run that was an attack, and discards any other.
func (d *Detector) end(r *run) {
	delete(d.runs, r.Addr)
	if !r.Open {
		d.below++
		return
	}
	d.trim(r)
	d.emit(r, detect.Closed, r.Last+int64(d.cfg.Silence))
	d.ended = append(d.ended, r.rows()...)
	if n := len(d.ended) - d.cfg.Results; n > 0 {
		d.minute.Dropped += uint64(n)
		d.ended = slices.Delete(d.ended, 0, n)
	}
}

// judge opens an attack, or notes that its last version is out of date.
func (d *Detector) judge(r *run) {
	if !r.Open {
		if d.meets(r) {
			r.Open, r.Opened = true, r.First
			d.emit(r, detect.Opened, d.minute.Now)
		}
		return
	}
	switch {
	case r.Peak >= 10*r.EmPeak || r.Packets >= 10*r.EmPackets:
		r.Waiting = false
		d.emit(r, detect.Changed, d.minute.Now)
	case r.notable(d.cfg.Packets) > int(r.EmVectors) && !r.Waiting:
		r.Waiting = true
		d.waiting = append(d.waiting, r.Addr)
	}
}

func (d *Detector) meets(r *run) bool {
	return r.Packets >= d.cfg.Packets && r.Last-r.First >= int64(d.cfg.Length) && r.Peak >= d.cfg.Window
}

// flush emits the changed versions that are due.
func (d *Detector) flush() {
	slices.SortFunc(d.waiting, packet.Addr.Compare)
	later := d.waiting[:0]
	for _, a := range slices.Compact(d.waiting) {
		r := d.runs[a]
		if r == nil || !r.Waiting {
			continue
		}
		if d.minute.Now < r.Emitted+int64(d.cfg.Every) {
			later = append(later, a)
			continue
		}
		r.Waiting = false
		d.emit(r, detect.Changed, d.minute.Now)
	}
	d.waiting = later
}

func (d *Detector) emit(r *run, state detect.State, at int64) {
	r.Emitted, r.EmPackets, r.EmPeak = at, r.Packets, r.Peak
	r.EmVectors = uint32(r.notable(d.cfg.Packets)) //nolint:gosec // at most Config.Vectors
	d.out.Find(finding(&d.cfg, r, state, at))
}

// Victims is every attacked service since the start, ended or not, by address,
// port, protocol and time, as of the last whole minute. All services of a
// victim whose answers met the thresholds together are there, however small.
func (d *Detector) Victims() []Victim {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := slices.Clone(d.ended)
	if out == nil {
		out = []Victim{}
	}
	for _, r := range d.runs {
		if r.Open {
			out = append(out, r.rows()...)
		}
	}
	slices.SortFunc(out, func(a, b Victim) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Port, b.Port),
			cmp.Compare(a.Proto, b.Proto), a.First.Compare(b.First))
	})
	return out
}

// BelowThreshold is how many runs of answers ended without being an attack.
func (d *Detector) BelowThreshold() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.below
}

// Dropped is how many sightings, runs, vectors and results were given up
// because a bound of Config was reached or because they came too late.
func (d *Detector) Dropped() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.minute.Dropped
}

// LogValue shows the detector's size and nobody's address.
func (d *Detector) LogValue() slog.Value {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slog.GroupValue(slog.Int("runs", len(d.runs)),
		slog.Uint64("below_threshold", d.below), slog.Uint64("dropped", d.minute.Dropped))
}

var (
	_ observe.Sightings = (*Detector)(nil)
	_ detect.Detector   = (*Detector)(nil)
)
