package remote_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sakimori/base/corpus"
	"sakimori/observe"
	"sakimori/observe/feed/indicator"
	"sakimori/observe/feed/remote"
)

// hand is a clock that is turned by hand, and a sink that remembers what it took.
type hand struct {
	mu      sync.Mutex
	now     time.Time
	taken   []string // values of finished readings
	whole   []bool
	dropped int
	deaf    error
}

func (h *hand) Now() time.Time { h.mu.Lock(); defer h.mu.Unlock(); return h.now }

func (h *hand) turn(d time.Duration) { h.mu.Lock(); defer h.mu.Unlock(); h.now = h.now.Add(d) }

func (h *hand) Begin(_ context.Context, r remote.Reading) (remote.Intake, error) {
	if r.Source == "" || r.At.IsZero() || len(r.Digest) != 64 {
		return nil, fmt.Errorf("%+v", r)
	}
	return &open{h: h, whole: r.Whole}, h.deaf
}

type open struct {
	h      *hand
	whole  bool
	values []string
}

func (o *open) Put(_ context.Context, list []observe.Indicator) error {
	for _, in := range list {
		o.values = append(o.values, in.Value)
	}
	return nil
}

func (o *open) Finish(_ context.Context, st indicator.Stats) error {
	if st.Accepted != uint64(len(o.values)) {
		return fmt.Errorf("%d of %d", len(o.values), st.Accepted)
	}
	o.h.taken, o.h.whole = append(o.h.taken, o.values...), append(o.h.whole, o.whole)
	return nil
}

func (o *open) Drop() { o.h.dropped++ }

type desk struct {
	*hand
	*remote.Puller
	t   *testing.T
	dir string
	src remote.Source
}

func newDesk(t *testing.T, src remote.Source) *desk {
	t.Helper()
	d := &desk{hand: &hand{now: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)}, t: t, dir: t.TempDir(), src: src}
	if d.src.Options.Source == "" {
		d.src.Options.Source = "them"
	}
	if d.src.Every == 0 {
		d.src.Every = time.Hour
	}
	d.restart()
	return d
}

func (d *desk) restart() {
	d.t.Helper()
	p, err := remote.New([]remote.Source{d.src}, d.dir, d.hand, d.hand, slog.New(slog.DiscardHandler))
	if err != nil {
		d.t.Fatal(err)
	}
	d.Puller = p
}

// step asks if it is time, and gives the state.
func (d *desk) step() remote.State {
	d.t.Helper()
	if err := d.Step(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(d.dir, ".*.part"))
	if err != nil || len(left) > 0 {
		d.t.Errorf("left behind: %v %v", left, err)
	}
	return d.States()[0]
}

func server(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// A document is got once, then asked for by its ETag; a restart doesn't ask sooner.
func TestConditional(t *testing.T) {
	t.Parallel()
	asked, not := 0, 0
	body := "evil.example.net\n/x\n"
	url := server(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		if r.Header.Get("Auth-Key") != "k3y" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		tag := fmt.Sprintf("%q", fmt.Sprint(len(body)))
		if r.Header.Get("If-None-Match") == tag {
			not++
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("ETag", tag)
		_, _ = io.WriteString(w, body)
	})
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("k3y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, remote.Source{Kind: remote.HTTP, URL: url + "/list.txt", KeyFile: key, KeyHeader: "Auth-Key"})
	st := d.step()
	if st.Error.EN != "" || st.Read != 2 || st.Accepted != 1 || st.Reasons["no_host"] != 1 || len(d.taken) != 1 || !d.whole[0] || st.LastChange.IsZero() {
		t.Fatalf("%+v %v", st, d.taken)
	}
	if gap := st.Next.Sub(d.Now()); gap < 54*time.Minute || gap > 66*time.Minute {
		t.Errorf("the next time is in %v", gap)
	}
	d.restart()
	d.turn(50 * time.Minute)
	if d.step(); asked != 1 {
		t.Errorf("asked again after a restart")
	}
	d.turn(20 * time.Minute)
	if st = d.step(); not != 1 || len(d.taken) != 1 || !st.LastSuccess.Equal(d.Now()) || st.LastChange.Equal(d.Now()) {
		t.Errorf("%d asked, %d not modified: %+v", asked, not, st)
	}
	body += "worse.example.net\n"
	d.turn(2 * time.Hour)
	if st = d.step(); len(d.taken) != 3 || st.Stale {
		t.Errorf("%v %+v", d.taken, st)
	}
	if err := os.WriteFile(key, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		d.turn(90 * time.Minute)
		st = d.step()
	}
	if !st.Stale || st.Failures != 4 || !strings.Contains(st.Error.EN, "403") || !strings.Contains(st.Error.JA, "403") || st.Accepted != 2 {
		t.Errorf("%+v", st)
	}
}

// Whatever goes wrong on the way, nothing is taken by halves and the source is left alone
// for a while.
func TestBadAnswers(t *testing.T) {
	t.Parallel()
	list := strings.Repeat("evil.example.net\n", 1<<16)
	other := server(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "stolen.example.net\n") })
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("p"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		do   http.HandlerFunc
		src  remote.Source
		say  string
		wait time.Duration // at least
	}{
		{name: "429", do: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7200")
			w.WriteHeader(429)
		}, say: "429", wait: 2 * time.Hour},
		{name: "503", do: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, say: "503", wait: 50 * time.Second},
		{name: "404", do: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, say: "404", wait: 54 * time.Minute},
		{name: "cut, with a length that lies", do: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(2*len(list)))
			_, _ = io.WriteString(w, list)
		}, say: "cut off", wait: 50 * time.Second},
		{name: "slow", do: func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "evil.example.net\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, src: remote.Source{Timeout: 100 * time.Millisecond}, say: "in time", wait: 50 * time.Second},
		{name: "silent", do: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, src: remote.Source{Timeout: 100 * time.Millisecond}, say: "in time", wait: 50 * time.Second},
		{name: "loop", do: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) }, say: "redirects", wait: 54 * time.Minute},
		{name: "key to another host", do: func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other, http.StatusFound) }, src: remote.Source{User: "u", Password: password}, say: "another host", wait: 54 * time.Minute},
		{name: "too large", do: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, list) }, src: remote.Source{Options: indicator.Options{MaxBytes: 1000}}, say: "too large", wait: 50 * time.Second},
		{name: "bomb of the transport", do: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			for range 20 {
				_, _ = io.WriteString(z, list)
			}
			_ = z.Close()
		}, src: remote.Source{Options: indicator.Options{MaxBytes: 2 << 20}}, say: "too large", wait: 50 * time.Second},
		{name: "bomb in a file", do: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/gzip")
			z := gzip.NewWriter(w)
			for range 20 {
				_, _ = io.WriteString(z, list)
			}
			_ = z.Close()
		}, src: remote.Source{Options: indicator.Options{MaxBytes: 2 << 20}}, say: "too large after decompression", wait: 50 * time.Second},
		{name: "a page instead of the list", do: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>Sign in") }, say: "HTML", wait: 50 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.src.Kind, tt.src.URL = remote.HTTP, server(t, tt.do)+"/list"
			d := newDesk(t, tt.src)
			st := d.step()
			if !strings.Contains(st.Error.EN, tt.say) || st.Error.JA == "" || len(d.taken) > 0 || st.Failures != 1 || !st.LastSuccess.IsZero() {
				t.Errorf("%+v, %d taken", st, len(d.taken))
			}
			if gap := st.Next.Sub(d.Now()); gap < tt.wait || gap > 67*time.Minute && gap > tt.wait*2 {
				t.Errorf("asked again in %v", gap)
			}
		})
	}
}

// TLS: an unknown certificate is refused, and nothing goes on without it.
func TestTLS(t *testing.T) {
	t.Parallel()
	plain := server(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "evil.example.net\n") })
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain, http.StatusFound) }))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	t.Cleanup(s.Close)
	d := newDesk(t, remote.Source{Kind: remote.HTTP, URL: s.URL})
	if st := d.step(); !strings.Contains(st.Error.EN, "certificate") || len(d.taken) > 0 {
		t.Errorf("%+v", st)
	}
	d = newDesk(t, remote.Source{Kind: remote.HTTP, URL: s.URL, Client: s.Client()})
	if st := d.step(); !strings.Contains(st.Error.EN, "https to http") || len(d.taken) > 0 {
		t.Errorf("%+v", st)
	}
}

// ThreatFox's API is asked by a posted body; a key in the query never reaches an error.
func TestPostAndQuery(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("s3cret"), 0o600); err != nil {
		t.Fatal(err)
	}
	url := server(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.Method != http.MethodPost || string(b) != `{"query":"get_iocs"}` || r.URL.Query().Get("key") != "s3cret" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, `{"query_status":"ok","data":[{"ioc":"evil.example.net","ioc_type":"domain","threat_type":"botnet_cc"}]}`)
	})
	d := newDesk(t, remote.Source{Kind: remote.HTTP, URL: url, Body: `{"query":"get_iocs"}`, KeyFile: key, KeyQuery: "key", Adds: true, Options: indicator.Options{Format: indicator.ThreatFox}})
	if st := d.step(); len(d.taken) != 1 || d.whole[0] {
		t.Errorf("%+v", st)
	}
	d = newDesk(t, remote.Source{Kind: remote.HTTP, URL: "http://127.0.0.1:1/", KeyFile: key, KeyQuery: "key"})
	if st := d.step(); st.Error.EN == "" || strings.Contains(st.Error.EN+st.Error.JA, "s3cret") {
		t.Errorf("%+v", st)
	}
}

// TAXII, with the objects of OASIS' own test server: discovery, collections, pages, and
// then only what was added.
func TestTAXII(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join(corpus.Folder(t, "intel", "taxii"), "default_data.json"))
	if err != nil {
		t.Fatal(err)
	}
	var data struct {
		Root struct {
			Collections []struct {
				ID      string            `json:"id"`
				Title   string            `json:"title"`
				CanRead bool              `json:"can_read"`
				Objects []json.RawMessage `json:"objects"`
			} `json:"collections"`
		} `json:"trustgroup1"`
	}
	if err := json.Unmarshal(b, &data); err != nil {
		t.Fatal(err)
	}
	const id = "91a7b528-80eb-42ed-a74d-c6fbd5a26116"
	var since []string
	endless := false
	url := server(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != "user1" || password != "Password1" || r.Header.Get("Accept") != "application/taxii+json;version=2.1" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/taxii+json;version=2.1")
		var answer any
		switch r.URL.Path {
		case "/taxii2/":
			answer = map[string]any{"title": "x", "default": "/trustgroup1/", "api_roots": []string{"https://elsewhere.example/api1/", "/trustgroup1/"}}
		case "/trustgroup1/collections/":
			answer = data.Root
		case "/trustgroup1/collections/" + id + "/objects/":
			q := r.URL.Query()
			since = append(since, q.Get("added_after"))
			objects := data.Root.Collections[2].Objects
			w.Header().Set("X-TAXII-Date-Added-Last", "2016-11-03T12:30:59.000Z")
			switch {
			case q.Get("added_after") != "" && !endless:
				answer = map[string]any{}
			case q.Get("next") == "" || endless:
				answer = map[string]any{"more": true, "next": "p2", "objects": objects[:3]}
			default:
				answer = map[string]any{"more": false, "objects": objects[3:]}
			}
		default:
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_ = json.NewEncoder(w).Encode(answer)
	})
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("Password1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	src := remote.Source{Kind: remote.TAXII, URL: url + "/taxii2/", Collection: "High Value Indicator Collection", User: "user1", Password: password}
	d := newDesk(t, src)
	st := d.step()
	// Four indicators: a hash, and three versions of a URL.
	if st.Error.EN != "" || st.Accepted != 1 || st.Rejected != 3 || st.Reasons["superseded"] != 2 || st.Reasons["not_network"] != 1 || d.whole[0] {
		t.Fatalf("%+v %v", st, d.taken)
	}
	d.restart()
	d.turn(2 * time.Hour)
	if st = d.step(); st.Error.EN != "" || len(d.taken) != 1 || since[len(since)-1] != "2016-11-03T12:30:59.000Z" || st.LastChange.Equal(d.Now()) {
		t.Errorf("%+v %v", st, since)
	}
	endless = true
	d.turn(2 * time.Hour)
	if st = d.step(); !strings.Contains(st.Error.EN, "don't end") || len(d.taken) != 1 {
		t.Errorf("%+v", st)
	}
	src.Collection = "472c94ae-3113-4e3e-a4dd-a9f4ac7471d4" // may not be read
	if st = newDesk(t, src).step(); !strings.Contains(st.Error.EN, "may not be read") {
		t.Errorf("%+v", st)
	}
	src.Collection = "none"
	if st = newDesk(t, src).step(); st.Error.EN == "" {
		t.Errorf("%+v", st)
	}
}

// Of a MISP feed only events that are new or changed are got.
func TestMISP(t *testing.T) {
	t.Parallel()
	const a, b = "57c4445b-c548-4654-af0b-4be3950d210f", "5a3c2fcd-8328-42bb-a95e-4f4402de0b81"
	stamps := map[string]any{a: map[string]any{"timestamp": "1"}, b: map[string]any{"timestamp": 1}, "../../etc/passwd": map[string]any{"timestamp": 1}}
	got := map[string]int{}
	url := server(t, func(w http.ResponseWriter, r *http.Request) {
		got[r.URL.Path]++
		switch r.URL.Path {
		case "/feed/manifest.json":
			_ = json.NewEncoder(w).Encode(stamps)
		case "/feed/" + a + ".json", "/feed/" + b + ".json":
			fmt.Fprintf(w, `{"Event": {"uuid": "x", "Attribute": [{"type": "domain", "to_ids": true, "value": "%.8s.example.net"}]}}`, strings.TrimPrefix(r.URL.Path, "/feed/"))
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
	d := newDesk(t, remote.Source{Kind: remote.MISP, URL: url + "/feed/manifest.json"})
	if st := d.step(); st.Error.EN != "" || len(d.taken) != 2 || len(got) != 3 || d.whole[0] {
		t.Fatalf("%+v %v", st, got)
	}
	stamps[b] = map[string]any{"timestamp": 2}
	d.restart()
	d.turn(2 * time.Hour)
	if st := d.step(); st.Error.EN != "" || got["/feed/"+a+".json"] != 1 || got["/feed/"+b+".json"] != 2 {
		t.Errorf("%+v %v", st, got)
	}
	stamps["11111111-1111-1111-1111-111111111111"] = map[string]any{"timestamp": 1}
	d.turn(2 * time.Hour)
	if st := d.step(); !strings.Contains(st.Error.EN, "404") || len(d.taken) != 3 {
		t.Errorf("%+v %v", st, d.taken)
	}
}

// A file is read when it has changed and nobody writes to it any more; what is put into
// a folder is read once and put away.
func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "list.txt")
	d := newDesk(t, remote.Source{Kind: remote.File, Path: path, Every: time.Minute})
	if st := d.step(); st.Error.EN == "" {
		t.Error("a file that isn't there is read")
	}
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, d.Now(), d.Now()); err != nil {
			t.Fatal(err)
		}
	}
	write(path, "evil.example.net\n")
	d.turn(2 * time.Second)
	if d.step(); len(d.taken) != 0 {
		t.Error("read while it is written")
	}
	for range 3 {
		d.turn(2 * time.Minute)
		d.step()
	}
	if len(d.taken) != 1 || !d.whole[0] {
		t.Errorf("%v", d.taken)
	}
	f := newDesk(t, remote.Source{Kind: remote.Folder, Path: dir, Every: time.Minute})
	write(filepath.Join(dir, "bad.json"), `{"objects": [`)
	write(filepath.Join(dir, "x.part"), "half.example.net\n")
	f.turn(10 * time.Minute)
	st := f.step()
	done, _ := filepath.Glob(filepath.Join(dir, "done", "*-list.txt"))
	failed, _ := filepath.Glob(filepath.Join(dir, "failed", "*-bad.json"))
	if len(f.taken) != 1 || f.whole[0] || len(done) != 1 || len(failed) != 1 || f.dropped != 1 || st.Error.JA == "" {
		t.Errorf("%v %v %v %+v", f.taken, done, failed, st)
	}
	// What the list doesn't want now stays where it is.
	write(path, "later.example.net\n")
	f.deaf = errors.New("the database is away")
	f.turn(10 * time.Minute)
	if st := f.step(); !strings.Contains(st.Error.EN, "away") {
		t.Errorf("%+v", st)
	}
	f.deaf = nil
	f.turn(10 * time.Minute)
	if f.step(); len(f.taken) != 2 {
		t.Errorf("%v", f.taken)
	}
	if f.Ask(t.Context(), "nobody") == nil {
		t.Error("a feed that isn't there answers")
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	o := indicator.Options{Source: "x"}
	for _, tt := range []struct {
		s   remote.Source
		say string
	}{
		{remote.Source{Options: indicator.Options{Source: "../x"}}, "letters"},
		{remote.Source{Options: o}, "use http, taxii"},
		{remote.Source{Options: o, Kind: remote.HTTP}, "needs a url"},
		{remote.Source{Options: o, Kind: remote.File}, "needs a path"},
		{remote.Source{Options: o, Kind: remote.HTTP, URL: "https://a.example", Every: time.Second}, "a minute or more"},
		{remote.Source{Options: o, Kind: remote.TAXII, URL: "https://a.example", Every: time.Hour}, "name the collection"},
		{remote.Source{Options: o, Kind: remote.HTTP, URL: "http://a.example", Every: time.Hour, KeyFile: "k"}, "https only"},
		{remote.Source{Options: o, Kind: remote.HTTP, URL: "https://u:p@a.example", Every: time.Hour}, "password_file"},
		{remote.Source{Options: o, Kind: remote.HTTP, URL: "a.example", Every: time.Hour}, "https://host/path"},
		{remote.Source{Options: o, Kind: remote.HTTP, URL: "https://a.example", Every: time.Hour, KeyQuery: "k"}, "key_file"},
		{remote.Source{Options: indicator.Options{Source: "x", Format: "y"}, Kind: remote.HTTP, URL: "https://a.example", Every: time.Hour}, "isn't known"},
	} {
		if err := tt.s.Check(); err == nil || !strings.Contains(err.Error(), tt.say) {
			t.Errorf("%+v: %v", tt.s, err)
		}
	}
	s := remote.Source{Options: o, Kind: remote.File, Path: "x", Every: time.Second}
	if _, err := remote.New([]remote.Source{s, s}, t.TempDir(), nil, nil, nil); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Error(err)
	}
}
