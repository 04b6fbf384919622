package main

import (
	"context"
	"errors"
	"path/filepath"

	"sakimori/account/ledger"
	"sakimori/base/clock"
	"sakimori/base/relation"
)

// house is the relational store with what lives in it.
type house struct {
	db   *relation.DB
	book *ledger.Book
}

// houseFile is the store of a house that names no server.
const houseFile = "house.sqlite"

// openHouse opens the store: the database that is configured, or a file in the data
// folder, which is there.
func openHouse(ctx context.Context, cfg *config) (*house, error) {
	where := cfg.Database
	if where == "" {
		where = filepath.Join(cfg.Data, houseFile)
	}
	h := &house{}
	var err error
	if h.db, err = relation.Open(ctx, where); err != nil {
		return nil, err
	}
	if h.book, err = ledger.Open(ctx, h.db, clock.System{}); err != nil {
		return nil, errors.Join(err, h.db.Close())
	}
	return h, nil
}

// Close closes the store.
func (h *house) Close() error { return h.db.Close() }
