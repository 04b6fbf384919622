package indicator

import (
	"encoding/json"
	"io"
	"strings"
	"time"

	"sakimori/observe"
	"sakimori/observe/feed/reading"
)

// record is an entry of abuse.ch's JSON: of Feodo Tracker, of ThreatFox' export, and of
// its API, whose names differ.
type record struct {
	Address text `json:"ip_address"`
	Port    text `json:"port"`
	Status  text `json:"status"`
	Malware text `json:"malware"`
	Online  text `json:"last_online"`

	ID         text            `json:"id"`
	Value      text            `json:"ioc_value"`
	IOC        text            `json:"ioc"`
	Type       text            `json:"ioc_type"`
	Threat     text            `json:"threat_type"`
	Printable  text            `json:"malware_printable"`
	First      text            `json:"first_seen"`
	FirstUTC   text            `json:"first_seen_utc"`
	Last       text            `json:"last_seen"`
	LastUTC    text            `json:"last_seen_utc"`
	Confidence text            `json:"confidence_level"`
	Reference  text            `json:"reference"`
	Tags       json.RawMessage `json:"tags"` // words, or a list of them
}

// records reads JSON of abuse.ch: a list of entries, lists by their number, or an answer
// of the API with the list under "data".
func (j *job) records(format Format, r io.Reader) error {
	d := newDocument(r, j.MaxMessage)
	entry := func(string) error {
		line := d.line()
		var rec record
		switch ok, err := d.decode(&rec); {
		case err != nil:
			return err
		case !ok:
			j.bad(line, notJSON)
			return nil
		case format == Feodo:
			return j.feodo(&rec, line)
		}
		return j.threatfox(&rec, line)
	}
	t, err := d.token()
	if err != nil {
		return err
	}
	if t == json.Delim('[') {
		return d.within(t, entry)
	}
	return d.within(t, func(name string) error {
		t, err := d.token()
		if err != nil {
			return err
		}
		if t == json.Delim('[') {
			return d.within(t, entry)
		}
		if said, ok := t.(string); ok && name == "query_status" && said != "ok" && said != "no_result" {
			said = reading.Clean(said)
			return reading.Damaged(nil, "ThreatFox が要求を受け付けませんでした: "+said, "ThreatFox refused: "+said)
		}
		return d.within(t, func(string) error { return d.skip() })
	})
}

func (j *job) feodo(rec *record, line int) error {
	in := j.begin(line)
	in.Role, in.Family, in.Online = observe.RoleC2, reading.Family(string(rec.Malware)), online(string(rec.Status))
	var why Reason
	if in.First, why = when(string(rec.First), time.UTC); why == fine {
		in.Last, why = when(string(rec.Online), time.UTC)
	}
	if why != fine {
		j.bad(line, why)
		return nil
	}
	if rec.Port == "" || rec.Port == "0" || rec.Address == "" {
		return j.take(string(rec.Address), observe.IndicatorAddress)
	}
	return j.take(withPort(string(rec.Address), string(rec.Port)), observe.IndicatorEndpoint)
}

func (j *job) threatfox(rec *record, line int) error {
	in := j.begin(line)
	in.Role = threats[string(rec.Threat)]
	in.Family = reading.Family(string(rec.Printable))
	if in.Family == "unknown malware" {
		in.Family = ""
	}
	kind, why := typed(string(rec.Type))
	begin, end := either(rec.FirstUTC, rec.First), either(rec.LastUTC, rec.Last)
	if why == fine {
		in.First, why = when(string(begin), time.UTC)
	}
	if why == fine {
		in.Last, why = when(string(end), time.UTC)
	}
	if why == fine {
		in.Confidence, why = share(string(rec.Confidence), 100)
	}
	if why != fine {
		j.bad(line, why)
		return nil
	}
	in.Evidence = reading.Clean(string(rec.Reference))
	if in.Evidence == "" && rec.ID != "" {
		in.Evidence = "threatfox " + reading.Clean(string(rec.ID))
	}
	in.Sinkholed = strings.Contains(strings.ToLower(string(rec.Tags)), "sinkhole")
	return j.take(string(either(rec.Value, rec.IOC)), kind)
}

// either is a, or b where a isn't told.
func either(a, b text) text {
	if a != "" {
		return a
	}
	return b
}
