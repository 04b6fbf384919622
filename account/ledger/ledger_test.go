package ledger_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
)

// ticking is a clock that goes on by a second each time it is asked.
type ticking struct {
	mu  sync.Mutex
	now time.Time
}

func (c *ticking) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Second)
	return c.now
}

var epoch = time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)

func open(t *testing.T, db *relation.DB) *ledger.Book {
	t.Helper()
	b, err := ledger.Open(t.Context(), db, &ticking{now: epoch})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func appended(t *testing.T, b *ledger.Book, l ledger.Line) account.Entry {
	t.Helper()
	e, err := b.Append(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func fill(t *testing.T, b *ledger.Book, n int) {
	t.Helper()
	for i := range n {
		l := ledger.Line{Kind: account.Looked, Who: "abuse:hanako", What: map[string]int{"case": i}}
		if i%3 == 0 {
			l.Private = fmt.Appendf(nil, "contract %d", i)
		}
		appended(t, b, l)
	}
}

func verified(t *testing.T, b *ledger.Book, heads []ledger.Head, key ed25519.PublicKey) ledger.Report {
	t.Helper()
	r, err := b.Verify(t.Context(), heads, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func exec1(t *testing.T, db *relation.DB, statement string) {
	t.Helper()
	if err := db.Tx(t.Context(), func(tx *relation.Tx) error {
		_, err := tx.Exec(t.Context(), statement)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestHarm: whatever is done to the rows behind the book's back, Verify names the
// entry.
func TestHarm(t *testing.T) {
	for name, harm := range map[string]struct {
		sql  []string
		seqs []uint64
		en   string
	}{
		"altered":          {[]string{`UPDATE ledger_entry SET who = 'nobody' WHERE seq = 7`}, []uint64{7}, "entry 7 was altered"},
		"other time":       {[]string{`UPDATE ledger_entry SET made = made + 1 WHERE seq = 7`}, []uint64{7}, "entry 7 was altered"},
		"removed":          {[]string{`DELETE FROM ledger_entry WHERE seq = 7`}, []uint64{7}, "entry 7 is gone"},
		"many removed":     {[]string{`DELETE FROM ledger_entry WHERE seq IN (5, 6, 7)`}, []uint64{5}, "entries 5 to 7 are gone"},
		"first removed":    {[]string{`DELETE FROM ledger_entry WHERE seq <= 2`}, []uint64{1}, "entries 1 to 2 are gone"},
		"last removed":     {[]string{`DELETE FROM ledger_entry WHERE seq = 12`}, []uint64{12}, "entry 12 is gone; it was signed"},
		"reordered":        {[]string{`UPDATE ledger_entry SET seq = 99 WHERE seq = 7`, `UPDATE ledger_entry SET seq = 7 WHERE seq = 8`, `UPDATE ledger_entry SET seq = 8 WHERE seq = 99`}, []uint64{7, 7, 8, 9}, "entry 7 was altered"},
		"private altered":  {[]string{`UPDATE ledger_private SET data = salt WHERE seq = 4`}, []uint64{4}, "personal data of entry 4"},
		"private added":    {[]string{`INSERT INTO ledger_private SELECT 5, salt, data FROM ledger_private WHERE seq = 4`}, []uint64{5}, "were put to entry 5"},
		"pruned in secret": {[]string{`INSERT INTO ledger_anchor SELECT seq, hash FROM ledger_entry WHERE seq = 3`, `DELETE FROM ledger_entry WHERE seq <= 3`}, []uint64{3}, "isn't written down"},
	} {
		t.Run(name, func(t *testing.T) {
			relationtest.Each(t, func(t *testing.T, db *relation.DB) {
				b := open(t, db)
				fill(t, b, 12)
				heads := filepath.Join(t.TempDir(), "heads")
				_, key, _ := ed25519.GenerateKey(nil) // never fails
				if _, signed, err := b.Sign(t.Context(), key, heads); err != nil || !signed {
					t.Fatal(signed, err)
				}
				list, err := ledger.ReadHeads(heads)
				if err != nil {
					t.Fatal(err)
				}
				public := key.Public().(ed25519.PublicKey) //nolint:forcetypeassert // an Ed25519 key has no other
				if r := verified(t, b, list, public); len(r.Faults) > 0 || r.Entries != 12 || r.Last != 12 || r.Private != 4 || r.Heads != 1 {
					t.Fatalf("untouched: %+v", r)
				}
				for _, s := range harm.sql {
					exec1(t, db, s)
				}
				r := verified(t, b, list, public)
				var at []uint64
				for _, f := range r.Faults {
					at = append(at, f.Seq)
				}
				if len(r.Faults) == 0 || !strings.Contains(r.Faults[0].EN, harm.en) || r.Faults[0].JA == "" || fmt.Sprint(at) != fmt.Sprint(harm.seqs) {
					t.Errorf("found %+v, not %v %q", r.Faults, harm.seqs, harm.en)
				}
			})
		})
	}
}

// TestForgedWhole: a book that was made anew from the beginning holds by itself, and
// not against a head.
func TestForgedWhole(t *testing.T) {
	db, forged := relationtest.Open(t, relationtest.Place(t, "sqlite")), relationtest.Open(t, relationtest.Place(t, "sqlite"))
	b := open(t, db)
	fill(t, b, 5)
	path := filepath.Join(t.TempDir(), "heads")
	key, err := ledger.LoadKey(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Sign(t.Context(), key, path); err != nil {
		t.Fatal(err)
	}
	heads, err := ledger.ReadHeads(path)
	if err != nil {
		t.Fatal(err)
	}
	f := open(t, forged)
	fill(t, f, 8) // other salts
	if r := verified(t, f, nil, nil); len(r.Faults) != 0 {
		t.Fatalf("%+v", r)
	}
	if r := verified(t, f, heads, nil); len(r.Faults) != 1 || r.Faults[0].Seq != 5 || !strings.Contains(r.Faults[0].EN, "isn't the one that was signed") {
		t.Errorf("%+v", r)
	}
	heads[0].Hash = strings.Repeat("0", 64)
	if r := verified(t, b, heads, nil); len(r.Faults) == 0 || !strings.Contains(r.Faults[0].EN, "signature") {
		t.Errorf("a head with another hash: %+v", r)
	}
}

// TestSign: a head is made once for an entry, a key is kept, and a line that a crash
// cut off does no harm.
func TestSign(t *testing.T) {
	b := open(t, relationtest.Open(t, relationtest.Place(t, "sqlite")))
	dir := t.TempDir()
	path, keyPath := filepath.Join(dir, "heads"), filepath.Join(dir, "key")
	key, err := ledger.LoadKey(keyPath)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ledger.LoadKey(keyPath)
	if err != nil || !key.Equal(again) {
		t.Errorf("the key didn't stay: %v", err)
	}
	if info, err := os.Stat(keyPath); err != nil || info.Mode().Perm() != 0o600 {
		t.Error("others may read the key")
	}
	for i, want := range []bool{false, true, false, true} { // an empty book; one entry; the same; one more
		if i == 1 || i == 3 {
			fill(t, b, 1)
		}
		if _, signed, err := b.Sign(t.Context(), key, path); err != nil || signed != want {
			t.Errorf("step %d: signed %v, %v", i, signed, err)
		}
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteString(`{"seq":9,"ha`) // on disk here
	_ = f.Close()
	if heads, err := ledger.ReadHeads(path); err != nil || len(heads) != 2 {
		t.Errorf("%d heads, %v", len(heads), err)
	}
	if err := os.WriteFile(keyPath, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.LoadKey(keyPath); err == nil || !strings.Contains(err.Error(), "restore the key") {
		t.Errorf("a broken key: %v", err)
	}
}

// TestTogether: writers side by side, of one process and of two books on one store,
// make one chain.
func TestTogether(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		books := []*ledger.Book{open(t, db), open(t, db)}
		const writers, each = 16, 20
		var all sync.WaitGroup
		seen := make([]map[uint64]bool, writers)
		for w := range writers {
			seen[w] = map[uint64]bool{}
			all.Go(func() {
				for range each {
					e, err := books[w%2].Append(t.Context(), ledger.Line{Kind: account.Changed, Who: "x", What: w})
					if err != nil {
						t.Error(err)
						return
					}
					seen[w][e.Seq] = true
				}
			})
		}
		all.Wait()
		total := map[uint64]bool{}
		for _, m := range seen {
			for s := range m {
				total[s] = true
			}
		}
		if r := verified(t, books[0], nil, nil); len(total) != writers*each || r.Entries != writers*each || len(r.Faults) > 0 {
			t.Errorf("%d numbers given, %+v", len(total), r)
		}
	})
}

// TestWithTheAct: an entry in a transaction is there if the rest of it is.
func TestWithTheAct(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		b := open(t, db)
		exec1(t, db, `CREATE TABLE deed (id BIGINT PRIMARY KEY)`)
		do := func(id int, boom error) error {
			return db.Tx(t.Context(), func(tx *relation.Tx) error {
				if _, err := b.AppendIn(t.Context(), tx, ledger.Line{Kind: account.Acted, Who: "x", What: id}); err != nil {
					return err
				}
				if _, err := tx.Exec(t.Context(), `INSERT INTO deed (id) VALUES ($1)`, id); err != nil {
					return err
				}
				return boom
			})
		}
		boom := errors.New("boom")
		if err := do(1, boom); !errors.Is(err, boom) {
			t.Error(err)
		}
		if err := do(2, nil); err != nil {
			t.Error(err)
		}
		list, err := b.Entries(t.Context(), ledger.Query{})
		if err != nil || len(list) != 1 || string(list[0].What) != "2" || list[0].Seq != 1 {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// TestPrivate: personal data are apart, can be erased, and the chain holds without
// them; old entries can go, too.
func TestPrivate(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		b := open(t, db)
		fill(t, b, 12)
		if p, err := b.Private(t.Context(), 4); err != nil || string(p) != "contract 3" {
			t.Errorf("%q, %v", p, err)
		}
		if p, err := b.Private(t.Context(), 5); err != nil || p != nil {
			t.Errorf("%q, %v", p, err)
		}
		if err := b.Erase(t.Context(), "legal:taro", "the subscriber asked for it", 4, 7); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Private(t.Context(), 4); !errors.Is(err, ledger.ErrErased) {
			t.Error(err)
		}
		if r := verified(t, b, nil, nil); len(r.Faults) > 0 || r.Private != 2 || r.Erased != 2 || r.Entries != 13 {
			t.Errorf("%+v", r)
		}
		if kept, err := b.Kept(t.Context(), 1, 9); err != nil || !maps.Equal(kept, map[uint64]bool{1: true}) {
			t.Errorf("%v, %v", kept, err)
		}
		counts, err := b.Count(t.Context(), ledger.Query{From: epoch.Add(13 * time.Second)})
		if last, failed := b.Last(t.Context()); err != nil || failed != nil || !maps.Equal(counts, map[account.Kind]uint64{account.Erased: 1}) || last.Seq != 13 || last.Kind != account.Erased {
			t.Errorf("%v, %+v, %v, %v", counts, last, err, failed)
		}
		n, err := b.Prune(t.Context(), "retention", epoch.Add(9*time.Second))
		if err != nil || n != 8 {
			t.Errorf("%d removed, %v", n, err)
		}
		if r := verified(t, b, nil, nil); len(r.Faults) > 0 || r.After != 8 || r.Entries != 6 || r.Last != 14 {
			t.Errorf("%+v", r)
		}
		if n, err := b.Prune(t.Context(), "retention", epoch.Add(time.Hour)); err != nil || n != 5 { // the entry about it stays
			t.Errorf("%d removed, %v", n, err)
		}
		fill(t, b, 2)
		if r := verified(t, b, nil, nil); len(r.Faults) > 0 || r.After != 13 || r.Last != 17 {
			t.Errorf("%+v", r)
		}
		if n, err := b.Prune(t.Context(), "retention", epoch); err != nil || n != 0 {
			t.Errorf("%d removed, %v", n, err)
		}
	})
}

// TestExport: what leaves can be read, holds no personal data, and leaves an entry.
func TestExport(t *testing.T) {
	b := open(t, relationtest.Open(t, relationtest.Place(t, "sqlite")))
	fill(t, b, 4)
	appended(t, b, ledger.Line{Kind: account.Acted, Who: `a,"b"`, What: "x\ny"})
	for _, format := range []string{"ndjson", "csv"} {
		var out bytes.Buffer
		n, err := b.Export(t.Context(), &out, format, "legal:taro", ledger.Query{After: 3})
		if err != nil || bytes.Contains(out.Bytes(), []byte("contract")) {
			t.Errorf("%s: %v\n%s", format, err, &out)
		}
		var rows int
		if format == "csv" {
			all, err := csv.NewReader(&out).ReadAll()
			if err != nil || all[2][3] != `a,"b"` {
				t.Error(all, err)
			}
			rows = len(all) - 1
		} else {
			for d := json.NewDecoder(&out); d.More(); rows++ {
				var e map[string]any
				if err := d.Decode(&e); err != nil || e["hash"] == "" {
					t.Error(e, err)
				}
			}
		}
		if uint64(rows) != n {
			t.Errorf("%s: %d rows, not %d", format, rows, n)
		}
	}
	if list, err := b.Entries(t.Context(), ledger.Query{Kinds: []account.Kind{account.Exported}, Who: "legal:taro", From: epoch, To: epoch.Add(time.Hour), Limit: 5}); err != nil || len(list) != 2 {
		t.Errorf("%d entries, %v", len(list), err)
	}
	if list, err := b.Entries(t.Context(), ledger.Query{Before: 1 << 63, Limit: 2}); err != nil || len(list) != 2 || list[0].Seq != 7 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := b.Export(t.Context(), &bytes.Buffer{}, "xls", "x", ledger.Query{}); err == nil {
		t.Error("xls was written")
	}
}

func TestRefused(t *testing.T) {
	b := open(t, relationtest.Open(t, relationtest.Place(t, "sqlite")))
	for _, l := range []ledger.Line{{}, {Kind: account.Acted}, {Who: "x"}, {Kind: account.Acted, Who: "x", What: func() {}}} {
		if _, err := b.Append(t.Context(), l); err == nil {
			t.Errorf("%+v was taken", l)
		}
	}
}

// TestKill: an entry that was acknowledged is there after kill -9, and nothing is
// there twice.
func TestKill(t *testing.T) {
	if path := os.Getenv("LEDGER_KILLED"); path != "" {
		write(path)
		return
	}
	path := filepath.Join(t.TempDir(), "house.sqlite")
	acked := map[uint64]string{}
	for round := range 6 {
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$")
		c.Env = append(os.Environ(), "LEDGER_KILLED="+path, "LEDGER_ROUND="+strconv.Itoa(round))
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			seq, what, is := strings.Cut(lines.Text(), " ")
			s, err := strconv.ParseUint(seq, 10, 64)
			if !is || err != nil {
				t.Fatalf("%q", lines.Text())
			}
			if acked[s] != "" {
				t.Errorf("number %d was given twice", s)
			}
			acked[s] = what
			if n == 50+37*round {
				if err := c.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = c.Wait() // it was killed
	}
	b := open(t, relationtest.Open(t, path))
	list, err := b.Entries(t.Context(), ledger.Query{})
	if err != nil {
		t.Fatal(err)
	}
	whats := map[string]bool{}
	for _, e := range list {
		w := strings.Trim(string(e.What), `"`)
		if a := acked[e.Seq]; a != "" && a != w {
			t.Errorf("entry %d is %s and was acknowledged as %s", e.Seq, w, a)
		}
		delete(acked, e.Seq)
		if whats[w] {
			t.Errorf("%s is there twice", w)
		}
		whats[w] = true
	}
	if len(acked) > 0 || len(list) == 0 {
		t.Errorf("%d acknowledged entries are gone, of %d", len(acked), len(list))
	}
	if r := verified(t, b, nil, nil); len(r.Faults) > 0 {
		t.Errorf("%+v", r)
	}
}

// write appends until it is killed, and says what was acknowledged.
func write(path string) {
	ctx := context.Background()
	db, err := relation.Open(ctx, path)
	if err != nil {
		panic(err)
	}
	b, err := ledger.Open(ctx, db, clock.System{})
	if err != nil {
		panic(err)
	}
	var say sync.Mutex
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				what := fmt.Sprintf("%s-%d-%d", os.Getenv("LEDGER_ROUND"), w, i)
				e, err := b.Append(ctx, ledger.Line{Kind: account.Acted, Who: "x", What: what, Private: []byte("p")})
				if err != nil {
					panic(err)
				}
				say.Lock()
				fmt.Println(e.Seq, what)
				say.Unlock()
			}
		}()
	}
	time.Sleep(time.Minute) // whoever reads kills it
}

func BenchmarkAppend(b *testing.B) {
	for _, kind := range relationtest.Kinds {
		b.Run(kind, func(b *testing.B) {
			db := relationtest.Open(b, relationtest.Place(b, kind))
			book, err := ledger.Open(b.Context(), db, clock.System{})
			if err != nil {
				b.Fatal(err)
			}
			b.SetParallelism(32)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if _, err := book.Append(b.Context(), ledger.Line{Kind: account.Looked, Who: "abuse", What: map[string]string{"case": "C-1"}}); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}
