package rpz

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"slices"
	"strings"

	"sakimori/lawful"
)

// Change is what becomes of a zone: rules that come (instead of what their triggers had)
// and go, or all that it is to have.
type Change struct {
	Add    []Rule
	Remove []Rule // by trigger
	Whole  iter.Seq[Rule]
	Err    func() error // asked when Whole has ended: what cut it off; nil never
	On     uint32       // the serial that Add and Remove were made for: else it is ErrMoved; 0 whichever it is
}

// By is who publishes, and why.
type By struct {
	Who, Why string
	Refs     []string // decisions that it rests on, for whoever reads it later
}

// Publish makes a new serial of a change, and gives it. Blocks that come need a ground in
// force; blocks that go don't. Nothing changes: the serial that there is.
func (s *Store) Publish(ctx context.Context, z Zone, g Ground, c Change, by By) (Publication, error) {
	return s.do(ctx, z, by, func(_ *kept, v *Version) (p Publication, set *Set, err error) {
		if v.Kind == Paused {
			return p, nil, fmt.Errorf("%w: %s", ErrPaused, z)
		}
		if c.On != 0 && c.On != v.Serial {
			return p, nil, ErrMoved
		}
		if v.Kind == Emptied && len(c.Add) == 0 && c.Whole == nil {
			return p, nil, nil // there is nothing to take away
		}
		if set, err = s.after(z, v, c); err != nil {
			return p, nil, err
		}
		p = Publication{Kind: Published, Basis: v.Basis}
		if len(c.Add) > 0 || c.Whole != nil {
			p.Basis, err = s.basis(z, g, set)
		}
		return p, set, err
	})
}

// after is the set after a change, with what stamps the serial that there is.
func (s *Store) after(z Zone, v *Version, c Change) (*Set, error) {
	if c.Whole != nil {
		if len(c.Add)+len(c.Remove) > 0 {
			return nil, errors.New("a change is a whole set, or what comes and goes: not both")
		}
		set, err := NewSet(z, c.Whole)
		if err == nil && c.Err != nil {
			err = c.Err()
		}
		if err != nil {
			return nil, err
		}
		return s.stamped(set, z, v.Serial)
	}
	come, err := coming(z, slices.Values(c.Add))
	if err != nil {
		return nil, err
	}
	gone, err := going(z, c.Remove)
	if err != nil {
		return nil, err
	}
	set := v.Set.with(joined(come, gone))
	return s.stamped(set, z, v.Serial)
}

func (s *Store) stamped(set *Set, z Zone, serial uint32) (*Set, error) {
	if s.opts.Stamp == nil {
		return set, nil
	}
	come, err := coming(z, slices.Values(s.opts.Stamp(z, serial)))
	if err != nil || len(come) == 0 {
		return set, err
	}
	return set.with(come), nil
}

// basis is the ground of a set, nil where none is needed.
func (s *Store) basis(z Zone, g Ground, set *Set) (*Basis, error) {
	if !z.blocks() || set.rules == 0 {
		return nil, nil //nolint:nilnil // exceptions only restrict
	}
	if g == nil || !g.AllowsAll(lawful.Block, s.opts.Clock.Now()) {
		return nil, fmt.Errorf("%w (%s)", ErrGround, z)
	}
	return &Basis{g.ID(), g.Rule(), g.Until()}, nil
}

// Rollback publishes what the zone was at a former serial, as a new one.
func (s *Store) Rollback(ctx context.Context, z Zone, g Ground, serial uint32, by By) (Publication, error) {
	return s.do(ctx, z, by, func(k *kept, v *Version) (p Publication, set *Set, err error) {
		if v.Kind == Paused {
			return p, nil, fmt.Errorf("%w: %s", ErrPaused, z)
		}
		return s.again(k, g, serial, RolledBack)
	})
}

func (s *Store) again(k *kept, g Ground, serial uint32, how Kind) (p Publication, set *Set, err error) {
	i, err := k.place(serial)
	if err != nil {
		return p, nil, err
	}
	old, err := k.at(i)
	if err != nil {
		return p, nil, err
	}
	p = Publication{Kind: how, Of: serial}
	p.Basis, err = s.basis(k.zone, g, old.Set)
	return p, old.Set, err
}

// Empty publishes an empty zone, without what stamps it: the ground has ceased. It needs
// no ground.
func (s *Store) Empty(ctx context.Context, z Zone, by By) (Publication, error) {
	return s.do(ctx, z, by, func(_ *kept, v *Version) (Publication, *Set, error) {
		if v.Kind == Emptied {
			return Publication{}, nil, nil
		}
		return Publication{Kind: Emptied}, &Set{}, nil
	})
}

// Pause is Empty for a while: Resume knows what there was.
func (s *Store) Pause(ctx context.Context, z Zone, by By) (Publication, error) {
	return s.do(ctx, z, by, func(_ *kept, v *Version) (Publication, *Set, error) {
		if v.Kind == Paused {
			return Publication{}, nil, nil
		}
		return Publication{Kind: Paused, Of: v.Serial}, &Set{}, nil
	})
}

// Resume publishes what there was before the pause, with what has changed meanwhile.
func (s *Store) Resume(ctx context.Context, z Zone, g Ground, c Change, by By) (Publication, error) {
	return s.do(ctx, z, by, func(k *kept, v *Version) (p Publication, set *Set, err error) {
		if v.Kind != Paused {
			return p, nil, nil
		}
		i, err := k.place(v.Of)
		if err != nil {
			return p, nil, err
		}
		old, err := k.at(i)
		if err != nil {
			return p, nil, err
		}
		if set, err = s.after(z, old, c); err != nil {
			return p, nil, err
		}
		p = Publication{Kind: Resumed, Of: v.Of}
		p.Basis, err = s.basis(z, g, set)
		return p, set, err
	})
}

// do publishes what make makes of the current version; a nil set is nothing to do.
func (s *Store) do(ctx context.Context, z Zone, by By, make func(*kept, *Version) (Publication, *Set, error)) (Publication, error) {
	k, err := s.zone(z)
	switch {
	case err != nil:
		return Publication{}, err
	case s.opts.ReadOnly:
		return Publication{}, ErrBusy
	case strings.TrimSpace(by.Who) == "" || strings.TrimSpace(by.Why) == "":
		return Publication{}, errors.New("a publication says who makes it and why")
	}
	k.publishing.Lock()
	defer k.publishing.Unlock()
	v := k.current.Load()
	p, set, err := make(k, v)
	switch {
	case err != nil:
		return Publication{}, fmt.Errorf("zone %s stays at serial %d: %w", z, v.Serial, err)
	case set == nil, p.Kind == Published && v.Kind != RolledBack && slices.Equal(v.Refs, by.Refs) && equal(v.Set, set):
		return v.Publication, nil
	}
	p.Who, p.Why, p.Refs = by.Who, by.Why, by.Refs
	if p, err = s.publish(ctx, k, p, set); err != nil {
		return Publication{}, fmt.Errorf("zone %s stays at serial %d: %w", z, v.Serial, err)
	}
	return p, nil
}

func equal(a, b *Set) bool {
	_, removed, added := difference(a, b, 0)
	return removed == 0 && added == 0
}

// publish makes the next serial: it is written down, kept, and then seen.
func (s *Store) publish(ctx context.Context, k *kept, p Publication, set *Set) (Publication, error) {
	before := k.current.Load()
	p.Zone, p.Serial, p.At = k.zone, s.opts.First, s.opts.Clock.Now().UTC()
	if before != nil {
		p.Serial = next(before.Serial)
		if p.At.Before(before.At) {
			p.At = before.At // a clock that was set back doesn't reorder what was
		}
	} else {
		before = &Version{Set: &Set{}}
	}
	if p.Kind == Published || p.Kind == RolledBack || p.Kind == Resumed {
		var err error
		if set, err = s.stamped(set, k.zone, p.Serial); err != nil {
			return p, err
		}
	}
	var d *Delta
	d, p.Removed, p.Added = difference(before.Set, set, max(set.bytes/2, 1<<16))
	sum := set.Digest()
	p.Rules, p.Digest = set.rules, hex.EncodeToString(sum[:])
	if err := s.opts.Recorder.Record(ctx, p); err != nil {
		return p, fmt.Errorf("it couldn't be written down: %w", err)
	}
	v := &Version{p, set}
	var err error
	if d == nil || len(k.starts) == 0 {
		err = k.begin(v)
	} else {
		d.From, d.To = before.Serial, p.Serial
		err = k.append(v, d)
	}
	if err != nil {
		return p, err
	}
	k.current.Store(v)
	fresh := make(chan struct{})
	close(*s.changed.Swap(&fresh))
	if err := s.tidy(k, v); err != nil {
		s.opts.Log.WarnContext(ctx, "a policy zone is published, but former serials aren't tidied up", slog.String("zone", string(k.zone)), slog.String("error", err.Error()))
	}
	return p, nil
}

// begin keeps a version as the set of a new segment.
func (k *kept) begin(v *Version) error {
	g := segment{k.dir, 1}
	if n := len(k.starts); n > 0 {
		g.number = k.starts[n-1].number + 1
	} else if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return err
	}
	if err := g.begin(&v.Publication, v.Set); err != nil {
		return fmt.Errorf("it couldn't be kept: %w", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := len(k.index); n == 0 || k.index[n-1].Serial != v.Serial {
		k.index = append(k.index, step{v.Publication, g.number, 0, true})
		k.recent = nil
	}
	k.starts = append(k.starts, start{g, len(k.index) - 1})
	log := k.log
	k.log, k.size = nil, 0
	if log != nil {
		return log.Close()
	}
	return nil
}

// append keeps a version as a frame of the newest segment's journal.
func (k *kept) append(v *Version, d *Delta) (err error) {
	g := k.starts[len(k.starts)-1].segment
	raw, err := appendFrame(&v.Publication, d)
	if err != nil {
		return err
	}
	if k.log == nil {
		if k.log, err = os.OpenFile(g.path(".log"), os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
			return fmt.Errorf("it couldn't be kept: %w", err)
		}
		if err := syncDir(k.dir); err != nil {
			return fmt.Errorf("it couldn't be kept: %w", err)
		}
	}
	if _, err = k.log.WriteAt(raw, k.size); err == nil {
		err = k.log.Sync()
	}
	if err != nil { // nobody has seen it: away with it
		return fmt.Errorf("it couldn't be kept: %w", errors.Join(err, k.log.Truncate(k.size)))
	}
	k.size += int64(len(raw))
	k.mu.Lock()
	defer k.mu.Unlock()
	k.index = append(k.index, step{v.Publication, g.number, int64(len(raw)), false})
	k.recent = append(k.recent, d)
	room := max(v.Set.bytes/4, 1<<18)
	for i, d := range slices.Backward(k.recent) {
		if room -= d.Bytes() + 1<<10; room < 0 {
			k.recent = slices.Clone(k.recent[i+1:])
			break
		}
	}
	return nil
}

// Tidy takes away what needn't be kept any more, of zones that don't change, too.
func (s *Store) Tidy() (err error) {
	for _, z := range Zones() {
		k := s.zones[z]
		k.publishing.Lock()
		err = errors.Join(err, s.tidy(k, k.current.Load()))
		k.publishing.Unlock()
	}
	return err
}

// longest is how many frames a journal has before a new one is begun.
const longest = 1000

// tidy begins a new segment where the newest has grown long or old, compresses the
// journals of those that are over, and takes away what needn't be kept.
func (s *Store) tidy(k *kept, v *Version) error {
	keep := s.opts.Keep[k.zone]
	now, newest := s.opts.Clock.Now(), k.starts[len(k.starts)-1]
	if age := now.Sub(k.index[newest.at].At); k.size > max(int64(v.Set.bytes), 4<<20) || len(k.index)-newest.at > longest || k.size > 0 && age > keep.For {
		if err := k.begin(v); err != nil {
			return err
		}
	}
	for _, x := range k.starts[:len(k.starts)-1] {
		if err := x.pack(); err != nil {
			return err
		}
	}
	for len(k.starts) > 1 {
		end := k.starts[1].at // what comes before it goes
		last := k.index[end]
		if len(k.index)-end < keep.Serials || now.Sub(last.At) < keep.For || v.Kind == Paused && s.holds(k, end, v.Of) {
			return nil
		}
		if err := k.starts[0].remove(); err != nil {
			return err
		}
		k.mu.Lock()
		k.index = slices.Clone(k.index[end:])
		k.starts = slices.Clone(k.starts[1:])
		for i := range k.starts {
			k.starts[i].at -= end
		}
		k.index[0].whole, k.index[0].bytes = true, 0
		k.mu.Unlock()
	}
	return nil
}

// holds tells whether a serial lies before a place of the index.
func (s *Store) holds(k *kept, end int, serial uint32) bool {
	i, err := k.place(serial)
	return err == nil && i < end
}
