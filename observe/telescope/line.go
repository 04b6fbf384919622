package telescope

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
)

// Lines write scanners as JSON, each as json.Marshal writes it, an order of
// magnitude faster: documents list a million. They remember the day they wrote last.
type Lines struct {
	day  int64 // since 1970
	date []byte
}

// Append appends one scanner to b.
func (l *Lines) Append(b []byte, s *Scanner) ([]byte, error) {
	var err error
	b = append(b, `{"source":`...)
	if z := s.Source.Zone(); z == "" {
		b = append(b, '"')
		b, _ = s.Source.AppendText(b) // never fails
		b = append(b, '"')
	} else if b, err = appendOther(b, s.Source); err != nil {
		return b, err
	}
	b = strconv.AppendUint(append(b, `,"port":`...), uint64(s.Port), 10)
	b = appendWord(append(b, `,"protocol":`...), s.Protocol)
	b = strconv.AppendUint(append(b, `,"packets":`...), s.Packets, 10)
	b = strconv.AppendUint(append(b, `,"targets":`...), s.Targets, 10)
	if b, err = appendShare(append(b, `,"targets_err":`...), s.TargetsErr); err != nil {
		return b, err
	}
	if b, err = appendShare(append(b, `,"coverage":`...), s.Coverage); err != nil {
		return b, err
	}
	b = appendWord(append(b, `,"tool":`...), s.Tool)
	b = appendWord(append(b, `,"tool_versions":`...), s.ToolVersions)
	b = strconv.AppendBool(append(b, `,"research":`...), s.Research)
	b = strconv.AppendBool(append(b, `,"maybe_victim":`...), s.MaybeVictim)
	if b, err = l.time(append(b, `,"first":`...), s.First); err != nil {
		return b, err
	}
	if b, err = l.time(append(b, `,"last":`...), s.Last); err != nil {
		return b, err
	}
	return append(b, '}'), nil
}

// AppendPort appends a port as json.MarshalIndent writes it in a list of a
// document that is indented by two spaces.
func AppendPort(b []byte, p *PortCount) ([]byte, error) {
	b = strconv.AppendUint(append(b, "    {\n      \"port\": "...), uint64(p.Port), 10)
	b = appendWord(append(b, ",\n      \"protocol\": "...), p.Protocol)
	b = strconv.AppendUint(append(b, ",\n      \"packets\": "...), p.Packets, 10)
	b = strconv.AppendUint(append(b, ",\n      \"sources\": "...), p.Sources, 10)
	b, err := appendShare(append(b, ",\n      \"sources_err\": "...), p.SourcesErr)
	return append(b, "\n    }"...), err
}

// appendWord appends a text; those of the house need no escapes.
func appendWord(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			b, _ = appendOther(b, s) // never fails for a string
			return b
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

// appendShare appends a number that is mostly zero, and never tiny or huge, where
// JSON's form differs from the plain one.
func appendShare(b []byte, f float64) ([]byte, error) {
	if a := math.Abs(f); a >= 1e-6 && a < 1e21 {
		return strconv.AppendFloat(b, f, 'f', -1, 64), nil
	}
	if f == 0 && !math.Signbit(f) {
		return append(b, '0'), nil
	}
	return appendOther(b, f)
}

// time appends a time in RFC 3339, its fraction as short as it goes.
func (l *Lines) time(b []byte, t time.Time) ([]byte, error) {
	const day, last = 86400, 253402300799 // the end of the year 9999
	sec := t.Unix()
	if t.Location() != time.UTC || sec < 0 || sec > last {
		return appendOther(b, t)
	}
	if d := sec / day; d != l.day || l.date == nil {
		l.day, l.date = d, t.AppendFormat(l.date[:0], "2006-01-02")
	}
	s := sec % day
	b = append(append(b, '"'), l.date...)
	b = appendTwo(append(b, 'T'), s/3600)
	b = appendTwo(append(b, ':'), s/60%60)
	b = appendTwo(append(b, ':'), s%60)
	if ns := t.Nanosecond(); ns > 0 {
		digits := 9
		for ns%1000 == 0 {
			ns, digits = ns/1000, digits-3
		}
		for ns%10 == 0 {
			ns, digits = ns/10, digits-1
		}
		at := len(b)
		b = append(b, ".000000000"[:1+digits]...)
		for i := at + digits; i > at; i-- {
			b[i] = '0' + byte(ns%10)
			ns /= 10
		}
	}
	return append(b, 'Z', '"'), nil
}

func appendTwo(b []byte, n int64) []byte {
	return append(b, '0'+byte(n/10), '0'+byte(n%10)) //nolint:gosec // below 60
}

// appendOther appends what is too rare for a way of its own.
func appendOther(b []byte, v any) ([]byte, error) {
	text, err := json.Marshal(v)
	return append(b, text...), err
}
