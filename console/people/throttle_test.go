package people

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

type still struct{ at time.Time }

func (s *still) Now() time.Time { return s.at }

func newStill() *still { return &still{time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)} }

// failUntil fails as fast as is admitted, for a while, and counts the tries.
func failUntil(c *still, t *throttle, end time.Time, account, from string, known bool) (n int) {
	for c.at.Before(end) {
		if wait := t.admit(account, from, known); wait > 0 {
			c.at = c.at.Add(wait)
			continue
		}
		n++
	}
	return n
}

func TestFailuresWaitLongerEachTime(t *testing.T) {
	c := newStill()
	th := newThrottle(c)
	var waits []time.Duration
	for len(waits) < 8 {
		wait := th.admit("hanako", "192.0.2.1", false)
		if wait > 0 {
			waits = append(waits, wait)
			c.at = c.at.Add(wait)
		}
	}
	for i, want := range []int{1, 2, 4, 8, 16, 30, 30, 30} {
		if waits[i] != time.Duration(want)*time.Second {
			t.Errorf("wait %d: %s, want %d s", i, waits[i], want)
		}
	}
}

func TestGuessesADay(t *testing.T) {
	for name, c := range map[string]struct {
		known bool
		most  int
	}{"from one place": {false, 740}, "from a known place": {true, 1460}} {
		at := newStill()
		if n := failUntil(at, newThrottle(at), at.at.Add(24*time.Hour), "hanako", "192.0.2.1", c.known); n > c.most {
			t.Errorf("%s: %d guesses a day", name, n)
		}
	}
}

// Somebody who fails in a user's name as fast as they can, from one place, keeps the
// user out nowhere for long, and not at all where the user has signed in before.
func TestNobodyLocksAUserOut(t *testing.T) {
	c := newStill()
	th := newThrottle(c)
	longest, came := time.Duration(0), 0
	for end := c.at.Add(6 * time.Hour); c.at.Before(end); {
		if c.at.Unix()%600 != 0 {
			th.admit("hanako", "198.51.100.1", false) // the attacker, each second
			c.at = c.at.Add(time.Second)
			continue
		}
		if th.admit("hanako", "203.0.113.9", true) > 0 {
			t.Fatal("held up where she is known")
		}
		th.forgive("hanako", "203.0.113.9", true)
		// At a place that is new each time; her success doesn't help her the next time.
		from, since := fmt.Sprintf("2001:db8:0:%x::/64", came), c.at
		for came++; th.admit("hanako", from, false) > 0; c.at = c.at.Add(time.Second) {
			th.admit("hanako", "198.51.100.1", false)
		}
		longest = max(longest, c.at.Sub(since))
		c.at = c.at.Add(time.Second)
	}
	if came < 35 || longest > accountRule.longest+time.Second {
		t.Errorf("came %d times, and was kept out for %s", came, longest)
	}
}

func TestAnOwnAccountWashesNothingOff(t *testing.T) {
	c := newStill()
	th := newThrottle(c)
	n := 0
	for end := c.at.Add(time.Hour); c.at.Before(end); {
		if wait := th.admit(strings.Repeat("x", n%50+1), "192.0.2.1", false); wait > 0 { // spraying over accounts
			c.at = c.at.Add(wait)
			continue
		}
		n++
		if th.admit("mallory", "192.0.2.1", false) == 0 {
			th.forgive("mallory", "192.0.2.1", false)
		}
	}
	if n > 60 {
		t.Errorf("%d guesses an hour from one place", n)
	}
}

func TestCountersAreBounded(t *testing.T) {
	c := newStill()
	th := newThrottle(c)
	for i := range 3 * throttleMost / 2 {
		var b [16]byte
		b[0], b[6], b[7] = 0x20, byte(i>>8), byte(i)
		th.admit(place(netip.AddrFrom16(b)), place(netip.AddrFrom16(b)), i%2 == 0)
		c.at = c.at.Add(time.Millisecond)
	}
	if len(th.accounts) > throttleMost || len(th.places) > throttleMost || len(th.pairs) > throttleMost {
		t.Errorf("%d, %d, %d counters", len(th.accounts), len(th.places), len(th.pairs))
	}
}

func TestPlaces(t *testing.T) {
	for a, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3::4": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := place(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %s", a, got)
		}
	}
}

// Whatever happens, a wait is never longer than the rule's longest.
func TestWaitsEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newStill()
		th := newThrottle(c)
		for range rapid.IntRange(0, 200).Draw(t, "tries") {
			c.at = c.at.Add(time.Duration(rapid.IntRange(0, 120).Draw(t, "s")) * time.Second)
			account, from := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "account"), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "from")
			wait := th.admit(account, from, rapid.Bool().Draw(t, "known"))
			if longest := max(accountRule.longest, placeRule.longest, pairRule.longest); wait < 0 || wait > longest {
				t.Fatalf("%s", wait)
			}
		}
	})
}

func TestFailuresDontFillTheLedger(t *testing.T) {
	c := newStill()
	b := &budget{clock: c}
	written, told := 0, 0
	for range 1000 {
		if write, before := b.take(); write {
			written++
			told += before
		}
		c.at = c.at.Add(100 * time.Millisecond)
	}
	c.at = c.at.Add(time.Minute)
	if _, before := b.take(); written != 2*failuresAMinute || written+told+before != 1000 {
		t.Errorf("%d written, %d told of, %d later", written, told, before)
	}
}
