package leak

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"sakimori/detect"
	"sakimori/observe"
)

// The state is a line that names its form and JSON: the cases that are open, each with its
// prefixes, peers and signs, and the results. What is usual is apart, in Habits, as it is
// large and changes slowly.
//
// After a restart the routes come again, as tables: a prefix of an open incident that is
// announced so again lives on; one that isn't within the quiet time is gone.
const form = "sakimori leak 1\n"

type saving struct {
	Now, Begun int64
	Figures    Figures
	Results    []Result
	Cases      []savedCase
}

type savedCase struct {
	Kind                        kind
	By, To                      uint32
	ID                          string
	Decides, Restored, Shut     bool
	First, Last, Began          int64
	Detected, Gone              int64
	Waves, Peak, Parts, ByDown  int
	Beyond                      uint64
	Hits                        []savedHit
	Peers                       []savedPeer
	Tally                       [signCount]tally
	Froms, Tos                  map[uint32]int
	Forms                       map[string]int
	Types                       [7]int
	Lanes                       []lane
	Evidence                    []detect.RouteMessage
	History                     []detect.IncidentStep
	Confidence                  float64
	ToldHits, ToldPeers, ToldOf int
}

type savedHit struct {
	P    netip.Prefix
	O    uint32       `json:",omitempty"`
	C    netip.Prefix `json:",omitzero"`
	F, G int64        `json:",omitempty"`
	S    signs
	Form string   `json:",omitempty"`
	E    []uint32 `json:",omitempty"`
	R    observe.ROV
	Own  bool `json:",omitempty"`
	Part bool `json:",omitempty"`
}

type savedPeer struct {
	AS            uint32
	Feed, Address string
	First         int64
	Prefixes      int
	Weight        float64
}

// State is what a later Restore needs to go on with the open incidents as the same ones.
// A prefix of an incident costs some 150 bytes.
func (d *Detector) State() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := saving{Now: d.now, Begun: d.begun, Figures: d.figures, Results: d.results}
	for _, c := range d.list {
		if !c.open || c.closed {
			continue
		}
		x := savedCase{
			Kind: c.kind, By: c.by, To: c.to, ID: c.id, Decides: c.decides, Restored: c.restored, Shut: c.shut, First: c.first, Last: c.last, Began: c.began, Detected: c.detected, Gone: c.goneAt,
			Waves: c.waves, Peak: c.peak, Parts: c.parts, ByDown: c.byDown, Beyond: c.beyond, Tally: c.tally, Froms: c.froms, Tos: c.tos, Forms: c.forms, Types: c.types,
			Lanes: c.lanes, Evidence: c.evidence, History: c.history, Confidence: c.confid, ToldHits: c.toldHits, ToldPeers: c.toldPeers, ToldOf: c.toldLive,
		}
		for i := range c.hits {
			h := &c.hits[i]
			v := savedHit{P: h.prefix, O: h.origin, C: h.cover, F: h.first, G: h.gone, S: h.signs, Form: h.form, E: h.expect[:h.expecs], R: h.rov, Own: h.own != 0, Part: h.part}
			x.Hits = append(x.Hits, v)
		}
		for i := range c.peers {
			p := &c.peers[i]
			x.Peers = append(x.Peers, savedPeer{p.as, p.feed, p.address, p.first, p.prefixes, p.weight})
		}
		s.Cases = append(s.Cases, x)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("writing the state of leak: %w", err)
	}
	return append([]byte(form), b...), nil
}

var errDamaged = errors.New("the state of leak is damaged: start without it")

// Restore goes on from a State. It must come before the first route.
func (d *Detector) Restore(state []byte) error {
	rest, ok := bytes.CutPrefix(state, []byte(form))
	if !ok {
		return errors.New("the state of leak is of another form or version: start without it")
	}
	var s saving
	if err := json.Unmarshal(rest, &s); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	if s.Now < 0 || s.Now >= 1<<32 || len(s.Cases) > d.cfg.Cases || len(s.Results) > mostResults {
		return errDamaged
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.now != 0 || len(d.list) > 0 {
		return errors.New("leak: a state is restored before the first route")
	}
	var list []*hunt
	cases := map[key]*hunt{}
	held := map[netip.Prefix][]heldHit{}
	hits := 0
	for i := range s.Cases {
		c, err := d.revive(&s.Cases[i], s.Now)
		if err != nil {
			return err
		}
		if cases[c.key] != nil {
			return errDamaged
		}
		cases[c.key] = c
		list = append(list, c)
		hits += len(c.hits)
		for j := range c.hits {
			held[c.hits[j].prefix] = append(held[c.hits[j].prefix], heldHit{c, int32(j)})
		}
	}
	if hits > d.cfg.Hits {
		return errors.New("the state of leak has more prefixes than may be kept: start without it, or raise the bound")
	}
	d.cases, d.list, d.held, d.hits = cases, list, held, hits
	d.now, d.begun, d.swept, d.aged = s.Now, s.Begun, s.Now, s.Now
	d.figures, d.results = s.Figures, s.Results
	return nil
}

// revive makes a case of what was saved: nobody sees it until it is told again.
func (d *Detector) revive(x *savedCase, now int64) (*hunt, error) {
	if int(x.Kind) >= len(kinds) || x.ID == "" || len(x.Hits) == 0 || len(x.Peers) > mostPeers || len(x.Evidence) > mostEvidence || len(x.Lanes) > mostLanes || len(x.History) > mostHistory {
		return nil, errDamaged
	}
	c := newHunt(key{x.Kind, x.By, x.To})
	c.id, c.open, c.decides, c.restored, c.shut = x.ID, true, x.Decides, x.Restored, x.Shut
	c.first, c.last, c.began, c.detected = x.First, x.Last, x.Began, x.Detected
	c.waves, c.peak, c.parts, c.byDown, c.beyond = x.Waves, x.Peak, x.Parts, x.ByDown, x.Beyond
	c.tally, c.types, c.lanes, c.evidence, c.history, c.confid = x.Tally, x.Types, x.Lanes, x.Evidence, x.History, x.Confidence
	c.toldHits, c.toldPeers, c.toldLive, c.told = x.ToldHits, x.ToldPeers, x.ToldOf, now
	maps.Copy(c.froms, x.Froms)
	maps.Copy(c.tos, x.Tos)
	maps.Copy(c.forms, x.Forms)
	c.goneAt, c.revived = x.Gone, now
	if !c.restored {
		c.goneAt = now * 1e9
	}
	for i := range c.lanes {
		c.lanes[i].Live = 0
	}
	for i := range x.Hits {
		v := &x.Hits[i]
		if !v.P.IsValid() || len(v.E) > len(hit{}.expect) {
			return nil, errDamaged
		}
		h := hit{prefix: v.P, origin: v.O, cover: v.C, first: v.F, gone: v.G, signs: v.S, form: v.Form, rov: v.R, part: v.Part}
		if h.gone == 0 {
			h.gone = now * 1e9
		}
		h.expecs = uint8(copy(h.expect[:], v.E)) //nolint:gosec // at most 4
		if _, j, ok := d.rules.own.LookupPrefixLPM(v.P); ok && v.Own {
			h.own = int16(j) + 1 //nolint:gosec // New holds it below
		}
		c.hits = append(c.hits, h)
	}
	// Peers have other numbers now: those from before keep their place in what is shown.
	for i := range x.Peers {
		p := &x.Peers[i]
		c.peers = append(c.peers, sight{number: 0, as: p.AS, feed: p.Feed, address: p.Address, first: p.First, prefixes: p.Prefixes, weight: p.Weight})
	}
	return c, nil
}

// Habits is what is usual, as far as it takes more than a table to learn it: who announced
// each prefix and since when, the adjacencies' maxima and bursts, and the ways that were
// seen. It is large (30 bytes a prefix, 24 an adjacency, 8 a way: some 40 MB for the whole
// Internet) and changes slowly: keep it apart, once an hour or so. Without it a detector
// learns the present again from the first table, and the past not at all.
func (d *Detector) Habits() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := []byte(habitForm)
	b = binary.AppendVarint(b, d.now)
	b = binary.AppendUvarint(b, uint64(d.ways.used)) //nolint:gosec // a count
	for _, w := range d.ways.slots {
		if w != 0 {
			b = binary.LittleEndian.AppendUint64(b, w)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(d.carries)))
	for _, as := range slices.Sorted(maps.Keys(d.carries)) {
		b = binary.LittleEndian.AppendUint64(b, uint64(as)<<32|uint64(d.carries[as]))
	}
	b = binary.AppendUvarint(b, uint64(d.pairs.used)) //nolint:gosec // a count
	for i, k := range d.pairs.keys {
		if k == 0 {
			continue
		}
		b = binary.LittleEndian.AppendUint64(b, k)
		for _, t := range d.pairs.vals[i].transit {
			b = binary.LittleEndian.AppendUint32(b, t)
		}
	}
	var rows []burstRow
	for _, k := range slices.Sorted(maps.Keys(d.bursts)) {
		rows = append(rows, burstRow{k, *d.bursts[k]})
	}
	var most []mostRow
	for _, as := range slices.Sorted(maps.Keys(d.most)) {
		most = append(most, mostRow{as, *d.most[as]})
	}
	b, err := detect.AppendTable(b, rows)
	if err == nil {
		b, err = detect.AppendTable(b, most)
	}
	if err != nil {
		return nil, fmt.Errorf("writing the habits of leak: %w", err)
	}
	n := 0
	var origins []byte
	for i := range d.habits {
		if d.habits[i].prefix.IsValid() {
			origins = appendHabit(origins, d.habits[i].prefix, &d.habits[i].origins)
			n++
		}
	}
	if d.table == nil && d.names != nil {
		for i := range d.prefixes {
			p := &d.prefixes[i]
			if p.marks&prefixKnown != 0 && i < len(d.names) {
				origins = appendHabit(origins, d.names[i], &p.origins)
				n++
			}
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	return append(b, origins...), nil
}

type burstRow struct {
	Key   uint64
	Burst burst
}

type mostRow struct {
	AS   uint32
	Most [2][4]uint32
}

const habitForm = "sakimori leak habits 1\n"

func appendHabit(b []byte, p netip.Prefix, list *[3]origin) []byte {
	a := p.Addr().AsSlice()
	b = append(b, byte(len(a)), byte(p.Bits())) //nolint:gosec // 4 or 16, 0 to 128
	b = append(b, a[:(p.Bits()+7)/8]...)
	n := 0
	for i := range list {
		if list[i].as != 0 && list[i].marks&originAccused == 0 {
			n++
		}
	}
	b = append(b, byte(n))
	for i := range list {
		if o := &list[i]; o.as != 0 && o.marks&originAccused == 0 {
			b = binary.LittleEndian.AppendUint32(b, o.as)
			b = binary.LittleEndian.AppendUint32(b, o.first)
			b = binary.LittleEndian.AppendUint32(b, o.last)
			b = append(b, byte(o.marks))
		}
	}
	return b
}

// RestoreHabits takes what Habits gave, before the first route.
func (d *Detector) RestoreHabits(b []byte) error {
	damaged := errors.New("the habits of leak are damaged: start without them")
	rest, ok := bytes.CutPrefix(b, []byte(habitForm))
	if !ok {
		return errors.New("the habits of leak are of another form or version: start without them")
	}
	at, n := binary.Varint(rest)
	if n <= 0 || at < 0 {
		return damaged
	}
	r := reader{b: rest[n:]}
	ways := newSet(d.cfg.Ways)
	for range r.count(8) {
		if w := r.u64(); w != 0 {
			ways.add(w)
		}
	}
	carries := map[uint32]uint32{}
	for range r.count(8) {
		k := r.u64()
		carries[uint32(k>>32)] = uint32(k) //nolint:gosec // its lower half
	}
	pairs := newPairs(d.cfg.Adjacencies)
	for range r.count(24) {
		k := r.u64()
		var v pair
		for i := range v.transit {
			v.transit[i] = r.u32()
		}
		if p := pairs.at(k); p != nil && k != 0 {
			*p = v
		}
	}
	var rows []burstRow
	var most []mostRow
	if r.bad || detect.TakeTable(&r.b, &rows) != nil || detect.TakeTable(&r.b, &most) != nil {
		return damaged
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.prefixes) > 0 {
		return errors.New("leak: habits are restored before the first route")
	}
	bursts := map[uint64]*burst{}
	for i := range rows {
		bursts[rows[i].Key] = &rows[i].Burst
	}
	var habits []habit
	for range r.count(3) {
		habits = append(habits, r.habit())
	}
	if r.bad || len(r.b) != 0 {
		return damaged
	}
	slices.SortFunc(habits, func(a, b habit) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), a.prefix.Bits()-b.prefix.Bits())
	})
	for i := range most {
		d.most[most[i].AS] = &most[i].Most
	}
	d.ways, d.carries, d.pairs, d.bursts, d.habits = ways, carries, pairs, bursts, habits
	return nil
}

// reader takes what appendHabit and Habits wrote; bad once something is missing.
type reader struct {
	b   []byte
	bad bool
}

// count reads how many things of a size at least follow.
func (r *reader) count(size int) int {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 || v > uint64(len(r.b)-n)/uint64(size) { //nolint:gosec // sizes are above zero
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return int(v) //nolint:gosec // below len(b)
}

func (r *reader) take(n int) []byte {
	if r.bad || len(r.b) < n {
		r.bad = true
		return make([]byte, n)
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

func (r *reader) habit() (h habit) {
	head := r.take(2)
	long, bits := int(head[0]), int(head[1])
	if long != 4 && long != 16 || bits > 8*long {
		r.bad = true
		return h
	}
	a := make([]byte, long)
	copy(a, r.take((bits+7)/8))
	addr, _ := netip.AddrFromSlice(a)
	h.prefix = netip.PrefixFrom(addr, bits).Masked()
	n := int(r.take(1)[0])
	if n > len(h.origins) {
		r.bad = true
		return h
	}
	for i := range n {
		h.origins[i] = origin{as: r.u32(), first: r.u32(), last: r.u32(), marks: originMarks(r.take(1)[0]) & originSettled}
	}
	return h
}

// habit is what was known of a prefix before a restart.
type habit struct {
	prefix  netip.Prefix
	origins [3]origin
}

// remember gives a prefix what was known of it before a restart.
func (d *Detector) remember(p *prefix, pfx netip.Prefix, n uint32) {
	for _, h := range d.held[pfx] {
		h.c.at[n] = h.i
		x := &h.c.hits[h.i]
		x.number = n
		if h.c.kind == hijacks && x.form != "first-hop" {
			if o := p.take(x.origin, d.now); o != nil {
				o.marks |= originAccused
			}
		}
	}
	delete(d.held, pfx)
	i, ok := slices.BinarySearchFunc(d.habits, pfx, func(h habit, p netip.Prefix) int {
		return cmp.Or(h.prefix.Addr().Compare(p.Addr()), h.prefix.Bits()-p.Bits())
	})
	if !ok {
		return
	}
	for _, o := range d.habits[i].origins {
		if s := p.take(o.as, d.now); s != nil && s.marks&originAccused == 0 {
			s.first, s.last, s.marks = o.first, o.last, o.marks
		}
		p.born = max(p.born, o.first)
	}
}
