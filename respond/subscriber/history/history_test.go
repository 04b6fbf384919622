package history_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/history"
)

var epoch = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// pseudonym is good enough here.
func pseudonym(line string) (id [16]byte) {
	copy(id[:], line)
	return id
}

func open(t testing.TB, dir string, rows int) *history.History {
	t.Helper()
	h, err := history.Open(dir, history.Options{Pseudonym: pseudonym, Rows: rows})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func closed(t testing.TB, h *history.History) {
	t.Helper()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
}

func take(t testing.TB, h *history.History, records ...subscriber.Record) {
	t.Helper()
	if err := h.Take(context.Background(), records); err != nil {
		t.Fatal(err)
	}
}

// random are records of few addresses, lines and sessions, so that much of them meets.
func random(t *rapid.T) subscriber.Record {
	r := subscriber.Record{
		Kind:    rapid.SampledFrom([]subscriber.Kind{subscriber.Begin, subscriber.Begin, subscriber.Alive, subscriber.End, subscriber.Reset}).Draw(t, "kind"),
		Source:  rapid.SampledFrom([]string{"nas1", "nas2"}).Draw(t, "source"),
		Session: rapid.SampledFrom([]string{"", "s1", "s2", "s3"}).Draw(t, "session"),
		Line:    rapid.SampledFrom([]string{"A", "B", "C"}).Draw(t, "line"),
		At:      epoch.Add(time.Duration(rapid.IntRange(0, 4000).Draw(t, "at")) * time.Minute),
	}
	if r.Kind == subscriber.Reset {
		return r
	}
	switch rapid.IntRange(0, 3).Draw(t, "address") {
	case 0:
		r.Address = netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(rapid.IntRange(1, 3).Draw(t, "host"))}), 32)
	case 1:
		r.Address = netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, 1}), 32)
		first := uint16(rapid.IntRange(1, 20).Draw(t, "block")) * 500
		r.Ports = subscriber.Ports{First: first, Last: first + 499}
		if rapid.Bool().Draw(t, "one protocol") {
			r.Proto = 17
		}
		if rapid.Bool().Draw(t, "inside") {
			r.Line, r.Inside = "", netip.AddrFrom4([4]byte{100, 64, 0, byte(rapid.IntRange(1, 3).Draw(t, "inside"))})
		}
	case 2:
		r.Address = netip.MustParsePrefix("2001:db8:7:100::/56")
	case 3:
		r.Address = netip.MustParsePrefix("2001:db8:7:1ff::/64")
	}
	if rapid.IntRange(0, 3).Draw(t, "until") == 0 {
		r.Until = r.At.Add(30 * time.Minute)
	}
	if r.Kind != subscriber.Begin && rapid.Bool().Draw(t, "since") {
		r.Since = r.At.Add(-20 * time.Minute)
	}
	return r
}

// text is an answer without what may differ between runs: the number of a source.
func text(h *history.History, d subscriber.Decision) string {
	s := fmt.Sprintf("%s %v %s", d.Verdict, d.Holder, d.Margin)
	for _, x := range d.Holds {
		s += fmt.Sprintf("\n%v %s %d %d %d %d %v %v", x.Holder, h.Source(x.Source), x.From, x.To, x.Earliest, x.Latest, x.Open, x.Inferred)
	}
	return s
}

// testFails is a test, of properties too.
type testFails interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// held is all that Held visits at a time, as text.
func held(t testFails, h *history.History, at time.Time) map[netip.Prefix]string {
	t.Helper()
	m := map[netip.Prefix]string{}
	err := h.Held(context.Background(), at, func(p netip.Prefix, holds []subscriber.Hold) error {
		if m[p] != "" || len(holds) == 0 {
			t.Fatalf("%s with %d claims, and before with\n%s", p, len(holds), m[p])
		}
		m[p] = text(h, subscriber.Decision{Holds: holds})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestLikeMemory: with tables of a few rows, files, merges and restarts at any time, the
// answers are those of one that keeps everything in memory.
func TestLikeMemory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		memory := open(t, t.TempDir(), 1<<16)
		defer closed(t, memory)
		disk := open(t, dir, rapid.IntRange(1, 12).Draw(rt, "rows"))
		for range rapid.IntRange(1, 12).Draw(rt, "lots") {
			lot := rapid.SliceOfN(rapid.Custom(random), 0, 12).Draw(rt, "lot")
			take(t, memory, lot...)
			take(t, disk, lot...)
			if rapid.IntRange(0, 3).Draw(rt, "restart") == 0 {
				closed(t, disk)
				disk = open(t, dir, rapid.IntRange(1, 12).Draw(rt, "rows"))
			}
		}
		defer func() { closed(t, disk) }()
		if err := disk.Check(); err != nil {
			rt.Fatal(err)
		}
		for range 30 {
			a := netip.MustParseAddr(rapid.SampledFrom([]string{"203.0.113.1", "203.0.113.2", "203.0.113.3", "198.51.100.1", "2001:db8:7:1ff::9", "2001:db8:7:105::9", "192.0.2.1"}).Draw(rt, "address"))
			port := uint16(rapid.IntRange(0, 12000).Draw(rt, "port"))
			proto := rapid.SampledFrom([]uint8{0, 6, 17}).Draw(rt, "protocol")
			at := epoch.Add(time.Duration(rapid.IntRange(0, 4000).Draw(rt, "at")) * time.Minute)
			skew := time.Duration(rapid.IntRange(0, 20).Draw(rt, "skew")) * time.Minute
			want, got := text(memory, memory.Who(a, port, proto, at.Add(-skew), at.Add(skew))), text(disk, disk.Who(a, port, proto, at.Add(-skew), at.Add(skew)))
			if want != got {
				rt.Fatalf("%s port %d at %s ± %s:\n%s\nnot\n%s", a, port, at, skew, got, want)
			}
			all := held(rt, disk, at)
			if want := held(rt, memory, at); !maps.Equal(all, want) {
				rt.Fatalf("held at %s: %v\nnot\n%v", at, all, want)
			}
			if a.Is4() { // where no prefix covers another
				want := ""
				holds, until := memory.Holds(a, at)
				if len(holds) > 0 {
					want = text(memory, subscriber.Decision{Holds: holds})
				}
				if !until.IsZero() { // until then they are the same, and then they aren't
					before, again := memory.Holds(a, until.Add(-1))
					after, _ := memory.Holds(a, until)
					if !until.After(at) || !again.Equal(until) || !reflect.DeepEqual(before, holds) || reflect.DeepEqual(after, holds) {
						rt.Fatalf("%s at %s: the claims change at %s:\n%v\n%v\n%v", a, at, until, holds, before, after)
					}
				}
				if got := all[netip.PrefixFrom(a, 32)]; got != want {
					rt.Fatalf("%s is held at %s by\n%s\nnot\n%s", a, at, got, want)
				}
			}
		}
	})
}

func session(line string, n int, from, to time.Duration) []subscriber.Record {
	r := subscriber.Record{Kind: subscriber.Begin, Source: "nas", Session: fmt.Sprint(line, n), Line: line, Address: netip.MustParsePrefix("203.0.113.7/32"), At: epoch.Add(from)}
	end := r
	end.Kind, end.At = subscriber.End, epoch.Add(to)
	return []subscriber.Record{r, end}
}

// TestForget: what ended long ago is gone, what reaches into the time that is kept stays.
func TestForget(t *testing.T) {
	h := open(t, t.TempDir(), 2)
	defer func() { closed(t, h) }()
	day := 24 * time.Hour
	for n := range 10 {
		take(t, h, session(string(rune('A'+n)), n, time.Duration(n)*day, time.Duration(n+1)*day-time.Hour)...)
		take(t, h, subscriber.Record{Kind: subscriber.Reset, Source: "nas", At: epoch.Add(time.Duration(n) * day)})
	}
	take(t, h, session("Z", 99, 100*day, 101*day)...) // the others are in files by now
	if err := h.Forget(epoch.Add(5*day + 12*time.Hour)); err != nil {
		t.Fatal(err)
	}
	a := netip.MustParseAddr("203.0.113.7")
	for n := range 10 {
		at := epoch.Add(time.Duration(n)*day + 6*time.Hour)
		want := subscriber.Unique
		if n < 5 {
			want = subscriber.Expired
		}
		if d := h.Who(a, 0, 0, at, at); d.Verdict != want {
			t.Errorf("day %d: %s", n, d.Verdict)
		}
	}
}

// TestDamage: what isn't a history says so, and a log that was cut off costs only what
// was never acknowledged.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, 4)
	for n := range 40 {
		take(t, h, session("A", n, time.Duration(n)*time.Hour, time.Duration(n)*time.Hour+time.Minute)...)
	}
	closed(t, h)
	logs, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	f, err := os.OpenFile(logs[len(logs)-1], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.Write([]byte{200, 0, 0, 0, 1, 2, 3, 4, 5}) // on disk here
	_ = f.Close()
	h = open(t, dir, 4)
	for n := range 40 {
		at := epoch.Add(time.Duration(n)*time.Hour + 30*time.Second)
		if d := h.Who(netip.MustParseAddr("203.0.113.7"), 0, 0, at, at); d.Verdict != subscriber.Unique {
			t.Errorf("session %d: %s", n, d.Verdict)
		}
	}
	closed(t, h)
	segments, _ := filepath.Glob(filepath.Join(dir, "*.seg"))
	raw, err := os.ReadFile(segments[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, harm := range map[string]func([]byte) []byte{
		"cut":   func(b []byte) []byte { return b[:len(b)-5] },
		"empty": func([]byte) []byte { return nil },
		"magic": func(b []byte) []byte { b[0] ^= 1; return b },
		"head":  func(b []byte) []byte { b[len("sakimori-history-1\n")] = 'x'; return b },
	} {
		if err := os.WriteFile(segments[0], harm(append([]byte(nil), raw...)), 0o600); err != nil {
			t.Fatal(err)
		}
		if h, err := history.Open(dir, history.Options{Pseudonym: pseudonym}); err == nil || !strings.Contains(err.Error(), "restore it from a backup") {
			t.Errorf("%s: %v", name, err)
			if err == nil {
				closed(t, h)
			}
		}
	}
	raw[len(raw)-30] ^= 1
	if err := os.WriteFile(segments[0], raw, 0o600); err != nil {
		t.Fatal(err)
	}
	h = open(t, dir, 4)
	if err := h.Check(); err == nil {
		t.Error("a flipped bit wasn't found")
	}
	closed(t, h)
}

// TestUnusable: records that name nobody or nothing are left out.
func TestUnusable(t *testing.T) {
	h := open(t, t.TempDir(), 100)
	if _, err := history.Open(h.Dir(), history.Options{Pseudonym: pseudonym}); !errors.Is(err, history.ErrBusy) {
		t.Errorf("a second time: %v", err)
	}
	take(t, h, subscriber.Record{}, subscriber.Record{Kind: subscriber.Begin, Source: "x", At: epoch}, subscriber.Record{Kind: subscriber.Begin, At: epoch, Line: "A", Address: netip.MustParsePrefix("203.0.113.1/32")})
	if z := h.Size(); z.Memory != 0 {
		t.Errorf("%+v", z)
	}
	// Who isn't named keeps others from it, and isn't named.
	named := session("A", 1, 0, time.Hour)
	unnamed := session("", 2, 30*time.Minute, 2*time.Hour)
	take(t, h, append(named, unnamed...)...)
	for after, want := range map[time.Duration]subscriber.Verdict{10 * time.Minute: subscriber.Unique, 40 * time.Minute: subscriber.Ambiguous, 90 * time.Minute: subscriber.Expired} {
		if d := h.Who(netip.MustParseAddr("203.0.113.7"), 0, 0, epoch.Add(after), epoch.Add(after)); d.Verdict != want {
			t.Errorf("after %s: %s", after, d.Verdict)
		}
	}
	closed(t, h)
	if err := h.Take(t.Context(), nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := history.Open(t.TempDir(), history.Options{}); err == nil {
		t.Error("without pseudonyms")
	}
}

// TestKill: what was acknowledged is there after kill -9, whatever was being written,
// merged or removed.
func TestKill(t *testing.T) {
	if dir := os.Getenv("HISTORY_KILLED"); dir != "" {
		feed(dir)
		return
	}
	dir := t.TempDir()
	acked := map[int]bool{}
	for round := range 8 {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$")
		c.Env = append(os.Environ(), "HISTORY_KILLED="+dir, fmt.Sprint("HISTORY_ROUND=", round))
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			var at int
			if _, err := fmt.Sscan(lines.Text(), &at); err != nil {
				t.Fatalf("%q", lines.Text())
			}
			acked[at] = true
			if n == 100+31*round {
				if err := c.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = c.Wait() // it was killed
	}
	h := open(t, dir, 64)
	defer closed(t, h)
	if err := h.Check(); err != nil {
		t.Fatal(err)
	}
	if len(acked) < 800 {
		t.Fatalf("only %d acknowledged", len(acked))
	}
	for n := range acked {
		at := epoch.Add(time.Duration(n)*time.Minute + 10*time.Second)
		if d := h.Who(place(n), 0, 0, at, at); d.Verdict != subscriber.Unique || d.Holder.ID != pseudonym(fmt.Sprint("line", n)) {
			t.Errorf("record %d: %s", n, d.Verdict)
		}
	}
}

func place(n int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(n)}) }

// feed takes records until it is killed, and says which were acknowledged.
func feed(dir string) {
	h, err := history.Open(dir, history.Options{Pseudonym: pseudonym, Rows: 64})
	if err != nil {
		panic(err)
	}
	var round int
	_, _ = fmt.Sscan(os.Getenv("HISTORY_ROUND"), &round) // the test's own
	var say sync.Mutex
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				n := round*1_000_000 + i*4 + w
				r := subscriber.Record{Kind: subscriber.Begin, Source: "nas", Session: fmt.Sprint(n), Line: fmt.Sprint("line", n), Address: netip.PrefixFrom(place(n), 32), At: epoch.Add(time.Duration(n) * time.Minute)}
				end := r
				end.Kind, end.At = subscriber.End, r.At.Add(20*time.Second)
				if err := h.Take(context.Background(), []subscriber.Record{r, end}); err != nil {
					panic(err)
				}
				say.Lock()
				fmt.Println(n)
				say.Unlock()
			}
		}()
	}
	time.Sleep(time.Minute) // whoever reads kills it
}

// made are records of an operator with so many lines: a Start, an Interim-Update or a
// Stop of somebody.
func made(n int, r *rand.Rand, lines int) []subscriber.Record {
	out := make([]subscriber.Record, n)
	for i := range out {
		who := r.IntN(lines)
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 0x0a000000+uint32(who))
		hour := r.IntN(24 * 30)
		rec := subscriber.Record{
			Kind: subscriber.Kind(1 + i%3), Source: "nas" + string(rune('a'+who%20)), Session: fmt.Sprint(who, "-", hour), Line: "u" + fmt.Sprint(who) + "@example.net",
			Address: netip.PrefixFrom(netip.AddrFrom4(a), 32), At: epoch.Add(time.Duration(hour)*time.Hour + time.Duration(i%3)*20*time.Minute),
		}
		out[i] = rec
	}
	return out
}

func BenchmarkTake(b *testing.B) {
	h := open(b, b.TempDir(), 0)
	defer closed(b, h)
	r := rand.New(rand.NewPCG(1, 2))
	lot := made(1<<16, r, 1_000_000)
	const per = 500
	for i := 0; b.Loop(); i++ {
		from := i * per % (len(lot) - per)
		for k := from; k < from+per; k++ { // another session each time round
			lot[k].At = lot[k].At.Add(time.Duration(len(lot)) * time.Millisecond)
		}
		take(b, h, lot[from:from+per]...)
	}
	b.ReportMetric(float64(b.N*per)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkWho(b *testing.B) {
	h := open(b, b.TempDir(), 1<<18)
	defer closed(b, h)
	r := rand.New(rand.NewPCG(1, 2))
	const lines, records = 200_000, 4_000_000
	for n := 0; n < records; n += 1 << 14 {
		take(b, h, made(1<<14, r, lines)...)
	}
	b.ResetTimer()
	for b.Loop() {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 0x0a000000+uint32(r.IntN(lines)))
		at := epoch.Add(time.Duration(r.IntN(24*30*60)) * time.Minute)
		h.Who(netip.AddrFrom4(a), 0, 0, at.Add(-time.Minute), at.Add(time.Minute))
	}
	z := h.Size()
	b.ReportMetric(float64(z.Bytes)/float64(records), "disk-B/record")
	b.ReportMetric(float64(z.Segments), "segments")
}

// BenchmarkMillion attributes a million report rows, by two goroutines, to ten million
// records of 500,000 lines.
func BenchmarkMillion(b *testing.B) {
	h := open(b, b.TempDir(), 0)
	defer closed(b, h)
	r := rand.New(rand.NewPCG(1, 2))
	const lines, records, rows, workers = 500_000, 10_000_000, 1_000_000, 2
	for n := 0; n < records; n += 1 << 14 {
		take(b, h, made(1<<14, r, lines)...)
	}
	b.ResetTimer()
	certain := 0
	for b.Loop() {
		var all sync.WaitGroup
		var named [workers]int
		for w := range workers {
			all.Go(func() {
				r := rand.New(rand.NewPCG(3, uint64(w)))
				for range rows / workers {
					var a [4]byte
					binary.BigEndian.PutUint32(a[:], 0x0a000000+uint32(r.IntN(lines)))
					at := epoch.Add(time.Duration(r.IntN(24*30*60)) * time.Minute)
					if h.Who(netip.AddrFrom4(a), 0, 0, at.Add(-time.Minute), at.Add(time.Minute)).Verdict.Certain() {
						named[w]++
					}
				}
			})
		}
		all.Wait()
		certain = named[0] + named[1]
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/million")
	b.ReportMetric(100*float64(certain)/rows, "%certain")
	b.ReportMetric(float64(h.Size().Bytes)/records, "disk-B/record")
}

// BenchmarkDeep looks addresses up that had ninety uses each.
func BenchmarkDeep(b *testing.B) {
	h := open(b, b.TempDir(), 1<<18)
	defer closed(b, h)
	const lines, days = 10_000, 90
	address := func(line int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(line >> 16), byte(line >> 8), byte(line)}), 32)
	}
	for day := range days {
		lot := make([]subscriber.Record, 0, 2*lines)
		for line := range lines {
			r := subscriber.Record{
				Kind: subscriber.Begin, Source: "nas", Session: fmt.Sprint(line, "-", day), Line: fmt.Sprint((line + day) % lines), Address: address(line),
				At: epoch.Add(time.Duration(day)*24*time.Hour + time.Duration(line)*time.Second),
			}
			end := r
			end.Kind, end.At = subscriber.End, r.At.Add(20*time.Hour)
			lot = append(lot, r, end)
		}
		take(b, h, lot...)
	}
	r := rand.New(rand.NewPCG(1, 2))
	certain := 0
	b.ResetTimer()
	for b.Loop() {
		line := r.IntN(lines)
		at := epoch.Add(time.Duration(r.IntN(days))*24*time.Hour + time.Duration(line)*time.Second + 10*time.Hour)
		if h.Who(address(line).Addr(), 0, 0, at.Add(-2*time.Second), at.Add(2*time.Second)).Verdict == subscriber.Unique {
			certain++
		}
	}
	if certain != b.N {
		b.Errorf("%d of %d", certain, b.N)
	}
}
