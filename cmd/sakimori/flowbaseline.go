package main

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"sakimori/detect"
	"sakimori/observe"
	"sakimori/respond/mitigate"
)

// flowSearch finds kept flows: a *record.Record.
type flowSearch interface {
	Search(ctx context.Context, q observe.FlowQuery, after string) (observe.FlowPage, error)
}

// usualFlows knows from kept flows what is ordinary for an object: what came to it in the
// minutes before, and at other hours of the last day and the same hour of other days.
// While an attack lasts that doesn't change, and it is asked for at every try to propose
// something: an answer is good for a minute.
type usualFlows struct {
	kept flowSearch

	mu   sync.Mutex
	said map[usualOf]usualSaid
}

type usualOf struct {
	object detect.Object
	before int64
	most   int
}

type usualSaid struct {
	samples []detect.Sample
	at      time.Time
}

const usualGood, usualMost = time.Minute, 64

var _ mitigate.Baseline = (*usualFlows)(nil)

// Ordinary is what is ordinary for an object, as of before a time.
func (u *usualFlows) Ordinary(ctx context.Context, o detect.Object, before time.Time, most int) ([]detect.Sample, error) {
	of := usualOf{o, before.UnixNano(), most}
	u.mu.Lock()
	x, is := u.said[of]
	u.mu.Unlock()
	if is && time.Since(x.at) < usualGood {
		return slices.Clone(x.samples), nil
	}
	list, err := u.look(ctx, o, before, most)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.said == nil || len(u.said) >= usualMost {
		u.said = map[usualOf]usualSaid{}
	}
	u.said[of] = usualSaid{list, time.Now()}
	return slices.Clone(list), nil
}

// The windows that are looked at, by how long before an attack they end.
var usualWindows = []time.Duration{0, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour}

const (
	usualWindow = 10 * time.Minute
	usualRows   = 1000 // of each window, the latest
	usualFolded = 0.2  // of the packets, in rows whose ports or addresses weren't kept, above which nothing is known
)

// look draws packets at even steps, so that each sample stands for as many: no more
// samples than packets that exporters looked at. Of a link it knows nothing.
func (u *usualFlows) look(ctx context.Context, o detect.Object, before time.Time, most int) ([]detect.Sample, error) {
	var rows []observe.FlowRow
	var packets, folded, looked float64
	for _, ago := range usualWindows {
		end := before.Add(-ago)
		// The bucket in which a window ends may be full of the attack by now, whose rows would
		// leave no room for those of before.
		q := observe.FlowQuery{Limit: usualRows, Range: observe.Range{From: end.Add(-usualWindow), To: end}, Before: end}
		switch {
		case o.Prefix.IsValid():
			q.Dst = append(q.Dst, o.Prefix)
		case o.Kind == detect.CustomerObject && o.Name != "":
			q.Customers, q.Way = []string{o.Name}, observe.FlowIn
		default:
			return nil, nil
		}
		page, err := u.kept.Search(ctx, q, "")
		if err != nil {
			return nil, err
		}
		for i := range page.Rows {
			w := &page.Rows[i]
			f := &w.Flow
			if f.Last >= before.UnixNano() { // a bucket that the attack is in, too
				continue
			}
			packets += float64(f.Packets)
			if w.Folded != 0 {
				folded += float64(f.Packets)
				continue
			}
			looked += float64(max(f.Seen, 1))
			rows = append(rows, *w)
		}
	}
	if len(rows) == 0 || folded > usualFolded*packets {
		return nil, nil
	}
	n := min(float64(most), looked)
	step := (packets - folded) / n
	samples := make([]detect.Sample, 0, int(n))
	due := step / 2
	for i := range rows {
		f := &rows[i].Flow
		length := float64(f.Bytes) / float64(max(f.Packets, 1))
		for due -= float64(f.Packets); due < 0; due += step {
			samples = append(samples, detect.Sample{
				Src: f.Src.Netip(), Dst: f.Dst.Netip(), SrcPort: f.SrcPort, DstPort: f.DstPort, Proto: f.Proto,
				Flags: f.TCPFlags, NoFlags: f.Marks&observe.FlowNoFlags != 0, Later: f.Marks&observe.FlowFragment != 0,
				Single: f.Seen == 1 && rows[i].Flows <= 1, Length: uint16(min(length, math.MaxUint16)), Packets: step, Bytes: step * length,
			})
		}
	}
	return samples, nil
}
