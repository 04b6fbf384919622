package arch_test

import (
	"go/ast"
	"testing"
)

// grants gives tests theirs.
const grants = "lawful/lawfultest"

// Whoever makes a gate makes its rules. So only cmd does, and tests.
func TestOnlyCmdMakesAGate(t *testing.T) {
	made := 0
	for _, f := range sources(t) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok || s.Sel.Name != "New" {
				return true
			}
			if x, ok := s.X.(*ast.Ident); !ok || x.Name != "lawful" {
				return true
			}
			made++
			if !f.test && room(f.dir) != "cmd" && room(f.dir) != "test" && f.dir != grants {
				t.Errorf("%s makes a gate with rules of its own: take the one that cmd hands over", f.path)
			}
			return true
		})
	}
	if made == 0 {
		t.Error("nobody makes a gate")
	}
}
