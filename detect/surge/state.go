package surge

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"

	"sakimori/detect"
	"sakimori/observe"
)

// The state is a line that names its form, then tables: a count, then records
// of fixed size, little-endian, in order of key. So the same state has the
// same bytes, and a cut or changed one is refused. Form 1 ended before the table
// of those who scan openly: it is read as if there had been none.
const (
	form  = "sakimori surge 2\n"
	form1 = "sakimori surge 1\n"
)

type header struct {
	Hour, First, Forgot int64
	Dropped             uint64
	Looked              [slots][weekHours]bool
}

// weekRow is a week with something in it, of the key with this place in the
// table of keys.
type weekRow struct {
	Key     uint32
	Slot    uint8
	Sources uint8
	Block   bool // the next one of the table of blocks is its
	Packets uint64
}

// openRow are the hosts that scan openly in a finding's highest hour.
type openRow struct {
	Key uint32 // as in weekRow
	N   uint64
}

// State is everything that a later Restore needs to go on as if nothing had
// happened.
func (d *Detector) State() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	records := make([]record, 0, len(d.keys))
	var rows []weekRow
	var blocks []block
	var open []openRow
	for i, id := range slices.Sorted(maps.Keys(d.keys)) {
		k := d.keys[id]
		records = append(records, k.record)
		if k.peakOpenly > 0 {
			open = append(open, openRow{uint32(i), k.peakOpenly})
		}
		for slot, w := range k.weeks {
			if w == (week{}) {
				continue
			}
			rows = append(rows, weekRow{uint32(i), uint8(slot), w.sources, w.block != nil, w.packets})
			if w.block != nil {
				blocks = append(blocks, *w.block)
			}
		}
	}
	b := []byte(form)
	var err error
	for _, put := range []func() error{
		func() error {
			b, err = detect.AppendTable(b, []header{{d.hour, d.first, d.forgot, d.dropped, d.looked}})
			return err
		},
		func() error { b, err = detect.AppendTable(b, records); return err },
		func() error { b, err = detect.AppendTable(b, rows); return err },
		func() error { b, err = detect.AppendTable(b, blocks); return err },
		func() error { b, err = detect.AppendTable(b, d.rising); return err },
		func() error { b, err = detect.AppendTable(b, open); return err },
	} {
		if err := put(); err != nil {
			return nil, fmt.Errorf("writing the state of surge: %w", err)
		}
	}
	return b, nil
}

// Restore goes back to a State. On an error the detector is as it was.
func (d *Detector) Restore(state []byte) error {
	rest, ok := bytes.CutPrefix(state, []byte(form))
	old := false
	if !ok {
		rest, old = bytes.CutPrefix(state, []byte(form1))
	}
	if !ok && !old {
		return errors.New("the state of surge is of another form or version: start without it")
	}
	var (
		heads   []header
		records []record
		rows    []weekRow
		blocks  []block
		rising  []Rising
		open    []openRow
	)
	err := errors.Join(detect.TakeTable(&rest, &heads), detect.TakeTable(&rest, &records), detect.TakeTable(&rest, &rows),
		detect.TakeTable(&rest, &blocks), detect.TakeTable(&rest, &rising))
	if !old {
		err = errors.Join(err, detect.TakeTable(&rest, &open))
	}
	if err != nil || len(heads) != 1 || len(rest) != 0 {
		return errors.Join(errors.New("the state of surge is damaged: start without it"), err)
	}
	if heads[0].Hour < 0 || heads[0].First < 0 {
		return errors.New("the state of surge is damaged (an hour before 1970): start without it")
	}
	keys := make(map[uint64]*key, len(records))
	order := make([]*key, len(records))
	var active []uint64
	for i, r := range records {
		if i > 0 && r.ID <= records[i-1].ID || int(r.ID>>32) >= observe.Dims {
			return errors.New("the state of surge is damaged (keys out of order): start without it")
		}
		order[i] = &key{record: r}
		keys[r.ID] = order[i]
		if r.Open {
			active = append(active, r.ID)
		}
	}
	used := 0
	for _, r := range rows {
		if int64(r.Key) >= int64(len(order)) || r.Slot >= slots || r.Block && used == len(blocks) {
			return errors.New("the state of surge is damaged (a week without its key): start without it")
		}
		w := week{packets: r.Packets, sources: r.Sources}
		if r.Block {
			w.block = new(blocks[used])
			used++
		}
		order[r.Key].weeks[r.Slot] = w
	}
	for _, r := range open {
		if int64(r.Key) >= int64(len(order)) {
			return errors.New("the state of surge is damaged (openly scanning hosts without their key): start without it")
		}
		order[r.Key].peakOpenly = r.N
	}
	if used != len(blocks) {
		return errors.New("the state of surge is damaged (weeks that belong to no key): start without it")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	h := heads[0]
	d.hour, d.first, d.forgot, d.dropped, d.looked = h.Hour, h.First, h.Forgot, h.Dropped, h.Looked
	d.keys, d.active, d.blocks, d.rising = keys, active, used, rising
	for slot := range d.looked {
		d.hours[slot] = 0
		for _, l := range d.looked[slot] {
			if l {
				d.hours[slot]++
			}
		}
	}
	return nil
}
