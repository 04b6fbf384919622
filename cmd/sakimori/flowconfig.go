package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/base/yaml"
	"sakimori/detect/ddos"
	"sakimori/observe/flow"
	"sakimori/observe/flow/record"
)

// flowConfig is where flows come from, and how long they are kept.
type flowConfig struct {
	Listen    []string         `yaml:"listen"`    // host:port, UDP: NetFlow 5 and 9, IPFIX and sFlow, whichever comes; none: nothing is taken
	Workers   int              `yaml:"workers"`   // sockets that share each address; 0: one for each processor
	Buffer    int              `yaml:"buffer"`    // bytes that the kernel holds for each; 0: 64 MiB, as far as the system grants them
	Exporters []exporterConfig `yaml:"exporters"` // whose datagrams are read; none: those of this machine alone
	Clock     flow.Clock       `yaml:"clock"`     // record, or arrival
	Tunnels   []string         `yaml:"tunnels"`   // that are looked into in sampled packets
	Mirror    []string         `yaml:"mirror"`    // interfaces whose packets are flows themselves
	Keep      keepConfig       `yaml:"keep"`
}

// exporterConfig is what is known of a device, or of a whole prefix of them.
type exporterConfig struct {
	Name       string                     `yaml:"name"`
	Prefix     string                     `yaml:"prefix"`   // or an address
	Sampling   uint32                     `yaml:"sampling"` // one packet of so many, where it doesn't say
	Override   bool                       `yaml:"override"` // sampling counts whatever it says
	Clock      flow.Clock                 `yaml:"clock"`
	PerPort    bool                       `yaml:"per_port"` // several stand behind one address
	Limit      int                        `yaml:"limit"`    // records a second; 0: all
	Interfaces map[uint32]interfaceConfig `yaml:"interfaces"`
}

type interfaceConfig struct {
	Name     string `yaml:"name"`
	Capacity uint64 `yaml:"capacity"` // bits a second
}

// keepConfig is how long flows are kept by grain; 0 of raw: not at all.
type keepConfig struct {
	Raw     time.Duration `yaml:"raw"`
	Rate    int           `yaml:"raw_rate"` // records a second that are kept as they come; 0: none
	Minutes time.Duration `yaml:"minutes"`
	Fives   time.Duration `yaml:"five_minutes"`
	Hours   time.Duration `yaml:"hours"`
}

func defaultKeep() keepConfig {
	return keepConfig{Minutes: 48 * time.Hour, Fives: 14 * 24 * time.Hour, Hours: 90 * 24 * time.Hour}
}

// on tells whether flows are taken.
func (c *flowConfig) on() bool { return len(c.Listen) > 0 || len(c.Mirror) > 0 }

// collector is the configuration of observe/flow.
func (c *flowConfig) collector() (flow.Config, error) {
	cfg := flow.DefaultConfig()
	cfg.Default.Clock = c.Clock
	tunnels, err := parseTunnels(c.Tunnels)
	if err != nil {
		return cfg, fmt.Errorf("flow.tunnels: %w", err)
	}
	cfg.Tunnels = packet.Decoder{Tunnels: tunnels}
	for _, x := range c.Exporters {
		p, err := parsePrefix(x.Prefix, "exporter")
		if err != nil {
			return cfg, fmt.Errorf("flow.exporters: %w", err)
		}
		s := flow.Settings{Prefix: p, Name: x.Name, Rate: x.Sampling, Override: x.Override, Clock: max(x.Clock, c.Clock), PerPort: x.PerPort, Limit: x.Limit, Interfaces: map[uint32]flow.Interface{}}
		for i, f := range x.Interfaces {
			s.Interfaces[i] = flow.Interface{Name: f.Name, Capacity: f.Capacity}
		}
		cfg.Exporters = append(cfg.Exporters, s)
		cfg.Allow = append(cfg.Allow, p)
	}
	if len(cfg.Allow) == 0 {
		cfg.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	return cfg, nil
}

func (c *flowConfig) check() error {
	for _, l := range c.Listen {
		if _, _, err := net.SplitHostPort(l); err != nil {
			return fmt.Errorf("flow.listen %q: write host:port, for example 0.0.0.0:2055", l)
		}
	}
	if c.Workers < 0 || c.Workers > 64 {
		return fmt.Errorf("flow.workers %d: give 0 to 64", c.Workers)
	}
	_, err := c.collector()
	return err
}

// policy is how long the record keeps.
func (c *keepConfig) policy() record.Policy {
	return record.Policy{Raw: c.Raw, Minutes: c.Minutes, Fives: c.Fives, Hours: c.Hours}
}

// ddosConfig is what is protected, and from when on something is an attack.
type ddosConfig struct {
	Own        []string        `yaml:"own"` // none: those of subscriber.own and telescope.own
	Thresholds ddos.Thresholds `yaml:"thresholds"`
}

// detector is the configuration of detect/ddos.
func (c *config) floods() (ddos.Config, error) {
	cfg := ddos.DefaultConfig()
	cfg.Thresholds = c.DDoS.Thresholds
	own := c.DDoS.Own
	if len(own) == 0 {
		own = append(append(own, c.Subscriber.Own...), c.Telescope.Own...)
	}
	for _, w := range own {
		p, err := parsePrefix(w, "own")
		if err != nil {
			return cfg, fmt.Errorf("ddos.own: %w", err)
		}
		cfg.Own = append(cfg.Own, p)
	}
	return cfg, nil
}

// readThresholds reads a file of thresholds; what it doesn't name is as usual.
func readThresholds(path string) (t ddos.Thresholds, err error) {
	if path == "" {
		return ddos.DefaultThresholds(), nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return t, fmt.Errorf("thresholds: %w", err)
	}
	return parseThresholds(b)
}

func parseThresholds(b []byte) (ddos.Thresholds, error) {
	t := ddos.DefaultThresholds()
	if err := yaml.Decode(b, &t); err != nil {
		return t, errors.Join(errors.New("thresholds: docs/ddos.md says what may stand there"), err)
	}
	return t, nil
}
