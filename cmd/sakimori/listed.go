package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"

	"sakimori/base/clock"
	"sakimori/base/run"
	"sakimori/base/wire/dns"
	"sakimori/detect/cnc"
	"sakimori/observe"
	resolved "sakimori/observe/dns"
)

// listed is the list of C&C servers in memory, as those who see lookups compare them: names
// alone, some 40 bytes each. It counts how often each was asked for, by nobody.
type listed struct {
	list  *cnc.List
	clock clock.Clock
	now   atomic.Pointer[inMemory]

	mu     sync.Mutex
	counts map[hitKey]int64
	lost   uint64 // counts for which there was no room
}

// hitKey is what a count is of.
type hitKey struct {
	key  uint64
	day  int64 // Unix days
	zone string
}

const mostHits = 1 << 18

// inMemory is the list at a moment. Nobody changes it.
type inMemory struct {
	at       map[uint64]uint32 // hash of a name on the wire → its entry
	entries  []listedEntry
	families []string
}

type listedEntry struct {
	key    uint64 // of its id
	family uint16
	host   bool
	stand  stand
}

// stand is what an entry means for a lookup.
type stand uint8

const (
	watched stand = iota // under review: who'd lose it is counted
	shadowed
	enforced
	urgent // enforced by the quick lane
	sinkholed
)

func newListed(l *cnc.List, c clock.Clock) *listed {
	x := &listed{list: l, clock: c, counts: map[hitKey]int64{}}
	x.now.Store(&inMemory{})
	return x
}

// read reads the list anew.
func (x *listed) read(ctx context.Context) error {
	n := &inMemory{at: map[uint64]uint32{}}
	families := map[string]uint16{}
	take := func(part []cnc.Entry) error {
		for i := range part {
			n.add(&part[i], families)
		}
		return nil
	}
	if _, err := x.list.Enforced(ctx, take); err != nil {
		return err
	}
	const page, most = 500, 200_000
	for q, had := (cnc.Query{States: []cnc.State{cnc.Scored, cnc.Reviewed, cnc.Shadow}, Order: cnc.ByName, Limit: page}), 0; had < most; had += page {
		part, next, err := x.list.Page(ctx, q)
		if err != nil {
			return err
		}
		_ = take(part) // nothing of it fails
		if q.After = next; next == "" {
			break
		}
	}
	x.now.Store(n)
	return nil
}

func (n *inMemory) add(e *cnc.Entry, families map[string]uint16) {
	if e.Kind != observe.IndicatorName && e.Kind != observe.IndicatorHost {
		return
	}
	name, err := dns.ParseName(e.Value)
	if err != nil {
		return
	}
	key, err := strconv.ParseUint(strings.TrimPrefix(e.ID, "i-"), 16, 64)
	if err != nil {
		return
	}
	family, known := families[e.Family]
	if !known && len(n.families) < 1<<16-1 {
		family = uint16(len(n.families)) //nolint:gosec // was checked
		families[e.Family] = family
		n.families = append(n.families, e.Family)
	}
	x := listedEntry{key: key, family: family, host: e.Kind == observe.IndicatorHost}
	switch {
	case e.State == cnc.Enforced && e.Sinkholed:
		x.stand = sinkholed
	case e.State == cnc.Enforced && e.Emergency:
		x.stand = urgent
	case e.State == cnc.Enforced:
		x.stand = enforced
	case e.State == cnc.Shadow:
		x.stand = shadowed
	}
	hash := xxh3.Hash(name)
	if i, is := n.at[hash]; is && n.entries[i].stand >= x.stand {
		return // a name and a host: what is blocked comes first
	}
	n.at[hash] = uint32(len(n.entries)) //nolint:gosec // below 2^32
	n.entries = append(n.entries, x)
}

// Match finds the entry that a name falls under: itself, or the nearest above. What is
// enforced comes before what isn't.
func (x *listed) Match(name dns.Name) (out resolved.Listing, found bool) {
	n := x.now.Load()
	var best listedEntry
	for rest := name; len(rest) > 1; rest = rest.Parent() {
		i, is := n.at[xxh3.Hash(rest)]
		if !is {
			continue
		}
		e := n.entries[i]
		if e.host && len(rest) != len(name) || found && e.stand <= best.stand {
			continue
		}
		best, found, out.Owner = e, true, rest
		if best.host {
			out.Owner = nil
		}
	}
	if !found {
		return out, false
	}
	out.Entry, out.Family = fmt.Sprintf("i-%016x", best.key), n.families[best.family]
	switch best.stand {
	case enforced:
		out.Zone, out.Contact = "c2.", observe.Blocked
	case urgent:
		out.Zone, out.Contact = "emergency.", observe.Blocked
	case sinkholed:
		out.Contact = observe.Sinkholed
	case shadowed:
		out.Shadow = true
	case watched:
		return out, true
	}
	x.count(best.key, out.Zone, best.stand)
	return out, true
}

// count counts one lookup of an entry.
func (x *listed) count(key uint64, zone string, s stand) {
	if s == sinkholed {
		zone = cnc.Sinkholes
	}
	k := hitKey{key, x.clock.Now().Unix() / 86400, zone}
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, is := x.counts[k]; !is && len(x.counts) >= mostHits {
		x.lost++
		return
	}
	x.counts[k]++
}

// keep hands the counts to the list. What couldn't be kept is kept next time.
func (x *listed) keep(ctx context.Context) error {
	x.mu.Lock()
	counts := x.counts
	x.counts = map[hitKey]int64{}
	x.mu.Unlock()
	list := make([]cnc.Hit, 0, len(counts))
	for k, n := range counts {
		list = append(list, cnc.Hit{Entry: fmt.Sprintf("i-%016x", k.key), Day: time.Unix(k.day*86400, 0).UTC(), Zone: k.zone, Count: n})
	}
	if len(list) == 0 {
		return nil
	}
	if _, err := x.list.Hits(ctx, list); err != nil {
		x.mu.Lock()
		for k, n := range counts {
			x.counts[k] += n
		}
		x.mu.Unlock()
		return err
	}
	return nil
}

// How often the list is looked after.
const (
	listTick = 10 * time.Second // what time brings, counts, what came into force
	listRead = time.Minute      // who waits and is in shadow
)

// component brings what time brings to the list, and keeps it in memory.
func (x *listed) component(speed float64, log *slog.Logger) run.Component {
	return run.Component{Name: "list of C&C servers", Run: func(ctx context.Context, ready func()) error {
		if err := x.read(ctx); err != nil {
			return err
		}
		ready()
		tick, again := time.NewTicker(time.Duration(float64(listTick)/max(speed, 1))), time.NewTicker(listRead)
		defer tick.Stop()
		defer again.Stop()
		said := func(what string, err error) {
			if err != nil && ctx.Err() == nil {
				log.ErrorContext(ctx, "the list of C&C servers", slog.String("what", what), slog.Any("error", err))
			}
		}
		seq := int64(-1)
		for {
			select {
			case <-ctx.Done():
				return x.keep(context.WithoutCancel(ctx))
			case <-again.C:
				said("it couldn't be read", x.read(ctx))
			case <-tick.C:
				said("counts couldn't be kept", x.keep(ctx))
				_, err := x.list.Tick(ctx)
				said("what time brings couldn't be done", err)
				now, err := x.list.Seq(ctx)
				said("it couldn't be read", err)
				if err == nil && now != seq {
					seq = now
					said("it couldn't be read", x.read(ctx))
				}
			}
		}
	}}
}
