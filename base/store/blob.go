package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/zeebo/xxh3"
)

// Blobs are too large for a row (up to some 500 MB), or to be read in parts: they are files in blobs/,
// named by their xxh3-128 checksum, and the database holds name → file. A file
// is whole and synced before the row that names it is committed, so a crash can
// only leave a file that nobody names, and the next Open deletes it.

// written is a blob on its way into a file; without one the name is forgotten.
type written struct {
	name, file string
	size       int
	err        error
}

// PutBlob stores data under a name, in place of what the name held before. It
// becomes visible with the transaction. The file is written while the transaction
// goes on with other things, so the data must stay as they are until it ends, and
// what goes wrong shows at its end.
func (tx *Tx) PutBlob(_ context.Context, name string, data []byte) error {
	if tx.failed != nil {
		return tx.failed
	}
	ready := make(chan written, 1)
	tx.blobs, tx.coming = true, append(tx.coming, ready)
	go func() {
		tx.store.pens <- struct{}{}
		defer func() { <-tx.store.pens }()
		sum := xxh3.Hash128(data).Bytes()
		w := written{name: name, file: hex.EncodeToString(sum[:]), size: len(data)}
		w.err = tx.store.writeBlob(w.file, data)
		ready <- w
	}()
	return nil
}

// settle waits for the files that are being written, and names them.
func (tx *Tx) settle(ctx context.Context) error {
	files, put := tx.await(), false
	for _, w := range files {
		if w.err != nil && tx.failed == nil {
			tx.failed = fmt.Errorf("store %s: %w", w.name, w.err)
		}
		put = put || w.file != ""
	}
	if put && tx.failed == nil { // once for all of them
		tx.failed = tx.store.syncNames()
	}
	if len(files) == 0 || tx.failed != nil {
		return tx.failed
	}
	// A month of minutes names tens of thousands: two statements for all of them.
	last := make(map[string]written, len(files))
	for _, w := range files {
		last[w.name] = w
	}
	names := slices.Sorted(maps.Keys(last))
	if err := tx.Exec(ctx, `DELETE FROM store_blob WHERE name IN (SELECT unnest(?))`, names); err != nil {
		return err
	}
	return tx.Append("store_blob", func(row Row) error {
		for _, n := range names {
			if w := last[n]; w.file != "" {
				if err := row(w.name, w.file, int64(w.size)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// await waits until no file is being written any more.
func (tx *Tx) await() []written {
	list := make([]written, len(tx.coming))
	for i, ready := range tx.coming {
		list[i] = <-ready
	}
	tx.coming = nil
	return list
}

// DropBlob forgets a name; a name that isn't there is no error.
func (tx *Tx) DropBlob(_ context.Context, name string) error {
	if tx.failed != nil {
		return tx.failed
	}
	ready := make(chan written, 1)
	ready <- written{name: name}
	tx.blobs, tx.coming = true, append(tx.coming, ready)
	return nil
}

// DropBlobs forgets the names in [from, to), in the order of their bytes.
func (tx *Tx) DropBlobs(ctx context.Context, from, to string) error {
	tx.blobs = true
	return tx.Exec(ctx, `DELETE FROM store_blob WHERE name >= ? AND name < ?`, from, to)
}

// BlobFile is a blob opened to be read in parts.
type BlobFile struct {
	Name string
	*os.File
}

// Names are those in [From, To), in the order of their bytes.
type Names struct{ From, To string }

// BlobRef is a blob that can be opened while the picture that it was found in
// stands.
type BlobRef struct{ Name, path string }

// Open opens it to be read in parts. Whoever does checks them himself: the checksum
// of the store is of the whole.
func (b BlobRef) Open() (BlobFile, error) {
	f, err := os.Open(b.path)
	if err != nil {
		return BlobFile{}, fmt.Errorf("open %s: %w", b.Name, err)
	}
	return BlobFile{b.Name, f}, nil
}

// OpenBlobs opens all that FindBlobs finds. The files are the caller's to close,
// also when an error comes with them.
func (s *Store) OpenBlobs(ctx context.Context, a Asker, of ...Names) (files []BlobFile, err error) {
	blobs, err := s.FindBlobs(ctx, a, of...)
	for _, b := range blobs {
		f, err := b.Open()
		if err != nil {
			return files, err
		}
		files = append(files, f)
	}
	return files, err
}

// FindBlobs finds what some names hold in the picture of a, in the order of their
// bytes.
func (s *Store) FindBlobs(ctx context.Context, a Asker, of ...Names) (blobs []BlobRef, err error) {
	where, args := "false", make([]any, 0, 2*len(of))
	for _, n := range of {
		where += " OR name >= ? AND name < ?"
		args = append(args, n.From, n.To)
	}
	rows, err := a.Query(ctx, `SELECT name, file FROM store_blob WHERE `+where+` ORDER BY name`, args...)
	if err != nil {
		return nil, fmt.Errorf("find blobs: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, file string
		if err := rows.Scan(&name, &file); err != nil {
			return nil, fmt.Errorf("find blobs: %w", err)
		}
		blobs = append(blobs, BlobRef{name, filepath.Join(s.dir, "blobs", filepath.Base(file))})
	}
	return blobs, rows.Err()
}

// Blob is what a name holds, nil when there is none.
func (tx *Tx) Blob(ctx context.Context, name string) ([]byte, error) {
	if err := tx.settle(ctx); err != nil {
		return nil, err
	}
	return tx.store.readBlob(ctx, tx, name)
}

// Blob is what a name holds, nil when there is none. A damaged file is an error.
func (s *Store) Blob(ctx context.Context, name string) ([]byte, error) {
	data, err := s.readBlob(ctx, s, name)
	// Replaced between the look into the table and the look into the folder:
	// then the table names another file now. Twice in a row is not chance.
	for again := 0; errors.Is(err, os.ErrNotExist) && again < 3; again++ {
		data, err = s.readBlob(ctx, s, name)
	}
	return data, err
}

func (s *Store) readBlob(ctx context.Context, a Asker, name string) ([]byte, error) {
	var file string
	var size int64
	err := a.QueryRow(ctx, `SELECT file, size FROM store_blob WHERE name = ?`, name).Scan(&file, &size)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", name, err)
	}
	data, err := os.ReadFile(filepath.Join(s.dir, "blobs", filepath.Base(file)))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if sum := xxh3.Hash128(data).Bytes(); int64(len(data)) != size || hex.EncodeToString(sum[:]) != file {
		return nil, fmt.Errorf("the file blobs/%s of %s is damaged (%d bytes, %d expected): restore it from a backup, or delete the data folder and import again", file, name, len(data), size)
	}
	return data, nil
}

func (s *Store) writeBlob(file string, data []byte) (err error) {
	dir := filepath.Join(s.dir, "blobs")
	final := filepath.Join(dir, file)
	if fi, err := os.Stat(final); err == nil && fi.Size() == int64(len(data)) {
		return nil // the same content, written whole before
	}
	f, err := os.CreateTemp(dir, "new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the sweep gets it otherwise
		}
	}()
	_, err = f.Write(data[writeDirect(f, data):])
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), final)
}

// syncNames makes the names of the files in blobs/ last.
func (s *Store) syncNames() error {
	d, err := os.Open(filepath.Join(s.dir, "blobs"))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// pictures are the Views under way, by the order of their beginning. A file that
// is named no more stays until every View that may have it in its picture ended.
type pictures struct {
	mu   sync.Mutex
	last uint64
	open map[uint64]bool
	gone map[string]uint64 // file → last View that began before it went
}

func (p *pictures) begin() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	p.open[p.last] = true
	return p.last
}

func (p *pictures) end(n uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, n)
}

// unseen keeps those of the files named no more that no View can have.
func (p *pictures) unseen(files []string) (free []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	oldest := p.last + 1
	for n := range p.open {
		oldest = min(oldest, n)
	}
	still := map[string]uint64{}
	for _, f := range files {
		until, ok := p.gone[f]
		if !ok {
			until = p.last
		}
		if until < oldest {
			free = append(free, f)
		} else {
			still[f] = until
		}
	}
	p.gone = still
	return free
}

// sweep deletes the files that no committed row names and no View sees. Only the
// writer calls it, between transactions.
func (s *Store) sweep(ctx context.Context) error {
	rows, err := s.db.QueryContext(ctx, `SELECT file FROM store_blob`)
	if err != nil {
		return fmt.Errorf("look for unused state files: %w", err)
	}
	defer rows.Close()
	named := map[string]bool{}
	for rows.Next() {
		var file string
		if err := rows.Scan(&file); err != nil {
			return fmt.Errorf("look for unused state files: %w", err)
		}
		named[file] = true
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look for unused state files: %w", err)
	}
	dir := filepath.Join(s.dir, "blobs")
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("look for unused state files: %w", err)
	}
	var unnamed []string
	for _, f := range files {
		ours := len(f.Name()) == 32 || strings.HasPrefix(f.Name(), "new-")
		if ours && !named[f.Name()] {
			unnamed = append(unnamed, f.Name())
		}
	}
	for _, f := range s.pictures.unseen(unnamed) {
		err = errors.Join(err, os.Remove(filepath.Join(dir, f)))
	}
	return err
}
