// Package words holds what notices say: templates in Japanese and English for each
// family of malware and kind of device, and an operator's own in their place.
package words

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"sakimori/respond/notify"
)

//go:embed text/*.tmpl
var embedded embed.FS

// Operator is who writes, in one language.
type Operator struct {
	Name  string // "さきもり通信株式会社"
	Site  string // the host name that people know: "www.example.ne.jp"
	Desk  string // "ネットワーク安全相談窓口"
	Phone string // "0120-000-000"
	Hours string // "平日 9:00~17:00"
}

// Data are what a template can name. There is no name, address or contract of a
// person among them.
type Data struct {
	Operator  string
	Site      string
	Desk      string
	Phone     string
	Hours     string
	Family    string // as people write it: "Mirai"
	Device    string // router, camera, recorder, nas, pc or unknown
	Service   string // "Telnet (23/tcp)"; "" none
	Seen      string // day and time
	Reference string // grouped
	Channel   string // mail, letter, portal or webhook
}

// Config is what a Book is made with.
type Config struct {
	JA, EN Operator
	Zone   *time.Location
	Own    fs.FS // templates of the operator's, by the names of ours; nil none
}

// Book finds the words of notices. It may be used by many goroutines.
type Book struct {
	cfg Config
	// sets holds a set for each pair of a file's stem and a language: "mirai.ja".
	sets map[string]*template.Template
}

var languages = []string{"ja", "en"}

// shared are the files whose definitions all others may use, and may define anew.
var shared = []string{"device", "frame"}

// parts must be defined for each notice.
var parts = []string{"title", "greeting", "what", "steps", "after", "check", "contact", "channel"}

// Load reads the templates and tries each of them on every kind of device. An error
// names the file and the line.
func Load(cfg Config) (*Book, error) {
	if cfg.Zone == nil {
		return nil, errors.New("the words of notices need a time zone")
	}
	for lang, o := range map[string]Operator{"ja": cfg.JA, "en": cfg.EN} {
		if o.Name == "" || o.Site == "" || o.Desk == "" || o.Phone == "" {
			return nil, fmt.Errorf("the operator's name, site, desk and phone are missing in %s: notices without them can't be believed", lang)
		}
		if strings.Contains(o.Site, "/") {
			return nil, fmt.Errorf("%s: give the site as a host name that people type in, without https:// and path", o.Site)
		}
	}
	files, err := sources(cfg.Own)
	if err != nil {
		return nil, err
	}
	b := &Book{cfg: cfg, sets: map[string]*template.Template{}}
	for name := range files {
		stem, lang, err := split(name)
		if err != nil {
			return nil, err
		}
		if slices.Contains(shared, stem) {
			continue
		}
		if b.sets[stem+"."+lang], err = compile(files, stem, lang); err != nil {
			return nil, err
		}
	}
	return b, b.try()
}

// sources are the texts by file name, the operator's own in the place of ours.
func sources(own fs.FS) (map[string]string, error) {
	files := map[string]string{}
	ours, err := fs.Sub(embedded, "text")
	if err != nil {
		return nil, err
	}
	for _, from := range []fs.FS{ours, own} {
		if from == nil {
			continue
		}
		names, err := fs.Glob(from, "*.tmpl")
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			text, err := fs.ReadFile(from, name)
			if err != nil {
				return nil, fmt.Errorf("read a template of notices: %w", err)
			}
			const most = 64 << 10
			if len(text) > most {
				return nil, fmt.Errorf("%s has %d bytes, more than a notice can be (%d)", name, len(text), most)
			}
			files[name] = string(text)
		}
	}
	return files, nil
}

// split takes a file's name apart: mirai.ja.tmpl, mirai.camera.en.tmpl.
func split(name string) (stem, lang string, err error) {
	stem, found := strings.CutSuffix(name, ".tmpl")
	i := strings.LastIndexByte(stem, '.')
	if !found || i < 1 || !slices.Contains(languages, stem[i+1:]) {
		return "", "", fmt.Errorf("%s: a template is called family.language.tmpl or family.device.language.tmpl, with ja or en as language", name)
	}
	stem, lang = stem[:i], stem[i+1:]
	if family, device, is := strings.Cut(stem, "."); is && (!slices.Contains(notify.Devices, notify.Device(device)) || family == "") {
		return "", "", fmt.Errorf("%s: %q is no kind of device: use one of %v", name, device, notify.Devices)
	}
	return stem, lang, nil
}

// compile makes the set of one file: what is shared, then the file itself.
func compile(files map[string]string, stem, lang string) (*template.Template, error) {
	set := template.New(stem).Option("missingkey=error")
	for _, s := range append(slices.Clone(shared), stem) {
		name := s + "." + lang + ".tmpl"
		t, err := set.New(name).Parse(files[name])
		if err != nil {
			return nil, err // it names file and line
		}
		set = t
	}
	for _, t := range set.Templates() {
		if err := known(t); err != nil {
			return nil, err
		}
	}
	for _, p := range parts {
		if set.Lookup(p) == nil {
			return nil, fmt.Errorf("%s.%s.tmpl: it doesn't define %q: a notice needs %v", stem, lang, p, parts)
		}
	}
	return set, nil
}

// try writes each notice once for each device and both channels' lengths.
func (b *Book) try() error {
	for key := range b.sets {
		stem, lang, _ := split(key + ".tmpl") // it was split before
		for _, d := range notify.Devices {
			for _, service := range []string{"", "23/tcp"} {
				family, _, _ := strings.Cut(stem, ".")
				n := notify.Notice{Channel: notify.Mail, Reference: "000000000000", Seen: time.Unix(0, 0), Template: notify.Template{Family: family, Device: d, Service: service}}
				if _, err := b.write(key, &n, lang); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Write finds the words of a notice: those of its family and device, else of its
// family, else general ones for the device, else general ones.
func (b *Book) Write(n *notify.Notice, lang string) (notify.Words, error) {
	if !slices.Contains(languages, lang) {
		return notify.Words{}, fmt.Errorf("there are no notices in %q", lang)
	}
	family := kin(n.Template.Family)
	for _, stem := range []string{family + "." + string(n.Template.Device), family, "generic." + string(n.Template.Device), "generic"} {
		if key := stem + "." + lang; b.sets[key] != nil {
			return b.write(key, n, lang)
		}
	}
	return notify.Words{}, fmt.Errorf("there is no template for %s in %s, not even a general one", n.Template.Family, lang)
}

func (b *Book) write(key string, n *notify.Notice, lang string) (w notify.Words, err error) {
	o := b.cfg.JA
	if lang == "en" {
		o = b.cfg.EN
	}
	d := Data{
		Operator: o.Name, Site: o.Site, Desk: o.Desk, Phone: o.Phone, Hours: o.Hours,
		Family: written(n.Template.Family), Device: string(n.Template.Device), Service: service(n.Template.Service),
		Seen: Moment(n.Seen.In(b.cfg.Zone), lang), Reference: notify.Grouped(n.Reference), Channel: string(n.Channel),
	}
	text := map[string]string{}
	for _, p := range parts {
		var out strings.Builder
		if err := b.sets[key].ExecuteTemplate(&out, p, d); err != nil {
			return w, fmt.Errorf("write a notice: %w", err)
		}
		text[p] = strings.TrimSpace(out.String())
		if text[p] == "" {
			return w, fmt.Errorf("%s.tmpl: %q is empty for the device %s", key, p, n.Template.Device)
		}
	}
	w = notify.Words{Language: lang, Title: join(text["title"], lang)}
	for p, to := range map[string]*[]string{"greeting": &w.Greeting, "what": &w.What, "after": &w.After, "check": &w.Check, "contact": &w.Contact, "channel": &w.Channel} {
		*to = paragraphs(text[p], lang)
	}
	for line := range strings.Lines(text["steps"]) { // a step is a line
		if line = strings.TrimSpace(line); line != "" {
			w.Steps = append(w.Steps, line)
		}
	}
	return w, nil
}

// paragraphs are what empty lines divide.
func paragraphs(text, lang string) (list []string) {
	for p := range strings.SplitSeq(text, "\n\n") {
		if p = join(p, lang); p != "" {
			list = append(list, p)
		}
	}
	return list
}

// join makes one line of several: Japanese has no spaces between words.
func join(text, lang string) string {
	between := " "
	if lang == "ja" {
		between = ""
	}
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.TrimSpace(strings.Join(lines, between))
}

// Moment writes a time in its own zone, as people read it.
func Moment(t time.Time, lang string) string {
	if lang == "ja" {
		return t.Format("2006年1月2日") + strconv.Itoa(t.Hour()) + t.Format("時04分ごろ")
	}
	return t.Format("2 January 2006 at 15:04") + zone(t)
}

func zone(t time.Time) string {
	name, _ := t.Zone()
	return " (" + name + ")"
}

// kin is the family whose words fit: the many descendants of Mirai do the same and
// are removed in the same way, and so are those that steal from computers.
func kin(family string) string {
	f := strings.ToLower(family)
	switch f {
	case "gafgyt", "bashlite", "hajime", "mozi", "satori", "okiru", "reaper", "tsunami", "lizkebab", "qbot":
		return "mirai"
	case "emotet", "trickbot", "qakbot", "zeus", "gozi", "ursnif", "dridex", "icedid", "avalanche", "citadel", "gameover", "conficker", "necurs", "andromeda":
		return "pcmalware"
	}
	return f
}

// written is a family's name as people write it.
func written(family string) string {
	if family == "" {
		return ""
	}
	return strings.ToUpper(family[:1]) + family[1:]
}

// service names a port as people know it.
func service(port string) string {
	name := map[string]string{
		"21/tcp": "FTP", "22/tcp": "SSH", "23/tcp": "Telnet", "2323/tcp": "Telnet", "53/udp": "DNS", "80/tcp": "HTTP", "443/tcp": "HTTPS", "123/udp": "NTP", "161/udp": "SNMP",
		"445/tcp": "SMB", "1900/udp": "SSDP", "3389/tcp": "RDP", "5555/tcp": "ADB", "7547/tcp": "TR-069", "11211/udp": "memcached",
	}[port]
	if name == "" {
		return port
	}
	return name + " " + port
}
