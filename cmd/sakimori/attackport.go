package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/base/geo"
	"sakimori/base/wire/packet"
	"sakimori/console"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/detect/register"
	"sakimori/observe"
)

// attackPort are the attacks, as the API asks for them.
type attackPort struct {
	register *register.Register
	book     *ledger.Book // nil: who looks already owns the data folder
	table    *geo.Table
	acts     *mitigations // nil: nothing is done against them
}

var _ api.Attacks = attackPort{}

func attackError(err error) error {
	if errors.Is(err, register.ErrNoAttack) {
		return errors.Join(console.ErrNotFound, err)
	}
	return err
}

func (p attackPort) Attacks(ctx context.Context, q api.AttackQuery) (list []api.AttackRow, running int, next string, err error) {
	found, next, err := p.register.Attacks(ctx, register.AttackQuery{
		Open: q.Open, Direction: q.Direction, Vector: q.Vector, Name: q.Text, Within: q.Within, Range: q.Range, Limit: q.Limit, After: q.After,
	})
	if err != nil {
		return nil, 0, "", err
	}
	if running, err = p.register.Running(ctx); err != nil {
		return nil, 0, "", err
	}
	ids := make([]string, len(found))
	for i := range found {
		ids[i] = found[i].ID
	}
	acks, err := p.register.Acknowledged(ctx, ids...)
	if err != nil {
		return nil, 0, "", err
	}
	for i := range found {
		row := attackRow(&found[i], acks[found[i].ID])
		if row.Mitigation, err = p.acts.brief(ctx, row.ID); err != nil {
			return nil, 0, "", err
		}
		list = append(list, row)
	}
	return list, running, next, nil
}

// attackRow is an attack as the console lists it.
func attackRow(a *detect.Attack, acks []register.Acknowledgement) api.AttackRow {
	r := api.AttackRow{
		ID: a.ID, State: a.State, Direction: a.Direction, Object: attackObject(&a.Object), Opened: a.Opened, Detected: a.Detected, Changed: a.Changed,
		Closed: momentOrNull(a.Closed), Pulses: a.Pulses, Severity: a.Severity, Confidence: a.Confidence, Witnesses: a.Witnesses, Title: a.Title, Why: a.Why,
		Now: a.Now, Peak: a.Peak, Usual: a.Usual, Limit: a.Limit, Packets: a.Packets, Bytes: a.Bytes, Vectors: a.Vectors, Targets: a.Targets, Sources: a.Sources,
	}
	if n := len(acks); n > 0 {
		r.Ack = &api.Ack{By: acks[n-1].By, At: acks[n-1].At, Note: acks[n-1].Note}
	}
	return r
}

func attackObject(o *detect.Object) api.AttackObject {
	out := api.AttackObject{Kind: o.Kind, Name: o.Name}
	if o.Prefix.IsValid() {
		out.Prefix = o.Prefix.String()
	}
	return out
}

// Attack is a look at which address is attacked: it is written down first.
func (p attackPort) Attack(ctx context.Context, id, by string) (w api.AttackWhole, err error) {
	a, history, err := p.register.Attack(ctx, id)
	if err != nil {
		return w, attackError(err)
	}
	if p.book != nil {
		if _, err := p.book.Append(ctx, ledger.Line{Kind: account.Looked, Who: by, What: map[string]string{"attack": id, "purpose": "defence of own facilities"}}); err != nil {
			return w, err
		}
	}
	acks, err := p.register.Acknowledged(ctx, id)
	if err != nil {
		return w, err
	}
	w = api.AttackWhole{AttackRow: attackRow(&a, acks[id]), Hit: a.Hit, Ingress: a.Ingress}
	for i := range history {
		h := &history[i]
		w.History = append(w.History, api.AttackVersion{At: h.Changed, State: h.State, Why: h.Why, Peak: h.Peak, Confidence: h.Confidence})
	}
	if w.AttackRow.Mitigation, err = p.acts.brief(ctx, id); err == nil {
		w.Mitigations, err = p.acts.of(ctx, id)
	}
	return w, err
}

func (p attackPort) Course(ctx context.Context, id string, r observe.Range, step int) (c api.AttackCourse, err error) {
	a, err := p.register.AttackNow(ctx, id)
	if err != nil {
		return c, attackError(err)
	}
	c.Step = step
	if c.Points, err = p.register.Course(ctx, id, r, step); err != nil {
		return c, err
	}
	c.Gaps = courseGaps(c.Points, step)
	acts, err := p.acts.of(ctx, a.ID)
	for i := range acts {
		for _, h := range acts[i].History {
			c.Acts = append(c.Acts, api.AttackAct{At: h.At, State: h.State, Words: h.Why, ID: acts[i].ID})
		}
	}
	slices.SortStableFunc(c.Acts, func(a, b api.AttackAct) int { return a.At.Compare(b.At) })
	return c, err
}

// courseGaps are the spans of which nothing is known: no collector ran then.
func courseGaps(points []detect.CoursePoint, step int) (gaps []api.AttackGap) {
	for i := 1; i < len(points); i++ {
		if from, to := points[i-1].At+int64(step), points[i].At; to > from {
			gaps = append(gaps, api.AttackGap{From: time.Unix(from, 0).UTC(), To: time.Unix(to, 0).UTC(), Reason: detect.Text{JA: "この間の値はありません(対象へのトラフィックがないか、収集が停止中)", EN: "nothing is known of this span: no traffic to the object, or no collector ran"}})
		}
	}
	return gaps
}

func (p attackPort) Places(ctx context.Context, id, by string, limit int) (out api.AttackPlaces, err error) {
	a, err := p.register.AttackNow(ctx, id)
	if err != nil {
		return out, attackError(err)
	}
	out = api.AttackPlaces{Looked: a.Sources.Looked, Count: a.Sources.Count, Forged: a.Sources.Forged, Rows: []api.AttackPlace{}}
	shares := a.Sources.Countries
	if by == "network" {
		shares = a.Sources.Networks
	}
	at := p.whereabouts(&a)
	for _, s := range shares[:min(limit, len(shares))] {
		row := api.AttackPlace{Share: s}
		if by == "network" {
			if n, err := strconv.ParseUint(strings.TrimPrefix(s.Key, "AS"), 10, 32); err == nil {
				row.Name = p.table.ASName(uint32(n))
			}
		} else if w, is := at[s.Key]; is {
			row.Lat, row.Lon, row.Located = &w.lat, &w.lon, true
		}
		out.Rows = append(out.Rows, row)
	}
	return out, nil
}

type whereabouts struct {
	lat, lon, weight float64
}

// whereabouts are where the sampled sources of each country are, about: the place of the
// heaviest.
func (p attackPort) whereabouts(a *detect.Attack) map[string]whereabouts {
	out := map[string]whereabouts{}
	for i := range a.Sample {
		s := &a.Sample[i]
		x := p.table.Lookup(packet.FromNetip(s.Src))
		if x.Country == [2]byte{} || x.Lat == 0 && x.Lon == 0 {
			continue
		}
		key := string(x.Country[:])
		if w, is := out[key]; !is || s.Packets > w.weight {
			out[key] = whereabouts{float64(x.Lat), float64(x.Lon), s.Packets}
		}
	}
	return out
}

func (p attackPort) Plan(ctx context.Context, id string, o api.PlanOrder) ([]api.Proposal, error) {
	a, err := p.register.AttackNow(ctx, id)
	if err != nil {
		return nil, attackError(err)
	}
	return p.acts.plan(ctx, &a, o)
}

func (p attackPort) Rehearsal() bool { return p.acts.rehearsal() }

// subjectOf is the address by which the gate knows what an attack is about: that of the
// object, or the most hit one in it.
func subjectOf(a *detect.Attack) string {
	if a.Object.Kind == detect.AddressObject {
		return a.Object.Prefix.Addr().String()
	}
	if len(a.Hit) > 0 {
		return slices.MaxFunc(a.Hit, func(x, y detect.Share) int { return cmp.Compare(x.Packets, y.Packets) }).Key
	}
	if a.Object.Prefix.IsValid() {
		return a.Object.Prefix.Addr().String()
	}
	return a.Object.Name
}
