package words

import (
	"fmt"
	"reflect"
	"strings"
	"text/template"
	"text/template/parse"
)

// known refuses a field that Data doesn't have, also where no example would meet it.
func known(t *template.Template) error {
	if t.Tree == nil || t.Root == nil {
		return nil
	}
	var bad error
	walk(t.Root, func(n parse.Node) {
		f, is := n.(*parse.FieldNode)
		if !is || bad != nil {
			return
		}
		if name := strings.Join(f.Ident, "."); len(f.Ident) > 1 || !fields[f.Ident[0]] {
			where, _ := t.ErrorContext(n)
			bad = fmt.Errorf("%s: there is no field .%s: use %s", where, name, strings.Join(names(), ", "))
		}
	})
	return bad
}

var fields = func() map[string]bool {
	m := map[string]bool{}
	for f := range reflect.TypeFor[Data]().Fields() {
		m[f.Name] = true
	}
	return m
}()

// names are the fields in their order.
func names() (list []string) {
	for f := range reflect.TypeFor[Data]().Fields() {
		list = append(list, "."+f.Name)
	}
	return list
}

// walk visits every node of a tree of templates.
func walk(n parse.Node, visit func(parse.Node)) {
	if n == nil || reflect.ValueOf(n).IsNil() {
		return
	}
	visit(n)
	switch n := n.(type) {
	case *parse.ListNode:
		for _, c := range n.Nodes {
			walk(c, visit)
		}
	case *parse.ActionNode:
		walk(n.Pipe, visit)
	case *parse.PipeNode:
		for _, c := range n.Cmds {
			walk(c, visit)
		}
	case *parse.CommandNode:
		for _, c := range n.Args {
			walk(c, visit)
		}
	case *parse.TemplateNode:
		walk(n.Pipe, visit)
	case *parse.IfNode:
		branch(&n.BranchNode, visit)
	case *parse.WithNode:
		branch(&n.BranchNode, visit)
	case *parse.RangeNode:
		branch(&n.BranchNode, visit)
	}
}

func branch(n *parse.BranchNode, visit func(parse.Node)) {
	walk(n.Pipe, visit)
	walk(n.List, visit)
	walk(n.ElseList, visit)
}
