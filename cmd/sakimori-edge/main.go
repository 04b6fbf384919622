// Sakimori-edge is what stands at the edge of the network without a store: a small
// forwarding resolver that obeys the policy zones, and the copies of them for resolvers that
// transfer nothing themselves. It is pure Go.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"syscall"

	"github.com/spf13/cobra"

	"sakimori/base/clock"
	"sakimori/base/run"
	"sakimori/base/yaml"
	"sakimori/respond/rpz/forward"
	"sakimori/respond/rpz/policy"
	"sakimori/respond/rpz/resolver"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Main runs the command line and gives the exit code: 0 fine, 1 failed.
func Main(ctx context.Context, args []string, out, errs io.Writer) int {
	root := &cobra.Command{Use: "sakimori-edge", Short: "Sakimori at the edge of the network / 網の端のさきもり", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(newRole("dns", "Forward DNS by the policy zones / ポリシーゾーンに従って DNS を転送する", true),
		newRole("zones", "Keep copies of the policy zones as files, for Knot Resolver / ポリシーゾーンの写しをファイルで保つ", false), newStatus())
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errs)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(errs, "sakimori-edge:", err)
		return 1
	}
	return 0
}

// config is the one configuration file. Unknown keys are errors.
type config struct {
	Listen   []netip.AddrPort `yaml:"listen"`
	Clients  []netip.Prefix   `yaml:"clients"`
	Upstream []struct {
		Addr    netip.AddrPort `yaml:"addr"`
		TLSName string         `yaml:"tls_name"` // DNS over TLS, and who must answer
		CAFile  string         `yaml:"ca_file"`  // "" the machine's authorities
	} `yaml:"upstream"`
	Cache     int              `yaml:"cache"`
	Rate      int              `yaml:"rate"`
	Primaries []netip.AddrPort `yaml:"primaries"` // of the policy zones
	Key       struct {
		Name      string `yaml:"name"`
		Algorithm string `yaml:"algorithm"`
		File      string `yaml:"file"` // of tsig-keygen's form
	} `yaml:"key"`
	TLS struct {
		Name   string `yaml:"name"`
		CAFile string `yaml:"ca_file"`
	} `yaml:"tls"` // of the primaries (RFC 9103)
	Folder string `yaml:"folder"` // of the copies, and of the status
	Dnstap struct {
		Socket   string `yaml:"socket"`
		Addr     string `yaml:"addr"` // host:port, by TCP
		Identity string `yaml:"identity"`
	} `yaml:"dnstap"` // who is told of answers, but not of those to who declined
}

func newRole(use, short string, forwards bool) *cobra.Command {
	var path string
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := load(path)
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
			parts, err := cfg.components(forwards, log)
			if err != nil {
				return err
			}
			return run.All(c.Context(), parts...)
		},
	}
	c.Flags().StringVar(&path, "config", "sakimori-edge.yaml", "configuration file / 設定ファイル")
	return c
}

// load reads the configuration.
func load(path string) (*config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	var cfg config
	if err := yaml.Decode(b, &cfg); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return &cfg, nil
}

// components are the zones, then, if it forwards, the server that answers by them.
func (c *config) components(forwards bool, log *slog.Logger) ([]run.Component, error) {
	src := forward.Source{Primaries: c.Primaries, KeyName: c.Key.Name, Algorithm: c.Key.Algorithm, Folder: c.Folder}
	var err error
	if c.Key.Name != "" {
		if src.Secret, err = secret(c.Key.File); err != nil {
			return nil, err
		}
	}
	if c.TLS.Name != "" {
		if src.TLS, err = authorities(c.TLS.CAFile); err != nil {
			return nil, err
		}
		src.TLS.ServerName = c.TLS.Name
	}
	st := state{file: filepath.Join(c.Folder, statusFile), log: log}
	// Each of the two is told of the other: of a NOTIFY, and of new zones.
	var server *forward.Server
	if st.zones, err = forward.NewSecondary(src, func(set *policy.Set) {
		if server != nil {
			server.Load(set)
		}
	}, clock.System{}, log); err != nil {
		return nil, err
	}
	parts := []run.Component{{Name: "zones", Run: st.zones.Run}}
	if forwards {
		f, err := c.forwarding()
		if err != nil {
			return nil, err
		}
		f.Notified = st.zones.Notified
		if c.Dnstap.Socket != "" || c.Dnstap.Addr != "" {
			if f.Tap, err = forward.NewTap(c.Dnstap.Socket, c.Dnstap.Addr, c.Dnstap.Identity, log); err != nil {
				return nil, err
			}
			st.tap = f.Tap
			parts = append(parts, run.Component{Name: "dnstap", Run: f.Tap.Run})
		}
		if server, err = forward.New(f, clock.System{}, log); err != nil {
			return nil, err
		}
		server.Load(st.zones.Set())
		st.server = server
		parts = append(parts, run.Component{Name: "dns", Run: server.Run})
	}
	return append(parts, run.Component{Name: "state", Run: st.run}), nil
}

// forwarding is how it forwards.
func (c *config) forwarding() (forward.Config, error) {
	f := forward.Config{Listen: c.Listen, Clients: c.Clients, Cache: c.Cache, Rate: c.Rate, Reason: resolver.Reason}
	for _, u := range c.Upstream {
		up := forward.Upstream{Addr: u.Addr, Name: u.TLSName}
		var err error
		if up.CA, err = authorities(u.CAFile); err != nil {
			return f, err
		}
		f.Upstream = append(f.Upstream, up)
	}
	return f, nil
}

var secretLine = regexp.MustCompile(`secret\s+"([^"]+)"`)

// secret reads a key's.
func secret(file string) (string, error) {
	b, err := os.ReadFile(file) // #nosec G304 -- what the configuration names
	if err != nil {
		return "", fmt.Errorf("key: %w", err)
	}
	m := secretLine.FindSubmatch(b)
	if m == nil {
		return "", fmt.Errorf("key: %s holds no secret \"…\" as tsig-keygen writes it", file)
	}
	return string(m[1]), nil
}

// authorities are whose certificates are believed.
func authorities(file string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return c, nil
	}
	b, err := os.ReadFile(file) // #nosec G304 -- what the configuration names
	if err != nil {
		return nil, err
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM(b) {
		return nil, errors.New(file + " holds no certificate")
	}
	return c, nil
}
