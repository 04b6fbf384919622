package leak_test

import (
	"net/netip"
	"strings"
	"testing"

	"sakimori/detect"
	"sakimori/respond/leak"
)

// TestMaxPrefix: a quarter above the most of 30 days, rounded up; what isn't known is said.
func TestMaxPrefix(t *testing.T) {
	t.Parallel()
	most := func(n int) *int { return &n }
	for _, tt := range []struct {
		count leak.Count
		limit int
		known bool
		why   string
	}{
		{leak.Count{Neighbor: 64501, Family: "ipv4", Now: 900, Maximum: most(950)}, 1200, true, "1.25 times the maximum of 30 days, 950"},
		{leak.Count{Neighbor: 64501, Family: "ipv4", Now: 160000, Maximum: most(950000)}, 1200000, true, "80 %"},
		{leak.Count{Neighbor: 64501, Family: "ipv6", Now: 5, Maximum: most(1)}, 10, true, ""},
		{leak.Count{Neighbor: 64501, Family: "ipv6", Now: 0, Maximum: most(0)}, 10, true, ""},
		{leak.Count{Neighbor: 64501, Family: "ipv4", Now: 5000, Maximum: most(1000)}, 1300, true, "Set now it ends the session: 5,000"},
		{leak.Count{Neighbor: 64503, Family: "ipv4", Now: 100}, 130, false, "isn't known yet"},
	} {
		m := leak.MaxPrefixes(house(), []leak.Count{tt.count})[0]
		if m.Limit != tt.limit || m.Known != tt.known || m.Warn != 80 || !strings.Contains(m.Why.EN, tt.why) || strings.Contains(m.Why.EN+m.Why.JA, "%!") {
			t.Errorf("%+v: %+v", tt.count, m)
		}
		for _, v := range leak.Vendors() {
			if !strings.Contains(m.Lines[v], "maximum "+itoa(tt.limit)) && !strings.Contains(m.Lines[v], "maximum-prefix "+itoa(tt.limit)) && !strings.Contains(m.Lines[v], "limit "+itoa(tt.limit)) {
				t.Errorf("%s: %s", v, m.Lines[v])
			}
		}
	}
	lines := leak.MaxPrefixes(house(), []leak.Count{{Neighbor: 64501, Family: "ipv4"}, {Neighbor: 64501, Family: "ipv6"}})
	if !strings.Contains(lines[0].Lines["frr"], "neighbor 192.0.2.1 maximum-prefix") || strings.Contains(lines[1].Lines["frr"], "192.0.2.1") {
		t.Errorf("%q %q", lines[0].Lines["frr"], lines[1].Lines["frr"])
	}
}

func itoa(n int) string { return strings.ReplaceAll(detect.Grouped(uint64(n)), ",", "") }

// roas says the same of every prefix.
type roas leak.ROV

func (r roas) ROV(netip.Prefix, uint32) leak.ROV { return leak.ROV(r) }

// TestSpecifics: the halves of what is hit of our own, as long as they are passed on and
// no ROA forbids them; customers' are theirs to announce.
func TestSpecifics(t *testing.T) {
	t.Parallel()
	i := told()
	i.Sample = append(i.Sample,
		detect.HitPrefix{Prefix: netip.MustParsePrefix("2001:db8:20::/48")},
		detect.HitPrefix{Prefix: netip.MustParsePrefix("10.20.64.0/24")},
		detect.HitPrefix{Prefix: netip.MustParsePrefix("10.20.80.0/20"), Gone: start},
		detect.HitPrefix{Prefix: netip.MustParsePrefix("10.20.0.0/20")}, // twice
	)
	list := leak.MoreSpecifics(house(), i, roas(leak.ROVValid))
	var own, theirs []string
	for _, m := range list {
		if m.Effect.JA == "" || m.Effect.EN == "" || len(m.SideEffects) < 3 || m.Why.EN == "" || strings.Contains(m.Effect.EN+m.Effect.JA+m.Why.EN+m.Why.JA, "%!") {
			t.Errorf("%+v", m)
		}
		if m.Possible {
			own = append(own, m.Prefix.String())
		} else {
			theirs = append(theirs, m.Prefix.String())
		}
	}
	if got := strings.Join(own, " "); got != "10.20.0.0/21 10.20.8.0/21 10.20.64.0/24 2001:db8:20::/48" {
		t.Error(got)
	}
	if got := strings.Join(theirs, " "); got != "10.20.32.0/24 10.20.33.0/24" {
		t.Error(got)
	}
	if m := list[0]; m.Of.String() != "10.20.0.0/16" || !strings.Contains(m.Effect.EN, "80 % of the vantage points (8 of 10)") {
		t.Errorf("%+v", m)
	}
	for state, want := range map[leak.ROV]struct {
		possible bool
		why      string
	}{
		leak.ROVInvalidLength: {false, "maximum length /21"},
		leak.ROVInvalid:       {false, "no ROA of 10.20.0.0/21 names AS64500"},
		leak.ROVNotFound:      {true, "no ROA covers 10.20.0.0/21"},
		leak.ROVUnknown:       {true, "isn't known"},
	} {
		if m := leak.MoreSpecifics(house(), i, roas(state))[0]; m.Possible != want.possible || !strings.Contains(m.Why.EN, want.why) {
			t.Errorf("%s: %+v", state, m)
		}
	}
	if m := leak.MoreSpecifics(house(), i, nil)[0]; !m.Possible || !strings.Contains(m.Why.EN, "isn't known") {
		t.Errorf("%+v", m)
	}
	i.Whole = 0
	if m := leak.MoreSpecifics(house(), i, nil)[0]; !strings.Contains(m.Effect.EN, "isn't known") {
		t.Errorf("%+v", m)
	}
	i.Kind = detect.Outage
	if list := leak.MoreSpecifics(house(), i, nil); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	i.Kind, i.Sample = detect.Leak, nil
	for n := range 100 {
		i.Sample = append(i.Sample, detect.HitPrefix{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 20, byte(2 * n), 0}), 23)})
	}
	if list := leak.MoreSpecifics(house(), i, nil); len(list) != 16 {
		t.Errorf("%d", len(list))
	}
}
