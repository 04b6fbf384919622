package indicator

import (
	"io"
	"slices"
	"strings"
	"time"

	"sakimori/observe"
	"sakimori/observe/feed/reading"
)

// object is one of STIX (STIX 2.1, OASIS 2021-06-10), as far as a list needs it.
type object struct {
	Type       text     `json:"type"`
	ID         text     `json:"id"`
	Modified   text     `json:"modified"`
	Name       text     `json:"name"`
	Pattern    text     `json:"pattern"`
	Language   text     `json:"pattern_type"`
	From       text     `json:"valid_from"`
	Until      text     `json:"valid_until"`
	Sure       text     `json:"confidence"`
	Revoked    text     `json:"revoked"`
	Kinds      []string `json:"indicator_types"`
	Labels     []string `json:"labels"`
	Infra      []string `json:"infrastructure_types"`
	Marks      []string `json:"object_marking_refs"`
	Phases     []phase  `json:"kill_chain_phases"`
	Relation   text     `json:"relationship_type"`
	Who        text     `json:"source_ref"`
	To         text     `json:"target_ref"`
	Of         text     `json:"sighting_of_ref"`
	Last       text     `json:"last_seen"`
	Marking    text     `json:"definition_type"`
	Says       tlpMark  `json:"definition"`
	References []struct {
		URL text `json:"url"`
	} `json:"external_references"`
	line int
}

type phase struct {
	Name string `json:"phase_name"`
}

type tlpMark struct {
	TLP text `json:"tlp"`
}

// bundle is what the objects of a file say of each other.
type bundle struct {
	*job
	indicators []object
	newest     map[text]int          // of indicators, by id
	names      map[text]string       // of malware
	serve      map[text]observe.Role // of infrastructure
	marks      map[text]string       // TLP
	refer      map[text][]text       // from an indicator to what it indicates
	seen       map[text]time.Time    // last, of an indicator
}

// TLP of STIX 2.1, whose objects nobody needs to send (section 7.2.1.4).
var marks = map[text]string{
	"marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9": "TLP:WHITE",
	"marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da": "TLP:GREEN",
	"marking-definition--f88d31f6-486f-44da-b317-01333bde0b82": "TLP:AMBER",
	"marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed": "TLP:RED",
}

// stix reads a bundle, or an envelope of TAXII: an object with "objects". What refers to
// each other may stand in any order, so the file is held in memory as far as it counts.
func (j *job) stix(r io.Reader) error {
	d := newDocument(&limited{r, maxDocument}, j.MaxMessage)
	b := &bundle{
		job: j, newest: map[text]int{}, names: map[text]string{}, serve: map[text]observe.Role{},
		marks: map[text]string{}, refer: map[text][]text{}, seen: map[text]time.Time{},
	}
	stranger := false
	err := d.each(func(name string) error {
		switch name {
		case "objects":
			stranger = false
		case "type", "id", "spec_version", "more", "next": // an envelope may have no objects
			return d.skip()
		default:
			stranger = true
			return d.skip()
		}
		return d.each(func(string) error {
			o := object{line: d.line()}
			ok, err := d.decode(&o)
			switch {
			case err != nil:
				return err
			case !ok && o.Type == "indicator":
				j.bad(o.line, notJSON)
			case ok:
				b.learn(&o)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	if stranger && len(b.indicators) == 0 {
		return reading.Damaged(nil, "STIX の objects がありません", "there are no objects of STIX in it")
	}
	for i := range b.indicators {
		if err := b.tell(i); err != nil {
			return err
		}
	}
	return nil
}

// limited refuses a document that is too large to be held.
type limited struct {
	in   io.Reader
	left int64
}

func (l *limited) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, reading.Damaged(nil, "JSON の文書が大きすぎます。分割してください", "the document of JSON is too large: send it in parts")
	}
	n, err := l.in.Read(b[:min(int64(len(b)), l.left)])
	l.left -= int64(n)
	return n, err //nolint:wrapcheck // io.Reader's own contract
}

// learn keeps what an object says.
func (b *bundle) learn(o *object) {
	switch o.Type {
	case "indicator":
		if i, ok := b.newest[o.ID]; ok && o.ID != "" {
			older := o
			if was := &b.indicators[i]; was.Modified < o.Modified { // RFC 3339 in UTC: the order of the words is that of the times
				older, b.indicators[i] = &object{line: was.line}, *o
			}
			b.bad(older.line, superseded)
			return
		}
		b.newest[o.ID] = len(b.indicators)
		b.indicators = append(b.indicators, *o)
	case "malware", "tool":
		b.names[o.ID] = reading.Family(string(o.Name))
	case "infrastructure":
		b.serve[o.ID] = infrastructure(o.Infra)
	case "marking-definition":
		if o.Marking == "tlp" && o.Says.TLP != "" {
			b.marks[o.ID] = strings.ToUpper("TLP:" + reading.Clean(string(o.Says.TLP)))
		}
	case "relationship":
		if o.Relation == "indicates" || o.Relation == "based-on" {
			b.refer[o.Who] = append(b.refer[o.Who], o.To)
		}
	case "sighting":
		if at, _ := when(string(o.Last), time.UTC); at.After(b.seen[o.Of]) {
			b.seen[o.Of] = at
		}
	}
}

// infrastructure is the role of STIX' infrastructure-type-ov.
func infrastructure(kinds []string) observe.Role {
	for _, k := range kinds {
		switch k {
		case "command-and-control", "botnet":
			return observe.RoleC2
		case "hosting-malware", "staging":
			return observe.RoleDistribution
		case "phishing":
			return observe.RolePhishing
		case "reconnaissance":
			return observe.RoleScanner
		}
	}
	return ""
}

// tell hands out what an indicator's pattern names.
func (b *bundle) tell(i int) error {
	o := &b.indicators[i]
	switch {
	case slices.Contains(o.Kinds, "benign"):
		b.bad(o.line, benign)
		return nil
	case o.Language != "" && o.Language != "stix":
		b.bad(o.line, unknownPattern)
		return nil
	}
	first, why := when(string(o.From), time.UTC)
	var until time.Time
	if why == fine {
		until, why = when(string(o.Until), time.UTC)
	}
	var confidence float64
	if why == fine {
		confidence, why = share(string(o.Sure), 100)
	}
	if why != fine {
		b.bad(o.line, why)
		return nil
	}
	// What its source took back isn't valid any more: whoever has it lets it go.
	if at, _ := when(string(o.Modified), time.UTC); o.Revoked.yes() && (until.IsZero() || at.Before(until)) {
		until = at
	}
	family, role := b.what(o)
	alone := slices.Contains(o.Labels, `misp:type="hostname"`) // as MISP's bundles tell it from a domain
	for _, p := range pattern(string(o.Pattern)) {
		if p.why != fine {
			b.bad(o.line, p.why)
			continue
		}
		in := b.begin(o.line)
		in.First, in.Last, in.Until, in.Confidence = first, b.seen[o.ID], until, confidence
		in.Family, in.Role = family, role
		in.Evidence = reading.Clean(evidence(string(o.ID), b.tlp(o)))
		if alone && p.kind == observe.IndicatorName {
			p.kind = observe.IndicatorHost
		}
		if err := b.take(p.value, p.kind); err != nil {
			return err
		}
	}
	return nil
}

// what is the family that an indicator indicates, if it is one, and what it serves.
func (b *bundle) what(o *object) (family string, role observe.Role) {
	several := false
	for _, to := range b.refer[o.ID] {
		if f := b.names[to]; f != "" {
			several = several || family != "" && family != f
			family = f
		}
		if r := b.serve[to]; r != "" {
			role = r
		}
	}
	switch {
	case several:
		family = ""
	case family == "":
		family = malware(nil, o.Labels) // tags, as MISP's bundles have them
	}
	for _, p := range o.Phases {
		if strings.Contains(strings.ToLower(p.Name), "command-and-control") {
			role = observe.RoleC2
		}
	}
	if role == "" {
		role = serves(lowered(o.Labels), "")
	}
	return family, role
}

func lowered(list []string) []string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strings.ToLower(s)
	}
	return out
}

// tlp is how far an indicator may be told.
func (b *bundle) tlp(o *object) string {
	for _, ref := range o.Marks {
		if m := b.marks[text(ref)]; m != "" {
			return m
		}
		if m := marks[text(ref)]; m != "" {
			return m
		}
	}
	return ""
}
