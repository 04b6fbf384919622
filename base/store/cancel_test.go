package store_test

import (
	"context"
	"database/sql/driver"
	"sync"
	"testing"
	"time"

	"sakimori/base/store"
)

// TestCancelledReaders: clients that go away in the middle of their questions
// leave no transaction behind them on a connection that the next one, or the
// writer, gets.
func TestCancelledReaders(t *testing.T) {
	ctx := t.Context()
	s, err := store.Open(ctx, t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Migrate(ctx, "test", []store.Migration{{Version: 1, Name: "n", SQL: "CREATE TABLE n (x BIGINT)"}}); err != nil {
		t.Fatal(err)
	}
	write := func() {
		err := s.Tx(ctx, func(tx *store.Tx) error {
			return tx.Append("n", func(row store.Row) error {
				for i := range 2000 {
					if err := row(driver.Value(int64(i))); err != nil {
						return err
					}
				}
				return nil
			})
		})
		if err != nil {
			t.Fatal("the writer met what a reader left:", err)
		}
	}
	write()
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for r := range 6 {
		readers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				short, cancel := context.WithTimeout(ctx, time.Duration(1+(i*7+r*3)%9)*time.Millisecond)
				_ = s.View(short, func(v store.Asker) error { // is meant to fail
					for range 3 {
						var n int64
						if err := v.QueryRow(short, "SELECT count(*) FROM n a, n b WHERE a.x + b.x > 10").Scan(&n); err != nil {
							return err
						}
					}
					return nil
				})
				cancel()
			}
		})
	}
	for range 40 {
		write()
	}
	close(stop)
	readers.Wait()
	var n int64
	if err := s.QueryRow(ctx, "SELECT count(*) FROM n").Scan(&n); err != nil || n != 41*2000 {
		t.Errorf("%d rows, %v", n, err)
	}
}
