// Package choice is where a subscriber chooses: a page that says whether C&C servers are
// blocked on the line that one calls from, and whether hits are kept, with a button for
// each, and the same in JSON for the operator's own member portal. What somebody chooses
// holds at once. A line that can't be told from others' is never guessed.
package choice

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"sakimori/base/clock"
	"sakimori/detect"
)

// Purpose is what a subscriber is asked for. Each is a consent of its own.
type Purpose string

// The purposes.
const (
	Block Purpose = "cc_block" // names of C&C servers aren't resolved
	Hits  Purpose = "cc_hits"  // and it is kept that they were asked for, to warn
)

// Stand is how a subscriber stands towards a purpose.
type Stand string

// The stands.
const (
	Consents Stand = "consents"
	Declined Stand = "declined"
	Outdated Stand = "outdated" // what they said was to terms that were replaced
	Unknown  Stand = "unknown"  // they said nothing
)

// State is how one stands, and since when.
type State struct {
	Purpose Purpose    `json:"purpose"`
	Stand   Stand      `json:"state"`
	Version string     `json:"version"` // of the terms; "" none
	Since   *time.Time `json:"since"`   // nil: nothing was said
}

// Effect is what came of a choice.
type Effect struct {
	Serial uint32 `json:"serial"` // of the zone by which it took effect; 0 it is on its way
}

// Caller is who calls, as the network sees it.
type Caller struct {
	Address netip.Addr
	Port    uint16 // 0 not known: behind a proxy that doesn't tell it
	At      time.Time
}

// Why a line isn't told. Other errors mean that it couldn't be asked.
var (
	ErrShared  = errors.New("several lines share the address")
	ErrForeign = errors.New("the address isn't one of ours")
	ErrNobody  = errors.New("no record says who has the address now")
)

// Lines tells whose line somebody calls from: a pseudonym, and only where it is certain.
type Lines interface {
	Line(ctx context.Context, c Caller) (subject string, err error)
}

// Choices is the register of what subscribers say. Say writes down first, and returns when
// it holds.
type Choices interface {
	State(ctx context.Context, subject string) ([]State, error)
	Say(ctx context.Context, subject string, p Purpose, consents bool, channel string) (Effect, error)
}

// Config is what the page is made with.
type Config struct {
	Operator detect.Text    // name at its head
	Terms    string         // address of the terms, https; "" none
	Desk     detect.Text    // how to reach the operator, for whom the page can't help
	Proxies  []netip.Prefix // whose X-Forwarded-For, and X-Forwarded-Port of the client, are believed
	Zone     *time.Location // of times on the page
}

// Check says what is wrong with a configuration.
func (c *Config) Check() error {
	u, err := url.Parse(c.Terms)
	switch {
	case c.Terms != "" && (err != nil || u.Scheme != "https" || u.Host == ""):
		return errors.New("choice: the address of the terms must be https")
	case c.Operator.JA == "" || c.Operator.EN == "" || c.Desk.JA == "" || c.Desk.EN == "":
		return errors.New("choice: the page needs the operator's name and how to reach them, in Japanese and English")
	case c.Zone == nil:
		return errors.New("choice: the page needs a time zone")
	}
	return nil
}

// Deps are what it works with.
type Deps struct {
	Lines   Lines
	Choices Choices
	Clock   clock.Clock
	Log     *slog.Logger
}

// Page serves it. It may be used by many goroutines.
type Page struct {
	cfg Config
	Deps
	secret []byte // of the forms: a restart makes them anew
	visits visits
}

// New makes it. It starts and opens nothing.
func New(cfg Config, d Deps) (*Page, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	p := &Page{cfg: cfg, Deps: d, secret: make([]byte, 32), visits: newVisits(d.Clock)}
	_, _ = rand.Read(p.secret) // never fails (crypto/rand)
	return p, nil
}

// Handler serves GET /choice, POST /choice/confirm and POST /choice/say for the line that
// calls, and the same as JSON: GET and POST /choice/api.
func (p *Page) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /choice", p.show)
	mux.HandleFunc("POST /choice/confirm", p.confirm)
	mux.HandleFunc("POST /choice/say", p.say)
	mux.HandleFunc("GET /choice/api", p.apiShow)
	mux.HandleFunc("POST /choice/api", p.apiSay)
	// No page of somebody else's chooses for a visitor.
	return http.NewCrossOriginProtection().Handler(http.MaxBytesHandler(mux, 4<<10))
}

// caller is who asks: of a proxy of ours, the last address that it added.
func (p *Page) caller(r *http.Request) (c Caller, err error) {
	c.At = p.Clock.Now()
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return c, errors.New("choice: the connection has no address")
	}
	c.Address, c.Port = ap.Addr().Unmap().WithZone(""), ap.Port()
	if !slices.ContainsFunc(p.cfg.Proxies, func(x netip.Prefix) bool { return x.Contains(c.Address) }) {
		return c, nil
	}
	all := r.Header.Values("X-Forwarded-For")
	if len(all) == 0 {
		return c, errors.New("choice: the proxy doesn't say for whom it asks: let it set X-Forwarded-For")
	}
	last := all[len(all)-1]
	last = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
	c.Port = 0
	if host, port, err := net.SplitHostPort(last); err == nil {
		n, _ := strconv.ParseUint(port, 10, 16) // not told
		last, c.Port = host, uint16(n)
	}
	a, err := netip.ParseAddr(last)
	if err != nil {
		return c, errors.New("choice: the proxy's X-Forwarded-For ends in no address")
	}
	c.Address = a.Unmap().WithZone("")
	return c, nil
}

// line is a visitor's line and how it stands, or why that can't be told.
type line struct {
	subject string
	states  []State
	why     error // ErrShared, ErrForeign, ErrNobody; nil it can
}

// errOften is when somebody asks too often.
var errOften = errors.New("asked too often")

// look finds out who calls. Addresses and pseudonyms are never written to the log.
func (p *Page) look(r *http.Request) (l line, err error) {
	c, err := p.caller(r)
	if err != nil {
		return l, err
	}
	if !p.visits.may(c.Address, c.Port) {
		return l, errOften
	}
	l.subject, err = p.Lines.Line(r.Context(), c)
	if errors.Is(err, ErrShared) || errors.Is(err, ErrForeign) || errors.Is(err, ErrNobody) {
		return line{why: err}, nil
	}
	if err == nil && l.subject == "" {
		return line{why: ErrNobody}, nil
	}
	if err != nil {
		return l, err
	}
	l.states, err = p.Choices.State(r.Context(), l.subject)
	return l, err
}

func (l *line) of(p Purpose) State {
	for _, s := range l.states {
		if s.Purpose == p {
			return s
		}
	}
	return State{Purpose: p, Stand: Unknown}
}

// formLasts is how long a form that was shown may be sent.
const formLasts = 15 * time.Minute

// token is what a form holds: good for one line, purpose, answer and a while. A line that
// went to somebody else in between doesn't take the one's choice for the other's.
func (p *Page) token(subject string, of Purpose, consents bool, at time.Time) string {
	m := hmac.New(sha256.New, p.secret)
	stamp := strconv.FormatInt(at.Unix(), 36)
	for _, s := range []string{subject, string(of), strconv.FormatBool(consents), stamp} {
		_, _ = m.Write([]byte(s + "\x00")) // never fails
	}
	return stamp + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

func (p *Page) good(token, subject string, of Purpose, consents bool) bool {
	stamp, _, _ := strings.Cut(token, ".")
	unix, err := strconv.ParseInt(stamp, 36, 64)
	at := time.Unix(unix, 0)
	age := p.Clock.Now().Sub(at)
	return err == nil && age > -time.Second && age <= formLasts && hmac.Equal([]byte(token), []byte(p.token(subject, of, consents, at)))
}

// answer reads what was chosen.
func answer(purpose, choice string) (of Purpose, consents, ok bool) {
	of = Purpose(purpose)
	return of, choice == "yes", (of == Block || of == Hits) && (choice == "yes" || choice == "no")
}
