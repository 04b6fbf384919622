package ipfix_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/wire/ipfix"
)

// TestSave: templates outlive a restart, marked until they come again.
func TestSave(t *testing.T) {
	t.Parallel()
	learn := func(c *ipfix.Cache[struct{}], b []byte) {
		t.Helper()
		var m ipfix.Message
		if err := ipfix.Parse(b, &m); err != nil {
			t.Fatal(err)
		}
		for s := (ipfix.Set{}); m.Next(&s); {
			if _, err := c.Learn(exporter, &m, &s); err != nil {
				t.Fatal(err)
			}
		}
	}
	options := set(3, words(258, 2, 1, 149, 4, 41, 8))
	before := ipfix.NewCache[struct{}](1000, nil)
	learn(before, message(0, set(2, flow), options))
	learn(before, message9(0, set(0, words(300, 1, 8, 4))))
	var kept []ipfix.Saved
	before.Save(func(s ipfix.Saved) { kept = append(kept, s) })
	after := ipfix.NewCache[struct{}](1000, nil)
	for _, s := range kept {
		if err := after.Restore(s); err != nil {
			t.Fatal(err)
		}
	}
	var again []ipfix.Saved
	after.Save(func(s ipfix.Saved) { again = append(again, s) })
	if d := cmp.Diff(kept, again, cmp.Comparer(func(a, b ipfix.Saved) bool {
		return a.Exporter == b.Exporter && a.Domain == b.Domain && a.Version == b.Version && a.Options == b.Options && slices.Equal(a.Raw, b.Raw)
	})); d != "" || len(kept) != before.Len() || len(kept) < 2 {
		t.Errorf("%d kept of %d; - before, + after:\n%s", len(kept), before.Len(), d)
	}
	var m ipfix.Message
	if err := ipfix.Parse(message(0), &m); err != nil {
		t.Fatal(err)
	}
	for _, id := range []uint16{256, 258} {
		if e := after.Find(exporter, &m, id); e == nil || !e.Restored {
			t.Errorf("%d: %+v", id, e)
		}
	}
	learn(after, message(0, set(2, flow)))
	if e := after.Find(exporter, &m, 256); e.Restored {
		t.Error("still marked")
	}
	// What came since stays.
	if err := after.Restore(kept[0]); err != nil || after.Len() != len(kept) {
		t.Errorf("%v, %d templates", err, after.Len())
	}
	after.Forget(exporter, &m, 256)
	after.Forget(exporter, &m, 999)
	if after.Find(exporter, &m, 256) != nil || after.Len() != len(kept)-1 {
		t.Errorf("%d templates", after.Len())
	}
	for _, s := range []ipfix.Saved{
		{Version: 5, Raw: flow},
		{Version: ipfix.IPFIX},
		{Version: ipfix.IPFIX, Raw: flow[:len(flow)-1]},
		{Version: ipfix.IPFIX, Raw: words(256, 0)},
		{Version: ipfix.IPFIX, Raw: append(slices.Clone(flow), 0)},
		{Version: ipfix.V9, Raw: words(3, 1, 8, 4)},
		{Version: ipfix.V9, Options: true, Raw: words(256, 2)},
	} {
		if err := ipfix.NewCache[struct{}](1000, nil).Restore(s); !errors.Is(err, ipfix.ErrTemplate) && !errors.Is(err, ipfix.ErrVersion) {
			t.Errorf("%+v: %v", s, err)
		}
	}
	if ipfix.NewCache[struct{}](5, nil).Restore(kept[0]) == nil {
		t.Error("beyond the bound")
	}
}

// TestFits: which bodies can be records of a template, and which are another's.
func TestFits(t *testing.T) {
	t.Parallel()
	var r ipfix.Records
	find := func(template []byte, id uint16) *ipfix.Template {
		c := ipfix.NewCache[struct{}](1000, nil)
		var m ipfix.Message
		if err := ipfix.Parse(message(0, set(2, template)), &m); err != nil {
			t.Fatal(err)
		}
		for s := (ipfix.Set{}); m.Next(&s); {
			if _, err := c.Learn(exporter, &m, &s); err != nil {
				t.Fatal(err)
			}
		}
		return c.Find(exporter, &m, id).Template
	}
	fixed, varied := find(words(256, 2, 8, 4, 12, 8), 256), find(words(257, 2, 8, 4, 82, ipfix.Variable), 257)
	for _, tt := range []struct {
		t    *ipfix.Template
		body []byte
		want bool
	}{
		{fixed, make([]byte, 12), true},
		{fixed, make([]byte, 24+3), true},
		{fixed, make([]byte, 24+9), false},
		{fixed, append(make([]byte, 24), 0, 1), false},
		{fixed, make([]byte, 11), false},
		{fixed, nil, false},
		{varied, []byte("abcd\x02xyabcd\x00"), true},
		{varied, []byte("abcd\x02xy\x00\x00"), true},
		{varied, []byte("abcd\x02xyabcd\xc8"), false},
		{varied, []byte("abcd\x02xyabc"), false},
	} {
		if got := r.Fits(tt.t, tt.body); got != tt.want {
			t.Errorf("%q with records of %d: %v", tt.body, tt.t.Size, got)
		}
	}
	if at, n := fixed.Span(1); at != 4 || n != 8 {
		t.Errorf("%d, %d", at, n)
	}
	if _, n := varied.Span(1); n != ipfix.Variable {
		t.Errorf("%d", n)
	}
}
