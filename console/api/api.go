package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"sakimori/console"
)

const (
	jsonBytes     = 64 << 10 // of a JSON body
	importBytes   = 64 << 30 // of an uploaded capture, unless told otherwise
	answerWithin  = 30 * time.Second
	sessionLasts  = 12 * time.Hour
	workListMost  = 200
	addressEvents = 100
)

// Server is the HTTP API.
type Server struct {
	plain  bool // nothing is masked, so ids may hold addresses
	deps   Deps
	mux    *routes
	huma   huma.API
	own    masker // masks the operator's own subscribers
	all    masker // masks everybody
	seal   *sealer
	cross  *http.CrossOriginProtection
	logins *limiter
	csv    map[string]bool // patterns that answer text/csv too
	spec   []byte          // OpenAPI document, YAML
}

// routes remembers what was registered, so that a test can walk it.
type routes struct {
	http.ServeMux
	patterns []string
}

func (m *routes) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	m.patterns = append(m.patterns, pattern)
	m.ServeMux.HandleFunc(pattern, h)
}

// New builds the API. It starts nothing and opens nothing.
func New(d Deps) (*Server, error) {
	if d.Archive == nil || d.Inputs == nil || d.Tokens == nil || d.Clock == nil {
		return nil, errors.New("the API needs an Archive, Inputs, Tokens and a Clock")
	}
	seal, err := newSealer(d.Secret)
	if err != nil {
		return nil, err
	}
	plain := d.Own == nil
	if plain {
		d.Own = nobody
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Live == nil {
		d.Live = NewLive(d.Clock)
	}
	if d.SessionTTL == 0 {
		d.SessionTTL = sessionLasts
	}
	if d.ImportBytes == 0 {
		d.ImportBytes = importBytes
	}
	if d.Speed == 0 {
		d.Speed = 1
	}
	s := &Server{
		plain: plain, deps: d, mux: &routes{}, seal: seal, csv: map[string]bool{},
		own: masker{d.Own}, all: masker{everybody},
		cross: http.NewCrossOriginProtection(), logins: newLimiter(d.Clock),
	}
	s.huma = humago.New(s.mux, s.config())
	s.register()
	if s.spec, err = s.document(); err != nil {
		return nil, err
	}
	return s, nil
}

// OpenAPI is the description of the API, YAML.
func (s *Server) OpenAPI() []byte { return s.spec }

// register lists all routes. Who may use them stands in permissions.
func (s *Server) register() {
	const v1 = "/api/v1"
	get, post, del := http.MethodGet, http.MethodPost, http.MethodDelete
	add(s, get, "/livez", "livez", "Is the program alive?", s.livez)
	add(s, get, "/readyz", "readyz", "Do packets come in?", s.readyz)
	add(s, get, "/version", "version", "Which program is this?", s.version)
	add(s, post, "/session", "login", "Sign in, with a token or with a name and a password", s.login)
	add(s, get, "/session", "session", "Who am I?", s.session)
	add(s, del, "/session", "logout", "End the session", s.logout)

	add(s, get, v1+"/status", "status", "How the console and its inputs do", s.status)
	add(s, get, v1+"/situation", "situation", "What to do first", s.situation)
	add(s, get, v1+"/telescope/series", "series", "Packets, sources and targets over time", s.series)
	add(s, get, v1+"/telescope/top", "top", "Ranking of ports, countries, ASes, protocols or classes", s.top)
	add(s, get, v1+"/telescope/rising", "rising", "Ports that rise against their own past", s.rising)
	add(s, get, v1+"/telescope/heat", "heat", "Busiest ports by hour", s.heat)
	add(s, get, v1+"/telescope/years", "years", "Yearly totals, the share aimed at IoT, and published figures", s.years)
	add(s, get, v1+"/telescope/events", "events", "Scans and runs of answers", s.events)
	add(s, get, v1+"/address/{ip}", "address", "What is known of one source", s.address)
	add(s, get, v1+"/findings", "findings", "Findings, last changed first", s.findings)
	add(s, get, v1+"/findings/{id}", "finding", "One finding with its history", s.finding)
	add(s, post, v1+"/findings/{id}/ack", "acknowledge", "Say that somebody looks after a finding", s.acknowledge)
	add(s, get, v1+"/jobs", "jobs", "Imports", s.jobs)
	add(s, post, v1+"/imports", "import", "Import an uploaded capture", s.upload)
	add(s, post, v1+"/imports/path", "importPath", "Import a file of this machine", s.importPath)
	add(s, post, v1+"/jobs/{id}/stop", "stopJob", "Stop an import; it can be resumed", s.stopJob)
	add(s, post, v1+"/jobs/{id}/resume", "resumeJob", "Go on with a stopped import", s.resumeJob)
	add(s, get, v1+"/stream", "stream", "What happens now (server-sent events)", s.stream)

	s.registerPeople(v1)
	s.registerNotices(v1)
	s.registerOffice(v1)
	s.registerAttacks(v1)
	s.registerRoutes(v1)
	s.registerFlows(v1)

	s.mux.HandleFunc("GET "+v1+"/openapi.yaml", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+yaml")
		_, _ = w.Write(s.spec) // a client that went away needs no answer
	})
	s.mux.HandleFunc("/api/", s.nothingHere)
	s.mux.HandleFunc("/", s.static)
}

// add registers one operation. What its handler returns as an error is turned
// into a problem, and logged when it is the server's own fault.
func add[I, O any](s *Server, method, path, id, summary string, h func(context.Context, *I) (*O, error)) {
	op := huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary,
		MaxBodyBytes: jsonBytes, Errors: []int{},
	}
	s.describe(&op)
	huma.Register(s.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			p := explain(err)
			s.report(ctx, p)
			if extra, ok := errors.AsType[huma.HeadersError](err); ok {
				return nil, huma.ErrorWithHeaders(p, extra.GetHeaders())
			}
			return nil, p
		}
		return out, nil
	})
	var o O
	s.describeCSV(method, path, &o)
}

// report logs what isn't the client's fault. The text may name a subscriber,
// so it goes through the masker as well.
func (s *Server) report(ctx context.Context, p *Problem) {
	if p.Status < 500 || p.cause == nil || errors.Is(ctx.Err(), context.Canceled) {
		return // who went away needs no answer, and broke nothing
	}
	c := callOf(ctx)
	s.deps.Log.ErrorContext(ctx, "request failed", slog.String("request_id", c.requestID),
		slog.String("route", c.pattern), slog.String("code", p.Code), slog.String("error", s.own.String(p.cause.Error())))
}

// call is what is known of the request in hand.
type call struct {
	requestID string
	lang      string // ja or en
	pattern   string // of its route
	remote    netip.Addr
	forwarded bool // by a proxy: it needn't come from where it seems to
	who       principal
	url       string // path and query, for the link to the next page
}

type principal struct {
	roles  console.Roles // Public and Known included
	user   string
	token  console.Token
	secret string // of the token, to look again while a stream is open
}

type callKey struct{}

func callOf(ctx context.Context) call {
	c, ok := ctx.Value(callKey{}).(call)
	if !ok {
		return call{lang: "ja"}
	}
	return c
}
