package record

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sakimori/base/store"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// Writer takes the changes of a table. Save and Saved are called by any goroutine, all else
// by the one that calls Routed.
type Writer struct {
	record *Record
	o      Options
	run    uint64
	runs   uint32 // of the part before it
	stats  Stats
	number uint64 // of the last change
	serial uint64 // of the last cut
	begun  int64
	until  int64

	peers  map[observe.RoutePeer]uint32 // identity → number in route_peer
	known  []uint32                     // by the table's number
	last   []int64                      // time of the last change, by the table's number
	keys   []uint64                     // of paths, by the table's number; 0 not known
	paths  map[uint64]struct{}          // keys that were written, some of them
	buf    []byte
	minute int64
	inside int // changes of the minute
	open   batch

	waiting atomic.Int64 // changes of batches
	mu      sync.Mutex   // of what follows
	batches []batch
}

// pathsKnown is how many keys of paths are remembered, so that they aren't written again:
// some 20 MB.
const pathsKnown = 1 << 19

// clockBack is how far a peer's clock may go back and is held: beyond it was set, or it
// was wrong before.
const clockBack = 10 * time.Minute

// change is a line of route_change. Words of eight bytes come first: 56 bytes.
type change struct {
	at, number uint64
	hi, lo     uint64
	path, was  uint64
	peer, id   uint32
	bits       uint8
	v6         bool
	marks      observe.RouteMarks
}

type path struct {
	key   uint64
	words []byte
}

type peer struct {
	number uint32
	is     observe.RoutePeer
}

// batch is what one cut has.
type batch struct {
	serial       uint64
	changes      []change
	paths        []path
	peers        []peer
	lost         map[int64]uint64 // by minute
	begun, until int64
	stats        Stats // then
}

// Writer begins a run of a part.
func (r *Record) Writer(ctx context.Context, o Options) (*Writer, error) {
	if o.Pending <= 0 {
		o.Pending = 2_000_000
	}
	if o.PerMinute <= 0 {
		o.PerMinute = 1_000_000
	}
	w := &Writer{record: r, o: o, peers: map[observe.RoutePeer]uint32{}, paths: map[uint64]struct{}{}}
	err := r.store.View(ctx, func(v store.Asker) error {
		err := v.QueryRow(ctx, fmt.Sprintf(`SELECT coalesce(max(number) + 1, 0)::UINTEGER FROM route_run WHERE part = %d`, o.Part)).Scan(&w.runs)
		if err != nil {
			return err
		}
		w.run = runOf(o.Part, w.runs)
		list, err := peersOf(ctx, v)
		for n, is := range list {
			w.peers[is] = n
		}
		return err
	})
	return w, wrap(err, "begin a run")
}

// identity is what a peer stays over runs.
func identity(p *observe.RoutePeer) observe.RoutePeer {
	return observe.RoutePeer{Feed: p.Feed, Router: p.Router, Address: p.Address, AS: p.AS, RD: p.RD, View: p.View}
}

// peersOf are all that were ever kept.
func peersOf(ctx context.Context, a store.Asker) (map[uint32]observe.RoutePeer, error) {
	rows, err := a.Query(ctx, `SELECT peer, feed, router, address, asn, rd, view FROM route_peer`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := map[uint32]observe.RoutePeer{}
	for rows.Next() {
		var n uint32
		var p observe.RoutePeer
		var router, address string
		if err := rows.Scan(&n, &p.Feed, &router, &address, &p.AS, &p.RD, &p.View); err != nil {
			return nil, err
		}
		p.Router, _ = netip.ParseAddr(router) // "" where it isn't told
		p.Address, _ = netip.ParseAddr(address)
		list[n] = p
	}
	return list, rows.Err()
}

// Routed implements observe.Routes. It copies what it needs and writes nothing. It must get
// every batch of the table: so it knows when a number of a path is given anew.
func (w *Writer) Routed(b *observe.RouteBatch) {
	for i := range b.Routes {
		w.take(b.Table, &b.Routes[i])
	}
	for i := range b.Routes {
		if was := b.Routes[i].Was; int(was) < len(w.keys) && was != 0 && b.Table.Uses(was) == 0 {
			w.keys[was] = 0
		}
	}
}

func (w *Writer) take(t observe.RouteTable, r *observe.Route) {
	n := w.peer(t, r.Peer)
	at := r.At
	if back := w.last[r.Peer] - at; back > 0 && back < int64(clockBack) {
		at += back // what was told later comes later
	}
	w.last[r.Peer] = at
	if w.begun == 0 {
		w.begun = at
	}
	w.until = max(w.until, at)
	if m := at / int64(time.Minute); m != w.minute {
		w.minute, w.inside = m, 0
	}
	if r.Marks&observe.RouteState == 0 {
		w.inside++
	}
	full := w.Pending() >= w.o.Pending
	if full && w.o.Full != nil {
		w.o.Full()
		full = w.Pending() >= w.o.Pending
	}
	if full || w.inside > w.o.PerMinute {
		w.stats.Dropped++
		if w.open.lost == nil {
			w.open.lost = map[int64]uint64{}
		}
		w.open.lost[at/int64(time.Minute)*int64(time.Minute)]++
		return
	}
	w.number++
	w.stats.Changes++
	hi, lo, bits, v6 := place(t.Prefix(r.Prefix))
	w.open.changes = append(w.open.changes, change{
		at: uint64(at), number: w.number, hi: hi, lo: lo, bits: bits, v6: v6, peer: n, id: r.ID, marks: r.Marks, //nolint:gosec // after 1970
		path: w.path(t, r.Path), was: w.path(t, r.Was),
	})
}

// place is a prefix as the tables have it.
func place(p netip.Prefix) (hi, lo uint64, bits uint8, v6 bool) {
	a := packet.FromNetip(p.Addr())
	if p.Addr().Is4() {
		return uint64(a.V4()) << 32, 0, uint8(p.Bits()), false //nolint:gosec // at most 32
	}
	return a.Hi, a.Lo, uint8(p.Bits()), true //nolint:gosec // at most 128
}

// prefix is place's way back.
func prefix(hi, lo uint64, bits uint8, v6 bool) netip.Prefix {
	if !v6 {
		return netip.PrefixFrom(packet.V4(uint32(hi>>32)).Netip(), int(bits))
	}
	return netip.PrefixFrom(packet.Addr{Hi: hi, Lo: lo}.Netip(), int(bits))
}

// peer is the kept number of a peer of the table.
func (w *Writer) peer(t observe.RouteTable, n uint32) uint32 {
	for int(n) >= len(w.known) {
		w.known, w.last = append(w.known, 0), append(w.last, 0)
	}
	if w.known[n] == 0 {
		is := identity(t.Peer(n))
		number, ok := w.peers[is]
		if !ok {
			number = uint32(len(w.peers) + 1) //nolint:gosec // some thousands
			w.peers[is] = number
			w.open.peers = append(w.open.peers, peer{number, is})
		}
		w.known[n] = number
	}
	return w.known[n]
}

// path is the key of a path, which is put down where it may be new.
func (w *Writer) path(t observe.RouteTable, id uint32) uint64 {
	if id == 0 {
		return 0
	}
	if int(id) < len(w.keys) && w.keys[id] != 0 {
		return w.keys[id]
	}
	for int(id) >= len(w.keys) {
		w.keys = append(w.keys, make([]uint64, 1<<12)...)
	}
	w.buf = encode(w.buf[:0], t.Path(id))
	key := keyOf(w.buf, w.record.seed)
	if _, ok := w.paths[key]; !ok {
		if len(w.paths) >= pathsKnown {
			clear(w.paths)
		}
		w.paths[key] = struct{}{}
		w.open.paths = append(w.open.paths, path{key, append([]byte(nil), w.buf...)})
		w.stats.Paths++
	}
	w.keys[id] = key
	return key
}

// Pending is how many changes wait for the next Cut, or for Save. It is called by who
// calls Routed.
func (w *Writer) Pending() int { return int(w.waiting.Load()) + len(w.open.changes) }

// Stats is what it did.
func (w *Writer) Stats() Stats { return w.stats }

// Until says that the data's time has come so far: the run answers until then, although
// nothing may have changed. It counts with the next Cut.
func (w *Writer) Until(at time.Time) {
	if w.begun == 0 {
		w.begun = at.UnixNano()
	}
	w.until = max(w.until, at.UnixNano())
}

// Cut hands what came since the last one to Save, and gives its serial. It is called by
// who calls Routed.
func (w *Writer) Cut() (serial uint64) {
	w.serial++
	b := w.open
	b.serial, b.begun, b.until, b.stats = w.serial, w.begun, w.until, w.stats
	w.open = batch{}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.batches = append(w.batches, b)
	w.waiting.Add(int64(len(b.changes)))
	return w.serial
}

// after are the batches that come after saved, up to serial; those up to saved are
// forgotten.
func (w *Writer) after(saved, serial uint64) []batch {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.batches) > 0 && w.batches[0].serial <= saved {
		w.waiting.Add(-int64(len(w.batches[0].changes)))
		w.batches[0] = batch{}
		w.batches = w.batches[1:]
	}
	n := 0
	for n < len(w.batches) && w.batches[n].serial <= serial {
		n++
	}
	return w.batches[:n:n]
}

// Saved says that what was cut up to serial is on disk: its memory is free. Without it the
// next Save finds out.
func (w *Writer) Saved(serial uint64) { w.after(serial, serial) }

// Save writes what was cut up to serial into the transaction. Whatever becomes of that,
// each cut is written once: the next Save looks up which one was the last on disk.
func (w *Writer) Save(ctx context.Context, tx *store.Tx, serial uint64) error {
	saved, err := serialOf(ctx, tx, w.run)
	if err != nil {
		return wrap(err, "where the writer ended")
	}
	batches := w.after(saved, serial)
	if len(batches) == 0 {
		return nil
	}
	if err := write(tx, w.run, batches); err != nil {
		return wrap(err, "write routes")
	}
	last := &batches[len(batches)-1]
	p := position{w.o.Part, w.runs, last.serial, last.begun, last.until, w.o.Live, last.stats}
	return wrap(p.write(ctx, tx, w.run), "where the writer ended")
}

func write(tx *store.Tx, run uint64, batches []batch) error {
	for _, t := range []struct {
		table string
		rows  func(b *batch, row store.Row) error
	}{
		{"route_peer", func(b *batch, row store.Row) error {
			for _, p := range b.peers {
				if err := row(p.number, p.is.Feed, text(p.is.Router), text(p.is.Address), p.is.AS, p.is.RD, uint8(p.is.View)); err != nil {
					return err
				}
			}
			return nil
		}},
		{"route_path", func(b *batch, row store.Row) error {
			for _, p := range b.paths {
				if err := row(p.key, p.words); err != nil {
					return err
				}
			}
			return nil
		}},
		{"route_change", func(b *batch, row store.Row) error {
			for i := range b.changes {
				c := &b.changes[i]
				if err := row(int64(c.at), run, c.number, c.peer, c.v6, c.hi, c.lo, c.bits, c.id, c.path, c.was, uint8(c.marks)); err != nil { //nolint:gosec // after 1970
					return err
				}
			}
			return nil
		}},
		{"route_lost", func(b *batch, row store.Row) error {
			for m, n := range b.lost {
				if err := row(run, m, n); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		if err := tx.Append(t.table, func(row store.Row) error {
			for i := range batches {
				if err := t.rows(&batches[i], row); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return fmt.Errorf("%s: %w", t.table, err)
		}
	}
	return nil
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
