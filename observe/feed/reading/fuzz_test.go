package reading_test

import (
	"net/netip"
	"testing"

	"sakimori/observe/feed/reading"
)

func FuzzWhen(f *testing.F) {
	for _, s := range []string{"2026-11-25 03:04:05", "Wed, 25 Nov 2026 12:04:05 +0900 (JST)", "25/Nov/2026:12:04:05 +0900", "1795575845.25", "20261125T030405Z", "2026-11-25T03:04Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, slack, why := reading.When(s, nil)
		if (why == reading.Fine) != (slack > 0) {
			t.Fatalf("%q: %s ± %s, %s", s, at, slack, why)
		}
		// An address is no time: 198.0.2.7 isn't the second 198 of 1970.
		if _, err := netip.ParseAddr(s); err == nil && slack > 0 {
			t.Fatalf("%q is an address and %s", s, at)
		}
	})
}
