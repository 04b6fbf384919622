package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/base/sketch"
	"sakimori/base/store"
	"sakimori/detect"
	"sakimori/detect/register"
	"sakimori/observe"
	flowrecord "sakimori/observe/flow/record"
	routerecord "sakimori/observe/route/record"
	"sakimori/observe/telescope/record"
)

// keeper writes down what watches make: counts, events, findings, and the state
// from which each goes on, all of a moment in one transaction. So a kill at any
// moment loses nothing that was acknowledged, and counts nothing twice.
type keeper struct {
	dir      string
	store    *store.Store
	record   *record.Record
	flows    *flowrecord.Record
	routes   *routerecord.Record
	register *register.Register

	mu      sync.Mutex
	leftOut uint64         // events too small to be kept by themselves
	own     []netip.Prefix // every own prefix that any import or capture has named
}

// openKeeper opens the data folder, or tells who has it (*store.ErrBusy).
func openKeeper(ctx context.Context, dir string) (*keeper, error) {
	s, err := store.Open(ctx, dir, store.Options{MemoryLimit: 384 << 20})
	if err != nil {
		return nil, err
	}
	k := &keeper{dir: dir, store: s}
	if k.record, err = record.New(ctx, s, mergeSets); err == nil {
		k.register, err = register.New(ctx, s)
	}
	if err == nil {
		k.flows, err = flowrecord.New(ctx, s)
	}
	if err == nil {
		k.routes, err = routerecord.New(ctx, s)
	}
	if err == nil {
		k.own, err = readOwn(filepath.Join(dir, ownFile))
	}
	if err != nil {
		_ = s.Close() // the first error says more
		return nil, err
	}
	return k, nil
}

// ownFile lists the own prefixes of everything that is kept: what was imported
// with an own prefix is masked for ever, whatever the configuration says later.
const ownFile = "own.prefixes"

func readOwn(path string) (own []netip.Prefix, err error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.FieldsSeq(string(b)) {
		p, err := parsePrefix(line, "own")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		own = append(own, p)
	}
	return own, nil
}

// addOwn notes own prefixes before anything is counted with them.
func (k *keeper) addOwn(more []netip.Prefix) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.own)
	for _, p := range more {
		if !slices.Contains(k.own, p.Masked()) {
			k.own = append(k.own, p.Masked())
		}
	}
	if len(k.own) == n {
		return nil
	}
	var b strings.Builder
	for _, p := range k.own {
		fmt.Fprintln(&b, p)
	}
	path := filepath.Join(k.dir, ownFile)
	if err := os.WriteFile(path+".new", []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// isOwn tells whether an address is under any of them.
func (k *keeper) isOwn(a netip.Addr) bool {
	a = a.Unmap()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.own {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (k *keeper) Close() error { return k.store.Close() }

// mergeSets unites stored sets of sources or targets.
func mergeSets(sets [][]byte, keep bool) (union []byte, u observe.Unique, err error) {
	all, err := sketch.Unite(sketch.Exact, sets)
	if err != nil {
		return nil, u, err
	}
	if keep {
		union = all.Append(nil)
	}
	return union, observe.Unique{N: all.Count(), Err: all.Error()}, nil
}

// Of the events that end, or go on, between two saves at most so many are kept
// by themselves, the largest; the counts have them all.
const eventsKept = 50_000

// save makes a checkpoint of a watch: between packets, from the goroutine that
// feeds it. The imports are written with it.
func (k *keeper) save(ctx context.Context, w *watch, imports []*record.Import, since time.Time) error {
	snap, err := w.snapshot()
	if err != nil {
		return err
	}
	return k.write(ctx, w, snap, since, func() {}, func() ([]*record.Import, error) { return imports, nil })
}

// snapshot is the state of a watch, from which it can go on.
type snapshot struct {
	telescope []byte
	detectors map[string][]byte
}

func (w *watch) snapshot() (snapshot, error) {
	s := snapshot{telescope: w.tel.Snapshot(), detectors: map[string][]byte{}}
	w.hit.Store(w.tel.Hit())
	for _, d := range w.detectors() {
		b, err := d.State()
		if err != nil {
			return s, fmt.Errorf("state of %s: %w", d.name, err)
		}
		s.detectors[d.name] = b
	}
	return s, nil
}

// write puts everything pending on disk, with a snapshot that may be older than
// it by the minutes that were still open: those are given again then. What is
// there goes in while the rest is made: first finish may close what is open, and
// at the end last gives the imports' entries.
func (k *keeper) write(ctx context.Context, w *watch, snap snapshot, since time.Time, finish func(), last func() ([]*record.Import, error)) error {
	pieces := make(chan record.Batch, 3)
	pieces <- record.Batch{Part: w.part, Buckets: w.takeBuckets()}
	var findings []detect.Finding
	var failed error
	go func() {
		defer close(pieces)
		finish()
		var open sync.WaitGroup
		open.Go(func() {
			w.tel.OpenBuckets()
			pieces <- record.Batch{Part: w.part, Buckets: w.takeBuckets()}
		})
		defer open.Wait()
		pieces <- k.events(w, since)
		var imports []*record.Import
		if imports, failed = last(); failed == nil {
			p := w.take()
			findings = p.findings
			pieces <- record.Batch{Part: w.part, Buckets: p.buckets, Closed: p.closed, Gaps: p.gaps}
			for _, imp := range imports {
				pieces <- record.Batch{Part: w.part, Import: imp}
			}
		}
	}()
	defer func() { // whatever happens, the watch is the caller's again
		for range pieces {
		}
	}()
	return k.store.Tx(ctx, func(tx *store.Tx) error {
		// The states first: their files are written while the rows go in.
		if err := k.record.Write(tx, record.Batch{Part: w.part, State: snap.telescope}); err != nil {
			return err
		}
		for _, d := range w.detectors() {
			if err := k.register.SaveState(tx, d.name, w.part, snap.detectors[d.name]); err != nil {
				return err
			}
		}
		snap = snapshot{} // hundreds of megabytes that are free as soon as they are written
		for p := range pieces {
			if err := k.record.Write(tx, p); err != nil {
				return err
			}
		}
		if failed != nil {
			return failed
		}
		return k.register.Write(tx, findings)
	})
}

// events are the largest of those that a watch has seen end, and of those that go
// on.
func (k *keeper) events(w *watch, since time.Time) record.Batch {
	open, left := w.tel.Open(since, eventsKept)
	closed, more := largest(w.takeClosed(), eventsKept)
	k.mu.Lock()
	k.leftOut += uint64(left + more) //nolint:gosec // counts
	k.mu.Unlock()
	return record.Batch{Part: w.part, Closed: closed, Open: open}
}

// arrange sorts the days that a watch has gone through and closed, so that a
// port's month is found at once.
func (k *keeper) arrange(ctx context.Context, w *watch) error {
	const day = 24 * time.Hour
	first, last, ok := w.tel.Span()
	if !ok {
		return nil
	}
	const most = 400 // a capture whose clock jumped isn't a century of days
	for d, n := first.Truncate(day), 0; !d.Add(day).After(last) && n < most; d, n = d.Add(day), n+1 {
		if err := k.record.Cluster(ctx, d); err != nil {
			return err
		}
	}
	return k.record.Rollup(ctx)
}

// largest are the n events with most packets, in their order.
func largest(events []observe.Event, n int) (kept []observe.Event, left int) {
	if len(events) <= n {
		return events, 0
	}
	least := nth(events, n)
	for i := range events {
		if events[i].Packets >= least {
			kept = append(kept, events[i])
		}
	}
	return kept, len(events) - len(kept)
}

// restore brings a new watch to the state of its part. It says whether there
// was one.
func (k *keeper) restore(ctx context.Context, w *watch) (bool, error) {
	state, err := k.record.State(ctx, w.part)
	if err != nil || len(state) == 0 {
		return false, err
	}
	if err := w.tel.Restore(state); err != nil {
		return false, err
	}
	for _, d := range w.detectors() {
		b, err := k.register.State(ctx, d.name, w.part)
		if err != nil {
			return false, err
		}
		if len(b) == 0 {
			continue
		}
		if err := d.Restore(b); err != nil {
			return false, fmt.Errorf("detector %s: %w", d.name, err)
		}
	}
	return true, nil
}

// ack notes that a person has seen a finding.
func (k *keeper) ack(ctx context.Context, id, by, note string, at time.Time) error {
	return k.register.Ack(ctx, id, by, note, at)
}

// newPart is the name of a new run: it only has to differ from all others.
func newPart(digest [16]byte, at time.Time) uint64 {
	return (binary.LittleEndian.Uint64(digest[:]) ^ uint64(at.UnixNano())*0x9e3779b97f4a7c15) >> 1
}

var _ detect.Findings = (*watch)(nil)

// nth is the number of packets that the n largest events have at least.
func nth(events []observe.Event, n int) uint64 {
	packets := make([]uint64, len(events))
	for i := range events {
		packets[i] = events[i].Packets
	}
	slices.Sort(packets)
	return packets[len(packets)-n]
}
