package api

import (
	"bytes"
	"flag"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite openapi.yaml")

// The committed document is what the code serves; the pages' types are made of it.
func TestOpenAPIIsCommitted(t *testing.T) {
	w := newWorld(t)
	got := w.server.OpenAPI()
	if *update {
		if err := os.WriteFile("openapi.yaml", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("openapi.yaml isn't what the code serves; run go test ./console/api -update:\n%s", d)
	}
	if !bytes.HasPrefix(got, []byte("components:")) || !bytes.Contains(got, []byte("openapi: 3.1.0")) {
		t.Errorf("no OpenAPI 3.1 document: %.60s", got)
	}
	served := w.ask(Wall, "GET", "/api/v1/openapi.yaml", "", nil)
	if served.Code != 200 || !bytes.Equal(served.Body.Bytes(), got) {
		t.Errorf("served %d, %d bytes", served.Code, served.Body.Len())
	}
}
