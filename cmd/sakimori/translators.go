package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"sakimori/base/clock"
	"sakimori/base/yaml"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/access"
	"sakimori/respond/subscriber/translation/event"
	"sakimori/respond/subscriber/translation/live"
	"sakimori/respond/subscriber/translation/syslog"
	"sakimori/respond/subscriber/translation/table"
)

// translatorConfig is what a kind of translators' log is taken live by.
type translatorConfig struct {
	Listen  []string `yaml:"listen"`  // host:port each, UDP; none: nothing is taken
	Senders []string `yaml:"senders"` // whose datagrams are believed
	Zone    string   `yaml:"zone"`    // of syslog times that don't tell theirs
	// Names are the translators' names, by the address that they export from.
	Names map[string]string `yaml:"names"`
	// Exclusive: see event.Config.
	Exclusive bool `yaml:"exclusive_bindings"`
}

// listener takes a kind of log.
func (t *translatorConfig) listener(name string, sink live.Sink, log *slog.Logger) (*live.Listener, error) {
	cfg := live.Config{Name: name, Listen: t.Listen}
	for _, s := range t.Senders {
		p, err := parsePrefix(s, "sender")
		if err != nil {
			return nil, err
		}
		cfg.Senders = append(cfg.Senders, p)
	}
	open := func() (live.Reader, error) {
		p, err := syslog.New(syslog.Config{Zone: t.Zone, Source: name, Live: true})
		return lines{p}, err
	}
	if name == "ipfix" {
		events := event.DefaultConfig()
		events.Exclusive, events.Names = t.Exclusive, map[netip.Addr]string{}
		for a, n := range t.Names {
			addr, err := netip.ParseAddr(a)
			if err != nil {
				return nil, fmt.Errorf("names: %q is no address", a)
			}
			events.Names[addr] = n
		}
		open = func() (live.Reader, error) { return exports{event.New(events)}, nil }
	}
	return live.New(cfg, open, sink, clock.System{}, log)
}

// lines makes records of syslog.
type lines struct{ *syslog.Parser }

// Read reads a message.
func (l lines) Read(_ netip.AddrPort, b []byte, at time.Time, each func(*subscriber.Record)) error {
	return l.Parse(b, at, each)
}

// exports makes records of IPFIX and NetFlow.
type exports struct{ *event.Reader }

// Read reads a datagram.
func (e exports) Read(from netip.AddrPort, b []byte, _ time.Time, each func(*subscriber.Record)) error {
	return e.Reader.Read(from, b, each)
}

// tableReader reads a log by a mapping that is written in a file.
func tableReader(path string) (logReader, error) {
	if path == "" {
		return nil, errors.New("--kind table takes --mapping FILE: which column is what")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var m table.Mapping
	if err := yaml.Decode(b, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	t, err := table.New(m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return func(r io.Reader, emit access.Emit) (subscriber.Stats, error) {
		var failed error
		st, err := t.Read(r, func(rec *subscriber.Record) {
			if failed == nil {
				failed = emit(rec)
			}
		})
		return st, errors.Join(failed, err)
	}, nil
}
