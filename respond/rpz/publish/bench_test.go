package publish_test

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"testing"
	"time"

	"sakimori/respond/rpz/publish"
)

// long is a list of half a million names: a million rules.
type long struct {
	*world

	changes []publish.Change
}

const longNames = 500_000

func (l *long) Newest(context.Context) (int64, error) { return int64(len(l.changes)), nil }

func (l *long) All(context.Context) iter.Seq2[publish.Entry, error] {
	return func(yield func(publish.Entry, error) bool) {
		for i := range longNames {
			if !yield(publish.Entry{ID: fmt.Sprintf("K-%07d", i), Name: fmt.Sprintf("m%d.example", i)}, nil) {
				return
			}
		}
	}
}

func (l *long) Changes(_ context.Context, after int64, limit int) ([]publish.Change, error) {
	list := l.changes[after:]
	return list[:min(limit, len(list))], nil
}

// BenchmarkStep: ten names come into a list of a million rules, and ten go, with the sync to
// disk. BenchmarkWhole makes the zone of all of it.
func BenchmarkStep(b *testing.B) {
	l := &long{world: newWorld(b, b.TempDir())}
	defer l.zones.Close()
	p := publish.New(publish.Config{Anew: 1 << 62}, l, zones{l.zones}, l, l, slog.New(slog.DiscardHandler))
	if err := p.Look(b.Context()); err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		for i := range 20 {
			e := publish.Entry{ID: fmt.Sprintf("N-%d", n), Name: fmt.Sprintf("n%d.new.example", n)}
			if n++; i >= 10 {
				e = publish.Entry{ID: fmt.Sprintf("K-%07d", n%longNames), Name: fmt.Sprintf("m%d.example", n%longNames)}
			}
			l.changes = append(l.changes, publish.Change{Entry: e, Seq: int64(len(l.changes) + 1), In: i < 10})
		}
		l.now = l.now.Add(time.Minute)
		if err := p.Look(b.Context()); err != nil || len(p.Status().Pending) > 0 {
			b.Fatal(err, p.Status())
		}
	}
}

func BenchmarkWhole(b *testing.B) {
	l := &long{world: newWorld(b, b.TempDir())}
	defer l.zones.Close()
	p := publish.New(publish.Config{Anew: time.Hour}, l, zones{l.zones}, l, l, slog.New(slog.DiscardHandler))
	for b.Loop() {
		l.now = l.now.Add(time.Hour)
		if err := p.Look(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
