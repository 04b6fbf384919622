package register_test

import (
	"fmt"
	"testing"
	"time"

	"sakimori/base/store"
	"sakimori/detect"
	"sakimori/detect/register"
)

func BenchmarkWrite(b *testing.B) {
	ctx := b.Context()
	s, err := store.Open(ctx, b.TempDir(), store.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	r, err := register.New(ctx, s)
	if err != nil {
		b.Fatal(err)
	}
	const batch = 1000
	began, n := time.Now(), 0
	for i := 0; b.Loop(); i++ {
		list := make([]detect.Finding, batch)
		for j := range list {
			list[j] = finding(fmt.Sprint(i/3, j), []detect.State{detect.Opened, detect.Changed, detect.Closed}[i%3], i)
		}
		if err := s.Tx(ctx, func(tx *store.Tx) error { return r.Write(tx, list) }); err != nil {
			b.Fatal(err)
		}
		n += batch
	}
	b.ReportMetric(float64(n)/time.Since(began).Seconds(), "versions/s")
}
