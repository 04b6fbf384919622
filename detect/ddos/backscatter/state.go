package backscatter

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/detect"
	"sakimori/observe"
)

// The state is a line that names its form, then tables: a count, then records
// of fixed size, little-endian, in order of address. So the same state has the
// same bytes, and a cut or changed one is refused.
const form = "sakimori ddos 1\n"

type header struct {
	Minute, Now    int64
	Below, Dropped uint64
}

type runRow struct {
	Record  record
	Vectors uint32
}

type victimRow struct {
	Addr        packet.Addr
	First, Last int64
	Packets     uint64
	Port        uint16
	Proto       uint8
}

// State is everything that a later Restore needs to go on as if nothing had
// happened.
func (d *Detector) State() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var runs []runRow
	var vectors []vector
	for _, a := range slices.SortedFunc(maps.Keys(d.runs), packet.Addr.Compare) {
		r := d.runs[a]
		runs = append(runs, runRow{r.record, uint32(len(r.vectors))}) //nolint:gosec // a minute's vectors
		vectors = append(vectors, r.vectors...)
	}
	ended := make([]victimRow, len(d.ended))
	for i, v := range d.ended {
		ended[i] = victimRow{v.Address, v.First.UnixNano(), v.Last.UnixNano(), v.Packets, v.Port, v.Proto}
	}
	b := []byte(form)
	var err error
	for _, put := range []func() error{
		func() error {
			b, err = detect.AppendTable(b, []header{{d.minute.At, d.minute.Now, d.below, d.minute.Dropped}})
			return err
		},
		func() error { b, err = detect.AppendTable(b, d.minute.Pending); return err },
		func() error { b, err = detect.AppendTable(b, runs); return err },
		func() error { b, err = detect.AppendTable(b, vectors); return err },
		func() error { b, err = detect.AppendTable(b, ended); return err },
	} {
		if err := put(); err != nil {
			return nil, fmt.Errorf("writing the state of ddos: %w", err)
		}
	}
	return b, nil
}

// Restore goes back to a State. On an error the detector is as it was.
func (d *Detector) Restore(state []byte) error {
	rest, ok := bytes.CutPrefix(state, []byte(form))
	if !ok {
		return errors.New("the state of ddos is of another form or version: start without it")
	}
	var (
		heads   []header
		pending []observe.Sighting
		runs    []runRow
		vectors []vector
		ended   []victimRow
	)
	err := errors.Join(detect.TakeTable(&rest, &heads), detect.TakeTable(&rest, &pending),
		detect.TakeTable(&rest, &runs), detect.TakeTable(&rest, &vectors), detect.TakeTable(&rest, &ended))
	if err != nil || len(heads) != 1 || len(rest) != 0 {
		return errors.Join(errors.New("the state of ddos is damaged: start without it"), err)
	}
	n := New(d.cfg, d.out)
	n.minute = detect.Minute{At: heads[0].Minute, Now: heads[0].Now, Dropped: heads[0].Dropped, Pending: pending}
	if err := n.minute.Check(); err != nil {
		return fmt.Errorf("the state of ddos is damaged (%w): start without it", err)
	}
	for _, row := range runs {
		if row.Vectors == 0 || int64(row.Vectors) > int64(len(vectors)) {
			return errors.New("the state of ddos is damaged (a run without its vectors): start without it")
		}
		if b := row.Record.Base; b < -120 || b > detect.LastMinute || b%60 != 0 {
			return errors.New("the state of ddos is damaged (a minute that can't be): start without it")
		}
		r := &run{record: row.Record, vectors: slices.Clone(vectors[:row.Vectors])}
		vectors = vectors[row.Vectors:]
		n.runs[r.Addr] = r
		n.enqueue(r, r.Last+int64(n.cfg.Silence))
		if r.Touched {
			n.minute.Touched = append(n.minute.Touched, r.Addr)
		}
		if r.Waiting {
			n.waiting = append(n.waiting, r.Addr)
		}
	}
	for _, v := range ended {
		n.ended = append(n.ended, Victim{
			v.Addr, v.Port, v.Proto, v.Packets,
			time.Unix(0, v.First).UTC(), time.Unix(0, v.Last).UTC(),
		})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.minute, d.below, d.runs, d.wheel, d.waiting, d.ended = n.minute, heads[0].Below, n.runs, n.wheel, n.waiting, n.ended
	return nil
}
