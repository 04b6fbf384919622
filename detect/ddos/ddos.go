// Package ddos finds floods in flows: of one address, of a prefix whose addresses
// are hit a little each (carpet bombing), of a customer, of a link; and own
// addresses that take part in one.
//
// Every second is judged on its own, in the time of the data, as soon as its
// evidence suffices: a rate counts as above a line when the lower end of its 95 %
// range is, so that a sampled rate waits only as long as its error needs. Crossing a
// line is necessary and not sufficient: what came on top of the usual must have the
// form of an attack (form.go), so that crowds, backups and speed tests accuse nobody.
package ddos

import (
	"cmp"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"sakimori/base/pages"
	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/observe"
)

// Config is what may be set. Zero fields take the value of DefaultConfig.
type Config struct {
	// Own are the prefixes that are protected, and whose addresses may take part in
	// attacks. None: every destination is protected, and taking part isn't looked for.
	Own []netip.Prefix

	Thresholds Thresholds

	// Version of the table of reflectors and other data is in the code; Witness is
	// the first of an attack's witnesses: "flow", or "mirror" where packets are seen.
	Witness string

	// The bounds of memory. Addresses are counted exactly, 64 bytes each in a table
	// that is at most three quarters full; beyond that a count-min sketch finds those
	// that become busy. Warm objects have their seconds, forms and a sample of what is
	// usual, some 14 kB each. Prefixes are those of all widths together, some 110 bytes
	// each. Attacks are open ones, some 200 kB each. With the defaults at most 490 MB in
	// all while a hundred attacks are open.
	Addresses, Warm, Prefixes, Attacks int
}

// DefaultConfig is what runs when nothing is set.
func DefaultConfig() Config {
	return Config{
		Thresholds: DefaultThresholds(),
		Witness:    "flow",
		Addresses:  3 << 20,
		Warm:       12 << 10,
		Prefixes:   1 << 18,
		Attacks:    1 << 10,
	}
}

// Ports are what others know. Each may be nil: then it isn't known.
type Ports struct {
	Place    func(packet.Addr) (country [2]byte, as uint32) // zero: not known
	Infected func(netip.Addr) bool                          // does the telescope know it as infected?
}

// Sinks hear of attacks; each may be nil. They are called under the detector's lock
// and must not call back.
type Sinks struct {
	Attacks  detect.Attacks
	Findings detect.Findings
}

// Figures are what the detector counted, and how full it is.
type Figures struct {
	Records   uint64 `json:"records"`
	Empty     uint64 `json:"empty"`     // records without packets: passed over
	Twice     uint64 `json:"twice"`     // records of packets that the exporter told where they came in: passed over
	Late      uint64 `json:"late"`      // records older than any second in hand: not judged
	Cut       uint64 `json:"cut"`       // records of which a part was older: that part isn't judged
	Future    uint64 `json:"future"`    // records of later than now: counted as of now
	Addresses int    `json:"addresses"` // counted exactly at the moment
	Forgotten uint64 `json:"forgotten"` // addresses that made room after a time without traffic
	Uncounted uint64 `json:"uncounted"` // records of addresses for which there was no room: only the sketch has them
	Warm      int    `json:"warm"`
	WarmFull  uint64 `json:"warm_full"` // records of objects that should have been warm, and found no room
	Prefixes  int    `json:"prefixes"`
	NoPrefix  uint64 `json:"no_prefix"` // times that a prefix found no room
	NoAttack  uint64 `json:"no_attack"` // attacks that weren't opened, as too many are
	Habits    int    `json:"habits"`    // objects whose hours of the week are learned
	Open      int    `json:"open"`      // attacks
}

// Detector holds the counters and the open attacks. One goroutine calls Take and Tick;
// the others may be called by any.
type Detector struct {
	cfg   Config
	ports Ports
	out   Sinks

	mu    sync.Mutex
	rules *rules
	ready bool   // the time is known
	now   uint32 // the second of arrival in hand
	begun uint32 // the first one
	epoch uint32

	table     *table
	beyond    *overflow
	nets      []entry // prefixes; 0 isn't used
	netAt     map[netKey]int32
	netHand   int
	warmSpan  *pages.Span[warm]
	warms     []warm // 0 isn't used
	free      []int32
	highest   int32 // the highest of them that was ever used: memory beyond isn't touched
	touched   []int32
	customers []int32 // their warm objects
	links     []int32
	linkAt    map[uint64]int32 // exporter<<32|interface → its warm object
	exporters map[uint32]*exporter
	telling   uint32 // the exporter of the record before
	teller    *exporter

	backIn  map[packet.Addr]int32 // warm objects of what comes to an address, for what it answers
	backOut map[packet.Addr]int32 // and of what it sends
	bloom   [1 << 10]uint64       // which addresses may be in these

	logSpan *pages.Span[observe.Flow]
	recent  []observe.Flow // the newest records, for the beginning of an attack
	logged  uint64

	both      bool // what goes out is told as well
	bothUntil uint32
	inward    [2]float64 // packets in and out since bothFrom
	bothFrom  uint32

	attacks  []*attack // 0 isn't used; nil where there is none
	results  []Result
	partners []Participant
	habits   *habits
	hot      []int32 // addresses and prefixes that are over a line, or under attack
	witness  map[witnessKey]uint32
	zones    map[string]zone
	scratch  scratch
	figures  Figures
	chunks   [2]chunk
}

type netKey struct {
	addr packet.Addr
	role role
}

// logSize is how many records are kept for the beginning of an attack, 104 bytes each.
const logSize = 1 << 17

// New makes a detector.
func New(cfg Config, ports Ports, out Sinks) (*Detector, error) {
	def := DefaultConfig()
	cfg.Witness = cmp.Or(cfg.Witness, def.Witness)
	cfg.Addresses = cmp.Or(cfg.Addresses, def.Addresses)
	cfg.Warm = cmp.Or(cfg.Warm, def.Warm)
	cfg.Prefixes = cmp.Or(cfg.Prefixes, def.Prefixes)
	cfg.Attacks = cmp.Or(cfg.Attacks, def.Attacks)
	t, err := cfg.Thresholds.filled()
	if err != nil {
		return nil, err
	}
	cfg.Thresholds = t
	for _, p := range cfg.Own {
		if !p.IsValid() {
			return nil, errors.New("ddos: an own prefix can't be read: write it as 203.0.113.0/24")
		}
	}
	if cfg.Addresses < 64 || cfg.Addresses > 1<<28 || cfg.Prefixes < 16 || cfg.Prefixes > 1<<24 || cfg.Attacks < 1 || cfg.Attacks > 1<<16 {
		return nil, errors.New("ddos: bounds: addresses 64 to 268435456, prefixes 16 to 16777216, attacks 1 to 65536")
	}
	if always := len(t.Customers) + len(t.Links); cfg.Warm < always+16 || cfg.Warm > 1<<24 {
		return nil, errors.New("ddos: bounds: warm must be at least the number of customers and links and 16 more, and at most 16777216")
	}
	d := &Detector{
		cfg: cfg, ports: ports, out: out, rules: compile(cfg.Own, t),
		table: newTable(cfg.Addresses), beyond: new(overflow),
		nets: make([]entry, 1), netAt: map[netKey]int32{},
		warmSpan: pages.Reserve[warm](cfg.Warm + 1), linkAt: map[uint64]int32{}, exporters: map[uint32]*exporter{},
		backIn: map[packet.Addr]int32{}, backOut: map[packet.Addr]int32{},
		logSpan: pages.Reserve[observe.Flow](logSize), attacks: make([]*attack, 1), habits: newHabits(),
		witness: map[witnessKey]uint32{}, zones: map[string]zone{},
	}
	d.warms, d.recent = d.warmSpan.All, d.logSpan.All
	for i := cfg.Warm; i > 0; i-- {
		d.free = append(d.free, int32(i))
	}
	for i := range t.Customers {
		d.customers = append(d.customers, d.heat(customer, packet.Addr{Lo: uint64(i)}, 0, -1, int32(i)))
	}
	for i := range t.Links {
		d.links = append(d.links, d.heat(link, packet.Addr{Lo: uint64(i)}, 0, -1, int32(i)))
	}
	return d, nil
}

// Link tells the name of an exporter, by the collector's number: thresholds name links
// by it, and so do attacks where they came in.
func (d *Detector) Link(number uint32, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.exporter(number).name = name
	for iface, i := range d.rules.links[name] {
		d.linkAt[uint64(number)<<32|uint64(iface)] = d.links[i]
	}
}

// Figures tells the counts so far.
func (d *Detector) Figures() Figures {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.figures
	f.Addresses, f.Warm, f.Prefixes, f.Habits = d.table.used, d.cfg.Warm-len(d.free), len(d.netAt), d.habits.used()
	for _, a := range d.attacks {
		if a != nil {
			f.Open++
		}
	}
	return f
}

// LogValue shows the detector's size and nobody's address.
func (d *Detector) LogValue() slog.Value {
	f := d.Figures()
	return slog.GroupValue(slog.Int("addresses", f.Addresses), slog.Int("warm", f.Warm),
		slog.Int("attacks", f.Open), slog.Uint64("records", f.Records))
}

var _ detect.Detector = (*Detector)(nil)

// unix is a second as a time.
func unix(s uint32) time.Time { return time.Unix(int64(s), 0).UTC() }
