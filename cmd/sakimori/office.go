package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/base/telemetry"
	"sakimori/detect"
	"sakimori/detect/cnc"
	"sakimori/detect/cnc/never"
	"sakimori/lawful"
	"sakimori/lawful/consent"
	"sakimori/observe/dns"
	"sakimori/observe/feed/remote"
	"sakimori/respond/casework"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/canary"
	"sakimori/respond/rpz/optout"
	"sakimori/respond/rpz/primary"
	"sakimori/respond/rpz/publish"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/history"
	"sakimori/respond/subscriber/translation"
	"sakimori/respond/subscriber/vault"
)

// office is where subscribers are dealt with: who they are, who had which address, the
// cases, and the gate that all of it passes. It stands in the house.
type office struct {
	*house

	dir     string
	clock   clock.Clock
	keys    *vault.Keys
	vault   *vault.Vault
	history *history.History
	desk    *casework.Desk
	notices *notices
	list    *cnc.List          // of C&C servers
	never   *never.Lists       // what is on none
	own     []netip.Prefix     // the operator's; none: not told
	rules   *translation.Rules // of computed translation; nil none

	gate      *lawful.Gate
	guideline lawful.Guideline // by which it decides
	consents  *consent.Register

	zones   *rpz.Store      // nil: none are served
	primary *primary.Server // of serve
	stamp   func(z rpz.Zone, serial uint32) []rpz.Rule

	// Of serve, nil else.
	follower  *optout.Follower
	publisher *publish.Publisher
	canary    *canary.Watch
	proofs    *canary.Store
	feeds     *remote.Puller
	alarm     func(ctx context.Context, f detect.Finding) error
	alarmed   func(ctx context.Context, id string) (f detect.Finding, is bool, err error) // what an alarm became

	lookups  *dns.Record // what resolvers were asked, counted
	inMemory *listed     // the list

	acts    *mitigations    // against floods; nil: none
	attacks lawful.Findings // floods, for the gate; nil: nobody looks for them here

	remedies  *remedies       // against incidents of routing; nil: none
	incidents lawful.Findings // for the gate; nil: nobody looks for them here

	counts []telemetry.Metric // of what comes off the network
	listed dns.Policy         // the list of C&C names in memory; nil: none
}

// What an office has in the data folder.
const (
	vaultKeys  = "subscriber.keys"
	historyDir = "addresses"
)

// openDesk opens the cases alone: other processes may have them open, too.
func openDesk(ctx context.Context, cfg *config) (*office, error) {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, err
	}
	base, err := openHouse(ctx, cfg)
	if err != nil {
		return nil, err
	}
	h := &office{house: base, dir: cfg.Data, clock: cfg.now()}
	if h.desk, err = casework.Open(ctx, h.db, changes{h.book}, cfg.now(), casework.DefaultRules()); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// openIdentities opens the cases and who the subscribers are. The keys mustn't change
// meanwhile: who changes them has the addresses, too.
func openIdentities(ctx context.Context, cfg *config) (*office, error) {
	h, err := openDesk(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if h.keys, err = vault.LoadKeys(filepath.Join(h.dir, vaultKeys), time.Now()); err == nil {
		h.vault, err = vault.Open(ctx, h.db, h.keys, looks{h.book}, cfg.now())
	}
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// openOffice opens everything.
func openOffice(ctx context.Context, cfg *config) (*office, error) {
	h, err := openIdentities(ctx, cfg)
	if err != nil {
		return nil, err
	}
	h.history, err = history.Open(filepath.Join(h.dir, historyDir), history.Options{Pseudonym: h.keys.Pseudonym, Silence: cfg.Subscriber.silence, Skew: cfg.Subscriber.skew})
	if err == nil {
		err = h.settle(ctx, cfg)
	}
	if err == nil {
		err = h.openNotices(ctx, cfg)
	}
	if err == nil {
		err = h.openList(ctx, cfg)
	}
	if err == nil && cfg.Zones.on() {
		if h.stamp, err = cfg.Resolvers.stamps(); err == nil {
			err = h.openZones(ctx)
		}
	}
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// silence is how long a session of a source is believed after its last sign.
func (c *subscriberConfig) silence(source string) time.Duration {
	if d, told := c.Silence[source]; told {
		return d
	}
	return c.Silence[""]
}

// skew is by how much a source's clock may be off.
func (c *subscriberConfig) skew(source string) time.Duration {
	if d, told := c.Skew[source]; told {
		return max(d, 0)
	}
	return max(c.Skew[""], 0)
}

// settle takes what the configuration says of the operator's addresses and rules.
func (h *office) settle(ctx context.Context, cfg *config) (err error) {
	if err := h.openGate(ctx, cfg); err != nil {
		return err
	}
	for _, s := range cfg.Subscriber.Own {
		p, err := parsePrefix(s, "own")
		if err != nil {
			return err
		}
		h.own = append(h.own, p)
	}
	h.rules, err = translation.New(cfg.Subscriber.Translation)
	return err
}

// Close closes what is open; the ledger's store last.
func (h *office) Close() (err error) {
	if h.zones != nil {
		err = h.zones.Close()
	}
	if h.history != nil {
		err = errors.Join(err, h.history.Close())
	}
	return errors.Join(err, h.house.Close())
}

// Take keeps records of who had which address: first what the contracts are called, so
// that no pseudonym is without its name.
func (h *office) Take(ctx context.Context, records []subscriber.Record) error {
	var lines []string
	for i := range records {
		if records[i].Line != "" {
			lines = append(lines, records[i].Line)
		}
	}
	if err := h.vault.Keep(ctx, lines...); err != nil {
		return err
	}
	if err := h.history.Take(ctx, records); err != nil {
		return err
	}
	if h.follower != nil {
		touched(h.follower, records)
	}
	return nil
}

// looks writes down who reads an identity, before it is read.
type looks struct{ book *ledger.Book }

func (l looks) Record(ctx context.Context, look vault.Look) error {
	_, err := l.book.Append(ctx, ledger.Line{Kind: account.Looked, Who: look.Who, What: look})
	return err
}

// changes writes down what happens to a case, with it.
type changes struct{ book *ledger.Book }

func (c changes) Lock(ctx context.Context, tx *relation.Tx) error { return c.book.Lock(ctx, tx) }

func (c changes) Record(ctx context.Context, tx *relation.Tx, e casework.Event) error {
	_, err := c.book.AppendIn(ctx, tx, ledger.Line{Kind: account.Changed, Who: e.Who, What: e})
	return err
}

// whoAmI is who works on the command line, for the ledger.
func whoAmI() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return "cli:" + u.Username
	}
	return fmt.Sprintf("cli:uid %d", os.Getuid())
}
