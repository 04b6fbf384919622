package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/console"
	"sakimori/console/people"
)

// house is the relational store with what lives in it.
type house struct {
	db     *relation.DB
	book   *ledger.Book
	people *people.Register
	cli    string // id of the command line's token, while serve runs
}

// houseFile is the store of a house that names no server.
const houseFile = "house.sqlite"

// openHouse opens the store: the database that is configured, or a file in the data
// folder, which is there.
func openHouse(ctx context.Context, cfg *config) (*house, error) {
	where := cfg.Database
	if where == "" {
		where = filepath.Join(cfg.Data, houseFile)
		// SQLite would make it for everybody to read.
		f, err := os.OpenFile(where, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open the house: %w", err)
		}
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("open the house: %w", err)
		}
	}
	settings := people.DefaultConfig()
	var err error
	if settings.Issuers, err = cfg.issuers(); err != nil {
		return nil, err
	}
	h := &house{}
	if h.db, err = relation.Open(ctx, where); err != nil {
		return nil, err
	}
	if h.book, err = ledger.Open(ctx, h.db, cfg.now()); err == nil {
		h.people, err = people.Open(ctx, h.db, clock.System{}, recorder{h.book}, settings)
	}
	if err != nil {
		return nil, errors.Join(err, h.db.Close())
	}
	return h, nil
}

// Close closes the store.
func (h *house) Close() error { return h.db.Close() }

// recorder hands on to the ledger.
type recorder struct{ book *ledger.Book }

func (r recorder) Record(ctx context.Context, kind account.Kind, who string, what any) error {
	_, err := r.book.Append(ctx, ledger.Line{Kind: kind, Who: who, What: what})
	return err
}

var _ people.Recorder = recorder{}

// issuerConfig is an issuer of OpenID Connect who vouches for users.
type issuerConfig struct {
	ID         string              `yaml:"id"`
	Name       string              `yaml:"name"` // on the button
	URL        string              `yaml:"url"`
	Client     string              `yaml:"client"`
	SecretFile string              `yaml:"secret_file"` // "" for a client without one
	Scopes     []string            `yaml:"scopes"`
	Groups     string              `yaml:"groups"` // claim that lists them
	Roles      map[string][]string `yaml:"roles"`  // of each group
}

func (c *config) issuers() (list []people.Issuer, err error) {
	for _, i := range c.Issuers {
		p := people.Issuer{ID: i.ID, Name: i.Name, URL: i.URL, Client: i.Client, Scopes: i.Scopes, Groups: i.Groups, Roles: map[string]console.Roles{}}
		if c.PublicURL != "" {
			p.Redirect = c.PublicURL + "/signin/" + i.ID + "/return"
		}
		if i.SecretFile != "" {
			b, err := os.ReadFile(i.SecretFile)
			if err != nil {
				return nil, fmt.Errorf("issuer %s: secret_file: %w", i.ID, err)
			}
			p.Secret = strings.TrimSpace(string(b))
		}
		for group, words := range i.Roles {
			if p.Roles[group], err = console.ParseRoles(words...); err != nil {
				return nil, fmt.Errorf("issuer %s: roles of group %q: %w", i.ID, group, err)
			}
		}
		list = append(list, p)
	}
	return list, nil
}

// checkAddress says what is wrong with public_url and proxies.
func (c *config) checkAddress() error {
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.Path != "" || u.RawQuery != "" || u.User != nil {
			return fmt.Errorf("public_url %q: write it as https://console.example.jp, without anything after the name", c.PublicURL)
		}
	}
	if len(c.Issuers) > 0 && c.PublicURL == "" {
		return errors.New("issuers are named, but public_url isn't: say where browsers come back to")
	}
	_, err := c.proxies()
	return err
}

// proxies are those whose X-Forwarded-For is believed: where the console has a public
// address, and nothing else is said, this machine's own.
func (c *config) proxies() (list []netip.Prefix, err error) {
	words := c.Proxies
	if len(words) == 0 && c.PublicURL != "" {
		words = []string{"127.0.0.0/8", "::1"}
	}
	for _, w := range words {
		p, err := parsePrefix(w, "proxy")
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// hosts are the names by which the console may be called.
func (c *config) hosts() []string {
	if u, err := url.Parse(c.PublicURL); err == nil && u.Host != "" {
		return append([]string{u.Hostname()}, c.Hosts...)
	}
	return c.Hosts
}

// consoleKey keeps the console's cursors good over a restart: 32 bytes, for their
// owner only.
func consoleKey(path string) ([]byte, error) {
	const size = 32
	key, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("read the console's key: %w", err)
	case len(key) != size:
		return nil, fmt.Errorf("%s has %d bytes instead of %d: remove it, and a new one is made", path, len(key), size)
	default:
		return key, nil
	}
	key = make([]byte, size)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make the console's key: %w", err)
	}
	if err := os.WriteFile(path, key, 0o600); err != nil {
		return nil, fmt.Errorf("make the console's key: %w", err)
	}
	return key, nil
}

// cliToken is what the other commands log in with while this process has the
// store: a file that only its owner reads. That of the last start ends.
func (h *house) cliToken(ctx context.Context, path string) error {
	const name = "command line"
	if old, err := os.ReadFile(path); err == nil {
		t, err := h.people.Redeem(ctx, strings.TrimSpace(string(old)), console.APIToken)
		if err == nil {
			err = h.people.Withdraw(ctx, name, "", t.ID)
		}
		if err != nil && !errors.Is(err, console.ErrToken) {
			return err
		}
	}
	secret, made, err := h.people.MakeToken(ctx, name, console.Token{Name: name, Roles: console.Admin}, 365*24*time.Hour)
	if err != nil {
		return err
	}
	h.cli = made.ID
	return os.WriteFile(path, []byte(secret), 0o600)
}

// local tells whether a token is of who works at this machine: the command line's own,
// or a session that was opened by the address printed at the start.
func (h *house) local(t console.Token) (who string, is bool) {
	if t.UserID != "" || t.ID != h.cli && (t.Kind != console.SessionToken || t.Parent != "") {
		return "", false
	}
	return whoAmI(), true
}
