// Package yaml reads what people write down, strictly: one document, no unknown
// keys, no aliases. JSON is YAML, too.
package yaml

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// longest is how many bytes a document may have.
const longest = 1 << 20

// Decode reads the one document of b into v. An empty document changes nothing.
// Errors name line and column. An alias is refused: a short text of them can stand
// for more than fits into memory.
func Decode(b []byte, v any) (err error) {
	// The library panics on some broken texts, a tag without a value for example.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("this isn't YAML that can be read (%v): write it plainly, without tags (!name)", p)
		}
	}()
	if len(b) > longest {
		return fmt.Errorf("the document has %d bytes: at most %d are read", len(b), longest)
	}
	tree, err := parser.ParseBytes(b, 0)
	if err != nil {
		return errors.New(yaml.FormatError(err, false, true))
	}
	if len(tree.Docs) > 1 {
		return errors.New("there are several documents (---) in one text: write one")
	}
	if at := (alias{}).in(tree); at != "" {
		return fmt.Errorf("%s: aliases (*name, <<) aren't read: write it out", at)
	}
	err = yaml.NewDecoder(bytes.NewReader(b), yaml.Strict()).Decode(v)
	if err != nil && !errors.Is(err, io.EOF) {
		return errors.New(yaml.FormatError(err, false, true))
	}
	return nil
}

// alias finds the first alias of a tree.
type alias struct{ at *string }

func (alias) in(tree *ast.File) string {
	var at string
	for _, d := range tree.Docs {
		if d.Body != nil {
			ast.Walk(alias{&at}, d.Body)
		}
	}
	return at
}

// Visit implements ast.Visitor.
func (a alias) Visit(n ast.Node) ast.Visitor {
	switch n.Type() {
	case ast.AliasType, ast.MergeKeyType:
		if p := n.GetToken().Position; *a.at == "" {
			*a.at = fmt.Sprintf("[%d:%d]", p.Line, p.Column)
		}
		return nil
	}
	return a
}
