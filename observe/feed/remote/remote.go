// Package remote gets the lists of others where they are: over HTTP, from a collection
// of TAXII 2.1, from a feed of MISP, from a file or a folder.
//
// What a source has said is handed on as a whole or not at all: a reading that was cut
// off, or whose file is damaged, changes nothing. A source is asked no more often than
// it was agreed, and what it said last is remembered over a restart.
package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/observe"
	"sakimori/observe/feed/indicator"
	"sakimori/observe/feed/reading"
)

// Kind is how a source is reached.
type Kind string

// The kinds.
const (
	HTTP   Kind = "http"   // one document
	TAXII  Kind = "taxii"  // a collection of TAXII 2.1
	MISP   Kind = "misp"   // a feed of MISP: manifest.json and one file for each event
	File   Kind = "file"   // one file that somebody replaces
	Folder Kind = "folder" // into which somebody puts files
)

// Source is one list of somebody else's.
type Source struct {
	Kind    Kind
	Options indicator.Options // how it is read; its Source is the name. Name and Came are set for each reading
	URL     string            // of HTTP, TAXII (discovery or API root) and MISP (the folder of manifest.json)
	Path    string            // of File and Folder
	Adds    bool              // what it says adds to what it said: HTTP and File only, the others are what they are
	Every   time.Duration     // between two readings, at least a minute for what is far away

	KeyFile    string // a key that the source knows us by
	KeyHeader  string // that carries it; "" Authorization: Bearer
	KeyQuery   string // parameter of the URL that carries it instead
	User       string // of HTTP's basic authentication
	Password   string // file that holds it
	Body       string // "" it is got; else posted: ThreatFox's API
	Collection string // TAXII: id, alias or title

	Timeout time.Duration // of one request; 0: five minutes
	// Client is used instead of a new one: a test's, or one with its own roots.
	Client *http.Client
}

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// Check says what is missing or wrong.
func (s *Source) Check() error {
	name := s.Options.Source
	if !nameForm.MatchString(name) {
		return fmt.Errorf("feed %q: a name has letters a to z, digits, dots and dashes, 63 at most", name)
	}
	far := s.Kind == HTTP || s.Kind == TAXII || s.Kind == MISP
	switch {
	case !far && s.Kind != File && s.Kind != Folder:
		return fmt.Errorf("feed %s: kind %q isn't known: use http, taxii, misp, file or folder", name, s.Kind)
	case far && s.URL == "":
		return fmt.Errorf("feed %s: a source of the kind %s needs a url", name, s.Kind)
	case !far && s.Path == "":
		return fmt.Errorf("feed %s: a source of the kind %s needs a path", name, s.Kind)
	case far && s.Every < time.Minute, s.Every <= 0:
		return fmt.Errorf("feed %s: set every to a minute or more: others' servers aren't asked more often", name)
	case s.Kind == TAXII && s.Collection == "":
		return fmt.Errorf("feed %s: name the collection, by its id or title", name)
	case s.Body != "" && s.Kind != HTTP:
		return fmt.Errorf("feed %s: only a source of the kind http takes a body", name)
	case s.KeyFile == "" && (s.KeyHeader != "" || s.KeyQuery != ""), s.KeyHeader != "" && s.KeyQuery != "":
		return fmt.Errorf("feed %s: a key is in key_file, and is sent by key_header or key_query", name)
	case (s.User == "") != (s.Password == ""):
		return fmt.Errorf("feed %s: user and password_file go together", name)
	}
	if far {
		if err := checkURL(s.URL, s.KeyFile != "" || s.User != ""); err != nil {
			return fmt.Errorf("feed %s: %w", name, err)
		}
	}
	o := s.Options
	switch s.Kind {
	case TAXII:
		o.Format = indicator.STIX
	case MISP:
		o.Format = indicator.MISP
	}
	return o.Check()
}

// Reading is one look at a source.
type Reading struct {
	Source string
	At     time.Time
	Whole  bool   // it is all that the source says; else it adds
	Digest string // SHA-256 of what was read
}

// Sink takes readings.
type Sink interface {
	Begin(ctx context.Context, r Reading) (Intake, error)
}

// Intake takes one reading. Nothing of it counts before Finish, and after Drop nothing
// ever does. The slice given to Put is used again.
type Intake interface {
	Put(ctx context.Context, batch []observe.Indicator) error
	Finish(ctx context.Context, st indicator.Stats) error
	Drop()
}

// Text is what a person is told.
type Text struct{ JA, EN string }

// State is how a source is doing.
type State struct {
	Source      string
	Kind        Kind
	LastTry     time.Time // zero: never
	LastSuccess time.Time // the source answered, if only that nothing is new
	LastChange  time.Time // it said something new
	Next        time.Time
	Stale       bool // silent for longer than three intervals
	Failures    int  // since the last success
	Error       Text // of the last try; empty: none
	Read        uint64
	Accepted    uint64
	Rejected    uint64
	Reasons     map[string]uint64 // of the rejected ones, of the last reading
}

// Puller asks sources and hands on what they say.
type Puller struct {
	sources []*puller
	clock   clock.Clock
	log     *slog.Logger
}

// puller is one source with what is remembered of it.
type puller struct {
	Source
	dir   string
	sink  Sink
	clock clock.Clock
	jit   func() float64 // from 0 to 1
	turn  sync.Mutex     // of asking
	mu    sync.Mutex     // of what follows
	mem   memory
	begun time.Time
}

// New prepares sources. What is remembered of them lies in dir, which is made.
func New(sources []Source, dir string, sink Sink, c clock.Clock, log *slog.Logger) (*Puller, error) {
	p := &Puller{clock: c, log: log}
	names := map[string]bool{}
	for _, s := range sources {
		if err := s.Check(); err != nil {
			return nil, err
		}
		if names[s.Options.Source] {
			return nil, fmt.Errorf("feed %s is named twice", s.Options.Source)
		}
		names[s.Options.Source] = true
		p.sources = append(p.sources, &puller{Source: s, dir: dir, sink: sink, clock: c, jit: rand.Float64})
	}
	return p, nil
}

// open reads what is remembered.
func (p *Puller) open() error {
	for _, s := range p.sources {
		if err := os.MkdirAll(s.dir, 0o750); err != nil {
			return fmt.Errorf("feeds: %w", err)
		}
		s.mu.Lock()
		if s.begun.IsZero() {
			s.begun = p.clock.Now()
			s.mem = remembered(s.path(), s.identity())
		}
		s.mu.Unlock()
	}
	return nil
}

// Run asks each source when its time has come, until ctx ends.
func (p *Puller) Run(ctx context.Context, ready func()) error {
	if err := p.open(); err != nil {
		return err
	}
	ready()
	var all sync.WaitGroup
	for _, s := range p.sources {
		all.Go(func() {
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for {
				_ = p.step(ctx, s, false) // logged, and in the state
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
			}
		})
	}
	all.Wait()
	return nil
}

// Step asks each source whose time has come, once.
func (p *Puller) Step(ctx context.Context) error {
	if err := p.open(); err != nil {
		return err
	}
	for _, s := range p.sources {
		_ = p.step(ctx, s, false) // logged, and in the state
	}
	return nil
}

// Ask asks one source now, whenever its time is. The error is a person's sentence.
func (p *Puller) Ask(ctx context.Context, source string) error {
	if err := p.open(); err != nil {
		return err
	}
	for _, s := range p.sources {
		if s.Options.Source == source {
			return p.step(ctx, s, true)
		}
	}
	return fmt.Errorf("there is no feed %q in the configuration", source)
}

// step asks a source if its time has come, or now.
func (p *Puller) step(ctx context.Context, s *puller, now bool) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	at := p.clock.Now()
	s.mu.Lock()
	due := !s.mem.Next.After(at)
	m := s.mem.clone()
	s.mu.Unlock()
	if !due && !now || ctx.Err() != nil {
		return ctx.Err()
	}
	m.LastTry = at
	came, err := s.ask(ctx, &m)
	if ctx.Err() != nil {
		return ctx.Err() // the house closes: that is no failure of the source
	}
	s.settle(&m, at, came, err)
	s.mu.Lock()
	s.mem = m
	s.mu.Unlock()
	if e := m.keep(s.path()); e != nil {
		p.log.LogAttrs(ctx, slog.LevelWarn, "state of a feed not kept", slog.String("feed", s.Options.Source), slog.String("error", e.Error()))
	}
	if err != nil {
		p.log.LogAttrs(ctx, slog.LevelWarn, "feed not read, will be tried again", slog.String("feed", s.Options.Source), slog.String("error", err.Error()), slog.Time("next", m.Next))
	} else if came {
		p.log.LogAttrs(ctx, slog.LevelInfo, "feed read", slog.String("feed", s.Options.Source), slog.Uint64("read", m.Read), slog.Uint64("accepted", m.Accepted), slog.Uint64("rejected", m.Rejected))
	}
	return err
}

// ask gets what the source says and hands it on. came: there was something new.
func (s *puller) ask(ctx context.Context, m *memory) (came bool, err error) {
	switch s.Kind {
	case HTTP:
		return s.http(ctx, m)
	case TAXII:
		return s.taxii(ctx, m)
	case MISP:
		return s.misp(ctx, m)
	case File:
		return s.file(ctx, m)
	}
	return s.folder(ctx, m)
}

const longestPause = 24 * time.Hour

// settle writes down what came of a try, and when the next one is: at its time, or after
// a failure sooner, then later and later, but never sooner than the source asked for.
func (s *puller) settle(m *memory, at time.Time, came bool, err error) {
	pause := s.Every
	m.Error = Text{}
	if err == nil {
		m.LastSuccess, m.Failures = at, 0
		if came {
			m.LastChange = at
		}
	} else {
		m.Failures++
		m.Error = told(err)
		if later, is := errors.AsType[*busy](err); is {
			pause = max(min(s.Every, time.Minute<<min(m.Failures-1, 10)), min(later.after, longestPause))
		} else if !errors.As(err, new(*refused)) {
			pause = min(s.Every, time.Minute<<min(m.Failures-1, 10))
		}
	}
	m.Next = at.Add(time.Duration(float64(pause) * (0.9 + 0.2*s.jit())))
	if later, is := errors.AsType[*busy](err); is && m.Next.Sub(at) < later.after {
		m.Next = at.Add(min(later.after, longestPause))
	}
}

// told is an error in both languages.
func told(err error) Text {
	if bad, is := errors.AsType[*reading.Unreadable](err); is {
		return Text{bad.JA, bad.EN}
	}
	if f, is := errors.AsType[*refused](err); is {
		return f.Text
	}
	if b, is := errors.AsType[*busy](err); is {
		return b.Text
	}
	return Text{"取得できませんでした: " + err.Error(), "It couldn't be got: " + err.Error()}
}

// States are how all sources are doing, in the order of the configuration.
func (p *Puller) States() []State {
	now := p.clock.Now()
	out := make([]State, 0, len(p.sources))
	for _, s := range p.sources {
		s.mu.Lock()
		m, begun := s.mem, s.begun
		s.mu.Unlock()
		heard := m.LastSuccess
		if heard.IsZero() {
			heard = begun
		}
		out = append(out, State{
			s.Options.Source, s.Kind, m.LastTry, m.LastSuccess, m.LastChange, m.Next, !heard.IsZero() && now.Sub(heard) > 3*s.Every,
			m.Failures, m.Error, m.Read, m.Accepted, m.Rejected, m.Reasons,
		})
	}
	return out
}
