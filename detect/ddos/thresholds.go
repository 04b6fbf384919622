package ddos

import (
	"errors"
	"fmt"
	"net/netip"
)

// Thresholds are the lines that make a rate worth a look, as people write them down.
// The narrowest that is set holds: of the address, of the longest prefix around it, of
// the customer, of all.
type Thresholds struct {
	Address  Line `yaml:"address" json:"address"`   // of each protected address
	Outgoing Line `yaml:"outgoing" json:"outgoing"` // of each own address, and of all of them together to one target
	Prefix   Line `yaml:"prefix" json:"prefix"`     // of a /24 or /64; twice that of a /22 or /56, four times of a /20 or /48

	Prefixes  []PrefixLine `yaml:"prefixes" json:"prefixes,omitempty"`
	Customers []Customer   `yaml:"customers" json:"customers,omitempty"`
	Links     []Link       `yaml:"links" json:"links,omitempty"`

	// The baseline: an object is above its habit when it exceeds the median of this
	// hour of the week by Raise deviations, and by Floor of its fixed line; it is back
	// below Clear deviations.
	Raise float64 `yaml:"raise" json:"raise"`
	Clear float64 `yaml:"clear" json:"clear"`
	Floor float64 `yaml:"floor" json:"floor"` // share of the fixed line, 0 to 1

	// Quiet is for how many seconds an object must be below its lines; Hold for how
	// many more its attack stays the same one when it comes again. Hold doubles with
	// each time, up to HoldMost.
	Quiet    int `yaml:"quiet" json:"quiet"`
	Hold     int `yaml:"hold" json:"hold"`
	HoldMost int `yaml:"hold_most" json:"hold_most"`
}

// Line is a rate by each of its measures. 0: as the wider one says; negative: none.
type Line struct {
	Packets float64 `yaml:"packets" json:"packets"` // a second
	Bits    float64 `yaml:"bits" json:"bits"`       // a second
	Flows   float64 `yaml:"flows" json:"flows"`     // new connections of TCP a second
}

// PrefixLine sets lines for each address of a prefix, and for the prefix as a whole
// where it is one of the widths that are watched.
type PrefixLine struct {
	Prefix  netip.Prefix `yaml:"prefix" json:"prefix"`
	Name    string       `yaml:"name" json:"name,omitempty"`
	Address Line         `yaml:"address" json:"address"`
	Total   Line         `yaml:"total" json:"total"`
}

// Customer has prefixes, and perhaps a customer around it.
type Customer struct {
	Name     string         `yaml:"name" json:"name"`
	Within   string         `yaml:"within" json:"within,omitempty"` // the name of the customer that it belongs to
	Prefixes []netip.Prefix `yaml:"prefixes" json:"prefixes"`
	Address  Line           `yaml:"address" json:"address"` // of each of its addresses
	Prefix   Line           `yaml:"prefix" json:"prefix"`   // of each of its /24 and /64
	Total    Line           `yaml:"total" json:"total"`     // of the customer; none where not set
}

// Link is an interface of an exporter through which traffic comes in.
type Link struct {
	Name      string  `yaml:"name" json:"name"`
	Exporter  string  `yaml:"exporter" json:"exporter"` // its name or address, as Detector.Link is told
	Interface uint32  `yaml:"interface" json:"interface"`
	Capacity  float64 `yaml:"capacity" json:"capacity"` // bits a second; 0 not known
	Total     Line    `yaml:"total" json:"total"`
}

// DefaultThresholds are FastNetMon's for addresses, with its 3,500 flows switched on.
func DefaultThresholds() Thresholds {
	return Thresholds{
		Address:  Line{Packets: 20_000, Bits: 1e9, Flows: 3_500},
		Outgoing: Line{Packets: 20_000, Bits: 1e9, Flows: 3_500},
		Prefix:   Line{Packets: 60_000, Bits: 3e9, Flows: 10_500},
		Raise:    6, Clear: 3, Floor: 0.25,
		Quiet: 60, Hold: 60, HoldMost: 1800,
	}
}

// or is l where it is set, else w.
func (l Line) or(w Line) Line {
	if l.Packets == 0 {
		l.Packets = w.Packets
	}
	if l.Bits == 0 {
		l.Bits = w.Bits
	}
	if l.Flows == 0 {
		l.Flows = w.Flows
	}
	return l
}

func (l Line) times(k float64) Line { return Line{l.Packets * k, l.Bits * k, l.Flows * k} }

// most is how many customers, links or prefixes with lines of their own may be set.
const most = 4096

// filled gives unset fields the values of the default, and says what can't be.
func (t Thresholds) filled() (Thresholds, error) {
	def := DefaultThresholds()
	t.Address, t.Outgoing, t.Prefix = t.Address.or(def.Address), t.Outgoing.or(def.Outgoing), t.Prefix.or(def.Prefix)
	for _, f := range []struct{ v, def *float64 }{{&t.Raise, &def.Raise}, {&t.Clear, &def.Clear}, {&t.Floor, &def.Floor}} {
		if *f.v == 0 {
			*f.v = *f.def
		}
	}
	for _, f := range []struct{ v, def *int }{{&t.Quiet, &def.Quiet}, {&t.Hold, &def.Hold}, {&t.HoldMost, &def.HoldMost}} {
		if *f.v == 0 {
			*f.v = *f.def
		}
	}
	switch {
	case t.Raise < t.Clear || t.Clear < 0:
		return t, fmt.Errorf("thresholds: raise (%g) must be at least clear (%g)", t.Raise, t.Clear)
	case t.Floor < 0 || t.Floor > 1:
		return t, fmt.Errorf("thresholds: floor is a share, 0 to 1, not %g", t.Floor)
	case t.Quiet < 1 || t.Quiet > 3600 || t.Hold < 1 || t.HoldMost < t.Hold || t.HoldMost > 86400:
		return t, errors.New("thresholds: quiet is 1 to 3600 seconds, hold at least 1, hold_most at least hold and at most a day")
	case len(t.Customers) > most || len(t.Links) > most || len(t.Prefixes) > most:
		return t, fmt.Errorf("thresholds: at most %d customers, links and prefixes can be set", most)
	}
	names := map[string]int{}
	for i, c := range t.Customers {
		if _, twice := names[c.Name]; c.Name == "" || twice {
			return t, fmt.Errorf("thresholds: customer %d needs a name of its own, not %q", i+1, c.Name)
		}
		names[c.Name] = i
	}
	for _, c := range t.Customers {
		steps := 0
		for at := c; at.Within != ""; steps++ {
			i, ok := names[at.Within]
			if !ok {
				return t, fmt.Errorf("thresholds: customer %q is within %q, which isn't there", at.Name, at.Within)
			}
			if steps > deepest {
				return t, fmt.Errorf("thresholds: customer %q stands within itself, or more than %d deep", c.Name, deepest)
			}
			at = t.Customers[i]
		}
		for _, p := range c.Prefixes {
			if !p.IsValid() {
				return t, fmt.Errorf("thresholds: customer %q has a prefix that can't be read: write it as 203.0.113.0/24", c.Name)
			}
		}
	}
	for _, p := range t.Prefixes {
		if !p.Prefix.IsValid() {
			return t, errors.New("thresholds: a prefix can't be read: write it as 203.0.113.0/24")
		}
	}
	return t, nil
}

// deepest is how many customers may stand around one.
const deepest = 8
