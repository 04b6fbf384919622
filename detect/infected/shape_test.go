package infected

import (
	"bufio"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sakimori/base/corpus"
)

func lines(t testing.TB, path string) (list []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if l := strings.TrimSpace(s.Text()); l != "" && l[0] != '#' {
			list = append(list, strings.ToLower(l))
		}
	}
	return list
}

func makes(names []string) (list []made) {
	for _, n := range names {
		if m, ok := registrable(n); ok {
			list = append(list, m)
		}
	}
	return list
}

// TestFamilies: how the made-up names of each family are judged, so many at a time, in
// the order in which they come. What isn't found stands here, too.
func TestFamilies(t *testing.T) {
	dir := corpus.Folder(t, "dns", "dga")
	for name, want := range map[string]struct {
		shape  string
		family string
		least  float64 // share of windows of 60 names that are found
	}{
		"banjori":   {shapeTail, unknown, 1},
		"gozi":      {"", unknown, 0}, // words of a text, twelve in all
		"kraken-v1": {shapeRandom, "kraken", 1},
		"necurs":    {shapeRandom, unknown, 1},
		"newgoz":    {shapeRandom, "gameover", 1},
		"qakbot":    {shapeRandom, unknown, 1},
		"qsnatch":   {shapeRandom, unknown, 0}, // most are too short to tell
		"ramnit":    {shapeRandom, unknown, 1},
		"ranbyus":   {shapeRandom, unknown, 1},
		"suppobox":  {shapeRecombined, unknown, 1},
		"tinba":     {shapeRandom, "tinba", 0.9},
	} {
		files, err := filepath.Glob(filepath.Join(dir, name+"*"))
		if err != nil || len(files) == 0 {
			t.Fatal(name, err)
		}
		for _, f := range files {
			all := makes(lines(t, f))
			windows, found := 0, 0
			for at := 0; at == 0 || at+60 <= len(all); at += 60 {
				windows++
				s := judgeNames(all[at:min(at+60, len(all))], 0)
				if s.shape == "" {
					continue
				}
				found++
				if s.shape != want.shape || familyOf(&s) != want.family {
					t.Errorf("%s: %s of %s", filepath.Base(f), s.shape, familyOf(&s))
				}
			}
			share := float64(found) / float64(windows)
			t.Logf("%-34s %5d names, %3d of %3d windows of 60", filepath.Base(f), len(all), found, windows)
			if share < want.least || want.shape == "" && found > 0 {
				t.Errorf("%s: %.2f of the windows, at least %.2f must be found", filepath.Base(f), share, want.least)
			}
		}
	}
}

// TestPopularNames: whoever asks for any sixty popular names that don't exist any more is
// accused of nothing.
func TestPopularNames(t *testing.T) {
	b, err := os.ReadFile(corpus.Folder(t, "intel", "warninglists", "tranco10k.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ List []string }
	if err := json.Unmarshal(b, &doc); err != nil || len(doc.List) < 9000 {
		t.Fatal(err)
	}
	all := makes(doc.List)
	odd := 0
	for _, m := range all {
		if chance(m.label) > unlikely {
			odd++
		}
	}
	share := float64(odd) / float64(len(all))
	t.Logf("%.1f %% of %d popular names are as odd as made-up ones", 100*share, len(all))
	if share > 0.1 {
		t.Error("too many for the odds that are stated")
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		n := 12 + r.IntN(150)
		list := make([]made, n)
		for i := range list {
			list[i] = all[r.IntN(len(all))]
		}
		if s := judgeNames(list, 0); s.shape != "" {
			t.Fatalf("%s: %d of %d: %v", s.shape, s.count, n, s.names)
		}
	}
}

// TestBigrams derives the table again: pages have changed since, but not the language.
func TestBigrams(t *testing.T) {
	words, part := map[string]bool{}, regexp.MustCompile(`[A-Z]?[a-z]{2,}`)
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if err != nil || strings.HasSuffix(path, "_test.go") || !strings.HasSuffix(path, ".md") && !strings.HasSuffix(path, ".go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, w := range part.FindAllString(string(b), -1) {
			if len(w) >= 3 && len(w) <= 14 {
				words[strings.ToLower(w)] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	kana := strings.Fields("a i u e o ka ki ku ke ko sa shi su se so ta chi tsu te to na ni nu ne no ha hi fu he ho ma mi mu me mo ya yu yo ra ri ru re ro wa " +
		"ga gi gu ge go za ji zu ze zo da de do ba bi bu be bo pa pi pu n sha sho shu kyo kyu cha cho ryo ju jo")
	count := func(list func(yield func(string))) (p [26][26]float64) {
		total := 0.0
		list(func(w string) {
			for i := 1; i < len(w); i++ {
				p[w[i-1]-'a'][w[i]-'a']++
				total++
			}
		})
		for a := range p {
			for b := range p[a] {
				p[a][b] /= total
			}
		}
		return p
	}
	english := count(func(yield func(string)) {
		for w := range words {
			yield(w)
		}
	})
	japanese := count(func(yield func(string)) {
		for _, a := range kana {
			for _, b := range kana {
				yield(a + b)
			}
		}
	})
	off := 0.0
	for a := range bigrams {
		sum := 0.0
		var row [26]float64
		for b := range row {
			row[b] = 0.8*english[a][b] + 0.15*japanese[a][b] + 0.05/676
			sum += row[b]
		}
		for b := range row {
			bits := max(-99, min(99, math.Round(10*(-math.Log2(row[b]/sum)-math.Log2(26)))))
			off += math.Abs(bits-float64(bigrams[a][b])) / 676
		}
	}
	t.Logf("%d words, off by %.2f tenths of a bit on average", len(words), off)
	if off > 2 {
		t.Errorf("the table is off by %.2f tenths of a bit on average: derive it again", off)
	}
}
