package lawful

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// State is how a kept decision stands.
type State string

// The states, in the order of a life: a request waits or is in force at once.
const (
	AwaitsSecond State = "waiting"
	InForce      State = "in_force"
	Ending       State = "ending" // ended; what stood on it may not be withdrawn yet
	Settled      State = "settled"
)

// Kept is a decision as a Keeper stores it. The gate alone can read it back into a
// Grant: Seal is an HMAC-SHA-256 over all the rest.
type Kept struct {
	ID    string
	State State
	Until time.Time
	Body  []byte // JSON
	Seal  []byte
}

// Keeper stores decisions over a restart.
type Keeper interface {
	Keep(ctx context.Context, k Kept) error            // a new one
	End(ctx context.Context, from State, k Kept) error // replaces it if it is in that state, else ErrUnknown
	Find(ctx context.Context, id string) (Kept, error) // ErrUnknown
	InForce(ctx context.Context) ([]Kept, error)       // all that aren't settled
}

// body is what is kept of a decision.
type body struct {
	Decision Decision  `json:"decision"`
	Request  Request   `json:"request"`
	Consent  string    `json:"consent,omitempty"`
	End      *Decision `json:"end,omitempty"`
}

func (g *Gate) pack(b body, s State) (Kept, error) {
	j, err := json.Marshal(b)
	k := Kept{ID: b.Decision.ID, State: s, Until: b.Decision.Until, Body: j}
	k.Seal = seal(g.deps.Key, &k)
	return k, err
}

// seal hashes every field with its length before it, so that no two read the same.
func seal(key []byte, k *Kept) []byte {
	h := hmac.New(sha256.New, key)
	var n [8]byte
	field := func(b []byte) {
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	field([]byte("sakimori grant 1"))
	field([]byte(k.ID))
	field([]byte(k.State))
	field(binary.BigEndian.AppendUint64(nil, uint64(k.Until.UnixNano())))
	field(k.Body)
	return h.Sum(nil)
}

// keep writes a new decision, if there is a keeper.
func (g *Gate) keep(ctx context.Context, b body, s State) error {
	if g.deps.Keeper == nil {
		return nil
	}
	k, err := g.pack(b, s)
	if err != nil {
		return err
	}
	return g.deps.Keeper.Keep(ctx, k)
}

// move brings a kept decision from one state into another. That it has been moved
// already, by a try that was cut off, is no error.
func (g *Gate) move(ctx context.Context, b body, from, to State) error {
	if g.deps.Keeper == nil {
		return nil
	}
	k, err := g.pack(b, to)
	if err != nil {
		return err
	}
	err = g.deps.Keeper.End(ctx, from, k)
	if errors.Is(err, ErrUnknown) {
		if now, found := g.deps.Keeper.Find(ctx, k.ID); found == nil && now.State == to {
			return nil
		}
	}
	return err
}

// unpack reads a kept decision, if it is as the gate wrote it.
func (g *Gate) unpack(k *Kept) (b body, err error) {
	if !hmac.Equal(seal(g.deps.Key, k), k.Seal) {
		return b, fmt.Errorf("%w: %.40q doesn't fit its seal; compare it with the ledger", ErrForged, k.ID)
	}
	if err := json.Unmarshal(k.Body, &b); err != nil {
		return b, fmt.Errorf("kept grant %.40q: %w", k.ID, err)
	}
	if b.Decision.ID != k.ID {
		return b, fmt.Errorf("%w: %.40q holds another's decision", ErrForged, k.ID)
	}
	for _, f := range []*Facts{&b.Request.Facts, &b.Decision.Facts} {
		if *f, err = g.deps.Guideline.Check(*f); err != nil {
			return b, fmt.Errorf("kept grant %.40q: %w", k.ID, err)
		}
	}
	return b, nil
}

// Restore reads what is kept: after a start, before anything is asked. What was
// altered, or can't be read any more, doesn't become a Grant and is named in the error;
// the others do.
func (g *Gate) Restore(ctx context.Context) error {
	if g.deps.Keeper == nil {
		return nil
	}
	list, err := g.deps.Keeper.InForce(ctx)
	if err != nil {
		return fmt.Errorf("read the kept grants: %w", err)
	}
	for i := range list {
		err = errors.Join(err, g.remember(&list[i]))
	}
	return err
}

// remember takes a kept decision into memory, unless it is there.
func (g *Gate) remember(k *Kept) error {
	b, err := g.unpack(k)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.standing[k.ID] != nil || g.waiting[k.ID] != nil {
		return nil
	}
	switch k.State {
	case AwaitsSecond:
		g.waiting[k.ID] = &waiting{b.Decision, b.Request}
	case InForce, Ending:
		s := g.standingOf(&b)
		if k.State == Ending && b.End != nil {
			s.end, s.told = b.End, stored
			s.ended.Store(true)
		}
		g.standing[k.ID] = s
	case Settled:
	}
	return nil
}

// Find gives a grant by its id, also one that has ended: that allows nothing. One that
// is settled, or waits, is an ErrUnknown.
func (g *Gate) Find(ctx context.Context, id string) (Grant, error) {
	g.mu.Lock()
	s := g.standing[id]
	g.mu.Unlock()
	if s == nil && g.deps.Keeper != nil {
		k, err := g.deps.Keeper.Find(ctx, id)
		if err != nil {
			return Grant{}, err
		}
		if err := g.remember(&k); err != nil {
			return Grant{}, err
		}
		g.mu.Lock()
		s = g.standing[id]
		g.mu.Unlock()
	}
	if s == nil {
		return Grant{}, fmt.Errorf("%w: %.40q isn't in force", ErrUnknown, id)
	}
	return Grant{s}, nil
}
