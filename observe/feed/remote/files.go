package remote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"sakimori/observe/feed/indicator"
	"sakimori/observe/feed/reading"
)

// uuidForm is what a name of an event must look like: it becomes part of a URL.
var uuidForm = regexp.MustCompile(`^[0-9a-fA-F-]{36}$`)

// mostEvents are read at a time: what is many is read in parts, each kept.
const mostEvents = 200

// misp reads the events of a feed that are new or have changed.
func (s *puller) misp(ctx context.Context, m *memory) (came bool, err error) {
	base := strings.TrimSuffix(strings.TrimSuffix(s.URL, "manifest.json"), "/") + "/"
	f, err := s.get(ctx, base+"manifest.json", "manifest.json")
	if err != nil {
		return false, err
	}
	b, err := os.ReadFile(f.path)
	if err = errors.Join(err, os.Remove(f.path)); err != nil {
		return false, fmt.Errorf("read the manifest: %w", err)
	}
	var manifest map[string]struct {
		Timestamp any `json:"timestamp"` // a number, or one in quotes
	}
	if err := json.Unmarshal(b, &manifest); err != nil {
		return false, reading.Damaged(err, "MISP の manifest.json を読めません", "manifest.json isn't one of MISP's")
	}
	if m.Events == nil {
		m.Events = map[string]string{}
	}
	var todo []string
	for uuid, e := range manifest {
		if uuidForm.MatchString(uuid) && m.Events[uuid] != fmt.Sprint(e.Timestamp) {
			todo = append(todo, uuid)
		}
	}
	slices.Sort(todo)
	for part := range slices.Chunk(todo, mostEvents) {
		if err := s.events(ctx, m, base, part); err != nil {
			return came, err
		}
		for _, uuid := range part {
			m.Events[uuid] = fmt.Sprint(manifest[uuid].Timestamp)
		}
		came = true
	}
	for uuid := range m.Events {
		if _, ok := manifest[uuid]; !ok {
			delete(m.Events, uuid) // it isn't in the feed any more; what it said ages
		}
	}
	return came, nil
}

// events reads some events as one reading.
func (s *puller) events(ctx context.Context, m *memory, base string, uuids []string) (err error) {
	var files []stored
	defer func() {
		for _, f := range files {
			err = errors.Join(err, os.Remove(f.path))
		}
	}()
	h := sha256.New()
	for _, uuid := range uuids {
		f, err := s.get(ctx, base+uuid+".json", uuid+".json")
		if err != nil {
			return err
		}
		files = append(files, f)
		_, _ = io.WriteString(h, f.digest) // never fails
	}
	return s.hand(ctx, m, m.LastTry, false, hex.EncodeToString(h.Sum(nil)), s.as(indicator.MISP), files...)
}

// get keeps one document.
func (s *puller) get(ctx context.Context, to, name string) (f stored, err error) {
	r, err := s.request(ctx, http.MethodGet, to, "")
	if err != nil {
		return f, err
	}
	res, err := s.do(r)
	if err != nil {
		return f, err
	}
	defer res.Body.Close()
	return s.save(res, name)
}

// settled is how long a file must be left alone before it is complete.
const settled = 30 * time.Second

// digested is a file with its digest, if nobody has written to it for a while.
func (s *puller) digested(path string) (f stored, ready bool, err error) {
	in, err := os.Open(path)
	if err != nil {
		return f, false, refuse("ファイルを開けません: "+err.Error(), "the file can't be opened: "+err.Error())
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil || !info.Mode().IsRegular() || s.clock.Now().Sub(info.ModTime()) < settled {
		return f, false, err //nolint:wrapcheck // it names the path
	}
	h := sha256.New()
	if _, err := io.Copy(h, in); err != nil {
		return f, false, fmt.Errorf("digest: %w", err)
	}
	return stored{path, filepath.Base(path), hex.EncodeToString(h.Sum(nil))}, true, nil
}

// file reads a file, if it is another than the last time.
func (s *puller) file(ctx context.Context, m *memory) (bool, error) {
	f, ready, err := s.digested(s.Path)
	if err != nil || !ready {
		return false, err
	}
	return s.changed(ctx, m, f, func() {})
}

// folder reads the files in a folder, each as a reading that adds, and moves it to done/
// or, when it can't be read, to failed/ below it.
func (s *puller) folder(ctx context.Context, m *memory) (came bool, err error) {
	for _, d := range []string{"done", "failed"} {
		if err := os.MkdirAll(filepath.Join(s.Path, d), 0o750); err != nil {
			return false, refuse("フォルダーを使えません: "+err.Error(), "the folder can't be used: "+err.Error())
		}
	}
	list, err := os.ReadDir(s.Path) // in the order of their names
	if err != nil {
		return false, refuse("フォルダーを読めません: "+err.Error(), "the folder can't be read: "+err.Error())
	}
	var failed error
	for _, e := range list {
		name := e.Name()
		if !e.Type().IsRegular() || strings.HasPrefix(name, ".") || slices.Contains([]string{".part", ".tmp", ".filepart", ".crdownload"}, filepath.Ext(name)) {
			continue
		}
		path := filepath.Join(s.Path, name)
		f, ready, err := s.digested(path)
		if err != nil {
			return came, err
		}
		if !ready {
			continue
		}
		where := "done"
		if err := s.hand(ctx, m, m.LastTry, false, f.digest, s.Options, f); err != nil {
			bad := (*reading.Unreadable)(nil)
			if !errors.As(err, &bad) {
				return came, err
			}
			where, failed = "failed", bad
		} else {
			came = true
		}
		if err := os.Rename(path, filepath.Join(s.Path, where, f.digest[:16]+"-"+name)); err != nil {
			return came, fmt.Errorf("put a file away: %w", err)
		}
	}
	return came, failed
}
