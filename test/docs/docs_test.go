package docs_test

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sakimori/docs"
)

var root = filepath.Join("..", "..")

func read(t *testing.T, rel string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(rel)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pages lists every page of the repository, by its path.
func pages(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "node_modules", "bin", "build", "dist", "testdata"}, d.Name()):
			return fs.SkipDir
		case d.Type().IsRegular() && strings.HasSuffix(p, ".md"):
			rel, err := filepath.Rel(root, p)
			if err != nil {
				return err
			}
			out = append(out, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 5 {
		t.Fatalf("only %v found", out)
	}
	return out
}

var fence = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$")

// commands are the lines of a page's sh blocks, without comments.
func commands(text string) []string {
	var out []string
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		if block[1] != "sh" {
			continue
		}
		for line := range strings.Lines(block[2]) {
			line, _, _ = strings.Cut(line, " #")
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
				out = append(out, line)
			}
		}
	}
	return out
}

var heading = regexp.MustCompile(`(?m)^(#+) (.*)$`)

// skeleton is what two languages of one page have in common: its headings'
// levels, tables, lists, blocks, pictures and links.
func skeleton(text string) []string {
	var out []string
	blocks := fence.FindAllString(text, -1)
	prose := fence.ReplaceAllString(text, "")
	for _, h := range heading.FindAllStringSubmatch(prose, -1) {
		out = append(out, h[1])
	}
	rows, items := 0, 0
	for line := range strings.Lines(prose) {
		if strings.HasPrefix(line, "|") {
			rows++
		}
		if strings.HasPrefix(line, "- ") {
			items++
		}
	}
	return append(out,
		count("blocks", len(blocks)), count("rows", rows), count("items", items),
		count("links", len(link.FindAllString(prose, -1))))
}

func count(what string, n int) string { return what + strings.Repeat("·", n) }

// twins finds each page that exists in both languages.
func twins(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	all := pages(t)
	for _, p := range all {
		ja := strings.TrimSuffix(p, ".md") + ".ja.md"
		if slices.Contains(all, ja) {
			out[p] = ja
		}
	}
	if out["README.md"] == "" {
		t.Error("README.md has no README.ja.md beside it")
	}
	return out
}

func TestBothLanguagesSayTheSame(t *testing.T) {
	for en, ja := range twins(t) {
		e, j := read(t, en), read(t, ja)
		if diff := cmp.Diff(commands(e), commands(j)); diff != "" {
			t.Errorf("%s and %s show other commands (-en +ja):\n%s", en, ja, diff)
		}
		if diff := cmp.Diff(skeleton(e), skeleton(j)); diff != "" {
			t.Errorf("%s and %s have another build (-en +ja):\n%s", en, ja, diff)
		}
	}
}

// A page for Japanese readers in ASCII would be a page that was forgotten, and
// half-width katakana one that was pasted.
func TestJapaneseIsJapanese(t *testing.T) {
	for _, ja := range twins(t) {
		text := read(t, ja)
		var kana int
		for _, r := range text {
			switch {
			case r >= 'ぁ' && r <= 'ヺ':
				kana++
			case r >= '｡' && r <= 'ﾟ', r >= '０' && r <= '９', r >= 'Ａ' && r <= 'ｚ':
				t.Errorf("%s holds the odd form %q", ja, r)
			}
		}
		if kana < len([]rune(text))/10 {
			t.Errorf("%s has %d kana in %d letters: is it Japanese?", ja, kana, len([]rune(text)))
		}
	}
}

var link = regexp.MustCompile(`!?\[[^\]]*\]\(([^)\s]+)\)`)

func TestLinksLeadSomewhere(t *testing.T) {
	for _, p := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(fence.ReplaceAllString(read(t, p), ""), -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			to := path.Join(path.Dir(p), target)
			if target == "" {
				to = p
			}
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(to))); err != nil {
				t.Errorf("%s points to %s, which isn't there", p, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, to)), anchor) {
				t.Errorf("%s points to %s, but %s has no such heading", p, m[1], to)
			}
		}
	}
}

// anchors are the names that a page's headings get on the usual forges.
func anchors(text string) []string {
	var out []string
	for _, h := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		s := strings.ToLower(h[2])
		s = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(s, "")
		out = append(out, strings.ReplaceAll(s, " ", "-"))
	}
	return out
}

// One screen for the front door, two hundred lines for the plan.
func TestPagesStayShort(t *testing.T) {
	for page, most := range map[string]int{"README.md": 75, "README.ja.md": 75, "ARCHITECTURE.md": 200} {
		if n := strings.Count(read(t, page), "\n"); n > most {
			t.Errorf("%s has %d lines, more than %d", page, n, most)
		}
	}
}

func TestChangelog(t *testing.T) {
	text := read(t, "CHANGELOG.md")
	releases := regexp.MustCompile(`(?m)^## (\d+\.\d+\.\d+) - (\d{4}-\d{2}-\d{2})$`).FindAllStringSubmatch(text, -1)
	if len(releases) == 0 || len(releases) != strings.Count(text, "\n## ") {
		t.Errorf("each release is headed \"## version - date\", found %v", releases)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "- ") && !regexp.MustCompile("^- [a-z]+[a-z0-9/]*: ((breaking|new|security|fix): )?[^ ]").MatchString(line) {
			t.Errorf("no area before the colon: %q", line)
		}
	}
}

var decision = regexp.MustCompile(`^(\d{4})-[a-z0-9-]+\.md$`)

func TestDecisions(t *testing.T) {
	list, err := fs.ReadDir(docs.FS, "decisions")
	if err != nil {
		t.Fatal(err)
	}
	next := 1
	for _, e := range list {
		if e.Name() == "README.md" {
			continue
		}
		rel := "docs/decisions/" + e.Name()
		m := decision.FindStringSubmatch(e.Name())
		if m == nil || m[1] != fmtNumber(next) {
			t.Errorf("%s: the next number is %s", rel, fmtNumber(next))
			continue
		}
		next++
		text := read(t, rel)
		var got []string
		for _, h := range heading.FindAllStringSubmatch(text, -1) {
			got = append(got, h[2])
		}
		if len(got) != 4 || !strings.HasPrefix(got[0], m[1]+" ") || !slices.Equal(got[1:], []string{"Context", "Choice", "Price"}) {
			t.Errorf("%s must have its number in the title, then Context, Choice, Price: %q", rel, got)
		}
		if n := strings.Count(text, "\n"); n > 60 {
			t.Errorf("%s has %d lines, more than a page", rel, n)
		}
		if !strings.Contains(read(t, "docs/decisions/README.md"), "("+e.Name()+")") {
			t.Errorf("%s isn't in the list", rel)
		}
	}
	if next < 2 {
		t.Error("no decision found")
	}
}

func fmtNumber(n int) string {
	digits := [4]byte{'0', '0', '0', '0'}
	for i := 3; n > 0; i, n = i-1, n/10 {
		digits[i] = byte('0' + n%10)
	}
	return string(digits[:])
}

// What stands in docs/ is in the binary.
func TestPagesAreEmbedded(t *testing.T) {
	for _, p := range pages(t) {
		rel, ok := strings.CutPrefix(p, "docs/")
		if !ok {
			continue
		}
		b, err := fs.ReadFile(docs.FS, rel)
		if err != nil || string(b) != read(t, p) {
			t.Errorf("%s isn't embedded: %v", p, err)
		}
	}
}
