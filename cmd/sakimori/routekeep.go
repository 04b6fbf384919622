package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"

	"sakimori/base/store"
	"sakimori/observe"
	"sakimori/observe/route/record"
)

// routeKeep keeps what an import of routes makes: its routes as they come, and at the end, in
// one transaction, the incidents and that the files were kept. A nil one keeps nothing.
type routeKeep struct {
	k      *keeper
	w      *record.Writer
	hashes []string // of the files that were read
	failed error    // of a save under way
}

// openRouteKeep opens the data folder.
func openRouteKeep(ctx context.Context, dir string) (*routeKeep, error) {
	k, err := openKeeper(ctx, dir)
	if busy, is := errors.AsType[*store.ErrBusy](err); is {
		return nil, errors.Join(busy, errors.New(say("serve を止めてから取り込むか、別の --data を指定してください", "stop serve first, or name another --data")))
	}
	return &routeKeep{k: k}, err
}

func (r *routeKeep) close() { _ = r.k.Close() } // everything was written, or its error told

// outs take the routes.
func (r *routeKeep) outs(ctx context.Context, part uint64) ([]observe.Routes, error) {
	if r == nil {
		return nil, nil
	}
	// What an import of the same files left that was killed goes first.
	if err := r.k.routes.Forget(ctx, part); err != nil {
		return nil, err
	}
	const perMinute = 100_000_000 // a file holds what it holds
	var err error
	r.w, err = r.k.routes.Writer(ctx, record.Options{Part: part, PerMinute: perMinute, Full: func() {
		if err := r.cut(ctx); err != nil && r.failed == nil {
			r.failed = err
		}
	}})
	return []observe.Routes{r.w}, err
}

// routeFile is the mark of a file that was kept.
func routeFile(hash string) string { return "route/import/" + hash }

// hashFiles are the contents of files, and which of them were kept before.
func (r *routeKeep) hashFiles(ctx context.Context, files []string) (known map[string]bool, part uint64, err error) {
	known = map[string]bool{}
	all := sha256.New()
	for _, name := range files {
		if name == "-" {
			return nil, 0, errors.New(say("標準入力は保存できません: ファイルを指定してください", "what comes by standard input can't be kept: name files"))
		}
		h, err := hashFile(name)
		if err != nil {
			return nil, 0, err
		}
		was, err := r.k.store.Blob(ctx, routeFile(h))
		if err != nil {
			return nil, 0, err
		}
		if known[name] = len(was) > 0; !known[name] {
			r.hashes = append(r.hashes, h)
			all.Write([]byte(h))
		}
	}
	sum := all.Sum(nil)
	for _, b := range sum[:8] {
		part = part<<8 | uint64(b)
	}
	return known, part | 2, nil // never that of the live input
}

func hashFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// cut writes down the routes so far, of a large import.
func (r *routeKeep) cut(ctx context.Context) error {
	serial := r.w.Cut()
	if err := r.k.store.Tx(ctx, func(tx *store.Tx) error { return r.w.Save(ctx, tx, serial) }); err != nil {
		return err
	}
	r.w.Saved(serial)
	return nil
}

// save writes down everything. Until it has, the files don't count as kept.
func (r *routeKeep) save(ctx context.Context, news routeNews) error {
	if r.failed != nil {
		return r.failed
	}
	serial := r.w.Cut()
	return r.k.store.Tx(ctx, func(tx *store.Tx) error {
		err := r.k.register.WriteIncidents(tx, news.incidents, news.courses)
		if err == nil {
			err = r.k.register.Write(tx, news.findings)
		}
		if err == nil {
			err = r.w.Save(ctx, tx, serial)
		}
		for _, h := range r.hashes {
			if err == nil {
				err = tx.PutBlob(ctx, routeFile(h), []byte("kept"))
			}
		}
		return err
	})
}
