package remote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"time"

	"sakimori/observe"
	"sakimori/observe/feed/indicator"
)

// memory is what is kept of a source over a restart.
type memory struct {
	Identity string // of what is asked: another URL begins anew

	LastTry, LastSuccess, LastChange, Next time.Time

	Failures                 int
	Error                    Text
	Read, Accepted, Rejected uint64 // of the last reading
	Reasons                  map[string]uint64

	ETag, Modified string            // HTTP
	Digest         string            // of what was read last
	Added          string            // TAXII: what was added until then is known
	Root           string            // TAXII: URL of the collection
	Events         map[string]string // MISP: their time stamps
}

func (s *puller) path() string { return filepath.Join(s.dir, s.Options.Source+".json") }

// identity is what a source is: when it changes, what is remembered isn't about it.
func (s *puller) identity() string {
	h := sha256.Sum256([]byte(fmt.Sprint(s.Kind, "\n", s.URL, "\n", s.Path, "\n", s.Collection, "\n", s.Body, "\n", s.Options.Format)))
	return hex.EncodeToString(h[:8])
}

// remembered reads what was kept; what can't be read is as good as nothing.
func remembered(path, identity string) memory {
	var m memory
	b, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(b, &m) != nil || m.Identity != identity {
		return memory{Identity: identity}
	}
	return m
}

// keep writes it into place.
func (m *memory) keep(path string) error {
	b, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("state of a feed: %w", err)
	}
	if err := os.WriteFile(path+".part", b, 0o600); err != nil {
		return fmt.Errorf("state of a feed: %w", err)
	}
	return os.Rename(path+".part", path)
}

func (m *memory) clone() memory {
	c := *m
	c.Events, c.Reasons = maps.Clone(m.Events), maps.Clone(m.Reasons)
	return c
}

// batch is how many indicators are handed on at a time.
const batch = 1000

// stored is a file that was got whole.
type stored struct {
	path, name string
	digest     string
}

// hand hands on what files say, as one reading: all of them, or nothing.
func (s *puller) hand(ctx context.Context, m *memory, at time.Time, whole bool, digest string, o indicator.Options, files ...stored) error {
	in, err := s.sink.Begin(ctx, Reading{Source: o.Source, At: at, Whole: whole, Digest: digest})
	if err != nil {
		return fmt.Errorf("hand on: %w", err)
	}
	var all indicator.Stats
	list := make([]observe.Indicator, 0, batch)
	flush := func() error {
		err := in.Put(ctx, list)
		clear(list)
		list = list[:0]
		return err
	}
	o.Came = at
	for _, f := range files {
		o.Name = f.name
		var st indicator.Stats
		st, err = readFile(f.path, o, func(i *observe.Indicator) error {
			if list = append(list, *i); len(list) < batch {
				return nil
			}
			return flush()
		})
		all.Add(&st)
		if err != nil {
			break
		}
	}
	if err == nil && len(list) > 0 {
		err = flush()
	}
	if err != nil {
		in.Drop()
		return err
	}
	if err := in.Finish(ctx, all); err != nil {
		return fmt.Errorf("hand on: %w", err)
	}
	m.Read, m.Accepted, m.Rejected = all.Read, all.Accepted, all.Rejected
	m.Reasons = map[string]uint64{}
	for r, n := range all.Why {
		m.Reasons[r.String()] = n
	}
	return nil
}

func readFile(path string, o indicator.Options, emit func(*observe.Indicator) error) (st indicator.Stats, err error) {
	f, err := os.Open(path)
	if err != nil {
		return st, err //nolint:wrapcheck // it names the path
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return st, err //nolint:wrapcheck // it names the path
	}
	return indicator.Read(io.NewSectionReader(f, 0, info.Size()), o, emit)
}
