//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/base/clock"
	"sakimori/base/relation"
)

// books measures the ledger on both kinds of store.
func books(ctx context.Context, o *options, _ *report) (section, error) {
	s := section{title: "F. 台帳 / The ledger", head: []string{"store", "entries/s: 1 writer", "64 writers", "verified entries/s", "bytes an entry"}}
	pg, err := startPostgres(ctx)
	if err != nil {
		return s, err
	}
	defer pg.end()
	if err := pg.make(ctx, "ledger", ""); err != nil {
		return s, err
	}
	dir, err := os.MkdirTemp(o.dir, "ledger-")
	if err != nil {
		return s, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "house.sqlite")
	for _, store := range []struct {
		name, where string
		size        string
	}{{"SQLite", file, dir}, {"PostgreSQL 15", pg.url("ledger"), filepath.Join(pg.dir, "data", "base")}} {
		o.say("F: %s", store.name)
		if err := book(ctx, o, &s, store.name, store.where, store.size); err != nil {
			return s, fmt.Errorf("%s: %w", store.name, err)
		}
	}
	s.note("各 %s 間。応答した記録は同期済みで、鎖になっている。検証は全記録を読み直す。/ %s each. An entry that is acknowledged is synced to disk and in the chain; who waits together is written together. Verifying reads every entry and its private part.", 3*o.trial, 3*o.trial)
	return s, nil
}

func book(ctx context.Context, o *options, s *section, name, where, size string) (err error) {
	db, err := relation.Open(ctx, where)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	b, err := ledger.Open(ctx, db, clock.System{})
	if err != nil {
		return err
	}
	before, _ := weight(size) // what an empty one has
	var total uint64
	var rates [2]float64
	for i, writers := range []int{1, 64} {
		var all sync.WaitGroup
		var n atomic.Uint64
		errs := make(chan error, writers)
		began := time.Now()
		for range writers {
			all.Go(func() {
				for time.Since(began) < 3*o.trial {
					line := ledger.Line{Kind: account.Looked, Who: "abuse:bench", What: map[string]string{"subject": "S-000000000000000000000000000", "why": "case C-2026-000001"}, Private: []byte(`{"address":"203.0.113.7"}`)}
					if _, err := b.Append(ctx, line); err != nil {
						errs <- err
						return
					}
					n.Add(1)
				}
			})
		}
		all.Wait()
		close(errs)
		if err := <-errs; err != nil {
			return err
		}
		rates[i] = float64(n.Load()) / time.Since(began).Seconds()
		total += n.Load()
	}
	after, err := weight(size)
	if err != nil {
		return err
	}
	began := time.Now()
	report, err := b.Verify(ctx, nil, nil, nil)
	if err != nil {
		return err
	}
	if len(report.Faults) > 0 || report.Entries != total {
		return fmt.Errorf("the ledger of %d entries has %d and the faults %v", total, report.Entries, report.Faults)
	}
	s.row(name, thousands(uint64(rates[0])), thousands(uint64(rates[1])), thousands(uint64(float64(total)/time.Since(began).Seconds())), fmt.Sprint((after-before)/int64(total)))
	return nil
}
