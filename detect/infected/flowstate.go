package infected

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"sakimori/base/sketch"
	"sakimori/base/wire/packet"
)

// flowsForm names the form of the state.
const flowsForm = "sakimori infected by flows 1\n"

// flowsState is the state of Flows: the sources of which something is said, and those
// that had to do with a listed endpoint. The tries of the window in hand aren't in it:
// whoever scans goes on, and is found a window later.
type flowsState struct {
	Now, Swept int64
	Dropped    uint64
	Sources    []*sourceRow
}

// sourceRow is a source, its ports that the finding stands on, and of each the set of
// what it failed on.
type sourceRow struct {
	source
	Sets [][]byte
}

// State is what a later Restore needs to go on with every finding.
func (d *Flows) State() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := flowsState{d.now, d.swept, d.dropped, []*sourceRow{}}
	for _, x := range d.sources {
		if !x.said() && len(x.Calls) == 0 {
			continue
		}
		row := &sourceRow{source: *x}
		row.Ports = nil
		for _, p := range x.Ports {
			if p.Open {
				row.Ports = append(row.Ports, p)
				row.Sets = append(row.Sets, p.set.Append(nil))
			}
		}
		s.Sources = append(s.Sources, row)
	}
	slices.SortFunc(s.Sources, func(a, b *sourceRow) int { return a.Addr.Compare(b.Addr) })
	b, err := json.Marshal(s)
	return append([]byte(flowsForm), b...), err
}

// Restore takes up what State gave. What it can't read changes nothing.
func (d *Flows) Restore(state []byte) error {
	rest, is := bytes.CutPrefix(state, []byte(flowsForm))
	if !is {
		return errors.New("not a state of the detector by flows, or one of another version")
	}
	var s flowsState
	if err := json.Unmarshal(rest, &s); err != nil {
		return fmt.Errorf("the state of the detector by flows: %w", err)
	}
	wrong := errors.New("the state of the detector by flows contradicts itself")
	d.mu.Lock()
	defer d.mu.Unlock()
	sources, places := map[packet.Addr]*source{}, 0
	for _, row := range s.Sources {
		if row == nil || len(row.Sets) != len(row.Ports) || sources[row.Addr] != nil || row.Said[scans].Open != (len(row.Ports) > 0) ||
			row.Said[takesPart].Open != (len(row.Parts) > 0) || row.Said[called].Open && len(row.Calls) == 0 ||
			len(row.Ports) > mostPorts || len(row.Calls) > mostCalls || len(row.Parts) > mostParts {
			return wrong
		}
		x := row.source
		for i, p := range x.Ports {
			set, tail, err := sketch.Read(row.Sets[i])
			if err != nil || len(tail) > 0 || p == nil || !p.Open || !p.Counted {
				return wrong
			}
			p.set.Merge(hits, set)
			p.table = make([]target, firstPlaces)
		}
		places += x.places()
		sources[x.Addr] = &x
	}
	d.now, d.swept, d.dropped, d.sources, d.places, d.touched = s.Now, s.Swept, s.Dropped, sources, places, nil
	for _, x := range sources {
		d.touch(x) // a version of it may have waited
	}
	return nil
}
