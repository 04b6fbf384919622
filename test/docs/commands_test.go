package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// targets are what the Makefile can make, with whether `make help` says so.
func targets(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+):([^=\n][^\n]*)?$`).FindAllStringSubmatch(read(t, "Makefile"), -1) {
		out[m[1]] = strings.Contains(m[2], "## ")
	}
	return out
}

var makes = regexp.MustCompile("(?m)(?:^|`)make ((?:-C \\w+ )?[a-z0-9-]+)")

func TestMakeTargetsExist(t *testing.T) {
	have := targets(t)
	for _, want := range []string{"help", "build", "demo", "test", "lint", "bench", "fuzz", "cover", "clean"} {
		if !have[want] {
			t.Errorf("`make help` doesn't list %q", want)
		}
	}
	for _, p := range pages(t) {
		for _, m := range makes.FindAllStringSubmatch(read(t, p), -1) {
			words := strings.Fields(m[1])
			if target := words[len(words)-1]; !slices.Contains(keys(have), target) {
				t.Errorf("%s says `make %s`, which the Makefile can't", p, target)
			}
		}
	}
}

func keys(m map[string]bool) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return out
}

// binary is what the sources of the command line say it understands.
type binary struct {
	verbs []string // first words of every Use
	texts []string // every string: the names of flags are among them
}

func commandLine(t *testing.T) binary {
	t.Helper()
	var b binary
	files, err := filepath.Glob(filepath.Join(root, "cmd", "sakimori", "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("cmd/sakimori has no sources: %v", err)
	}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		src, err := os.ReadFile(f) // in this process, so that the test cache sees it
		if err != nil {
			t.Fatal(err)
		}
		tree, err := parser.ParseFile(token.NewFileSet(), f, src, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				key, isName := n.Key.(*ast.Ident)
				value, isText := n.Value.(*ast.BasicLit)
				if isName && isText && key.Name == "Use" {
					verb, _, _ := strings.Cut(strings.Trim(value.Value, "\"`"), " ")
					b.verbs = append(b.verbs, verb)
				}
			case *ast.BasicLit:
				if n.Kind == token.STRING {
					b.texts = append(b.texts, strings.Trim(n.Value, "\"`"))
				}
			}
			return true
		})
	}
	return b
}

var (
	verb = regexp.MustCompile(`^[a-z][a-z-]*$`)
	// an inline or a block's use of the program
	uses = regexp.MustCompile("(?m)(?:^|`)(?:bin/)?sakimori ([a-z][^`\n]*)")
)

// The verbs and flags that the pages show are in the program.
func TestCommandsExist(t *testing.T) {
	b := commandLine(t)
	for _, p := range pages(t) {
		for _, m := range uses.FindAllStringSubmatch(read(t, p), -1) {
			words := strings.Fields(m[1])
			for i, w := range words {
				name, isFlag := strings.CutPrefix(w, "-")
				switch {
				case isFlag:
					name = strings.TrimPrefix(name, "-")
					name, _, _ = strings.Cut(name, "=")
					if name != "" && !slices.Contains(b.texts, name) {
						t.Errorf("%s shows %q, but the program has no flag %q", p, m[0], w)
					}
				case i == 0 && !slices.Contains(b.verbs, w):
					t.Errorf("%s shows %q, but the program has no command %q", p, m[0], w)
				case i == 1 && slices.Contains([]string{"import", "finding"}, words[0]) && verb.MatchString(w) && !slices.Contains(b.verbs, w):
					t.Errorf("%s shows %q, but the program has no command %q", p, m[0], words[0]+" "+w)
				}
			}
		}
	}
}

// Scripts that can't be run are found out by somebody else first.
func TestScriptsAreExecutable(t *testing.T) {
	for _, pattern := range []string{"scripts/*", ".ci/*"} {
		files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, f := range files {
			info, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode()&0o111 == 0 || !strings.HasPrefix(string(b), "#!/usr/bin/env bash\n") || !strings.Contains(string(b), "\nset -euo pipefail\n") {
				t.Errorf("%s must be executable, for bash, and stop at the first error", f)
			}
		}
	}
}
