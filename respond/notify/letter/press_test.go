package letter_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"sakimori/base/relation/relationtest"
	"sakimori/respond/notify"
	"sakimori/respond/notify/letter"
	"sakimori/respond/notify/notifytest"
)

// TestWindow: however the page slides in the envelope, the window shows the whole
// block, and never more than the block and empty paper.
func TestWindow(t *testing.T) {
	w := letter.Naga3
	b := w.Block()
	if b != (letter.Block{Left: 22, Top: 12, Width: 65, Height: 24}) {
		t.Errorf("the block of 長形3号 is %+v", b)
	}
	p := press(t, config(t))
	m := message(t, "ja", notifytest.Person(1), notify.Template{Family: "mirai", Device: notify.Router})
	path := pages(t, p, m)
	const slackX, slackY = 235 - 210, 120 - 99
	rapid.Check(t, func(t *rapid.T) {
		x, y := rapid.Float64Range(0, slackX).Draw(t, "x"), rapid.Float64Range(0, slackY).Draw(t, "y")
		left, top := w.Left-x, w.Top-y // of the window, on the page
		if b.Left < left || b.Top < top || b.Left+b.Width > left+w.Width+1e-9 || b.Top+b.Height > top+w.Height+1e-9 {
			t.Errorf("slid by %.1f, %.1f the window is at %.1f, %.1f", x, y, left, top)
		}
	})
	// What the window can show at all, in points: the address, whole, and nothing else.
	seen := squeeze(run(t, "pdftotext", "-r", "72", "-x", "0", "-y", "0", "-W", "317", "-H", "161", path, "-")) // 112 × 57 mm
	if want := "〒100-8926東京都千代田区霞が関二丁目1番2号さきもりハイツ101号室防人花子1様"; seen != want {
		t.Errorf("through the window one reads %q", seen)
	}
	if got := squeeze(run(t, "pdftotext", "-r", "72", "-x", "62", "-y", "34", "-W", "184", "-H", "68", path, "-")); got != seen {
		t.Errorf("in the block stands %q", got)
	}
}

// TestUnprintable: a name that the font lacks a letter of is never printed with a
// box in it.
func TestUnprintable(t *testing.T) {
	p := press(t, config(t))
	for name, tt := range map[string]struct {
		person func(*notify.Person)
		want   string // in the reason; "" printed
	}{
		"plain":              {func(*notify.Person) {}, ""},
		"髙 and 﨑":            {func(p *notify.Person) { p.Name = "髙橋 﨑子" }, ""}, // JIS X 0213 and IBM extensions: the font has them
		"private":            {func(p *notify.Person) { p.Name = "渡\ue000 花子" }, "U+E000"},
		"plane 2":            {func(p *notify.Person) { p.Name = "\U0002f9f4 花子" }, "U+2F9F4"},
		"another form":       {func(p *notify.Person) { p.Name = "渡邉\U000e0101 花子" }, "U+E0101"},
		"kana apart":         {func(p *notify.Person) { p.Name = "か\u3099 花子" }, ""},
		"emoji in address":   {func(p *notify.Person) { p.Postal.Lines = []string{"東京都😀"} }, "U+1F600"},
		"control characters": {func(p *notify.Person) { p.Name = "防人\t花子\n" }, ""},
		"long address":       {func(p *notify.Person) { p.Postal.Lines = []string{strings.Repeat("長い住所", 60)} }, "too long"},
		"no address":         {func(p *notify.Person) { p.Postal = notify.Postal{} }, "no postal address"},
	} {
		t.Run(name, func(t *testing.T) {
			who := notifytest.Person(1)
			tt.person(&who)
			_, err := p.Write(message(t, "ja", who, notify.Template{Family: "mirai", Device: notify.Router}))
			u, is := errors.AsType[*notify.Unwritable](err)
			if is != (tt.want != "") || is && !strings.Contains(u.Reason, tt.want) || !is && err != nil {
				t.Errorf("%v", err)
			}
			if err != nil && strings.Contains(err.Error(), "花子") {
				t.Errorf("the name is in the error: %v", err)
			}
		})
	}
}

// TestKana: a voiced kana in two code points is printed as one.
func TestKana(t *testing.T) {
	who := notifytest.Person(1)
	who.Name = "ハ\u309aンダ"
	path := pages(t, press(t, config(t)), message(t, "ja", who, notify.Template{Family: "x", Device: notify.NAS}))
	if text := run(t, "pdftotext", path, "-"); !strings.Contains(text, "パンダ 様") {
		t.Error(text)
	}
}

// TestReiwa writes years by era when it is asked to.
func TestReiwa(t *testing.T) {
	cfg := config(t)
	cfg.Reiwa = true
	p := press(t, cfg)
	for at, want := range map[time.Time]string{
		notifytest.Noon: "令和8年11月26日",
		time.Date(2019, 12, 31, 0, 0, 0, 0, notifytest.Zone): "令和元年12月31日",
		time.Date(2019, 4, 30, 12, 0, 0, 0, notifytest.Zone): "2019年4月30日",
	} {
		m := message(t, "ja", notifytest.Person(1), notify.Template{Family: "mirai", Device: notify.Router})
		m.At = at
		if text := run(t, "pdftotext", pages(t, p, m), "-"); !strings.Contains(text, want) {
			t.Errorf("%s isn't in\n%s", want, text)
		}
	}
}

// crashing is a press that dies at a point.
type crashing struct {
	*letter.Press
	left int
}

var errCrash = errors.New("crash")

func (c *crashing) step() error {
	c.left--
	if c.left < 0 {
		return errCrash
	}
	return nil
}

func (c *crashing) Put(ctx context.Context, batch string, n *notify.Notice, s notify.Sheet) error {
	if err := c.step(); err != nil {
		return err
	}
	return c.Press.Put(ctx, batch, n, s)
}

func (c *crashing) Close(ctx context.Context, batch string, at time.Time, list []notify.Notice) error {
	if err := c.step(); err != nil {
		return err
	}
	err := c.Press.Close(ctx, batch, at, list)
	return errors.Join(err, c.step()) // the manifest is there, the last commit isn't
}

// TestBatch: wherever a batch is cut off, it is finished as it was begun; each letter
// is in one closed batch, and a letter that can't be printed in none.
func TestBatch(t *testing.T) {
	cfg := config(t)
	real := press(t, cfg)
	const people = 4
	for cut := range people + 3 {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			cfg := cfg
			cfg.Dir = t.TempDir()
			real = press(t, cfg)
			house := notifytest.NewHouse(people)
			house.People["S-1"] = notify.Person{Name: "\ue000", Postal: notify.Postal{Code: "1", Lines: []string{"x"}}, Line: notify.Home}
			db := relationtest.Open(t, relationtest.Place(t, "sqlite"))
			desk := house.Desk(t, db, nil, &crashing{real, cut})
			for i := range people {
				notifytest.Approved(t, desk, fmt.Sprintf("S-%d", i), notify.Letter)
			}
			_, err := desk.PrintBatch(t.Context(), house, "x", 2)
			for round := 0; ; round++ { // the program begins anew
				next := house.Desk(t, db, nil, real)
				b, err := next.PrintBatch(t.Context(), house, "x", 2)
				if err != nil {
					t.Fatal(err)
				}
				if b.ID == "" {
					break
				}
				if round > people {
					t.Fatal("it goes on for ever")
				}
			}
			if cut < 3 && !errors.Is(err, errCrash) {
				t.Errorf("not cut: %v", err)
			}
			in := map[string]string{}
			dirs, _ := os.ReadDir(cfg.Dir) // it is there
			for _, d := range dirs {
				ids, closed, err := real.Closed(d.Name())
				if err != nil || !closed {
					t.Errorf("batch %s: %v, %v", d.Name(), closed, err)
				}
				for _, id := range ids {
					if in[id] != "" {
						t.Errorf("a letter is in two batches, %s and %s", in[id], d.Name())
					}
					in[id] = d.Name()
				}
				files, _ := filepath.Glob(filepath.Join(cfg.Dir, d.Name(), "*.pdf")) // the pattern is right
				if len(files) != len(ids) {
					t.Errorf("%d files for %d letters", len(files), len(ids))
				}
			}
			all, err := desk.List(t.Context(), notify.Query{})
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range all {
				want := notify.Sent
				if n.Subject == "S-1" {
					want = notify.Unprintable
				}
				if n.State != want || (want == notify.Sent) != (in[n.ID] == n.Batch && n.Batch != "") {
					t.Errorf("%s: %s in batch %q, on paper in %q", n.Subject, n.State, n.Batch, in[n.ID])
				}
			}
		})
	}
}

// FuzzAddress: whatever a directory of customers holds, a letter is made whole or
// refused in words.
func FuzzAddress(f *testing.F) {
	p := press(f, config(f))
	m := message(f, "ja", notifytest.Person(1), notify.Template{Family: "mirai", Device: notify.Router})
	for _, s := range []string{"防人 花子", "a b", "\u202e\x00", "渡邉\U000e0101", strings.Repeat("W", 200), "(((((", "。。。。", "か\u3099\u3099"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, name, line string) {
		if len(name)+len(line) > 2000 || !utf8.ValidString(name+line) {
			return
		}
		m := *m
		m.Person.Name, m.Person.Postal.Lines = name, []string{line}
		s, err := p.Write(&m)
		if _, refused := errors.AsType[*notify.Unwritable](err); err != nil && !refused {
			t.Fatal(err)
		}
		if err == nil && !strings.HasPrefix(string(s.Content), "%PDF-") {
			t.Error("no PDF")
		}
	})
}

func BenchmarkLetter(b *testing.B) {
	p := press(b, config(b))
	m := message(b, "ja", notifytest.Person(1), notify.Template{Family: "mirai", Device: notify.Router})
	var size int
	for b.Loop() {
		s, err := p.Write(m)
		if err != nil {
			b.Fatal(err)
		}
		size = len(s.Content)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "letters/s")
	b.ReportMetric(float64(size), "bytes/letter")
}
