package letter_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sakimori/respond/notify"
	"sakimori/respond/notify/letter"
	"sakimori/respond/notify/notifytest"
)

// fonts of Debian's package fonts-ipafont-gothic.
var fonts = []string{"/usr/share/fonts/opentype/ipafont-gothic/ipagp.ttf", "/usr/share/fonts/opentype/ipafont-gothic/ipag.ttf"}

func need(t testing.TB, paths ...string) {
	t.Helper()
	for _, p := range paths {
		_, err := os.Stat(p)
		if !strings.Contains(p, "/") {
			_, err = exec.LookPath(p)
		}
		if err != nil && os.Getenv("CI") == "true" {
			t.Fatalf("needs %s (Debian: fonts-ipafont-gothic, poppler-utils)", p)
		} else if err != nil {
			t.Skipf("SKIPPED, NOT TESTED: needs %s (Debian: fonts-ipafont-gothic, poppler-utils)", p)
		}
	}
}

func config(t testing.TB) letter.Config {
	t.Helper()
	need(t, fonts...)
	return letter.Config{
		Fonts: fonts, Zone: notifytest.Zone, Dir: t.TempDir(),
		JA: letter.Sender{Name: notifytest.JA.Name, Lines: []string{"〒100-0000 東京都千代田区見本町1-2-3", notifytest.JA.Desk, "電話 " + notifytest.JA.Phone}},
		EN: letter.Sender{Name: notifytest.EN.Name, Lines: []string{"1-2-3 Mihon-cho, Chiyoda-ku, Tokyo", notifytest.EN.Desk, "Telephone " + notifytest.EN.Phone}},
	}
}

func press(t testing.TB, cfg letter.Config) *letter.Press {
	t.Helper()
	p, err := letter.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func message(t testing.TB, lang string, p notify.Person, template notify.Template) *notify.Message {
	t.Helper()
	n := &notify.Notice{ID: "abcdefghijklmnopqrstuvwxyz", Reference: "482109375516", Channel: notify.Letter, Template: template, Seen: notifytest.Noon.Add(-9 * time.Hour)}
	w, err := notifytest.Book(t).Write(n, lang)
	if err != nil {
		t.Fatal(err)
	}
	return &notify.Message{Notice: n, Person: p, Words: w, At: notifytest.Noon}
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// pages writes a letter for poppler's programs.
func pages(t testing.TB, p *letter.Press, m *notify.Message) string {
	t.Helper()
	need(t, "pdftotext", "pdffonts", "pdfinfo")
	s, err := p.Write(m)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "letter.pdf")
	if keep := os.Getenv("SAKIMORI_KEEP_LETTERS"); keep != "" { // to look at them
		path = filepath.Join(keep, strings.ReplaceAll(t.Name(), "/", "-")+".pdf")
	}
	if err := os.WriteFile(path, s.Content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestLetter: poppler reads an A4 page in both languages for each template, with the
// font embedded as a subset, and finds all that a letter needs.
func TestLetter(t *testing.T) {
	p := press(t, config(t))
	for _, family := range []string{"mirai", "exposed", "emotet", "unknown"} {
		for _, lang := range []string{"ja", "en"} {
			t.Run(family+" "+lang, func(t *testing.T) {
				m := message(t, lang, notifytest.Person(7), notify.Template{Family: family, Device: notify.Camera, Service: "23/tcp"})
				path := pages(t, p, m)
				info := run(t, "pdfinfo", path)
				if !regexp.MustCompile(`(?m)^Page size: +595[.\d]* x 84[12][.\d]* pts \(A4\)$`).MatchString(info) || !regexp.MustCompile(`(?m)^Pages: +1$`).MatchString(info) {
					t.Errorf("%s", info)
				}
				for _, line := range strings.Split(strings.TrimSpace(run(t, "pdffonts", path)), "\n")[2:] {
					if f := strings.Fields(line); !regexp.MustCompile(` yes yes yes +\d+ +0$`).MatchString(line) {
						t.Errorf("not embedded as a subset with its text: %q", f)
					}
				}
				text := squeeze(run(t, "pdftotext", "-layout", path, "-"))
				w := m.Words
				for _, part := range append(append([]string{w.Title, "4821-0937-5516", "霞が関二丁目", "さきもりハイツ107号室", "防人花子7"}, w.What...), w.Steps...) {
					if !strings.Contains(text, squeeze(part)) {
						t.Errorf("%q isn't in the letter:\n%s", part, text)
					}
				}
			})
		}
	}
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), "") }
