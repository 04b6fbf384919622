package indicator

import (
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"sakimori/observe"
	"sakimori/observe/feed/reading"
)

// attribute is one of MISP's (MISP core format, draft-16): a value and what it is.
type attribute struct {
	UUID      text      `json:"uuid"`
	Type      text      `json:"type"`
	Category  text      `json:"category"`
	Value     text      `json:"value"`
	Detect    text      `json:"to_ids"`
	Deleted   text      `json:"deleted"`
	Timestamp text      `json:"timestamp"`
	First     text      `json:"first_seen"`
	Last      text      `json:"last_seen"`
	Tag       []tag     `json:"Tag"`
	Galaxy    []galaxy  `json:"Galaxy"`
	Sighting  []sighted `json:"Sighting"`
	Decay     []decay   `json:"decay_score"`
	line      int
}

type tag struct {
	Name text `json:"name"`
}

type galaxy struct {
	Type    text `json:"type"`
	Cluster []struct {
		Value text `json:"value"`
	} `json:"GalaxyCluster"`
}

type sighted struct {
	Type text `json:"type"` // 0 seen, 1 a false positive, 2 over
	Date text `json:"date_sighting"`
}

type decay struct {
	Score   text `json:"score"` // 0 to 100
	Decayed text `json:"decayed"`
}

// event is what an event says of all its attributes.
type event struct {
	uuid, info text
	tags       []tag
	galaxies   []galaxy
	attributes []attribute
}

// misp reads events: one, alone or under "Event", a list of them, or an answer of the
// API with the list under "response". An event is held in memory, as what it says of all
// may stand behind them; no other is.
func (j *job) misp(r io.Reader) error {
	d := newDocument(&limited{r, maxDocument}, j.MaxMessage)
	found := false
	if err := j.events(d, &found); err != nil {
		return err
	}
	if !found {
		return reading.Damaged(nil, "MISP のイベントがありません", "there is no event of MISP's in it")
	}
	return nil
}

// events reads what comes next: an event, or something around events.
func (j *job) events(d *document, found *bool) error {
	t, err := d.token()
	if err != nil {
		return err
	}
	if t == json.Delim('[') {
		return d.within(t, func(string) error { return j.events(d, found) })
	}
	var e event
	if err := d.within(t, func(name string) error { return j.part(d, &e, name, found) }); err != nil {
		return err
	}
	return j.tell(&e)
}

// part reads one member of an event, or of what is around events.
func (j *job) part(d *document, e *event, name string, found *bool) (err error) {
	switch name {
	case "Event", "response":
		return j.events(d, found)
	case "Attribute":
		*found = true
		return d.each(func(string) error { return e.attribute(j, d) })
	case "Object":
		*found = true
		return d.each(func(string) error {
			return d.each(func(name string) error {
				if name == "Attribute" {
					return d.each(func(string) error { return e.attribute(j, d) })
				}
				return d.skip()
			})
		})
	case "Tag":
		_, err = d.decode(&e.tags)
	case "Galaxy":
		_, err = d.decode(&e.galaxies)
	case "uuid":
		_, err = d.decode(&e.uuid)
	case "info":
		_, err = d.decode(&e.info)
	default:
		return d.skip()
	}
	return err
}

func (e *event) attribute(j *job, d *document) error {
	a := attribute{line: d.line()}
	ok, err := d.decode(&a)
	switch {
	case err != nil:
		return err
	case !ok:
		j.bad(a.line, notJSON)
	default:
		e.attributes = append(e.attributes, a)
	}
	return nil
}

// tell hands out what an event lists.
func (j *job) tell(e *event) error {
	common := wordsOf(e.tags)
	family := malware(e.galaxies, common)
	for i := range e.attributes {
		a := &e.attributes[i]
		if err := j.attribute(e, a, common, family); err != nil {
			return err
		}
	}
	return nil
}

// attribute makes indicators of an attribute.
func (j *job) attribute(e *event, a *attribute, common []string, family string) error {
	parts, why := valued(string(a.Type), string(a.Value))
	seen, until, doubted := sightings(a.Sighting)
	switch {
	case why != fine:
	case a.Deleted.yes():
		why = deleted
	case !a.Detect.yes():
		why = notDetection
	case doubted:
		why = falsePositive
	case slices.ContainsFunc(a.Decay, func(d decay) bool { return d.Decayed.yes() }):
		why = decayed
	}
	if why != fine {
		j.bad(a.line, why)
		return nil
	}
	own := wordsOf(a.Tag)
	said := slices.Concat(own, common)
	for _, p := range parts {
		in := j.begin(a.line)
		if in.First, why = when(string(a.First), time.UTC); why == fine {
			in.Last, why = when(string(a.Last), time.UTC)
		}
		if why != fine {
			j.bad(a.line, why)
			continue
		}
		if in.First.IsZero() { // when it was last edited is the least that is known
			in.First, _ = when(string(a.Timestamp), time.UTC)
		}
		if seen.After(in.Last) {
			in.Last = seen
		}
		in.Until = until
		if in.Family = malware(a.Galaxy, own); in.Family == "" {
			in.Family = family
		}
		in.Role, in.Confidence = serves(said, string(a.Category)), sure(a.Decay, said)
		in.Sinkholed = slices.ContainsFunc(said, func(w string) bool { return strings.Contains(w, "sinkhole") })
		in.Evidence = reading.Clean(evidence("MISP event "+string(e.uuid)+" attribute "+string(a.UUID), tlp(said)))
		if err := j.take(p.value, p.kind); err != nil {
			return err
		}
	}
	return nil
}

// part of an attribute's value.
type partly struct {
	value string
	kind  observe.IndicatorKind
}

// valued says what the types of attributes on the network hold. An address from which
// something came (ip-src) is as good as one to which it went.
func valued(typ, value string) ([]partly, Reason) {
	left, right, both := strings.Cut(value, "|")
	switch typ {
	case "domain":
		return []partly{{value, observe.IndicatorName}}, fine
	case "hostname":
		return []partly{{value, observe.IndicatorHost}}, fine
	case "ip-dst", "ip-src":
		return []partly{{value, observe.IndicatorAddress}}, fine
	case "url", "uri", "link":
		return []partly{{value, observe.IndicatorURL}}, fine
	case "ip-dst|port", "ip-src|port":
		if !both {
			left, right, _ = strings.Cut(value, ":")
		}
		return []partly{{withPort(strings.TrimSpace(left), strings.TrimSpace(right)), observe.IndicatorEndpoint}}, fine
	case "hostname|port":
		return []partly{{left, observe.IndicatorHost}}, fine
	case "domain|ip": // what the name led to may be somebody else's too
		return []partly{{left, observe.IndicatorName}}, fine
	}
	return nil, notNetwork
}

// sightings are when it was last seen, since when it is over, and whether more people
// doubt it than saw it.
func sightings(list []sighted) (seen, until time.Time, doubted bool) {
	saw := 0
	for _, s := range list {
		at, _ := when(string(s.Date), time.UTC)
		switch s.Type {
		case "", "0":
			saw++
			if at.After(seen) {
				seen = at
			}
		case "1":
			saw--
		case "2":
			until = at
		}
	}
	return seen, until, saw < 0
}

func wordsOf(tags []tag) (out []string) {
	for _, t := range tags {
		out = append(out, strings.ToLower(string(t.Name)))
	}
	return out
}

// galaxies are MISP's collections whose clusters are names of malware.
var galaxies = []string{"malpedia", "tool", "botnet", "ransomware", "banker", "rat", "stealer", "backdoor", "android", "cryptominers", "mitre-malware", "mitre-enterprise-attack-malware", "mitre-mobile-attack-malware"}

// malware is the family that galaxies and tags name; several of them are none.
func malware(list []galaxy, tags []string) (family string) {
	one := func(s string) bool {
		s, _, _ = strings.Cut(s, " - S") // MITRE's number
		f := reading.Family(s)
		if family != "" && f != family {
			family = ""
			return false
		}
		family = f
		return true
	}
	for _, g := range list {
		if !slices.Contains(galaxies, string(g.Type)) {
			continue
		}
		for _, c := range g.Cluster {
			if !one(string(c.Value)) {
				return ""
			}
		}
	}
	for _, t := range tags {
		rest, ok := strings.CutPrefix(t, "misp-galaxy:")
		if !ok {
			continue
		}
		kind, value, _ := strings.Cut(rest, "=")
		if slices.Contains(galaxies, kind) && !one(strings.Trim(value, `"`)) {
			return ""
		}
	}
	return family
}

// serves is the role that tags of known taxonomies tell, or the category.
func serves(tags []string, category string) observe.Role {
	for _, t := range tags {
		switch {
		case strings.HasPrefix(t, "tlp:"):
		case strings.Contains(t, "command-and-control"), strings.Contains(t, "command and control"), strings.Contains(t, `"c2-server"`), strings.Contains(t, `"c&c"`), strings.Contains(t, `="c2"`), t == "c2", t == "c&c":
			return observe.RoleC2
		case strings.Contains(t, "phishing"):
			return observe.RolePhishing
		case strings.Contains(t, `="scanner"`):
			return observe.RoleScanner
		case strings.Contains(t, "malware-distribution"):
			return observe.RoleDistribution
		}
	}
	if strings.EqualFold(category, "Payload delivery") || strings.EqualFold(category, "Payload installation") {
		return observe.RoleDistribution
	}
	return ""
}

// certainty is MISP's taxonomy misp:confidence-level.
var certainty = map[string]float64{
	"completely-confident": 1, "usually-confident": 0.75, "fairly-confident": 0.5, "rarely-confident": 0.25,
}

// sure is the confidence that a decaying model or a tag tells; 0 neither.
func sure(list []decay, tags []string) float64 {
	for _, d := range list {
		if c, why := share(string(d.Score), 100); why == fine && c > 0 {
			return c
		}
	}
	for _, t := range tags {
		name, value, _ := strings.Cut(t, "=")
		value = strings.Trim(value, `"`)
		switch name {
		case "misp:confidence-level":
			return certainty[value]
		case "osint:certainty":
			if n, err := strconv.ParseUint(value, 10, 7); err == nil && n <= 100 {
				return float64(n) / 100
			}
		}
	}
	return 0
}

// tlp is how far something may be told; "" nothing is said.
func tlp(tags []string) string {
	for _, t := range tags {
		if strings.HasPrefix(t, "tlp:") {
			return strings.ToUpper(t)
		}
	}
	return ""
}

// evidence joins where something is explained and how far that may be told.
func evidence(where, tlp string) string {
	if tlp == "" {
		return where
	}
	return where + " (" + tlp + ")"
}
