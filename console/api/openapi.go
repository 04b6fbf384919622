package api

import (
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"sakimori/console"
)

// config is the framework's: JSON and CSV, no pages of its own (they would load
// scripts from elsewhere), and our form of errors.
func (s *Server) config() huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:       "sakimori console",
				Version:     "1",
				Description: "What was observed and found. Times are RFC 3339 in UTC and speak of the data, not of the wall clock. Own subscribers' addresses are always masked (203.0.113.x, 2001:db8:1::x).",
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer": {Type: "http", Scheme: "bearer", Description: "an API token, skm_..."},
					"cookie": {Type: "apiKey", In: "cookie", Name: cookieBase, Description: "a session, from POST /session; by https its name is __Host-sakimori"},
				},
			},
		},
		Formats: map[string]huma.Format{
			"application/json": huma.DefaultJSONFormat,
			"json":             huma.DefaultJSONFormat,
			"text/csv":         csvFormat,
		},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{s.finish},
	}
}

// finish gives an answer its last form: an error becomes a problem in the
// language of who asked, a table gets the headers of a file.
func (s *Server) finish(ctx huma.Context, _ string, v any) (any, error) {
	c := callOf(ctx.Context())
	p, ok := v.(*Problem)
	if m, is := v.(*huma.ErrorModel); is {
		p, ok = fromHuma(m), true
		s.report(ctx.Context(), p)
	}
	if ok {
		ctx.SetHeader("Content-Type", p.ContentType(""))
		ctx.SetHeader("Content-Language", c.lang)
		return p.localize(c.lang, c.requestID), nil
	}
	if _, is := v.(tabular); is && ctx.Header("Accept") == "text/csv" {
		ctx.SetHeader("Content-Type", "text/csv; charset=utf-8; header=present")
		ctx.SetHeader("Content-Disposition", `attachment; filename="sakimori-`+ctx.Operation().OperationID+`.csv"`)
		if st, is := v.(interface{ stateWord() string }); is {
			ctx.SetHeader("Sakimori-State", st.stateWord())
		}
	}
	return v, nil
}

// describe writes who may use the route and the ways to log in into the document.
func (s *Server) describe(op *huma.Operation) {
	op.Tags = []string{tagOf(op.Path)}
	may := permissions[op.Method+" "+op.Path]
	op.Extensions = map[string]any{"x-roles": may.Words()}
	if !may.Any(console.Public) {
		op.Security = []map[string][]string{{"bearer": {}}, {"cookie": {}}}
	}
	switch op.OperationID {
	case "import":
		op.DefaultStatus = http.StatusAccepted
		op.RequestBody = &huma.RequestBody{
			Description: "a capture: pcap or pcapng, also packed with gzip or zstd",
			Required:    true,
			Content: map[string]*huma.MediaType{"application/octet-stream": {
				Schema: &huma.Schema{Type: "string", Format: "binary"},
			}},
		}
	case "importReports", "importRecords", "importCNC":
		op.RequestBody = &huma.RequestBody{
			Description: "the file", Required: true,
			Content: map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: "string", Format: "binary"}}},
		}
	case "exportLedger":
		op.Responses = map[string]*huma.Response{"200": {Description: "The entries in their order, as docs/ledger.md says", Content: map[string]*huma.MediaType{
			"application/x-ndjson": {Schema: &huma.Schema{Type: "string"}}, "text/csv": {Schema: &huma.Schema{Type: "string"}},
		}}}
	case "exportCNC":
		op.Responses = map[string]*huma.Response{"200": {Description: "The file, or its detached signature, as docs/blocklist.md says", Content: map[string]*huma.MediaType{
			"application/octet-stream": {Schema: &huma.Schema{Type: "string", Format: "binary"}},
		}}}
	case "importPath":
		op.DefaultStatus = http.StatusAccepted
	case "readyz":
		op.Responses = map[string]*huma.Response{"503": {Description: "An input has fallen silent or failed; the body is the same"}}
	case "stream":
		op.Responses = map[string]*huma.Response{"200": {
			Description: "Events `map`, `status`, `finding`, `job` and `attack` with the shapes MapFrame, Status, Found, Job and AttackRow, and `reset`: events were missed, load the lists again. `: hb` each 15 s.",
			Content: map[string]*huma.MediaType{"text/event-stream": {
				Schema: &huma.Schema{Type: "string"},
			}},
		}}
	}
}

func tagOf(path string) string {
	rest, ok := strings.CutPrefix(path, "/api/v1/")
	if !ok {
		return "console"
	}
	first, _, _ := strings.Cut(rest, "/")
	return first
}

// describeCSV notes which answers are tables.
func (s *Server) describeCSV(method, path string, out any) {
	f := reflect.ValueOf(out).Elem().FieldByName("Body")
	if !f.IsValid() || !f.Type().Implements(reflect.TypeFor[tabular]()) {
		return
	}
	s.csv[method+" "+path] = true
	s.huma.OpenAPI().Paths[path].Get.Responses["200"].Content["text/csv"] = &huma.MediaType{Schema: &huma.Schema{Type: "string"}}
}

// document writes the OpenAPI document, with what the framework can't say.
func (s *Server) document() ([]byte, error) {
	doc := s.huma.OpenAPI()
	schemas := doc.Components.Schemas
	for _, t := range []reflect.Type{reflect.TypeFor[MapFrame](), reflect.TypeFor[Found](), reflect.TypeFor[Job]()} {
		schemas.Schema(t, true, t.Name())
	}
	if e := schemas.Map()["ErrorModel"]; e != nil {
		e.Properties["code"] = &huma.Schema{Type: "string", Description: "stays the same in all versions and languages"}
		e.Properties["request_id"] = &huma.Schema{Type: "string", Description: "as in the server's log"}
	}
	for name, schema := range schemas.Map() {
		nullableRefs(schema, schemas.TypeFromRef("#/components/schemas/"+name))
	}
	return doc.YAML()
}

// nullableRefs says of pointers to structs that they may be null.
func nullableRefs(schema *huma.Schema, t reflect.Type) {
	if t == nil || t.Kind() != reflect.Struct {
		return
	}
	for _, f := range reflect.VisibleFields(t) {
		name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
		p := schema.Properties[name]
		if f.Type.Kind() == reflect.Pointer && p != nil && p.Ref != "" && option == "" {
			schema.Properties[name] = &huma.Schema{OneOf: []*huma.Schema{p, {Type: "null"}}}
		}
	}
}

// Schema describes the four numbers of an arc.
func (a Arc) Schema(huma.Registry) *huma.Schema {
	four := 4
	return &huma.Schema{
		Type: "array", Description: "lat, lon, protoIndex, packets", MinItems: &four, MaxItems: &four,
		Items: &huma.Schema{Type: "number"},
	}
}

var _ huma.SchemaProvider = Arc{}
