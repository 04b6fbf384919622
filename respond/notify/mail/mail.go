// Package mail brings notices to subscribers by electronic mail: plain text, signed
// with DKIM (RFC 6376), handed to the operator's own MTA over TLS. It also reads what
// comes back (RFC 3464).
package mail

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"errors"
	"fmt"
	stdmail "net/mail"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"

	"sakimori/respond/notify"
)

// Security says how the way to the MTA is protected.
type Security string

// The kinds of protection.
const (
	StartTLS      Security = "starttls"      // or nothing is sent
	ImplicitTLS   Security = "tls"           // TLS from the first byte (RFC 8314)
	Opportunistic Security = "opportunistic" // TLS if the server offers it: whoever stands between can take the offer away
	Plain         Security = "none"          // for an MTA on the same machine
)

// Key signs with DKIM.
type Key struct {
	Domain   string // d=
	Selector string // s=
	Signer   crypto.Signer
}

// Config is what a Carrier is made with.
type Config struct {
	Host     string
	Port     int
	Security Security    // "" StartTLS
	TLS      *tls.Config // roots and the server's name; nil the system's roots and Host
	User     string      // "" no AUTH; the password never goes over a line without TLS
	Password string
	Helo     string // "" the machine's name
	From     stdmail.Address
	ReplyTo  string // "" none
	// Bounce is the address that failures come back to. The notice's id is put into
	// it: bounce+id@isp.example. "" no bounces can be read.
	Bounce  string
	Keys    []Key         // one for each algorithm that should be signed with (RFC 8463, section 3)
	Timeout time.Duration // of a command; 0 a minute
	Answer  time.Duration // of the answer to a message; 0 ten minutes (RFC 5321, section 4.5.3.2.6)
	Idle    int           // connections that are kept for the next message
	// Receipts asks the MTAs on the way to report arrival too, where they can (RFC 3461):
	// a mail more for each notice.
	Receipts bool
}

// Carrier sends notices by mail. It may be used by many goroutines.
type Carrier struct {
	cfg    Config
	client *gomail.Client
	domain string // of the Message-ID

	mu   sync.Mutex
	idle []*smtp.Client
}

// New makes a carrier. It opens no connection.
func New(cfg Config) (*Carrier, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	if cfg.Answer == 0 {
		cfg.Answer = 10 * time.Minute
	}
	_, domain, is := strings.Cut(cfg.From.Address, "@")
	if !is {
		return nil, errors.New("mail: notices need a sender's address: set from")
	}
	if cfg.Bounce != "" && strings.Count(cfg.Bounce, "@") != 1 {
		return nil, fmt.Errorf("mail: %q is no address for bounces", cfg.Bounce)
	}
	for _, k := range cfg.Keys {
		if k.Domain == "" || k.Selector == "" || k.Signer == nil {
			return nil, errors.New("mail: a DKIM key needs domain, selector and the key itself")
		}
	}
	options := []gomail.Option{gomail.WithPort(cfg.Port), gomail.WithTimeout(cfg.Timeout)}
	switch cfg.Security {
	case "", StartTLS:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case ImplicitTLS:
		options = append(options, gomail.WithSSL())
	case Opportunistic:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	case Plain:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		return nil, fmt.Errorf("mail: %q is no kind of security: use starttls, tls, opportunistic or none", cfg.Security)
	}
	if cfg.TLS != nil {
		options = append(options, gomail.WithTLSConfig(cfg.TLS))
	}
	if cfg.Helo != "" {
		options = append(options, gomail.WithHELO(cfg.Helo))
	}
	if cfg.User != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(cfg.User), gomail.WithPassword(cfg.Password))
	}
	client, err := gomail.NewClient(cfg.Host, options...)
	if err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	return &Carrier{cfg: cfg, client: client, domain: domain}, nil
}

// MessageID is the Message-ID of a notice, without brackets: always the same, so that
// a question to an MTA's log finds it.
func (c *Carrier) MessageID(id string) string { return id + "@" + c.domain }

// Write makes the message, signed.
func (c *Carrier) Write(m *notify.Message) (notify.Sheet, error) {
	to, err := recipient(&m.Person)
	if err != nil {
		return notify.Sheet{}, err
	}
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent(), gomail.WithEncoding(gomail.EncodingB64), gomail.WithCharset(gomail.CharsetUTF8))
	msg.FromMailAddress(&c.cfg.From)
	msg.ToMailAddress(to)
	if c.cfg.ReplyTo != "" {
		if err := msg.ReplyTo(c.cfg.ReplyTo); err != nil {
			return notify.Sheet{}, fmt.Errorf("mail: the address for replies: %w", err)
		}
	}
	msg.Subject(m.Words.Title + subjectNumber(m))
	msg.SetDateWithValue(m.At)
	msg.SetMessageIDWithValue(c.MessageID(m.Notice.ID))
	// RFC 3834: no holiday message shall answer. List-Unsubscribe isn't there: a warning
	// is no advertisement that one click should end for ever; the text says how to be
	// told another way.
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader("Content-Language", m.Words.Language)
	msg.SetBodyString(gomail.TypeTextPlain, Text(m))
	var raw bytes.Buffer
	if _, err := msg.WriteTo(&raw); err != nil {
		return notify.Sheet{}, fmt.Errorf("mail: write the message: %w", err)
	}
	content, err := c.sign(raw.Bytes())
	return notify.Sheet{Type: "message/rfc822", Content: content}, err
}

func subjectNumber(m *notify.Message) string {
	if m.Words.Language == "ja" {
		return " [お問い合わせ番号 " + notify.Grouped(m.Notice.Reference) + "]"
	}
	return " [reference " + notify.Grouped(m.Notice.Reference) + "]"
}

// recipient is the person's address; one that can't be used is never repeated.
func recipient(p *notify.Person) (*stdmail.Address, error) {
	if p.Mail == "" {
		return nil, &notify.Unwritable{State: notify.Failed, Reason: "no mail address is known: use another channel"}
	}
	to, err := stdmail.ParseAddress(p.Mail)
	if err != nil || strings.ContainsAny(to.Address, "\r\n<> ") || !ascii(to.Address) {
		return nil, &notify.Unwritable{State: notify.Failed, Reason: "the mail address can't be used: use another channel"}
	}
	to.Name = p.Name
	return to, nil
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x21 || r > 0x7e })
}

// signed are the fields that a signature covers (RFC 6376, section 5.4.1), From twice
// so that no second one can be added (section 8.15).
var signed = []string{"From", "From", "To", "Reply-To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Auto-Submitted"}

func (c *Carrier) sign(raw []byte) ([]byte, error) {
	var head []byte
	for _, k := range c.cfg.Keys {
		s, err := dkim.NewSigner(&dkim.SignOptions{
			Domain: k.Domain, Selector: k.Selector, Signer: k.Signer, Hash: crypto.SHA256, HeaderKeys: signed,
			HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		})
		if err != nil {
			return nil, fmt.Errorf("mail: sign with %s of %s: %w", k.Selector, k.Domain, err)
		}
		_, err = s.Write(raw)
		if err := errors.Join(err, s.Close()); err != nil {
			return nil, fmt.Errorf("mail: sign with %s of %s: %w", k.Selector, k.Domain, err)
		}
		head = append(head, s.Signature()...)
	}
	return append(head, raw...), nil
}

// envelope is the return path of a notice.
func (c *Carrier) envelope(id string) string {
	if c.cfg.Bounce == "" {
		return c.cfg.From.Address
	}
	local, domain, _ := strings.Cut(c.cfg.Bounce, "@")
	return local + "+" + id + "@" + domain
}

// Reach goes up to the recipient's acceptance by the MTA.
func (c *Carrier) Reach(ctx context.Context, m *notify.Message, s notify.Sheet) (notify.Handing, error) {
	to, err := recipient(&m.Person)
	if err != nil {
		return nil, err
	}
	// A kept connection may be gone; nothing was said on it, so another may be tried.
	for {
		line, kept, err := c.connect(ctx)
		if err != nil {
			return nil, err
		}
		err = c.begin(line, m.Notice.ID, to.Address)
		if err == nil {
			return &handing{c: c, line: line, content: s.Content}, nil
		}
		_, answered := errors.AsType[*notify.NotTaken](err)
		if answered && line.Reset() == nil {
			c.keep(line)
			return nil, err
		}
		_ = line.Close() // the first error says more
		if answered || !kept {
			return nil, err
		}
	}
}

func (c *Carrier) connect(ctx context.Context) (line *smtp.Client, kept bool, err error) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		line, c.idle = c.idle[n-1], c.idle[:n-1]
	}
	c.mu.Unlock()
	if line != nil {
		return line, true, nil
	}
	line, err = c.client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("mail: reach the MTA %s:%d: %w", c.cfg.Host, c.cfg.Port, err)
	}
	return line, false, nil
}

// begin says who writes to whom. The commands are made here, as the library asks for
// SMTPUTF8 whenever the server knows it: the next server may not, and would bounce
// what didn't need it.
func (c *Carrier) begin(line *smtp.Client, id, to string) error {
	if err := line.UpdateDeadline(c.cfg.Timeout); err != nil {
		return err
	}
	from, rcpt := "MAIL FROM:<"+c.envelope(id)+">", "RCPT TO:<"+to+">"
	if dsn, _ := line.Extension("DSN"); dsn { // RFC 3461
		from += " RET=HDRS ENVID=" + id
		if rcpt += " NOTIFY=FAILURE,DELAY"; c.cfg.Receipts {
			rcpt += ",SUCCESS"
		}
	}
	if err := command(line, 250, from, "MAIL"); err != nil {
		return err
	}
	return command(line, 25, rcpt, "RCPT")
}

// command sends a line and reads the answer; an answer that isn't wanted becomes a
// *NotTaken.
func command(line *smtp.Client, want int, text, name string) error {
	id, err := line.Text.Cmd("%s", text)
	if err != nil {
		return fmt.Errorf("mail: %s: the MTA is gone", name)
	}
	line.Text.StartResponse(id)
	defer line.Text.EndResponse(id)
	code, said, err := line.Text.ReadResponse(want)
	if code == 421 { // the server closes the line: that is about the line, not about the message
		return fmt.Errorf("mail: %s: the MTA closed the line (421%s)", name, enhanced(said))
	}
	return verdict(code, said, err, name)
}

// verdict makes of an SMTP answer what became of the message.
func verdict(code int, said string, err error, name string) error {
	switch {
	case err == nil:
		return nil
	case code/100 == 4 || code/100 == 5:
		return &notify.NotTaken{Permanent: code/100 == 5, Reason: "SMTP " + strconv.Itoa(code) + enhanced(said) + " at " + name}
	}
	return fmt.Errorf("mail: %s: no answer came from the MTA", name)
}

// enhanced is the status code (RFC 3463) at the head of an answer, "" none. The rest
// of it may quote the address.
func enhanced(said string) string {
	first, _, _ := strings.Cut(said, " ")
	if status.MatchString(first) {
		return " " + first
	}
	return ""
}

func (c *Carrier) keep(line *smtp.Client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) < c.cfg.Idle {
		c.idle = append(c.idle, line)
		return
	}
	_ = line.Quit() // nothing hangs on it
}

// Close ends the connections that are kept.
func (c *Carrier) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, line := range c.idle {
		_ = line.Quit() // nothing hangs on it
	}
	c.idle = nil
	return nil
}

type handing struct {
	c       *Carrier
	line    *smtp.Client
	content []byte
	over    bool
}

// Hand gives the message to the MTA. Until the dot that ends it has gone out the MTA
// can't have taken it; from then on only its answer tells. It isn't cut short by ctx:
// a message given up half-way would be in doubt.
func (h *handing) Hand(context.Context) (receipt string, err error) {
	h.over = true
	if err := h.line.UpdateDeadline(h.c.cfg.Timeout); err != nil {
		return "", &notify.NotTaken{Reason: "the MTA is gone"}
	}
	if err := command(h.line, 354, "DATA", "DATA"); err != nil {
		return "", h.refused(err)
	}
	w := h.line.Text.DotWriter()
	if _, err := w.Write(h.content); err != nil {
		_ = h.line.Close() // the first error says more
		return "", &notify.NotTaken{Reason: "the MTA went away in the middle of the message"}
	}
	if err := h.line.UpdateDeadline(h.c.cfg.Answer); err != nil {
		_ = h.line.Close() // as above
		return "", &notify.NotTaken{Reason: "the MTA went away in the middle of the message"}
	}
	if err := w.Close(); err != nil {
		_ = h.line.Close() // as above
		return "", errors.New("mail: the line was lost at the end of the message")
	}
	code, said, err := h.line.Text.ReadResponse(250)
	if err := verdict(code, said, err, "the end of the message"); err != nil {
		if _, answered := errors.AsType[*notify.NotTaken](err); answered {
			return "", h.refused(err)
		}
		_ = h.line.Close() // as above
		return "", err
	}
	h.c.keep(h.line)
	return scrubbed(said), nil
}

// refused lets the line go on after an answer, and closes it after none: before the
// message began that is a refusal, too.
func (h *handing) refused(err error) error {
	if _, answered := errors.AsType[*notify.NotTaken](err); answered && h.line.Reset() == nil {
		h.c.keep(h.line)
		return err
	} else if answered {
		_ = h.line.Close() // the first error says more
		return err
	}
	_ = h.line.Close() // as above
	return &notify.NotTaken{Reason: "the MTA went away before the message"}
}

// Drop gives the recipient up.
func (h *handing) Drop() {
	if h.over {
		return
	}
	h.over = true
	if h.line.Reset() != nil {
		_ = h.line.Close() // it is of no use
		return
	}
	h.c.keep(h.line)
}

// scrubbed is an MTA's answer without anything that looks like an address.
func scrubbed(said string) string {
	words := strings.Fields(said)
	kept := words[:0]
	for _, w := range words {
		if !strings.Contains(w, "@") {
			kept = append(kept, w)
		}
	}
	const most = 120
	out := strings.Join(kept, " ")
	return out[:min(len(out), most)]
}

// Interface guards.
var (
	_ notify.Carrier = (*Carrier)(nil)
	_ notify.Handing = (*handing)(nil)
)
