package feed

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"

	"sakimori/base/clock"
)

// Folder is a folder into which somebody puts reports.
type Folder struct {
	Path    string
	Options Options // of every file in it; Name and Came are set for each
	// Settle is how long a file must stay as it is before it is taken for complete.
	// 0: whoever writes it renames it into place.
	Settle time.Duration
	Every  time.Duration // how often the folder is looked at
}

// DefaultFolder looks every ten seconds, and waits half a minute for a file to
// settle.
func DefaultFolder() Folder { return Folder{Settle: 30 * time.Second, Every: 10 * time.Second} }

// Totals are what a watch has come to since it began.
type Totals struct {
	Files, Failed, Repeated              uint64 // read; of these unreadable; of a content that was read before
	Rows, Reports, Malformed, Duplicates uint64
	Retries                              uint64 // readings that were broken off, for instance because the sink was away
	Waiting                              int64  // files that aren't complete yet
}

// Watch reads what is put into a folder. A file that was read is moved to done/
// below it, one that can't be read to failed/, under its name with the digest of
// its content before it; beside it stands a .errors that names the lines that
// couldn't be used, if there were any. A content that lies in done/ isn't read
// again. Killed at any moment, the next watch reads the file in hand from its
// beginning, and its reports' IDs tell the sink what it has already.
//
// Names that begin with a dot or end in .part, .tmp, .filepart or .crdownload are
// left alone, and so is everything that isn't a regular file.
type Watch struct {
	Folder
	intake *Intake
	clock  clock.Clock
	log    *slog.Logger

	settling map[string]settling
	done     map[xxh3.Uint128]struct{} // 16 bytes a file

	files, failed, repeated, rows, reports, malformed, duplicates, retries atomic.Uint64
	waiting                                                                atomic.Int64
}

// settling is how a file looked when it was last seen to change.
type settling struct {
	size     int64
	modified time.Time
	since    time.Time
	tries    int // readings that were broken off
}

// NewWatch prepares a watch; nothing is opened.
func NewWatch(f Folder, in *Intake, c clock.Clock, log *slog.Logger) (*Watch, error) {
	if f.Path == "" || f.Every <= 0 || f.Settle < 0 {
		return nil, fmt.Errorf("feed %s: a watched folder needs a path, and an interval above 0", f.Options.Source)
	}
	if err := f.Options.check(); err != nil {
		return nil, err
	}
	return &Watch{Folder: f, intake: in, clock: c, log: log, settling: map[string]settling{}}, nil
}

// Totals are the counts so far. It may be called at any time.
func (w *Watch) Totals() Totals {
	return Totals{
		w.files.Load(), w.failed.Load(), w.repeated.Load(), w.rows.Load(), w.reports.Load(), w.malformed.Load(),
		w.duplicates.Load(), w.retries.Load(), w.waiting.Load(),
	}
}

// Run looks at the folder until ctx ends. It fails when the folder can't be used
// at the start; later errors are logged and tried again.
func (w *Watch) Run(ctx context.Context, ready func()) error {
	if err := w.open(); err != nil {
		return err
	}
	ready()
	tick := time.NewTicker(w.Every)
	defer tick.Stop()
	for {
		if err := w.Scan(ctx); err != nil && ctx.Err() == nil {
			w.log.LogAttrs(ctx, slog.LevelWarn, "feed folder not read, will be tried again", slog.String("feed", w.Options.Source), slog.String("error", err.Error()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// open makes the folders and learns what was read before.
func (w *Watch) open() error {
	for _, d := range []string{"done", "failed"} {
		if err := os.MkdirAll(filepath.Join(w.Path, d), 0o750); err != nil {
			return fmt.Errorf("feed %s: make its folders: %w", w.Options.Source, err)
		}
	}
	done := map[xxh3.Uint128]struct{}{}
	err := each(filepath.Join(w.Path, "done"), func(e fs.DirEntry) {
		if name := e.Name(); len(name) > 33 && name[32] == '-' && !strings.HasSuffix(name, ".errors") {
			if b, err := hex.DecodeString(name[:32]); err == nil {
				done[uint128([16]byte(b))] = struct{}{}
			}
		}
	})
	if err != nil {
		return fmt.Errorf("feed %s: %w", w.Options.Source, err)
	}
	w.done = done
	return nil
}

func uint128(b [16]byte) xxh3.Uint128 {
	var u xxh3.Uint128
	for i := range 8 {
		u.Hi, u.Lo = u.Hi<<8|uint64(b[i]), u.Lo<<8|uint64(b[8+i])
	}
	return u
}

// each goes through a folder without holding all of it.
func each(path string, do func(fs.DirEntry)) error {
	d, err := os.Open(path)
	if err != nil {
		return err //nolint:wrapcheck // it names the path
	}
	defer d.Close()
	for {
		some, err := d.ReadDir(1000)
		for _, e := range some {
			do(e)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err //nolint:wrapcheck // it names the path
		}
	}
}

// mostAtOnce is how many files of a folder are kept an eye on at a time; the others
// wait for the next look.
const mostAtOnce = 10_000

// Scan looks at the folder once, and reads what is complete, in the order of the
// names. A file that the disk doesn't give is passed over, any other error ends it.
// The next Scan tries again, and begins with the files that were tried least often,
// so that one whose reports the sink doesn't want holds up no other for long.
func (w *Watch) Scan(ctx context.Context) error {
	if w.done == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	now := w.clock.Now()
	here := map[string]settling{}
	err := each(w.Path, func(e fs.DirEntry) {
		if len(here) >= mostAtOnce || !e.Type().IsRegular() || unfinished(e.Name()) {
			return
		}
		info, err := e.Info()
		if err != nil {
			return // it went away
		}
		is := settling{info.Size(), info.ModTime(), now, 0}
		if was, ok := w.settling[e.Name()]; ok && was.size == is.size && was.modified.Equal(is.modified) {
			is = was
		}
		here[e.Name()] = is
	})
	if err != nil {
		return fmt.Errorf("feed %s: %w", w.Options.Source, err)
	}
	w.settling = here
	var names []string
	for name, s := range here {
		if now.Sub(s.since) >= w.Settle {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(here[a].tries, here[b].tries), cmp.Compare(a, b)) })
	w.waiting.Store(int64(len(here) - len(names)))
	var missed error
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := w.take(ctx, name, here[name])
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		w.retries.Add(1)
		again := here[name]
		again.tries++
		here[name] = again
		if disk := (*fs.PathError)(nil); !errors.As(err, &disk) {
			return err
		}
		missed = err
	}
	return missed
}

func unfinished(name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".errors") {
		return true
	}
	switch filepath.Ext(name) {
	case ".part", ".tmp", ".filepart", ".crdownload":
		return true
	}
	return false
}

// take reads one file and puts it away.
func (w *Watch) take(ctx context.Context, name string, was settling) error {
	path := filepath.Join(w.Path, name)
	digest, err := w.digest(path, name)
	if err != nil {
		return fmt.Errorf("feed %s: %w", w.Options.Source, err)
	}
	if _, ok := w.done[digest]; ok {
		w.repeated.Add(1)
		return w.away("done", name, digest)
	}
	o := w.Options
	o.Name = name
	st, err := w.intake.File(ctx, path, o)
	bad := (*Unreadable)(nil)
	if err != nil && !errors.As(err, &bad) {
		return err
	}
	// Somebody went on writing: what was read counts, and it is read again whole.
	if info, err := os.Lstat(path); err != nil || info.Size() != was.size || !info.ModTime().Equal(was.modified) {
		delete(w.settling, name)
		return nil //nolint:nilerr // it went away or isn't complete
	}
	where := "done"
	if bad != nil {
		where = "failed"
		w.failed.Add(1)
	}
	if bad != nil || st.Malformed > 0 {
		if err := w.errors(where, name, digest, &st, bad); err != nil {
			return err
		}
	}
	if err := w.away(where, name, digest); err != nil {
		return err
	}
	if bad == nil {
		w.done[digest] = struct{}{}
	}
	w.files.Add(1)
	w.rows.Add(st.Rows)
	w.reports.Add(st.Reports)
	w.malformed.Add(st.Malformed)
	w.duplicates.Add(st.Duplicates)
	w.log.LogAttrs(ctx, slog.LevelInfo, "feed file read", slog.String("feed", o.Source), slog.String("file", name), slog.String("to", where),
		slog.Uint64("rows", st.Rows), slog.Uint64("reports", st.Reports), slog.Uint64("malformed", st.Malformed), slog.Uint64("duplicates", st.Duplicates))
	return nil
}

// digest is that of a file's content and of what its name says of it: two empty
// reports of different types aren't the same.
func (w *Watch) digest(path, name string) (xxh3.Uint128, error) {
	f, err := os.Open(path)
	if err != nil {
		return xxh3.Uint128{}, err //nolint:wrapcheck // it names the path
	}
	defer f.Close()
	h := xxh3.New()
	if w.Options.Format == Shadowserver && w.Options.Type == "" {
		_, _ = h.WriteString(typeOf(name)) // never fails
	}
	_, _ = h.Write([]byte{0})
	if _, err := io.Copy(h, f); err != nil {
		return xxh3.Uint128{}, fmt.Errorf("digest of %s: %w", name, err)
	}
	return h.Sum128(), nil
}

// stored is the name under which a file is put away.
func stored(name string, digest xxh3.Uint128) string {
	b := digest.Bytes()
	if len(name) > 200 { // a name has 255 bytes at most
		name = name[len(name)-200:]
	}
	return hex.EncodeToString(b[:]) + "-" + name
}

func (w *Watch) away(where, name string, digest xxh3.Uint128) error {
	if err := os.Rename(filepath.Join(w.Path, name), filepath.Join(w.Path, where, stored(name, digest))); err != nil {
		return fmt.Errorf("feed %s: put a file away: %w", w.Options.Source, err)
	}
	return nil
}

// errors writes what couldn't be used beside where the file will be.
func (w *Watch) errors(where, name string, digest xxh3.Uint128, st *Stats, bad *Unreadable) error {
	var text strings.Builder
	if err := st.Write(&text, bad); err != nil {
		return err
	}
	path := filepath.Join(w.Path, where, stored(name, digest)+".errors")
	if err := os.WriteFile(path, []byte(text.String()), 0o640); err != nil { //nolint:gosec // the desk's group reads it
		return fmt.Errorf("feed %s: write what couldn't be read: %w", w.Options.Source, err)
	}
	return nil
}
