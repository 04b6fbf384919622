package feed

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/observe"
)

// ID is a report's identity: the same words about the same address and time have
// the same one, whichever file brought them, however often, and in whatever order
// the columns stood. What the house makes of them (Claim, Mediated) isn't in it, so
// a better table of types doesn't make old reports new. It is a cryptographic
// digest, because a stranger who could make two reports collide could make one of
// them disappear.
func ID(r *observe.Report) [16]byte {
	b := make([]byte, 0, 512)
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	text(r.Source)
	text(r.Type)
	a := r.Address.As16()
	b = append(b, a[:]...)
	b = binary.BigEndian.AppendUint16(b, r.Port)
	b = append(b, r.Proto)
	b = binary.AppendVarint(b, r.At.Unix())
	b = binary.AppendVarint(b, int64(r.At.Nanosecond()))
	b = binary.AppendVarint(b, int64(r.Slack))
	text(r.Family)
	b = binary.BigEndian.AppendUint16(b, r.Service)
	text(r.Device)
	fields := r.Fields
	if !slices.IsSortedFunc(fields, order) {
		fields = slices.Clone(fields)
		slices.SortFunc(fields, order)
	}
	for _, f := range fields {
		text(f.Name)
		text(f.Value)
	}
	sum := sha256.Sum256(b)
	return [16]byte(sum[:16])
}

func order(a, b observe.Field) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	return strings.Compare(a.Value, b.Value)
}

// Seen remembers which reports were handed on: for one window of time at least and
// two at most, and not more than a number of them, of which the older half is
// forgotten at once. What it has forgotten is handed on again; the sink knows it by
// its ID. It may be used by many goroutines.
type Seen struct {
	window time.Duration
	half   int

	mu       sync.Mutex
	now, old map[[16]byte]struct{}
	began    time.Time
}

// NewSeen remembers up to most reports (some 30 bytes each) for window.
func NewSeen(window time.Duration, most int) *Seen {
	return &Seen{window: window, half: max(1, most/2), now: map[[16]byte]struct{}{}}
}

// has tells whether a report was handed on.
func (s *Seen) has(at time.Time, id [16]byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn(at)
	_, now := s.now[id]
	_, old := s.old[id]
	return now || old
}

// add remembers reports that were handed on at a time.
func (s *Seen) add(at time.Time, ids map[[16]byte]struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn(at)
	for id := range ids {
		if len(s.now) >= s.half {
			s.old, s.now, s.began = s.now, map[[16]byte]struct{}{}, at
		}
		s.now[id] = struct{}{}
	}
}

// turn forgets what is older than two windows.
func (s *Seen) turn(at time.Time) {
	if s.began.IsZero() {
		s.began = at
	}
	gone := at.Sub(s.began)
	if gone < s.window {
		return
	}
	if s.old = s.now; gone >= 2*s.window {
		s.old = nil
	}
	s.now, s.began = map[[16]byte]struct{}{}, at
}
