package access

import (
	"net/netip"
	"testing"
	"time"

	"sakimori/base/wire/radius"
)

func sent(id byte, from string) mark {
	p := make(radius.Packet, 20)
	p[1] = id
	return marked(p, netip.MustParseAddr(from))
}

// TestRecent: what is remembered, for how long, and that it stays within its bounds.
func TestRecent(t *testing.T) {
	t0 := time.Date(2026, 4, 1, 12, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	r := newRecent(10*time.Second, 3)
	a := sent(1, "10.0.0.1")
	expect := func(what string, got, want state) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	expect("first", r.meet(a, at(0)), fresh)
	expect("again, before it is kept", r.meet(a, at(1)), pending)
	r.settle([]mark{a}, kept)
	expect("kept", r.meet(a, at(2)), kept)
	expect("another sender", r.meet(sent(1, "10.0.0.2"), at(2)), fresh)
	r.settle([]mark{sent(1, "10.0.0.2")}, fresh)
	expect("that couldn't be kept", r.meet(sent(1, "10.0.0.2"), at(2)), fresh)
	expect("the next generation", r.meet(sent(2, "10.0.0.1"), at(11)), fresh)
	expect("within the second window", r.meet(a, at(12)), kept)
	expect("of a generation before", r.meet(sent(3, "10.0.0.1"), at(22)), fresh)
	expect("forgotten", r.meet(a, at(23)), fresh)
	expect("the last of a full one", r.meet(sent(4, "10.0.0.1"), at(23)), fresh)
	expect("one more", r.meet(sent(5, "10.0.0.1"), at(23)), fresh)
	if len(r.now) != 1 || len(r.before) != 3 {
		t.Errorf("%d and %d are remembered, want 1 and 3", len(r.now), len(r.before))
	}
	// Pending in a generation that is gone when it is kept.
	expect("long after", r.meet(sent(6, "10.0.0.1"), at(100)), fresh)
	r.settle([]mark{sent(5, "10.0.0.1")}, kept)
	expect("kept late", r.meet(sent(5, "10.0.0.1"), at(101)), kept)
	for i := range 100 {
		r.meet(sent(byte(i), "10.0.0.9"), at(101))
		r.settle([]mark{sent(byte(i), "10.0.0.9")}, kept)
	}
	if len(r.now) > 3 || len(r.before) > 3 {
		t.Errorf("%d and %d are remembered, at most 3 and 3 may be", len(r.now), len(r.before))
	}
}
