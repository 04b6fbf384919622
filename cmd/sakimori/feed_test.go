package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sakimori/observe"
	"sakimori/observe/feed/indicator"
	"sakimori/observe/feed/remote"
)

// fakeList takes readings as the house's list does.
type fakeList struct {
	began            remote.Reading
	taken            []string
	finished, closed bool
	dropped          bool
}

func (l *fakeList) Begin(_ context.Context, r remote.Reading) (feedIntake, error) {
	l.began = r
	return l, nil
}

func (l *fakeList) Put(_ context.Context, list []observe.Indicator) error {
	for _, i := range list {
		l.taken = append(l.taken, string(i.Role)+" "+i.Value)
	}
	return nil
}

func (l *fakeList) Finish(_ context.Context, st indicator.Stats) (feedResult, error) {
	l.finished = st.Accepted == uint64(len(l.taken))
	return feedResult{New: 1, Known: 1, Protected: []protectedName{{"www.example.net", "tranco"}}, Held: "it grew"}, nil
}

func (l *fakeList) Drop() { l.dropped = true }

func (l *fakeList) Close() error { l.closed = true; return nil }

// A reading is given to the list whole, and what the list makes of it is told.
func TestImportFeed(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "theirs.txt"), filepath.Join(dir, "bad.json")
	for name, text := range map[string]string{good: "evil.example.net\n/arm7\n1.1.1.1:443 # x\n", bad: `{"objects": [`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(l *fakeList, args ...string) (string, error) {
		c := newImportFeed(func(context.Context, *config) (feedList, error) { return l, nil })
		var out bytes.Buffer
		c.SetOut(&out)
		c.SetErr(&out)
		c.SetArgs(args)
		err := c.ExecuteContext(t.Context())
		return out.String(), err
	}
	l := &fakeList{}
	out, err := run(l, "-o", "json", "--whole", good)
	var rep map[string]any
	if err != nil || json.Unmarshal([]byte(out), &rep) != nil {
		t.Fatal(out, err)
	}
	if rep["read"] != 3.0 || rep["accepted"] != 2.0 || rep["new"] != 1.0 || rep["known"] != 1.0 || rep["held"] != "it grew" || !strings.Contains(out, `"list": "tranco"`) || !strings.Contains(out, `"reason": "no_host"`) {
		t.Error(out)
	}
	if !l.finished || !l.closed || l.dropped || !l.began.Whole || l.began.Source != "theirs" || strings.Join(l.taken, ",") != "c2 evil.example.net,c2 1.1.1.1:443" {
		t.Errorf("%+v", l)
	}
	// One broken file spoils the reading.
	l = &fakeList{}
	if out, err := run(l, good, bad); err == nil || !l.dropped || l.finished || !l.closed || !strings.Contains(err.Error(), "bad.json") {
		t.Errorf("%s %v %+v", out, err, l)
	}
	l = &fakeList{}
	if out, err := run(l, "--dry-run", "-o", "json", good); err != nil || l.began.Source != "" || !strings.Contains(out, `"new": null`) {
		t.Errorf("%s %v %+v", out, err, l)
	}
}

func TestFeedsConfig(t *testing.T) {
	base := feedConfig{Name: "feodo", Kind: "http", URL: "https://feeds.example/ipblocklist.csv", Format: "feodo"}
	s, err := base.source()
	if err != nil || s.Every != time.Hour || s.Options.Source != "feodo" {
		t.Fatalf("%+v %v", s, err)
	}
	for say, change := range map[string]func(*feedConfig){
		"needs a name":     func(f *feedConfig) { f.Name = "" },
		"isn't known":      func(f *feedConfig) { f.Format = "x" },
		"set role":         func(f *feedConfig) { f.Format = "plain" },
		"needs a url":      func(f *feedConfig) { f.URL = "" },
		"a minute or more": func(f *feedConfig) { f.Every = time.Second },
		"mapping":          func(f *feedConfig) { f.Format, f.Mapping = "csv", "none.yaml" },
	} {
		f := base
		change(&f)
		cfg := defaultConfig()
		cfg.Feeds = []feedConfig{f}
		if err := cfg.check(); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%s: %v", say, err)
		}
	}
	cfg := defaultConfig()
	cfg.Feeds = []feedConfig{base, base}
	if err := cfg.check(); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("%v", err)
	}
}
