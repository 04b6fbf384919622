package syslog

import (
	"strings"
	"time"
)

// header reads what stands before the message: a priority; then the header of RFC 5424,
// or a date and a host in one of the ways that RFC 3164 and its neighbours have. What
// isn't there stays empty. text keeps everything but the priority.
func (l *line) header(text string) {
	if len(text) > 2 && text[0] == '<' {
		if i := strings.IndexByte(text[:min(len(text), 6)], '>'); i > 1 {
			text = text[i+1:]
		}
	}
	l.text = text
	rest := text
	if after, ok := strings.CutPrefix(text, "1 "); ok { // RFC 5424 §6.2.2, version
		if after, ok = strings.CutPrefix(after, "- "); ok {
			l.host = host(after)
			return
		}
		rest = text[2:]
	}
	// Cisco puts a number, and a name if it is told to, before the date: "123: cgn1: *May
	// 21 …". A name before a date is a host's.
	name := ""
	for range 3 {
		at, after, ok := l.stamp(rest)
		if ok {
			l.at, l.host = at, host(after)
			if l.host == "" {
				l.host = name
			}
			return
		}
		word, more, ok := strings.Cut(rest, ": ")
		if !ok || word == "" || strings.ContainsAny(word, " %|[") {
			return
		}
		if strings.Trim(word, "0123456789") != "" {
			name = word
		}
		rest = more
	}
}

// host is the first word if it can be a host's name. One that ends in a colon is the tag
// of the message.
func host(s string) string {
	word, _, _ := strings.Cut(strings.TrimLeft(s, " "), " ")
	if word == "-" || strings.HasSuffix(word, ":") || strings.ContainsAny(word, "%|[{(\"=") {
		return ""
	}
	return word
}

// stamp reads a date at the beginning of s.
func (l *line) stamp(s string) (at time.Time, rest string, ok bool) {
	s = strings.TrimLeft(s, " *.") // Cisco: * the clock was never set, . it lost its source
	word, rest, _ := strings.Cut(s, " ")
	if len(word) >= 19 && word[4] == '-' && word[10] == 'T' {
		at, err := time.Parse(time.RFC3339Nano, word)
		if err != nil { // some leave the zone out
			at, err = time.ParseInLocation("2006-01-02T15:04:05", word, l.zone)
		}
		return at, rest, err == nil
	}
	year := 0
	if len(word) == 4 { // 2011 May 31 10:30:45, Cisco's CGv6
		if year, ok = number(word, 4); ok {
			s = rest
		}
	}
	d, rest, ok := date(s)
	if !ok {
		return time.Time{}, "", false
	}
	if year == 0 {
		year = d.year
	}
	zone := l.zone
	if w, after, found := strings.Cut(strings.TrimLeft(rest, " "), ":"); found && (after == "" || after[0] == ' ') {
		if z := zoneOf(w); z != nil {
			zone, rest = z, after
		} else if w == "" {
			rest = after
		}
	}
	return d.in(year, zone, l.arrival), rest, true
}

// zoneOf knows the abbreviations that mean one thing only.
func zoneOf(s string) *time.Location {
	switch strings.ToUpper(s) {
	case "UTC", "GMT", "Z":
		return time.UTC
	case "JST":
		return time.FixedZone("JST", 9*3600)
	}
	return nil
}

// day is a date that may lack its year.
type day struct {
	year, month, day int
	of               time.Duration // since midnight
}

const months = "JanFebMarAprMayJunJulAugSepOctNovDec"

// date reads "Oct 30 21:46:04", also with one digit for the day, a year before or behind
// the time (Cisco), and a fraction of the second.
func date(s string) (d day, rest string, ok bool) {
	if len(s) < 14 || s[3] != ' ' {
		return d, "", false
	}
	m := strings.Index(months, s[:3])
	if m < 0 || m%3 != 0 {
		return d, "", false
	}
	d.month = m/3 + 1
	word, rest, _ := strings.Cut(strings.TrimLeft(s[4:], " "), " ")
	if d.day, ok = number(word, 2); !ok || d.day < 1 || d.day > 31 {
		return d, "", false
	}
	if len(rest) > 5 && rest[4] == ' ' { // 2017, before the time
		if y, ok := number(rest[:4], 4); ok {
			d.year, rest = y, rest[5:]
		}
	}
	if d.of, rest, ok = timeOfDay(rest); !ok {
		return d, "", false
	}
	return d, rest, true
}

// timeOfDay reads "21:46:04" and a fraction.
func timeOfDay(s string) (of time.Duration, rest string, ok bool) {
	if len(s) < 8 || s[2] != ':' || s[5] != ':' {
		return 0, "", false
	}
	h, ok1 := number(s[:2], 2)
	m, ok2 := number(s[3:5], 2)
	sec, ok3 := number(s[6:8], 2)
	if !ok1 || !ok2 || !ok3 || h > 23 || m > 59 || sec > 60 {
		return 0, "", false
	}
	of = time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(sec)*time.Second
	s = s[8:]
	if len(s) > 1 && s[0] == '.' {
		unit := time.Second / 10
		for s = s[1:]; s != "" && s[0] >= '0' && s[0] <= '9'; s = s[1:] {
			of += time.Duration(s[0]-'0') * unit
			unit /= 10
		}
	}
	return of, s, true
}

// number reads one to most digits and nothing else.
func number(s string, most int) (n int, ok bool) {
	if s == "" || len(s) > most {
		return 0, false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// in is the moment. Without a year it is the last one that lies at most a day after the
// arrival, as a clock may be fast: what arrives at New Year was written in December. 29
// February is only in years that have it. Zero: no such day.
func (d day) in(year int, zone *time.Location, arrival time.Time) time.Time {
	if arrival.IsZero() && year == 0 {
		return time.Time{}
	}
	latest := arrival.Add(24 * time.Hour)
	first, last := latest.In(zone).Year(), latest.In(zone).Year()-8
	if year > 0 {
		first, last, latest = year, year, time.Date(year+1, 1, 2, 0, 0, 0, 0, zone)
	}
	for y := first; y >= last; y-- {
		t := time.Date(y, time.Month(d.month), d.day, 0, 0, 0, 0, zone)
		if t.Day() == d.day && !t.Add(d.of).After(latest) {
			return time.Date(y, time.Month(d.month), d.day, 0, 0, 0, int(d.of), zone)
		}
	}
	return time.Time{}
}
