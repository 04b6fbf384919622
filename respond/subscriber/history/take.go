package history

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"

	"github.com/cespare/xxhash/v2"

	"sakimori/respond/subscriber"
)

// ErrSources is what Take returns when there are more sources than can be told apart.
var ErrSources = errors.New("more than 65,000 sources of records: give them fewer names")

const mostSources = 65_000

// longest name of a source or session that is kept.
const longestName = 255

// Take keeps records. When it returns nil they are on disk. One that names no address
// or no source is left out; whoever made it has counted it.
func (h *History) Take(ctx context.Context, records []subscriber.Record) error {
	l := &lot{done: make(chan error, 1)}
	for i := range records {
		r := &records[i]
		source := r.Source[:min(len(r.Source), longestName)]
		if r.At.IsZero() || source == "" {
			continue
		}
		if r.Kind == subscriber.Reset {
			l.resets = append(l.resets, restart{source, r.At.UnixNano()})
		} else if s, ok := h.spanOf(r); ok {
			l.spans, l.sources = append(l.spans, s), append(l.sources, source)
		}
	}
	select {
	case h.waiting <- l:
	case <-ctx.Done():
		return ctx.Err()
	case <-h.ended:
		return os.ErrClosed
	}
	return <-l.done // what is on its way to the disk isn't called back
}

// number gives a lot's spans the numbers of their sources, and adds what the log must
// know of it; with an error only the names of new sources.
func (h *History) number(log []byte, l *lot) ([]byte, error) {
	var rows []byte
	numbered := func(source string) (uint16, error) {
		h.mu.RLock()
		n, known := h.sources[source]
		h.mu.RUnlock()
		if known {
			return n, nil
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.names) >= mostSources {
			return 0, ErrSources
		}
		log = appendThing(log, walSource, []byte(source))
		return h.name(source), nil
	}
	last, n := "", uint16(0)
	for i := range l.spans {
		if i == 0 || l.sources[i] != last {
			var err error
			if n, err = numbered(l.sources[i]); err != nil {
				return log, err
			}
			last = l.sources[i]
		}
		l.spans[i].Source = n
		r := [1]row{rowOf(&l.spans[i])}
		rows = appendThing(rows, walRow, bytesOf(r[:]))
	}
	for i := range l.resets {
		n, err := numbered(l.resets[i].source)
		if err != nil {
			return log, err
		}
		b := binary.LittleEndian.AppendUint16(nil, n)
		rows = appendThing(rows, walReset, binary.LittleEndian.AppendUint64(b, uint64(l.resets[i].at))) //nolint:gosec // the same bits
	}
	return append(log, rows...), nil
}

// spanOf is a record as a span.
func (h *History) spanOf(r *subscriber.Record) (s subscriber.Span, ok bool) {
	if !r.Address.IsValid() {
		return s, false
	}
	s.Addr, s.Bits = Place(r.Address)
	s.Ports, s.Proto = r.Ports, r.Proto
	switch {
	case r.Line == "" && !r.Inside.IsValid():
		s.Holder = subscriber.Holder{ID: h.opts.Pseudonym(r.Source + "\x00" + r.Session), Unnamed: true}
	case r.Inside.IsValid():
		s.Holder = subscriber.Holder{ID: r.Inside.As16(), Inside: true}
	default:
		s.Holder.ID = h.opts.Pseudonym(r.Line)
	}
	at := r.At.UnixNano()
	s.First, s.Last = at, at
	if !r.Until.IsZero() {
		s.Until = r.Until.UnixNano()
	}
	if !r.Since.IsZero() && r.Since.Before(r.At) {
		s.First, s.Begin = r.Since.UnixNano(), r.Since.UnixNano()
	}
	switch r.Kind {
	case subscriber.Begin:
		s.Begin = at
	case subscriber.End:
		s.End = at
	case subscriber.Alive, subscriber.Reset:
	}
	if r.Session != "" {
		s.Session = xxhash.Sum64String(r.Session)
	} else {
		s.Point, s.Session = true, uint64(at)
		if s.End != 0 && s.Begin != 0 { // it says when it began, too
			s.Point = false
			s.Session = uint64(s.Begin) //nolint:gosec // as above
		}
	}
	return s, true
}

// Place is a prefix as spans have it.
func Place(p netip.Prefix) (addr [16]byte, bits uint8) {
	n := p.Bits()
	if p.Addr().Is4() {
		n += 96
	}
	return p.Masked().Addr().As16(), uint8(n) //nolint:gosec // at most 128
}

// commit writes lots to the log: all that wait share a sync.
func (h *History) commit() {
	defer close(h.ended)
	const most = 1 << 22 // bytes
	for {
		var first *lot
		select {
		case first = <-h.waiting:
		case <-h.stop:
			return
		}
		var bytes []byte
		var lots []*lot
		take := func(l *lot) {
			var err error
			if bytes, err = h.number(bytes, l); err != nil {
				l.done <- err
				return
			}
			lots = append(lots, l)
		}
		take(first)
	more:
		for len(bytes) < most {
			select {
			case l := <-h.waiting:
				take(l)
			default:
				break more
			}
		}
		err := h.put(bytes, lots)
		for _, l := range lots {
			l.done <- err
		}
	}
}

func (h *History) put(bytes []byte, lots []*lot) error {
	h.mu.RLock()
	err := h.broken
	h.mu.RUnlock()
	if err != nil {
		return err
	}
	if len(bytes) > 0 {
		if err := h.log.append(bytes); err != nil {
			h.fail(err) // what is in the log now isn't known
			return err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range lots {
		for i := range l.spans {
			h.add(&l.spans[i])
		}
		for _, a := range l.resets {
			h.reset(h.sources[a.source], a.at)
		}
	}
	if len(h.table.rows) < h.opts.Rows {
		return nil
	}
	for h.frozen != nil && h.broken == nil {
		h.roomy.Wait()
	}
	if h.broken != nil {
		return h.broken
	}
	next, err := createWAL(h.dir, h.logs+1)
	if err != nil {
		h.broken = err
		return err
	}
	old := h.log
	h.log, h.logs = next, h.logs+1
	h.frozen, h.table = h.table, newTable(h.opts.Rows)
	t := h.frozen
	h.tidy.Go(func() {
		err := errors.Join(h.store(t), old.f.Close())
		if err == nil {
			err = h.merge()
		}
		if err != nil {
			h.fail(err)
		}
	})
	return nil
}
