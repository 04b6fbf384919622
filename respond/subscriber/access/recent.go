package access

import (
	"net/netip"
	"sync"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/radius"
)

// recent remembers the requests of the last while, so that a retransmission is told
// from a new request (RFC 5080 §2.2.2). It holds two generations: a request is known
// for one to two windows, or for less when a generation is full.
type recent struct {
	window time.Duration
	most   int // in a generation

	mu          sync.Mutex
	now, before map[mark]state
	turned      time.Time
}

// mark is what retransmissions have in common: sender, identifier and authenticator,
// which is a sum over all of the rest. The sender's port isn't in it. No pointer is
// in it, so that the garbage collector has nothing to follow.
type mark struct {
	from          packet.Addr
	authenticator [16]byte
	id            uint8
}

func marked(p radius.Packet, from netip.Addr) mark {
	return mark{packet.FromNetip(from), [16]byte(p.Authenticator()), p.ID()}
}

// state is how far a request has come.
type state uint8

const (
	fresh   state = iota // never seen
	pending              // handed on, but not yet known to be kept
	kept
)

func newRecent(window time.Duration, most int) *recent {
	return &recent{window: window, most: most, now: map[mark]state{}}
}

// meet says how far a request has come, and makes a fresh one pending.
func (r *recent) meet(m mark, at time.Time) state {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.now[m]; s != fresh {
		return s
	}
	if s := r.before[m]; s != fresh {
		return s
	}
	if passed := at.Sub(r.turned); passed >= r.window || len(r.now) >= r.most {
		r.before, r.now, r.turned = r.now, make(map[mark]state, min(len(r.now), r.most)), at
		if passed >= 2*r.window {
			r.before = nil
		}
	}
	r.now[m] = pending
	return fresh
}

// settle says what became of pending ones: kept, or else never seen.
func (r *recent) settle(list []mark, as state) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range list {
		generation := r.now
		if _, ok := generation[m]; !ok {
			generation = r.before
		}
		switch _, ok := generation[m]; {
		case as == fresh:
			delete(generation, m)
		case ok:
			generation[m] = as
		case len(r.now) < r.most: // both generations have turned meanwhile
			r.now[m] = as
		}
	}
}
