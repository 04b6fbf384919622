package mail_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	stdmail "net/mail"
	"strings"
	"testing"

	"github.com/emersion/go-message"
	"github.com/emersion/go-msgauth/dkim"

	"sakimori/base/relation/relationtest"
	"sakimori/lawful"
	"sakimori/respond/notify"
	"sakimori/respond/notify/mail"
	"sakimori/respond/notify/notifytest"
)

// keys makes one of each kind, and the DNS that publishes them.
func keys(t testing.TB) ([]mail.Key, func(string) ([]string, error)) {
	t.Helper()
	public, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&r.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	records := map[string]string{
		"ed._domainkey.isp.example":  "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public),
		"rsa._domainkey.isp.example": "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der),
	}
	list := []mail.Key{{"isp.example", "ed", crypto.Signer(ed)}, {"isp.example", "rsa", r}}
	return list, func(name string) ([]string, error) {
		if txt, is := records[name]; is {
			return []string{txt}, nil
		}
		return nil, errors.New("no such name")
	}
}

func config(m *notifytest.MTA) mail.Config {
	return mail.Config{
		Host: "127.0.0.1", Port: m.Port, TLS: m.TLS(), Helo: "desk.isp.example", Idle: 4,
		From: stdmail.Address{Name: "さきもり通信", Address: "notice@isp.example"}, Bounce: "bounce@isp.example",
	}
}

func carrier(t testing.TB, cfg mail.Config) *mail.Carrier {
	t.Helper()
	c, err := mail.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // never fails
	return c
}

func channels(c *mail.Carrier) map[notify.Channel]notify.Carrier {
	return map[notify.Channel]notify.Carrier{notify.Mail: c}
}

// TestArrives: through a real MTA over STARTTLS; what arrives is signed rightly by
// both keys, says what it should, and nothing in it must be clicked.
func TestArrives(t *testing.T) {
	mta := notifytest.StartMTA(t)
	cfg := config(mta)
	list, dns := keys(t)
	cfg.Keys = list
	house := notifytest.NewHouse(2)
	desk := house.Desk(t, relationtest.Open(t, relationtest.Place(t, "sqlite")), channels(carrier(t, cfg)), nil)
	for _, subject := range []string{"S-0", "S-1"} { // the second one over the kept connection
		n := notifytest.Approved(t, desk, subject, notify.Mail)
		sent, err := desk.Send(t.Context(), n.ID, house.Grant(t, subject), "abuse:hanako")
		if err != nil || sent.State != notify.Sent || !strings.Contains(sent.Receipt, "id=") {
			t.Fatalf("%+v, %v\n%s", sent, err, mta.Log(t))
		}
	}
	got := mta.Wait(t, "home.example", 2)[0]
	if strings.Count(mta.Log(t), " P=esmtps ") != 2 {
		t.Errorf("not over TLS:\n%s", mta.Log(t))
	}
	found, err := dkim.VerifyWithOptions(bytes.NewReader(got), &dkim.VerifyOptions{LookupTXT: dns})
	if err != nil || len(found) != 2 || found[0].Err != nil || found[1].Err != nil || found[0].Domain != "isp.example" {
		t.Errorf("signatures: %+v %v", found, err)
	}
	forged := bytes.Replace(got, []byte("\nSubject:"), []byte("\nSubject: x"), 1)
	if found, err := dkim.VerifyWithOptions(bytes.NewReader(forged), &dkim.VerifyOptions{LookupTXT: dns}); err == nil && len(found) == 2 && (found[0].Err == nil || found[1].Err == nil) {
		t.Error("a changed subject is believed")
	}
	e, err := message.Read(bytes.NewReader(got))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(e.Body)
	if err != nil {
		t.Fatal(err)
	}
	notices, err := desk.List(t.Context(), notify.Query{})
	if err != nil {
		t.Fatal(err)
	}
	n := notices[0]
	if !bytes.Contains(got, []byte(n.ID)) { // maildir's order is its own
		n = notices[1]
	}
	subject, _ := e.Header.Text("Subject")
	for what, ok := range map[string]bool{
		"number in the subject": strings.Contains(subject, notify.Grouped(n.Reference)),
		"number in the text":    bytes.Contains(body, []byte(notify.Grouped(n.Reference))),
		"name":                  bytes.Contains(body, []byte("防人 花子")),
		"steps":                 bytes.Contains(body, []byte("\n5. ")),
		"how to check":          bytes.Contains(body, []byte("www.sakimori.example")),
		"generated":             e.Header.Get("Auto-Submitted") == "auto-generated",
		"no unsubscription":     !e.Header.Has("List-Unsubscribe"),
		"plain":                 strings.HasPrefix(e.Header.Get("Content-Type"), "text/plain"),
		"return path":           e.Header.Get("Return-Path") == "<bounce+"+n.ID+"@isp.example>",
		"id":                    e.Header.Get("Message-Id") == "<"+n.ID+"@isp.example>",
		"no link":               !bytes.Contains(body, []byte("://")),
	} {
		if !ok {
			t.Errorf("%s:\n%s\n%s", what, got, body)
		}
	}
}

// TestSecurity: no certificate that isn't trusted, no server without STARTTLS, no
// password in the open; implicit TLS and AUTH work.
func TestSecurity(t *testing.T) {
	mta := notifytest.StartMTA(t)
	for name, tt := range map[string]struct {
		change func(*mail.Config)
		sent   bool
		log    string
	}{
		"starttls":    {func(*mail.Config) {}, true, "P=esmtps "},
		"other roots": {func(c *mail.Config) { c.TLS.RootCAs = x509.NewCertPool() }, false, ""},
		"other name":  {func(c *mail.Config) { c.TLS.ServerName = "other.example" }, false, ""},
		"implicit":    {func(c *mail.Config) { c.Security, c.Port = mail.ImplicitTLS, mta.TLSPort }, true, "P=esmtps "},
		"auth":        {func(c *mail.Config) { c.User, c.Password = "sakimori", "geheim" }, true, "P=esmtpsa "},
		"auth implicit": {func(c *mail.Config) {
			c.Security, c.Port, c.User, c.Password = mail.ImplicitTLS, mta.TLSPort, "sakimori", "geheim"
		}, true, "P=esmtpsa "},
		"wrong word":    {func(c *mail.Config) { c.User, c.Password = "sakimori", "falsch" }, false, ""},
		"auth in clear": {func(c *mail.Config) { c.Security, c.User, c.Password = mail.Plain, "sakimori", "geheim" }, false, ""},
		"plain":         {func(c *mail.Config) { c.Security = mail.Plain }, true, "P=esmtp "},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(mta)
			tt.change(&cfg)
			house := notifytest.NewHouse(1)
			desk := house.Desk(t, relationtest.Open(t, relationtest.Place(t, "sqlite")), channels(carrier(t, cfg)), nil)
			n := notifytest.Approved(t, desk, "S-0", notify.Mail)
			got, err := desk.Send(t.Context(), n.ID, house.Grant(t, "S-0"), "x")
			if tt.sent != (got.State == notify.Sent) || tt.sent != (err == nil) {
				t.Fatalf("%s %s, %v", got.State, got.Reason, err)
			}
			if !tt.sent && (got.State != notify.Approved || got.Due.IsZero() || len(house.Deeds) != 0) {
				t.Errorf("not to be tried again: %+v", got)
			}
			if tt.sent && !strings.Contains(mta.Log(t), tt.log+"") {
				t.Errorf("%s", mta.Log(t))
			}
		})
	}
}

// TestAnswers: an MTA's refusals, and a bounce that it makes.
func TestAnswers(t *testing.T) {
	mta := notifytest.StartMTA(t)
	cfg := config(mta)
	cfg.Receipts = true
	c := carrier(t, cfg)
	house := notifytest.NewHouse(6)
	for i, box := range []string{"s0@home.example", "refused@home.example", "later@home.example", "gone@home.example", "not an address", ""} {
		p := notifytest.Person(i)
		p.Mail = box
		house.People[[]string{"S-0", "S-1", "S-2", "S-3", "S-4", "S-5"}[i]] = p
	}
	desk := house.Desk(t, relationtest.Open(t, relationtest.Place(t, "sqlite")), channels(c), nil)
	ids := map[string]string{}
	for subject, want := range map[string]notify.State{"S-0": notify.Sent, "S-1": notify.Failed, "S-2": notify.Approved, "S-3": notify.Sent, "S-4": notify.Failed, "S-5": notify.Failed} {
		n := notifytest.Approved(t, desk, subject, notify.Mail)
		got, err := desk.Send(t.Context(), n.ID, house.Grant(t, subject), "x")
		if got.State != want || (err == nil) != (want == notify.Sent) {
			t.Errorf("%s: %s %q, %v", subject, got.State, got.Reason, err)
		}
		if strings.Contains(got.Reason+got.Receipt, "home.example") || err != nil && strings.Contains(err.Error(), "home.example") {
			t.Errorf("an address was kept: %q %q %v", got.Reason, got.Receipt, err)
		}
		ids[n.ID] = subject
	}
	for _, raw := range mta.Wait(t, "isp.example", 2) { // one bounce, one receipt
		b, err := mail.ReadBounce(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("%v\n%s", err, raw)
		}
		became := notify.Delivered
		if b.Permanent {
			became = notify.Bounced
		}
		n, err := desk.Confirm(t.Context(), b.Notice, became, "bounce box", b.Status)
		want := map[string]notify.State{"S-0": notify.Delivered, "S-3": notify.Bounced}[ids[b.Notice]]
		if err != nil || n.State != want {
			t.Errorf("%+v of %s: %s, %v", b, ids[b.Notice], n.State, err)
		}
	}
	// The line is still good after refusals.
	n := notifytest.Approved(t, desk, "S-0", notify.Mail)
	if got, err := desk.Send(t.Context(), n.ID, house.Grant(t, "S-0"), "x"); err != nil || got.State != notify.Sent {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestPreview shows no person without a grant.
func TestPreview(t *testing.T) {
	c := carrier(t, mail.Config{Host: "127.0.0.1", Port: 1, From: stdmail.Address{Address: "notice@isp.example"}})
	house := notifytest.NewHouse(1)
	desk := house.Desk(t, relationtest.Open(t, relationtest.Place(t, "sqlite")), channels(c), nil)
	n := notifytest.Approved(t, desk, "S-0", notify.Mail)
	masked, err := desk.Preview(t.Context(), n.ID, lawful.Grant{}, "abuse:hanako")
	if err != nil || strings.Contains(text(t, masked.Content), "花子") || !strings.Contains(text(t, masked.Content), "●●●● 様") || house.Reads != 0 {
		t.Errorf("%v\n%s", err, text(t, masked.Content))
	}
	s, err := desk.Preview(t.Context(), n.ID, house.Grant(t, "S-0"), "abuse:hanako")
	if err != nil || !strings.Contains(text(t, s.Content), "花子0 様") {
		t.Errorf("%v\n%s", err, text(t, s.Content))
	}
}

func text(t *testing.T, raw []byte) string {
	t.Helper()
	e, err := message.Read(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(e.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
