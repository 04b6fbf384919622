package main

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	stdmail "net/mail"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sakimori/detect"
	"sakimori/respond/notify"
	"sakimori/respond/notify/letter"
	"sakimori/respond/notify/mail"
	"sakimori/respond/notify/portal"
	"sakimori/respond/notify/webhook"
	lexicon "sakimori/respond/notify/words"
	"sakimori/respond/rpz/choice"
)

// notifyConfig is how subscribers are told. A channel that isn't there isn't used.
type notifyConfig struct {
	Operator struct {
		JA operatorConfig `yaml:"ja"`
		EN operatorConfig `yaml:"en"`
	} `yaml:"operator"`
	Zone    string         `yaml:"zone"`   // of times in notices, and of the quiet hours
	Words   string         `yaml:"words"`  // folder of the operator's own templates
	Ground  groundConfig   `yaml:"ground"` // what the gate is told of every notice
	Policy  policyConfig   `yaml:"policy"`
	Mail    *mailConfig    `yaml:"mail"`
	Letter  *letterConfig  `yaml:"letter"`
	Webhook *webhookConfig `yaml:"webhook"`
	Portal  *portalConfig  `yaml:"portal"`
}

// operatorConfig is who writes, in one language.
type operatorConfig struct {
	Name  string   `yaml:"name"`
	Site  string   `yaml:"site"`
	Desk  string   `yaml:"desk"`
	Phone string   `yaml:"phone"`
	Hours string   `yaml:"hours"`
	Lines []string `yaml:"lines"` // of the letterhead: postal address, desk, telephone
}

// groundConfig is what the operator states to the gate of every notice, besides what the
// house knows. Without it whoever approves a notice states it.
type groundConfig struct {
	Rule      string `yaml:"rule"` // "" whichever fits
	Purpose   string `yaml:"purpose"`
	Harm      string `yaml:"harm"`
	Necessity string `yaml:"necessity"`
}

type policyConfig struct {
	Most      int           `yaml:"most"`
	Window    time.Duration `yaml:"window"`
	Again     int           `yaml:"again"`
	QuietFrom string        `yaml:"quiet_from"` // "21:00"; the same as quiet_to: no quiet hours
	QuietTo   string        `yaml:"quiet_to"`
	Order     []string      `yaml:"order"`
	Tries     int           `yaml:"tries"`
	Backoff   time.Duration `yaml:"backoff"`
	Longest   time.Duration `yaml:"longest"`
	TwoPeople bool          `yaml:"two_people"`
}

type mailConfig struct {
	Host         string       `yaml:"host"`
	Port         int          `yaml:"port"`
	Security     string       `yaml:"security"`
	CAFile       string       `yaml:"ca_file"` // "" the system's roots
	ServerName   string       `yaml:"server_name"`
	User         string       `yaml:"user"`
	PasswordFile string       `yaml:"password_file"`
	Helo         string       `yaml:"helo"`
	From         string       `yaml:"from"`
	ReplyTo      string       `yaml:"reply_to"`
	Bounce       string       `yaml:"bounce"`
	Bounces      string       `yaml:"bounces"` // Maildir to which the MTA delivers what comes to bounce+…
	Receipts     bool         `yaml:"receipts"`
	DKIM         []dkimConfig `yaml:"dkim"`
}

type dkimConfig struct {
	Domain   string `yaml:"domain"`
	Selector string `yaml:"selector"`
	KeyFile  string `yaml:"key_file"`
}

type letterConfig struct {
	Fonts  []string      `yaml:"fonts"`
	Folder string        `yaml:"folder"` // "" letters, in the data folder
	Reiwa  bool          `yaml:"reiwa"`
	Window *letterWindow `yaml:"window"` // of the envelope; none: 長形3号
}

// letterWindow is an envelope, lying, and the window in it, in millimetres.
type letterWindow struct {
	EnvelopeWidth  float64 `yaml:"envelope_width"`
	EnvelopeHeight float64 `yaml:"envelope_height"`

	Left   float64 `yaml:"left"`
	Top    float64 `yaml:"top"`
	Width  float64 `yaml:"width"`
	Height float64 `yaml:"height"`
}

type webhookConfig struct {
	URL        string        `yaml:"url"`
	SecretFile string        `yaml:"secret_file"`
	CAFile     string        `yaml:"ca_file"`
	Timeout    time.Duration `yaml:"timeout"`
}

type portalConfig struct {
	Listen   string        `yaml:"listen"`
	URL      string        `yaml:"url"`
	VenueURL string        `yaml:"venue_url"`
	Most     int           `yaml:"most"`
	Pass     time.Duration `yaml:"pass"`
	OpenJA   string        `yaml:"open_ja"`
	OpenEN   string        `yaml:"open_en"`
	Proxies  []string      `yaml:"proxies"`
	Terms    string        `yaml:"terms"` // address of the terms, for the page on which subscribers choose
}

func defaultNotify() notifyConfig {
	p := notify.DefaultPolicy(time.UTC)
	n := notifyConfig{Zone: "Asia/Tokyo", Policy: policyConfig{
		Most: p.Most, Window: p.Window, Again: p.Again, QuietFrom: "21:00", QuietTo: "08:00", Tries: p.Tries, Backoff: p.Backoff, Longest: p.Longest,
	}}
	for _, c := range p.Order {
		n.Policy.Order = append(n.Policy.Order, string(c))
	}
	return n
}

// channels are the configured ways to subscribers, made and not begun with.
type channels struct {
	writer  notify.Writer // nil: no operator is named
	policy  notify.Policy
	mail    *mail.Carrier
	press   *letter.Press
	webhook *webhook.Carrier
	portal  *portal.Config
}

// channels makes what the configuration names; dir is the data folder. It opens no
// connection and writes nothing.
func (c *notifyConfig) channels(dir string) (ch channels, err error) {
	zone, err := time.LoadLocation(c.Zone)
	if err != nil {
		return ch, fmt.Errorf("zone %q: name one like Asia/Tokyo", c.Zone)
	}
	if ch.policy, err = c.Policy.policy(zone); err != nil {
		return ch, fmt.Errorf("policy: %w", err)
	}
	if ch.writer, err = c.book(zone); err != nil {
		return ch, err
	}
	if ch.writer == nil && (c.Mail != nil || c.Letter != nil || c.Webhook != nil || c.Portal != nil) {
		return ch, errors.New("operator: say who writes, in ja and en: name, site, desk and phone")
	}
	if c.Mail != nil {
		if ch.mail, err = c.Mail.carrier(); err != nil {
			return ch, err
		}
	}
	if c.Letter != nil {
		if ch.press, err = c.Letter.press(c, zone, dir); err != nil {
			return ch, err
		}
	}
	if c.Webhook != nil {
		if ch.webhook, err = c.Webhook.carrier(); err != nil {
			return ch, err
		}
	}
	if c.Portal != nil {
		if ch.portal, err = c.Portal.portal(c, zone); err != nil {
			return ch, err
		}
	}
	return ch, nil
}

// book is nil where no operator is named.
func (c *notifyConfig) book(zone *time.Location) (notify.Writer, error) {
	who := func(o operatorConfig) lexicon.Operator {
		return lexicon.Operator{Name: o.Name, Site: o.Site, Desk: o.Desk, Phone: o.Phone, Hours: o.Hours}
	}
	ja, en := who(c.Operator.JA), who(c.Operator.EN)
	if ja == (lexicon.Operator{}) && en == (lexicon.Operator{}) {
		return nil, nil //nolint:nilnil // nothing is said by nobody
	}
	var own fs.FS
	if c.Words != "" {
		own = os.DirFS(c.Words)
	}
	b, err := lexicon.Load(lexicon.Config{JA: ja, EN: en, Zone: zone, Own: own})
	if err != nil {
		return nil, fmt.Errorf("operator and words: %w", err)
	}
	return b, nil
}

func (p *policyConfig) policy(zone *time.Location) (notify.Policy, error) {
	out := notify.Policy{
		Most: p.Most, Window: p.Window, Again: p.Again, Zone: zone, Tries: p.Tries, Backoff: p.Backoff, Longest: p.Longest, TwoPeople: p.TwoPeople,
	}
	for _, t := range []struct {
		name, text string
		to         *time.Duration
	}{{"quiet_from", p.QuietFrom, &out.QuietFrom}, {"quiet_to", p.QuietTo, &out.QuietTo}} {
		at, err := time.Parse("15:04", t.text)
		if err != nil {
			return out, fmt.Errorf("%s %q: write it like 21:00", t.name, t.text)
		}
		*t.to = time.Duration(at.Hour())*time.Hour + time.Duration(at.Minute())*time.Minute
	}
	for _, c := range p.Order {
		out.Order = append(out.Order, notify.Channel(c))
	}
	return out, out.Check()
}

func (m *mailConfig) carrier() (*mail.Carrier, error) {
	from, err := stdmail.ParseAddress(m.From)
	if err != nil {
		return nil, fmt.Errorf("mail: from %q: write it like Network Safety Desk <notice@isp.example>", m.From)
	}
	if m.Host == "" {
		return nil, errors.New("mail: host: name the operator's own MTA")
	}
	cfg := mail.Config{
		Host: m.Host, Port: cmp.Or(m.Port, 587), Security: mail.Security(m.Security), User: m.User, Helo: m.Helo, From: *from, ReplyTo: m.ReplyTo, Bounce: m.Bounce,
		Receipts: m.Receipts, Idle: 2,
	}
	if m.PasswordFile != "" {
		b, err := os.ReadFile(m.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("mail: password_file: %w", err)
		}
		cfg.Password = strings.TrimSpace(string(b))
	}
	if cfg.TLS, err = roots(m.CAFile); err != nil {
		return nil, fmt.Errorf("mail: ca_file: %w", err)
	}
	if cfg.TLS != nil {
		cfg.TLS.ServerName = cmp.Or(m.ServerName, m.Host)
	}
	if m.Bounces != "" && m.Bounce == "" {
		return nil, errors.New("mail: bounces names a Maildir, but bounce no address: say where failures come back to")
	}
	for _, k := range m.DKIM {
		signer, err := privateKey(k.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("mail: dkim %s: %w", k.Selector, err)
		}
		cfg.Keys = append(cfg.Keys, mail.Key{Domain: k.Domain, Selector: k.Selector, Signer: signer})
	}
	return mail.New(cfg)
}

// roots are those of a file; nil without one: the system's.
func roots(path string) (*tls.Config, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // the library's own default
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// privateKey reads a key in PEM: PKCS #8, or PKCS #1 of RSA.
func privateKey(path string) (crypto.Signer, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("key_file: %s holds no key in PEM", path)
	}
	if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("key_file: %s: %w", path, err)
	}
	s, is := k.(crypto.Signer)
	if !is {
		return nil, fmt.Errorf("key_file: %s can't sign: use Ed25519 or RSA", path)
	}
	return s, nil
}

func (l *letterConfig) press(c *notifyConfig, zone *time.Location, dir string) (*letter.Press, error) {
	head := func(o operatorConfig) letter.Sender { return letter.Sender{Name: o.Name, Lines: o.Lines} }
	cfg := letter.Config{
		Fonts: l.Fonts, JA: head(c.Operator.JA), EN: head(c.Operator.EN), Zone: zone, Reiwa: l.Reiwa, Dir: cmp.Or(l.Folder, filepath.Join(dir, "letters")),
	}
	if l.Window != nil {
		cfg.Window = letter.Window(*l.Window)
	}
	return letter.New(cfg)
}

func (w *webhookConfig) carrier() (*webhook.Carrier, error) {
	secret, err := os.ReadFile(w.SecretFile)
	if err != nil {
		return nil, fmt.Errorf("webhook: secret_file: %w", err)
	}
	trust, err := roots(w.CAFile)
	if err != nil {
		return nil, fmt.Errorf("webhook: ca_file: %w", err)
	}
	return webhook.New(webhook.Config{URL: w.URL, Secret: bytes.TrimSpace(secret), TLS: trust, Timeout: w.Timeout})
}

// choice is the page on which subscribers choose, beside the portal.
func (c *notifyConfig) choice(proxies []netip.Prefix, zone *time.Location) choice.Config {
	return choice.Config{
		Operator: detect.Text{JA: c.Operator.JA.Name, EN: c.Operator.EN.Name}, Terms: c.Portal.Terms, Proxies: proxies, Zone: zone,
		Desk: detect.Text{JA: strings.TrimSpace(c.Operator.JA.Desk + " " + c.Operator.JA.Phone), EN: strings.TrimSpace(c.Operator.EN.Desk + " " + c.Operator.EN.Phone)},
	}
}

func (p *portalConfig) portal(c *notifyConfig, zone *time.Location) (*portal.Config, error) {
	cfg := portal.DefaultConfig(zone)
	cfg.URL, cfg.VenueURL = p.URL, p.VenueURL
	cfg.Most, cfg.Pass = cmp.Or(p.Most, cfg.Most), cmp.Or(p.Pass, cfg.Pass)
	cfg.Open = detect.Text{JA: p.OpenJA, EN: p.OpenEN}
	cfg.Operator = detect.Text{JA: c.Operator.JA.Name, EN: c.Operator.EN.Name}
	for _, s := range p.Proxies {
		x, err := parsePrefix(s, "portal.proxies")
		if err != nil {
			return nil, err
		}
		cfg.Proxies = append(cfg.Proxies, x)
	}
	if p.Listen == "" {
		return nil, errors.New("portal: listen: write host:port, for example 127.0.0.1:8640")
	}
	return &cfg, cfg.Check()
}
