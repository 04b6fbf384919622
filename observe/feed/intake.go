package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"sakimori/base/clock"
	"sakimori/observe"
)

// Sink takes reports. It blocks for as long as it has to: nothing is read meanwhile.
// An error means that it has taken none of the batch; the file is then read again
// later, so a sink must know a report by its ID and take it once. The slice is used
// again after the call, what its reports point to isn't.
type Sink interface {
	Take(ctx context.Context, batch []observe.Report) error
}

// A batch is handed on when it has so many reports or so many bytes.
const (
	batchReports = 500
	batchBytes   = 4 << 20
)

// Intake hands reports on in batches, each of them once.
type Intake struct {
	sink  Sink
	seen  *Seen
	clock clock.Clock
}

// NewIntake hands on to sink what seen doesn't know.
func NewIntake(sink Sink, seen *Seen, c clock.Clock) *Intake {
	return &Intake{sink, seen, c}
}

// File reads a report from a file; the name of the file is Options.Name unless that
// is set.
func (in *Intake) File(ctx context.Context, path string, o Options) (Stats, error) {
	f, err := os.Open(path)
	if err != nil {
		return Stats{}, fmt.Errorf("feed %s: %w", o.Source, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Stats{}, fmt.Errorf("feed %s: %w", o.Source, err)
	}
	if o.Name == "" {
		o.Name = filepath.Base(path)
	}
	return in.Read(ctx, io.NewSectionReader(f, 0, info.Size()), o)
}

// Read reads a report as the function Read does, and hands it on. When it returns,
// the sink has all that the Stats count as Reports less Duplicates; after an error
// of the sink's some may be missing.
func (in *Intake) Read(ctx context.Context, r io.Reader, o Options) (Stats, error) {
	if o.Came.IsZero() {
		o.Came = in.clock.Now()
	}
	b := batch{in: in, at: in.clock.Now(), ids: map[[16]byte]struct{}{}}
	st, err := Read(r, o, func(rep *observe.Report) error { return b.add(ctx, rep) })
	// What was read before the damage counts.
	if bad := (*Unreadable)(nil); err == nil || errors.As(err, &bad) {
		if e := b.flush(ctx); e != nil {
			err = e
		}
	}
	st.Duplicates = b.duplicates
	return st, err
}

// batch gathers reports.
type batch struct {
	in         *Intake
	at         time.Time // of the last batch, or the beginning
	reports    []observe.Report
	ids        map[[16]byte]struct{}
	bytes      int
	duplicates uint64
}

func (b *batch) add(ctx context.Context, r *observe.Report) error {
	id := ID(r)
	if _, ok := b.ids[id]; ok || b.in.seen.has(b.at, id) {
		b.duplicates++
		return nil
	}
	b.ids[id] = struct{}{}
	b.reports = append(b.reports, *r)
	if b.bytes += len(r.Raw); len(b.reports) < batchReports && b.bytes < batchBytes {
		return nil
	}
	return b.flush(ctx)
}

// flush hands on. Only what was taken is remembered.
func (b *batch) flush(ctx context.Context) error {
	if len(b.reports) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.in.sink.Take(ctx, b.reports); err != nil {
		return fmt.Errorf("hand reports on: %w", err)
	}
	b.at = b.in.clock.Now()
	b.in.seen.add(b.at, b.ids)
	clear(b.reports) // so that they can be freed
	clear(b.ids)
	b.reports, b.bytes = b.reports[:0], 0
	return nil
}
