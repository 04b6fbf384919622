// Package web holds the built pages of the console. The sources are in ui/, a
// module of its own; `npm run build` there writes into dist/, which is embedded.
package web

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

const (
	index       = "index.html"
	placeholder = "placeholder.html"
)

// FS is the root of the static files. Its index.html is the console, or, in a
// binary built without npm, a page that says how to build the console.
//
// Files below assets/ carry a hash of their content in their name and may be
// cached for ever. A text file may have a .gz and a .br twin beside it, ready
// to be sent with that Content-Encoding.
func FS() fs.FS {
	return rooted(dist)
}

// IsPlaceholder tells that the pages weren't built into this binary.
func IsPlaceholder() bool {
	_, err := fs.Stat(dist, "dist/"+index)
	return err != nil
}

func rooted(tree fs.FS) fs.FS {
	root, err := fs.Sub(tree, "dist")
	if err != nil { // only for a path that isn't valid, and this one is
		return tree
	}
	if _, err := fs.Stat(root, index); err != nil {
		return standIn{root}
	}
	return root
}

// standIn answers with the placeholder when asked for the console's page.
type standIn struct{ fs.FS }

func (s standIn) Open(name string) (fs.File, error) {
	if name == index {
		name = placeholder
	}
	return s.FS.Open(name)
}
