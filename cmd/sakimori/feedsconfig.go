package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"sakimori/base/run"
	"sakimori/observe"
	"sakimori/observe/feed/indicator"
	"sakimori/observe/feed/remote"
)

// feedConfig is one list of somebody else's that is kept fresh.
type feedConfig struct {
	Name   string        `yaml:"name"`
	Kind   string        `yaml:"kind"` // http, taxii, misp, file or folder
	URL    string        `yaml:"url"`
	Path   string        `yaml:"path"`
	Format string        `yaml:"format"` // "" told from the first bytes
	Every  time.Duration `yaml:"every"`  // 0 an hour

	Role    string   `yaml:"role"` // of entries, where the list doesn't say
	Family  string   `yaml:"family"`
	Mapping string   `yaml:"mapping"` // of csv: a file that says which column is what
	Zone    string   `yaml:"zone"`
	Public  []string `yaml:"public"` // prefixes that count as public although they are reserved
	Adds    bool     `yaml:"adds"`   // what isn't in it any more isn't gone

	KeyFile      string        `yaml:"key_file"`
	KeyHeader    string        `yaml:"key_header"`
	KeyQuery     string        `yaml:"key_query"`
	User         string        `yaml:"user"`
	PasswordFile string        `yaml:"password_file"`
	Body         string        `yaml:"body"`
	Collection   string        `yaml:"collection"`
	Timeout      time.Duration `yaml:"timeout"`
	MaxBytes     int64         `yaml:"max_bytes"`
}

// source is the feed as it is got.
func (f *feedConfig) source() (remote.Source, error) {
	s := remote.Source{
		Kind: remote.Kind(f.Kind), URL: f.URL, Path: f.Path, Adds: f.Adds, Every: f.Every, KeyFile: f.KeyFile, KeyHeader: f.KeyHeader, KeyQuery: f.KeyQuery,
		User: f.User, Password: f.PasswordFile, Body: f.Body, Collection: f.Collection, Timeout: f.Timeout,
	}
	if s.Every == 0 {
		s.Every = time.Hour
	}
	flags := feedFlags{source: f.Name, format: f.Format, mapping: f.Mapping, role: f.Role, family: f.Family, zone: f.Zone, public: f.Public}
	if f.Name == "" {
		return s, errors.New("a feed needs a name")
	}
	o, err := flags.options(nil)
	if err != nil {
		return s, err
	}
	o.MaxBytes = f.MaxBytes
	s.Options = o
	if o.Role == "" && !o.Format.TellsRole() && o.Format != indicator.STIX && o.Format != indicator.MISP && s.Kind != remote.TAXII && s.Kind != remote.MISP && o.Mapping == nil {
		return s, fmt.Errorf("feed %s: set role: what its entries serve (%s, %s, …), as its format doesn't say", f.Name, observe.RoleC2, observe.RoleDistribution)
	}
	return s, s.Check()
}

// sources are the feeds of the configuration.
func sources(list []feedConfig) ([]remote.Source, error) {
	out := make([]remote.Source, 0, len(list))
	for i := range list {
		s, err := list[i].source()
		if err != nil {
			return nil, fmt.Errorf("feeds: %w", err)
		}
		out = append(out, s)
	}
	return out, nil
}

// feedComponent keeps the feeds fresh while serve runs, and tells how they are doing.
func feedComponent(cfg *config, sink remote.Sink, log *slog.Logger) (run.Component, *remote.Puller, error) {
	list, err := sources(cfg.Feeds)
	if err != nil {
		return run.Component{}, nil, err
	}
	p, err := remote.New(list, filepath.Join(cfg.Data, "feeds"), sink, cfg.now(), log)
	if err != nil {
		return run.Component{}, nil, fmt.Errorf("feeds: %w", err)
	}
	return run.Component{Name: "feeds", Run: p.Run}, p, nil
}
