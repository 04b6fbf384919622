package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/base/clock"
	"sakimori/base/geo"
	"sakimori/base/wire/packet"
	"sakimori/base/yaml"
	"sakimori/detect/ddos"
	"sakimori/observe/telescope"
	"sakimori/observe/telescope/record"
	"sakimori/respond/subscriber/translation"
)

// config is the one configuration file. Unknown keys are errors.
type config struct {
	Data       string           `yaml:"data"`       // folder of everything that is kept
	Database   string           `yaml:"database"`   // of people, cases and the ledger: postgres://…; "" is a file in the data folder
	Rules      string           `yaml:"rules"`      // the operator's own file of rules, which narrows the guideline
	Listen     string           `yaml:"listen"`     // address of the console
	Hosts      []string         `yaml:"hosts"`      // names by which the console may be called, besides loopback
	PublicURL  string           `yaml:"public_url"` // where browsers find the console, behind a proxy that speaks TLS
	Proxies    []string         `yaml:"proxies"`    // whose X-Forwarded-For is believed
	Issuers    []issuerConfig   `yaml:"issuers"`    // who else vouches for users
	Metrics    string           `yaml:"metrics"`
	Log        string           `yaml:"log"` // debug, info, warn, error
	Telescope  telescopeConfig  `yaml:"telescope"`
	Subscriber subscriberConfig `yaml:"subscriber"`
	Notify     notifyConfig     `yaml:"notify"`
	Zones      zonesConfig      `yaml:"rpz"` // DNS policy zones
	DNS        dnsConfig        `yaml:"dns"`
	Resolvers  resolversConfig  `yaml:"resolvers"`
	Feeds      []feedConfig     `yaml:"feeds"` // lists of C&C servers that are kept fresh
	CNC        cncConfig        `yaml:"cnc"`
	Flow       flowConfig       `yaml:"flow"`
	DDoS       ddosConfig       `yaml:"ddos"`
	Route      routeConfig      `yaml:"route"`
	Mitigation mitigationConfig `yaml:"mitigation"`
	Geo        geoConfig        `yaml:"geo"`
	Retention  retention        `yaml:"retention"`

	clock clock.Clock // of the office; nil: the machine's
	speed float64     // at which it goes; 0: as usual
}

// now is the clock of the office.
func (c *config) now() clock.Clock {
	if c.clock == nil {
		return clock.System{}
	}
	return c.clock
}

type telescopeConfig struct {
	Dark       []darkEntry     `yaml:"dark"`
	Own        []string        `yaml:"own"`
	Tunnels    []string        `yaml:"tunnels"`
	Interfaces []string        `yaml:"interfaces"`
	Fanout     int             `yaml:"fanout"`
	MaxEvents  int             `yaml:"max_events"`
	MinRate    float64         `yaml:"min_rate"`
	Slow       time.Duration   `yaml:"slow"`
	Research   []researchEntry `yaml:"research"`
	Verified   []string        `yaml:"verified"` // of own: nobody else can send in their name
}

type subscriberConfig struct {
	Own         []string           `yaml:"own"`         // addresses that are given to subscribers; none: everything may be
	Translation translation.Config `yaml:"translation"` // rules that compute who is behind a shared address
	Radius      radiusConfig       `yaml:"radius"`
	Syslog      translatorConfig   `yaml:"syslog"`  // of translators
	IPFIX       translatorConfig   `yaml:"ipfix"`   // or NetFlow 9, of translators
	Reports     []reportsConfig    `yaml:"reports"` // folders into which others' reports are put
	// Silence is how long a session is believed after its last sign, by source, "" for the
	// others; none or 0 for ever. Set it to a few intervals of the interim updates where
	// there are any: a Stop that was lost, or tells no address, ends nothing.
	Silence map[string]time.Duration `yaml:"silence"`
	// Skew is by how much a source's clock may be off, in the same way.
	Skew map[string]time.Duration `yaml:"skew"`
}

type darkEntry struct {
	Prefix string    `yaml:"prefix"`
	From   time.Time `yaml:"from"`
	Until  time.Time `yaml:"until"`
}

type researchEntry struct {
	Name     string   `yaml:"name"`
	URL      string   `yaml:"url"`
	Prefixes []string `yaml:"prefixes"`
}

type geoConfig struct {
	Country string `yaml:"country"`
	ASN     string `yaml:"asn"`
	City    string `yaml:"city"`
}

type retention struct {
	Minutes time.Duration `yaml:"minutes"`
	Hours   time.Duration `yaml:"hours"`
	Days    time.Duration `yaml:"days"` // 0: for ever
	Events  time.Duration `yaml:"events"`
	// Addresses is how long it is kept who had which address; 0 for ever. The house's own
	// choice is half a year: no longer than the desk needs it.
	Addresses time.Duration `yaml:"addresses"`
}

func defaultConfig() config {
	t := telescope.DefaultConfig()
	return config{
		Data: "sakimori-data", Listen: "127.0.0.1:8630", Log: "info",
		Telescope: telescopeConfig{MaxEvents: t.MaxEvents, MinRate: t.MinRate, Slow: t.Slow, Fanout: 1},
		Notify:    defaultNotify(),
		Resolvers: defaultResolvers(),
		Flow:      flowConfig{Keep: defaultKeep()},
		DDoS:      ddosConfig{Thresholds: ddos.DefaultThresholds()},
		Route:     defaultRoutes(),
		Retention: retention{Minutes: 7 * 24 * time.Hour, Hours: 92 * 24 * time.Hour, Events: 92 * 24 * time.Hour, Addresses: 183 * 24 * time.Hour},
	}
}

// readConfig reads the file at path, then the environment: SAKIMORI_LISTEN sets
// listen, SAKIMORI_TELESCOPE__OWN sets telescope.own; values are YAML.
func readConfig(path string, environ []string) (config, error) {
	c := defaultConfig()
	if path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return c, fmt.Errorf("configuration: %w: `sakimori config` prints one to begin with", err)
		}
		if err := yaml.Decode(b, &c); err != nil {
			return c, fmt.Errorf("configuration %s: %w", path, err)
		}
	}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		keys, ok := strings.CutPrefix(name, "SAKIMORI_")
		if !ok || slices.Contains(forTests, keys) {
			continue
		}
		if err := yaml.Decode([]byte(nested(strings.Split(strings.ToLower(keys), "__"), value)), &c); err != nil {
			return c, fmt.Errorf("environment %s: %w", name, err)
		}
	}
	return c, nil
}

// forTests are the variables that the project's own tests and scripts read.
var forTests = []string{"CORPUS", "BUILT", "BINARY", "URL", "TOKEN", "SHOTS"}

func nested(keys []string, value string) string {
	var b strings.Builder
	for i, k := range keys {
		fmt.Fprintf(&b, "%s%s:", strings.Repeat("  ", i), k)
		if i == len(keys)-1 {
			fmt.Fprintf(&b, " %s\n", value)
		} else {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// UnmarshalYAML takes a prefix alone, or one with its dates.
func (d *darkEntry) UnmarshalYAML(b []byte) error {
	if err := yaml.Decode(b, &d.Prefix); err == nil {
		return nil
	}
	type plain darkEntry
	return yaml.Decode(b, (*plain)(d))
}

// engine is the telescope's configuration.
func (c *config) engine(table *geo.Table, research *telescope.ResearchList) (telescope.Config, error) {
	t := telescope.DefaultConfig()
	t.MaxEvents, t.MinRate, t.Slow = c.Telescope.MaxEvents, c.Telescope.MinRate, c.Telescope.Slow
	for _, d := range c.Telescope.Dark {
		p, err := parsePrefix(d.Prefix, "dark")
		if err != nil {
			return t, err
		}
		t.Dark = append(t.Dark, telescope.DarkPrefix{Prefix: p, From: d.From, Until: d.Until})
	}
	for _, o := range c.Telescope.Own {
		p, err := parsePrefix(o, "own")
		if err != nil {
			return t, err
		}
		t.Own = append(t.Own, p)
	}
	for _, v := range c.Telescope.Verified {
		p, err := parsePrefix(v, "verified")
		if err != nil {
			return t, err
		}
		t.Verified = append(t.Verified, p)
	}
	var err error
	if t.Tunnels, err = parseTunnels(c.Telescope.Tunnels); err != nil {
		return t, err
	}
	if table != nil {
		t.Place = func(a packet.Addr) ([2]byte, uint32) { return table.Owner(a) }
	}
	t.Research = research.Has
	return t, nil
}

func (c *config) research() (*telescope.ResearchList, error) {
	var more []telescope.Researcher
	for _, r := range c.Telescope.Research {
		e := telescope.Researcher{Name: r.Name, URL: r.URL}
		for _, s := range r.Prefixes {
			p, err := parsePrefix(s, "research")
			if err != nil {
				return nil, err
			}
			e.Prefixes = append(e.Prefixes, p)
		}
		more = append(more, e)
	}
	return telescope.NewResearchList(more...)
}

func (c *config) places() (*geo.Table, error) {
	return geo.Load(geo.Options{Country: c.Geo.Country, ASN: c.Geo.ASN, City: c.Geo.City, Builtin: true})
}

func (r retention) policy() record.Policy {
	return record.Policy{Minutes: r.Minutes, Hours: r.Hours, Days: r.Days, Events: r.Events}
}

// parsePrefix reads a prefix, or an address as the prefix of itself.
func parsePrefix(s, what string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%s prefix %q: write address/length, for example 198.51.100.0/24 or 2001:db8::/32", what, s)
	}
	if p.Addr().Is4In6() {
		return p, fmt.Errorf("%s prefix %q: write IPv4 as IPv4", what, s)
	}
	return p.Masked(), nil
}

func parseTunnels(names []string) (t packet.Tunnels, err error) {
	known := map[string]packet.Tunnels{"gre": packet.GRE, "erspan": packet.ERSPAN, "vxlan": packet.VXLAN, "ipip": packet.IPIP}
	for _, n := range names {
		bit, ok := known[strings.ToLower(n)]
		if !ok {
			return 0, fmt.Errorf("%q is no tunnel that is read: use gre, erspan, vxlan or ipip", n)
		}
		t |= bit
	}
	return t, nil
}

// check says what is wrong with a configuration before anything is started.
func (c *config) check() error {
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		return fmt.Errorf("listen %q: write host:port, for example 127.0.0.1:8630", c.Listen)
	}
	if err := c.checkAddress(); err != nil {
		return err
	}
	if c.Database != "" && !strings.HasPrefix(c.Database, "postgres://") && !strings.HasPrefix(c.Database, "postgresql://") {
		return errors.New("database: write postgres://user@host/name, or leave it out for a file in the data folder")
	}
	if c.Metrics != "" {
		if _, _, err := net.SplitHostPort(c.Metrics); err != nil {
			return fmt.Errorf("metrics %q: write host:port, for example 127.0.0.1:9630", c.Metrics)
		}
	}
	if c.Telescope.Fanout < 1 || c.Telescope.Fanout > 64 {
		return fmt.Errorf("telescope.fanout %d: give 1 to 64", c.Telescope.Fanout)
	}
	if _, err := c.Notify.channels(c.Data); err != nil {
		return fmt.Errorf("notify: %w", err)
	}
	if err := c.DNS.check(); err != nil {
		return err
	}
	if _, err := c.CNC.rules(); err != nil {
		return err
	}
	for _, n := range c.Zones.Allow {
		if d := strings.Trim(c.Resolvers.Canary.Domain, "."); d != "" && (d == strings.Trim(n, ".") || strings.HasSuffix(d, "."+strings.Trim(n, "."))) {
			return fmt.Errorf("rpz.allow: %s covers the canaries' domain %s, so that nothing could be proven: give them another", n, d)
		}
	}
	if len(c.Resolvers.List) > 0 {
		if _, err := c.Resolvers.watched(); err != nil {
			return err
		}
	}
	if _, _, err := feedComponent(c, nil, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	if err := c.Route.check(); err != nil {
		return err
	}
	if err := c.Flow.check(); err != nil {
		return err
	}
	if set, err := c.floods(); err != nil {
		return err
	} else if _, err := newFloods(set, floodPorts{}); err != nil {
		return fmt.Errorf("ddos: %w", err)
	}
	if err := c.Mitigation.check(slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	if len(c.Telescope.Dark) == 0 && len(c.Telescope.Interfaces) > 0 {
		return errors.New("telescope.interfaces are named, but telescope.dark isn't: say which addresses are unused")
	}
	// What an office would run is made, and not started.
	_, err := (&office{}).components(context.Background(), c, nil, slog.New(slog.DiscardHandler))
	return err
}

const exampleConfig = `# sakimori: everything here may also be set by the environment,
# for example SAKIMORI_LISTEN=127.0.0.1:8631 or SAKIMORI_TELESCOPE__OWN='[203.0.113.0/24]'
data: sakimori-data          # folder of all that is kept / 保存先
listen: 127.0.0.1:8630       # the console / コンソール
log: info
# public_url: https://console.example.jp  # behind a proxy that speaks TLS / TLS プロキシ経由の公開アドレス
# proxies: [127.0.0.1]       # whose X-Forwarded-For is believed / 信頼するプロキシ
# database: postgres://sakimori@db.example/sakimori  # users and ledger; else a file in data / 利用者・記録の保存先
# issuers:                   # sign-in with OpenID Connect / 外部認証
#   - id: corp               # register public_url/signin/corp/return there as the redirect
#     name: Corporate sign-in
#     url: https://id.example.jp
#     client: sakimori
#     secret_file: /etc/sakimori/corp.secret
#     scopes: [groups]
#     groups: groups         # this claim decides on roles / 権限を決めるグループの claim
#     roles: {noc: [operator, network], abuse-desk: [abuse]}

telescope:
  dark:                      # unused addresses / 未使用アドレス
    - 198.51.100.0/24
    - {prefix: "2001:db8:dead::/48", from: 2026-01-01T00:00:00Z}
  own:                       # our subscribers / 自社の利用者
    - 203.0.113.0/24
  # verified: [203.0.113.0/25] # of own: nobody else can send in their name (BCP 38, 84) / 詐称できない範囲
  tunnels: []                # gre, erspan, vxlan, ipip: how dark traffic reaches the sensor
  interfaces: []             # live capture, needs CAP_NET_RAW

# rpz:                       # DNS policy zones for one's resolvers / DNS ポリシーゾーン(docs/rpz.md)
#   listen: [192.0.2.53:53]
#   keys: [{name: resolvers.key, secret_file: resolvers.key}]
#   peers: [{name: dns1, address: [192.0.2.10], key: resolvers.key, notify: ["192.0.2.10:53"], pool: tokyo, vendor: bind}]

# notify:                    # how subscribers are told / 加入者への通知(docs/notify.md)
#   operator:
#     ja: {name: さきもり通信株式会社, site: www.isp.example, desk: ネットワーク安全相談窓口, phone: 0120-000-000}
#     en: {name: Sakimori Telecom, site: www.isp.example, desk: Network Safety Desk, phone: 0120-000-000}
#   mail: {host: mta.isp.example, from: notice@isp.example, bounce: bounce@isp.example, bounces: /var/mail/bounce}
#   policy: {two_people: true}

# dns:                       # who asked resolvers, as far as they consent / リゾルバーの記録(docs/dns.md)
#   sources:
#     - {name: unbound1, socket: /run/sakimori/dnstap.sock}
#     - {name: recursor, protocol: powerdns, listen: "192.0.2.30:4242", senders: [192.0.2.31]}

# flow:                      # what routers tell of traffic / ルーターのフロー記録(docs/flow.md)
#   listen: ["0.0.0.0:2055", "[::]:6343"]
#   exporters: [{name: tokyo-1, prefix: 192.0.2.1, sampling: 1000}]  # others are refused / 他は拒否

# ddos:                      # floods / 攻撃検知(docs/ddos.md)
#   own: [203.0.113.0/24]    # what is protected; else telescope.own and subscriber.own / 守る対象
#   thresholds:
#     address: {packets: 20000, bits: 1000000000, flows: 3500}  # a second / 毎秒
#     customers: [{name: shop, prefixes: [203.0.113.64/28], address: {packets: 50000}}]

# route:                     # BGP routes / BGP 経路の監視(docs/route.md)
#   bmp: {listen: ["0.0.0.0:11019"], routers: [{name: edge1, prefix: 192.0.2.1}]}
#   rpki: {rtr: [{name: cache1, address: "192.0.2.5:3323"}]}
#   relations: /var/lib/sakimori/as-rel.txt.bz2
#   leak:
#     as: [64500]
#     own: [{prefix: 203.0.113.0/24, origins: [64500]}]
#     neighbors: [{as: 64501, relation: provider}, {as: 64502, relation: peer}]

# mitigation:                # a rehearsal until announce is set / announce を設定するまで演習
#   announce: true
#   protected: [{name: our DNS, prefix: 203.0.113.53, protocol: 17, ports: [53]}]
#   bgp:
#     as: 64500
#     router_id: 192.0.2.60
#     peers: [{name: edge1, address: 192.0.2.1, as: 64500, local: 192.0.2.60, password_file: /etc/sakimori/bgp.secret}]
#   hooks: [{name: scrubber, url: "https://scrub.isp.example/rules", secret_file: /etc/sakimori/hook.secret}]

retention:
  minutes: 168h
  hours: 2208h
  events: 2208h
  addresses: 4392h           # who had which address / 利用者とアドレスの記録

# subscriber:                # who had which address / 誰がどのアドレスを使っていたか
#   own: [203.0.113.0/24, "2001:db8:7::/48"]
#   radius:                  # accounting, live
#     listen: ["0.0.0.0:1813"]
#     clients: [{name: bng1, prefix: 192.0.2.10, secret_file: /etc/sakimori/bng1.secret}]
#   syslog: {listen: ["0.0.0.0:5514"], senders: [192.0.2.20], zone: Asia/Tokyo}  # translators
#   ipfix: {listen: ["0.0.0.0:4739"], senders: [192.0.2.21], names: {192.0.2.21: cgn1}}
#   silence: {"": 0s, bng1: 2h}  # a session is over without a sign for so long / 無通信とみなす時間
#   skew: {bng2: 45s}        # a clock that is known to be off / 時計のずれ
#   reports: [{folder: /var/spool/reports, source: shadowserver, format: shadowserver}]
`

func newConfig() *cobra.Command {
	return &cobra.Command{
		Use: "config", Short: "Print a configuration to begin with / 設定ファイルの雛形", Args: noArgs,
		Example: "  sakimori config > sakimori.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := io.WriteString(c.OutOrStdout(), exampleConfig)
			return err
		},
	}
}
