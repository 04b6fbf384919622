package remote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"sakimori/observe/feed/indicator"
	"sakimori/observe/feed/reading"
)

// refused is an answer that asking again soon won't change.
type refused struct{ Text }

func (r *refused) Error() string { return r.EN }

func refuse(ja, en string) *refused { return &refused{Text{ja, en}} }

// busy is an answer that may be another one later.
type busy struct {
	Text
	after time.Duration // that the source asks for; 0 it doesn't say
}

func (b *busy) Error() string { return b.EN }

const (
	requestTimeout = 5 * time.Minute
	mostRedirects  = 5
	// DefaultMaxBytes of an answer, after decompression of the transport.
	DefaultMaxBytes = 1 << 30
)

// checkURL: a secret goes over TLS alone, but to this machine.
func checkURL(s string, secret bool) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("url %q: write https://host/path", s)
	}
	if host := u.Hostname(); secret && u.Scheme == "http" && host != "localhost" && host != "127.0.0.1" && host != "::1" {
		return errors.New("a key or password is sent over https only")
	}
	if u.User != nil {
		return errors.New("the url holds a password: use user and password_file")
	}
	return nil
}

// client never follows from https to http, never far, and takes no key to another host.
func (s *puller) client() *http.Client {
	c := http.Client{Timeout: s.Timeout}
	if s.Client != nil {
		c = *s.Client
		c.Timeout = s.Timeout
	}
	if c.Timeout <= 0 {
		c.Timeout = requestTimeout
	}
	c.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		first := via[0]
		switch {
		case len(via) > mostRedirects:
			return refuse("リダイレクトが多すぎます", "too many redirects")
		case first.URL.Scheme == "https" && r.URL.Scheme != "https":
			return refuse("https から http へのリダイレクトには従いません", "a redirect from https to http isn't followed")
		case r.URL.Host != first.URL.Host && s.secret():
			return refuse("鍵を持つ要求は別のホスト "+r.URL.Host+" へは転送しません", "a request with a key isn't taken to another host, "+r.URL.Host)
		}
		return nil
	}
	return &c
}

func (s *puller) secret() bool { return s.KeyFile != "" || s.User != "" }

// request makes a request with what the source knows us by.
func (s *puller) request(ctx context.Context, method, to string, body string) (*http.Request, error) {
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, to, in)
	if err != nil {
		return nil, refuse("URL が正しくありません: "+to, "not a URL: "+to)
	}
	r.Header.Set("User-Agent", "sakimori")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if s.KeyFile != "" {
		key, err := secretIn(s.KeyFile)
		if err != nil {
			return nil, err
		}
		switch {
		case s.KeyQuery != "":
			q := r.URL.Query()
			q.Set(s.KeyQuery, key)
			r.URL.RawQuery = q.Encode()
		case s.KeyHeader != "":
			r.Header.Set(s.KeyHeader, key)
		default:
			r.Header.Set("Authorization", "Bearer "+key)
		}
	}
	if s.User != "" {
		password, err := secretIn(s.Password)
		if err != nil {
			return nil, err
		}
		r.SetBasicAuth(s.User, password)
	}
	return r, nil
}

func secretIn(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", refuse("鍵のファイルを読めません: "+path, "the file of the key can't be read: "+path)
	}
	key := strings.TrimSpace(string(b))
	if key == "" || strings.ContainsAny(key, "\r\n") {
		return "", refuse("鍵のファイルは 1 行にしてください: "+path, "the file of the key must hold one line: "+path)
	}
	return key, nil
}

// do asks, and turns whatever isn't an answer into an error that never shows the URL's
// query: a key may be in it.
func (s *puller) do(r *http.Request) (*http.Response, error) {
	res, err := s.client().Do(r)
	if err != nil {
		if f, is := errors.AsType[*refused](err); is {
			return nil, f
		}
		where := r.URL.Host
		if e, is := errors.AsType[*url.Error](err); is {
			if e.Timeout() {
				return nil, &busy{Text{where + " が時間内に応答しません", where + " didn't answer in time"}, 0}
			}
			err = e.Err
		}
		return nil, &busy{Text{where + " に接続できません: " + err.Error(), where + " can't be reached: " + err.Error()}, 0}
	}
	switch code := res.StatusCode; {
	case code == http.StatusOK, code == http.StatusNotModified:
		return res, nil
	case code == http.StatusTooManyRequests || code >= 500:
		err = &busy{Text{fmt.Sprintf("提供元が %d を返しました。間隔を空けて再試行します", code), fmt.Sprintf("the source answers %d: it will be asked again later", code)}, s.after(res)}
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		err = refuse(fmt.Sprintf("提供元が拒否しました（%d）。鍵とパスワードを確認してください", code), fmt.Sprintf("the source refuses (%d): look at the key or password", code))
	default:
		err = refuse(fmt.Sprintf("提供元が %d を返しました。URL を確認してください", code), fmt.Sprintf("the source answers %d: look at the url", code))
	}
	return nil, errors.Join(err, res.Body.Close())
}

// after is for how long a source wants to be left alone: seconds, or a time.
func (s *puller) after(res *http.Response) time.Duration {
	v := res.Header.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil && n > 0 {
		return min(time.Duration(n)*time.Second, longestPause)
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(0, min(at.Sub(s.clock.Now()), longestPause))
	}
	return 0
}

// save writes an answer into a file, whole or not at all; the caller removes it.
func (s *puller) save(res *http.Response, name string) (f stored, err error) {
	out, err := os.CreateTemp(s.dir, "."+s.Options.Source+"-*.part")
	if err != nil {
		return f, fmt.Errorf("keep an answer: %w", err)
	}
	f = stored{path: out.Name(), name: name}
	h := sha256.New()
	most := s.maxBytes()
	n, err := io.Copy(io.MultiWriter(out, h), io.LimitReader(res.Body, most+1))
	switch {
	case err != nil:
		if e, is := errors.AsType[interface {
			error
			Timeout() bool
		}](err); is && e.Timeout() {
			err = &busy{Text{"提供元からの受信が時間内に終わりません", "the source didn't send all in time"}, 0}
		} else {
			err = &busy{Text{"受信が途中で切れました: " + err.Error(), "the answer was cut off: " + err.Error()}, 0}
		}
	case n > most:
		err = reading.Damaged(nil, "受信したファイルが大きすぎます", "the answer is too large")
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return f, errors.Join(err, os.Remove(f.path))
	}
	f.digest = hex.EncodeToString(h.Sum(nil))
	return f, nil
}

func (s *puller) maxBytes() int64 {
	if s.Options.MaxBytes > 0 {
		return s.Options.MaxBytes
	}
	return DefaultMaxBytes
}

// http reads one document, if it is another than the last time.
func (s *puller) http(ctx context.Context, m *memory) (came bool, err error) {
	method := http.MethodGet
	if s.Body != "" {
		method = http.MethodPost
	}
	r, err := s.request(ctx, method, s.URL, s.Body)
	if err != nil {
		return false, err
	}
	if m.Digest != "" && method == http.MethodGet {
		if m.ETag != "" {
			r.Header.Set("If-None-Match", m.ETag)
		}
		if m.Modified != "" {
			r.Header.Set("If-Modified-Since", m.Modified)
		}
	}
	res, err := s.do(r)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusNotModified {
		return false, nil
	}
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	f, err := s.save(res, name)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, os.Remove(f.path)) }()
	return s.changed(ctx, m, f, func() { m.ETag, m.Modified = res.Header.Get("ETag"), res.Header.Get("Last-Modified") })
}

// changed hands a document on, unless it is the one of the last time.
func (s *puller) changed(ctx context.Context, m *memory, f stored, then func()) (bool, error) {
	if f.digest == m.Digest {
		then()
		return false, nil
	}
	if err := s.hand(ctx, m, m.LastTry, !s.Adds, f.digest, s.Options, f); err != nil {
		return false, err
	}
	m.Digest = f.digest
	then()
	return true, nil
}

// as is the options with another format.
func (s *puller) as(f indicator.Format) indicator.Options {
	o := s.Options
	o.Format = f
	return o
}
