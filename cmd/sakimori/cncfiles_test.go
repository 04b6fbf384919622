package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/lawful"
	"sakimori/observe"
	"sakimori/observe/feed/indicator"
	"sakimori/respond/blocklist"
)

// everyOne is a gate and a ledger where each consents and nothing is protected.
type everyOne struct{}

func (everyOne) Valid(context.Context, string, string, time.Time) (bool, error) { return true, nil }
func (everyOne) Terms(context.Context, string, time.Time) (lawful.Terms, error) {
	return lawful.Terms{OptOut: true}, nil
}
func (everyOne) Address(netip.Prefix) (string, bool) { return "", false }
func (everyOne) Name(string) (string, bool)          { return "", false }

type noLedger struct{}

func (noLedger) Record(context.Context, blocklist.Export, string) error { return nil }

type noDecisions struct{}

func (noDecisions) Record(context.Context, lawful.Decision) error { return nil }

// individually is a ground that reaches everything.
func individually(t *testing.T, now time.Time) blocklist.Ground {
	t.Helper()
	words := lawful.Text{JA: "試験", EN: "a test"}
	rule := lawful.Rule{
		ID: "individual", Title: words, Widest: words, Grounds: []lawful.Ground{lawful.IndividualConsent}, Edition: "1", Source: "a test", Verified: lawful.Verified{By: "legal:test", On: now}, From: now,
		Measures: []lawful.Measure{lawful.Block}, Limits: lawful.Limits{Subjects: 10, Features: 3, Longest: 48 * time.Hour},
		Conditions: []lawful.Condition{{Name: "c", Check: "consent", Fact: "consent", Param: "traffic_analysis", Missing: words, Satisfy: words}},
	}
	gate, err := lawful.New(lawful.Deps{
		Guideline: lawful.Guideline{Facts: []lawful.Fact{{Name: "consent", Kind: lawful.Bool, Text: words}}, Rules: []lawful.Rule{rule}}, Recorder: noDecisions{}, Consents: everyOne{}, Clock: clock.Fixed(now),
	})
	if err != nil {
		t.Fatal(err)
	}
	g := blocklist.Ground{Rule: rule, Subjects: []string{"S-1"}}
	g.Grant, err = gate.Ask(t.Context(), lawful.Request{
		Measure: lawful.Block, Purpose: "a test", Who: "legal:test", Rule: rule.ID, Until: now.Add(40 * time.Hour), Scope: lawful.Scope{Subjects: g.Subjects, Features: []string{blocklist.Feature}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestExportsReadBack: what the list writes for others is, read by the readers of others'
// lists, the same list: of STIX with kinds, families and times, of a table as far as its
// columns go, of one value a line the values.
func TestExportsReadBack(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 27, 3, 0, 0, 0, time.UTC)
	var list []observe.Indicator
	add := func(kind observe.IndicatorKind, value, family string) {
		i := len(list)
		list = append(list, observe.Indicator{
			Kind: kind, Value: value, Family: family, Role: observe.RoleC2, First: now.Add(-time.Duration(i+1) * time.Minute), Until: now.Add(time.Hour + time.Duration(i)*time.Minute),
		})
	}
	for i := range 40 {
		family := []string{"mirai", "", "gh0st rat", "emotet"}[i%4]
		add(observe.IndicatorName, fmt.Sprintf("c2-%d.bad%d.net", i, i), family)
		add(observe.IndicatorHost, fmt.Sprintf("h%d.files.org", i), family)
		add(observe.IndicatorAddress, fmt.Sprintf("5.9.1.%d", i+1), family)
		add(observe.IndicatorAddress, fmt.Sprintf("2a01:4f8::%x", i+1), family)
		add(observe.IndicatorEndpoint, fmt.Sprintf("5.9.2.%d:%d", i+1, 4000+i), family)
		add(observe.IndicatorEndpoint, fmt.Sprintf("[2a01:4f8:1::%x]:443", i+1), family)
		add(observe.IndicatorPrefix, fmt.Sprintf("5.10.%d.0/24", i), family)
		add(observe.IndicatorPrefix, fmt.Sprintf("2a01:4f8:%x00::/40", i+16), family)
		add(observe.IndicatorURL, fmt.Sprintf("http://www.shop%d.com/a.b/gate.php?id=%d&x=(2)", i, i), family)
		add(observe.IndicatorURL, fmt.Sprintf("https://5.9.3.%d:8443/", i+1), family)
	}
	entries := iter.Seq2[blocklist.Entry, error](func(yield func(blocklist.Entry, error) bool) {
		for i, x := range list {
			if !yield(blocklist.Entry{ID: fmt.Sprintf("E-%d", i), Kind: blocklist.Kind(x.Kind), Value: x.Value, Family: x.Family, Since: x.First, Until: x.Until}, nil) {
				return
			}
		}
	})
	dir := t.TempDir()
	book, err := blocklist.Open(dir, ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)), clock.Fixed(now), everyOne{}, noLedger{})
	if err != nil {
		t.Fatal(err)
	}
	ground := individually(t, now)
	for form, how := range map[blocklist.Form]struct {
		o    indicator.Options
		keep func(x *observe.Indicator) // what the form can say
	}{
		blocklist.STIX: {o: indicator.Options{Role: observe.RoleOther}, keep: func(*observe.Indicator) {}},
		blocklist.CSV: {
			o:    indicator.Options{Format: indicator.CSV, Role: observe.RoleC2, Mapping: &indicator.Mapping{Value: "value", KindIn: "kind", Port: "port", Family: "family", Until: "until"}},
			keep: func(x *observe.Indicator) { x.First = time.Time{} },
		},
		blocklist.Plain: {
			o: indicator.Options{Format: indicator.Plain, Role: observe.RoleC2},
			keep: func(x *observe.Indicator) {
				x.First, x.Until, x.Family = time.Time{}, time.Time{}, ""
				if x.Kind == observe.IndicatorHost { // a value alone doesn't tell
					x.Kind = observe.IndicatorName
				}
			},
		},
	} {
		x, err := book.Make(t.Context(), form, ground, "test", entries)
		if err != nil || x.Entries != len(list) {
			t.Fatal(form, x.Entries, x.Omitted, err)
		}
		raw, err := os.ReadFile(filepath.Join(dir, x.File))
		if err != nil {
			t.Fatal(err)
		}
		how.o.Source = "back"
		var got []observe.Indicator
		st, err := indicator.Read(bytes.NewReader(raw), how.o, func(i *observe.Indicator) error {
			got = append(got, observe.Indicator{Kind: i.Kind, Value: i.Value, Family: i.Family, Role: i.Role, First: i.First, Until: i.Until})
			return nil
		})
		if err != nil || st.Rejected != 0 {
			t.Errorf("%s: %v, %d rejected: %v", form, err, st.Rejected, st.Named[:min(3, len(st.Named))])
		}
		want := slices.Clone(list)
		for i := range want {
			how.keep(&want[i])
		}
		order := func(a, b observe.Indicator) int {
			return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Value, b.Value))
		}
		slices.SortFunc(got, order)
		slices.SortFunc(want, order)
		if len(got) != len(want) {
			t.Errorf("%s: %d read back of %d", form, len(got), len(want))
			continue
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%s:\n%+v\n%+v", form, got[i], want[i])
				break
			}
		}
	}
}
