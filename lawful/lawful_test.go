package lawful_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"sakimori/lawful"
)

type book struct {
	list []lawful.Decision
	err  error
}

func (b *book) Record(_ context.Context, d lawful.Decision) error {
	b.list = append(b.list, d)
	return b.err
}

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func rule() lawful.Rule {
	return lawful.Rule{
		ID: "test", From: noon.Add(-time.Hour), Until: noon.Add(2 * time.Hour), Measures: []lawful.Measure{lawful.Block}, Longest: time.Hour,
		Conditions: []lawful.Condition{{Fact: "consent", EN: "consent is missing", Holds: func(v any) bool { return v == true }}},
	}
}

// TestScope: a grant covers what it names, all of it and nothing else.
func TestScope(t *testing.T) {
	noon := time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)
	rule := lawful.Rule{ID: "r", Measures: []lawful.Measure{lawful.Notify}, Longest: time.Hour}
	gate := lawful.NewGate([]lawful.Rule{rule}, silent{}, func() time.Time { return noon })
	g, err := gate.Ask(t.Context(), lawful.Notify, lawful.Scope{Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, Subjects: []string{"S-1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	in, out := netip.MustParseAddr("::ffff:203.0.113.9"), netip.MustParseAddr("198.51.100.9")
	for target, want := range map[lawful.Target]bool{
		{}: false, lawful.At(in): true, lawful.At(out): false, lawful.Of("S-1"): true, lawful.Of("S-2"): false,
		{Address: in, Subject: "S-1"}: true, {Address: in, Subject: "S-2"}: false, {Address: out, Subject: "S-1"}: false,
	} {
		if g.Allows(lawful.Notify, target, noon) != want {
			t.Errorf("%+v: not %v", target, want)
		}
	}
}

type silent struct{}

func (silent) Record(context.Context, lawful.Decision) error { return nil }

func TestZeroGrantAllowsNothing(t *testing.T) {
	for _, m := range []lawful.Measure{"", lawful.Block, lawful.NameSubscriber} {
		if (lawful.Grant{}).Allows(m, lawful.At(netip.MustParseAddr("203.0.113.7")), time.Time{}) {
			t.Errorf("the zero Grant allows %q", m)
		}
	}
}

func TestGate(t *testing.T) {
	scope := lawful.Scope{Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	in, out := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("203.0.114.7")
	b := &book{}
	now := noon
	gate := lawful.NewGate([]lawful.Rule{rule()}, b, func() time.Time { return now })

	g, err := gate.Ask(t.Context(), lawful.Block, scope, lawful.Facts{"consent": true})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		m    lawful.Measure
		a    netip.Addr
		at   time.Time
		want bool
	}{
		{lawful.Block, in, noon, true},
		{lawful.Block, in, noon.Add(time.Hour), false}, // expired
		{lawful.Block, out, noon, false},               // out of scope
		{lawful.Share, in, noon, false},                // another measure
	} {
		if got := g.Allows(c.m, lawful.At(c.a), c.at); got != c.want {
			t.Errorf("Allows(%s, %s, %s) = %v", c.m, c.a, c.at, got)
		}
	}
	for _, f := range []lawful.Facts{nil, {"consent": false}, {"other": true}} {
		if g, err := gate.Ask(t.Context(), lawful.Block, scope, f); !errors.Is(err, lawful.ErrRefused) || g.Rule() != "" {
			t.Errorf("%v: %v", f, err)
		}
	}
	if _, err := gate.Ask(t.Context(), lawful.Share, scope, lawful.Facts{"consent": true}); !errors.Is(err, lawful.ErrRefused) {
		t.Error("a measure that no rule speaks of was granted")
	}
	if len(b.list) != 5 || !b.list[0].Granted || b.list[1].Granted || len(b.list[1].Missing) != 1 {
		t.Errorf("decisions: %+v", b.list)
	}
	now = noon.Add(3 * time.Hour) // the rule has ended
	if _, err := gate.Ask(t.Context(), lawful.Block, scope, lawful.Facts{"consent": true}); !errors.Is(err, lawful.ErrRefused) {
		t.Error("a rule that has ended still grants")
	}
	now, b.err = noon, errors.New("disk full")
	if g, err := gate.Ask(t.Context(), lawful.Block, scope, lawful.Facts{"consent": true}); !errors.Is(err, lawful.ErrRefused) || g.Allows(lawful.Block, lawful.At(in), noon) {
		t.Error("granted without having been written down")
	}
}
