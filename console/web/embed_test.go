package web_test

import (
	"io/fs"
	"strings"
	"testing"

	"sakimori/console/web"
)

// The same test holds for both binaries: with the pages, and without.
func TestFS(t *testing.T) {
	page, err := fs.ReadFile(web.FS(), "index.html")
	if err != nil {
		t.Fatalf("the console has no index.html: %v", err)
	}
	marked := strings.Contains(string(page), "sakimori-placeholder")
	if marked != web.IsPlaceholder() {
		t.Fatalf("IsPlaceholder() = %v, but the marker in index.html says %v", web.IsPlaceholder(), marked)
	}
	if web.IsPlaceholder() {
		t.Log("the pages weren't built: run `npm ci && npm run build` in console/web/ui")
		return
	}
	// The policy of the server is default-src 'self': nothing inline may slip in.
	for _, forbidden := range []string{"<style", " style=", "onclick=", "data:"} {
		if strings.Contains(string(page), forbidden) {
			t.Errorf("index.html holds %q, which the content security policy refuses", forbidden)
		}
	}
	scripts := strings.Count(string(page), "<script")
	if external := strings.Count(string(page), " src=\"/"); scripts == 0 || scripts != external {
		t.Errorf("index.html has %d scripts, %d of them from files", scripts, external)
	}
}
