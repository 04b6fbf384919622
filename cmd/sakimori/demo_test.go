package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sakimori/console/api"
)

// said is what a command says while it runs.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// TestDemo: the demo shows the list, its zones, the proof on two resolvers and who was
// blocked, by what really runs; and it ends.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes up two weeks")
	}
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	ctx, stop := context.WithCancel(t.Context())
	var out, errs said
	ended := make(chan int, 1)
	go func() { ended <- Main(ctx, []string{"demo", "--no-open", "--listen", "127.0.0.1:0"}, nil, &out, &errs) }()
	address := regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	for !address.MatchString(out.String()) {
		select {
		case code := <-ended:
			t.Fatalf("it ended with %d: %s", code, errs.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*", "data", cliTokenFile))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	token, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string, into any) {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, address.FindString(out.String())+"/api/v1"+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		if err := json.NewDecoder(a.Body).Decode(into); err != nil || a.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s %v", path, a.Status, err)
		}
	}
	var m api.Matrix
	proven := func() bool {
		get("/rpz/resolvers", &m)
		return len(m.Resolvers) == len(resolverNames) && !slices.ContainsFunc(m.Resolvers, func(r api.Resolver) bool { return r.State != "ok" })
	}
	for end := time.Now().Add(30 * time.Second); !proven() && time.Now().Before(end); {
		time.Sleep(200 * time.Millisecond)
	}
	if !proven() && !strings.Contains(errs.String(), "127.0.0.2") { // where that can't be had it says so
		t.Errorf("%+v", m)
	}
	var list api.CNCSummary
	get("/cnc/summary", &list)
	states := map[string]int{}
	for _, s := range list.States {
		states[s.State] = s.Count
	}
	for _, s := range []string{"scored", "shadow", "enforced", "expired", "withdrawn"} {
		if states[s] == 0 {
			t.Errorf("nothing is %s: %v", s, states)
		}
	}
	stale := slices.IndexFunc(list.Sources, func(f api.CNCFeed) bool { return f.Stale })
	if len(list.Held) != 1 || stale < 0 || list.Sources[stale].Source != fromOld {
		t.Errorf("held %+v, sources %+v", list.Held, list.Sources)
	}
	var hits struct{ Entries []api.CNCEntry }
	get("/cnc?order=hits&limit=20", &hits)
	if len(hits.Entries) == 0 || hits.Entries[0].HitsTotal == 0 || hits.Entries[0].BlocksDay == 0 {
		t.Errorf("%+v", hits.Entries)
	}
	var blocked api.BlockCounts
	get("/dns/blocks?from=2016-09-22T00:00:00Z&to=2016-10-07T00:00:00Z", &blocked)
	if !blocked.Hits.On || blocked.Total < 1000 || len(blocked.Resolvers) != len(resolverNames) {
		t.Errorf("%+v", blocked)
	}
	var floods struct{ Attacks []api.AttackRow }
	get("/attacks?limit=50", &floods)
	acted := func(open bool, states ...string) bool {
		return slices.ContainsFunc(floods.Attacks, func(a api.AttackRow) bool {
			return (a.Closed == nil) == open && a.Mitigation != nil && slices.Contains(states, a.Mitigation.State)
		})
	}
	if !acted(true, "announced", "confirmed") || !acted(false, "withdrawn") {
		t.Errorf("no attack is under way that something is done against, or none ended: %d attacks", len(floods.Attacks))
	}
	if strings.Contains(errs.String(), `"ERROR"`) {
		t.Error(errs.String())
	}
	stop()
	if code := <-ended; code != exitFine {
		t.Errorf("it ended with %d: %s", code, errs.String())
	}
}
