package ddos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"sakimori/base/wire/packet"
	"sakimori/detect"
)

// The state is a line that names its form, a table of the habits, and the rest as JSON.
// It holds the open attacks with what they know, the seconds in hand of their objects,
// the habits and the results. Lost with a restart are the counts of objects that aren't
// under attack: their seconds in hand, what was usual for them in the last minutes and
// its sample. They are there again within seconds, and minutes.
const form = "sakimori ddos 1\n"

type saving struct {
	Now      uint32
	Hour     uint32
	Both     uint32 // until when both directions are known to be told, 0 they aren't
	Figures  Figures
	Attacks  []savedAttack
	Results  []Result
	Partners []Participant
}

type savedAttack struct {
	Saved    saved
	Rule     uint16
	Head     uint32
	Born     uint32
	Rate     uint32
	Known    uint16
	Cells    [][7]float32 // second − (Head − ring + 1), then the cell
	Usual    [][5]float32 // class, then the mix
	Recent   [][5]float32
	Sources  []byte
	Dests    []byte
	Classes  []savedClass
	Targets  []savedTarget
	Partners []savedPartner
	Ingress  []savedIngress
	Sample   []sampledRow
	Seen     uint64
	From     uint32
	Ordinary []detect.Sample
	Habit    *detect.Rate
	Raise    Line
	Clear    Line
	Habits   [measures]bool
	Worst    [6]float32
}

type savedClass struct {
	Class    class
	Tally    tally
	Sources  []byte
	Dst, Src []portCount
}

type savedTarget struct {
	Addr    packet.Addr
	Packets float64
}

type savedPartner struct {
	Addr    packet.Addr
	Partner partner
}

type savedIngress struct {
	Link    uint64
	Through through
}

type sampledRow struct {
	Priority, Weight float64
	Src, Dst         packet.Addr
	Second           uint32
	Length           uint16
	SrcPort, DstPort uint16
	Proto            uint8
	Flags            packet.TCPFlags
	Marks            uint8
}

// habitRow is a habit in the state.
type habitRow struct {
	Addr    packet.Addr
	Role    uint8
	Count   uint8
	Heard   uint32
	Minutes [60][2]uint8
	Hours   [weekHours][habitWeeks]hour
}

// State is what a later Restore needs to go on with the open attacks as the same ones.
func (d *Detector) State() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	rows := []habitRow{}
	for i := 1; i < len(d.habits.list); i++ {
		x := &d.habits.list[i]
		rows = append(rows, habitRow{x.Addr, x.Role, x.Count, x.Heard, x.Minutes, x.Hours})
	}
	b, err := detect.AppendTable([]byte(form), rows)
	if err != nil {
		return nil, fmt.Errorf("writing the state of ddos: %w", err)
	}
	s := saving{Now: d.now, Hour: d.habits.hour, Figures: d.figures, Results: d.results, Partners: d.partners}
	if d.both {
		s.Both = d.bothUntil
	}
	for _, a := range d.attacks {
		if a != nil {
			s.Attacks = append(s.Attacks, d.save(a))
		}
	}
	rest, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("writing the state of ddos: %w", err)
	}
	return append(b, rest...), nil
}

func (d *Detector) save(a *attack) savedAttack {
	w := &d.warms[a.warm]
	w.settle()
	o := savedAttack{
		Saved: a.saved, Rule: w.rule, Head: w.head, Born: w.born, Rate: w.rate, Known: w.known,
		Sources: a.sources.Append(nil), Dests: a.dests.Append(nil), Seen: a.sample.seen, From: a.sample.from,
		Ordinary: a.ordinary, Habit: a.usual, Raise: a.limit.raise, Clear: a.limit.clear, Habits: a.limit.habit,
		Worst: a.worst.array(), Usual: w.usual.rows(), Recent: w.recent.rows(),
	}
	start := w.head - (ring - 1)
	for k := range uint32(ring) {
		if c := w.cells[(start+k)%ring]; c != (cell{}) {
			v := c.array()
			o.Cells = append(o.Cells, [7]float32{float32(k), v[0], v[1], v[2], v[3], v[4], v[5]})
		}
	}
	for c, t := range a.byClass {
		if t != nil {
			o.Classes = append(o.Classes, savedClass{class(c), *t, t.sources.Append(nil), usedPorts(&t.dst), usedPorts(&t.src)})
		}
	}
	// In an order of their own, so that the same state has the same bytes.
	for _, k := range sorted(a.targets, packet.Addr.Compare) {
		o.Targets = append(o.Targets, savedTarget{k, a.targets[k]})
	}
	for _, k := range sorted(a.partners, packet.Addr.Compare) {
		o.Partners = append(o.Partners, savedPartner{k, *a.partners[k]})
	}
	for _, k := range sorted(a.ingress, cmpUint) {
		o.Ingress = append(o.Ingress, savedIngress{k, *a.ingress[k]})
	}
	for _, s := range a.sample.items {
		p := s.past
		o.Sample = append(o.Sample, sampledRow{s.priority, s.weight, p.src, p.dst, p.second, p.length, p.srcPort, p.dstPort, p.proto, p.flags, uint8(p.marks)})
	}
	return o
}

func usedPorts(p *[portsMost]portCount) (out []portCount) {
	for _, c := range p {
		if c.Used {
			out = append(out, c)
		}
	}
	return out
}

func (c *cell) array() [6]float32 { return [6]float32{c.p, c.b, c.f, c.v, c.vb, c.d} }

func cellOf(v [6]float32) cell { return cell{v[0], v[1], v[2], v[3], v[4], v[5]} }

func (m *mix) rows() (out [][5]float32) {
	for c := range classes {
		if m.p[c] != 0 || m.k[c] != 0 {
			out = append(out, [5]float32{float32(c), m.p[c], m.b[c], m.f[c], m.k[c]})
		}
	}
	return out
}

func (m *mix) from(rows [][5]float32) bool {
	for _, r := range rows {
		if !(r[0] >= 0 && r[0] < classes) {
			return false
		}
		c := int(r[0])
		m.p[c], m.b[c], m.f[c], m.k[c] = r[1], r[2], r[3], r[4]
	}
	return true
}

var errDamaged = errors.New("the state of ddos is damaged: start without it")

// Restore goes back to a State. On an error the detector is as it was. It is for a
// detector that has taken nothing yet; open attacks of customers and links that aren't
// in the thresholds any more are closed.
func (d *Detector) Restore(state []byte) error {
	rest, ok := bytes.CutPrefix(state, []byte(form))
	if !ok {
		return errors.New("the state of ddos is of another form or version: start without it")
	}
	var rows []habitRow
	if err := detect.TakeTable(&rest, &rows); err != nil {
		return errors.Join(errDamaged, err)
	}
	var s saving
	if err := json.Unmarshal(rest, &s); err != nil {
		return errors.Join(errDamaged, err)
	}
	if s.Now < 1000 && s.Now != 0 || s.Now > latest || len(rows) > habitsMost || len(s.Attacks) > 1<<16 {
		return errDamaged
	}
	n, err := New(d.cfg, d.ports, d.out)
	if err != nil {
		return err
	}
	if s.Now != 0 {
		n.begin(int64(s.Now))
	}
	n.figures, n.results, n.partners = s.Figures, s.Results, s.Partners
	n.both, n.bothUntil = s.Both > s.Now, s.Both
	h := n.habits
	h.hour = s.Hour
	if len(rows) > 0 {
		h.list = make([]habit, 1, len(rows)+1)
	}
	for _, r := range rows {
		if r.Count > 60 {
			return errDamaged
		}
		h.at[habitKey{r.Addr, role(r.Role)}] = int32(len(h.list)) //nolint:gosec // bounded
		h.list = append(h.list, habit{Addr: r.Addr, Role: r.Role, Count: r.Count, Heard: r.Heard, Minutes: r.Minutes, Hours: r.Hours})
	}
	for i := range s.Attacks {
		if err := n.resume(&s.Attacks[i]); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.Copy(n.exporters, d.exporters) // names that were told already
	n.linkAt = d.linkAt
	d.adopt(n)
	return nil
}

// latest is the end of what 32-bit seconds can say, less a margin.
const latest = 1<<32 - 1<<16
