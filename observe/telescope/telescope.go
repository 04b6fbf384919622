// Package telescope watches addresses that nobody uses.
//
// Whatever is sent to them was asked for by nobody: it is a scan, an answer to
// somebody who forged their address, or a mistake. The telescope classes each
// packet by its form, joins packets to events (source, port, kind), counts
// everything by minute, hour and day, and hands on what a source did in a minute
// as one Sighting. It reads nobody's communication.
//
// A frame's way: the worker whose shard its source falls to decodes it, and books
// it on its event; a minute that ends is given to the merger, which sorts and
// counts it, tells the detectors and fills the buckets. Nothing depends on the
// number of workers.
package telescope

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"sakimori/base/pages"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// Config says what a telescope watches and how much memory it may take.
type Config struct {
	Dark []DarkPrefix   // the unused addresses
	Own  []netip.Prefix // the operator's own addresses, in use: who of them sends to dark space is infected
	// Verified are those of Own in whose name nobody else can send to the sensors:
	// neither from another line nor from beyond the network's borders (BCP 38 and
	// 84). Who asks amplifiers in the name of others of Own may be anybody.
	Verified []netip.Prefix
	Tunnels  packet.Tunnels // by which tunnels dark traffic comes to the sensor

	// MaxEvents bounds the table of events; each takes some 250 bytes with its
	// place in the index and the usual targets. SetBytes bounds the sets
	// of targets beyond that. When either is full, events end early, or count
	// their targets less sharply, and the totals say how many.
	MaxEvents int
	SetBytes  int

	// MinRate is the slowest scanner, in packets/s over the whole IPv4 Internet,
	// whose packets the time-out must hold together: 10, the 2014 study's floor
	// of an Internet-wide scan.
	MinRate float64
	// Slow is how long an event that isn't a scan yet is remembered, for scans
	// that take days.
	Slow time.Duration

	Readers int // goroutines that hold a Block each while they wait; 0 is 1
	Workers int // 0: one for each processor; at most 8

	// Place gives country (zero unknown) and AS (0 unknown) of a source;
	// Research tells whether it belongs to a scanner that says who it is.
	Place    func(packet.Addr) (country [2]byte, asn uint32)
	Research func(packet.Addr) bool

	// Glance, if set, is called by the workers, each on its own and at the same
	// time, with every second of data that it saw packets in.
	Glance func(Second)

	Detail bool // keep the tally by port, for the document of an import

	own      *space
	verified *space // nil: none
	idle4    time.Duration
	piece    int // records that are counted in one go; 0: pieceRecords
}

// maxWorkers is where more no longer help: one reader deals the frames out.
const maxWorkers = 8

// DefaultConfig is the configuration without addresses.
func DefaultConfig() Config {
	return Config{MaxEvents: 1_500_000, SetBytes: 256 << 20, MinRate: 10, Slow: 7 * 24 * time.Hour}
}

// idle is the time-out of an event (reference §7): a scanner of MinRate
// packets/s over 2^32 addresses hits N dark ones every 2^32/(r·N) seconds; three
// times that is exceeded by 5 % of its gaps. It is kept between 10 minutes and a
// day. The IPv6 Internet can't be swept, so there the time-out is an hour.
func (c *Config) idle(v4 bool) time.Duration {
	if !v4 || c.idle4 == 0 {
		return time.Hour
	}
	return c.idle4
}

// timeout is the time-out for a dark space of n IPv4 addresses.
func (c *Config) timeout(n uint64) time.Duration {
	if n == 0 {
		return 0
	}
	s := 3 * (1 << 32) / (c.MinRate * float64(n))
	return time.Duration(min(max(s, 600), 86400) * float64(time.Second))
}

func (c *Config) sweepMinutes() uint32 { return max(uint32(c.idle(true)/(8*time.Minute)), 1) } //nolint:gosec // at most a day

// Sink takes what a telescope makes of the packets. Its methods are called from
// one goroutine, in order of time; arguments must not be kept after they return
// except for the rows of an hour or a day.
type Sink interface {
	observe.Sightings          // what detectors want to know of one minute, by source
	Bucket(b Bucket)           // a minute, hour or day that has ended
	Clock(t time.Time)         // the data's time: a minute has ended
	Closed(e []observe.Event)  // events that have ended
	Gap(from, until time.Time) // no frame at all for over an hour: the telescope did not look
}

// Telescope is one run of observation. Ingest and the other methods are for one
// goroutine.
type Telescope struct {
	cfg     Config
	dark    darkness
	union   *space
	workers []*worker
	merger  *merger
	ases    *register
	frames  uint64
	late    uint64
	stray   uint64
	dates   Dates
	started bool
	top     uint32 // newest minute
	first   int64  // time of the earliest and the latest frame
	last    int64
	pool    chan *Block
	written *pages.Span[byte] // by Snapshot
}

// New makes a telescope. It starts its workers on the first Ingest; Close ends
// them.
func New(cfg Config, sink Sink) (*Telescope, error) {
	for _, p := range cfg.Own {
		if !p.IsValid() {
			return nil, errors.New("an own prefix is empty: write it as address/length, for example 203.0.113.0/24")
		}
	}
	dark, err := newDarkness(cfg.Dark, cfg.Own)
	if err != nil {
		return nil, err
	}
	union := &dark[0]
	if len(dark) > 1 {
		prefixes := make([]netip.Prefix, len(cfg.Dark))
		for i := range cfg.Dark {
			prefixes[i] = cfg.Dark[i].Prefix
		}
		if union, err = newSpace(prefixes, cfg.Own); err != nil {
			return nil, err
		}
	}
	if len(cfg.Own) > 0 {
		if cfg.own, err = newSpace(cfg.Own, nil); err != nil {
			return nil, err
		}
	}
	for _, v := range cfg.Verified {
		if !slices.ContainsFunc(cfg.Own, func(o netip.Prefix) bool { return o.Bits() <= v.Bits() && o.Contains(v.Addr()) }) {
			return nil, fmt.Errorf("verified prefix %s isn't among the own ones: only of own lines it is known who can send in their name", v)
		}
	}
	if len(cfg.Verified) > 0 {
		if cfg.verified, err = newSpace(cfg.Verified, nil); err != nil {
			return nil, err
		}
	}
	if cfg.Workers <= 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	cfg.Workers = min(cfg.Workers, maxWorkers)
	if cfg.MaxEvents < 1024 {
		return nil, fmt.Errorf("room for %d events is too little: give at least 1024", cfg.MaxEvents)
	}
	if cfg.MinRate <= 0 || cfg.Slow <= 0 {
		return nil, fmt.Errorf("the slowest scanner's rate (%g) and the memory for slow scans (%s) must be above zero", cfg.MinRate, cfg.Slow)
	}
	cfg.idle4 = cfg.timeout(union.v4)
	if cfg.piece == 0 {
		cfg.piece = pieceRecords
	}
	t := &Telescope{ases: newRegister(), cfg: cfg, dark: dark, union: union, first: maxTime, last: minTime, pool: make(chan *Block, underway+cfg.Readers)}
	for range cap(t.pool) {
		t.pool <- &Block{}
	}
	t.merger = newMerger(&t.cfg, dark, union, t.ases, sink)
	for i := range cfg.Workers {
		t.workers = append(t.workers, newWorker(t, uint32(i)))
	}
	return t, nil
}

// Idle is the time-out of an event of IPv4, as derived from the dark space.
func (t *Telescope) Idle() time.Duration { return t.cfg.idle(true) }

// Monitored is how many IPv4 addresses are dark at time at.
func (t *Telescope) Monitored(at time.Time) uint64 { return t.dark.at(at.UnixNano()).v4 }

// Begin starts a new tally: the document of what follows. Events, counts and
// everything that verdicts rest on go on.
func (t *Telescope) Begin() {
	t.each((*shard).retally)
	t.merger.census = newCensus(t.union.v4)
	// What waits to be judged will be told in this one.
	t.frames, t.late, t.stray, t.first, t.last = uint64(t.dates.Waiting()), 0, 0, maxTime, minTime //nolint:gosec // a count
}

// Span are the times of the first and the last frame of this tally; false
// before the first.
func (t *Telescope) Span() (first, last time.Time, ok bool) {
	if t.last < t.first {
		return time.Time{}, time.Time{}, false
	}
	return time.Unix(0, t.first).UTC(), time.Unix(0, t.last).UTC(), true
}
