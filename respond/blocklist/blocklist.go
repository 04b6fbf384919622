// Package blocklist writes what is in force of the list of C&C servers for those who
// enforce it elsewhere: packet filters, routers, proxies, sensors, other resolvers. A
// file says on which grant it stands and when it ends, is signed, and holds no more than
// that grant reaches: a name asked of a resolver, an address, and the path of a URL are
// three different things before the law.
package blocklist

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"sakimori/base/wire/dns"
	"sakimori/detect"
)

// Kind is what an entry names.
type Kind string

// The kinds, in the words and the normal forms of the list.
const (
	Name     Kind = "name" // and all below it
	Host     Kind = "host" // and nothing below it
	Address  Kind = "address"
	Endpoint Kind = "endpoint" // address and port
	Prefix   Kind = "prefix"
	URL      Kind = "url"
)

// Entry is one C&C server that is in force.
type Entry struct {
	ID     string // in the list
	Kind   Kind
	Value  string
	Family string
	Since  time.Time // in force; zero not told
	Until  time.Time // when it ends: an entry without an end isn't written
}

// Form is a kind of file.
type Form string

// The forms.
const (
	Plain    Form = "plain"
	CSV      Form = "csv"
	NDJSON   Form = "ndjson"
	STIX     Form = "stix"
	NFTables Form = "nftables"
	Suricata Form = "suricata"
	Squid    Form = "squid"
	FlowSpec Form = "flowspec"
)

// Forms are all of them, in order.
func Forms() []Form { return []Form{Plain, CSV, NDJSON, STIX, NFTables, Suricata, Squid, FlowSpec} }

// Words says what a form is for, and what it can't do.
func (f Form) Words() detect.Text {
	switch f {
	case Plain:
		return detect.Text{JA: "値を1行に1件。名前はリゾルバでの照合にだけ使えます", EN: "One value a line. Names are for matching in a resolver only"}
	case CSV:
		return detect.Text{JA: "番号・期限・許される使い方(for)つきの表", EN: "A table with number, end, and what each value may be used for (for)"}
	case NDJSON:
		return detect.Text{JA: "CSV と同じ内容を JSON で。1行目が見出し", EN: "The same as CSV in JSON; the first line is the head"}
	case STIX:
		return detect.Text{JA: "STIX 2.1 バンドル。下位の名前を含むかは STIX では表せず、説明とラベル(misp:type)に書きます", EN: "A STIX 2.1 bundle. STIX can't say whether what is below a name is meant too: the description and a label (misp:type) do"}
	case NFTables:
		return detect.Text{JA: "nftables の集合(アドレス、アドレスとポート、範囲)。期限が来ると自動で消えます。遮断の規則は含みません。名前と URL は入りません", EN: "nftables sets of addresses, endpoints and prefixes, which run out by themselves. The rule that drops is your own. No names, no URLs"}
	case Suricata:
		return detect.Text{JA: "Suricata の規則。暗号化された URL は見えません。構文は自前で検査したもので、Suricata での読み込みは確認していません(Debian 12 に無いため)", EN: "Rules for Suricata. What is encrypted can't be seen. Their syntax was checked by our own reader, not by Suricata, which Debian 12 doesn't have"}
	case Squid:
		return detect.Text{JA: "Squid の acl。https の URL は復号しない限り見えないため入りません", EN: "Squid's acls. URLs of https aren't in it: a proxy that doesn't decrypt can't see them"}
	case FlowSpec:
		return detect.Text{JA: "BGP の RTBH と flowspec (RFC 8955、8956) の規則。広告はしません。ルーターが持てる flowspec の数は多くありません", EN: "Rules for RTBH and flowspec (RFC 8955, 8956) by BGP. Nothing is announced by it. Routers hold few flowspec rules"}
	}
	return detect.Text{JA: "知らない形式", EN: "a form that isn't known"}
}

// Why a file isn't made or given.
var (
	ErrForm    = errors.New("no such form: plain, csv, ndjson, stix, nftables, suricata, squid, flowspec")
	ErrGround  = errors.New("the grant doesn't reach anything that this form can carry: addresses, names in traffic and URLs take another ground than names in a resolver")
	ErrVersion = errors.New("there is no such version")
	ErrExpired = errors.New("that version is past its end: make a new one")
	ErrForged  = errors.New("the file isn't the one that was signed")
	ErrMany    = errors.New("more entries than a file holds")
)

// Most is how many entries are taken. A form whose reader can't hold so many has a bound
// of its own.
const Most = 2_000_000

// Protected knows what is never blocked: the operator's own and its customers' prefixes
// and names. What reaches into it, from above or below, is.
type Protected interface {
	Address(p netip.Prefix) (list string, is bool)
	Name(name string) (list string, is bool)
}

// Recorder writes down that a file leaves, before it does.
type Recorder interface {
	Record(ctx context.Context, x Export, who string) error
}

// Omitted counts what isn't in a file, by why.
type Omitted struct {
	Ended     int `json:"ended"`     // or without an end
	Malformed int `json:"malformed"` // not in the normal form of its kind: nothing of it is written anywhere
	Protected int `json:"protected"` // own, private, reserved, or too wide
	Ground    int `json:"ground"`    // the grant doesn't reach it
	Form      int `json:"form"`      // the form can't carry it
	Covered   int `json:"covered"`   // twice, or inside another one
}

// Total is all of it.
func (o Omitted) Total() int {
	return o.Ended + o.Malformed + o.Protected + o.Ground + o.Form + o.Covered
}

// item is an entry that was understood, with what may be done about it.
type item struct {
	Entry
	prefix netip.Prefix // of an address, an endpoint's address, a prefix
	port   uint16       // of an endpoint
	url    *url.URL
	reach  reach
}

// order of the kinds in a file.
var rank = map[Kind]int{Name: 1, Host: 2, Address: 3, Endpoint: 4, Prefix: 5, URL: 6}

func (x *item) compare(b *item) int {
	return cmp.Or(
		cmp.Compare(rank[x.Kind], rank[b.Kind]), x.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(x.prefix.Bits(), b.prefix.Bits()), cmp.Compare(x.port, b.port),
		strings.Compare(x.Value, b.Value), b.Until.Compare(x.Until), strings.Compare(x.ID, b.ID),
	)
}

// same tells whether two of them say the same.
func (x *item) same(b *item) bool { return x.Kind == b.Kind && x.Value == b.Value }

// read understands an entry. What isn't in its normal form isn't taken: it would stand in
// somebody's configuration.
func read(e Entry) (x item, ok bool) {
	x.Entry = e
	if !word(e.ID) {
		return x, false
	}
	switch e.Kind {
	case Name, Host:
		return x, hostname(e.Value)
	case Address:
		a, err := netip.ParseAddr(e.Value)
		if err != nil || a.Zone() != "" || a.Is4In6() || a.String() != e.Value {
			return x, false
		}
		x.prefix = netip.PrefixFrom(a, a.BitLen())
	case Endpoint:
		ap, err := netip.ParseAddrPort(e.Value)
		if err != nil || ap.Addr().Zone() != "" || ap.Addr().Is4In6() || ap.Port() == 0 || ap.String() != e.Value {
			return x, false
		}
		x.prefix, x.port = netip.PrefixFrom(ap.Addr(), ap.Addr().BitLen()), ap.Port()
	case Prefix:
		p, err := netip.ParsePrefix(e.Value)
		if err != nil || p.Addr().Is4In6() || p.Masked() != p || p.String() != e.Value {
			return x, false
		}
		x.prefix = p
	case URL:
		x.url = address(e.Value)
		return x, x.url != nil
	default:
		return x, false
	}
	return x, true
}

// word tells whether s can stand in any file as it is.
func word(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-_.:", rune(c)) {
			return false
		}
	}
	return s != "" && len(s) <= 128
}

// hostname tells whether s is a name of more than one label as the list writes it: in
// lower case, of letters, digits, hyphens and underscores.
func hostname(s string) bool {
	n, err := dns.ParseName(s)
	if err != nil || len(s) > 253 || strings.ToLower(s) != s || n.Labels() < 2 || strings.HasSuffix(s, ".") {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// address reads a URL of the list: http or https, printable ASCII, and nobody's password.
func address(s string) *url.URL {
	if len(s) > 2048 {
		return nil
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || strings.ContainsRune("\"'`<>\\^{|}", rune(c)) {
			return nil
		}
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Fragment != "" || u.Host == "" {
		return nil
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		if a.Zone() != "" {
			return nil
		}
		return u
	}
	if !hostname(u.Hostname()) {
		return nil
	}
	return u
}

// family is the name of a malware as any file can hold it.
func family(s string) string {
	clean := func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' || r == ' ' {
			return r
		}
		return '_'
	}
	if s = strings.Map(clean, strings.ToLower(s)); len(s) > 64 {
		s = s[:64]
	}
	return strings.TrimLeft(s, "-. ") // nor is it the beginning of a formula
}
