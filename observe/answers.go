package observe

import (
	"fmt"
	"net/netip"
	"time"
)

// The shapes in which the record of sightings answers questions. The store
// fills them, the console and the command line print them.

// Grain is the width of a bucket of counts.
type Grain uint8

// The grains.
const (
	Minute Grain = iota
	Hour
	Day
)

var grains = [...]string{"minute", "hour", "day"}

// String is the grain in the words of the API.
func (g Grain) String() string { return name(grains[:], int(g), "grain") }

// Seconds is the width of a bucket. Days are UTC days.
func (g Grain) Seconds() int64 { return [...]int64{60, 3600, 86400}[g] }

// ParseGrain reads what String writes.
func ParseGrain(s string) (Grain, error) {
	i, err := parse(grains[:], s, "grain")
	return Grain(i), err //nolint:gosec // below 3
}

// Dim is what counts are split by.
type Dim uint8

// The dimensions, with the meaning of a row's key.
const (
	ByTotal    Dim = iota // key 0
	ByClass               // key is a Class
	ByProtocol            // key is the IANA protocol number
	ByPort                // key is protocol<<16 | destination port; scans only
	ByCountry             // key is the two letters, first<<8 | second; 0 unknown
	ByAS                  // key is the AS number; 0 unknown
)

var dims = [...]string{"total", "class", "protocol", "port", "country", "as"}

// Dims is how many dimensions there are.
const Dims = len(dims)

// String is the dimension in the words of the API.
func (d Dim) String() string { return name(dims[:], int(d), "dim") }

// ParseDim reads what String writes.
func ParseDim(s string) (Dim, error) {
	i, err := parse(dims[:], s, "dimension")
	return Dim(i), err //nolint:gosec // below 6
}

// Range is a span of time, From inclusive, To exclusive, in the data's time.
type Range struct{ From, To time.Time }

// Unique is a number of distinct things and how far it may be off.
type Unique struct {
	N uint64 `json:"n"`
	// Err is the standard error as a share of N: 0 is exact, 0.0081 a sketch.
	Err float64 `json:"err"`
	// AtMost says that N is only an upper bound: buckets were added up whose
	// overlap isn't known.
	AtMost bool `json:"at_most,omitempty"`
}

// Point is one bucket of a series. A bucket in which the telescope saw nothing
// is a Point with zero packets; one in which it did not look is missing.
type Point struct {
	Time    time.Time `json:"time"`
	Packets uint64    `json:"packets"`
	Sources Unique    `json:"sources"`
	Targets Unique    `json:"targets"`
}

// Count is one key's counts in a bucket of time, as a telescope makes and keeps
// them.
type Count struct {
	Dim                       Dim
	Key                       uint32
	Packets, Sources, Targets uint64  // the latter two distinct
	SourcesErr, TargetsErr    float32 // standard error as a share; 0 exact. Of a minute's sources: at most so much is too much
	SourceSet, TargetSet      []byte  // the sketches of those that are worth the bytes, else nil
	// Openly is how many of the sources say openly that they scan: of ports,
	// countries and ASes, in an hour or a day as it ends. It isn't kept.
	Openly uint64
}

// Row is one key of a ranking.
type Row struct {
	Key     uint32 `json:"key"`
	Packets uint64 `json:"packets"`
	Sources Unique `json:"sources"`
	Targets Unique `json:"targets"`
	// Before holds the packets of the same key in the period of equal length
	// just before, nil when the telescope did not look then.
	Before *uint64 `json:"before"`
}

// Event is one scan or one run of answers, in Merit's form.
type Event struct {
	ID       uint64     `json:"id,string"`
	Source   netip.Addr `json:"source"`
	Port     uint16     `json:"port"`
	Proto    uint8      `json:"protocol"`
	Kind     Kind       `json:"-"`
	First    time.Time  `json:"first"`
	Last     time.Time  `json:"last"`
	Packets  uint64     `json:"packets"`
	Targets  Unique     `json:"targets"`
	Coverage float64    `json:"coverage"` // targets / dark addresses monitored, of its family
	Rate     float64    `json:"rate"`     // packets/s over the event's life
	Tool     Tool       `json:"-"`
	Country  string     `json:"country"` // "" unknown
	ASN      uint32     `json:"asn"`     // 0 unknown
	Open     bool       `json:"open"`    // not timed out yet
	Flags    Flags      `json:"-"`
	Sample   []string   `json:"sample"` // up to four packets of it, in words
}

// Gap is a span in which an input did not look, or lost packets.
type Gap struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Input   string    `json:"input"`
	Reason  string    `json:"reason"`
	Dropped uint64    `json:"dropped"` // packets known to be lost, 0 when not known
}

func parse(names []string, s, what string) (int, error) {
	for i, n := range names {
		if n == s {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%q is no %s: use one of %v", s, what, names)
}

// EventQuery selects events; zero fields select everything.
type EventQuery struct {
	Source   netip.Addr
	Port     int // -1 or 0..65535; -1 any
	Kinds    []Kind
	Tools    []Tool
	Range    Range // events that overlap it
	Open     bool  // only those not timed out
	Limit    int   // 1..500
	After    string
	Scanners bool // only those that meet the definition of a scan
}

// Address is what is known of one source.
type Address struct {
	First, Last time.Time
	Packets     uint64
	Ports       []Row // by port, most packets first
	Events      []Event
	Series      []Point // by hour
}

// Year is one calendar year (UTC) of the paper's yearly figures.
type Year struct {
	Year        int      `json:"year"`
	Packets     uint64   `json:"packets"`
	IoT         uint64   `json:"iot"`              // packets to ports of the IoT table
	DarkDays    float64  `json:"dark_days"`        // dark addresses × days observed
	PerAddress  float64  `json:"per_dark_address"` // packets per dark address and year of 365 days
	Factor      *float64 `json:"factor"`           // PerAddress against the year before
	IoTFactor   *float64 `json:"iot_factor"`       // the same of IoT packets: the paper's "5.8 times"
	DaysCovered float64  `json:"days_covered"`
}
