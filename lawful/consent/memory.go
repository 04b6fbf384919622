package consent

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"

	"sakimori/base/clock"
)

// memory is what subjects said last about some purposes, so that a million of them can be
// asked about without a million ways to the store. Valid doesn't believe it as it is: it
// asks which event is the last one in the store, and reads those that aren't in it. So
// whoever withdraws, in whichever process, has withdrawn. Lately believes it for a second,
// unless this process has heard of anything newer.
//
// A subject is known by 128 bits of a hash: 50 to 90 bytes for each and purpose. That two
// of a million share them has a chance of 10⁻²⁶.
type memory struct {
	following sync.Mutex // held by who brings it to where the store is; he alone changes it

	mu       sync.RWMutex // of what follows
	purposes map[string]map[xxh3.Uint128]last
	read     int64 // the last event that is in it
	terms    int64 // versions that are in it
	versions []versionFrom
	orders   map[string][]versionFor // by purpose, the oldest first

	machine clock.Clock
	news    atomic.Uint64            // how often this process heard of something newer than the memory
	as      atomic.Pointer[compared] // nil: never
}

// compared is when the memory was last compared with the store.
type compared struct {
	at   time.Time // of the machine
	news uint64    // before that
}

// believed is how long the memory is believed without a look at the store.
const believed = time.Second

// last is what a subject said last.
type last struct {
	made    int64
	version int32 // an index of versions
	given   bool
}

// versionFrom is a version and when it began.
type versionFrom struct {
	name string
	from int64
}

// versionFor is a version for a purpose.
type versionFor struct {
	from      int64
	continues bool
}

// Remember keeps in memory what subjects said about purposes, for a process that asks for
// many of them. It reads all of it once.
func (r *Register) Remember(ctx context.Context, purposes ...string) error {
	m := &memory{machine: r.machine, purposes: map[string]map[xxh3.Uint128]last{}}
	for _, p := range purposes {
		m.purposes[p] = map[xxh3.Uint128]last{}
	}
	if _, err := m.follow(ctx, r); err != nil {
		return err
	}
	r.memory.Store(m)
	return nil
}

// follow brings the memory to where the store is; done is false while somebody else does:
// whoever doesn't want to wait for them asks the store.
func (m *memory) follow(ctx context.Context, r *Register) (done bool, err error) {
	if !m.following.TryLock() {
		return false, nil
	}
	defer m.following.Unlock()
	as := compared{m.machine.Now(), m.news.Load()}
	if err := m.catchUp(ctx, r); err != nil {
		return false, err
	}
	m.as.Store(&as)
	return true, nil
}

// outdated says that something is known of which isn't in it.
func (m *memory) outdated() {
	if m != nil {
		m.news.Add(1)
	}
}

func (m *memory) catchUp(ctx context.Context, r *Register) error {
	var read, terms int64
	if err := r.db.QueryRow(ctx, `SELECT (SELECT coalesce(max(seq), 0) FROM consent_event), (SELECT count(*) FROM consent_terms)`).Scan(&read, &terms); err != nil {
		return fmt.Errorf("read the consents: %w", err)
	}
	if terms != m.terms || m.orders == nil {
		if err := m.readTerms(ctx, r); err != nil {
			return err
		}
		m.terms = terms
	}
	for m.read < read {
		if err := m.readSome(ctx, r, read); err != nil {
			return err
		}
	}
	return nil
}

// readSome reads the next events, so few that nobody waits long for the memory.
func (m *memory) readSome(ctx context.Context, r *Register, upTo int64) error {
	const page = 5000
	var list []Event
	if err := each(ctx, r.db, `SELECT `+columns+` FROM consent_event WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3`, collect(&list), m.read, upTo, page); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range list {
		e := &list[i]
		if of, kept := m.purposes[e.Purpose]; kept {
			l := last{made: e.At.UnixNano(), given: e.Given, version: int32(slices.IndexFunc(m.versions, func(v versionFrom) bool { return v.name == e.Version }))} //nolint:gosec // some tens
			if l.given && l.version < 0 {
				return fmt.Errorf("event %d is a consent to %q, which there isn't", e.Seq, e.Version)
			}
			of[xxh3.HashString128(e.Subject)] = l
		}
		m.read = int64(e.Seq) //nolint:gosec // as it was written
	}
	if len(list) < page {
		m.read = upTo
	}
	return nil
}

// Lately answers as Valid does, by the memory: of what other processes entered within the
// last second it may not have heard. known is false where Valid has to be asked.
func (r *Register) Lately(subject, purpose string, at time.Time) (valid, known bool) {
	m := r.memory.Load()
	if m == nil {
		return false, false
	}
	as := m.as.Load() // there is one since Remember
	if as.news != m.news.Load() || m.machine.Now().Sub(as.at) >= believed {
		return false, false
	}
	return m.valid(subject, purpose, at)
}

// has tells whether an event is in it.
func (m *memory) has(seq uint64) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return seq <= uint64(m.read) //nolint:gosec // counts events
}

// knows tells whether a version is in it.
func (m *memory) knows(version string) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.ContainsFunc(m.versions, func(v versionFrom) bool { return v.name == version })
}

// readTerms reads the versions. Those that are known keep their place.
func (m *memory) readTerms(ctx context.Context, r *Register) error {
	versions, orders := slices.Clone(m.versions), map[string][]versionFor{}
	err := each(ctx, r.db, `SELECT version, valid_from FROM consent_terms`, func(rows *sql.Rows) error {
		var v versionFrom
		err := rows.Scan(&v.name, &v.from)
		if !slices.Contains(versions, v) {
			versions = append(versions, v)
		}
		return err
	})
	if err != nil {
		return err
	}
	err = each(ctx, r.db, `SELECT purpose, valid_from, continues FROM consent_purpose ORDER BY valid_from`, func(rows *sql.Rows) error {
		var purpose string
		var v versionFor
		err := rows.Scan(&purpose, &v.from, &v.continues)
		orders[purpose] = append(orders[purpose], v)
		return err
	})
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.versions, m.orders = versions, orders
	return nil
}

// valid answers as Register.Valid does. known is false where the memory can't tell: of
// another purpose, and of a moment before the subject spoke last.
func (m *memory) valid(subject, purpose string, at time.Time) (yes, known bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	of, kept := m.purposes[purpose]
	if !kept {
		return false, false
	}
	l, spoke := of[xxh3.HashString128(subject)]
	switch {
	case !spoke || !l.given:
		return false, true
	case l.made > at.UnixNano():
		return false, false
	}
	since := m.versions[l.version].from
	for _, v := range m.orders[purpose] {
		if v.from > since && v.from <= at.UnixNano() && !v.continues {
			return false, true // asked again since, and hasn't answered
		}
	}
	return true, true
}
