package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/base/geo"
	"sakimori/console"
	"sakimori/console/api"
	"sakimori/detect"
	"sakimori/detect/ddos"
	"sakimori/observe"
	flowrecord "sakimori/observe/flow/record"
)

// whatIf answers what other thresholds would have said of flows that are kept. Nothing is
// changed by it: each set of thresholds looks at the flows with a detector of its own.
type whatIf struct {
	cfg   *config
	kept  *flowrecord.Record
	table *geo.Table

	mu   sync.Mutex
	list []*api.Replay // the newest last
}

// replaysKept is how many answers are at hand.
const replaysKept = 20

var _ api.Replays = (*whatIf)(nil)

// Replay begins one; it goes on when who asked has gone.
func (w *whatIf) Replay(ctx context.Context, r observe.Range, thresholds, _ string) (api.Replay, error) {
	mine, err := w.cfg.floods()
	if err != nil {
		return api.Replay{}, err
	}
	other := mine
	if other.Thresholds, err = parseThresholds([]byte(thresholds)); err != nil {
		return api.Replay{}, &console.Refusal{Text: detect.Text{JA: "しきい値を読めません: " + err.Error(), EN: err.Error()}}
	}
	a, err := newFloods(mine, floodPorts{place: w.table.Owner})
	if err != nil {
		return api.Replay{}, err
	}
	b, err := newFloods(other, floodPorts{place: w.table.Owner})
	if err != nil {
		return api.Replay{}, &console.Refusal{Text: detect.Text{JA: "このしきい値では動きません: " + err.Error(), EN: err.Error()}}
	}
	x := &api.Replay{ID: "R-" + strings.ToLower(rand.Text()[:8]), State: "running", From: r.From, To: r.To}
	w.mu.Lock()
	if w.list = append(w.list, x); len(w.list) > replaysKept {
		w.list = w.list[1:]
	}
	w.mu.Unlock()
	go w.run(context.WithoutCancel(ctx), x, r, a, b)
	return w.Replayed(ctx, x.ID)
}

func (w *whatIf) run(ctx context.Context, x *api.Replay, r observe.Range, a, b *floods) {
	const longest = 10 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	span, err := w.kept.Replay(ctx, r, func(batch []observe.Flow) error {
		a.takeTimed(batch)
		b.takeTimed(batch)
		if n := len(batch); n > 0 {
			w.mu.Lock()
			x.Flows += uint64(n)
			x.Done = min(max(float64(batch[n-1].Last-r.From.UnixNano())/float64(r.To.Sub(r.From)), x.Done), 1)
			w.mu.Unlock()
		}
		return nil
	})
	a.finish()
	b.finish()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		x.State, x.Error = "failed", &detect.Text{JA: "フローを読み直せませんでした: " + err.Error(), EN: "the flows couldn't be read again: " + err.Error()}
		return
	}
	x.State, x.Done, x.Grain = "done", 1, span.Grain.String()
	x.Same, x.New, x.Gone = compare(a.attacks.Results(), b.attacks.Results(), a, b)
}

// compare says which attacks two sets of thresholds have in common: those on one object
// that overlap in time.
func compare(mine, other []ddos.Result, a, b *floods) (same, fresh, gone []api.ReplayAttack) {
	seen := make([]bool, len(mine))
	for i := range other {
		o := &other[i]
		j := slices.IndexFunc(mine, func(m ddos.Result) bool {
			return m.Target == o.Target && m.Direction == o.Direction && !m.First.After(o.Last) && !o.First.After(m.Last)
		})
		if j < 0 {
			fresh = append(fresh, b.replayed(o))
			continue
		}
		seen[j] = true
		same = append(same, b.replayed(o))
	}
	for j := range mine {
		if !seen[j] {
			gone = append(gone, a.replayed(&mine[j]))
		}
	}
	return same, fresh, gone
}

// replayed is a result in the words of the API.
func (f *floods) replayed(r *ddos.Result) api.ReplayAttack {
	out := api.ReplayAttack{
		Target: r.Target, Direction: r.Direction, Opened: r.First, Confidence: r.Confidence,
		Peak: detect.Rate{Packets: detect.Measure{N: r.PeakPPS}, Bits: detect.Measure{N: r.PeakBPS}},
	}
	for _, v := range r.Vectors {
		out.Vectors = append(out.Vectors, v.Name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	versions := f.pending.attacks
	for i := len(versions) - 1; i >= 0; i-- {
		if v := &versions[i]; v.ID == r.ID {
			out.Peak, out.Limit = v.Peak, v.Limit
			break
		}
	}
	if _, open := f.open[r.ID]; !open {
		out.Closed = &r.Last
	}
	return out
}

func (w *whatIf) Replayed(_ context.Context, id string) (api.Replay, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.list, func(x *api.Replay) bool { return x.ID == id })
	if i < 0 {
		return api.Replay{}, console.ErrNotFound
	}
	return *w.list[i], nil
}

// lines writes a replay for the command line.
func replayLines(list []api.ReplayAttack, word string) (rows [][]string) {
	for i := range list {
		x := &list[i]
		rows = append(rows, []string{word, x.Target, string(x.Direction), strings.Join(x.Vectors, " "), withError(x.Peak.Packets, "pps"), x.Opened.Format(time.RFC3339), fmt.Sprintf("%.2f", x.Confidence)})
	}
	slices.SortStableFunc(rows, func(a, b []string) int { return cmp.Compare(a[5], b[5]) })
	return rows
}
