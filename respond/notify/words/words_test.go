package words_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"sakimori/respond/notify"
	"sakimori/respond/notify/notifytest"
	"sakimori/respond/notify/words"
)

func load(own fstest.MapFS) (*words.Book, error) {
	c := words.Config{JA: notifytest.JA, EN: notifytest.EN, Zone: notifytest.Zone}
	if own != nil {
		c.Own = own
	}
	return words.Load(c)
}

func notice(family string, d notify.Device) *notify.Notice {
	return &notify.Notice{Reference: "482109375516", Channel: notify.Mail, Seen: notifytest.Noon, Template: notify.Template{Family: family, Device: d}}
}

func all(w *notify.Words) string {
	return w.Title + strings.Join(append(append(append(append(append(append(append([]string{}, w.Greeting...), w.What...), w.Steps...), w.After...), w.Check...), w.Contact...), w.Channel...), "\n")
}

// TestEvery: each family on each device has words in both languages that name the
// device, say what to do, ask for nothing they shouldn't, and advertise nothing.
func TestEvery(t *testing.T) {
	b, err := load(nil)
	if err != nil {
		t.Fatal(err)
	}
	names := map[notify.Device][2]string{notify.Router: {"ルーター", "router"}, notify.Camera: {"カメラ", "camera"}, notify.DVR: {"録画機", "recorder"}, notify.NAS: {"NAS", "NAS"}, notify.PC: {"パソコン", "computer"}, notify.Unknown: {"機器", "device"}}
	for _, family := range []string{"mirai", "Mozi", "hajime", "exposed", "emotet", "unknown", "never heard of", ""} {
		for _, d := range notify.Devices {
			for i, lang := range []string{"ja", "en"} {
				w, err := b.Write(notice(family, d), lang)
				if err != nil {
					t.Fatal(err)
				}
				text := all(&w)
				if len(w.Steps) < 4 || len(w.What) == 0 || len(w.Check) < 2 || w.Language != lang {
					t.Errorf("%s %s %s: %+v", family, d, lang, w)
				}
				if family != "emotet" && !strings.Contains(text, names[d][i]) {
					t.Errorf("%s %s %s doesn't name the device:\n%s", family, d, lang, text)
				}
				for _, never := range []string{"://", "<no value>", "unsubscribe", "click", "クリック", "配信停止", "  ", "{{"} {
					if strings.Contains(text, never) {
						t.Errorf("%s %s %s: %q is in\n%s", family, d, lang, never, text)
					}
				}
				kana := strings.ContainsFunc(text, func(r rune) bool { return r >= 'ぁ' && r <= 'ヺ' })
				if kana != (lang == "ja") {
					t.Errorf("%s %s: %s", family, lang, text)
				}
			}
		}
	}
	if w, err := b.Write(notice("mozi", notify.Router), "ja"); err != nil || !strings.Contains(all(&w), "「Mozi」の系統") {
		t.Errorf("%v", err)
	}
	if _, err := b.Write(notice("mirai", notify.Router), "fr"); err == nil {
		t.Error("a language that isn't there")
	}
}

// TestOwn: an operator's template stands before ours, the one for a device before the
// one for all, and a shared part may be defined anew.
func TestOwn(t *testing.T) {
	const whole = `{{define "title"}}TITLE{{end}}{{define "what"}}W{{end}}{{define "steps"}}one
two{{end}}{{define "after"}}A{{end}}`
	b, err := load(fstest.MapFS{
		"mirai.camera.ja.tmpl": {Data: []byte(strings.Replace(whole, "TITLE", "カメラ専用", 1))},
		"newbot.en.tmpl":       {Data: []byte(whole)},
		"frame.en.tmpl":        {Data: []byte(`{{define "greeting"}}Hello.{{end}}{{define "check"}}C{{end}}{{define "contact"}}D {{.Phone}}{{end}}{{define "channel"}}E{{end}}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		family string
		device notify.Device
		lang   string
		title  string
	}{
		{"mirai", notify.Camera, "ja", "カメラ専用"},
		{"mozi", notify.Camera, "ja", "カメラ専用"},
		{"mirai", notify.Router, "ja", "ご利用の回線につながる機器の感染について（お知らせ）"},
		{"mirai", notify.Camera, "en", "A device on your line is infected"},
		{"newbot", notify.NAS, "en", "TITLE"},
		{"newbot", notify.NAS, "ja", "ご利用の回線につながる機器の感染について（お知らせ）"},
	} {
		w, err := b.Write(notice(tt.family, tt.device), tt.lang)
		if err != nil || w.Title != tt.title {
			t.Errorf("%+v: %q, %v", tt, w.Title, err)
		}
		if tt.lang == "en" && (w.Greeting[0] != "Hello." || w.Contact[0] != "D 0120-000-000") {
			t.Errorf("%+v", w)
		}
	}
}

// TestFaults: what is wrong in a template is named with its file and line before
// anything is sent.
func TestFaults(t *testing.T) {
	whole := func(what string) string {
		return `{{define "title"}}T{{end}}
{{define "what"}}` + what + `{{end}}
{{define "steps"}}one{{end}}
{{define "after"}}A{{end}}`
	}
	for name, tt := range map[string]struct{ file, text, want string }{
		"unknown field":     {"x.ja.tmpl", whole("\n\n{{.Address}}"), "x.ja.tmpl:4"},
		"which ones exist":  {"x.ja.tmpl", whole("{{.Name}}"), ".Operator, .Site"},
		"in a branch":       {"x.ja.tmpl", whole(`{{if eq .Device "never"}}{{.Name}}{{end}}`), "x.ja.tmpl:2"},
		"field of a field":  {"x.ja.tmpl", whole("{{.Device.Maker}}"), "x.ja.tmpl:2"},
		"syntax":            {"x.en.tmpl", whole("{{if}}"), "x.en.tmpl:2"},
		"unknown part":      {"x.en.tmpl", whole(`{{template "nowhere" .}}`), "nowhere"},
		"missing part":      {"x.en.tmpl", `{{define "title"}}T{{end}}`, `doesn't define "what"`},
		"empty part":        {"x.en.tmpl", whole(`{{if eq .Device "nas"}}nothing else{{end}}`), `"what" is empty for the device`},
		"unknown language":  {"x.fr.tmpl", whole("W"), "family.language.tmpl"},
		"no language":       {"x.tmpl", whole("W"), "family.language.tmpl"},
		"unknown device":    {"x.toaster.ja.tmpl", whole("W"), "no kind of device"},
		"too large":         {"x.ja.tmpl", whole(strings.Repeat("x", 1<<17)), "more than a notice can be"},
		"endless recursion": {"x.ja.tmpl", whole(`{{template "what" .}}`), "exceeded maximum template depth"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(fstest.MapFS{tt.file: {Data: []byte(tt.text)}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
	for _, site := range []string{"https://www.isp.example", "www.isp.example/path", ""} {
		o := notifytest.JA
		o.Site = site
		if _, err := words.Load(words.Config{JA: o, EN: notifytest.EN, Zone: notifytest.Zone}); err == nil {
			t.Errorf("%q is fine", site)
		}
	}
}

func Example() {
	b, err := words.Load(words.Config{JA: notifytest.JA, EN: notifytest.EN, Zone: notifytest.Zone})
	if err != nil {
		return
	}
	w, err := b.Write(notice("mirai", notify.Camera), "en")
	if err != nil {
		return
	}
	fmt.Println(w.Title)
	fmt.Println(w.Steps[1])
	// Output:
	// A device on your line is infected
	// Open the camera's settings page or app and change the administrator's password to one of twelve characters or more that you use nowhere else. A password left as it was when bought is the main cause of infection.
}
