// Package docs holds the documentation inside the binary, so that it is at
// hand where there is no network.
package docs

import "embed"

// FS holds the pages, by their path below docs/.
//
//go:embed *.md walk/*.md decisions/*.md
var FS embed.FS
