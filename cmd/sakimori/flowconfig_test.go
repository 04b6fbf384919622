package main

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/telemetry"
	"sakimori/console/api"
	"sakimori/detect/ddos"
	"sakimori/respond/mitigate/speaker"
)

// TestExampleUncommented: what the example has as comments is a configuration that can
// be started.
func TestExampleUncommented(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	head, rest, _ := strings.Cut(exampleConfig, "\ndata: ")
	if !strings.HasPrefix(head, "# sakimori") {
		t.Fatal("the example begins otherwise than this test knows")
	}
	text := regexp.MustCompile(`(?m)^# `).ReplaceAllString("data: "+rest, "")
	// The database is somewhere else, names are looked up, interfaces listened on: not here.
	text = regexp.MustCompile(`(?m)^database: .*$`).ReplaceAllString(text, "")
	text = strings.ReplaceAll(text, "/etc/sakimori/", dir+"/")
	text = strings.ReplaceAll(text, "secret_file: resolvers.key", "secret_file: "+dir+"/resolvers.key")
	text = strings.Replace(text, "data: sakimori-data", "data: "+filepath.Join(dir, "data"), 1)
	for _, m := range regexp.MustCompile(`(?:secret|password)_file: ([^ ,}\]]+)`).FindAllStringSubmatch(text, -1) {
		if err := os.WriteFile(m[1], []byte(strings.Repeat("k", 44)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "sakimori.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := readConfig(path, nil)
	if err == nil {
		err = cfg.check()
	}
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if !cfg.Flow.on() || len(cfg.DDoS.Thresholds.Customers) != 1 || !cfg.Mitigation.Announce || len(cfg.Mitigation.BGP.Peers) != 1 || len(cfg.Mitigation.Hooks) != 1 {
		t.Errorf("a section of floods is missing: %+v %+v", cfg.DDoS, cfg.Mitigation)
	}
}

func TestUsualFamilies(t *testing.T) {
	t.Parallel()
	without6 := []speaker.Family{speaker.FlowSpec4, speaker.FlowSpec6, speaker.Unicast4}
	for _, c := range []struct {
		peer peerConfig
		want []speaker.Family
	}{
		{peerConfig{Address: "192.0.2.1"}, without6},
		{peerConfig{Address: "192.0.2.1", NextHop6: "100::1"}, speaker.Families()},
		{peerConfig{Address: "2001:db8::1"}, speaker.Families()},
		{peerConfig{Address: "[2001:db8::1]:1790"}, speaker.Families()},
	} {
		n := speaker.Neighbor{Address: netip.MustParseAddrPort("192.0.2.1:0")}
		if a, err := netip.ParseAddr(c.peer.Address); err == nil {
			n.Address = netip.AddrPortFrom(a, 0)
		} else {
			n.Address = netip.MustParseAddrPort(c.peer.Address)
		}
		if c.peer.NextHop6 != "" {
			n.NextHop6 = netip.MustParseAddr(c.peer.NextHop6)
		}
		if got := usualFamilies(&n); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, want %v", c.peer, got, c.want)
		}
		c.peer.Name, c.peer.AS = "edge", 64500
		bgp := bgpConfig{AS: 64500, RouterID: "192.0.2.60", Peers: []peerConfig{c.peer}}
		if _, err := bgp.speaker(clock.System{}, slog.New(slog.DiscardHandler)); err != nil {
			t.Errorf("%+v can't be spoken to: %v", c.peer, err)
		}
	}
}

// TestFlowsWatched: doctor says what is missing, metrics are there where flows are taken
// alone, and an input from which nothing ever came grows old.
func TestFlowsWatched(t *testing.T) {
	t.Parallel()
	var cfg config
	if list := examineFlow(t.Context(), &cfg); len(list) != 0 {
		t.Errorf("nothing is configured, and doctor says %v", list)
	}
	s := &station{office: &office{}}
	if list := s.flowMetrics(); len(list) != 0 {
		t.Errorf("nothing is configured, and %d metrics are told", len(list))
	}
	cfg.Flow.Listen = []string{"127.0.0.1:0"}
	states := map[string]string{}
	for _, c := range examineFlow(t.Context(), &cfg) {
		states[c.Name] = c.State
	}
	for name, want := range map[string]string{"flow.listen 127.0.0.1:0": "fine", "exporters": "note", "floods": "note", "mitigation": "note"} {
		if states[name] != want {
			t.Errorf("doctor says of %s %q, not %q", name, states[name], want)
		}
	}
	s.cfg, s.office.acts = cfg, &mitigations{}
	reg := telemetry.NewRegistry()
	list := s.flowMetrics()
	if err := reg.Add(list...); err != nil || len(list) != 6 {
		t.Errorf("%d metrics: %v", len(list), err)
	}
	if list[0].Read() != 0 || s.office.acts.peersUp() != 0 {
		t.Error("something is told of nothing")
	}
	g := s.gauge(flowInput, "live")
	g.set(func(in *api.Input) { in.State = "running" })
	if in := g.shown(g.began.Add(time.Minute)); in.State != "running" || in.Age != time.Minute {
		t.Errorf("after a minute: %s, %s", in.State, in.Age)
	}
	if in := g.shown(g.began.Add(time.Hour)); in.State != "stale" {
		t.Errorf("after an hour: %s", in.State)
	}
}

// TestPageOfFloods: the pages name every vector, and every reflector with its port.
func TestPageOfFloods(t *testing.T) {
	t.Parallel()
	for _, page := range []string{"ddos.md", "ddos.ja.md"} {
		b, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		for _, v := range ddos.Vectors() {
			if name := strings.TrimSuffix(v, "-amplification"); !regexp.MustCompile("`" + regexp.QuoteMeta(name) + "[`( ]|\\b" + regexp.QuoteMeta(name) + " [0-9]").MatchString(text) {
				t.Errorf("%s doesn't name vector %s", page, v)
			}
		}
		for _, r := range ddos.Reflectors() {
			name := strings.TrimSuffix(r.Name, "-amplification")
			if !regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + ` (\d+, )*` + strconv.Itoa(int(r.Port)) + `\b`).MatchString(text) {
				t.Errorf("%s doesn't name %s with port %d", page, name, r.Port)
			}
		}
	}
}
