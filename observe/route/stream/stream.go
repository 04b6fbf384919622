// Package stream follows RIPE's RIS Live: what peers of the RIS collectors all over the world
// announce, seconds after they do, as JSON over a WebSocket (https://ris-live.ripe.net/manual).
//
// One goroutine reads, as a client that is slow is cut off by the server; another parses and
// hands on. Between them wait so many messages and no more: when there is no room the newest
// are dropped and counted. The stream begins in the middle: it has no tables, and what was
// missed while there was no connection isn't sent again, so each gap is told.
package stream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/coder/websocket"

	"sakimori/base/clock"
	"sakimori/lawful"
)

// Config says what is followed.
type Config struct {
	Name string // of the feed
	URL  string // ws:// or wss://; "": RIPE's own, with our name in it as its manual asks for
	// Subscriptions are added up; without any, everything is sent, tens of thousands of
	// messages a second.
	Subscriptions []Subscription
	Queue         int           // messages that may wait; 0: 8,192
	Bytes         int           // that they may have, all in all; 0: 32 MiB
	Silence       time.Duration // without a sign of life, after which it connects anew; 0: a minute
	Client        *http.Client  // nil: the usual one
}

// Subscription is what is sent: whatever fits all of its fields.
type Subscription struct {
	Host         string       `json:"host,omitempty"`         // a collector: "rrc06"
	Prefix       netip.Prefix `json:"prefix,omitzero"`        // and what is inside it, or around
	MoreSpecific *bool        `json:"moreSpecific,omitempty"` // nil: the server's default, which is yes
	LessSpecific bool         `json:"lessSpecific,omitempty"`
	Path         string       `json:"path,omitempty"` // "64500", "^64500,64501", "64501$": part of an AS path
	Peer         string       `json:"peer,omitempty"` // an address
}

// RIPE is the service's own address.
const RIPE = "wss://ris-live.ripe.net/v1/ws/?client=sakimori"

// ErrConfig is in every error about a Config.
var ErrConfig = errors.New("RIS Live can't be followed so")

// Sink takes what the stream tells, one call at a time, in its order. Messages are valid
// during the call; sent is the collector's time.
type Sink interface {
	Message(p Peer, msg []byte, as4 bool, sent, arrival time.Time)
	State(p Peer, up bool, sent, arrival time.Time)
	// Gap says that nothing is known of what was sent between two times.
	Gap(from, to time.Time)
}

// Stream follows. Its methods may be called from anywhere.
type Stream struct {
	cfg   Config
	sink  Sink
	clock clock.Clock
	log   *slog.Logger

	queue chan item
	free  chan []byte

	mu      sync.Mutex // of all below
	seen    Status
	waiting int       // bytes in queue
	came    time.Time // when something came last
	lost    time.Time // that of the connection before, until the next has said something
}

// item is a message that waits.
type item struct {
	b    []byte
	lost time.Time // since when nothing came before it; zero: it was the same connection
}

// New checks the configuration; it connects to nobody yet.
func New(cfg Config, sink Sink, clk clock.Clock, log *slog.Logger) (*Stream, error) {
	cfg.URL, cfg.Queue, cfg.Bytes, cfg.Silence = cmp.Or(cfg.URL, RIPE), cmp.Or(cfg.Queue, 8192), cmp.Or(cfg.Bytes, 32<<20), cmp.Or(cfg.Silence, time.Minute)
	u, err := url.Parse(cfg.URL)
	switch {
	case cfg.Name == "":
		return nil, fmt.Errorf("%w: it needs a name", ErrConfig)
	case err != nil || u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "":
		return nil, fmt.Errorf("%w: %q is no address of a WebSocket: wss://host/path", ErrConfig, cfg.URL)
	case cfg.Silence < time.Second:
		return nil, fmt.Errorf("%w: a silence of %s comes all the time", ErrConfig, cfg.Silence)
	}
	for _, s := range cfg.Subscriptions {
		if s.Prefix != s.Prefix.Masked() {
			return nil, fmt.Errorf("%w: %s has bits behind its length", ErrConfig, s.Prefix)
		}
	}
	if len(cfg.Subscriptions) == 0 {
		cfg.Subscriptions = []Subscription{{}}
	}
	return &Stream{
		cfg: cfg, sink: sink, clock: clk, log: log, seen: Status{Name: cfg.Name, URL: cfg.URL, Since: clk.Now()},
		queue: make(chan item, cfg.Queue), free: make(chan []byte, 256),
	}, nil
}

// Run follows until ctx ends. It is ready at once, connected or not.
func (s *Stream) Run(ctx context.Context, ready func()) error {
	var parser sync.WaitGroup
	parser.Go(s.parse)
	ready()
	s.connect(ctx)
	close(s.queue)
	parser.Wait()
	return nil
}

// connect keeps a connection. Attempts that fail are repeated after a growing while, of at
// most five minutes, each time some other while so that not all clients come at once.
func (s *Stream) connect(ctx context.Context) {
	wait := time.Second
	for ctx.Err() == nil {
		begin := s.clock.Now()
		err := s.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		now := s.clock.Now()
		s.mu.Lock()
		if s.seen.Connected {
			s.seen.Resets++
			s.lost = s.came
			s.seen.Connected, s.seen.Since = false, now
		}
		s.seen.Error = &lawful.Text{JA: "接続が切れました: " + err.Error(), EN: "the connection ended: " + err.Error()}
		s.mu.Unlock()
		s.log.LogAttrs(ctx, slog.LevelWarn, "RIS Live ended", slog.String("feed", s.cfg.Name), slog.Any("err", err))
		if now.Sub(begin) > time.Minute {
			wait = time.Second
		}
		pause(ctx, wait/2+rand.N(wait)) // #nosec G404 -- spreads attempts, nothing hangs on it
		wait = min(2*wait, 5*time.Minute)
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// maxMessage is the longest message that is taken: 65,535 bytes of BGP as hexadecimal, and
// the same in words.
const maxMessage = 2 << 20

// subscribe is what the server is asked for.
type subscribe struct {
	Type string `json:"type"`
	Data any    `json:"data"`
}

// wanted is a subscription with how it is to be sent.
type wanted struct {
	Subscription
	Options struct {
		Raw         bool `json:"includeRaw"`
		Acknowledge bool `json:"acknowledge"`
	} `json:"socketOptions"`
}

// follow reads one connection to its end.
func (s *Stream) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opening, done := context.WithTimeout(ctx, s.cfg.Silence)
	conn, _, err := websocket.Dial(opening, s.cfg.URL, &websocket.DialOptions{HTTPClient: s.cfg.Client}) //nolint:bodyclose // the library closes it
	done()
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(maxMessage)
	for _, sub := range s.cfg.Subscriptions {
		w := wanted{Subscription: sub}
		w.Options.Raw, w.Options.Acknowledge = true, true
		b, err := json.Marshal(subscribe{"ris_subscribe", w})
		if err != nil {
			return err
		}
		if err := conn.Write(ctx, websocket.MessageText, b); err != nil {
			return err
		}
	}
	var gone error
	go func() { // a peer that is gone answers no ping, and one that hangs doesn't either
		for ctx.Err() == nil {
			pause(ctx, s.cfg.Silence/2)
			within, done := context.WithTimeout(ctx, s.cfg.Silence/2)
			err := conn.Ping(within)
			done()
			if err != nil && ctx.Err() == nil {
				gone = fmt.Errorf("no answer for %s: %w", s.cfg.Silence, err)
				cancel()
			}
		}
	}()
	for {
		_, r, err := conn.Reader(ctx)
		if err != nil {
			if ctx.Err() != nil && gone != nil {
				return gone
			}
			return err
		}
		b, err := s.read(r)
		if err != nil {
			return err
		}
		s.put(b)
	}
}

// read reads one message into a buffer that was used before.
func (s *Stream) read(r io.Reader) ([]byte, error) {
	var b []byte
	select {
	case b = <-s.free:
	default:
		b = make([]byte, 0, 4096)
	}
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// put lets a message wait, or drops it.
func (s *Stream) put(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	if !s.seen.Connected {
		s.seen.Connected, s.seen.Since, s.seen.Error = true, now, nil
	}
	s.came = now
	s.seen.Received++
	s.seen.Bytes += uint64(len(b))
	if s.waiting+len(b) <= s.cfg.Bytes {
		select {
		case s.queue <- item{b, s.lost}:
			s.waiting += len(b)
			s.lost = time.Time{}
			return
		default:
		}
	}
	s.seen.Dropped++
	s.reuse(b)
}

func (s *Stream) reuse(b []byte) {
	if cap(b) > 1<<16 {
		return // one long message shouldn't be remembered for ever
	}
	select {
	case s.free <- b[:0]:
	default:
	}
}

// parse hands on what waits.
func (s *Stream) parse() {
	var p Parser
	var from time.Time // of a gap that isn't told yet
	for next := range s.queue {
		b, now := next.b, s.clock.Now()
		if from.IsZero() {
			from = next.lost
		}
		var m Message
		err := p.Parse(b, &m)
		ofPeer := err == nil && (m.Kind == BGP || m.Kind == State)
		s.mu.Lock()
		s.waiting -= len(b)
		switch {
		case err != nil:
			s.seen.Malformed++
			if s.seen.Malformed == 1 {
				s.log.LogAttrs(context.Background(), slog.LevelWarn, "a message of RIS Live can't be read", slog.String("feed", s.cfg.Name), slog.Any("err", err))
			}
		case m.Kind == Failed:
			s.seen.Error = &lawful.Text{JA: fmt.Sprintf("サーバーからの通知: %q", m.Text), EN: fmt.Sprintf("the server says: %q", m.Text)}
			s.log.LogAttrs(context.Background(), slog.LevelWarn, "RIS Live says that something is wrong", slog.String("feed", s.cfg.Name), slog.String("text", m.Text))
		case ofPeer:
			if !from.IsZero() {
				s.seen.Gaps++
			}
			s.seen.Last = &now
			s.seen.Messages++
			if m.Kind == BGP && !m.Raw {
				s.seen.Words++
			}
		}
		s.mu.Unlock()
		if ofPeer && !from.IsZero() {
			s.sink.Gap(from, now)
			from = time.Time{}
		}
		sent := time.Unix(0, m.At).UTC()
		switch {
		case err != nil:
		case m.Kind == BGP:
			for _, msg := range m.BGP {
				s.sink.Message(m.Peer, msg, m.AS4, sent, now)
			}
		case m.Kind == State:
			s.sink.State(m.Peer, m.Up, sent, now)
		}
		s.reuse(b)
	}
}

// Status is how it stands.
type Status struct {
	Name      string       `json:"name"`
	URL       string       `json:"url"`
	Connected bool         `json:"connected"`
	Since     time.Time    `json:"since"`     // of Connected
	Last      *time.Time   `json:"last"`      // message of a peer
	Received  uint64       `json:"received"`  // messages of the server, of all kinds
	Bytes     uint64       `json:"bytes"`     // of them
	Messages  uint64       `json:"messages"`  // of peers, handed on
	Words     uint64       `json:"words"`     // of them without the bytes that the peer sent: written anew of their words
	Malformed uint64       `json:"malformed"` // that can't be read
	Dropped   uint64       `json:"dropped"`   // for want of room
	Resets    uint64       `json:"resets"`    // connections that ended
	Gaps      uint64       `json:"gaps"`
	Error     *lawful.Text `json:"error"` // the last one
}

// Status is how it stands now.
func (s *Stream) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}
