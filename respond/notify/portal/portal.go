// Package portal is what a subscriber behind the operator's wall meets: the API that
// tells devices so (RFC 8908), and a page that says why, what to do, and lets them
// through again a few times. The wall itself is the operator's gateway.
package portal

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/language"

	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/detect"
	"sakimori/respond/notify"
)

//go:embed migrations
var migrations embed.FS

// ErrFree is what Lookup returns for an address that isn't behind the wall.
var ErrFree = errors.New("this line isn't walled")

// Walled knows who is behind the wall.
type Walled interface {
	// Lookup gives the notice for which the line that has an address now is walled.
	Lookup(ctx context.Context, a netip.Addr) (notify.Notice, error)
	// Release lets a line through until a time.
	Release(ctx context.Context, a netip.Addr, n notify.Notice, until time.Time) error
}

// Desk hears what subscribers let us know, and what they ask. A *notify.Desk is one.
type Desk interface {
	Answer(ctx context.Context, id string, s notify.Said, why string) error
	LookUp(ctx context.Context, typed string) (notify.Answer, error)
}

// Config is what a Portal is made with.
type Config struct {
	URL      string         // of the page, https: what RFC 8908 calls user-portal-url
	VenueURL string         // of the operator's own page about this; "" none
	Most     int            // times that somebody may let themselves through, for one notice
	Pass     time.Duration  // that each lasts
	Open     detect.Text    // what stays open behind the wall, such as emergency calls; "" nothing is said
	Operator detect.Text    // name at the head of the page
	Proxies  []netip.Prefix // of the gateway's proxies, whose X-Forwarded-For is believed
	Zone     *time.Location // of times on the page
}

// DefaultConfig lets through three times for a day each. The figures are the house's
// own choice.
func DefaultConfig(zone *time.Location) Config {
	return Config{Most: 3, Pass: 24 * time.Hour, Zone: zone}
}

// Deps are what a Portal works with.
type Deps struct {
	DB     *relation.DB
	Clock  clock.Clock
	Walled Walled
	Desk   Desk
	Writer notify.Writer
	Log    *slog.Logger
}

// Portal answers for the wall. It is a notify.Carrier, too: to send a notice by it is
// to make it stand there.
type Portal struct {
	cfg Config
	Deps
	asked visits // at the page that checks numbers
}

// Open prepares the table.
func Open(ctx context.Context, cfg Config, d Deps) (*Portal, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	if err := d.DB.Migrate(ctx, "portal", files); err != nil {
		return nil, err
	}
	return &Portal{cfg: cfg, Deps: d, asked: visits{clock: d.Clock, by: map[netip.Addr]visit{}}}, nil
}

// Check says what is wrong with a configuration.
func (c *Config) Check() error {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "":
		return errors.New("portal: the URL of the page must be https (RFC 8908, section 5)")
	case c.Zone == nil:
		return errors.New("portal: the page needs a time zone")
	case c.Most < 0 || c.Pass <= 0:
		return errors.New("portal: how often, and how long, somebody may let themselves through must be positive")
	}
	return nil
}

// Handler serves GET /captive-portal/api, GET /, POST /release and POST /fixed, and for
// everybody GET and POST /check.
func (p *Portal) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /captive-portal/api", p.api)
	mux.HandleFunc("GET /{$}", p.page)
	mux.HandleFunc("POST /release", p.release)
	mux.HandleFunc("POST /fixed", p.fixed)
	mux.HandleFunc("GET /check", p.check)
	mux.HandleFunc("POST /check", p.check)
	// A page of somebody else's can't use up a visitor's releases.
	return http.NewCrossOriginProtection().Handler(http.MaxBytesHandler(mux, 4<<10))
}

// stay is how a line stands.
type stay struct {
	notice   notify.Notice
	walled   bool      // there is a notice
	released time.Time // until when it is let through; zero not
	left     int       // times that they may let themselves through
	heard    bool      // they have just said that it is clean
}

// stay looks a line up.
func (p *Portal) stay(ctx context.Context, a netip.Addr) (s stay, err error) {
	s.notice, err = p.Walled.Lookup(ctx, a)
	if errors.Is(err, ErrFree) || err == nil && !slices.Contains([]notify.State{notify.Sending, notify.InDoubt, notify.Sent, notify.Delivered}, s.notice.State) {
		return stay{}, nil
	}
	if err != nil {
		return s, err
	}
	s.walled = true
	var used, ends int64
	if err := p.DB.QueryRow(ctx, `SELECT count(*), coalesce(max(ends), 0) FROM portal_release WHERE notice = $1`, s.notice.ID).Scan(&used, &ends); err != nil {
		return s, fmt.Errorf("portal: read releases: %w", err)
	}
	s.left = max(p.cfg.Most-int(used), 0)
	if until := time.Unix(0, ends).UTC(); until.After(p.Clock.Now()) {
		s.released = until
	}
	return s, nil
}

// State is the answer of RFC 8908, section 5.
type State struct {
	Captive          bool   `json:"captive"`
	UserPortalURL    string `json:"user-portal-url,omitempty"`
	VenueInfoURL     string `json:"venue-info-url,omitempty"`
	CanExtendSession *bool  `json:"can-extend-session,omitempty"`
	SecondsRemaining *int64 `json:"seconds-remaining,omitempty"`
}

func (p *Portal) api(w http.ResponseWriter, r *http.Request) {
	s, ok := p.look(w, r)
	if !ok {
		return
	}
	out := State{VenueInfoURL: p.cfg.VenueURL}
	if s.walled {
		extend := s.left > 0
		out.Captive, out.UserPortalURL, out.CanExtendSession = s.released.IsZero(), p.cfg.URL, &extend
		if !s.released.IsZero() {
			left := int64(s.released.Sub(p.Clock.Now()) / time.Second)
			out.SecondsRemaining = &left
		}
	}
	w.Header().Set("Content-Type", "application/captive+json")
	w.Header().Set("Cache-Control", "private, no-store") // section 5: it is of one client
	if err := json.NewEncoder(w).Encode(out); err != nil {
		p.Log.DebugContext(r.Context(), "an answer of the captive portal wasn't read", slog.Any("error", err))
	}
}

// look finds out who asks. Addresses are never written to the log.
func (p *Portal) look(w http.ResponseWriter, r *http.Request) (stay, bool) {
	a, err := p.client(r)
	var s stay
	if err == nil {
		s, err = p.stay(r.Context(), a)
	}
	if err != nil {
		p.Log.WarnContext(r.Context(), "the captive portal can't tell who is walled", slog.Any("error", err))
		w.Header().Set("Retry-After", "30")
		http.Error(w, later, http.StatusServiceUnavailable)
		return s, false
	}
	return s, true
}

// client is the address of who asks: of a proxy of ours, the last address that it
// added.
func (p *Portal) client(r *http.Request) (netip.Addr, error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, errors.New("portal: the connection has no address")
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}, errors.New("portal: the connection has no address")
	}
	a = a.Unmap().WithZone("")
	if !slices.ContainsFunc(p.cfg.Proxies, func(x netip.Prefix) bool { return x.Contains(a) }) {
		return a, nil
	}
	all := r.Header.Values("X-Forwarded-For")
	if len(all) == 0 {
		return netip.Addr{}, errors.New("portal: the proxy doesn't say for whom it asks: let it set X-Forwarded-For")
	}
	last := all[len(all)-1]
	if c, err := netip.ParseAddr(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])); err == nil {
		return c.Unmap().WithZone(""), nil
	}
	return netip.Addr{}, errors.New("portal: the proxy's X-Forwarded-For ends in no address")
}

// release lets a line through, if it may.
func (p *Portal) release(w http.ResponseWriter, r *http.Request) {
	s, ok := p.look(w, r)
	if !ok {
		return
	}
	if s.walled && s.released.IsZero() && s.left > 0 {
		a, err := p.client(r)
		if err == nil {
			err = p.let(r.Context(), a, s.notice)
		}
		if err != nil {
			p.Log.ErrorContext(r.Context(), "a line couldn't be let through", slog.String("notice", s.notice.ID), slog.Any("error", err))
			http.Error(w, later, http.StatusServiceUnavailable)
			return
		}
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// fixed hears that the device is clean. The wall stays until somebody has looked: what
// is seen of the line decides.
func (p *Portal) fixed(w http.ResponseWriter, r *http.Request) {
	s, ok := p.look(w, r)
	if !ok {
		return
	}
	if s.walled {
		if err := p.Desk.Answer(r.Context(), s.notice.ID, notify.Fixed, "said so on the portal's page"); err != nil {
			p.Log.ErrorContext(r.Context(), "a subscriber's answer couldn't be written down", slog.String("notice", s.notice.ID), slog.Any("error", err))
			http.Error(w, later, http.StatusServiceUnavailable)
			return
		}
	}
	http.Redirect(w, r, "/?said=fixed", http.StatusSeeOther)
}

// later is what a visitor reads when something of ours fails.
const later = "しばらくしてからもう一度お試しください。 / Please try again in a moment."

var errUsed = errors.New("portal: the releases of this notice are used up")

// let writes the release down, then opens the wall. Should the wall not open, a
// release was lost, never one too many given.
func (p *Portal) let(ctx context.Context, a netip.Addr, n notify.Notice) error {
	now := p.Clock.Now().UTC()
	until := now.Add(p.cfg.Pass)
	err := p.DB.Tx(ctx, func(tx *relation.Tx) error {
		if err := tx.Lock(ctx, "portal_release"); err != nil {
			return err
		}
		var used int
		var ends int64
		if err := tx.QueryRow(ctx, `SELECT count(*), coalesce(max(ends), 0) FROM portal_release WHERE notice = $1`, n.ID).Scan(&used, &ends); err != nil {
			return err
		}
		if ends > now.UnixNano() { // two clicks: the first one has opened it
			return errUsed
		}
		if used >= p.cfg.Most {
			return errUsed
		}
		_, err := tx.Exec(ctx, `INSERT INTO portal_release (notice, n, made, ends) VALUES ($1, $2, $3, $4)`, n.ID, used+1, now.UnixNano(), until.UnixNano())
		return err
	})
	if errors.Is(err, errUsed) {
		return nil // the page says so
	}
	if err != nil {
		return fmt.Errorf("portal: write a release: %w", err)
	}
	return p.Walled.Release(ctx, a, n, until)
}

// tongues are the languages of the page; the first is for whoever asks for neither.
var tongues = language.NewMatcher([]language.Tag{language.Japanese, language.English})

// tongue is the language that a visitor reads: what they chose, else what the browser
// asks for.
func tongue(r *http.Request) string {
	switch l := r.URL.Query().Get("lang"); l {
	case "ja", "en":
		return l
	}
	accept := r.Header.Get("Accept-Language")
	if len(accept) > 200 {
		accept = ""
	}
	want, _, err := language.ParseAcceptLanguage(accept)
	if err != nil || len(want) == 0 {
		return "ja"
	}
	if _, i, _ := tongues.Match(want...); i == 1 {
		return "en"
	}
	return "ja"
}

// Write makes the page, for a preview.
func (p *Portal) Write(m *notify.Message) (notify.Sheet, error) {
	content, err := p.render(m.Words, stay{notice: *m.Notice, walled: true, left: p.cfg.Most})
	return notify.Sheet{Type: "text/html", Content: content}, err
}

// Reach has nowhere to go: the page is here.
func (p *Portal) Reach(context.Context, *notify.Message, notify.Sheet) (notify.Handing, error) {
	return standing{}, nil
}

type standing struct{}

// Hand says where the notice stands from now on.
func (standing) Hand(context.Context) (string, error) { return "on the portal", nil }

// Drop does nothing.
func (standing) Drop() {}

// Interface guard.
var _ notify.Carrier = (*Portal)(nil)
