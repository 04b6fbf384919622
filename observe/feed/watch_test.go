package feed_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sakimori/base/clock"
	"sakimori/observe"
	"sakimori/observe/feed"
)

// hands is a clock that a test turns.
type hands struct{ at time.Time }

func (h *hands) Now() time.Time { return h.at }

// keeping takes reports once each, by their identity, unless it is away.
type keeping struct {
	away  error
	has   map[[16]byte]observe.Report
	again int // were given more than once
}

func (k *keeping) Take(_ context.Context, batch []observe.Report) error {
	if k.away != nil {
		return k.away
	}
	if k.has == nil {
		k.has = map[[16]byte]observe.Report{}
	}
	for i := range batch {
		id := feed.ID(&batch[i])
		if _, ok := k.has[id]; ok {
			k.again++
		}
		k.has[id] = batch[i]
	}
	return nil
}

type yard struct {
	t     *testing.T
	dir   string
	sink  *keeping
	clock *hands
	log   bytes.Buffer
	*feed.Watch
}

func newYard(t *testing.T) *yard {
	t.Helper()
	y := &yard{t: t, dir: t.TempDir(), sink: &keeping{}, clock: &hands{came}}
	y.restart()
	return y
}

// restart is a new process on the same folder.
func (y *yard) restart() {
	y.t.Helper()
	f := feed.DefaultFolder()
	f.Path, f.Options = y.dir, feed.Options{Source: "shadowserver", Format: feed.Shadowserver}
	w, err := feed.NewWatch(f, feed.NewIntake(y.sink, feed.NewSeen(time.Hour, 1000), y.clock), y.clock, slog.New(slog.NewTextHandler(&y.log, nil)))
	if err != nil {
		y.t.Fatal(err)
	}
	y.Watch = w
}

func (y *yard) put(name, text string) {
	y.t.Helper()
	if err := os.WriteFile(filepath.Join(y.dir, name), []byte(text), 0o600); err != nil {
		y.t.Fatal(err)
	}
}

// scan looks twice, far enough apart for what lies there to have settled.
func (y *yard) scan() error {
	if err := y.Scan(y.t.Context()); err != nil {
		return err
	}
	y.clock.at = y.clock.at.Add(y.Settle)
	return y.Scan(y.t.Context())
}

// names lists a folder without the digests.
func (y *yard) names(dir string) []string {
	y.t.Helper()
	entries, err := os.ReadDir(filepath.Join(y.dir, dir))
	if err != nil {
		y.t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			n := e.Name()
			if dir != "" {
				n = n[33:]
			}
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

func (y *yard) expect(dir string, want ...string) {
	y.t.Helper()
	if got := y.names(dir); !slices.Equal(got, want) {
		y.t.Errorf("in %q: %q, want %q", dir, got, want)
	}
}

const small = "timestamp,ip,port\n2026-11-25 00:00:00,198.0.2.7,23\n2026-11-25 00:00:00,198.0.2.8,23\n"

func TestWatch(t *testing.T) {
	y := newYard(t)
	y.put("scan_telnet.csv", small)
	y.put("scan_ssh.csv", small+"2026-11-25 00:00:00,198.0.2.999,23\n2026-11-25 00:00:00,10.0.0.7,23\n")
	y.put("scan_what.csv", "what\nis this\n")
	y.put("scan_ftp.csv.gz", packed(t, small))
	y.put(".hidden.csv", small)
	y.put("scan_late.csv.part", small)
	if err := os.Symlink(filepath.Join(y.dir, "scan_telnet.csv"), filepath.Join(y.dir, "scan_link.csv")); err != nil {
		t.Fatal(err)
	}
	if err := y.Scan(t.Context()); err != nil || y.Totals().Files != 0 || y.Totals().Waiting != 4 {
		t.Fatalf("read before it settled: %v, %+v", err, y.Totals())
	}
	if err := y.scan(); err != nil {
		t.Fatal(err)
	}
	y.expect("", ".hidden.csv", "scan_late.csv.part")
	y.expect("done", "scan_ftp.csv.gz", "scan_ssh.csv", "scan_ssh.csv.errors", "scan_telnet.csv")
	y.expect("failed", "scan_what.csv", "scan_what.csv.errors")
	if got := y.Totals(); got != (feed.Totals{Files: 4, Failed: 1, Rows: 8, Reports: 6, Malformed: 2}) {
		t.Errorf("%+v", got)
	}
	if len(y.sink.has) != 6 { // of three types
		t.Errorf("%d reports", len(y.sink.has))
	}
	found, err := filepath.Glob(filepath.Join(y.dir, "done", "*.errors"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	text := slurp(t, found[0])
	for _, part := range []string{"scan_ssh.csv:4: アドレスとして読めません / what should be an address isn't one", "scan_ssh.csv:5:", "Of 4 rows 2 were read and 2 can't be used", "4 行のうち 2 行"} {
		if !strings.Contains(text, part) {
			t.Errorf("the errors don't say %q:\n%s", part, text)
		}
	}
	if s := text + y.log.String(); strings.Contains(s, "198.0.2") || strings.Contains(s, "10.0.0") {
		t.Errorf("an address in the log or the errors:\n%s", s)
	}
}

// A content is read once, under whatever name, now and after a restart; but an
// empty report of another type is another report.
func TestWatchOnce(t *testing.T) {
	y := newYard(t)
	y.put("2026-11-26-scan_telnet-a.csv", small)
	y.put("2026-11-26-scan_telnet-b.csv", small)
	y.put("scan_ftp.csv", "timestamp,ip,port\n")
	y.put("scan_ssh.csv", "timestamp,ip,port\n")
	if err := y.scan(); err != nil {
		t.Fatal(err)
	}
	if got := y.Totals(); got.Files != 3 || got.Repeated != 1 || got.Rows != 2 {
		t.Errorf("%+v", got)
	}
	y.restart()
	y.put("2026-11-27-scan_telnet-c.csv", small)
	if err := y.scan(); err != nil {
		t.Fatal(err)
	}
	if got := y.Totals(); got.Files != 0 || got.Repeated != 1 || y.sink.again != 0 || len(y.sink.has) != 2 {
		t.Errorf("after a restart: %+v, %d given again", got, y.sink.again)
	}
	y.expect("")
	// The same reports in a longer file: only what is new is handed on.
	y.put("2026-11-27-scan_telnet-d.csv", small+"2026-11-25 00:00:00,198.0.2.9,23\n2026-11-25 00:00:00,198.0.2.9,23\n")
	y.put("2026-11-27-scan_telnet-e.csv", small+"2026-11-25 00:00:00,198.0.2.9,23\n")
	if err := y.scan(); err != nil {
		t.Fatal(err)
	}
	if got := y.Totals(); got.Reports != 7 || got.Duplicates != 4 || len(y.sink.has) != 3 {
		t.Errorf("%+v, %d reports kept", got, len(y.sink.has))
	}
}

// While the sink is away files stay where they are; then all comes, once.
func TestWatchSinkAway(t *testing.T) {
	y := newYard(t)
	y.sink.away = errors.New("the store is down")
	y.put("scan_telnet.csv", small)
	for range 3 {
		if err := y.scan(); !errors.Is(err, y.sink.away) {
			t.Fatalf("%v", err)
		}
	}
	y.expect("", "scan_telnet.csv")
	y.sink.away = nil
	if err := y.scan(); err != nil {
		t.Fatal(err)
	}
	y.expect("done", "scan_telnet.csv")
	if got := y.Totals(); len(y.sink.has) != 2 || y.sink.again != 0 || got.Retries != 3 || got.Duplicates != 0 {
		t.Errorf("%d reports, %d again, %+v", len(y.sink.has), y.sink.again, got)
	}
}

// growing goes on writing a file while it is read.
type growing struct {
	*keeping
	path string
	more string
}

func (g *growing) Take(ctx context.Context, batch []observe.Report) error {
	if g.more != "" {
		f, err := os.OpenFile(g.path, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		if _, err := f.WriteString(g.more); err != nil {
			return err
		}
		g.more = ""
		if err := f.Close(); err != nil {
			return err
		}
	}
	return g.keeping.Take(ctx, batch)
}

// picky doesn't take what is about one address.
type picky struct{ *keeping }

func (p picky) Take(ctx context.Context, batch []observe.Report) error {
	if slices.ContainsFunc(batch, func(r observe.Report) bool { return r.Address == addr("198.0.2.66") }) {
		return errors.New("not this one")
	}
	return p.keeping.Take(ctx, batch)
}

// A file whose reports aren't wanted holds up no other, and isn't lost.
func TestWatchUnwanted(t *testing.T) {
	y := newYard(t)
	f := feed.DefaultFolder()
	f.Path, f.Options = y.dir, feed.Options{Source: "shadowserver", Format: feed.Shadowserver}
	var err error
	if y.Watch, err = feed.NewWatch(f, feed.NewIntake(picky{y.sink}, feed.NewSeen(time.Hour, 1000), y.clock), y.clock, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	y.put("scan_a.csv", "timestamp,ip\n2026-11-25 00:00:00,198.0.2.66\n")
	y.put("scan_b.csv", small)
	y.put("scan_c.csv", small)
	for range 3 {
		_ = y.scan() // fails each time
	}
	y.expect("", "scan_a.csv")
	y.expect("done", "scan_b.csv", "scan_c.csv")
}

func TestWatchFileGrows(t *testing.T) {
	y := newYard(t)
	g := &growing{y.sink, filepath.Join(y.dir, "scan_telnet.csv"), "2026-11-25 00:00:00,198.0.2.9,23\n"}
	f := feed.DefaultFolder()
	f.Path, f.Options = y.dir, feed.Options{Source: "shadowserver", Format: feed.Shadowserver}
	var err error
	if y.Watch, err = feed.NewWatch(f, feed.NewIntake(g, feed.NewSeen(time.Hour, 1000), y.clock), y.clock, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	y.put("scan_telnet.csv", small)
	if err := y.scan(); err != nil {
		t.Fatal(err)
	}
	y.expect("", "scan_telnet.csv")
	y.clock.at = y.clock.at.Add(time.Second)
	if err := y.scan(); err != nil {
		t.Fatal(err)
	}
	y.expect("done", "scan_telnet.csv")
	if len(y.sink.has) != 3 || y.sink.again != 0 {
		t.Errorf("%d reports, %d again", len(y.sink.has), y.sink.again)
	}
}

func TestWatchRun(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		sink := &keeping{}
		f := feed.Folder{Path: dir, Every: time.Second, Options: feed.Options{Source: "s", Format: feed.Shadowserver}}
		w, err := feed.NewWatch(f, feed.NewIntake(sink, feed.NewSeen(time.Hour, 1000), clock.System{}), clock.System{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		up := make(chan struct{})
		go func() { done <- w.Run(ctx, func() { close(up) }) }()
		<-up
		text := strings.ReplaceAll(small, "2026-11-25", "1999-12-30") // the bubble's year is 2000
		if err := os.WriteFile(filepath.Join(dir, "scan_x.csv"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if len(sink.has) != 2 {
			t.Errorf("%d reports", len(sink.has))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if _, err := feed.NewWatch(feed.Folder{}, nil, nil, nil); err == nil {
		t.Error("a folder without a path passed")
	}
}

// consumed counts what is read of the input.
type consumed struct {
	big
	n atomic.Int64
}

func (c *consumed) Read(p []byte) (int, error) {
	n, err := c.big.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// stuck blocks until it is let go.
type stuck struct{ in, out chan struct{} }

func (s *stuck) Take(context.Context, []observe.Report) error {
	s.in <- struct{}{}
	<-s.out
	return nil
}

// A slow sink stops the reading: nothing piles up.
func TestBackPressure(t *testing.T) {
	s := &stuck{make(chan struct{}), make(chan struct{})}
	c := &consumed{big: big{rows: 20_000}}
	done := make(chan error, 1)
	go func() {
		_, err := feed.NewIntake(s, feed.NewSeen(time.Hour, 1000), clock.Fixed(came)).Read(t.Context(), c, feed.Options{Source: "s", Format: feed.Shadowserver, Name: "event4_sinkhole"})
		done <- err
	}()
	for batch := 1; ; batch++ {
		select {
		case err := <-done:
			if err != nil || batch < 20_000*9/10/500 {
				t.Fatal(err, batch)
			}
			return
		case <-s.in:
		}
		// 500 reports and the broken rows between them, some 350 bytes each, and two
		// buffers of 64 KiB.
		if n := c.n.Load(); n > int64(batch)*600*350+2*64<<10 {
			t.Fatalf("%d bytes were read for %d batches", n, batch)
		}
		s.out <- struct{}{}
	}
}

// What has been forgotten is handed on again; the sink knows it.
func TestSeenForgets(t *testing.T) {
	at := &hands{came}
	sink := &keeping{}
	in := feed.NewIntake(sink, feed.NewSeen(time.Hour, 8), at)
	read := func(text string) uint64 {
		st, err := in.Read(t.Context(), strings.NewReader(text), feed.Options{Source: "s", Format: feed.Shadowserver, Name: "scan_x"})
		if err != nil {
			t.Fatal(err)
		}
		return st.Duplicates
	}
	many := "timestamp,ip\n"
	for i := range 20 {
		many += fmt.Sprintf("2026-11-25 00:00:00,198.0.3.%d\n", i)
	}
	for _, step := range []struct {
		after time.Duration
		text  string
		want  uint64
	}{
		{0, small, 0},
		{0, small, 2},
		{59 * time.Minute, small, 2},
		{time.Hour, small, 2}, // the older half
		{3 * time.Hour, small, 0},
		{0, many, 0},
		{0, small, 0}, // too many came between
	} {
		at.at = at.at.Add(step.after)
		if got := read(step.text); got != step.want {
			t.Errorf("after %s: %d duplicates, want %d", step.after, got, step.want)
		}
	}
}

const killRows = 10_000

// TestMain: the test binary runs itself as the process to be killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("FEED_TEST_DIR"); dir != "" {
		fmt.Fprintln(os.Stderr, watchUntilDone(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// written puts the identities of what it is given at the end of a file.
type written struct{ *os.File }

func (w written) Take(_ context.Context, batch []observe.Report) error {
	var b []byte
	for i := range batch {
		id := feed.ID(&batch[i])
		b = append(hex.AppendEncode(b, id[:]), '\n')
		if innocent.Contains(batch[i].Address) {
			b = append(b, "accused\n"...)
		}
	}
	_, err := w.Write(b)
	return err
}

func watchUntilDone(dir string) error {
	out, err := os.OpenFile(filepath.Join(dir, "taken"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	f := feed.Folder{Path: filepath.Join(dir, "in"), Every: time.Second, Options: feed.Options{Source: "s", Format: feed.Shadowserver}}
	w, err := feed.NewWatch(f, feed.NewIntake(written{out}, feed.NewSeen(time.Hour, 100_000), clock.Fixed(came)), clock.Fixed(came), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	for {
		if err := w.Scan(context.Background()); err != nil {
			return err
		}
		left, err := filepath.Glob(filepath.Join(dir, "in", "*.csv"))
		if err != nil || len(left) == 0 {
			fmt.Println("done")
			return err
		}
	}
}

// Killed at any moment, the next process reads the file in hand again. Nothing is
// lost, and what comes twice has the same identity.
func TestWatchKilled(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o750); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for _, name := range []string{"event4_sinkhole-a.csv", "event4_sinkhole_http-b.csv", "event4_honeypot_x-c.csv"} {
		text, err := io.ReadAll(&big{rows: killRows})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "in", name), text, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = feed.Read(bytes.NewReader(text), feed.Options{Source: "s", Format: feed.Shadowserver, Name: name, Came: came}, func(r *observe.Report) error {
			id := feed.ID(r)
			want[hex.EncodeToString(id[:])] = true
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	rng := rand.New(rand.NewPCG(7, 8))
	kills := 0
	for round := 0; ; round++ {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "FEED_TEST_DIR="+dir)
		var out bytes.Buffer
		cmd.Stdout = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if round < 8 {
			time.AfterFunc(time.Duration(30+rng.IntN(150))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		}
		if err := cmd.Wait(); err != nil && !strings.Contains(out.String(), "done") {
			if kills++; round >= 8 {
				t.Fatal("it ended although nobody killed it")
			}
			continue
		}
		break
	}
	got := map[string]int{}
	for l := range strings.Lines(slurp(t, filepath.Join(dir, "taken"))) {
		got[strings.TrimSpace(l)]++
	}
	again, torn := 0, 0
	for id, n := range got {
		switch {
		case want[id]:
			again += n - 1
		case id == "accused":
			t.Errorf("%d reports were made of broken lines", n)
		default:
			torn++ // the kill came in the middle of a write
		}
	}
	if torn > kills {
		t.Errorf("%d reports that nobody made", torn)
	}
	for id := range want {
		if got[id] == 0 {
			t.Fatalf("report %s was lost", id)
		}
	}
	t.Logf("%d kills; of %d reports %d came again", kills, len(want), again)
	left, err := filepath.Glob(filepath.Join(dir, "in", "done", "*.csv"))
	if err != nil || len(left) != 3 {
		t.Errorf("done: %q, %v", left, err)
	}
}
