// Package flow takes what exporters say of the packets that pass them, NetFlow versions
// 5 and 9, IPFIX and sFlow version 5, and makes Flows of it: scaled by the sampling rate,
// on this machine's clock, each with the number of its exporter.
//
//	d, err := flow.NewDirectory(cfg)            // numbers exporters and knows how they fare
//	c := d.Collector(func(b []observe.Flow) {…}) // one for each goroutine
//	err = c.Ingest(datagram, from, arrival)
//	c.Flush()                                    // hands on what isn't a whole batch yet
//
// Listen does that for sockets, Read for captures and files. A Collector takes no lock
// and allocates nothing for a record: a template is compiled once to a list of fields and
// where they go. What it knows of itself it lays open when it is asked to Publish.
//
// All memory is bounded, see Config. Nothing an exporter sends can take it from another.
package flow

import (
	"fmt"
	"net/netip"

	"sakimori/base/wire/packet"
)

// Config is what may be set; zero values of the bounds take those of DefaultConfig.
type Config struct {
	Allow     []netip.Prefix // whose datagrams are read; none: everybody's, which is for files alone
	Exporters []Settings     // what is known of exporters: the first whose Prefix holds the address counts
	Default   Settings       // what counts for all others
	Tunnels   packet.Decoder // which tunnels are looked into in sampled packets

	MaxExporters  int // addresses with their domains; what comes of further ones is refused and counted
	MaxFields     int // of the templates of one address, 100 bytes each
	MaxWaiting    int // bytes of one address that wait for their template
	MaxWaitingAll int // and of all of them, for each Collector
	Batch         int // flows that are handed on at once, 104 bytes each
}

// DefaultConfig is what bounds memory when nothing is set: 1,024 exporters of at most
// 200 kB for templates and 512 kB of what waits, of that 32 MiB in all.
func DefaultConfig() Config {
	return Config{MaxExporters: 1024, MaxFields: 2048, MaxWaiting: 512 << 10, MaxWaitingAll: 32 << 20, Batch: 512}
}

// Settings are what a person knows of exporters.
type Settings struct {
	Prefix     netip.Prefix // whose; a single address is a prefix too
	Name       string       // for people; "": the address
	Rate       uint32       // one packet of so many is looked at, where the exporter doesn't say; 0 not known
	Override   bool         // Rate counts whatever the exporter says
	Clock      Clock
	PerPort    bool // several exporters stand behind the address and are told apart by port
	Limit      int  // records a second that are read; 0: all
	Interfaces map[uint32]Interface
}

// Interface is what a person calls an interface.
type Interface struct {
	Name     string
	Capacity uint64 // bits a second, 0 not known
}

// Clock says which times of a record count.
type Clock uint8

// The clocks.
const (
	Record  Clock = iota // first and last packet as the exporter says, its skew taken off
	Arrival              // the last packet came when the record did; how long the flow took is the exporter's word
)

var clockNames = [...]string{"record", "arrival"}

// String is the word of the command line.
func (c Clock) String() string {
	if int(c) < len(clockNames) {
		return clockNames[c]
	}
	return "invalid"
}

// UnmarshalText reads the word of the command line.
func (c *Clock) UnmarshalText(b []byte) error {
	for i, n := range clockNames {
		if n == string(b) {
			*c = Clock(i)
			return nil
		}
	}
	return fmt.Errorf("clock %q: use record or arrival", b)
}

// whole fills in the bounds and checks the rest.
func (cfg *Config) whole() error {
	d := DefaultConfig()
	for _, b := range [...]struct{ is, otherwise *int }{
		{&cfg.MaxExporters, &d.MaxExporters},
		{&cfg.MaxFields, &d.MaxFields},
		{&cfg.MaxWaiting, &d.MaxWaiting},
		{&cfg.MaxWaitingAll, &d.MaxWaitingAll},
		{&cfg.Batch, &d.Batch},
	} {
		if *b.is <= 0 {
			*b.is = *b.otherwise
		}
	}
	for _, s := range append([]Settings{cfg.Default}, cfg.Exporters...) {
		if s.Override && s.Rate == 0 {
			return fmt.Errorf("exporter %q %s: override needs a rate: 1 where every packet is looked at", s.Name, s.Prefix)
		}
		if s.Limit < 0 {
			return fmt.Errorf("exporter %q %s: limit must be 0, for none, or records a second", s.Name, s.Prefix)
		}
	}
	for i, s := range cfg.Exporters {
		if !s.Prefix.IsValid() {
			return fmt.Errorf("exporter %q: name its address or prefix", s.Name)
		}
		cfg.Exporters[i].Prefix = s.Prefix.Masked()
	}
	return nil
}

// allowed tells whether datagrams from there are read.
func (cfg *Config) allowed(a netip.Addr) bool {
	if len(cfg.Allow) == 0 {
		return true
	}
	for _, p := range cfg.Allow {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// of are the settings of an address.
func (cfg *Config) of(a netip.Addr) *Settings {
	for i := range cfg.Exporters {
		if cfg.Exporters[i].Prefix.Contains(a) {
			return &cfg.Exporters[i]
		}
	}
	return &cfg.Default
}
