package blocklist

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/lawful"
)

const (
	longest = 24 * time.Hour // that a file lasts: a list that nobody renews runs out
	kept    = 30             // files of each form
)

// Book makes files, and keeps the last ones in a folder: each with its signature beside
// it. It may be used by many goroutines, and by one process.
type Book struct {
	dir       string
	key       ed25519.PrivateKey
	clock     clock.Clock
	protected Protected
	recorder  Recorder
	mu        sync.Mutex
}

// Open takes a folder, which is made if it isn't there.
func Open(dir string, key ed25519.PrivateKey, c clock.Clock, p Protected, r Recorder) (*Book, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, errors.New("blocklist: there is no key to sign with")
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("blocklist: %w", err)
	}
	return &Book{dir: dir, key: key, clock: c, protected: p, recorder: r}, nil
}

// Make writes a new file of what is in force, as far as the ground reaches and the form
// carries. It is written down, by who wants it, before anybody can have it. The same
// entries at the same time give the same bytes.
func (b *Book) Make(ctx context.Context, f Form, g Ground, who string, entries iter.Seq2[Entry, error]) (x Export, err error) {
	spec, is := forms[f]
	if !is {
		return x, fmt.Errorf("%w (not %.20q)", ErrForm, f)
	}
	now := b.clock.Now().UTC().Truncate(time.Second)
	stands, err := g.at(now)
	if err != nil {
		return x, err
	}
	x = Export{Form: f, Made: now, Expires: now.Add(longest), Basis: stands.basis()}
	if u := g.Grant.Until().UTC().Truncate(time.Second); u.Before(x.Expires) {
		x.Expires = u
	}
	items, err := b.gather(ctx, &x, spec, &stands, entries)
	if err != nil {
		return x, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	last, err := b.last(f)
	if err != nil {
		return x, err
	}
	x.Version = last + 1
	x.File = fmt.Sprintf("sakimori-cnc-%s-%d.%s", f, x.Version, spec.ext)
	if err := b.write(ctx, &x, spec, items, who); err != nil {
		return x, err
	}
	return x, b.prune(f, x.Version)
}

// gather takes the entries that go into the file, in its order, each once.
func (b *Book) gather(ctx context.Context, x *Export, spec form, g *ground, entries iter.Seq2[Entry, error]) (list []item, err error) {
	seen := 0
	for e, err := range entries {
		if err != nil {
			return nil, fmt.Errorf("blocklist: read the list: %w", err)
		}
		if seen++; seen > Most {
			return nil, fmt.Errorf("%w (%d)", ErrMany, Most)
		}
		if seen%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		it, ok := read(e)
		switch {
		case !ok:
			x.Omitted.Malformed++
			continue
		case !e.Until.After(x.Made):
			x.Omitted.Ended++
			continue
		case barred(&it, b.protected):
			x.Omitted.Protected++
			continue
		}
		if it.reach = g.of(&it); it.reach == 0 {
			x.Omitted.Ground++
			continue
		}
		if !spec.carries(&it) {
			x.Omitted.Form++
			continue
		}
		if it.Until = it.Until.UTC().Truncate(time.Second); it.Until.After(x.Expires) {
			it.Until = x.Expires
		}
		it.Family = family(it.Family)
		list = append(list, it)
	}
	if len(list) == 0 && x.Omitted.Ground > 0 {
		return nil, fmt.Errorf("%w (%d entries)", ErrGround, x.Omitted.Ground)
	}
	slices.SortFunc(list, func(a, b item) int { return a.compare(&b) })
	n := len(list)
	list = slices.CompactFunc(list, func(a, b item) bool { return a.same(&b) })
	if spec.fold != nil {
		list = spec.fold(list)
	}
	x.Omitted.Covered, x.Entries = n-len(list), len(list)
	if spec.most > 0 && len(list) > spec.most {
		return nil, fmt.Errorf("%w: %s takes %d, and there are %d", ErrMany, x.Form, spec.most, len(list))
	}
	return list, nil
}

// write puts the file and its signature into the folder: the signature last, and neither
// before it was written down that they leave.
func (b *Book) write(ctx context.Context, x *Export, spec form, items []item, who string) error {
	tmp, err := os.CreateTemp(b.dir, ".made-*")
	if err != nil {
		return fmt.Errorf("blocklist: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // it was moved, or isn't wanted
	h := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(tmp, h), 1<<16)
	err = spec.write(w, x, items)
	if err = errors.Join(err, w.Flush(), tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("blocklist: write %s: %w", x.File, err)
	}
	x.SHA256 = hex.EncodeToString(h.Sum(nil))
	if err := x.sign(b.key); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return err
	}
	if err := b.recorder.Record(ctx, *x, who); err != nil {
		return fmt.Errorf("blocklist: it couldn't be written down that %s leaves, so it doesn't: %w", x.File, err)
	}
	sig := tmp.Name() + ".sig"
	if err := os.WriteFile(sig, append(raw, '\n'), 0o640); err != nil { //nolint:gosec // the group fetches it
		return fmt.Errorf("blocklist: %w", err)
	}
	path := filepath.Join(b.dir, x.File)
	if err := errors.Join(os.Chmod(tmp.Name(), 0o640), os.Rename(tmp.Name(), path)); err != nil { //nolint:gosec // the group fetches it
		return fmt.Errorf("blocklist: %w", err)
	}
	return os.Rename(sig, path+".sig")
}

// Signature is the detached signature of a version, as it stands beside the file.
func (b *Book) Signature(f Form, version uint64) ([]byte, Export, error) {
	var x Export
	spec, is := forms[f]
	if !is {
		return nil, x, fmt.Errorf("%w (not %.20q)", ErrForm, f)
	}
	raw, err := os.ReadFile(filepath.Join(b.dir, fmt.Sprintf("sakimori-cnc-%s-%d.%s.sig", f, version, spec.ext)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, x, fmt.Errorf("%w: %s %d", ErrVersion, f, version)
	}
	if err == nil {
		err = json.Unmarshal(raw, &x)
	}
	return raw, x, err
}

// Get gives a file that was made, once more, on the ground that it stands on: neither past
// its end nor when the grant has ended. That it leaves is written down.
func (b *Book) Get(ctx context.Context, f Form, version uint64, g Ground, who string) (io.ReadCloser, Export, error) {
	_, x, err := b.Signature(f, version)
	if err != nil {
		return nil, x, err
	}
	now := b.clock.Now()
	if !now.Before(x.Expires) {
		return nil, x, fmt.Errorf("%w: %s", ErrExpired, x.File)
	}
	if _, err := g.at(now); err != nil || g.Grant.ID() != x.Basis.Grant {
		return nil, x, fmt.Errorf("%s stands on grant %s: %w", x.File, x.Basis.Grant, errors.Join(lawful.ErrRefused, err))
	}
	file, err := os.Open(filepath.Join(b.dir, x.File))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, x, fmt.Errorf("%w: %s", ErrVersion, x.File)
	}
	if err != nil {
		return nil, x, fmt.Errorf("blocklist: %w", err)
	}
	if err := b.recorder.Record(ctx, x, who); err != nil {
		return nil, x, errors.Join(fmt.Errorf("blocklist: it couldn't be written down that %s leaves, so it doesn't: %w", x.File, err), file.Close())
	}
	return file, x, nil
}

// List is the newest file of each form of which there is one, in the forms' order.
func (b *Book) List() (list []Export, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range Forms() {
		versions, err := b.versions(f)
		if err != nil {
			return nil, err
		}
		for _, v := range slices.Backward(versions) {
			_, x, err := b.Signature(f, v)
			if errors.Is(err, ErrVersion) {
				continue // a crash came between the file and its signature: nobody has it
			}
			if err != nil {
				return nil, err
			}
			list = append(list, x)
			break
		}
	}
	return list, nil
}

// versions are those of which there is a file or a signature, ascending.
func (b *Book) versions(f Form) (list []uint64, err error) {
	all, err := os.ReadDir(b.dir)
	if err != nil {
		return nil, fmt.Errorf("blocklist: %w", err)
	}
	for _, e := range all {
		rest, ours := strings.CutPrefix(e.Name(), fmt.Sprintf("sakimori-cnc-%s-", f))
		number, _, dotted := strings.Cut(rest, ".")
		if v, err := strconv.ParseUint(number, 10, 63); ours && dotted && err == nil {
			list = append(list, v)
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

func (b *Book) last(f Form) (uint64, error) {
	list, err := b.versions(f)
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return list[len(list)-1], nil
}

// prune forgets old files. The newest stays, so that versions always grow.
func (b *Book) prune(f Form, newest uint64) error {
	list, err := b.versions(f)
	if err != nil {
		return err
	}
	for _, v := range list {
		if v+kept > newest {
			continue
		}
		name := filepath.Join(b.dir, fmt.Sprintf("sakimori-cnc-%s-%d.%s", f, v, forms[f].ext))
		for _, path := range []string{name, name + ".sig"} {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("blocklist: %w", err)
			}
		}
	}
	return nil
}

// basis writes down what the file stands on.
func (g *ground) basis() Basis {
	b := Basis{
		Measure: lawful.Block, Grant: g.Grant.ID(), Rule: g.Grant.Rule(), Title: g.Rule.Title, Source: g.Rule.Source, Until: g.Grant.Until().UTC().Truncate(time.Second), Lines: len(g.Subjects),
	}
	switch {
	case g.terms:
		b.Words = lawful.Text{
			JA: "約款による包括同意が及ぶのは、リゾルバへの名前解決要求の名前だけです。通信中のアドレス・名前・URLの照合には使えません。撤回した契約者は対象から外してください。",
			EN: "A comprehensive consent by terms reaches the names that a resolver is asked for, and nothing else: it is no ground to match addresses, names or URLs in traffic. Leave out who opted out.",
		}
	case g.alone:
		b.Words = lawful.Text{JA: "個別に同意した契約者の回線だけで使えます。", EN: "For the lines of those who consented individually alone."}
	case g.each:
		b.Words = lawful.Text{JA: "許可に挙げられた契約者の回線だけで使えます。URLのパスの照合には個別の同意が要ります。", EN: "For the lines of those whom the grant names alone. Matching the path of a URL takes individual consents."}
	default:
		b.Words = lawful.Text{JA: "許可に挙げられたアドレスだけを、許可の期間だけ遮断できます。URLのパスの照合には個別の同意が要ります。", EN: "For the addresses that the grant names alone, and as long as it lasts. Matching the path of a URL takes individual consents."}
	}
	return b
}
