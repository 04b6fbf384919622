package indicator

import (
	"errors"
	"io"
	"path"
	"strings"

	"sakimori/observe"
	"sakimori/observe/feed/reading"
)

// list reads a format of lines.
func (j *job) list(format Format, r io.Reader) error {
	in := reading.NewLines(r, j.MaxLine)
	m := trail{job: j}
	if format == Maltrail {
		if err := m.open(); err != nil {
			return err
		}
	}
	for n := 1; ; n++ {
		l, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if l.Long {
			j.bad(n, tooLong)
			continue
		}
		text := l.Text
		if n == 1 {
			text = strings.TrimPrefix(text, "\ufeff")
		}
		switch format {
		case Maltrail:
			err = m.line(text, n)
		case Hosts:
			err = j.hosts(text, n)
		case Drop:
			err = j.drop(text, n)
		default:
			err = j.plain(text, n)
		}
		if err != nil {
			return err
		}
	}
}

// comment cuts a line at its comment: what begins with #, ; or // at the beginning of
// the line or after a blank, so that no URL is cut.
func comment(s string) (value, said string) {
	blank := true
	for i := range len(s) {
		c := s[i]
		if blank && (c == '#' || c == ';' || c == '/' && strings.HasPrefix(s[i:], "//")) {
			return strings.TrimSpace(s[:i]), strings.TrimSpace(strings.TrimLeft(s[i:], "#;/"))
		}
		blank = c == ' ' || c == '\t'
	}
	return strings.TrimSpace(s), ""
}

// plain reads a line with one value.
func (j *job) plain(text string, n int) error {
	value, _ := comment(text)
	if value == "" {
		return nil
	}
	if strings.ContainsAny(value, " \t") {
		j.bad(n, severalValues)
		return nil
	}
	j.begin(n)
	return j.take(value, "")
}

// hosts reads a line of a hosts file: where names are to lead, and the names. What a
// machine calls itself is no entry. A hosts file means each name alone.
func (j *job) hosts(text string, n int) error {
	value, _ := comment(text)
	fields := strings.Fields(value)
	if len(fields) == 0 {
		return nil
	}
	switch fields[0] {
	case "127.0.0.1", "0.0.0.0", "::", "::1", "127.0.1.1", "255.255.255.255", "fe80::1%lo0":
	default:
		j.bad(n, notName) // it leads somewhere: this isn't a list to block
		return nil
	}
	if len(fields) == 1 {
		j.bad(n, noValue)
		return nil
	}
	for _, name := range fields[1:] {
		switch strings.ToLower(name) {
		case "localhost", "localhost.localdomain", "local", "broadcasthost", "ip6-localhost", "ip6-loopback", "0.0.0.0":
			continue
		}
		j.begin(n)
		if err := j.take(name, observe.IndicatorHost); err != nil {
			return err
		}
	}
	return nil
}

// drop reads a line of Spamhaus DROP: networks of criminals, hijacked or leased.
func (j *job) drop(text string, n int) error {
	value, said := comment(text)
	if value == "" {
		return nil
	}
	in := j.begin(n)
	in.Role, in.Evidence = observe.RoleOther, reading.Clean(said)
	if strings.HasPrefix(value, "AS") {
		j.bad(n, notNetwork) // ASN-DROP names whole operators
		return nil
	}
	return j.take(value, observe.IndicatorPrefix)
}

// trail reads maltrail's lists: values in any form, a path alone where it is asked for
// on whatever host, and above each group where it was told.
type trail struct {
	*job
	family    string
	role      observe.Role
	reference string
}

// open tells from the name of the file what it lists: elf_mirai, android_joker, emotet.
func (m *trail) open() error {
	name := strings.ToLower(strings.TrimSuffix(path.Base(m.Name), path.Ext(m.Name)))
	switch {
	case name == "whitelist":
		return reading.Damaged(nil, "maltrail の除外リストです。ブロック対象の一覧ではありません", "this is maltrail's list of exceptions, not of what is to be blocked")
	case strings.HasPrefix(name, "mass_scanner"):
		m.role = observe.RoleScanner
		return nil
	case strings.Contains(name, "sinkhole"):
		m.role = observe.RoleOther
		return nil
	}
	for _, system := range []string{"elf_", "android_", "osx_", "ios_", "win_", "apt_", "js_", "php_", "py_", "perl_", "powershell_"} {
		if rest, ok := strings.CutPrefix(name, system); ok {
			name = rest
			break
		}
	}
	if m.Family == "" && name != "" && name != "." && name != "-" {
		m.family = reading.Family(name)
	}
	return nil
}

func (m *trail) line(text string, n int) error {
	if said, ok := strings.CutPrefix(text, "#"); ok {
		if url, ok := strings.CutPrefix(strings.TrimSpace(said), "Reference:"); ok {
			m.reference = reading.Clean(strings.TrimSpace(url))
		}
		return nil
	}
	value, said := comment(text)
	if value == "" {
		return nil
	}
	in := m.begin(n)
	in.Family, in.Role, in.Evidence = m.family, m.role, m.reference
	if in.Evidence == "" {
		in.Evidence = reading.Clean(said)
	}
	if strings.ContainsAny(value, " \t") {
		m.bad(n, severalValues)
		return nil
	}
	// A path behind a host is one of HTTP: maltrail leaves its scheme out.
	if i := strings.IndexByte(value, '/'); i > 0 && !strings.Contains(value, "://") {
		if host := value[:i]; !numeric(host) || strings.IndexFunc(value[i+1:], func(r rune) bool { return r < '0' || r > '9' }) >= 0 || i == len(value)-1 {
			value = "http://" + value
		}
	}
	return m.take(value, "")
}
