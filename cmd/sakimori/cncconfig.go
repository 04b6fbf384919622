package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"sakimori/account"
	"sakimori/account/ledger"
	"sakimori/base/relation"
	"sakimori/detect/cnc"
	"sakimori/detect/cnc/never"
	resolved "sakimori/observe/dns"
)

// cncConfig is how the list of C&C servers is kept. What isn't told is as the house has it.
type cncConfig struct {
	Sources []cncSourceConfig `yaml:"sources"`
	Other   cncSourceConfig   `yaml:"other"`   // any other source
	Most    time.Duration     `yaml:"most"`    // no entry is listed longer without being said again
	Shadow  time.Duration     `yaml:"shadow"`  // would-be hits are counted for so long
	Would   int64             `yaml:"would"`   // more of them, and a person looks first
	Clients float64           `yaml:"clients"` // more clients a day who'd lose a name, and two people decide
	Review  float64           `yaml:"review"`  // score from which a person is asked
	Auto    float64           `yaml:"auto"`    // score from which a source with auto isn't waited for
	Archive time.Duration     `yaml:"archive"`
	Protect struct {
		Names    []string `yaml:"names"` // of the operator and its customers, with all below them
		Networks []string `yaml:"networks"`
	} `yaml:"protect"`
	Warninglists      string        `yaml:"warninglists"`        // folder of MISP's
	WarninglistsMean  never.Options `yaml:"warninglists_mean"`   // where they mean something else than usual
	Popular           string        `yaml:"popular"`             // file of rank,name
	PopularFirst      int           `yaml:"popular_first"`       // so many of it; 0 all
	BreakerProtected  int           `yaml:"breaker_protected"`   // so many protected names in a reading hold it
	BreakerFloorRatio float64       `yaml:"breaker_floor_ratio"` // of the size is never unusual
	Resolver          string        `yaml:"resolver"`            // address:port by which names are followed before they are listed; "" they aren't
}

type cncSourceConfig struct {
	Name       string        `yaml:"name"`
	Trust      float64       `yaml:"trust"`
	Confidence float64       `yaml:"confidence"`
	HalfLife   time.Duration `yaml:"half_life"`
	Base       string        `yaml:"base"`
	TTL        time.Duration `yaml:"ttl"`
	Auto       bool          `yaml:"auto"`
}

func (s *cncSourceConfig) source(other *cnc.Source) cnc.Source {
	return cnc.Source{
		Name: s.Name, Trust: cmp.Or(s.Trust, other.Trust), Confidence: cmp.Or(s.Confidence, other.Confidence), HalfLife: cmp.Or(s.HalfLife, other.HalfLife),
		Base: cmp.Or(cnc.Base(s.Base), other.Base), TTL: cmp.Or(s.TTL, other.TTL), Auto: s.Auto,
	}
}

// rules are those of the list, with what is never listed read.
func (c *cncConfig) rules() (cnc.Config, error) {
	r := cnc.DefaultConfig()
	r.Most, r.Shadow, r.Archive = cmp.Or(c.Most, r.Most), cmp.Or(c.Shadow, r.Shadow), cmp.Or(c.Archive, r.Archive)
	r.Would, r.Clients, r.Review, r.Auto = cmp.Or(c.Would, r.Would), cmp.Or(c.Clients, r.Clients), cmp.Or(c.Review, r.Review), cmp.Or(c.Auto, r.Auto)
	r.Breaker.Bulk, r.Breaker.Floor = cmp.Or(c.BreakerProtected, r.Breaker.Bulk), cmp.Or(c.BreakerFloorRatio, r.Breaker.Floor)
	r.Other = c.Other.source(&r.Other)
	for i := range c.Sources {
		if c.Sources[i].Name == "" {
			return r, errors.New("cnc.sources: each has a name")
		}
		r.Sources = append(r.Sources, c.Sources[i].source(&r.Other))
	}
	var networks []netip.Prefix
	for _, s := range c.Protect.Networks {
		p, err := parsePrefix(s, "cnc.protect")
		if err != nil {
			return r, err
		}
		networks = append(networks, p)
	}
	if err := r.Never.Protect("cnc.protect", c.Protect.Names, networks); err != nil {
		return r, fmt.Errorf("cnc.protect: %w", err)
	}
	if c.Warninglists != "" {
		if err := r.Never.Folder(c.Warninglists, c.WarninglistsMean); err != nil {
			return r, fmt.Errorf("cnc.warninglists: %w", err)
		}
	}
	if c.Popular != "" {
		f, err := os.Open(c.Popular)
		if err != nil {
			return r, fmt.Errorf("cnc.popular: %w", err)
		}
		if err := errors.Join(r.Never.Rank(f, filepath.Base(c.Popular), c.PopularFirst), f.Close()); err != nil {
			return r, fmt.Errorf("cnc.popular: %w", err)
		}
	}
	if err := r.Check(); err != nil {
		return r, fmt.Errorf("cnc: %w", err)
	}
	return r, nil
}

// openList opens the list of C&C servers, and takes out what has become protected.
func (h *office) openList(ctx context.Context, cfg *config) error {
	rules, err := cfg.CNC.rules()
	if err != nil {
		return err
	}
	if cfg.CNC.Resolver != "" {
		by, err := netip.ParseAddrPort(cfg.CNC.Resolver)
		if err != nil {
			return fmt.Errorf("cnc.resolver %q: write address:port, for example 192.0.2.53:53", cfg.CNC.Resolver)
		}
		rules.Resolver = chains{by}
	}
	if h.lookups, err = resolved.Open(ctx, h.db, h.clock); err != nil {
		return err
	}
	rules.Blast, h.never = losses{h.lookups, h.clock.Now}, rules.Never
	if h.list, err = cnc.Open(ctx, h.db, h.clock, listDeeds{h.book}, rules); err != nil {
		return err
	}
	h.inMemory = newListed(h.list, h.clock)
	h.listed = h.inMemory
	_, err = h.list.Recheck(ctx)
	return err
}

// listDeeds writes down what is decided about the list, with it.
type listDeeds struct{ book *ledger.Book }

func (d listDeeds) Lock(ctx context.Context, tx *relation.Tx) error { return d.book.Lock(ctx, tx) }

func (d listDeeds) Record(ctx context.Context, tx *relation.Tx, x cnc.Deed) error {
	kind := account.Acted
	switch x.What {
	case "review_yes", "review_no":
		kind = account.Approved
	case "imported", "held", "refused":
		kind = account.SourceChanged
	}
	_, err := d.book.AppendIn(ctx, tx, ledger.Line{Kind: kind, Who: x.Who, What: x})
	return err
}
