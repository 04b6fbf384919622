package infected

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
const form = "sakimori infected 1\n"

type header struct {
	Minute, Now int64
	Dropped     uint64
}

type hostRow struct {
	Record  record
	Entries uint32
}

type resultRow struct {
	Addr        packet.Addr
	First, Last int64
	Packets     uint64
	Mirai       bool
	Ports       uint32
}

type portRow struct {
	Port    uint16
	Proto   uint8
	Mirai   bool
	Packets uint64
}

// State is everything that a later Restore needs to go on as if nothing had
// happened.
func (d *Detector) State() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var hosts []hostRow
	var entries []entry
	for _, a := range slices.SortedFunc(maps.Keys(d.hosts), packet.Addr.Compare) {
		h := d.hosts[a]
		hosts = append(hosts, hostRow{h.record, uint32(len(h.entries))}) //nolint:gosec // at most Config.Entries
		entries = append(entries, h.entries...)
	}
	var results []resultRow
	var ports []portRow
	for _, a := range slices.SortedFunc(maps.Keys(d.closed), packet.Addr.Compare) {
		in := d.closed[a]
		results = append(results, resultRow{
			a, in.First.UnixNano(), in.Last.UnixNano(), in.Packets,
			in.Family == "mirai", uint32(len(in.Ports)), //nolint:gosec // at most Config.Entries
		})
		for _, p := range in.Ports {
			ports = append(ports, portRow{p.Port, p.Proto, p.Family == "mirai", p.Packets})
		}
	}
	b := []byte(form)
	var err error
	for _, put := range []func() error{
		func() error {
			b, err = detect.AppendTable(b, []header{{d.minute.At, d.minute.Now, d.minute.Dropped}})
			return err
		},
		func() error { b, err = detect.AppendTable(b, d.minute.Pending); return err },
		func() error { b, err = detect.AppendTable(b, hosts); return err },
		func() error { b, err = detect.AppendTable(b, entries); return err },
		func() error { b, err = detect.AppendTable(b, results); return err },
		func() error { b, err = detect.AppendTable(b, ports); return err },
	} {
		if err := put(); err != nil {
			return nil, fmt.Errorf("writing the state of infected: %w", err)
		}
	}
	return b, nil
}

// Restore goes back to a State. On an error the detector is as it was.
func (d *Detector) Restore(state []byte) error {
	rest, ok := bytes.CutPrefix(state, []byte(form))
	if !ok {
		return errors.New("the state of infected is of another form or version: start without it")
	}
	var (
		heads   []header
		pending []observe.Sighting
		hosts   []hostRow
		entries []entry
		results []resultRow
		ports   []portRow
	)
	err := errors.Join(
		detect.TakeTable(&rest, &heads), detect.TakeTable(&rest, &pending), detect.TakeTable(&rest, &hosts),
		detect.TakeTable(&rest, &entries), detect.TakeTable(&rest, &results), detect.TakeTable(&rest, &ports))
	if err != nil || len(heads) != 1 || len(rest) != 0 {
		return errors.Join(errors.New("the state of infected is damaged: start without it"), err)
	}
	n := New(d.cfg, d.out)
	n.minute = detect.Minute{At: heads[0].Minute, Now: heads[0].Now, Dropped: heads[0].Dropped, Pending: pending}
	if err := n.minute.Check(); err != nil {
		return fmt.Errorf("the state of infected is damaged (%w): start without it", err)
	}
	for _, r := range hosts {
		if int64(r.Entries) > int64(len(entries)) || r.Record.Sampled > samples {
			return errors.New("the state of infected is damaged (a host without its ports): start without it")
		}
		h := &host{record: r.Record, entries: slices.Clone(entries[:r.Entries])}
		entries = entries[r.Entries:]
		n.hosts[h.Addr] = h
		n.entries += len(h.entries)
		if h.Touched {
			n.minute.Touched = append(n.minute.Touched, h.Addr)
		}
		if h.Waiting {
			n.waiting = append(n.waiting, h.Addr)
		}
	}
	for _, r := range results {
		if int64(r.Ports) > int64(len(ports)) {
			return errors.New("the state of infected is damaged (a result without its ports): start without it")
		}
		in := &Infected{
			Address: r.Addr, Packets: r.Packets, Family: family(r.Mirai),
			First: time.Unix(0, r.First).UTC(), Last: time.Unix(0, r.Last).UTC(),
		}
		for _, p := range ports[:r.Ports] {
			in.Ports = append(in.Ports, PortCount{p.Port, p.Proto, p.Packets, family(p.Mirai)})
		}
		ports = ports[r.Ports:]
		n.closed[r.Addr] = in
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.minute, d.hosts, d.entries, d.waiting, d.next = n.minute, n.hosts, n.entries, n.waiting, 0
	d.closed = n.closed
	return nil
}

func family(mirai bool) string {
	if mirai {
		return "mirai"
	}
	return "unknown"
}
