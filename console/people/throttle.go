package people

import (
	"net/netip"
	"sync"
	"time"

	"sakimori/base/clock"
)

// A failure makes the next try wait, twice as long each time: for the account,
// wherever the tries come from, and for the place they come from, whatever the
// account. Nobody can keep a user out for good by failing in their name: a wait has
// an end that tries made meanwhile don't put off; whoever causes it from one place
// waits longer than the account does; and where a user has signed in before, only
// failures in their name from that same place count.
type throttle struct {
	clock clock.Clock

	mu       sync.Mutex
	accounts tries
	places   tries
	pairs    tries // account and place, where the user is known
}

// rule is how many failures are forgiven, and the longest wait after more.
type rule struct {
	forgiven int
	longest  time.Duration
}

var (
	accountRule = rule{5, 30 * time.Second}
	placeRule   = rule{10, 2 * time.Minute}
	pairRule    = rule{5, time.Minute}
)

const (
	forgetAfter  = 15 * time.Minute // without a failure
	throttleMost = 10_000           // counters of a kind; the longest untouched makes room
)

type (
	tries   map[string]failing
	failing struct {
		n    int
		last time.Time
	}
)

func newThrottle(c clock.Clock) *throttle {
	return &throttle{clock: c, accounts: tries{}, places: tries{}, pairs: tries{}}
}

// place is where somebody comes from: an IPv4 address, or the /64 of an IPv6 one,
// which is one line's.
func place(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}

// admit tells how long a try has to wait; 0 lets it go on, and counts it as failed
// until forgive says otherwise: tries made at the same time are counted, too.
func (t *throttle) admit(account, from string, known bool) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Now()
	if known {
		return t.pairs.try(account+"\x00"+from, pairRule, now)
	}
	if wait := max(t.accounts.wait(account, accountRule, now), t.places.wait(from, placeRule, now)); wait > 0 {
		return wait
	}
	t.places.count(from, now)
	t.accounts.count(account, now)
	return 0
}

// forgive takes the count of an account back, and one try of the place: who owns an
// account can't wash off failures with others by it.
func (t *throttle) forgive(account, from string, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if known {
		delete(t.pairs, account+"\x00"+from)
		return
	}
	delete(t.accounts, account)
	if f := t.places[from]; f.n > 1 {
		t.places[from] = failing{f.n - 1, f.last}
	} else {
		delete(t.places, from)
	}
}

func (m tries) try(key string, r rule, now time.Time) time.Duration {
	wait := m.wait(key, r, now)
	if wait == 0 {
		m.count(key, now)
	}
	return wait
}

func (m tries) wait(key string, r rule, now time.Time) time.Duration {
	f := m[key]
	if f.n < r.forgiven || now.Sub(f.last) >= forgetAfter {
		return 0
	}
	pause := r.longest
	if over := f.n - r.forgiven; over < 10 {
		pause = min(pause, time.Second<<over)
	}
	return max(0, pause-now.Sub(f.last))
}

func (m tries) count(key string, now time.Time) {
	f, there := m[key]
	if now.Sub(f.last) >= forgetAfter {
		f.n = 0
	}
	if !there && len(m) >= throttleMost {
		m.makeRoom(now)
	}
	m[key] = failing{f.n + 1, now}
}

// makeRoom drops what is forgotten anyhow, or else the longest untouched.
func (m tries) makeRoom(now time.Time) {
	oldest, at := "", now
	for k, f := range m {
		if now.Sub(f.last) >= forgetAfter {
			delete(m, k)
		} else if !f.last.After(at) {
			oldest, at = k, f.last
		}
	}
	if len(m) >= throttleMost {
		delete(m, oldest)
	}
}

// budget is how many failures a minute are written down one by one; of more, their
// number is: whoever fails on purpose doesn't fill the ledger.
type budget struct {
	clock clock.Clock

	mu    sync.Mutex
	since time.Time
	n     int
	over  int
}

const failuresAMinute = 60

// take tells whether a failure is to be written down, and how many before it weren't.
func (b *budget) take() (write bool, before int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := b.clock.Now(); now.Sub(b.since) >= time.Minute {
		b.since, b.n = now, 0
	}
	if b.n >= failuresAMinute {
		b.over++
		return false, 0
	}
	b.n++
	before, b.over = b.over, 0
	return true, before
}
