package never

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"sakimori/base/wire/dns"
)

// Options say what lists of a folder mean, by their file's name without .json, where it
// isn't what Default says.
type Options struct {
	Never  []string `yaml:"never"`  // never listed
	Two    []string `yaml:"two"`    // two people decide
	Ignore []string `yaml:"ignore"` // not looked at
}

// Default is what a warninglist means by its file's name. Warninglists are of harmless
// things that look like indicators, so they protect; but popularity is evidence and no
// permission, and on a provider's addresses lives whoever pays.
func Default(file string) (c Class, sinks bool) {
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(file, p) })
	}
	switch {
	case has("sinkhole"):
		return Free, true
	case has("tranco", "cisco_top", "cisco_1M", "umbrella", "cloudflare-top", "alexa", "majestic", "moz-top", "crux"):
		return Popular, false
	case has("akamai", "amazon-aws", "cloudflare", "fastly", "google-gcp", "microsoft-azure", "ovh-cluster", "stackpath", "dynamic-dns", "parking-domain", "url-shortener", "digitalocean", "linode", "oracle-cloud", "vpn-"):
		return Shared, false
	}
	return Protected, false
}

// Protect adds the operator's own: names with all below them, and networks. who is whose
// they are, as Verdict.List shows it.
func (l *Lists) Protect(who string, names []string, networks []netip.Prefix) error {
	n := l.begin(List{Name: who, Class: Protected})
	for _, s := range names {
		name, _, fine := normal(s)
		if !fine {
			return fmt.Errorf("protected name %q: write a domain, for example isp.example.jp", s)
		}
		l.name(n, name, true)
	}
	for _, p := range networks {
		l.network(n, p.Masked(), &l.networks)
	}
	return nil
}

// Folder reads the warninglists of a folder: each *.json in it, and list.json in each of
// its folders, as MISP's repository has them.
func (l *Lists) Folder(dir string, o Options) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return err
	}
	more, err := filepath.Glob(filepath.Join(dir, "*", "list.json"))
	if err != nil {
		return err
	}
	if files = append(files, more...); len(files) == 0 {
		return fmt.Errorf("%s holds no warninglist (*.json)", dir)
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		if name == "list" {
			name = filepath.Base(filepath.Dir(path))
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := errors.Join(l.Warninglist(f, name, o), f.Close()); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// Warninglist reads one in MISP's form.
func (l *Lists) Warninglist(r io.Reader, file string, o Options) error {
	var w struct {
		Name string   `json:"name"`
		Type string   `json:"type"`
		On   []string `json:"matching_attributes"`
		List []string `json:"list"`
	}
	if err := json.NewDecoder(r).Decode(&w); err != nil {
		return fmt.Errorf("not a warninglist: %w", err)
	}
	x := List{Name: w.Name}
	if x.Name == "" {
		x.Name = file
	}
	x.Class, x.Sinks = Default(file)
	switch {
	case slices.Contains(o.Ignore, file) || !network(w.On):
		x.Ignored = true
	case slices.Contains(o.Never, file):
		x.Class = Protected
	case slices.Contains(o.Two, file):
		x.Class = Shared
	}
	n := l.begin(x)
	if x.Ignored {
		return nil
	}
	for _, s := range w.List {
		fine := false
		switch w.Type {
		case "string", "hostname":
			fine = l.entry(n, s, w.Type == "hostname")
		case "cidr":
			fine = l.cidr(n, s)
		case "substring":
			if fine = s != ""; fine {
				l.pattern(n, pattern{list: n, part: strings.ToLower(s)}, s)
			}
		case "regex":
			if e, err := expression(s); err == nil {
				l.pattern(n, pattern{list: n, expr: e}, s)
				fine = true
			}
		default:
			return fmt.Errorf("a warninglist of type %q isn't understood: string, hostname, substring, regex and cidr are", w.Type)
		}
		if !fine {
			l.lists[n].Skipped++
		}
	}
	return nil
}

// network tells whether a list is about names or addresses at all; one that doesn't say
// is.
func network(on []string) bool {
	return len(on) == 0 || slices.ContainsFunc(on, func(s string) bool {
		return strings.Contains(s, "domain") || strings.Contains(s, "host") || strings.Contains(s, "ip-") || strings.Contains(s, "url") || strings.Contains(s, "uri")
	})
}

// entry adds a name or address. hostname has all below it listed; string the name alone,
// unless a dot before it says that it is meant as a suffix.
func (l *Lists) entry(n uint16, s string, under bool) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return l.cidr(n, s)
	}
	name, dotted, fine := normal(s)
	if fine {
		l.name(n, name, under || dotted)
	}
	return fine
}

func (l *Lists) cidr(n uint16, s string) bool {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return false
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() || p.Addr().Zone() != "" {
		return false
	}
	to := &l.networks
	if l.lists[n].Sinks {
		to = &l.sinks
	}
	l.network(n, p.Masked(), to)
	return true
}

func (l *Lists) pattern(n uint16, p pattern, text string) {
	l.note(text)
	l.lists[n].Entries++
	l.patterns = append(l.patterns, p)
}

// expression reads a regular expression as PHP writes it: /…/i.
func expression(s string) (*regexp.Regexp, error) {
	if len(s) > 2 && s[0] == '/' {
		if end := strings.LastIndexByte(s, '/'); end > 0 {
			flags := s[end+1:]
			s = strings.ReplaceAll(s[1:end], `\/`, "/")
			if strings.Contains(flags, "i") {
				s = "(?i)" + s
			}
		}
	}
	return regexp.Compile(s)
}

// normal brings a name of a list into its normal form; dotted says that it was written
// with a dot or a star before it.
func normal(s string) (name string, dotted, fine bool) {
	s = strings.ToLower(strings.TrimSpace(s))
	if at := strings.Index(s, "://"); at >= 0 {
		s = s[at+3:]
	}
	s, _, _ = strings.Cut(s, "/")
	if t := strings.TrimPrefix(strings.TrimPrefix(s, "*"), "."); t != s {
		s, dotted = t, true
	}
	s = strings.TrimSuffix(s, ".")
	if a, err := idna.Lookup.ToASCII(s); err == nil {
		s = a
	}
	n, err := dns.ParseName(s)
	if err != nil || len(n) <= 1 {
		return "", dotted, false
	}
	return s, dotted, true
}

// Rank reads a list of the most used names: lines of "rank,name" or of names alone, as
// Tranco and Umbrella give them. The first most are kept; 0 all.
func (l *Lists) Rank(r io.Reader, name string, most int) error {
	n := l.begin(List{Name: name, Class: Popular})
	s := bufio.NewScanner(r)
	for s.Scan() && (most == 0 || l.lists[n].Entries < most) {
		_, host, ranked := strings.Cut(s.Text(), ",")
		if !ranked {
			host = s.Text()
		}
		if strings.TrimSpace(host) == "" || strings.HasPrefix(host, "#") {
			continue
		}
		if host, _, fine := normal(strings.Trim(host, `"`)); fine {
			l.name(n, host, true)
		} else {
			l.lists[n].Skipped++
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
