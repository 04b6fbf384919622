// Package webhook hands notices to the operator's own system for SMS or customers: one
// signed POST for each, with a key by which the system knows it again.
package webhook

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
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"sakimori/respond/notify"
)

// Config is what a Carrier is made with.
type Config struct {
	URL     string      // https; http only for this machine
	Secret  []byte      // 32 bytes at least, shared with the receiver
	TLS     *tls.Config // nil the system's roots
	Timeout time.Duration
}

// Carrier sends notices to a webhook. It may be used by many goroutines.
type Carrier struct {
	cfg    Config
	client *http.Client
}

// Body is what is posted.
type Body struct {
	Notice    string `json:"notice"`
	Case      string `json:"case"`
	Subject   string `json:"subject"` // pseudonym
	Reference string `json:"reference"`
	Language  string `json:"language"`
	Name      string `json:"name"`
	Phone     string `json:"phone"`
	Title     string `json:"title"`
	Short     string `json:"short"` // fits one SMS of most operators: 70 letters a part, three parts
	Text      string `json:"text"`
}

// New makes a carrier. It opens no connection.
func New(cfg Config) (*Carrier, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, errors.New("webhook: the URL must be https://host/path, without a user in it")
	}
	local := u.Hostname() == "127.0.0.1" || u.Hostname() == "::1" || u.Hostname() == "localhost"
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return nil, fmt.Errorf("webhook: %s://%s: names and numbers go over https only", u.Scheme, u.Host)
	}
	if len(cfg.Secret) < sha256.Size {
		return nil, fmt.Errorf("webhook: the secret has %d bytes, fewer than %d: make one with a random generator", len(cfg.Secret), sha256.Size)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 30 * time.Second
	}
	return &Carrier{cfg: cfg, client: &http.Client{
		Timeout:   cfg.Timeout,
		Transport: &http.Transport{TLSClientConfig: cfg.TLS, MaxIdleConns: 4, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
		// A redirect would carry names to where nobody configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Write makes the body.
func (c *Carrier) Write(m *notify.Message) (notify.Sheet, error) {
	if m.Person.Phone == "" {
		return notify.Sheet{}, &notify.Unwritable{State: notify.Failed, Reason: "no telephone number is known: use another channel"}
	}
	w := &m.Words
	var text strings.Builder
	for _, list := range [][]string{w.Greeting, w.What, w.Steps, w.After, w.Check, w.Contact, w.Channel} {
		for _, p := range list {
			text.WriteString(p + "\n")
		}
	}
	number := notify.Grouped(m.Notice.Reference)
	short := w.Title + "\nお問い合わせ番号 " + number + "\n" + strings.Join(w.Contact[:min(1, len(w.Contact))], "")
	if w.Language == "en" {
		short = w.Title + "\nReference number " + number + "\n" + strings.Join(w.Contact[:min(1, len(w.Contact))], "")
	}
	content, err := json.Marshal(Body{
		Notice: m.Notice.ID, Case: m.Notice.Case, Subject: m.Notice.Subject, Reference: number, Language: w.Language,
		Name: m.Person.Name, Phone: m.Person.Phone, Title: w.Title, Short: short, Text: text.String(),
	})
	return notify.Sheet{Type: "application/json", Content: content}, err
}

// Sign is the signature of a body at a time: HMAC-SHA256 over "<Unix seconds>.<body>",
// hexadecimal. A receiver makes it again, compares in constant time, and refuses a
// time that is five minutes off.
func Sign(secret []byte, at time.Time, body []byte) string {
	h := hmac.New(sha256.New, secret)
	h.Write(strconv.AppendInt(nil, at.Unix(), 10))
	h.Write([]byte{'.'})
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// Reach checks nothing on the wire: HTTP has no way to stop short of the body. What
// fails before the body began is told apart by Hand.
func (c *Carrier) Reach(_ context.Context, m *notify.Message, s notify.Sheet) (notify.Handing, error) {
	return &handing{c: c, key: m.Notice.ID, at: m.At, body: s.Content}, nil
}

type handing struct {
	c    *Carrier
	key  string
	at   time.Time
	body []byte
}

// watched knows whether somebody has begun to read it.
type watched struct {
	io.Reader
	begun *atomic.Bool
}

func (w watched) Read(b []byte) (int, error) {
	w.begun.Store(true)
	return w.Reader.Read(b)
}

// Hand posts the body once. An error before its first byte was sent, and the answers
// 429 and 503, say that the receiver doesn't have it.
func (h *handing) Hand(ctx context.Context) (receipt string, err error) {
	var begun atomic.Bool
	trace := &httptrace.ClientTrace{WroteHeaders: func() { begun.Store(true) }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodPost, h.c.cfg.URL, watched{bytes.NewReader(h.body), &begun})
	if err != nil {
		return "", &notify.NotTaken{Reason: "the request can't be made"}
	}
	// Without GetBody the library can't send the body twice by itself.
	req.GetBody, req.ContentLength = nil, int64(len(h.body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", h.key)
	req.Header.Set("Sakimori-Timestamp", strconv.FormatInt(h.at.Unix(), 10))
	req.Header.Set("Sakimori-Signature", "sha256="+Sign(h.c.cfg.Secret, h.at, h.body))
	resp, err := h.c.client.Do(req)
	if err != nil {
		if !begun.Load() {
			return "", &notify.NotTaken{Reason: "no connection to the webhook: " + cause(err)}
		}
		return "", errors.New("webhook: the line was lost after the body was begun")
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	switch {
	case resp.StatusCode/100 == 2:
		return resp.Status, nil
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable:
		return "", &notify.NotTaken{Reason: "HTTP " + strconv.Itoa(resp.StatusCode), After: after(resp.Header.Get("Retry-After"))}
	case resp.StatusCode/100 == 4 || resp.StatusCode/100 == 3:
		return "", &notify.NotTaken{Permanent: true, Reason: "HTTP " + strconv.Itoa(resp.StatusCode)}
	}
	// 500 and its like: it may have been sent on before something broke.
	return "", fmt.Errorf("webhook: HTTP %d: the receiver may have it", resp.StatusCode)
}

// Drop does nothing: no connection is held.
func (h *handing) Drop() {}

// after reads Retry-After in seconds; dates and nonsense are nothing.
func after(v string) time.Duration {
	s, err := strconv.ParseUint(strings.TrimSpace(v), 10, 20) // at most twelve days
	if err != nil {
		return 0
	}
	return time.Duration(s) * time.Second
}

// cause is why there was no connection, without the URL, which the configuration has.
func cause(err error) string {
	if u, is := errors.AsType[*url.Error](err); is {
		return u.Err.Error()
	}
	return err.Error()
}

// Interface guard.
var _ notify.Carrier = (*Carrier)(nil)
