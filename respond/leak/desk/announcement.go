// Package desk keeps the one act against a routing incident that the house does itself:
// announcing more-specifics of own space, so that traffic comes back.
//
// A person proposes it, two others approve, a Grant stands for it, and it has an end. It
// is announced by whoever is handed in, confirmed when the world is seen to use it, and
// withdrawn when the incident is over, its Grant or its time ends, or a person says so. In
// rehearsal, which is how it begins, everything is written down and nothing announced.
package desk

import (
	"context"
	"errors"
	"net/netip"

	"sakimori/respond"
)

// Announcement is own more-specifics against one incident, and their life.
type Announcement struct {
	respond.Act

	Incident string         `json:"incident"`
	Prefixes []netip.Prefix `json:"prefixes"`
}

// Announcer has own prefixes announced, by the id of the announcement.
type Announcer = respond.Announcer[netip.Prefix]

// Sight tells who sees our own announcement of a prefix: peers, of so many that have a
// whole table.
type Sight interface {
	Seen(ctx context.Context, p netip.Prefix) (peers, whole int, err error)
}

// Deed is what is about to happen, for the ledger. Prefixes of our own are public.
type Deed struct {
	Act      string   `json:"act"`
	Incident string   `json:"incident"`
	Prefixes []string `json:"prefixes"`
	respond.Deed
}

// Recorder writes a deed down before it is done. An error keeps it from being done.
type Recorder interface {
	Record(ctx context.Context, d Deed) error
}

// Errors that callers tell apart, besides those of all acts.
var (
	ErrScope = errors.New("it isn't one of the more-specifics that are proposed and possible")
	ErrTwice = errors.New("another act is about it already")
	ErrOver  = errors.New("the incident is over")
)
