package feed

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"sakimori/observe"
	"sakimori/observe/feed/reading"
)

// objects reads JSON objects, one report each.
func (j *job) objects(r io.Reader) error {
	in := reading.NewValues(r, j.MaxMessage)
	for {
		text, line, fault, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		why := because[fault]
		if why == fine {
			if why, err = j.object([]byte(text), line); err != nil {
				return err
			}
		}
		if why != fine {
			j.bad(line, why)
		}
	}
}

// object makes a report of one object.
func (j *job) object(text []byte, line int) (Reason, error) {
	rec, why := flatten(text)
	if why != fine {
		return why, nil
	}
	switch {
	case j.Format == NDJSON:
		return j.mapped(rec, text, line)
	case j.Format == IntelMQ:
		return j.intelmq(rec, text, line)
	case rec.see("xarf_version") != "" || rec.see("source_identifier") != "":
		return j.xarf4(rec, text, line)
	}
	return j.xarf3(rec, text, line)
}

const (
	deepest   = 16   // levels of nested objects
	mostParts = 2000 // values of an object
	mostName  = 1024 // bytes of the way to a value
)

// flatten gives the values of an object with the way to them: {"source": {"ip": …}}
// becomes source.ip, the second of a list name.1. In order of their names; what is
// empty or null is left out.
func flatten(text []byte) (*record, Reason) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var top any
	if err := d.Decode(&top); err != nil || d.InputOffset() != int64(len(text)) {
		return nil, notJSON
	}
	if _, ok := top.(map[string]any); !ok {
		return nil, notObject
	}
	rec := &record{}
	if !rec.add("", top, 0) {
		return nil, notObject
	}
	slices.SortStableFunc(rec.fields, func(a, b observe.Field) int { return strings.Compare(a.Name, b.Name) })
	return rec, fine
}

func (r *record) add(name string, v any, depth int) bool {
	if depth > deepest || len(r.fields) > mostParts || len(name) > mostName {
		return false
	}
	dot := name
	if name != "" {
		dot += "."
	}
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if !r.add(dot+k, e, depth+1) {
				return false
			}
		}
	case []any:
		for i, e := range v {
			if !r.add(dot+strconv.Itoa(i), e, depth+1) {
				return false
			}
		}
	case string:
		if v != "" {
			r.fields = append(r.fields, observe.Field{Name: reading.Clean(name), Value: reading.Clean(v)})
		}
	case json.Number:
		r.fields = append(r.fields, observe.Field{Name: reading.Clean(name), Value: v.String()})
	case bool:
		r.fields = append(r.fields, observe.Field{Name: reading.Clean(name), Value: strconv.FormatBool(v)})
	}
	return true
}

// claimed are the claims of X-ARF's types and of IntelMQ's, which follow the
// Reference Incident Classification Taxonomy (RSIT). Names are compared without
// case, and without what isn't a letter or digit. Whatever isn't here, and a type
// that only says what somebody thinks of an address (blacklist, tor), claims
// nothing.
var claimed = map[string]observe.Claim{
	"botnet": observe.ClaimInfected, "zombie": observe.ClaimInfected, "infectedsystem": observe.ClaimInfected,
	"infectedhost": observe.ClaimInfected, "bot": observe.ClaimInfected,

	"bruteforce": observe.ClaimAttacking, "loginattack": observe.ClaimAttacking, "authfailure": observe.ClaimAttacking,
	"portscan": observe.ClaimAttacking, "scanner": observe.ClaimAttacking, "reconnaissance": observe.ClaimAttacking,
	"vulnscanning": observe.ClaimAttacking, "vulnerabilityscan": observe.ClaimAttacking, "ddos": observe.ClaimAttacking,
	"dos": observe.ClaimAttacking, "exploit": observe.ClaimAttacking, "sqlinjection": observe.ClaimAttacking,
	"webhack": observe.ClaimAttacking, "malwareattack": observe.ClaimAttacking, "idsalert": observe.ClaimAttacking,

	"spam": observe.ClaimSpamming, "bulkmessaging": observe.ClaimSpamming,

	"ddosamplifier": observe.ClaimExposed, "ddosamplification": observe.ClaimExposed, "openservice": observe.ClaimExposed,
	"open": observe.ClaimExposed, "misconfiguration": observe.ClaimExposed, "vulnerablesystem": observe.ClaimExposed,
	"potentiallyunwantedaccessible": observe.ClaimExposed, "informationdisclosure": observe.ClaimExposed,
	"weakcrypto": observe.ClaimExposed, "cve": observe.ClaimExposed,

	"c2server": observe.ClaimHosting, "malwaredistribution": observe.ClaimHosting, "malwareconfiguration": observe.ClaimHosting,
	"malware": observe.ClaimHosting, "phishing": observe.ClaimHosting, "compromisedserver": observe.ClaimHosting,
	"compromisedwebsite": observe.ClaimHosting, "remotecompromise": observe.ClaimHosting,
}

func claimOf(typ string) observe.Claim {
	if c, ok := claimed[letters(typ)]; ok {
		return c
	}
	return observe.ClaimOther
}

// letters are the letters and digits of a name, in lower case.
func letters(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			return c
		}
		return -1
	}, s)
}

// serves tells whether the port that is named beside the address is the one that
// answers there, and not the one that it sent from.
func serves(c observe.Claim) bool { return c == observe.ClaimExposed || c == observe.ClaimHosting }

// xarf4 reads a report of X-ARF v4 (github.com/xarf/xarf-spec, 4.2.0). Its
// timestamp is when the incident occurred. source_identifier may be a domain or a
// URL; then it names no address, and none is looked for.
func (j *job) xarf4(rec *record, raw []byte, line int) (Reason, error) {
	category, typ := rec.take("category"), rec.take("type")
	if category == "" {
		category = rec.take("class") // drafts of 4.0
	}
	rep := &observe.Report{Type: reading.Clean(category + "/" + typ), Claim: claimOf(typ), Raw: raw}
	switch letters(category) {
	case "reputation", "copyright":
		rep.Claim = observe.ClaimOther
	case "connection":
		// These are also crawlers, well-behaved ones among them.
		if t := letters(typ); (t == "bot" || t == "infectedhost") && rec.see("bot_type") != "" && rec.see("bot_type") != "malicious" {
			rep.Claim = observe.ClaimOther
		}
	}
	t := told{address: rec.take("source_identifier"), time: rec.take("timestamp"), proto: rec.see("protocol"), family: rec.take("malware_family")}
	if serves(rep.Claim) {
		if t.service = rec.take("service_port"); t.service == "" {
			t.service = rec.take("port")
		}
		if t.service == "" {
			t.service = rec.take("source_port")
		}
	} else {
		t.port, t.service = rec.take("source_port"), rec.take("destination_port")
	}
	return j.finish(rep, rec, &t, "protocol", line)
}

// xarf3 reads a report of X-ARF v1 to v3 in JSON, whose properties are written in
// several ways.
func (j *job) xarf3(rec *record, raw []byte, line int) (Reason, error) {
	first := func(names ...string) string {
		for _, n := range names {
			if v := rec.take("Report." + n); v != "" {
				return v
			}
		}
		return ""
	}
	class, typ := first("ReportClass"), first("ReportType")
	rep := &observe.Report{Type: strings.Trim(class+"/"+typ, "/"), Claim: claimOf(typ), Raw: raw}
	if strings.EqualFold(first("Test"), "true") {
		rep.Claim = observe.ClaimOther // somebody tries out his programs
	}
	t := told{
		address: first("SourceIp", "Source.IP"), time: first("Date"), family: first("AdditionalInfo.MalwareFamily", "Malware"),
		proto: rec.see("Report.AdditionalInfo.Protocol"),
	}
	if serves(rep.Claim) {
		t.service = first("SourcePort", "Source.Port")
	} else {
		t.port, t.service = first("SourcePort", "Source.Port"), first("DestinationPort", "AdditionalInfo.DestinationPort")
	}
	return j.finish(rep, rec, &t, "Report.AdditionalInfo.Protocol", line)
}

// intelmq reads an event of IntelMQ 2 and 3 (docs.intelmq.org, Event), flat or
// nested.
func (j *job) intelmq(rec *record, raw []byte, line int) (Reason, error) {
	typ := rec.take("classification.type")
	rep := &observe.Report{Type: typ, Claim: claimOf(typ), Raw: raw}
	if strings.EqualFold(rec.see("classification.taxonomy"), "test") {
		rep.Claim = observe.ClaimOther
	}
	id := strings.ToLower(rec.see("classification.identifier"))
	if strings.Contains(id, "victim") || strings.Contains(id, "target") {
		rep.Claim = observe.ClaimOther // source.ip is the one who suffered
	}
	t := told{address: rec.take("source.ip"), time: rec.take("time.source"), family: rec.take("malware.name"), proto: rec.see("protocol.transport")}
	if serves(rep.Claim) {
		t.service = rec.take("source.port")
	} else {
		t.port, t.service = rec.take("source.port"), rec.take("destination.port")
	}
	rep.Mediated = resolver(rec, id, rep.Claim, t.service)
	return j.finish(rep, rec, &t, "protocol.transport", line)
}

// resolver tells whether an event of IntelMQ was seen through a resolver: a
// sinkhole's DNS report by its name (certtools/intelmq #1716), a DNS hit of
// AnubisNetworks (#902), or an infection that was seen as a question on port 53.
func resolver(rec *record, id string, claim observe.Claim, service string) bool {
	for _, name := range []string{id, strings.ToLower(rec.see("feed.name")), strings.ToLower(rec.see("feed.code"))} {
		if strings.Contains(name, "sinkhole") && strings.Contains(name, "dns") {
			return true
		}
	}
	for _, origin := range []string{"extra._origin", "extra.origin"} {
		if strings.EqualFold(rec.see(origin), "dnsmalware") {
			return true
		}
	}
	return claim == observe.ClaimInfected && (service == "53" || strings.EqualFold(rec.see("protocol.application"), "dns"))
}

// finish fills a report in and hands it out; proto names the field of the protocol,
// which stays one when it isn't a protocol over IP.
func (j *job) finish(rep *observe.Report, rec *record, t *told, proto string, line int) (Reason, error) {
	why, understood := j.fill(rep, t, j.Zone)
	if why != fine {
		return why, nil
	}
	if understood {
		rec.take(proto)
	}
	rep.Fields = rec.rest()
	return fine, j.good(rep, line)
}
