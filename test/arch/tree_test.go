package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// root is the repository, seen from this folder.
var root = filepath.Join("..", "..")

// module is the name that every import of ours begins with.
const module = "sakimori"

// file is one Go source.
type file struct {
	path    string // with slashes, relative to the repository
	dir     string // its folder, "." for the root
	test    bool
	ast     *ast.File
	fset    *token.FileSet
	imports []string
}

// local tells the import path below the module, "" for one from outside.
func local(imported string) string {
	p, _ := strings.CutPrefix(imported, module+"/")
	if p == imported {
		return ""
	}
	return p
}

// room is the top-level folder that a folder stands in.
func room(dir string) string {
	first, _, _ := strings.Cut(dir, "/")
	return first
}

// passed over: built, downloaded or somebody else's.
var passed = []string{".git", "node_modules", "bin", "build", "dist", "testdata"}

// walk calls f for every file of the repository that is a source of ours.
func walk(t *testing.T, f func(rel string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != root && slices.Contains(passed, d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		f(filepath.ToSlash(rel))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sources parses every Go file of the module. A folder with a go.mod of
// its own is another module.
func sources(t *testing.T) []file {
	t.Helper()
	var out []file
	var modules []string
	walk(t, func(rel string) {
		if path.Base(rel) == "go.mod" && rel != "go.mod" {
			modules = append(modules, path.Dir(rel)+"/")
		}
	})
	walk(t, func(rel string) {
		if !strings.HasSuffix(rel, ".go") || slices.ContainsFunc(modules, func(m string) bool { return strings.HasPrefix(rel, m) }) {
			return
		}
		src := read(t, rel)
		fset := token.NewFileSet()
		tree, err := parser.ParseFile(fset, rel, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("%v", err)
			return
		}
		f := file{path: rel, dir: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), ast: tree, fset: fset}
		for _, im := range tree.Imports {
			f.imports = append(f.imports, strings.Trim(im.Path.Value, `"`))
		}
		out = append(out, f)
	})
	if len(out) < 10 {
		t.Fatalf("only %d Go files found: is %s the repository?", len(out), root)
	}
	return out
}

// read is a file's text.
func read(t *testing.T, rel string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(rel)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
