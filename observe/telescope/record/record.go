// Package record keeps what the telescope counted, and answers questions about
// it: roll-ups by minute, hour and day, events, gaps, imports and the engine's
// state, on base/store.
//
// A bucket is one minute, hour or UTC day as one run of the engine (a part) saw
// it. A part replaces its own buckets while they are open, and adds beside what
// other parts saw. Distinct counts of several buckets come from merging their
// sketches, which stand in sheets; where a sketch is missing the numbers are added, and the sum is
// marked as an upper bound.
package record

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"

	"sakimori/base/store"
	"sakimori/observe"
)

// Row is one key's counts in a bucket; its sets are what Merge takes.
type Row = observe.Count

// Bucket is one part's counts in one minute, hour or day.
type Bucket struct {
	Grain  observe.Grain
	Start  int64   // Unix seconds, a multiple of the grain
	Open   bool    // more may come
	DarkV4 uint64  // IPv4 addresses monitored
	Looked float64 // share of the bucket observed, 0 to 1
	Rows   []Row   // sorted by dim, key

	packed *packed // a minute's instead of Rows, after Pack
}

// Batch is what the engine hands over at once; it is written as one.
type Batch struct {
	Part    uint64 // the engine run that it belongs to
	Buckets []Bucket
	Closed  []observe.Event
	Open    []observe.Event // open events that changed
	Gaps    []observe.Gap
	State   []byte // engine snapshot; nil leaves the last one, empty forgets it
	Import  *Import
}

// Import is one capture being counted, or counted before.
type Import struct {
	ID, Name string
	Digest   [16]byte // of the content
	Size     int64    // bytes
	Config   [16]byte // digest of prefixes and rules used
	Frames   uint64   // frames done so far
	Done     bool
	Started  time.Time
	Finished time.Time // when it was read to its end; zero before. Those of one command are done together
	Part     uint64
	Result   []byte // the JSON document at the end
}

// Merge unites sketches of distinct things, and tells how many the union has.
// Only with keep is the union itself asked for. It is called from several
// goroutines.
type Merge func(sets [][]byte, keep bool) ([]byte, observe.Unique, error)

// Record is the telescope's part of a store.
type Record struct {
	store *store.Store
	merge Merge
	head  int // see headRows

	calendars calendars
	heads     heads
	indexes   indexes
	totals    singleflight.Group
}

// headRows is how many of a bucket's ports, and ASes, with most packets, and how
// many with most sources, stand in its head table as well, with all rows of the
// dimensions that have few keys. Rankings are made from heads, and proven there;
// see candidates. Another number would need all heads made anew.
const headRows = 300

// headOf is that number for a level: in months, which are few and whose numbers
// add up to much, four times as many.
func (r *Record) headOf(l level) int {
	if l == month {
		return 4 * r.head
	}
	return r.head
}

// New prepares the tables.
func New(ctx context.Context, s *store.Store, merge Merge) (*Record, error) {
	if err := s.Migrate(ctx, "telescope", migrations()); err != nil {
		return nil, err
	}
	r := &Record{store: s, merge: merge, head: headRows}
	r.heads.kept.most, r.indexes.kept.most = headRowsKept, indexesKept
	return r, nil
}

// level is a table of counts: the three grains, and the month that Rollup makes
// of closed days so that a year is a dozen buckets and not 365.
type level uint8

const month = level(observe.Day) + 1

var levels = [...]string{"minute", "hour", "day", "month"}

func (l level) String() string { return levels[l] }

func (l level) counts() string { return "telescope_count_" + l.String() }

func (l level) heads() string { return "telescope_head_" + l.String() }

// manyKeys tells which dimensions don't fit in a head.
func manyKeys(d observe.Dim) bool { return d == observe.ByPort || d == observe.ByAS }

// table is the smaller table that has all rows of a dimension.
func table(d observe.Dim) func(level) string {
	if manyKeys(d) {
		return level.counts
	}
	return level.heads
}

const (
	minute = int64(60)
	hour   = int64(3600)
	day    = int64(86400)
)

// monthOf is the first second of the UTC month that t (Unix seconds) is in,
// and of the month after.
func monthOf(t int64) (start, next int64) {
	y, m, _ := time.Unix(t, 0).UTC().Date()
	return time.Date(y, m, 1, 0, 0, 0, 0, time.UTC).Unix(), time.Date(y, m+1, 1, 0, 0, 0, 0, time.UTC).Unix()
}

func at(t int64) time.Time { return time.Unix(t, 0).UTC() }

func wrap(err error, what string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("telescope record: %s: %w", what, err)
}
