package api

import (
	"bytes"
	"errors"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

const indexPage = "index.html"

// static serves the built pages. A path without a dot, or below address/, belongs
// to the router in the browser and gets the index page.
func (s *Server) static(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeProblem(w, r, fail("method_not_allowed"))
		return
	}
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	if token := r.URL.Query().Get("token"); token != "" && name == "" {
		s.exchange(w, r, token)
		return
	}
	if name == "" || s.deps.Static != nil && (!strings.Contains(path.Base(name), ".") || strings.HasPrefix(name, "address/")) {
		name = indexPage
	}
	if s.deps.Static == nil || !fs.ValidPath(name) || strings.HasSuffix(name, ".br") || strings.HasSuffix(name, ".gz") {
		writeProblem(w, r, fail("not_found"))
		return
	}
	raw, err := fs.ReadFile(s.deps.Static, name)
	if err != nil {
		writeProblem(w, r, fail("not_found"))
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentType(name))
	h.Set("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-cache")
	if strings.HasPrefix(name, "assets/") { // names there carry a hash of the content
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if packed, coding := s.packed(name, r.Header.Get("Accept-Encoding")); coding != "" {
		h.Set("Content-Encoding", coding)
		h.Set("Content-Length", strconv.Itoa(len(packed)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(packed) //nolint:gosec // an embedded file; a client that went away needs no answer
		}
		return
	}
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(raw))
}

// packed gives the best compressed twin of a file that the client takes.
func (s *Server) packed(name, accept string) (raw []byte, coding string) {
	for _, c := range [...]struct{ coding, suffix string }{{"br", ".br"}, {"gzip", ".gz"}} {
		if !takes(accept, c.coding) {
			continue
		}
		raw, err := fs.ReadFile(s.deps.Static, name+c.suffix)
		if err == nil {
			return raw, c.coding
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, ""
		}
	}
	return nil, ""
}

// takes reads Accept-Encoding (RFC 9110 §12.5.3).
func takes(accept, coding string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		name, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		if !strings.EqualFold(strings.TrimSpace(name), coding) {
			continue
		}
		q, ok := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
		if !ok {
			return true
		}
		f, err := strconv.ParseFloat(q, 64)
		return err == nil && f > 0
	}
	return false
}

// contentType doesn't ask the machine, whose table may lack a type.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".html":
		return "text/html; charset=utf-8"
	case ".json", ".map":
		return "application/json"
	case ".svg":
		return "image/svg+xml"
	case ".woff2":
		return "font/woff2"
	case ".webmanifest":
		return "application/manifest+json"
	}
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return "application/octet-stream"
}
