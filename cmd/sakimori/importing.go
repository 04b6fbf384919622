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

// run imports files, in the order of time, and sums them up in one document. A file
// that can't be read to its end doesn't stop the others; the error is in the
// document.
func (im *importer) run(ctx context.Context, files []capture) (report, error) {
	if im.keeper != nil {
		if err := im.keeper.addOwn(im.cfg.Own); err != nil {
			return report{}, err
		}
	}
	in := &merged{kept: im.keeper != nil, now: im.now}
	in.tell = func() { im.progress(in) }
	defer in.Close()
	var again []telescope.Duplicate
	for i := range files {
		f := &files[i]
		dup, err := im.duplicate(ctx, f, files)
		switch {
		case err != nil:
			return report{}, err
		case dup != nil:
			again = append(again, *dup)
		default:
			at := im.now().Add(time.Duration(len(in.files)) * time.Millisecond) // files of one name are told apart by it
			in.files = append(in.files, &source{capture: f, imp: &record.Import{ID: f.id(at), Name: f.name, Digest: f.digest, Size: f.size, Config: im.rules, Started: at}})
		}
	}
	if len(in.files) == 0 {
		doc, err := telescope.Empty(im.cfg)
		doc.DuplicateOf = again
		return report{Document: doc}, err
	}
	in.files[0].alone = len(in.files) == 1
	w, err := im.begin(ctx, in)
	if err != nil {
		return report{}, err
	}
	defer w.tel.Close()
	if err := im.read(ctx, w, in); err != nil {
		return report{}, err
	}
	doc, err := im.end(ctx, w, in)
	if err != nil {
		return doc, err
	}
	doc.DuplicateOf = append(again, doc.DuplicateOf...)
	for _, s := range in.files {
		if s.fault != nil {
			doc.Errors = append(doc.Errors, telescope.FileError{File: s.name, Message: s.fault.Error()})
		}
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

// begin makes the watch: that of the same files, when their import was interrupted;
// that of the imports before, when these files follow them in time; else a new one.
func (im *importer) begin(ctx context.Context, in *merged) (*watch, error) {
	var kept *record.Record
	if im.keeper != nil {
		kept = im.keeper.record
	}
	f := in.files[0]
	for _, s := range in.files { // of broken ones nobody knows when they begin
		if f = s; !s.first.IsZero() {
			break
		}
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
	if part, ok, err := im.goOn(ctx, in); err != nil {
		return nil, err
	} else if ok {
		w, err := fresh(part)
		if err != nil {
			return nil, err
		}
		if ok, err = im.keeper.restore(ctx, w); err == nil && !ok {
			err = errors.New("the state of an interrupted import is missing in the data folder: import into another one")
		}
		if err != nil {
			w.tel.Close()
			return nil, err
		}
		return w, nil
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

// goOn finds where an interrupted import of these files goes on, in each of them,
// and the part that has its state.
func (im *importer) goOn(ctx context.Context, in *merged) (part uint64, ok bool, err error) {
	var first *source
	for _, s := range in.files {
		old, err := im.unfinished(ctx, s.capture)
		if err != nil {
			return 0, false, err
		}
		if old == nil {
			continue
		}
		if first == nil {
			first, part = s, old.Part
		}
		if old.Part != part {
			return 0, false, fmt.Errorf("the imports of %s and %s were interrupted apart from each other: finish each by itself first", first.name, s.name)
		}
		s.imp = old
	}
	return part, first != nil, nil
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

// read feeds the files to the watch, with a checkpoint now and then.
func (im *importer) read(ctx context.Context, w *watch, in *merged) error {
	saved := im.now()
	told := saved
	for {
		if err := ctx.Err(); err != nil {
			return im.stop(context.WithoutCancel(ctx), w, in)
		}
		b := w.tel.Block()
		err := in.ReadBlock(&b.Block)
		w.tel.Ingest(b)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		now := im.now()
		if now.Sub(told) > 100*time.Millisecond {
			im.progress(in)
			told = now
		}
		if im.keeper != nil && !in.files[0].stdin && (now.Sub(saved) > im.every || w.waiting() > waitAtMost) {
			if err := im.save(ctx, w, in); err != nil {
				return err
			}
			saved = im.now()
		}
	}
}

func (im *importer) progress(in *merged) {
	if im.tell != nil && len(in.open) > 0 {
		im.tell(in.progress())
	}
}

// stop makes a last checkpoint of an import that is interrupted. Standard input
// can't be read again: of it nothing was written, and nothing is.
func (im *importer) stop(ctx context.Context, w *watch, in *merged) error {
	if im.keeper == nil || in.files[0].stdin {
		return errors.New("stopped: nothing was kept")
	}
	if err := im.save(ctx, w, in); err != nil {
		return err
	}
	return errStopped
}

// save makes a checkpoint, with the place in each file. By their digests they are
// found again.
func (im *importer) save(ctx context.Context, w *watch, in *merged) error {
	var list []*record.Import
	for _, s := range in.files {
		if !s.fresh {
			continue
		}
		if err := im.know(s.capture); err != nil {
			return err
		}
		s.imp.Digest, s.imp.Size, s.imp.Part = s.digest, s.size, w.part
		list = append(list, s.imp)
	}
	if err := im.keeper.save(ctx, w, list, time.Time{}); err != nil {
		return err
	}
	for _, s := range in.files {
		s.fresh = false
	}
	return nil
}

// end closes the open minutes and writes the document. All files are done with it.
func (im *importer) end(ctx context.Context, w *watch, in *merged) (report, error) {
	if im.keeper == nil {
		w.finish()
		return w.document(), nil
	}
	var doc report
	w.tel.Settle() // of what is told as stray now, nothing is believed later
	snap, err := w.snapshot()
	if err != nil {
		return doc, err
	}
	if s := in.files[0]; s.stdin {
		if dup, err := im.keeper.record.Imported(ctx, s.imp.Digest); err != nil {
			return doc, err
		} else if dup != nil {
			doc.Document, err = telescope.Empty(im.cfg)
			doc.DuplicateOf = []telescope.Duplicate{{File: s.name, Import: dup.ID, Name: dup.Name, Imported: dup.Finished, Digest: hex.EncodeToString(s.digest[:])}}
			return doc, err
		}
	}
	at := im.now()
	finish := func() {
		w.finish()
		w.provisional()
	}
	if err := im.keeper.write(ctx, w, snap, time.Time{}, finish, func() ([]*record.Import, error) {
		doc = w.document()
		brief := doc.Document // the whole lists of scanners and ports are in the store's events and counts
		brief.Ports = brief.Ports[:min(keptRows, len(brief.Ports))]
		text, err := json.Marshal(brief)
		var list []*record.Import
		for _, s := range in.files {
			s.imp.Part, s.imp.Done, s.imp.Finished = w.part, true, at
			list = append(list, s.imp)
		}
		list[len(list)-1].Result = text // it is of all of them
		return list, err
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
