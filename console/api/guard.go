package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/console"
)

const (
	cookieBase = "sakimori"
	streaming  = "GET /api/v1/stream"
	uploading  = "POST /api/v1/imports"
)

// patient are the routes that may take as long as they move, and whose bodies are
// read as they come.
var patient = map[string]bool{
	streaming: true, uploading: true, "POST /api/v1/reports": true, "POST /api/v1/subscriber/records": true,
	"POST /api/v1/cnc/import": true, "GET /api/v1/cnc/export": true, "POST /api/v1/ledger/verify": true, "GET /api/v1/ledger/export": true,
}

// plain are the routes whose answers aren't masked: who a subscriber is, which took a
// Grant; files whose hashes and signatures are of what stands there; and what speaks of
// the operator's own resolvers and routers, which are nobody's line.
var plain = map[string]bool{
	"POST /api/v1/cases/{id}/identity": true, "POST /api/v1/notices/{id}/preview": true, "GET /api/v1/ledger/export": true,
	"GET /api/v1/cnc/export": true, "GET /api/v1/rpz/resolvers": true, "POST /api/v1/rpz/canary": true, "GET /api/v1/exporters": true, "GET /api/v1/rpz/config/{vendor}": true,
}

// facilities are the routes that show which of the network's own addresses are attacked,
// and what is done about it, to those who defend it. Who takes part in an attack stays
// masked there, too: the handlers see to it.
var facilities = map[string]bool{
	"GET /api/v1/attacks/{id}": true, "POST /api/v1/attacks/{id}/plan": true, "POST /api/v1/attacks/{id}/propose": true, "GET /api/v1/mitigations": true,
	"GET /api/v1/mitigations/{id}": true, "POST /api/v1/mitigations/{id}/approve": true, "POST /api/v1/mitigations/{id}/reject": true,
	"POST /api/v1/mitigations/{id}/withdraw": true,
}

// defends tells whether who asks is one of those who defend the network.
func defends(ctx context.Context) bool { return callOf(ctx).who.roles.Any(defenders) }

// Handler is the API with its guards: each request is given an id, is checked
// for where it comes from, who sends it and whether they may, and has what is
// written in answer masked.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pattern := s.mux.Handler(r)
		c := call{
			requestID: newRequestID(), lang: language(r.Header.Get("Accept-Language")),
			pattern: pattern, remote: s.remoteAddr(r), url: r.URL.RequestURI(),
			forwarded: r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != "",
		}
		r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
		headers(w, c, strings.HasPrefix(r.URL.Path, "/api/"))
		masked, arrived := &maskWriter{ResponseWriter: w}, r
		defer func() {
			if broken := recover(); broken != nil {
				s.broken(masked, arrived, broken)
			}
		}()
		if !s.hostKnown(r.Host) {
			writeProblem(w, r, fail("host_unknown"))
			return
		}
		if err := s.cross.Check(r); err != nil {
			writeProblem(w, r, fail("cross_origin"))
			return
		}
		who, problem := s.authorize(w, r, pattern)
		if problem != nil {
			writeProblem(w, r, problem)
			return
		}
		c.who = who
		ctx := context.WithValue(r.Context(), callKey{}, c)
		if !patient[pattern] {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, answerWithin)
			defer cancel()
			r.Body = http.MaxBytesReader(w, r.Body, jsonBytes)
		}
		r = r.WithContext(ctx)
		if pattern == "/" {
			s.mux.ServeHTTP(w, r)
			return
		}
		s.negotiate(r, pattern)
		if masked.m = s.maskFor(who.roles); plain[pattern] || facilities[pattern] && who.roles.Any(defenders) {
			masked.m = masker{nobody}
		}
		s.mux.ServeHTTP(masked, r)
		if err := masked.Close(); err != nil {
			s.deps.Log.DebugContext(ctx, "client went away", slog.String("request_id", c.requestID))
		}
	})
}

// maskFor is the masker for who has these roles: who can't read more than a wall
// is shown no address at all.
func (s *Server) maskFor(r console.Roles) masker {
	if r.Any(readers) {
		return s.own
	}
	return s.all
}

func headers(w http.ResponseWriter, c call, private bool) {
	h := w.Header()
	h.Set("X-Request-Id", c.requestID)
	// A letter is shown from bytes that the page holds (blob:), as a frame of nothing else.
	h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; frame-src blob:; object-src blob:")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	if private {
		h.Set("Cache-Control", "no-store")
		h.Set("Vary", "Accept, Accept-Language, Authorization, Cookie")
	}
}

func newRequestID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

// remoteAddr is where a request comes from. Through proxies of ours it is the last
// address that isn't theirs; what stands before that, anybody may have written.
func (s *Server) remoteAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	at := ap.Addr().Unmap().WithZone("")
	chain := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for ours := s.isProxy(at); ours && len(chain) > 0; ours = s.isProxy(at) {
		a, err := netip.ParseAddr(strings.TrimSpace(chain[len(chain)-1]))
		if err != nil {
			return at
		}
		at, chain = a.Unmap().WithZone(""), chain[:len(chain)-1]
	}
	return at
}

func (s *Server) isProxy(a netip.Addr) bool {
	return slices.ContainsFunc(s.deps.Proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// hostKnown keeps out a foreign site that had its own name resolve to this
// machine (DNS rebinding): a browser then sends that name as the host.
func (s *Server) hostKnown(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "localhost" {
		return true
	}
	if a, err := netip.ParseAddr(host); err == nil && a.Unmap().IsLoopback() {
		return true
	}
	return slices.ContainsFunc(s.deps.Hosts, func(h string) bool { return strings.EqualFold(h, host) })
}

// authorize finds out who asks and whether the route is open to them.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request, pattern string) (principal, *Problem) {
	may, listed := permissions[pattern]
	if !listed {
		return principal{}, fail("not_found")
	}
	if may.Any(console.Public) {
		return principal{roles: console.Public}, nil
	}
	secret, kind := s.credentials(r)
	if secret == "" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="sakimori"`)
		return principal{}, fail("unauthenticated")
	}
	token, err := s.deps.Tokens.Redeem(r.Context(), secret, kind)
	if err != nil && !errors.Is(err, console.ErrToken) {
		p := explain(err)
		s.report(r.Context(), p)
		return principal{}, p
	}
	if err != nil {
		if kind == console.APIToken { // an old cookie is no attempt to log in
			s.logins.failed(callOf(r.Context()).remote)
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="sakimori", error="invalid_token"`)
		return principal{}, fail("token_invalid")
	}
	who := principal{roles: token.Roles | console.Known | console.Public, user: token.User, token: token, secret: secret}
	if isPerson(token) {
		who.roles |= console.Person
	}
	if !who.roles.Any(may) {
		if may == console.Person {
			return principal{}, fail("no_account")
		}
		return principal{}, fail("forbidden", may, token.Roles)
	}
	if token.ReadOnly && r.Method != http.MethodGet && r.Method != http.MethodHead && pattern != "DELETE /session" {
		return principal{}, fail("read_only")
	}
	return who, nil
}

func (s *Server) credentials(r *http.Request) (secret string, kind console.TokenKind) {
	if scheme, rest, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(rest), console.APIToken
	}
	if c, err := r.Cookie(s.cookieName("")); err == nil {
		return c.Value, console.SessionToken
	}
	return "", ""
}

// negotiate settles the form of the answer: a query's format goes before the
// Accept header, and only lists have more than JSON.
func (s *Server) negotiate(r *http.Request, pattern string) {
	form := "application/json"
	asked := r.URL.Query().Get("format")
	accept := r.Header.Get("Accept")
	if s.csv[pattern] && (asked == "csv" || asked == "" && strings.HasPrefix(strings.TrimSpace(accept), "text/csv")) {
		form = "text/csv"
	}
	r.Header.Set("Accept", form)
}

// broken answers when a handler broke down.
func (s *Server) broken(w *maskWriter, r *http.Request, what any) {
	if r.Context().Err() != nil { // the framework's way to say that the client went away
		return
	}
	c := callOf(r.Context())
	s.deps.Log.ErrorContext(r.Context(), "handler broke down", slog.String("request_id", c.requestID),
		slog.String("route", c.pattern), slog.String("error", s.own.String(fmt.Sprint(what))))
	if w.begun {
		panic(http.ErrAbortHandler) // ends the connection: half an answer must not look whole
	}
	writeProblem(w.ResponseWriter, r, fail("internal"))
}

// nothingHere answers below /api/ where no route is.
func (s *Server) nothingHere(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		try := r.Clone(r.Context())
		try.Method = m
		if _, p := s.mux.Handler(try); strings.HasPrefix(p, m+" ") {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		writeProblem(w, r, fail("method_not_allowed"))
		return
	}
	writeProblem(w, r, fail("not_found"))
}

const (
	loginFailures = 10          // that are forgiven
	loginWindow   = time.Minute // in this time
	loginSources  = 4096        // remembered at once
)

// limiter counts failed logins by where they came from.
type limiter struct {
	clock clock.Clock
	mu    sync.Mutex
	by    map[netip.Addr]failures
}

type failures struct {
	since time.Time
	n     int
}

func newLimiter(c clock.Clock) *limiter { return &limiter{clock: c, by: map[netip.Addr]failures{}} }

func (l *limiter) failed(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	if len(l.by) >= loginSources {
		for k, f := range l.by {
			if now.Sub(f.since) >= loginWindow {
				delete(l.by, k)
			}
		}
		if len(l.by) >= loginSources {
			a = netip.Addr{} // all the rest together
		}
	}
	f := l.by[a]
	if now.Sub(f.since) >= loginWindow {
		f = failures{since: now}
	}
	f.n++
	l.by[a] = f
}

// wait is how long a login from a is refused, 0 when it isn't.
func (l *limiter) wait(a netip.Addr) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var longest time.Duration
	for _, k := range []netip.Addr{a, {}} {
		if f := l.by[k]; f.n >= loginFailures {
			longest = max(longest, loginWindow-l.clock.Now().Sub(f.since))
		}
	}
	return longest
}
