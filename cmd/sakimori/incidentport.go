package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sakimori/base/geo"
	"sakimori/base/wire/mrt"
	"sakimori/console"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/detect/register"
	"sakimori/observe"
)

// incidentPort are the incidents of routing, as the API asks for them.
type incidentPort struct {
	register *register.Register
	names    asNames
	acts     *remedies // nil: nothing is done about them
	flows    trafficOf // what became of the traffic
}

var _ api.Incidents = incidentPort{}

func incidentError(err error) error {
	if errors.Is(err, register.ErrNoIncident) {
		return errors.Join(console.ErrNotFound, err)
	}
	return err
}

func (p incidentPort) Incidents(ctx context.Context, q api.IncidentQuery) (list []api.IncidentRow, running int, next string, err error) {
	ask := register.IncidentQuery{Open: q.Open, Kind: q.Kind, Own: q.Own, Range: q.Range, Limit: q.Limit, After: q.After}
	aboutIncidents(&ask, q.Text)
	found, next, err := p.register.Incidents(ctx, ask)
	if err != nil {
		return nil, 0, "", err
	}
	if running, err = p.register.OpenIncidents(ctx); err != nil {
		return nil, 0, "", err
	}
	ids := make([]string, len(found))
	for i := range found {
		ids[i] = findingOf(&found[i])
	}
	acks, err := p.register.Acknowledged(ctx, ids...)
	if err != nil {
		return nil, 0, "", err
	}
	for i := range found {
		row := incidentRow(&found[i], acks[ids[i]], p.names)
		if row.Remedies, row.Remedy, err = p.acts.brief(ctx, row.ID); err != nil {
			return nil, 0, "", err
		}
		list = append(list, row)
	}
	return list, running, next, nil
}

// aboutIncidents reads what a person writes into the search: an AS, an address or prefix,
// or a part of a name.
func aboutIncidents(q *register.IncidentQuery, text string) {
	text = strings.TrimSpace(text)
	if as, err := strconv.ParseUint(strings.TrimPrefix(strings.ToUpper(text), "AS"), 10, 32); err == nil {
		q.AS = uint32(as)
		return
	}
	if p, err := netip.ParsePrefix(text); err == nil {
		q.Within = p.Masked()
		return
	}
	if a, err := netip.ParseAddr(text); err == nil {
		q.Within = netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen())
		return
	}
	q.Name = text
}

// findingOf is the id of an incident's finding.
func findingOf(i *detect.Incident) string { return i.ID }

// incidentRow is an incident as the console lists it.
func incidentRow(i *detect.Incident, acks []register.Acknowledgement, names asNames) api.IncidentRow {
	r := api.IncidentRow{
		ID: i.ID, State: i.State, Kind: i.Kind, Form: i.Form, Also: i.Also, Opened: i.Opened, Detected: i.Detected, Changed: i.Changed, Last: i.Last,
		Closed: momentOrNull(i.Closed), Restored: i.Restored, Waves: i.Waves, Severity: i.Severity, Confidence: i.Confidence, Title: i.Title, Why: i.Why,
		Signals: i.Signals, Leaker: i.Leaker, LeakerName: asNameOf(names, i.Leaker), From: i.From, FromName: asNameOf(names, i.From), To: i.To, ToName: asNameOf(names, i.To),
		Adjacency: i.Adjacency, Origins: i.Origins, Expected: i.Expected, Prefixes: i.Prefixes, Now: i.Now, Peak: i.Peak, MoreSpecific: i.MoreSpecific,
		Addresses: i.Addresses, Networks64: i.Networks64, Own: i.Own, Seen: i.Seen, Whole: i.Whole,
	}
	if n := len(acks); n > 0 {
		r.Ack = &api.Ack{By: acks[n-1].By, At: acks[n-1].At, Note: acks[n-1].Note}
	}
	return r
}

// asNames are what ASes are called: as the operator calls them, else as they are registered.
type asNames struct {
	book  []contactConfig
	table *geo.Table
}

func (n asNames) ASName(as uint32) string {
	if i := slices.IndexFunc(n.book, func(c contactConfig) bool { return c.AS == as }); i >= 0 && n.book[i].Name != "" {
		return n.book[i].Name
	}
	return n.table.ASName(as)
}

func asNameOf(names asNames, as uint32) string {
	if as == 0 {
		return ""
	}
	return names.ASName(as)
}

func (p incidentPort) Incident(ctx context.Context, id string) (w api.IncidentWhole, err error) {
	i, err := p.register.Incident(ctx, id)
	if err != nil {
		return w, incidentError(err)
	}
	acks, err := p.register.Acknowledged(ctx, findingOf(&i))
	if err != nil {
		return w, err
	}
	w = api.IncidentWhole{
		IncidentRow: incidentRow(&i, acks[findingOf(&i)], p.names), Sample: i.Sample, Whose: i.Whose, Peers: i.Peers, Lanes: i.Lanes, History: i.History, Names: map[string]string{},
	}
	for _, m := range i.Evidence {
		w.Evidence = append(w.Evidence, api.IncidentMessage{RouteMessage: m, Text: messageLines(m)})
	}
	for _, list := range [][]uint32{{i.Leaker, i.From, i.To}, i.Origins, i.Expected} {
		p.name(w.Names, list)
	}
	for j := range i.Lanes {
		p.name(w.Names, i.Lanes[j].Usual)
		p.name(w.Names, i.Lanes[j].Is)
	}
	for j := range i.Peers {
		p.name(w.Names, []uint32{i.Peers[j].AS})
	}
	if w.Remedies, w.Remedy, err = p.acts.brief(ctx, id); err != nil {
		return w, err
	}
	return w, nil
}

// name notes the names of ASes, as far as they are known.
func (p incidentPort) name(into map[string]string, list []uint32) { nameAll(p.names, into, list) }

func nameAll(names asNames, into map[string]string, list []uint32) {
	for _, as := range list {
		if n := asNameOf(names, as); n != "" {
			into[strconv.FormatUint(uint64(as), 10)] = n
		}
	}
}

// linesMost is how many elements of a message are told one by one.
const linesMost = 50

// messageLines are the elements of a message, as bgpdump -m writes them.
func messageLines(m detect.RouteMessage) []string {
	a, err := netip.ParseAddr(m.Address)
	if err != nil || len(m.Raw) == 0 {
		return nil
	}
	// A record of RFC 6396 around it, as a collector would have written it.
	body := binary.BigEndian.AppendUint32(nil, m.Peer)
	body = binary.BigEndian.AppendUint32(body, 0)
	family, zero := uint16(1), make([]byte, 4)
	if a = a.Unmap(); a.Is6() {
		family, zero = 2, make([]byte, 16)
	}
	body = binary.BigEndian.AppendUint16(body, 0)
	body = binary.BigEndian.AppendUint16(body, family)
	body = append(append(append(body, a.AsSlice()...), zero...), m.Raw...)
	const bgp4mp, messageAS4 = 16, 4
	record := binary.BigEndian.AppendUint32(nil, uint32(m.At.Unix())) //nolint:gosec // until 2106
	record = binary.BigEndian.AppendUint16(record, bgp4mp)
	record = binary.BigEndian.AppendUint16(record, messageAS4)
	record = binary.BigEndian.AppendUint32(record, uint32(len(body))) //nolint:gosec // one message
	record = append(record, body...)
	var rec mrt.Record
	if _, err := mrt.Parse(record, &rec); err != nil {
		return nil
	}
	var d mrt.Dumper
	lines, _ := d.Append(nil, &rec) // what is damaged has no line
	text := strings.TrimRight(string(lines), "\n")
	if text == "" {
		return nil
	}
	list := strings.Split(text, "\n")
	if more := len(list) - linesMost; more > 0 {
		list = append(list[:linesMost], fmt.Sprintf("… +%d", more))
	}
	return list
}

func (p incidentPort) Course(ctx context.Context, id string, r observe.Range, step int) ([]detect.RoutePoint, error) {
	if _, err := p.register.Incident(ctx, id); err != nil {
		return nil, incidentError(err)
	}
	return p.register.IncidentCourse(ctx, id, r, step)
}

// Lanes are the ways at a time: those that hadn't begun yet, or were over, are as they
// should be.
func (p incidentPort) Lanes(ctx context.Context, id string, at time.Time) ([]detect.Lane, error) {
	i, err := p.register.Incident(ctx, id)
	if err != nil {
		return nil, incidentError(err)
	}
	if at.IsZero() {
		return i.Lanes, nil
	}
	lanes := slices.Clone(i.Lanes)
	for j := range lanes {
		l := &lanes[j]
		if at.Before(l.First) || !l.Last.IsZero() && !at.Before(l.Last) {
			l.Is, l.Routes = l.Usual, 0
		}
	}
	return lanes, nil
}

func (p incidentPort) Impact(ctx context.Context, id string) (api.IncidentImpact, error) {
	i, err := p.register.Incident(ctx, id)
	if err != nil {
		return api.IncidentImpact{}, incidentError(err)
	}
	return p.flows.impact(ctx, &i)
}
