package leak_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sakimori/detect"
	"sakimori/respond/leak"
)

var start = time.Date(2017, 8, 25, 3, 22, 54, 0, time.UTC)

// tables answers for what neighbours announce; the route is reused.
type tables map[uint32][]leak.Offered

func (t tables) Offered(_ context.Context, neighbor uint32, f func(*leak.Offered) bool) (known bool, err error) {
	if neighbor == 64599 {
		return false, errors.New("broken")
	}
	list, known := t[neighbor]
	var r leak.Offered
	for i := range list {
		if r = list[i]; !f(&r) {
			break
		}
	}
	return known, nil
}

// leaked is the incident that the world shows: 64510 leaks to 64502, from several.
func leaked() *detect.Incident {
	return &detect.Incident{
		ID: "I-1", State: detect.Opened, Kind: detect.Leak, Form: "type 4", Opened: start, Last: start.Add(time.Minute), Leaker: 64510, To: 64502, Adjacency: "64502-64510",
		Prefixes: detect.Counted{N: 1000}, Now: 900, Peak: 1000, MoreSpecific: 950, Seen: 8, Whole: 10,
	}
}

func house() *leak.House {
	return &leak.House{
		AS: 64500, Name: "Example Networks", ReplyTo: "noc@example.net", Phone: "+81-3-0000-0000",
		Own: []leak.Own{
			{Prefix: netip.MustParsePrefix("10.20.0.0/16"), Origins: []uint32{64500}},
			{Prefix: netip.MustParsePrefix("10.20.32.0/20"), Name: "shop", Origins: []uint32{64530}},
			{Prefix: netip.MustParsePrefix("2001:db8:20::/48"), Origins: []uint32{64500}},
		},
		Book:      []leak.Entry{{AS: 64510, Name: "Leaky", Mail: "noc@leaky.example", Phone: "+1-555-0100"}},
		Neighbors: []leak.Neighbor{{AS: 64501, Relation: "provider", Address: netip.MustParseAddr("192.0.2.1")}, {AS: 64501}, {AS: 64503, Relation: "peer"}},
		Names:     func(as uint32) string { return map[uint32]string{64502: "Carrier"}[as] },
	}
}

// old puts the routes of a list before the incident, but for those that are invalid.
func old(list []leak.Offered) []leak.Offered {
	for i := range list {
		list[i].At = start.Add(-time.Hour)
		if list[i].ROV.Bad() {
			list[i].At = start.Add(time.Second)
		}
	}
	return list
}

func filters(t *testing.T, i *detect.Incident, kept []netip.Prefix, tb leak.Tables) []leak.Filter {
	t.Helper()
	list, err := leak.Filters(t.Context(), house(), i, kept, tb)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if f.Text == "" || f.Checked.JA == "" || f.Checked.EN == "" || !strings.Contains(f.Title.EN, "AS64501") {
			t.Errorf("%+v", f)
		}
	}
	return list
}

// TestNarrowest: of what catches all of the incident the one that hits the fewest
// ordinary routes; of equals the narrowest.
func TestNarrowest(t *testing.T) {
	t.Parallel()
	table := tables{64501: old(offered(64501, world)), 64503: old(offered(64503, "10.1.0.0/16 64503\n10.2.0.0/16 64503 64502"))}
	list := filters(t, leaked(), nil, table)
	if len(list) != 4 || list[0].Vendor != "junos" || list[1].Vendor != "iosxr" || list[2].Vendor != "bird" || list[3].Vendor != "frr" {
		t.Fatalf("%+v", list)
	}
	// 6 are leaked in the world, one of them without 64501: it is on the session all the same.
	if f := list[0]; !f.Known || f.Rejects != 6 || f.Misses != 0 || f.AlsoRejects != 0 || !strings.Contains(f.Text, "10.20.0.0/20 exact") || len(f.Others) < 4 {
		t.Errorf("%+v", f)
	}
	for _, w := range list[0].Others {
		if w.Words.EN == "reject paths through 64502 64510, but those that AS64510 originates" && (w.Rejects != 6 || w.AlsoRejects != 3) {
			t.Errorf("%+v", w) // 64511's twice, and 64512's
		}
	}

	// Too many to list: the path decides, and what 64510 carries for its customers is spared.
	many := table[64501]
	for i := range 200 {
		many = append(many, leak.Offered{
			At: start, Neighbor: 64501, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 30, byte(i), 0}), 24), Path: []uint32{64501, 64502, 64510, 64520}, ROV: leak.ROVNotFound,
		})
	}
	f := filters(t, leaked(), nil, tables{64501: many})[2]
	if f.Rejects != 206 || f.Misses != 0 || f.AlsoRejects != 0 || !strings.Contains(f.Text, "[64511, 64512]") {
		t.Errorf("%+v", f)
	}

	// One that is passed on by a spared AS: then sparing misses it, and the bare path is taken.
	many = append(many, leak.Offered{At: start, Neighbor: 64501, Prefix: netip.MustParsePrefix("10.31.0.0/16"), Path: []uint32{64501, 64502, 64510, 64511}, ROV: leak.ROVNotFound})
	f = filters(t, leaked(), nil, tables{64501: many})[2]
	if f.Rejects != 207 || f.Misses != 0 || f.AlsoRejects != 3 {
		t.Errorf("%d, misses %d, also %d: %s", f.Rejects, f.Misses, f.AlsoRejects, f.Title.EN)
	}
}

// TestHits: what belongs to an incident, by its kind.
func TestHits(t *testing.T) {
	t.Parallel()
	p := netip.MustParsePrefix
	r := func(prefix string, path ...uint32) *leak.Offered {
		return &leak.Offered{Prefix: p(prefix), Path: path, ROV: leak.ROVNotFound}
	}
	invalid := func(x *leak.Offered) *leak.Offered { x.ROV = leak.ROVInvalid; return x }
	before := func(x *leak.Offered) *leak.Offered { x.At = start.Add(-time.Second); return x }
	gone := func(x *leak.Offered) *leak.Offered { x.Withdrawn = true; return x }
	incident := func(change func(i *detect.Incident)) *detect.Incident { i := leaked(); change(i); return i }
	known := []netip.Prefix{p("10.20.0.0/20")}
	for name, tt := range map[string]struct {
		i    *detect.Incident
		r    *leak.Offered
		want bool
	}{
		"leak":               {leaked(), r("10.9.0.0/16", 64501, 64502, 64510, 64520), true},
		"its own":            {leaked(), r("10.9.0.0/16", 64501, 64502, 64510), false},
		"its own, prepended": {leaked(), r("10.9.0.0/16", 64501, 64502, 64510, 64510), false},
		"from before":        {leaked(), before(r("10.9.0.0/16", 64501, 64502, 64510, 64520)), false},
		"taken back":         {leaked(), gone(r("10.9.0.0/16", 64501, 64502, 64510, 64520)), false},
		"another way":        {leaked(), r("10.9.0.0/16", 64501, 64510, 64502, 64520), false},
		"all are known":      {incident(func(i *detect.Incident) { i.Prefixes.N = 1 }), r("10.9.0.0/16", 64501, 64502, 64510, 64520), false},
		"all, this too":      {incident(func(i *detect.Incident) { i.Prefixes.N = 1 }), r("10.20.0.0/20", 64501, 64502, 64510, 64520), true},
		"from one":           {incident(func(i *detect.Incident) { i.From = 64520 }), r("10.9.0.0/16", 64501, 64502, 64510, 64520), true},
		"from another":       {incident(func(i *detect.Incident) { i.From = 64521 }), r("10.9.0.0/16", 64501, 64502, 64510, 64520), false},
		"to us":              {incident(func(i *detect.Incident) { i.To = 64500 }), r("10.9.0.0/16", 64510, 64510, 64520), true},
		"to us, by others":   {incident(func(i *detect.Incident) { i.To = 64500 }), r("10.9.0.0/16", 64501, 64510, 64520), false},
		"to several":         {incident(func(i *detect.Incident) { i.To = 0 }), r("10.9.0.0/16", 64507, 64510, 64520), true},
		"its own inside":     {incident(func(i *detect.Incident) { i.Form = "type 6" }), r("10.20.0.0/20", 64501, 64502, 64510), true},
		"its own, as ever":   {incident(func(i *detect.Incident) { i.Form = "type 6" }), r("10.9.0.0/16", 64501, 64502, 64510), false},
		"first hop, expected": {incident(func(i *detect.Incident) {
			i.Kind, i.Form, i.To, i.Expected = detect.Hijack, "first-hop", 0, []uint32{64500}
		}), r("10.20.0.0/20", 64501, 64510, 64511), false},
		"nobody":              {incident(func(i *detect.Incident) { i.To, i.Leaker = 0, 0 }), r("10.9.0.0/16", 64501, 64502, 64510, 64520), false},
		"hijack":              {incident(func(i *detect.Incident) { i.Kind, i.Form = detect.Hijack, "exact" }), r("10.20.0.0/20", 64501, 64510), true},
		"hijack, valid":       {incident(func(i *detect.Incident) { i.Kind, i.Form = detect.Hijack, "exact" }), r("10.20.0.0/20", 64501, 64510, 64500), false},
		"hijack, not known":   {incident(func(i *detect.Incident) { i.Kind, i.Form = detect.Hijack, "exact" }), r("10.9.0.0/20", 64501, 64510), false},
		"hijack, invalid":     {incident(func(i *detect.Incident) { i.Kind, i.Form = detect.Hijack, "exact" }), invalid(r("10.9.0.0/20", 64501, 64510)), true},
		"first hop":           {incident(func(i *detect.Incident) { i.Kind, i.Form, i.To, i.From = detect.Hijack, "first-hop", 0, 64500 }), r("10.20.0.0/20", 64501, 64510, 64500), true},
		"first hop, not this": {incident(func(i *detect.Incident) { i.Kind, i.Form, i.To, i.From = detect.Hijack, "first-hop", 0, 64500 }), r("10.9.0.0/20", 64501, 64510, 64500), false},
		"bogon":               {incident(func(i *detect.Incident) { i.Kind = detect.Bogon }), r("10.20.0.0/20", 64501, 64510), true},
		"bogon, by another":   {incident(func(i *detect.Incident) { i.Kind = detect.Bogon }), r("10.20.0.0/20", 64501, 64511), false},
		"outage":              {incident(func(i *detect.Incident) { i.Kind = detect.Outage }), r("10.20.0.0/20", 64501, 64510), false},
	} {
		if got := leak.NewHits(house(), tt.i, known).Has(tt.r); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestUnknownTable: where nobody tells what a neighbour announces, the incident's own
// lanes say how much comes, and what else a filter would hit isn't known.
func TestUnknownTable(t *testing.T) {
	t.Parallel()
	i := leaked()
	if list := filters(t, i, nil, nil); len(list) != 0 {
		t.Errorf("nothing is known to come in: %+v", list)
	}
	i.Lanes = []detect.Lane{
		{Is: []uint32{64501, 64502, 64510, 64520}, Routes: 70},
		{Is: []uint32{64501, 64502, 64510, 64521}, Routes: 20, Last: start}, // over
		{Is: []uint32{64777, 64502, 64510, 64521}, Routes: 30},              // no session of ours
		{Is: nil, Routes: 1},
	}
	list := filters(t, i, nil, tables{})
	if len(list) != 4 || list[0].Known || list[0].Rejects != 70 || list[0].AlsoRejects != 0 || !strings.Contains(list[2].Text, "64502+ 64510+") {
		t.Errorf("%+v", list)
	}
	i.Kind = detect.Outage
	if list := filters(t, i, nil, tables{}); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	h := house()
	h.Neighbors = []leak.Neighbor{{AS: 64599}}
	if _, err := leak.Filters(t.Context(), h, leaked(), nil, tables{}); err == nil || !strings.Contains(err.Error(), "AS64599") {
		t.Error(err)
	}
}

// TestHijackFilter: by origin, and where all are, by ROV.
func TestHijackFilter(t *testing.T) {
	t.Parallel()
	i := leaked()
	i.Kind, i.Form, i.To, i.Leaker = detect.Hijack, "more-specific", 0, 64520
	table := old(offered(64501, world))
	for n := range 100 {
		table = append(table, leak.Offered{
			At: start, Neighbor: 64501, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 40, byte(n), 0}), 24), Path: []uint32{64501, 64520}, ROV: leak.ROVInvalid,
		})
	}
	f := filters(t, i, nil, tables{64501: table})[3]
	if f.Rejects != 105 || f.Misses != 0 || f.AlsoRejects != 0 || !strings.Contains(f.Text, "permit _64520$") || !strings.Contains(f.Text, "match rpki invalid") {
		t.Errorf("%+v", f)
	}
}

// many is a neighbour with so many routes, of which the first thousand belong to the incident.
type many struct {
	routes int
	r      leak.Offered
}

func (m *many) Offered(_ context.Context, _ uint32, f func(*leak.Offered) bool) (bool, error) {
	leaks, ordinary := []uint32{64501, 64502, 64510, 64520}, []uint32{64501, 64502, 64503, 64504}
	for i := range m.routes {
		m.r = leak.Offered{At: start, Neighbor: 64501, Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(1 + i>>16), byte(i >> 8), byte(i), 0}), 24), Path: ordinary, ROV: leak.ROVNotFound}
		if i < 1000 {
			m.r.Path = leaks
		}
		if !f(&m.r) {
			break
		}
	}
	return true, nil
}

// BenchmarkFilters weighs all ways against a table, per route.
func BenchmarkFilters(b *testing.B) {
	h := house()
	h.Neighbors = h.Neighbors[:1]
	b.ReportAllocs()
	for b.Loop() {
		if _, err := leak.Filters(b.Context(), h, leaked(), nil, &many{routes: 100_000}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/route")
}
