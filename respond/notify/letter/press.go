package letter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"sakimori/respond/notify"
)

// manifest is what is written last into a batch. Whoever prints goes by it: a batch
// without one isn't finished, and a file that isn't in it isn't to be printed.
type manifest struct {
	Batch   string    `json:"batch"`
	Closed  time.Time `json:"closed"`
	Letters []entry   `json:"letters"`
}

type entry struct {
	Notice    string `json:"notice"`
	Reference string `json:"reference"`
	File      string `json:"file"`
	SHA256    string `json:"sha256"`
}

const manifestName = "manifest.json"

var safe = regexp.MustCompile(`^[0-9a-z-]{1,64}$`)

// folder is where a batch stands.
func (p *Press) folder(batch string) (string, error) {
	if p.cfg.Dir == "" {
		return "", errors.New("letter: no folder for batches is configured")
	}
	if !safe.MatchString(batch) {
		return "", fmt.Errorf("letter: %q is no batch", batch)
	}
	return filepath.Join(p.cfg.Dir, batch), nil
}

// file is the name of a letter: the printer's people see a number and no name.
func file(n *notify.Notice) string { return n.Reference + ".pdf" }

// Put writes a letter, for its owner's eyes only. It is there whole or not at all.
func (p *Press) Put(_ context.Context, batch string, n *notify.Notice, s notify.Sheet) error {
	dir, err := p.folder(batch)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("letter: %w", err)
	}
	if !safe.MatchString(n.Reference) {
		return fmt.Errorf("letter: %q is no reference", n.Reference)
	}
	return whole(dir, file(n), s.Content)
}

// whole writes a file under another name, makes it last, and renames it.
func whole(dir, name string, content []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("letter: %w", err)
		}
	}()
	f, err := os.CreateTemp(dir, ".part-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Close writes the manifest and removes what isn't in it: parts of files, and letters
// that were taken out after a crash.
func (p *Press) Close(_ context.Context, batch string, at time.Time, notices []notify.Notice) error {
	dir, err := p.folder(batch)
	if err != nil {
		return err
	}
	m := manifest{Batch: batch, Closed: at.UTC(), Letters: []entry{}}
	in := map[string]bool{}
	for i := range notices {
		raw, err := os.ReadFile(filepath.Join(dir, file(&notices[i])))
		if err != nil {
			return fmt.Errorf("letter: close the batch %s: %w", batch, err)
		}
		sum := sha256.Sum256(raw)
		m.Letters = append(m.Letters, entry{notices[i].ID, notices[i].Reference, file(&notices[i]), hex.EncodeToString(sum[:])})
		in[file(&notices[i])] = true
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("letter: close the batch %s: %w", batch, err)
	}
	for _, e := range there {
		if !in[e.Name()] && e.Name() != manifestName {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("letter: close the batch %s: %w", batch, err)
			}
		}
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	if err := whole(dir, manifestName, append(raw, '\n')); err != nil {
		return err
	}
	return syncDir(p.cfg.Dir)
}

// Closed reads the manifest of a batch, if there is one.
func (p *Press) Closed(batch string) (ids []string, closed bool, err error) {
	dir, err := p.folder(batch)
	if err != nil {
		return nil, false, err
	}
	raw, err := os.ReadFile(filepath.Join(dir, manifestName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	var m manifest
	if err == nil {
		err = json.Unmarshal(raw, &m)
	}
	if err != nil {
		return nil, false, fmt.Errorf("letter: the manifest of batch %s: %w", batch, err)
	}
	for _, e := range m.Letters {
		ids = append(ids, e.Notice)
	}
	return ids, true, nil
}
