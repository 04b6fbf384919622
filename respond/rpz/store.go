package rpz

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"sakimori/base/clock"
)

// Keep is how long former serials are kept: each that is younger than For, or among the
// newest so many. What is older goes by segments, so that up to twice as much is there.
type Keep struct {
	Serials int
	For     time.Duration
}

// KeepUsually is a year of what was blocked when. Who had opted out at which address is
// kept for a day, so that a complaint can be looked into.
func KeepUsually() map[Zone]Keep {
	long := Keep{1000, 366 * 24 * time.Hour}
	return map[Zone]Keep{OptOut: {1, 24 * time.Hour}, Allow: long, C2: long, Emergency: long}
}

// Options are how the zones are kept.
type Options struct {
	Clock    clock.Clock
	Recorder Recorder
	Log      *slog.Logger
	// Stamp gives rules that belong to every serial that isn't empty: the names by which
	// resolvers are probed, which may tell the serial.
	Stamp func(z Zone, serial uint32) []Rule
	First uint32        // serial of a zone that is made; 0: 1
	Keep  map[Zone]Keep // nil: KeepUsually
	// ReadOnly looks at what another process may be writing.
	ReadOnly bool
}

// Store keeps the policy zones in a folder: what they are, and what they were at each
// serial. Whoever reads sees a whole serial or the one before.
type Store struct {
	dir     string
	opts    Options
	lock    *os.File
	zones   map[Zone]*kept
	changed atomic.Pointer[chan struct{}] // closed at the next publication
}

// kept is one zone.
type kept struct {
	zone    Zone
	dir     string
	current atomic.Pointer[Version]

	publishing sync.Mutex // of everything that follows but the index
	log        *os.File   // of the newest segment; nil: not begun
	size       int64      // of its whole frames

	mu     sync.RWMutex
	index  []step // every serial, in order
	starts []start
	recent []*Delta // of the newest steps, in order
	sent   map[uint32]*Delta
	sentOf uint32 // the serial that they lead to
}

// step is a serial and where what changed is kept.
type step struct {
	Publication
	segment int
	bytes   int64
	whole   bool // the segment begins with it, and there is no delta
}

// start is where a segment begins in the index.
type start struct {
	segment
	at int
}

// Open opens the zones in a folder, and makes those that aren't there, empty: resolvers
// must be able to load them. What a crash left half written is taken away.
func Open(ctx context.Context, dir string, o Options) (*Store, error) {
	if o.Keep == nil {
		o.Keep = KeepUsually()
	}
	if o.First == 0 {
		o.First = 1
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{dir: dir, opts: o, zones: map[Zone]*kept{}}
	first := make(chan struct{})
	s.changed.Store(&first)
	if !o.ReadOnly {
		if o.Clock == nil || o.Recorder == nil {
			return nil, errors.New("policy zones need a clock and a recorder")
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("open the policy zones: %w", err)
		}
		var err error
		if s.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
			return nil, fmt.Errorf("open the policy zones: %w", err)
		}
		if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil { // #nosec G115 -- a descriptor
			return nil, errors.Join(ErrBusy, s.lock.Close())
		}
	}
	for _, z := range Zones() {
		k := &kept{zone: z, dir: filepath.Join(dir, strings.TrimSuffix(string(z), "."))}
		s.zones[z] = k
		err := s.load(k)
		if err == nil && k.current.Load() == nil && !o.ReadOnly {
			_, err = s.publish(ctx, k, Publication{Kind: Begun, Who: "house:rpz", Why: "the zone is made"}, &Set{})
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("policy zone %s: %w", z, err), s.Close())
		}
	}
	return s, nil
}

// Close ends writing. What was handed out stays good.
func (s *Store) Close() (err error) {
	for _, k := range s.zones {
		k.publishing.Lock()
		if k.log != nil {
			err = errors.Join(err, k.log.Close())
			k.log = nil
		}
		k.publishing.Unlock()
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
		s.lock = nil
	}
	return err
}

// load reads what is kept of a zone.
func (s *Store) load(k *kept) error {
	list, err := segments(k.dir)
	if err != nil {
		return err
	}
	for i, g := range list {
		newest := i == len(list)-1
		p, _, err := g.set(true)
		if err != nil {
			return err
		}
		if n := len(k.index); n == 0 || k.index[n-1].Serial != p.Serial {
			k.index = append(k.index, step{p, g.number, 0, true})
		}
		k.starts = append(k.starts, start{g, len(k.index) - 1})
		size, err := g.frames(func(f *frame) (bool, error) {
			k.index = append(k.index, step{f.Publication, g.number, f.size, false})
			return true, nil
		})
		switch {
		case errors.Is(err, errTorn) && (!newest || s.opts.ReadOnly):
			if !newest {
				s.opts.Log.Warn("a former journal of a policy zone is damaged: what came after the damage isn't known", slog.String("zone", string(k.zone)), slog.Int("segment", g.number))
			}
		case errors.Is(err, errTorn):
			s.opts.Log.Warn("a publication was cut off, and never seen: it is taken away", slog.String("zone", string(k.zone)), slog.Int64("at", size))
			if err := cut(g.path(".log"), size); err != nil {
				return err
			}
		case err != nil:
			return err
		}
		if newest {
			k.size = size
		} else if !s.opts.ReadOnly {
			if err := g.pack(); err != nil {
				return err
			}
		}
	}
	if len(k.index) == 0 {
		return nil
	}
	v, err := k.at(len(k.index) - 1)
	if err != nil {
		return err
	}
	k.current.Store(v)
	return nil
}

// cut takes a torn end away, durably.
func cut(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// at reads what the zone was at a place of the index.
func (k *kept) at(i int) (*Version, error) {
	k.mu.RLock()
	p := k.index[i].Publication
	from := k.starts[0]
	for _, x := range k.starts {
		if x.at <= i {
			from = x
		}
	}
	k.mu.RUnlock()
	_, set, err := from.set(false)
	if err != nil {
		return nil, err
	}
	if i > from.at {
		steps, err := k.steps(from.at+1, i)
		if err != nil {
			return nil, err
		}
		if set, err = set.apply(condense(steps, false)); err != nil {
			return nil, fmt.Errorf("%w: restore it from a backup", err)
		}
	}
	if sum := set.Digest(); hex.EncodeToString(sum[:]) != p.Digest {
		return nil, fmt.Errorf("serial %d isn't what was published: its sum is another: restore %s from a backup", p.Serial, k.dir)
	}
	return &Version{p, set}, nil
}

// steps reads the deltas of a part of the index, which are kept in their segments.
func (k *kept) steps(from, to int) ([]*Delta, error) {
	k.mu.RLock()
	list := slices.Clone(k.index[max(from-1, 0) : to+1])
	k.mu.RUnlock()
	var all []*Delta
	for i := 1; i < len(list); {
		g := segment{k.dir, list[i].segment}
		_, err := g.frames(func(f *frame) (bool, error) {
			if f.Serial != list[i].Serial {
				return true, nil
			}
			d, err := f.delta(list[i-1].Serial)
			if err != nil {
				return false, err
			}
			all = append(all, d)
			i++
			return i < len(list) && list[i].segment == g.number, nil
		})
		if err != nil && !errors.Is(err, errTorn) {
			return nil, err
		}
		if len(all) < i-1 || i < len(list) && list[i].segment == g.number {
			return nil, fmt.Errorf("serial %d isn't in its journal any more: restore %s from a backup", list[i].Serial, k.dir)
		}
	}
	return all, nil
}

// zone finds one.
func (s *Store) zone(z Zone) (*kept, error) {
	k := s.zones[z]
	if k == nil || k.current.Load() == nil {
		return nil, fmt.Errorf("%w: zone %.40q", ErrUnknown, z)
	}
	return k, nil
}

// Current is what the zone is now; nil where it never was.
func (s *Store) Current(z Zone) *Version {
	if k := s.zones[z]; k != nil {
		return k.current.Load()
	}
	return nil
}

// Changed is closed when something is published after the call. Ask for it before Current.
func (s *Store) Changed() <-chan struct{} { return *s.changed.Load() }

// place finds a serial, the newest first.
func (k *kept) place(serial uint32) (int, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for i, x := range slices.Backward(k.index) {
		if x.Serial == serial {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%w: zone %s, serial %d: see which are by `sakimori rpz status %s`", ErrUnknown, k.zone, serial, k.zone)
}

// HeldRef marks, among the Refs of a publication, that a zone still stands on a roll-back: it
// only took something away.
const HeldRef = "held"

// Held is the roll-back that a zone stands on; false: on none. Its publisher brings nothing
// in until a person publishes.
func (s *Store) Held(z Zone) (Publication, bool) {
	k, err := s.zone(z)
	if err != nil {
		return Publication{}, false
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, x := range slices.Backward(k.index) {
		switch {
		case x.Kind == RolledBack:
			return x.Publication, true
		case !slices.Contains(x.Refs, HeldRef):
			return Publication{}, false
		}
	}
	return Publication{}, false
}

// Would tells how many rules of each a change would add and remove, a rule that changes both.
func (s *Store) Would(z Zone, c Change) (added, removed int, err error) {
	k, err := s.zone(z)
	if err != nil {
		return 0, 0, err
	}
	v := k.current.Load()
	set, err := s.after(z, v, c)
	if err != nil {
		return 0, 0, err
	}
	_, removed, added = difference(v.Set, set, 0)
	return added, removed, nil
}

// Nested finds a rule of a name that would stand below a wildcard of the same zone after a
// change. Resolvers differ there: to BIND and Unbound a name that exists hides the wildcards
// above it, and those above its own parents, as to a name server (RFC 4592); to PowerDNS and
// Knot it doesn't. What stamps each serial isn't looked at.
func (s *Store) Nested(z Zone, c Change) (below, above Rule, is bool, err error) {
	k, err := s.zone(z)
	if err != nil {
		return below, above, false, err
	}
	v := k.current.Load()
	set, err := s.after(z, v, c)
	if err != nil {
		return below, above, false, err
	}
	stamps := map[string]bool{}
	if s.opts.Stamp != nil {
		for _, r := range s.opts.Stamp(z, v.Serial) {
			stamps[r.Name] = true
		}
	}
	below, above, is = set.nested(stamps)
	return below, above, is, nil
}

// Serials are all that are kept, the oldest first.
func (s *Store) Serials(z Zone) ([]Publication, error) {
	k, err := s.zone(z)
	if err != nil {
		return nil, err
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	list := make([]Publication, len(k.index))
	for i := range k.index {
		list[i] = k.index[i].Publication
	}
	return list, nil
}

// SerialAt is what was current at a time; ErrUnknown before the first that is kept.
func (s *Store) SerialAt(z Zone, t time.Time) (Publication, error) {
	k, err := s.zone(z)
	if err != nil {
		return Publication{}, err
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	i, _ := slices.BinarySearchFunc(k.index, t, func(x step, t time.Time) int {
		if x.At.After(t) {
			return 1
		}
		return -1
	})
	if i == 0 {
		return Publication{}, fmt.Errorf("%w: zone %s at %s", ErrUnknown, z, t.UTC().Format(time.RFC3339))
	}
	return k.index[i-1].Publication, nil
}

// At is what the zone was at a serial.
func (s *Store) At(z Zone, serial uint32) (*Version, error) {
	k, err := s.zone(z)
	if err != nil {
		return nil, err
	}
	if v := k.current.Load(); v.Serial == serial {
		return v, nil
	}
	i, err := k.place(serial)
	if err != nil {
		return nil, err
	}
	return k.at(i)
}

// Diff is what changed from one serial to another, also backwards.
func (s *Store) Diff(z Zone, from, to uint32) (*Delta, error) {
	k, err := s.zone(z)
	if err != nil {
		return nil, err
	}
	i, err := k.place(from)
	if err != nil {
		return nil, err
	}
	j, err := k.place(to)
	switch {
	case err != nil:
		return nil, err
	case i == j:
		return &Delta{from, to, &Set{}, &Set{}}, nil
	case i > j:
		d, err := s.Diff(z, to, from)
		if err != nil {
			return nil, err
		}
		return &Delta{from, to, d.Added, d.Removed}, nil
	}
	if _, whole := k.span(i, j); !whole {
		steps, err := k.steps(i+1, j)
		if err != nil {
			return nil, err
		}
		return condense(steps, false), nil
	}
	a, err := s.At(z, from)
	if err != nil {
		return nil, err
	}
	b, err := s.At(z, to)
	if err != nil {
		return nil, err
	}
	d, _, _ := difference(a.Set, b.Set, a.Set.bytes+b.Set.bytes)
	d.From, d.To = from, to
	return d, nil
}

// span is how many bytes of the journal lie between two places, and whether there is a
// serial of which it has no delta.
func (k *kept) span(i, j int) (bytes int64, whole bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, x := range k.index[i+1 : j+1] {
		bytes, whole = bytes+x.bytes, whole || x.whole
	}
	return bytes, whole
}

// Since is what changed from a serial to a version that was current a moment ago, as one
// delta, to be sent; false where a whole transfer is shorter, or the serial isn't kept.
func (s *Store) Since(v *Version, serial uint32) (*Delta, bool) {
	k, err := s.zone(v.Zone)
	if err != nil {
		return nil, false
	}
	k.mu.Lock()
	if k.sentOf != v.Serial {
		if k.sentOf != 0 && !After(v.Serial, k.sentOf) {
			k.mu.Unlock()
			return nil, false // of a former one, which somebody still holds: rare
		}
		k.sent, k.sentOf = map[uint32]*Delta{}, v.Serial
	}
	d, known := k.sent[serial]
	k.mu.Unlock()
	if known {
		return d, d != nil
	}
	d, err = k.since(v, serial)
	if err != nil {
		s.opts.Log.Warn("a difference can't be read: the whole zone is sent", slog.String("zone", string(v.Zone)), slog.String("error", err.Error()))
	}
	k.mu.Lock()
	if k.sentOf == v.Serial && len(k.sent) < 1000 { // strangers can't fill it: only peers ask
		k.sent[serial] = d
	}
	k.mu.Unlock()
	return d, d != nil
}

func (k *kept) since(v *Version, serial uint32) (*Delta, error) {
	i, err := k.place(serial)
	if err != nil {
		return nil, nil //nolint:nilerr,nilnil // not kept: a whole transfer
	}
	j, err := k.place(v.Serial)
	if err != nil || i >= j {
		return nil, nil //nolint:nilerr,nilnil // the same
	}
	if bytes, whole := k.span(i, j); whole || bytes > 2*int64(v.Set.bytes)+1<<16 {
		return nil, nil //nolint:nilnil // the same
	}
	k.mu.RLock()
	at := slices.IndexFunc(k.recent, func(d *Delta) bool { return d.From == serial })
	end := slices.IndexFunc(k.recent, func(d *Delta) bool { return d.To == v.Serial })
	var steps []*Delta
	if at >= 0 && end >= at {
		steps = slices.Clone(k.recent[at : end+1])
	}
	k.mu.RUnlock()
	if steps == nil {
		if steps, err = k.steps(i+1, j); err != nil {
			return nil, err
		}
	}
	d := condense(steps, true)
	if d.Bytes() > v.Set.bytes {
		return nil, nil //nolint:nilnil // a whole transfer is shorter
	}
	return d, nil
}
