package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sakimori/base/run"
	"sakimori/base/telemetry"
)

func TestLogIsJSONWhenPiped(t *testing.T) {
	var b bytes.Buffer
	level := new(slog.LevelVar)
	log := telemetry.NewLogger(&b, level)
	tokyo := time.FixedZone("JST", 9*3600)
	log.Debug("hidden")
	log.Info("import ended", slog.Int("packets", 42), slog.Time("first", time.Date(2016, 10, 21, 20, 10, 0, 0, tokyo)))
	var rec map[string]any
	if err := json.Unmarshal(b.Bytes(), &rec); err != nil {
		t.Fatalf("%v in %q", err, b.String())
	}
	if rec["msg"] != "import ended" || rec["packets"] != 42.0 || rec["first"] != "2016-10-21T11:10:00Z" {
		t.Errorf("got %v", rec)
	}
	if s, _ := rec["time"].(string); !strings.HasSuffix(s, "Z") {
		t.Errorf("time %q isn't UTC", s)
	}
	level.Set(slog.LevelDebug)
	b.Reset()
	log.Debug("shown")
	if !strings.Contains(b.String(), "shown") {
		t.Error("the level can't be changed later")
	}
}

// A pseudo-terminal stands for a person's screen.
func TestLogIsTextOnATerminal(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("SKIPPED: no pseudo-terminal here: %v", err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile("/dev/pts/"+itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("SKIPPED: no pseudo-terminal here: %v", err)
	}
	defer slave.Close()
	telemetry.NewLogger(slave, slog.LevelInfo).Info("import ended", slog.Int("packets", 42))
	buf := make([]byte, 4096)
	k, err := master.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(buf[:k]); !strings.Contains(got, `msg="import ended" packets=42`) {
		t.Errorf("got %q", got)
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func TestParseLevel(t *testing.T) {
	for s, want := range map[string]slog.Level{"debug": -4, "INFO": 0, "Warn": 4, "error": 8} {
		if got, err := telemetry.ParseLevel(s); err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "loud", "info+3"} {
		if _, err := telemetry.ParseLevel(s); err == nil || !strings.Contains(err.Error(), "use debug, info, warn or error") {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func metric(name string) telemetry.Metric {
	return telemetry.Metric{Name: name, Help: "Something.", Kind: telemetry.Counter, Read: func() float64 { return 1 }}
}

func TestAddRefuses(t *testing.T) {
	gauge := metric("age_seconds")
	gauge.Kind = telemetry.Gauge
	with := func(change func(*telemetry.Metric)) telemetry.Metric {
		m := metric("x_total")
		change(&m)
		return m
	}
	tests := []struct {
		name string
		m    telemetry.Metric
		want string
	}{
		{"camel case", metric("DarkPackets_total"), "snake_case"},
		{"own prefix", metric("sakimori_x_total"), "prefix"},
		{"counter without _total", metric("packets"), "_total"},
		{"gauge with _total", with(func(m *telemetry.Metric) { m.Kind = telemetry.Gauge }), "_total"},
		{"no help", with(func(m *telemetry.Metric) { m.Help = "" }), "sentence"},
		{"no reader", with(func(m *telemetry.Metric) { m.Read = nil }), "function"},
		{"no kind", with(func(m *telemetry.Metric) { m.Kind = "" }), "kind"},
		{"address as label", with(func(m *telemetry.Metric) { m.Labels = map[string]string{"address": "192.0.2.1"} }), "traffic"},
		{"odd label", with(func(m *telemetry.Metric) { m.Labels = map[string]string{"Input": "a"} }), "snake_case"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := telemetry.NewRegistry()
			err := r.Add(tt.m)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), tt.m.Name) {
				t.Errorf("got %v, want the name and %q", err, tt.want)
			}
			if len(r.Metrics()) != 0 {
				t.Error("it was listed all the same")
			}
		})
	}
	r := telemetry.NewRegistry()
	if err := r.Add(gauge, metric("x_total"), metric("x_total")); err == nil {
		t.Error("the same metric twice was accepted")
	}
	a, b := metric("y_total"), metric("y_total")
	a.Labels, b.Labels = map[string]string{"input": "eth0"}, map[string]string{"input": "eth1"}
	if err := r.Add(a, b); err != nil {
		t.Errorf("same name, other label: %v", err)
	}
}

func TestServe(t *testing.T) {
	r := telemetry.NewRegistry()
	var seen atomic.Uint64
	err := r.Add(
		telemetry.Metric{Name: "telescope_packets_total", Help: "Packets to dark space.", Kind: telemetry.Counter, Labels: map[string]string{"input": "eth0"}, Read: func() float64 { return float64(seen.Load()) }},
		telemetry.Metric{Name: "input_age_seconds", Help: "Seconds since the last packet.", Kind: telemetry.Gauge, Read: func() float64 { return 1.5 }},
	)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Metrics(); len(got) != 2 || got[0].Name != "input_age_seconds" {
		t.Errorf("list %v", got)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- run.All(ctx, run.Component{Name: "metrics", Run: func(ctx context.Context, rdy func()) error {
			return r.Serve(ctx, l, func() { rdy(); close(ready) })
		}})
	}()
	<-ready
	seen.Store(7)
	if body := get(t, "http://"+l.Addr().String()+"/metrics", 200); !strings.Contains(body, "\nsakimori_telescope_packets_total{input=\"eth0\"} 7\n") ||
		!strings.Contains(body, "# TYPE sakimori_input_age_seconds gauge\nsakimori_input_age_seconds 1.5\n") || !strings.Contains(body, "go_goroutines") {
		t.Errorf("got\n%s", body)
	}
	get(t, "http://"+l.Addr().String()+"/", 404)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := net.DialTimeout("tcp", l.Addr().String(), time.Second); err == nil {
		t.Error("the address is still open")
	}
}

func TestServeOnAClosedListener(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := telemetry.NewRegistry().Serve(t.Context(), l, func() {}); err == nil || !strings.Contains(err.Error(), "metrics on 127.0.0.1") {
		t.Errorf("got %v", err)
	}
}

func TestHandler(t *testing.T) {
	w := httptest.NewRecorder()
	telemetry.NewRegistry().Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
		t.Errorf("%d %s", w.Code, w.Header().Get("Content-Type"))
	}
}

func get(t *testing.T, url string, status int) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		t.Fatalf("%s: %d, %v", url, resp.StatusCode, err)
	}
	return string(b)
}
