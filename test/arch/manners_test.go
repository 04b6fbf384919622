package arch_test

import (
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Drawers take in whatever nobody found a name for.
func TestPackageNames(t *testing.T) {
	for _, f := range sources(t) {
		name := strings.TrimSuffix(f.ast.Name.Name, "_test")
		if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "types", "models", "misc", "shared", "lib", "internal", "pkg"}, name) {
			t.Errorf("%s: package %s says nothing: name it after what it knows", f.path, name)
		}
		if base := path.Base(f.dir); name != "main" && name != base {
			t.Errorf("%s: package %s stands in folder %s", f.path, name, base)
		}
	}
}

func TestPackageComments(t *testing.T) {
	comment := map[string]string{}
	for _, f := range sources(t) {
		if f.test {
			continue
		}
		if _, ok := comment[f.dir]; !ok {
			comment[f.dir] = ""
		}
		text := f.ast.Doc.Text()
		if text == "" {
			continue
		}
		if comment[f.dir] != "" {
			t.Errorf("%s: the package has a comment in two files", f.path)
		}
		comment[f.dir] = text
		if name := f.ast.Name.Name; name != "main" && !strings.HasPrefix(text, "Package "+name+" ") {
			t.Errorf("%s: the comment must begin with \"Package %s\"", f.path, name)
		}
	}
	for dir, text := range comment {
		if text == "" {
			t.Errorf("%s: no file says what the package is for", dir)
		}
	}
}

// A decoder meets bytes from strangers. Each package under base/wire, and each
// one with a function that decodes bytes, has a fuzz target.
func TestDecodersAreFuzzed(t *testing.T) {
	decodes, fuzzed := map[string]string{}, map[string]bool{}
	for _, f := range sources(t) {
		// What base/wire/ring reads of its own was written by the kernel.
		if strings.HasPrefix(f.dir, "base/wire/") && f.dir != "base/wire/ring" && !f.test {
			decodes[f.dir] = "it stands under base/wire"
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			switch {
			case !ok:
			case f.test && strings.HasPrefix(fn.Name.Name, "Fuzz"):
				fuzzed[f.dir] = true
			case !f.test && room(f.dir) != "cmd" && isDecoder(fn):
				decodes[f.dir] = fn.Name.Name + " takes bytes"
			}
		}
	}
	for dir, why := range decodes {
		if !fuzzed[dir] {
			t.Errorf("%s has no Fuzz function: %s", dir, why)
		}
	}
}

// isDecoder: an exported function whose name begins with a word of decoding
// and whose first parameter is a slice of bytes.
func isDecoder(fn *ast.FuncDecl) bool {
	if !regexp.MustCompile(`^(Decode|Parse|Unmarshal|Restore)`).MatchString(fn.Name.Name) || len(fn.Type.Params.List) == 0 {
		return false
	}
	s, ok := fn.Type.Params.List[0].Type.(*ast.ArrayType)
	if !ok || s.Len != nil {
		return false
	}
	id, ok := s.Elt.(*ast.Ident)
	return ok && id.Name == "byte"
}

// forbidden are calls that only a main package may make: elsewhere the time
// comes from base/clock, words go to an io.Writer or the log, and errors are
// returned.
var forbidden = map[string]string{
	"fmt.Print": "write to an io.Writer that was handed in", "fmt.Printf": "write to an io.Writer that was handed in", "fmt.Println": "write to an io.Writer that was handed in",
	"time.Now": "take a base/clock", "time.Sleep": "take a base/clock", "time.After": "take a base/clock", "time.Tick": "take a base/clock",
	"os.Exit": "return an error", "log.Fatal": "return an error", "log.Fatalf": "return an error", "log.Fatalln": "return an error",
	"log.Print": "use log/slog", "log.Printf": "use log/slog", "log.Println": "use log/slog",
}

func TestForbiddenCalls(t *testing.T) {
	for _, f := range sources(t) {
		if f.test || f.ast.Name.Name == "main" || room(f.dir) == "test" {
			continue
		}
		reasoned := map[int]bool{} // lines with a reason for the linter
		for _, g := range f.ast.Comments {
			for _, c := range g.List {
				if strings.HasPrefix(c.Text, "//nolint:forbidigo // ") {
					reasoned[f.fset.Position(c.Pos()).Line] = true
				}
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if fn, ok := n.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: init() runs before anybody asked: let cmd call it", f.path)
			}
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := s.X.(*ast.Ident)
			if !ok {
				return true
			}
			line := f.fset.Position(s.Pos()).Line
			if instead := forbidden[x.Name+"."+s.Sel.Name]; instead != "" && !reasoned[line] {
				t.Errorf("%s:%d: %s.%s: %s", f.path, line, x.Name, s.Sel.Name, instead)
			}
			return true
		})
	}
}

// longest is how many lines a file may have before it is two things.
const longest = 600

var (
	promise = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)
	issue   = regexp.MustCompile(`#\d+`)
	machine = regexp.MustCompile(`(^|[\s"'` + "`" + `(=:])/(work|root|home/\w+|Users|tmp/team)(/|\b)`)
	written = []string{".go", ".ts", ".svelte", ".js", ".mjs", ".css", ".html", ".md", ".yml", ".yaml", ".sh", ".mod", ".txtar", ".scene"}
)

// What holds for every text that a person wrote, whatever its language.
func TestTexts(t *testing.T) {
	walk(t, func(rel string) {
		ext := path.Ext(rel)
		script := ext == "" && (rel == "Makefile" || strings.HasPrefix(rel, ".ci/") || strings.HasPrefix(rel, "scripts/"))
		if !script && !slices.Contains(written, ext) {
			return
		}
		text := read(t, rel)
		if !utf8.ValidString(text) {
			t.Errorf("%s isn't UTF-8", rel)
		}
		if n := strings.Count(text, "\n"); n > longest && !slices.Contains([]string{".md", ".yaml", ".mod"}, ext) { // pages, and what is generated
			t.Errorf("%s has %d lines, more than %d: is it still one thing?", rel, n, longest)
		}
		if text != "" && !strings.HasSuffix(text, "\n") {
			t.Errorf("%s doesn't end with a newline", rel)
		}
		for i, line := range strings.Split(text, "\n") {
			if promise.MatchString(line) && !issue.MatchString(line) {
				t.Errorf("%s:%d: a promise without the number of its issue: %s", rel, i+1, strings.TrimSpace(line))
			}
			if machine.MatchString(line) {
				t.Errorf("%s:%d: a path of one machine: %s", rel, i+1, strings.TrimSpace(line))
			}
			if strings.HasPrefix(line, "<<<<<<< ") {
				t.Errorf("%s:%d: a merge that wasn't ended", rel, i+1)
			}
		}
	})
}
