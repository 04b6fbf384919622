package register_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/lawful"
	"sakimori/lawful/register"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, db *relation.DB) *register.Register {
	t.Helper()
	r, err := register.Open(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestKeeper(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		ctx := t.Context()
		r := open(t, db)
		k := lawful.Kept{ID: "G-1", State: lawful.AwaitsSecond, Until: noon.Add(1), Body: []byte{0, 255, '"'}, Seal: []byte{1}}
		if err := r.Keep(ctx, k); err != nil {
			t.Fatal(err)
		}
		if err := r.Keep(ctx, k); !relation.Unique(err) {
			t.Errorf("kept twice: %v", err)
		}
		if got, err := r.Find(ctx, "G-1"); err != nil || !reflect.DeepEqual(got, k) {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := r.Find(ctx, "G-2"); !errors.Is(err, lawful.ErrUnknown) {
			t.Error(err)
		}
		k.State, k.Body = lawful.InForce, []byte("x")
		for i, want := range []error{nil, lawful.ErrUnknown} { // it isn't waiting any more
			if err := r.End(ctx, lawful.AwaitsSecond, k); !errors.Is(err, want) {
				t.Errorf("try %d: %v", i, err)
			}
		}
		if list, err := open(t, db).InForce(ctx); err != nil || len(list) != 1 || !reflect.DeepEqual(list[0], k) {
			t.Errorf("%+v, %v", list, err)
		}
		k.State = lawful.Settled
		if err := r.End(ctx, lawful.InForce, k); err != nil {
			t.Error(err)
		}
		if list, err := r.InForce(ctx); err != nil || len(list) != 0 {
			t.Errorf("%+v, %v", list, err)
		}
		for i, at := range []time.Time{noon, noon.Add(2)} {
			if n, err := r.Prune(ctx, at); err != nil || n != int64(i) {
				t.Errorf("%d pruned, %v", n, err)
			}
		}
	})
}

type silent struct{}

func (silent) Record(context.Context, lawful.Decision) error { return nil }

var words = lawful.Text{JA: "試験", EN: "a test"}

// gate is one with a single rule, whose grants are kept.
func gate(t *testing.T, r *register.Register, key string) *lawful.Gate {
	t.Helper()
	g, err := lawful.New(lawful.Deps{Recorder: silent{}, Keeper: r, Key: []byte(key), Clock: clock.Fixed(noon), Guideline: lawful.Guideline{
		Facts: []lawful.Fact{{Name: "why", Kind: lawful.Word, Text: words}, {Name: "long", Kind: lawful.Duration, Text: words}},
		Rules: []lawful.Rule{{
			ID: "r", Title: words, Widest: words, Grounds: []lawful.Ground{lawful.LegitimateAct}, Edition: "1", Source: "a test",
			Verified: lawful.Verified{By: "legal:test", On: noon}, From: noon, Measures: []lawful.Measure{lawful.Block},
			Limits: lawful.Limits{Longest: time.Hour, Prefixes: 1, Bits4: 24, Bits6: 128},
			Conditions: []lawful.Condition{
				{Name: "why", Check: "stated", Fact: "why", Missing: words, Satisfy: words},
				{Name: "long", Check: "at_most", Fact: "long", Param: "2h", Missing: words, Satisfy: words},
			},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestGate: a grant comes back from the store as it was; from a row that somebody
// changed there, or put there, comes nothing.
func TestGate(t *testing.T) {
	const key = "a key of thirty-two bytes, or so."
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		ctx := t.Context()
		r := open(t, db)
		var ids []string
		for i := range 6 {
			g, err := gate(t, r, key).Ask(ctx, lawful.Request{
				Measure: lawful.Block, Purpose: "試験", Who: "network:hanako", Facts: lawful.Facts{"why": fmt.Sprint(i, " \u2028 <&>"), "long": 90 * time.Minute},
				Scope: lawful.Scope{Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}},
			})
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, g.ID())
		}
		again := gate(t, r, key)
		if err := again.Restore(ctx); err != nil || len(again.InForce()) != len(ids) {
			t.Fatalf("%d, %v", len(again.InForce()), err)
		}
		for i, statement := range []string{
			`UPDATE lawful_kept SET until = until + 1 WHERE id = $1`,
			`UPDATE lawful_kept SET body = seal WHERE id = $1`,
			`UPDATE lawful_kept SET seal = body WHERE id = $1`,
			`UPDATE lawful_kept SET state = 'waiting' WHERE id = $1`,
			`UPDATE lawful_kept SET id = 'G-MINE' WHERE id = $1`,
		} {
			if err := db.Tx(ctx, func(tx *relation.Tx) error {
				n, err := tx.Exec(ctx, statement, ids[i])
				if n != 1 {
					t.Errorf("%s changed %d rows", statement, n)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		after := gate(t, r, key)
		if err := after.Restore(ctx); !errors.Is(err, lawful.ErrForged) || len(after.InForce()) != 1 {
			t.Errorf("%d in force, %v", len(after.InForce()), err)
		}
		target := lawful.At(netip.MustParseAddr("203.0.113.7"))
		for i, id := range append(ids, "G-MINE") {
			g, err := after.Find(ctx, id)
			if whole := i == 5; g.Allows(lawful.Block, target, noon) != whole || (err == nil) != whole {
				t.Errorf("%d: %v", i, err)
			}
		}
		if err := after.Revoke(ctx, ids[5], "legal:jiro", "enough"); err != nil {
			t.Error(err)
		}
		if k, err := r.Find(ctx, ids[5]); err != nil || k.State != lawful.Settled {
			t.Errorf("%s, %v", k.State, err)
		}
	})
}
