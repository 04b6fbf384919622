package webhook_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sakimori/base/relation/relationtest"
	"sakimori/respond/notify"
	"sakimori/respond/notify/notifytest"
	"sakimori/respond/notify/webhook"
)

var secret = bytes.Repeat([]byte("k"), 32)

// receiver is an operator's system.
type receiver struct {
	mu     sync.Mutex
	keys   []string
	bodies []webhook.Body
	bad    []string
	answer func(w http.ResponseWriter)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	at, _ := strconv.ParseInt(req.Header.Get("Sakimori-Timestamp"), 10, 64) // 0 is refused below
	want := "sha256=" + webhook.Sign(secret, time.Unix(at, 0), body)
	var b webhook.Body
	if err != nil || at != notifytest.Noon.Unix() || !hmac.Equal([]byte(want), []byte(req.Header.Get("Sakimori-Signature"))) || json.Unmarshal(body, &b) != nil {
		r.bad = append(r.bad, string(body))
	}
	r.keys = append(r.keys, req.Header.Get("Idempotency-Key"))
	r.bodies = append(r.bodies, b)
	r.answer(w)
}

func code(n int, header ...string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(n)
	}
}

func cut(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_ = c.Close() // that is the point
	}
}

// TestAnswers: what each answer makes of a notice, and that it was posted once.
func TestAnswers(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(http.ResponseWriter)
		want   notify.State
		due    time.Duration
	}{
		"taken":       {code(202), notify.Sent, 0},
		"busy":        {code(503), notify.Approved, 5 * time.Minute},
		"too many":    {code(429, "Retry-After", "3600"), notify.Approved, time.Hour},
		"nonsense":    {code(429, "Retry-After", "-1"), notify.Approved, 5 * time.Minute},
		"bad request": {code(400), notify.Failed, 0},
		"elsewhere":   {code(307, "Location", "/other"), notify.Failed, 0},
		"broken":      {code(500), notify.InDoubt, 0},
		"line lost":   {cut, notify.InDoubt, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := &receiver{answer: tt.answer}
			server := httptest.NewTLSServer(r)
			defer server.Close()
			c, err := webhook.New(webhook.Config{URL: server.URL + "/sms", Secret: secret, TLS: &tls.Config{RootCAs: roots(server), MinVersion: tls.VersionTLS12}})
			if err != nil {
				t.Fatal(err)
			}
			house := notifytest.NewHouse(1)
			desk := house.Desk(t, relationtest.Open(t, relationtest.Place(t, "sqlite")), map[notify.Channel]notify.Carrier{notify.Webhook: c}, nil)
			n := notifytest.Approved(t, desk, "S-0", notify.Webhook)
			got, err := desk.Send(t.Context(), n.ID, house.Grant(t, "S-0"), "x")
			if got.State != tt.want || (err == nil) != (tt.want == notify.Sent) || tt.due > 0 && !got.Due.Equal(notifytest.Noon.Add(tt.due)) {
				t.Errorf("%s due %s, %v", got.State, got.Due, err)
			}
			if len(r.keys) != 1 || r.keys[0] != n.ID || len(r.bad) > 0 || r.bodies[0].Phone != "090-0000-0000" || !strings.Contains(r.bodies[0].Short, notify.Grouped(n.Reference)) {
				t.Errorf("posted %d times: %+v, bad %q", len(r.keys), r.bodies, r.bad)
			}
			if n := len([]rune(r.bodies[0].Short)); n > 210 {
				t.Errorf("the short text has %d letters", n)
			}
		})
	}
}

func roots(s *httptest.Server) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(s.Certificate())
	return p
}

// TestNoConnection: without a connection, or with a certificate that isn't trusted,
// nothing was sent and it is tried again.
func TestNoConnection(t *testing.T) {
	r := &receiver{answer: code(202)}
	server := httptest.NewTLSServer(r)
	defer server.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "https://" + l.Addr().String()
	_ = l.Close() // nobody listens now
	for name, url := range map[string]string{"nobody": closed, "untrusted": server.URL} {
		c, err := webhook.New(webhook.Config{URL: url, Secret: secret})
		if err != nil {
			t.Fatal(err)
		}
		house := notifytest.NewHouse(1)
		desk := house.Desk(t, relationtest.Open(t, relationtest.Place(t, "sqlite")), map[notify.Channel]notify.Carrier{notify.Webhook: c}, nil)
		n := notifytest.Approved(t, desk, "S-0", notify.Webhook)
		if got, err := desk.Send(t.Context(), n.ID, house.Grant(t, "S-0"), "x"); got.State != notify.Approved || err == nil || got.Attempts != 1 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if len(r.keys) > 0 {
		t.Error("posted to a server that isn't trusted")
	}
}

// TestConfig refuses what would carry names in the open.
func TestConfig(t *testing.T) {
	for url, fine := range map[string]bool{
		"https://crm.example/x": true, "http://127.0.0.1:8080/x": true, "http://crm.example/x": false, "crm.example": false, "https://u:p@crm.example/": false, "ftp://127.0.0.1/": false, "": false,
	} {
		if _, err := webhook.New(webhook.Config{URL: url, Secret: secret}); (err == nil) != fine {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := webhook.New(webhook.Config{URL: "https://crm.example/", Secret: secret[:31]}); err == nil {
		t.Error("a short secret is fine")
	}
}
