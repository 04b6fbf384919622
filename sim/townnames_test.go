package sim_test

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"sakimori/base/wire/dns"
	"sakimori/base/wire/dnstap"
	"sakimori/sim"
)

// TestLookups: a line asks from an address that it has; only lines that are infected ask
// for C&C servers, and only meanwhile; the same seed asks the same, in pieces or at once.
func TestLookups(t *testing.T) {
	town := sim.Town{Seed: 3, Start: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Duration: 8 * 24 * time.Hour, Lines: 60}
	l, err := town.Live()
	if err != nil {
		t.Fatal(err)
	}
	truth := l.Truth()
	from, until := town.Start.Add(90*time.Minute), town.Start.Add(6*24*time.Hour)
	all := slices.Collect(l.Lookups(from, until))
	half := from.Add(70*time.Hour + 7*time.Minute)
	if again := slices.Concat(slices.Collect(l.Lookups(from, half)), slices.Collect(l.Lookups(half, until))); !slices.Equal(all, again) {
		t.Errorf("%d questions at once, and %d in two pieces", len(all), len(again))
	}
	control := 0
	for i, x := range all {
		if x.At.Before(from) || !x.At.Before(until) || i > 0 && x.At.Before(all[i-1].At) {
			t.Fatalf("out of order: %+v", x)
		}
		if x.Family != "" {
			control++
			if !slices.Contains(sim.ControlNames(x.Family), x.Name) || !slices.ContainsFunc(truth.Infected, func(s sim.Spell) bool {
				return s.Line == x.Line && s.Family == x.Family && !x.At.Before(s.From) && (s.To.IsZero() || x.At.Before(s.To))
			}) {
				t.Fatalf("it isn't infected: %+v", x)
			}
		}
		// The truth tells of public addresses; behind the translator only the line is known.
		if shared := netip.MustParsePrefix("100.64.0.0/10"); !shared.Contains(x.Client) && !slices.ContainsFunc(truth.Uses, func(u sim.Tenure) bool {
			return u.Line == x.Line && u.Address == x.Client && !x.At.Before(u.From) && (u.To.IsZero() || !x.At.After(u.To))
		}) {
			t.Fatalf("it isn't on the net: %+v", x)
		}
	}
	if control < 100 || control > len(all)/2 {
		t.Errorf("%d of %d questions are for C&C servers", control, len(all))
	}
}

// TestTell: what the resolver tells is dnstap, and a block says whose it is.
func TestTell(t *testing.T) {
	var b bytes.Buffer
	w, err := dnstap.NewWriter(&b, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := sim.Resolver{Identity: "mihon1", Address: netip.MustParseAddr("203.0.113.53")}
	x := sim.Lookup{At: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Client: netip.MustParseAddr("198.19.0.7"), Name: "cnc1.mirai-mihon.jp"}
	for _, zone := range []string{"", "c2."} {
		if err := r.Tell(w, &x, zone); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f := dnstap.NewFrames(&b, nil)
	var got []string
	for {
		frame, err := f.Next()
		if err != nil {
			break
		}
		var m dnstap.Message
		var msg dns.Message
		if err := m.Read(frame); err != nil {
			t.Fatal(err)
		}
		if err := msg.Read(m.Wire()); err != nil || m.Client != x.Client || string(m.Identity) != "mihon1" {
			t.Fatalf("%+v %v", m, err)
		}
		q, err := msg.Question(nil)
		if err != nil || q.Name.String() != x.Name {
			t.Fatalf("%+v %v", q, err)
		}
		kind := "asked"
		if m.Type.Response() {
			kind = "told"
		}
		var rr dns.RR
		for rs := msg.Records(); rs.Next(&rr); {
			owner, _, err := dns.AppendName(nil, msg.Raw, rr.Owner)
			if err != nil {
				t.Fatal(err)
			}
			kind += " " + owner.String()
		}
		if msg.Rcode == dns.NXDomain {
			kind += " none"
		}
		got = append(got, kind)
	}
	if want := []string{"asked", "told cnc1.mirai-mihon.jp", "asked", "told c2 none"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
