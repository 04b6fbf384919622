//go:build linux

package main

import (
	"strings"
	"testing"
	"time"
)

// TestQuickRoutes runs part J small: every program has its rows, all find the same elements,
// and the drill's incident is named.
func TestQuickRoutes(t *testing.T) {
	t.Parallel()
	o := options{dir: t.TempDir(), root: "../..", rounds: 1, quick: true, timeout: time.Minute, log: t.Output()}
	var r report
	s, err := routes(t.Context(), &o, &r)
	if err != nil {
		t.Fatal(err)
	}
	text := s.text()
	for _, want := range []string{
		" bgpdump -m |", "  sakimori, decode |", " sakimori, text as bgpdump -m |", " GoBGP's packages, decode |",
		" sakimori, into the table |", "\n| drill   | sakimori, table and detectors", "was named",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if len(r.faults) > 0 || !r.routes.known || r.routes.named < 0 || r.routes.named > time.Minute {
		t.Errorf("%q, %+v", r.faults, r.routes)
	}
}
