package reading

import (
	"strconv"
	"strings"
	"time"
)

// When reads a time in any of the ways that feeds write it: RFC 3339 and its
// relatives, RFC 5322, the common log format, and seconds, milliseconds or
// microseconds since 1970. It gives the beginning of what was written and how long
// that is: "2026-11-26" is a day. A time without a zone is in zone; with a nil zone
// there is none. Days before months, and months before days, aren't told apart by
// guessing: neither is read.
func When(s string, zone *time.Location) (time.Time, time.Duration, Fault) {
	if s = strings.TrimSpace(s); Nothing(s) {
		return time.Time{}, 0, NoTime
	}
	if t, slack, ok := unix(s); ok {
		return t, slack, Fine
	}
	p := written{s: s}
	year, month, day, ok := p.date()
	if !ok {
		return time.Time{}, 0, NotTime
	}
	hour, minute, second, nano, slack, ok := p.clock()
	if !ok {
		return time.Time{}, 0, NotTime
	}
	if at := strings.IndexByte(p.s, '('); at >= 0 { // a comment (RFC 5322)
		p.s = p.s[:at]
	}
	if p.s = strings.TrimSpace(p.s); p.s != "" {
		var why Fault
		if zone, why = offset(p.s); why != Fine {
			return time.Time{}, 0, why
		}
	}
	if zone == nil {
		return time.Time{}, 0, NoZone
	}
	t := time.Date(year, month, day, hour, minute, second, nano, zone)
	if _, m, d := t.Date(); second < 60 && (m != month || d != day) {
		return time.Time{}, 0, NotTime // 30 February
	}
	if year < 1990 {
		return time.Time{}, 0, NotTime
	}
	return t.UTC(), slack, Fine
}

// unix reads 1767225600, 1767225600.25, and the same in ms or µs. Nine digits are
// 1990 at least (631152000).
func unix(s string) (time.Time, time.Duration, bool) {
	whole, part, dot := strings.Cut(s, ".")
	n, err := strconv.ParseUint(whole, 10, 63)
	if err != nil || n < 631152000 || dot && (part == "" || len(part) > 9 || !Digits(part)) {
		return time.Time{}, 0, false
	}
	switch {
	case len(whole) <= 10:
		nano, _ := strconv.Atoi((part + "000000000")[:9])
		return time.Unix(int64(n), int64(nano)).UTC(), precision(len(part)), true
	case len(whole) == 13 && !dot:
		return time.UnixMilli(int64(n)).UTC(), time.Millisecond, true
	case len(whole) == 16 && !dot:
		return time.UnixMicro(int64(n)).UTC(), time.Millisecond, true
	}
	return time.Time{}, 0, false
}

// precision is what so many decimals of a second mean. Below a millisecond it
// means nothing: no two clocks agree so well.
func precision(decimals int) time.Duration {
	switch decimals {
	case 0:
		return time.Second
	case 1:
		return 100 * time.Millisecond
	case 2:
		return 10 * time.Millisecond
	}
	return time.Millisecond
}

// written is what is left of a time that is being read.
type written struct{ s string }

// digit takes n digits.
func (p *written) digit(n int) (int, bool) {
	if len(p.s) < n || !Digits(p.s[:n]) {
		return 0, false
	}
	v := 0
	for i := range n {
		v = v*10 + int(p.s[i]-'0')
	}
	p.s = p.s[n:]
	return v, true
}

// one takes a byte that is among those given.
func (p *written) one(of string) bool {
	if p.s == "" || strings.IndexByte(of, p.s[0]) < 0 {
		return false
	}
	p.s = p.s[1:]
	return true
}

// Digits tells whether there is nothing but digits.
func Digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// date takes 2026-11-26, 2026/11/26, 20261126, [Thu,] 26 Nov 2026 or 26/Nov/2026.
func (p *written) date() (year int, month time.Month, day int, ok bool) {
	if len(p.s) >= 8 && Digits(p.s[:4]) {
		year, _ = p.digit(4)
		sep := ""
		if p.s[0] == '-' || p.s[0] == '/' {
			sep, p.s = p.s[:1], p.s[1:]
		}
		m, ok1 := p.digit(2)
		if sep != "" && !p.one(sep) {
			return 0, 0, 0, false
		}
		day, ok = p.digit(2)
		return year, time.Month(m), day, ok1 && ok && m >= 1 && m <= 12 && day >= 1
	}
	if i := strings.IndexByte(p.s, ','); i >= 0 && i <= 9 { // the weekday
		p.s = strings.TrimSpace(p.s[i+1:])
	}
	if day, ok = p.digit(2); !ok {
		if day, ok = p.digit(1); !ok {
			return 0, 0, 0, false
		}
	}
	if len(p.s) < 9 || p.s[0] != p.s[4] || !p.one(" /-") {
		return 0, 0, 0, false
	}
	i := strings.Index("janfebmaraprmayjunjulaugsepoctnovdec", strings.ToLower(p.s[:3]))
	if p.s = p.s[4:]; i < 0 || i%3 != 0 || day < 1 {
		return 0, 0, 0, false
	}
	year, ok = p.digit(4)
	return year, time.Month(i/3 + 1), day, ok
}

// clock takes the time of day and says how precise it is. It may be missing.
func (p *written) clock() (hour, minute, second, nano int, slack time.Duration, ok bool) {
	if p.s == "" {
		return 0, 0, 0, 0, 24 * time.Hour, true
	}
	if !p.one("Tt :") {
		return 0, 0, 0, 0, 24 * time.Hour, true // what is left is the zone
	}
	p.s = strings.TrimLeft(p.s, " ")
	if p.s == "" || p.s[0] < '0' || p.s[0] > '9' {
		return 0, 0, 0, 0, 24 * time.Hour, true
	}
	var a, b bool
	hour, a = p.digit(2)
	colon := p.one(":")
	minute, b = p.digit(2)
	if !a || !b || hour > 23 || minute > 59 {
		return 0, 0, 0, 0, 0, false
	}
	if colon && !p.one(":") || !colon && (p.s == "" || p.s[0] < '0' || p.s[0] > '9') {
		return hour, minute, 0, 0, time.Minute, true
	}
	if second, a = p.digit(2); !a || second > 60 {
		return 0, 0, 0, 0, 0, false
	}
	if !p.one(".,") {
		return hour, minute, second, 0, time.Second, true
	}
	n := 0
	for n < len(p.s) && p.s[n] >= '0' && p.s[n] <= '9' {
		n++
	}
	if n == 0 {
		return 0, 0, 0, 0, 0, false
	}
	nano, _ = strconv.Atoi((p.s[:min(n, 9)] + "000000000")[:9])
	p.s = p.s[n:]
	return hour, minute, second, nano, precision(n), true
}

// zones are abbreviations that mean one thing. All others are left alone: CST is in
// America, China and Cuba, EST in America and Australia.
var zones = map[string]int{"UTC": 0, "UT": 0, "GMT": 0, "Z": 0, "JST": 9}

// offset reads Z, UTC, +09, +0900 or +09:00, and the abbreviations above.
func offset(s string) (*time.Location, Fault) {
	for _, utc := range []string{"UTC+", "UTC-", "GMT+", "GMT-"} { // UTC+09:00
		if strings.HasPrefix(s, utc) {
			s = s[3:]
		}
	}
	if h, ok := zones[strings.ToUpper(s)]; ok {
		if h == 0 {
			return time.UTC, Fine
		}
		return time.FixedZone(s, h*3600), Fine
	}
	p := written{s: s}
	sign := 1
	switch {
	case p.one("+"):
	case p.one("-"):
		sign = -1
	default:
		return nil, NoZone
	}
	h, ok := p.digit(2)
	m := 0
	if ok && p.s != "" {
		p.one(":")
		m, ok = p.digit(2)
	}
	if !ok || p.s != "" || h > 14 || m > 59 {
		return nil, NotTime
	}
	return time.FixedZone("", sign*(h*3600+m*60)), Fine
}
