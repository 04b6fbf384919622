// Package hook hands mitigations to the operator's own system, which does with its
// routers what it is told: a signed POST for each act, with a key by which the system
// knows it again, so that a second try does nothing twice.
package hook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sakimori/base/clock"
	"sakimori/respond"
	"sakimori/respond/mitigate"
)

// Act is what is asked of the receiver.
type Act string

// The acts.
const (
	Announce Act = "announce" // have the rules in force until then, and no longer whatever happens
	Withdraw Act = "withdraw" // take them out; that there are none is fine
	Held     Act = "held"     // say what is in force
)

// Body is what is posted.
type Body struct {
	Act        Act             `json:"act"`
	Mitigation string          `json:"mitigation,omitempty"`
	Until      time.Time       `json:"until,omitzero"`
	Rules      []mitigate.Rule `json:"rules,omitempty"`
}

// Reply is what is read of an answer to Held. Other answers count by their status alone.
type Reply struct {
	Held []respond.Held `json:"held"`
}

// Answer is how one act went, for the record.
type Answer struct {
	Act        Act
	Mitigation string
	At         time.Time // of the last try
	Tries      int
	Status     int // 0: there was no answer
	Err        error
}

// Answers keeps how acts went.
type Answers interface {
	Answered(ctx context.Context, a Answer)
}

// Config is what a Hook is made with.
type Config struct {
	Name    string      // of the receiver, as it is shown
	URL     string      // https; http only for this machine
	Secret  []byte      // 32 bytes at least, shared with the receiver
	TLS     *tls.Config // nil the system's roots
	Timeout time.Duration
	Tries   int           // 3
	Pause   time.Duration // before the second try, doubled before each further one: 500 ms
	Clock   clock.Clock
	Answers Answers // nil: nobody keeps them
}

// Hook is an Announcer. It may be used by many goroutines.
type Hook struct {
	cfg    Config
	client *http.Client
}

// New makes a hook. It opens no connection.
func New(cfg Config) (*Hook, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, errors.New("the hook's URL must be https://host/path, without a user in it")
	}
	local := u.Hostname() == "127.0.0.1" || u.Hostname() == "::1" || u.Hostname() == "localhost"
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return nil, fmt.Errorf("hook %s://%s: rules go over https only", u.Scheme, u.Host)
	}
	if len(cfg.Secret) < sha256.Size {
		return nil, fmt.Errorf("the hook's secret has %d bytes, fewer than %d: make one with a random generator", len(cfg.Secret), sha256.Size)
	}
	if cfg.Clock == nil {
		return nil, errors.New("a hook needs a clock")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 3 * time.Second
	}
	if cfg.Tries == 0 {
		cfg.Tries = 3
	}
	if cfg.Pause == 0 {
		cfg.Pause = 500 * time.Millisecond
	}
	if cfg.Name == "" {
		cfg.Name = u.Host
	}
	return &Hook{cfg: cfg, client: &http.Client{
		Timeout:   cfg.Timeout,
		Transport: &http.Transport{TLSClientConfig: cfg.TLS, MaxIdleConns: 4, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
		// A redirect would carry rules to where nobody configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Shared says that the receiver goes on without us.
func (*Hook) Shared() {}

// Announce asks for rules until a time. The key is that of the mitigation and its end:
// the same call again does nothing twice, and a later end is a call of its own.
func (h *Hook) Announce(ctx context.Context, id string, rules []mitigate.Rule, until time.Time) error {
	_, err := h.post(ctx, Body{Act: Announce, Mitigation: id, Until: until.UTC(), Rules: rules}, "announce "+id+" "+until.UTC().Format(time.RFC3339Nano))
	return err
}

// Withdraw asks to take the rules of a mitigation out. It has no key: rules that were
// announced anew after a withdrawal are to go, too.
func (h *Hook) Withdraw(ctx context.Context, id string) error {
	_, err := h.post(ctx, Body{Act: Withdraw, Mitigation: id}, "")
	return err
}

// Held asks what is in force. A receiver that doesn't know the question (404, 405, 501)
// gives an ErrNotTold.
func (h *Hook) Held(ctx context.Context) ([]respond.Held, error) {
	content, err := h.post(ctx, Body{Act: Held}, "")
	if s, is := errors.AsType[*Status](err); is && (s.Code == http.StatusNotFound || s.Code == http.StatusMethodNotAllowed || s.Code == http.StatusNotImplemented) {
		return nil, fmt.Errorf("hook %s: %w", h.cfg.Name, respond.ErrNotTold)
	}
	if err != nil {
		return nil, err
	}
	return h.read(content)
}

func (h *Hook) read(content []byte) ([]respond.Held, error) {
	var r Reply
	if err := json.Unmarshal(content, &r); err != nil {
		return nil, fmt.Errorf("hook %s: its answer to held isn't {\"held\": [{\"id\": …, \"rules\": …, \"at\": …}]}: %w", h.cfg.Name, err)
	}
	for i := range r.Held {
		if r.Held[i].ID == "" || r.Held[i].Rules < 0 {
			return nil, fmt.Errorf("hook %s: what it holds as number %d has no id, or a negative number of rules", h.cfg.Name, i+1)
		}
		r.Held[i].Peer = h.cfg.Name
	}
	return r.Held, nil
}

// Status is an answer that isn't a yes.
type Status struct {
	Name string
	Code int
	wait time.Duration
}

func (s *Status) Error() string {
	return fmt.Sprintf("hook %s answered HTTP %d: see the receiver's log", s.Name, s.Code)
}

// Sign is the signature of a body at a time: HMAC-SHA256 over "<Unix seconds>.<body>",
// hexadecimal, as with notices. A receiver makes it again, compares in constant time, and
// refuses a time that is five minutes off.
func Sign(secret []byte, at time.Time, body []byte) string {
	m := hmac.New(sha256.New, secret)
	m.Write(strconv.AppendInt(nil, at.Unix(), 10))
	m.Write([]byte{'.'})
	m.Write(body)
	return hex.EncodeToString(m.Sum(nil))
}

// post tries an act until there is an answer that says more than "later".
func (h *Hook) post(ctx context.Context, b Body, key string) ([]byte, error) {
	content, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	answer := Answer{Act: b.Act, Mitigation: b.Mitigation}
	var reply []byte
	for pause := h.cfg.Pause; ; pause *= 2 {
		answer.Tries++
		answer.At = h.cfg.Clock.Now().UTC()
		reply, err = h.once(ctx, content, key, answer.At)
		s, answered := errors.AsType[*Status](err)
		switch {
		case err == nil:
			answer.Status = http.StatusOK
		case answered:
			answer.Status = s.Code
			pause = max(pause, s.wait)
		}
		again := err != nil && (!answered || s.Code == http.StatusTooManyRequests || s.Code/100 == 5 && s.Code != http.StatusNotImplemented)
		if !again || answer.Tries >= h.cfg.Tries || !wait(ctx, pause) {
			break
		}
	}
	answer.Err = err
	if h.cfg.Answers != nil {
		h.cfg.Answers.Answered(ctx, answer)
	}
	return reply, err
}

// wait lets a time pass, and tells whether it did.
func wait(ctx context.Context, d time.Duration) bool {
	pause, end := context.WithTimeout(ctx, d)
	defer end()
	<-pause.Done()
	return ctx.Err() == nil
}

func (h *Hook) once(ctx context.Context, content []byte, key string, at time.Time) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.cfg.URL, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	req.Header.Set("Sakimori-Timestamp", strconv.FormatInt(at.Unix(), 10))
	req.Header.Set("Sakimori-Signature", "sha256="+Sign(h.cfg.Secret, at, content))
	resp, err := h.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("hook %s: %w", h.cfg.Name, cause(err))
	}
	defer resp.Body.Close()
	const most = 4 << 20
	reply, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if resp.StatusCode/100 != 2 {
		return nil, &Status{h.cfg.Name, resp.StatusCode, after(resp.Header.Get("Retry-After"))}
	}
	if err != nil {
		return nil, fmt.Errorf("hook %s: its answer broke off: %w", h.cfg.Name, err)
	}
	return reply, nil
}

// after reads Retry-After in seconds, up to a minute; dates and nonsense are nothing.
func after(v string) time.Duration {
	s, err := strconv.ParseUint(strings.TrimSpace(v), 10, 16)
	if err != nil {
		return 0
	}
	return min(time.Minute, time.Duration(s)*time.Second)
}

// cause is why there was no answer, without the URL, which the configuration has.
func cause(err error) error {
	if u, is := errors.AsType[*url.Error](err); is {
		return u.Err
	}
	return err
}

// Interface guards.
var (
	_ mitigate.Announcer = (*Hook)(nil)
	_ respond.Shared     = (*Hook)(nil)
)
