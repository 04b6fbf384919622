package record

import (
	"context"
	"database/sql/driver"
	"encoding/hex"
	"fmt"
	"time"

	"sakimori/base/store"
	"sakimori/observe"
)

// missed is a gap with its part.
type missed struct {
	part uint64
	*observe.Gap
}

var gapColumns = []column[missed]{
	{"begun", "BIGINT", "Unix nanoseconds", func(g *missed) driver.Value { return g.From.UnixNano() }},
	{"ended", "BIGINT", "Unix nanoseconds", func(g *missed) driver.Value { return g.To.UnixNano() }},
	{"input", "VARCHAR", "which input did not look", func(g *missed) driver.Value { return g.Input }},
	{"reason", "VARCHAR", "why", func(g *missed) driver.Value { return g.Reason }},
	{"dropped", "UBIGINT", "packets known to be lost", func(g *missed) driver.Value { return g.Dropped }},
	{"part", "UBIGINT", "the engine run", func(g *missed) driver.Value { return g.part }},
}

var importColumns = []column[Import]{
	{"id", "VARCHAR", "of the import", func(i *Import) driver.Value { return i.ID }},
	{"name", "VARCHAR", "of the file", func(i *Import) driver.Value { return i.Name }},
	{"digest", "VARCHAR", "of the content, hexadecimal", func(i *Import) driver.Value { return hex.EncodeToString(i.Digest[:]) }},
	{"size", "BIGINT", "bytes", func(i *Import) driver.Value { return i.Size }},
	{"config", "VARCHAR", "digest of prefixes and rules, hexadecimal", func(i *Import) driver.Value { return hex.EncodeToString(i.Config[:]) }},
	{"frames", "UBIGINT", "frames done so far", func(i *Import) driver.Value { return i.Frames }},
	{"done", "BOOLEAN", "whether it is finished", func(i *Import) driver.Value { return i.Done }},
	{"started", "BIGINT", "Unix nanoseconds, 0 not known", func(i *Import) driver.Value { return nanoOrZero(i.Started) }},
	{"finished", "BIGINT", "when it was read to its end, Unix nanoseconds; 0 not yet", func(i *Import) driver.Value { return nanoOrZero(i.Finished) }},
	{"part", "UBIGINT", "the engine run", func(i *Import) driver.Value { return i.Part }},
	{"result", "BLOB", "the JSON document at the end", func(i *Import) driver.Value { return orNull(i.Result) }},
}

func nanoOrZero(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func unixNano(n int64) time.Time { return time.Unix(0, n).UTC() }

func (r *Record) writeImport(ctx context.Context, tx *store.Tx, i *Import) error {
	if err := tx.Exec(ctx, `DELETE FROM telescope_import WHERE id = ?`, i.ID); err != nil {
		return err
	}
	return tx.Append("telescope_import", func(row store.Row) error {
		return line(row, importColumns, make([]driver.Value, len(importColumns)), i)
	})
}

// Imported is the latest finished import of the same content, nil for none.
func (r *Record) Imported(ctx context.Context, digest [16]byte) (*Import, error) {
	all, err := r.imports(ctx, `WHERE done AND digest = ? ORDER BY finished DESC, id LIMIT 1`, hex.EncodeToString(digest[:]))
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return &all[0], nil
}

// Known tells whether there may be an import, finished or not, of a content of so
// many bytes; 0 is a size that isn't known.
func (r *Record) Known(ctx context.Context, size int64) (bool, error) {
	rows, err := r.store.Query(ctx, `SELECT count(*) FROM telescope_import WHERE ? IN (size, 0)`, size)
	if err != nil {
		return false, wrap(err, "imports")
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		if err := rows.Scan(&n); err != nil {
			return false, wrap(err, "imports")
		}
	}
	return n > 0, wrap(rows.Err(), "imports")
}

// Unfinished are the imports that were interrupted, oldest first. Each goes on
// at frame Frames with the State of its Part.
func (r *Record) Unfinished(ctx context.Context) ([]Import, error) {
	return r.imports(ctx, `WHERE NOT done ORDER BY started, id`)
}

// Imports are all imports, latest first.
func (r *Record) Imports(ctx context.Context, limit int) ([]Import, error) {
	return r.imports(ctx, `ORDER BY started DESC, id LIMIT ?`, limit)
}

func (r *Record) imports(ctx context.Context, where string, args ...any) ([]Import, error) {
	rows, err := r.store.Query(ctx, `SELECT `+names(importColumns)+` FROM telescope_import `+where, args...)
	if err != nil {
		return nil, wrap(err, "imports")
	}
	defer rows.Close()
	var out []Import
	for rows.Next() {
		var i Import
		var digest, config string
		var started, finished int64
		if err := rows.Scan(&i.ID, &i.Name, &digest, &i.Size, &config, &i.Frames, &i.Done, &started, &finished, &i.Part, &i.Result); err != nil {
			return nil, wrap(err, "imports")
		}
		for b, s := range map[*[16]byte]string{&i.Digest: digest, &i.Config: config} {
			if n, err := hex.Decode(b[:], []byte(s)); err != nil || n != len(b) {
				return nil, fmt.Errorf("telescope record: import %s has a broken digest", i.ID)
			}
		}
		if started != 0 {
			i.Started = unixNano(started)
		}
		if finished != 0 {
			i.Finished = unixNano(finished)
		}
		out = append(out, i)
	}
	return out, wrap(rows.Err(), "imports")
}

// State is the engine's last snapshot of a part, nil when there is none.
func (r *Record) State(ctx context.Context, part uint64) ([]byte, error) {
	return r.store.Blob(ctx, stateName(part))
}

func stateName(part uint64) string { return fmt.Sprintf("telescope/state/%d", part) }
