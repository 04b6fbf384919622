package yaml_test

import (
	"strings"
	"testing"
	"time"

	"sakimori/base/yaml"
)

type page struct {
	Name string         `yaml:"name"`
	More map[string]any `yaml:"more"`
	List []string       `yaml:"list"`
}

func TestDecode(t *testing.T) {
	for text, want := range map[string]string{
		"name: a":                             "",
		`{"name": "a", "more": {"b": 1}}`:     "",
		"":                                    "",
		"# nothing":                           "",
		"nome: a":                             "nome",
		"name: [":                             "1:7",
		"name: a\n---\nname: b":               "several documents",
		"name: &x a\nmore: {b: *x}":           "aliases",
		"name: a\nmore:\n  <<: {b: 1}":        "aliases",
		"list: !x ":                           "without tags",
		"name: a\nname: b":                    "already defined",
		"name: " + strings.Repeat("a", 1<<20): "at most",
	} {
		var p page
		err := yaml.Decode([]byte(text), &p)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v", text, err)
		}
		if err == nil && text != "" && text[0] != '#' && p.Name != "a" {
			t.Errorf("%q: %+v", text, p)
		}
	}
}

// FuzzDecode: whatever is written, it is read or refused.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"name: a", "more: {a: &x [1], b: *x}", "- a\n- b", "? a : b", "list: !x ", "\x00", "a: !!binary x", "name: |\n  a\n b"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		back := make(chan error, 1)
		go func() {
			var p page
			var v any
			err := yaml.Decode(b, &p)
			_ = yaml.Decode(b, &v)
			back <- err
		}()
		select {
		case err := <-back:
			if err != nil && err.Error() == "" {
				t.Error("an error without words")
			}
		case <-time.After(10 * time.Second):
			t.Fatal("doesn't come back")
		}
	})
}
