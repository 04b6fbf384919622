// Package route keeps what BGP neighbours say of the Internet: who announces which prefix
// by which path, from sessions, BMP, dumps and streams, and hands on each change of it.
//
//	t, err := route.New(route.Config{}, detector)   // observe.Routes take the changes
//	peer := t.PeerOf(route.Key{Feed: "rrc06", Address: a, AS: as}, at)
//	err = t.Update(peer, bgp.Options{AS4: true}, message, at)
//	t.Flush()                                       // hands on what waits
//
// Read does that for files, Live for sources on the network. A Table numbers prefixes,
// peers and paths; equal paths are kept once. Messages wait until there are enough of them
// for the memory of what they touch to be asked for together; then they are applied in
// order and their changes handed on as one batch. No update of a known path allocates.
//
// # First tables
//
// How things are isn't news. Entries of a dump carry observe.RouteState, and so does what
// a peer announces after its session began, until its first table of the family ends: with
// End-of-RIB (RFC 4724), or without one when in a minute of the data's time fewer new
// prefixes came than a hundredth of what the peer has, or after ten minutes. Of a peer
// that was neither seen to begin nor in a dump nothing is known before its first update:
// what it announces first may be old, and isn't marked.
//
// When a session ends its routes stay for Config.Grace: a peer that comes back within it
// gives only the differences. What isn't told again goes as observe.RouteDown.
//
// # Memory
//
// A prefix takes 64 bytes with up to three routes, each further one 12 to 24; its place in
// the two indexes some 16 and 40. A path takes about 270 bytes and is kept once. Where a
// bound of Config is reached, what goes beyond is refused and counted.
package route

import (
	"fmt"
	"net/netip"
	"time"

	"sakimori/observe"
)

// Config is what may be set; zero values take those of DefaultConfig.
type Config struct {
	MaxPrefixes int           // that are ever announced; their numbers are never given anew
	MaxPaths    int           // different ones at a time
	MaxRoutes   int           // of all peers
	MaxPeers    int           // at most 65,535
	Batch       int           // prefixes that wait to be applied together, a little more with messages of many
	Grace       time.Duration // how long routes stay when a session ended; negative: not at all
	NoMessages  bool          // batches hold no raw messages
}

// DefaultConfig is for a router's or a small collector's neighbours. Four whole tables of
// today take some 0.5 GB; all of it full takes 2.1.
func DefaultConfig() Config {
	return Config{MaxPrefixes: 4 << 20, MaxPaths: 4 << 20, MaxRoutes: 32 << 20, MaxPeers: 4096, Batch: 256, Grace: 2 * time.Minute}
}

func (c *Config) whole() error {
	d := DefaultConfig()
	for _, b := range [...]struct{ is, otherwise *int }{
		{&c.MaxPrefixes, &d.MaxPrefixes}, {&c.MaxPaths, &d.MaxPaths}, {&c.MaxRoutes, &d.MaxRoutes}, {&c.MaxPeers, &d.MaxPeers}, {&c.Batch, &d.Batch},
	} {
		if *b.is < 0 {
			return fmt.Errorf("routes: a bound of %d: take one above 0, or 0 for the usual one", *b.is)
		}
		if *b.is == 0 {
			*b.is = *b.otherwise
		}
	}
	if c.MaxPeers > 65535 || c.MaxPrefixes > 1<<28 || c.MaxPaths > 1<<25 || c.MaxRoutes > 1<<28 {
		return fmt.Errorf("routes: at most 65,535 peers, %d paths, and %d prefixes and routes", 1<<25, 1<<28)
	}
	if c.Grace == 0 {
		c.Grace = d.Grace
	}
	c.Grace = max(c.Grace, 0)
	return nil
}

// Key is what peers differ in.
type Key struct {
	Feed    string     // the source as configured, or a file
	Router  netip.Addr // which tells it by BMP; zero of all others, so that dumps and updates are of the same peer
	Address netip.Addr
	AS      uint32
	RD      uint64
	View    observe.RouteView
}

// Counts are of everything since the start.
type Counts struct {
	Messages      uint64  `json:"messages"`
	Elements      uint64  `json:"elements"` // prefixes in them
	Announcements uint64  `json:"announcements"`
	Withdrawals   uint64  `json:"withdrawals"`
	States        uint64  `json:"states"`    // sessions that began or ended
	Changes       uint64  `json:"changes"`   // handed on
	Unchanged     uint64  `json:"unchanged"` // announced again as it was, or withdrawn without having been there
	Multicast     uint64  `json:"multicast"` // of those families, which aren't in the table
	Other         uint64  `json:"other"`     // blocks of families that aren't read
	Malformed     uint64  `json:"malformed"`
	Discarded     uint64  `json:"discarded"` // attributes that were left out as damaged
	Faults        []Fault `json:"faults"`    // the reasons of Malformed, by number

	Refused  Refused `json:"refused"`
	Prefixes int     `json:"prefixes"` // that somebody announces now
	Numbered int     `json:"numbered"` // that somebody ever announced
	Routes   int     `json:"routes"`
	Paths    int     `json:"paths"`
	Peers    int     `json:"peers"`
	Bytes    int64   `json:"bytes"` // of memory, see Table.Bytes
}

// Fault is a reason for which messages couldn't be read.
type Fault struct {
	Reason string `json:"reason"`
	Count  uint64 `json:"count"`
}

// Refused counts what went beyond the bounds of Config.
type Refused struct {
	Prefixes uint64 `json:"prefixes"` // announcements of prefixes that had no room
	Paths    uint64 `json:"paths"`    // announcements whose path had none
	Routes   uint64 `json:"routes"`
	Peers    uint64 `json:"peers"` // messages of peers that had none
}
