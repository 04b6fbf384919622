package main

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/detect/register"
	"sakimori/observe"
)

// towards are flows that fall from 900 to 90 MB in a quarter of an hour when an incident
// begins, and change their link.
type towards struct {
	api.Flows
	begin time.Time
}

func (f towards) Top(_ context.Context, by observe.FlowBy, q observe.FlowQuery) (t observe.FlowTop, err error) {
	t.Range, t.Data = q.Range, observe.Range{From: f.begin.Add(-time.Hour), To: f.begin.Add(time.Hour)}
	before := q.Range.From.Before(f.begin)
	bytes, link := uint64(900e6), uint64(3<<32|11)
	if !before {
		bytes, link = 90e6, 3<<32|12
	}
	t.Total = observe.FlowCount{Bytes: bytes, BytesError: 9e6}
	if by == observe.FlowByIn {
		t.Rows = []observe.FlowTopRow{{Key: observe.FlowKey{Number: link}, FlowCount: t.Total}}
	}
	return t, nil
}

func TestImpactByFlows(t *testing.T) {
	begin := time.Date(2017, 8, 25, 3, 22, 54, 0, time.UTC)
	i := detect.Incident{
		ID: "incident-1", State: detect.Changed, Opened: begin, Last: begin.Add(14 * time.Minute), Addresses: 256,
		Own: []detect.OwnSpace{{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Name: "shop"}},
	}
	link := func(_, _ uint32) (string, uint64) { return "et-0/0/7", 1_000_000 }
	got, err := trafficOf{flows: towards{begin: begin.Truncate(time.Minute)}, link: link}.impact(t.Context(), &i)
	if err != nil || !got.Known || len(got.Customers) != 1 || len(got.Links) != 2 {
		t.Fatalf("%v %+v", err, got)
	}
	c := got.Customers[0]
	if c.Before.N != 8e6 || c.Before.Error != 80_000 || c.During.N != 800_000 || *c.Change != -0.9 {
		t.Errorf("%+v", c)
	}
	if l := got.Links[1]; l.Interface != 12 || l.During.N != 800_000 || l.Full == nil || *l.Full != 0.8 || !l.Moved || l.Name != "et-0/0/7" {
		t.Errorf("%+v", l)
	}
	if l := got.Links[0]; l.Interface != 11 || l.During.N != 0 || !l.Moved {
		t.Errorf("%+v", l)
	}
	if got, err := (trafficOf{}).impact(t.Context(), &i); err != nil || got.Known || got.Addresses != 256 || got.Why.EN == "" {
		t.Errorf("without flows: %v %+v", err, got)
	}
}

func TestAboutIncidents(t *testing.T) {
	for text, want := range map[string]register.IncidentQuery{
		"AS701": {AS: 701}, "701": {AS: 701}, "203.0.113.9": {Within: netip.MustParsePrefix("203.0.113.9/32")},
		"203.0.113.9/24": {Within: netip.MustParsePrefix("203.0.113.0/24")}, " shop ": {Name: "shop"}, "701-15169": {Name: "701-15169"},
	} {
		var q register.IncidentQuery
		if aboutIncidents(&q, text); q != want {
			t.Errorf("%q: %+v", text, q)
		}
	}
}

// A message of the evidence reads as bgpdump -m writes it.
func TestMessageLines(t *testing.T) {
	update := append(make([]byte, 16), 0, 0, 2, 0, 0, 0, 0)
	for i := range 16 {
		update[i] = 0xff
	}
	attributes := []byte{
		0x40, 1, 1, 0, // ORIGIN IGP
		0x40, 2, 10, 2, 2, 0, 0, 2, 189, 0, 0, 59, 65, // AS_PATH 701 15169
		0x40, 3, 4, 192, 0, 2, 1, // NEXT_HOP
	}
	update[22] = byte(len(attributes))
	update = append(append(update, attributes...), 24, 203, 0, 113)
	update[17] = byte(len(update))
	got := messageLines(detect.RouteMessage{At: time.Unix(1503631374, 0), Peer: 701, Address: "198.51.100.1", Raw: update})
	const want = "BGP4MP|1503631374|A|198.51.100.1|701|203.0.113.0/24|701 15169|IGP|192.0.2.1|0|0||NAG||"
	if len(got) != 1 || got[0] != want {
		t.Errorf("%q\nnot %q", got, want)
	}
	if got := messageLines(detect.RouteMessage{Address: "198.51.100.1", Raw: update[:20]}); got != nil {
		t.Errorf("half a message: %q", got)
	}
}
