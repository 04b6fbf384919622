package api

import (
	"strings"
	"testing"
)

func TestStaticFiles(t *testing.T) {
	w := newWorld(t)
	const page, never = "no-cache", "public, max-age=31536000, immutable"
	for name, c := range map[string]struct {
		path, accept          string
		status                int
		body, encoding, lasts string
	}{
		"page":                  {"/", "", 200, "<!doctype html>", "", page},
		"page, gzip":            {"/", "gzip, br;q=0", 200, "gz of index", "gzip", page},
		"page, no brotli twin":  {"/", "br", 200, "<!doctype html>", "", page},
		"page of the router":    {"/darknet/ports", "", 200, "<!doctype html>", "", page},
		"hashed asset":          {"/assets/app-1a2b.js", "", 200, "export {}", "", never},
		"hashed asset, brotli":  {"/assets/app-1a2b.js", "gzip, deflate, br", 200, "br of app", "br", never},
		"missing asset":         {"/assets/app-9.js", "", 404, `"not_found"`, "", ""},
		"twin itself":           {"/assets/app-1a2b.js.br", "", 404, `"not_found"`, "", ""},
		"way out of the folder": {"/..%2f..%2fetc%2fpasswd", "", 200, "<!doctype html>", "", page},
		"a folder":              {"/assets/", "", 200, "<!doctype html>", "", page},
	} {
		got := w.ask(Public, "GET", c.path, "", header{"Accept-Encoding": c.accept})
		h := got.Header()
		if got.Code != c.status || !strings.Contains(got.Body.String(), c.body) || h.Get("Content-Encoding") != c.encoding || h.Get("Cache-Control") != c.lasts {
			t.Errorf("%s: %d %v %s", name, got.Code, h, got.Body)
		}
		if c.status == 200 && h.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%s: no Vary", name)
		}
	}
	if got := w.ask(Public, "HEAD", "/assets/app-1a2b.js", "", header{"Accept-Encoding": "br"}); got.Body.Len() != 0 || got.Header().Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("%v", got.Header())
	}
}
