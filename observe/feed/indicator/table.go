package indicator

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"sakimori/observe"
	"sakimori/observe/feed/reading"
)

// Mapping names the columns of a table. Names are compared in lower case.
type Mapping struct {
	Value      string                  `yaml:"value"`       // required
	Kind       observe.IndicatorKind   `yaml:"kind"`        // of all values; "" their form tells
	KindIn     string                  `yaml:"kind_column"` // of each: name, host, address, endpoint, prefix or url
	Port       string                  `yaml:"port"`        // makes an endpoint of an address
	Family     string                  `yaml:"family"`
	First      string                  `yaml:"first"`
	Last       string                  `yaml:"last"`
	Until      string                  `yaml:"until"`
	Confidence string                  `yaml:"confidence"`
	Scale      float64                 `yaml:"scale"` // of the confidence: the number that means certain; 0 is 100
	Evidence   string                  `yaml:"evidence"`
	Status     string                  `yaml:"status"` // online or offline
	RoleIn     string                  `yaml:"role_column"`
	Roles      map[string]observe.Role `yaml:"roles"`     // by the value of that column
	Columns    []string                `yaml:"columns"`   // of a table without a header
	Comma      string                  `yaml:"delimiter"` // "" is a comma
	Comment    string                  `yaml:"comment"`   // what lines to be passed over begin with; "" is #

	tags   string // abuse.ch: words, the family may be among them
	typed  string // ThreatFox: ip:port, domain, url, …
	family func(string) string
	role   observe.Role // of all rows
}

// Check says what is missing or wrong.
func (m *Mapping) Check() error {
	switch {
	case m.Value == "":
		return errors.New("a mapping names the column of the value")
	case len(m.Comma) > 1 || m.Comma == `"` || m.Comma == "\n":
		return fmt.Errorf("a mapping's delimiter is one byte and no quote, not %q", m.Comma)
	case m.Kind != "" && !slices.Contains(kinds, m.Kind):
		return fmt.Errorf("a mapping's kind %q isn't known: use %s", m.Kind, named(kinds))
	case m.Kind != "" && m.KindIn != "":
		return errors.New("a mapping has a kind for all values, or a column of kinds")
	case (m.RoleIn == "") != (len(m.Roles) == 0):
		return errors.New("a mapping's role_column and roles go together")
	case m.Scale < 0:
		return fmt.Errorf("a mapping's scale is the number that means certain, above 0, not %v", m.Scale)
	}
	for _, r := range m.Roles {
		if !slices.Contains(roles, r) {
			return fmt.Errorf("role %q isn't known: use %s", r, named(roles))
		}
	}
	return nil
}

var kinds = []observe.IndicatorKind{observe.IndicatorName, observe.IndicatorHost, observe.IndicatorAddress, observe.IndicatorEndpoint, observe.IndicatorPrefix, observe.IndicatorURL}

// threats are ThreatFox' types of threat (threatfox.abuse.ch/api).
var threats = map[string]observe.Role{
	"botnet_cc": observe.RoleC2, "payload_delivery": observe.RoleDistribution, "payload": observe.RoleOther, "cc_skimming": observe.RoleOther,
}

// known are the tables whose columns their makers document; all times in them are UTC.
var known = map[Format]Mapping{
	URLhaus:   {Value: "url", Kind: observe.IndicatorURL, First: "dateadded", Last: "last_online", Status: "url_status", Evidence: "urlhaus_link", tags: "tags", role: observe.RoleDistribution},
	Feodo:     {Value: "dst_ip", Port: "dst_port", First: "first_seen_utc", Last: "last_online", Status: "c2_status", Family: "malware", role: observe.RoleC2},
	ThreatFox: {Value: "ioc_value", typed: "ioc_type", First: "first_seen_utc", Last: "last_seen_utc", Family: "malware_printable", Confidence: "confidence_level", Evidence: "reference", RoleIn: "threat_type", Roles: threats},
	Bambenek:  {Value: "value", Columns: []string{"value", "description", "time", "manual"}, Family: "description", Last: "time", Evidence: "manual", family: bambenek, role: observe.RoleC2},
}

// bambenek finds the family in a description: "Domain used by Cryptolocker - Flashback
// DGA for 10 Nov 2016". Of several names for one malware it takes the first.
func bambenek(s string) string {
	_, s, ok := strings.Cut(s, " used by ")
	if !ok {
		return ""
	}
	s, _, _ = strings.Cut(s, " DGA for ")
	s, _, _ = strings.Cut(s, " - ")
	s, _, _ = strings.Cut(s, "/")
	return strings.TrimSuffix(s, " C&C")
}

// columns are where the parts of a row stand; -1 nowhere.
type columns struct {
	value, port, family, first, last, until, confidence, evidence, status, role, tags, typed, kind int
}

func (m *Mapping) columns(names []string) (c columns, missing string) {
	find := func(name string) int {
		if name == "" {
			return -1
		}
		i := slices.Index(names, strings.ToLower(name))
		if i < 0 && missing == "" {
			missing = name
		}
		return i
	}
	c = columns{
		find(m.Value), find(m.Port), find(m.Family), find(m.First), find(m.Last), find(m.Until), find(m.Confidence),
		find(m.Evidence), find(m.Status), find(m.RoleIn), find(m.tags), find(m.typed), find(m.KindIn),
	}
	return c, missing
}

// table reads a table. Its header is the first row, or a comment that names the column
// of the value: abuse.ch writes it so.
func (j *job) table(format Format, r io.Reader) error {
	m, zone := j.Mapping, j.Zone
	if format != CSV {
		k := known[format]
		m, zone = &k, time.UTC
	}
	in := &reading.Rows{Lines: *reading.NewLines(r, j.MaxLine), Comma: ',', Blank: true}
	if m.Comma != "" {
		in.Comma = m.Comma[0]
	}
	sign := m.Comment
	if sign == "" {
		sign = "#"
	}
	var c columns
	ready := false
	if len(m.Columns) > 0 {
		names := make([]string, len(m.Columns))
		for i, n := range m.Columns {
			names[i] = strings.ToLower(n)
		}
		var missing string
		if c, missing = m.columns(names); missing != "" {
			return reading.Damaged(nil, "対応表の columns に "+missing+" がありません", "the mapping's columns don't have "+missing+", which it names")
		}
		ready, in.Width, in.Skip = true, len(names), sign
	}
	for {
		rw, err := in.Next()
		if errors.Is(err, io.EOF) {
			if !ready {
				return noHeader(m)
			}
			return nil
		}
		if err != nil {
			return err
		}
		if said, ok := strings.CutPrefix(rw.Raw, sign); ok {
			if !ready {
				if c, ready = m.header(said, in.Comma); ready {
					in.Width, in.Skip = 1+strings.Count(said, string(in.Comma)), sign
				}
			}
			continue
		}
		if !ready {
			if c, ready = m.header(rw.Raw, in.Comma); !ready {
				return noHeader(m)
			}
			in.Width, in.Skip = len(rw.Fields), sign
			continue
		}
		if rw.Why != reading.Fine {
			j.bad(rw.Line, because[rw.Why])
			continue
		}
		if err := j.row(m, &c, &rw, zone); err != nil {
			return err
		}
	}
}

func noHeader(m *Mapping) error {
	return reading.Damaged(nil, "見出しに列 "+m.Value+" などがありません", "there is no header with the column "+m.Value+" and the others that are needed")
}

// header reads the names of the columns, if they stand in a line.
func (m *Mapping) header(text string, comma byte) (columns, bool) {
	fields := strings.Split(strings.ToLower(strings.TrimPrefix(text, "\ufeff")), string(comma))
	for i, f := range fields {
		fields[i] = strings.Trim(strings.TrimSpace(f), `"`)
	}
	c, missing := m.columns(fields)
	return c, missing == ""
}

// row makes an indicator of a row.
func (j *job) row(m *Mapping, c *columns, rw *reading.Row, zone *time.Location) error {
	field := func(i int) string {
		if i < 0 || i >= len(rw.Fields) {
			return ""
		}
		return strings.TrimSpace(rw.Fields[i])
	}
	if c.value >= len(rw.Fields) {
		j.bad(rw.Line, tooFew)
		return nil
	}
	in := j.begin(rw.Line)
	in.Role = m.role
	kind := m.Kind
	why := fine
	if m.typed != "" {
		kind, why = typed(field(c.typed))
	}
	if c.kind >= 0 {
		if kind = observe.IndicatorKind(strings.ToLower(field(c.kind))); !slices.Contains(kinds, kind) {
			why = notNetwork
		}
	}
	for _, t := range []struct {
		column int
		into   *time.Time
	}{{c.first, &in.First}, {c.last, &in.Last}, {c.until, &in.Until}} {
		if why == fine && t.column >= 0 {
			*t.into, why = when(field(t.column), zone)
		}
	}
	if why == fine && c.confidence >= 0 {
		in.Confidence, why = share(field(c.confidence), m.Scale)
	}
	if why != fine {
		j.bad(rw.Line, why)
		return nil
	}
	if c.role >= 0 {
		in.Role = m.Roles[field(c.role)]
	}
	if c.family >= 0 {
		f := field(c.family)
		if m.family != nil {
			f = m.family(f)
		}
		in.Family = reading.Family(f)
	}
	if c.tags >= 0 {
		in.Family = among(strings.Split(field(c.tags), ","))
	}
	if e := field(c.evidence); c.evidence >= 0 && !reading.Nothing(e) {
		in.Evidence = reading.Clean(e)
	}
	in.Online = online(field(c.status))
	value := field(c.value)
	if p := field(c.port); c.port >= 0 && !reading.Nothing(p) {
		value, kind = withPort(value, p), observe.IndicatorEndpoint
	}
	return j.take(value, kind)
}

// withPort joins an address and a port.
func withPort(host, port string) string {
	if strings.IndexByte(host, ':') >= 0 && host[0] != '[' {
		return "[" + host + "]:" + port
	}
	return host + ":" + port
}

// among finds the family among words; two of them are none.
func among(tags []string) (family string) {
	for _, t := range tags {
		if !reading.IsFamily(t) {
			continue
		}
		f := reading.Family(t)
		if family != "" && f != family {
			return ""
		}
		family = f
	}
	return family
}

func online(s string) *bool {
	switch strings.ToLower(s) {
	case "online":
		yes := true
		return &yes
	case "offline":
		no := false
		return &no
	}
	return nil
}

// when reads a time that may be missing.
func when(s string, zone *time.Location) (time.Time, Reason) {
	t, _, fault := reading.When(s, zone)
	return t, because[fault]
}

// share reads a confidence as a part of one; scale 0 is 100.
func share(s string, scale float64) (float64, Reason) {
	if reading.Nothing(s) {
		return 0, fine
	}
	if scale == 0 {
		scale = 100
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0 && f <= scale) { // also what isn't a number
		return 0, badConfidence
	}
	return f / scale, fine
}

// typed is what ThreatFox calls a value.
func typed(s string) (observe.IndicatorKind, Reason) {
	switch s {
	case "ip:port":
		return observe.IndicatorEndpoint, fine
	case "domain":
		return observe.IndicatorName, fine
	case "url":
		return observe.IndicatorURL, fine
	case "ip":
		return observe.IndicatorAddress, fine
	}
	return "", notNetwork
}
