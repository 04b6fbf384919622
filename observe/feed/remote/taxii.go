package remote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"sakimori/observe/feed/indicator"
	"sakimori/observe/feed/reading"
)

// taxiiType is TAXII 2.1's (OASIS 2021-06-10, section 1.6.8).
const taxiiType = "application/taxii+json;version=2.1"

const (
	mostPages = 10_000
	mostTalk  = 16 << 20 // bytes of an answer that isn't objects
)

// talk asks a server of TAXII, and gives the answer's header.
func (s *puller) talk(ctx context.Context, to string, most int64, into any) (http.Header, error) {
	r, err := s.request(ctx, http.MethodGet, to, "")
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", taxiiType)
	res, err := s.do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	switch {
	case err != nil:
		return nil, &busy{Text{"受信が途中で切れました: " + err.Error(), "the answer was cut off: " + err.Error()}, 0}
	case int64(len(b)) > most:
		return nil, reading.Damaged(nil, "受信したファイルが大きすぎます", "the answer is too large")
	}
	if err := json.Unmarshal(b, into); err != nil {
		return nil, reading.Damaged(err, "TAXII の応答を読めません", "the answer isn't one of TAXII 2.1")
	}
	return res.Header, nil
}

// below joins a URL of the server's with what it says, and stays on the host that the
// configuration names: a key belongs to it.
func below(base, ref string) (string, error) {
	b, err := url.Parse(base)
	if err != nil {
		return "", refuse("URL が正しくありません: "+base, "not a URL: "+base)
	}
	u, err := b.Parse(ref)
	if err != nil {
		return "", refuse("URL が正しくありません: "+ref, "not a URL: "+ref)
	}
	if u.Host != b.Host || u.Scheme != b.Scheme {
		return "", refuse("TAXII サーバーが別のホスト "+u.Host+" を指しています。そのアドレスを url に指定してください", "the TAXII server leads to another host, "+u.Host+": name that one in url")
	}
	if !strings.HasSuffix(u.Path, "/") {
		u.Path += "/"
	}
	return u.String(), nil
}

// find finds the collection: below each API root of the discovery, or where the URL is
// an API root itself.
func (s *puller) find(ctx context.Context) (string, error) {
	var d struct {
		Default string   `json:"default"`
		Roots   []string `json:"api_roots"`
	}
	if _, err := s.talk(ctx, s.URL, mostTalk, &d); err != nil {
		return "", err
	}
	roots := []string{s.URL}
	if d.Default != "" || len(d.Roots) > 0 {
		roots = nil
		for _, r := range append([]string{d.Default}, d.Roots...) {
			if r != "" {
				roots = append(roots, r)
			}
		}
	}
	var last error
	for _, ref := range roots {
		root, err := below(s.URL, ref)
		if err != nil {
			last = err
			continue
		}
		var c struct {
			Collections []struct {
				ID, Alias, Title string
				CanRead          bool `json:"can_read"`
			} `json:"collections"`
		}
		if _, err := s.talk(ctx, root+"collections/", mostTalk, &c); err != nil {
			last = err
			continue
		}
		for _, one := range c.Collections {
			if s.Collection != one.ID && s.Collection != one.Alias && s.Collection != one.Title {
				continue
			}
			if !one.CanRead {
				return "", refuse("コレクション "+one.Title+" の読み取りが許されていません", "the collection "+one.Title+" may not be read")
			}
			return root + "collections/" + url.PathEscape(one.ID) + "/", nil
		}
	}
	if last != nil {
		return "", last
	}
	return "", refuse("コレクション "+s.Collection+" がありません", "there is no collection "+s.Collection)
}

// taxii reads what was added to a collection since the last time, all pages of it, and
// hands it on as one bundle: its objects refer to each other.
func (s *puller) taxii(ctx context.Context, m *memory) (came bool, err error) {
	if m.Root == "" {
		if m.Root, err = s.find(ctx); err != nil {
			return false, err
		}
	}
	out, err := os.CreateTemp(s.dir, "."+s.Options.Source+"-*.part")
	if err != nil {
		return false, fmt.Errorf("keep an answer: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close(), os.Remove(out.Name())) }()
	h := sha256.New()
	n, added, err := s.pages(ctx, m, out, h)
	if missing := (*refused)(nil); errors.As(err, &missing) && m.Digest != "" {
		m.Root = "" // it may have moved: it is looked for the next time
	}
	if err != nil || n == 0 {
		return false, err
	}
	digest := hex.EncodeToString(h.Sum(nil))
	if err := s.hand(ctx, m, m.LastTry, false, digest, s.as(indicator.STIX), stored{path: out.Name(), name: s.Collection}); err != nil {
		return false, err
	}
	m.Digest = digest
	if added != "" {
		m.Added = added
	}
	return true, nil
}

// pages writes the objects of all pages as one bundle, and says how many there are and
// until when.
func (s *puller) pages(ctx context.Context, m *memory, out io.Writer, h hash.Hash) (n int, added string, err error) {
	w := io.MultiWriter(out, h)
	if _, err := io.WriteString(w, `{"type":"bundle","objects":[`); err != nil {
		return 0, "", fmt.Errorf("keep an answer: %w", err)
	}
	left := s.maxBytes()
	next := ""
	for page := 0; ; page++ {
		q := url.Values{"limit": {"1000"}}
		if m.Added != "" {
			q.Set("added_after", m.Added)
		}
		if next != "" {
			q.Set("next", next)
		}
		var e struct {
			More    bool              `json:"more"`
			Next    string            `json:"next"`
			Objects []json.RawMessage `json:"objects"`
		}
		header, err := s.talk(ctx, m.Root+"objects/?"+q.Encode(), min(left, 256<<20), &e)
		if err != nil {
			return n, added, err
		}
		for _, o := range e.Objects {
			left -= int64(len(o))
			comma := ",\n"
			if n == 0 {
				comma = "\n"
			}
			if _, err := io.WriteString(w, comma+string(o)); err != nil {
				return n, added, fmt.Errorf("keep an answer: %w", err)
			}
			n++
		}
		if last := header.Get("X-TAXII-Date-Added-Last"); last != "" {
			added = last
		}
		switch {
		case !e.More:
			_, err := io.WriteString(w, "\n]}\n")
			return n, added, err //nolint:wrapcheck // a file of ours
		case e.Next == "" || e.Next == next || page >= mostPages || left <= 0:
			return n, added, reading.Damaged(nil, "TAXII サーバーのページが終わりません", "the pages of the TAXII server don't end")
		}
		next = e.Next
	}
}
