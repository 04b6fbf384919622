package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/zeebo/xxh3"

	"sakimori/base/wire/pcap"
	"sakimori/detect"
	"sakimori/observe/telescope"
	"sakimori/observe/telescope/record"
)

// importer counts captures. With a keeper they go to the store, each content
// once, and an interrupted one goes on where its last checkpoint was; without
// one the document is all that remains.
type importer struct {
	cfg    telescope.Config
	rules  [16]byte // digest of the configuration
	keeper *keeper  // nil: nothing is kept
	tell   func(progress)
	now    func() time.Time
	every  time.Duration // between checkpoints

	found    func(detect.Finding) // hears of findings at once; may be nil
	watching func(*watch)         // hears which watch runs; may be nil
}

// progress is how far an import is.
type progress struct {
	File    string
	Step    string // "digest" or "import"
	Done    int64  // bytes of the file
	Total   int64  // 0 unknown
	Packets uint64
}

// errStopped is what an import that was interrupted returns: it can go on.
var errStopped = errors.New("stopped: the same command goes on from here")

// waitAtMost is how much memory counts may take that wait for a checkpoint.
const waitAtMost = 100 << 20

// run imports files that follow one another in time, and sums them up in one
// document. A file that can't be read to its end doesn't stop the others; the
// error is in the document.
func (im *importer) run(ctx context.Context, files []capture) (report, error) {
	var w *watch
	if im.keeper != nil {
		if err := im.keeper.addOwn(im.cfg.Own); err != nil {
			return report{}, err
		}
	}
	defer func() {
		if w != nil {
			w.tel.Close()
		}
	}()
	var again []telescope.Duplicate
	var faults []telescope.FileError
	var last *record.Import
	for i := range files {
		f := &files[i]
		if dup, err := im.duplicate(ctx, f, files); err != nil {
			return report{}, err
		} else if dup != nil {
			again = append(again, *dup)
			continue
		}
		imp := &record.Import{ID: f.id(im.now()), Name: f.name, Digest: f.digest, Size: f.size, Config: im.rules, Started: im.now()}
		if w == nil {
			var err error
			if w, err = im.begin(ctx, f, imp); err != nil {
				return report{}, err
			}
		}
		imp.Part = w.part
		err := im.read(ctx, w, f, imp)
		var bad *pcap.Error
		switch {
		case errors.As(err, &bad):
			faults = append(faults, telescope.FileError{File: f.name, Message: err.Error()})
		case err != nil:
			return report{}, err
		}
		if last != nil && im.keeper != nil {
			if err := im.mark(ctx, w, last); err != nil {
				return report{}, err
			}
		}
		last = imp
	}
	doc, err := im.end(ctx, w, last)
	if err != nil {
		return doc, err
	}
	doc.DuplicateOf = append(again, doc.DuplicateOf...)
	if faults != nil {
		doc.Errors = faults
	}
	return doc, nil
}

// duplicate tells whether the content was counted before, in the store or by an
// earlier file of the same command. Most files need not be read for that: no other
// one has their size.
func (im *importer) duplicate(ctx context.Context, f *capture, all []capture) (*telescope.Duplicate, error) {
	if f.stdin || im.keeper == nil {
		return nil, nil //nolint:nilnil // known only at its end; or nothing is known of others
	}
	may, err := im.keeper.record.Known(ctx, f.size)
	if err != nil {
		return nil, err
	}
	for i := range all {
		o := &all[i]
		if o == f {
			break
		}
		if o.size != f.size && o.size != 0 && f.size != 0 {
			continue
		}
		may = true
		for _, c := range []*capture{o, f} {
			if err := im.know(c); err != nil {
				return nil, err
			}
		}
		if o.digest == f.digest && o.size == f.size {
			return &telescope.Duplicate{File: f.name, Name: o.name, Digest: hex.EncodeToString(f.digest[:]), Imported: im.now()}, nil
		}
	}
	if !may {
		return nil, nil //nolint:nilnil // nothing is as large
	}
	if err := im.know(f); err != nil {
		return nil, err
	}
	old, err := im.keeper.record.Imported(ctx, f.digest)
	if err != nil || old == nil {
		return nil, err
	}
	return &telescope.Duplicate{File: f.name, Import: old.ID, Name: old.Name, Imported: old.Finished, Digest: hex.EncodeToString(f.digest[:])}, nil
}

// know reads a file for its digest, unless that is known.
func (im *importer) know(f *capture) error {
	if f.known() {
		return nil
	}
	return f.know(im.tell)
}

// begin makes the watch for a first file: that of the same import, when it was
// interrupted; that of the imports before, when the file follows them in time;
// else a new one.
func (im *importer) begin(ctx context.Context, f *capture, imp *record.Import) (*watch, error) {
	var kept *record.Record
	if im.keeper != nil {
		kept = im.keeper.record
	}
	fresh := func(part uint64) (*watch, error) {
		w, err := newWatch(im.cfg, part, f.name, kept, im.found)
		if err == nil && im.watching != nil {
			im.watching(w)
		}
		return w, err
	}
	if im.keeper == nil {
		return fresh(0)
	}
	if old, err := im.unfinished(ctx, f); err != nil {
		return nil, err
	} else if old != nil {
		w, err := fresh(old.Part)
		if err != nil {
			return nil, err
		}
		ok, err := im.keeper.restore(ctx, w)
		if err != nil {
			return nil, err
		}
		if ok {
			*imp = *old
			return w, nil
		}
		w.tel.Close()
	}
	before, err := im.keeper.record.Imports(ctx, 1)
	if err != nil {
		return nil, err
	}
	if len(before) == 1 && before[0].Done && before[0].Config == im.rules {
		w, err := fresh(before[0].Part)
		if err != nil {
			return nil, err
		}
		ok, err := im.keeper.restore(ctx, w)
		if err != nil {
			return nil, err
		}
		if _, last, seen := w.tel.Span(); ok && seen && !f.first.Before(last.Add(-time.Minute)) {
			w.tel.Begin()
			return w, nil
		}
		w.tel.Close()
	}
	return fresh(newPart(f.digest, im.now()))
}

func (im *importer) unfinished(ctx context.Context, f *capture) (*record.Import, error) {
	if !f.known() {
		return nil, nil //nolint:nilnil // standard input, which can't be read again; or nothing is as large
	}
	list, err := im.keeper.record.Unfinished(ctx)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Digest == f.digest && list[i].Config == im.rules && list[i].Frames > 0 {
			return &list[i], nil
		}
	}
	return nil, nil //nolint:nilnil // none
}

// read feeds one file to the watch, with a checkpoint now and then.
func (im *importer) read(ctx context.Context, w *watch, f *capture, imp *record.Import) error {
	r, err := f.open(im.keeper != nil)
	if err != nil {
		return err
	}
	defer r.Close()
	r.Skip(imp.Frames)
	saved := im.now()
	told := saved
	for {
		if err := ctx.Err(); err != nil {
			return im.stop(context.WithoutCancel(ctx), w, imp, f)
		}
		b := w.tel.Block()
		err := r.ReadBlock(&b.Block)
		n := uint64(len(b.Frames))
		w.tel.Ingest(b)
		imp.Frames += n
		if err != nil {
			im.progress(f, r, imp)
			if im.keeper != nil {
				if err := f.sum(r); err != nil {
					return err
				}
				imp.Digest, imp.Size = f.digest, f.size
			}
			if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				return nil
			}
			return fmt.Errorf("%s: %w", f.name, err)
		}
		now := im.now()
		if now.Sub(told) > 100*time.Millisecond {
			im.progress(f, r, imp)
			told = now
		}
		if im.keeper != nil && !f.stdin && (now.Sub(saved) > im.every || w.waiting() > waitAtMost) {
			if err := im.save(ctx, w, imp, f); err != nil {
				return err
			}
			saved = im.now()
		}
	}
}

func (im *importer) progress(f *capture, r *pcap.Reader, imp *record.Import) {
	if im.tell != nil {
		im.tell(progress{File: f.name, Step: "import", Done: r.Consumed(), Total: f.size0, Packets: imp.Frames})
	}
}

// stop makes a last checkpoint of an import that is interrupted. Standard input
// can't be read again: of it nothing was written, and nothing is.
func (im *importer) stop(ctx context.Context, w *watch, imp *record.Import, f *capture) error {
	if im.keeper == nil || f.stdin {
		return errors.New("stopped: nothing was kept")
	}
	if err := im.save(ctx, w, imp, f); err != nil {
		return err
	}
	return errStopped
}

// save makes a checkpoint of an import, by whose digest it is found again.
func (im *importer) save(ctx context.Context, w *watch, imp *record.Import, f *capture) error {
	if err := im.know(f); err != nil {
		return err
	}
	imp.Digest, imp.Size = f.digest, f.size
	return im.keeper.save(ctx, w, imp, time.Time{})
}

// mark writes that an import is done of which the state and the counts come
// with the next one of the same command.
func (im *importer) mark(ctx context.Context, w *watch, imp *record.Import) error {
	imp.Done, imp.Finished = true, im.now()
	return im.keeper.save(ctx, w, imp, time.Time{})
}

// end closes the open minutes and writes the document.
func (im *importer) end(ctx context.Context, w *watch, imp *record.Import) (report, error) {
	if w == nil { // all were duplicates
		doc, err := telescope.Empty(im.cfg)
		return report{Document: doc}, err
	}
	if im.keeper == nil {
		w.finish()
		return w.document(), nil
	}
	var doc report
	snap, err := w.snapshot()
	if err != nil {
		return doc, err
	}
	if dup, err := im.keeper.record.Imported(ctx, imp.Digest); err != nil {
		return doc, err
	} else if dup != nil { // standard input, known before
		doc.Document, err = telescope.Empty(im.cfg)
		doc.DuplicateOf = []telescope.Duplicate{{File: imp.Name, Import: dup.ID, Name: dup.Name, Imported: dup.Finished, Digest: hex.EncodeToString(imp.Digest[:])}}
		return doc, err
	}
	finish := func() {
		w.finish()
		w.provisional()
	}
	if err := im.keeper.write(ctx, w, snap, time.Time{}, finish, func() (*record.Import, error) {
		doc = w.document()
		brief := doc.Document // the whole lists of scanners and ports are in the store's events and counts
		brief.Ports = brief.Ports[:min(keptRows, len(brief.Ports))]
		text, err := json.Marshal(brief)
		imp.Done, imp.Finished, imp.Result = true, im.now(), text
		return imp, err
	}); err != nil {
		return doc, err
	}
	return doc, im.keeper.arrange(ctx, w)
}

// keptRows is how many scanners, and ports, the stored document of an import lists.
const keptRows = 1000

// report is what an import says: a document that lists the busiest scanners, and
// the list of all.
type report struct {
	telescope.Document
	all telescope.Roll
}

// rulesDigest names a configuration: imports with another one aren't joined.
func rulesDigest(cfg telescope.Config) [16]byte {
	s := fmt.Sprint(cfg.Dark, cfg.Own, cfg.Tunnels, cfg.MinRate, cfg.Slow)
	return xxh3.HashString128(s).Bytes()
}

// id names an import.
func (c *capture) id(now time.Time) string {
	return now.UTC().Format("20060102T150405.000") + "-" + filepath.Base(c.name)
}
