package main

import (
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/primary"
	"sakimori/respond/rpz/publish"
)

// zonesConfig is where the policy zones are served, and to whom. Without an address to
// listen on there are none.
type zonesConfig struct {
	Listen  []string      `yaml:"listen"` // by UDP and TCP
	TLS     zonesTLS      `yaml:"tls"`
	Keys    []zonesKey    `yaml:"keys"`
	Peers   []zonesPeer   `yaml:"peers"`
	Cadence time.Duration `yaml:"cadence"` // from one serial of c2. to the next
	Allow   []string      `yaml:"allow"`   // names that are never blocked, with all below them
}

type zonesTLS struct {
	Listen   []string `yaml:"listen"`
	CertFile string   `yaml:"cert_file"`
	KeyFile  string   `yaml:"key_file"`
	CAFile   string   `yaml:"ca_file"` // of resolvers' certificates; "" they show none
}

type zonesKey struct {
	Name       string `yaml:"name"`
	Algorithm  string `yaml:"algorithm"`   // hmac-sha256 (""), hmac-sha512
	SecretFile string `yaml:"secret_file"` // base64, as tsig-keygen and keymgr write it
}

type zonesPeer struct {
	Name    string   `yaml:"name"`
	Address []string `yaml:"address"` // from which it asks: addresses or prefixes
	Pool    string   `yaml:"pool"`    // resolvers of one pool don't fetch at once
	Key     string   `yaml:"key"`
	Vendor  string   `yaml:"vendor"`
	Zones   []string `yaml:"zones"`  // none: all
	Notify  []string `yaml:"notify"` // where it is told of changes
	OnlyTLS bool     `yaml:"only_tls"`
	Subject string   `yaml:"subject"` // name in its certificate
}

// zonesDir is the zones' folder in the data folder, zonesPeers what is known of the
// resolvers in it.
const (
	zonesDir   = "zones"
	zonesPeers = "peers.json"
)

func (c *zonesConfig) on() bool { return len(c.Listen)+len(c.TLS.Listen) > 0 }

// primary makes what the configuration names. It opens nothing but files.
func (c *zonesConfig) primary() (p primary.Config, err error) {
	p.Limits = primary.DefaultLimits()
	if err := (publish.Config{Cadence: c.Cadence}).Check(); err != nil {
		return p, err
	}
	if p.Listen, err = parseAddrs("listen", c.Listen); err != nil {
		return p, err
	}
	if p.TLS, err = parseAddrs("tls.listen", c.TLS.Listen); err != nil {
		return p, err
	}
	if len(p.TLS) > 0 {
		if p.Secure, err = c.TLS.secure(); err != nil {
			return p, fmt.Errorf("tls: %w", err)
		}
	}
	for i := range c.Keys {
		k, err := c.Keys[i].key()
		if err != nil {
			return p, fmt.Errorf("keys: %w", err)
		}
		p.Keys = append(p.Keys, k)
	}
	for i := range c.Peers {
		x, err := c.Peers[i].peer()
		if err != nil {
			return p, fmt.Errorf("peers: %s: %w", c.Peers[i].Name, err)
		}
		p.Peers = append(p.Peers, x)
	}
	return p, p.Check()
}

func parseAddrs(what string, list []string) (out []netip.AddrPort, err error) {
	for _, s := range list {
		a, err := netip.ParseAddrPort(s)
		if err != nil {
			return nil, fmt.Errorf("%s %q: write address:port, for example 192.0.2.53:53 or [2001:db8::53]:53", what, s)
		}
		out = append(out, a)
	}
	return out, nil
}

func (t *zonesTLS) secure() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("cert_file, key_file: %w", err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	trust, err := roots(t.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	if trust != nil {
		c.ClientCAs, c.ClientAuth = trust.RootCAs, tls.VerifyClientCertIfGiven
	}
	return c, nil
}

func (k *zonesKey) key() (out dns.Key, err error) {
	if out.Name, err = dns.ParseName(k.Name); err != nil {
		return out, err
	}
	out.Algorithm = dns.Algorithm(cmp.Or(strings.ToLower(k.Algorithm), string(dns.SHA256)))
	b, err := os.ReadFile(k.SecretFile)
	if err != nil {
		return out, fmt.Errorf("%s: secret_file: %w", k.Name, err)
	}
	if out.Secret, err = base64.StdEncoding.DecodeString(strings.TrimSpace(string(b))); err != nil {
		return out, fmt.Errorf("%s: secret_file %s isn't base64: make one by `openssl rand -base64 32`", k.Name, filepath.Base(k.SecretFile))
	}
	return out, out.Check()
}

func (c *zonesPeer) peer() (p primary.Peer, err error) {
	p = primary.Peer{Name: c.Name, Pool: c.Pool, Vendor: c.Vendor, OnlyTLS: c.OnlyTLS, Subject: c.Subject}
	if c.Name == "" {
		return p, errors.New("name: each needs one")
	}
	for _, s := range c.Address {
		x, err := parsePrefix(s, "address")
		if err != nil {
			return p, err
		}
		p.Address = append(p.Address, x)
	}
	if c.Key != "" {
		if p.Key, err = dns.ParseName(c.Key); err != nil {
			return p, err
		}
	}
	for _, z := range c.Zones {
		x, err := parseZone(z)
		if err != nil {
			return p, err
		}
		p.Zones = append(p.Zones, x)
	}
	p.Notify, err = parseAddrs("notify", c.Notify)
	return p, err
}

// parseZone reads the name of a zone, with or without its dot.
func parseZone(s string) (rpz.Zone, error) {
	for _, z := range rpz.Zones() {
		if strings.TrimSuffix(s, ".") == strings.TrimSuffix(string(z), ".") {
			return z, nil
		}
	}
	return "", fmt.Errorf("%q is no policy zone: there are %v", s, rpz.Zones())
}
