package access

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"sakimori/base/wire/radius"
)

// appendHex reads hexadecimal digits.
func appendHex(dst, b []byte) ([]byte, bool) {
	at := len(dst)
	dst, err := hex.AppendDecode(dst, b)
	if err != nil {
		return dst[:at], false
	}
	return dst, true
}

// appendNumber reads a decimal number of 32 bits.
func appendNumber(dst, b []byte) ([]byte, bool) {
	n, err := strconv.ParseUint(string(b), 10, 32)
	if err != nil {
		return dst, false
	}
	return binary.BigEndian.AppendUint32(dst, uint32(n)), true
}

// unquoted takes the quotes off.
func unquoted(b []byte) []byte {
	if len(b) >= 2 && (b[0] == '"' || b[0] == '\'') && b[len(b)-1] == b[0] {
		return b[1 : len(b)-1]
	}
	return b
}

// appendQuoted reads a string in quotes, or a bare word: \ before a quote or itself,
// \n \r \t, and \ooo for a byte in octal. FreeRADIUS and ISC dhcpd both write so.
func appendQuoted(dst, b []byte) ([]byte, bool) {
	in := unquoted(b)
	if len(in) == len(b) && len(b) > 0 && b[0] == '"' {
		return dst, false
	}
	for i := 0; i < len(in); i++ {
		c := in[i]
		if c != '\\' {
			dst = append(dst, c)
			continue
		}
		if i++; i == len(in) {
			return dst, false
		}
		switch c = in[i]; c {
		case 'n':
			c = '\n'
		case 'r':
			c = '\r'
		case 't':
			c = '\t'
		case '0', '1', '2', '3':
			if i+2 >= len(in) || !octal(in[i+1]) || !octal(in[i+2]) {
				return dst, false
			}
			c = (c-'0')<<6 | (in[i+1]-'0')<<3 | (in[i+2] - '0')
			i += 2
		}
		dst = append(dst, c)
	}
	return dst, true
}

func octal(c byte) bool { return c >= '0' && c <= '7' }

// status is the value of Acct-Status-Type that a name of FreeRADIUS' dictionary
// stands for, 0 for none.
func status(name []byte) uint32 {
	switch string(name) {
	case "Start":
		return radius.Start
	case "Stop":
		return radius.Stop
	case "Interim-Update", "Alive":
		return radius.InterimUpdate
	case "Accounting-On":
		return radius.AccountingOn
	case "Accounting-Off":
		return radius.AccountingOff
	case "Tunnel-Start", "Tunnel-Stop", "Tunnel-Reject", "Tunnel-Link-Start", "Tunnel-Link-Stop", "Tunnel-Link-Reject":
		return radius.TunnelStart
	case "Failed":
		return radius.Failed
	}
	return 0
}

// date reads a date as FreeRADIUS writes it: Unix seconds, "Mar 23 2021 13:50:39
// EDT", "2021-03-23T13:50:39Z" or, without a zone, "2021-03-23 13:50:39". zone is
// where the server stood: what its zones are called there counts first.
func date(s string, zone *time.Location) (t time.Time, ok bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return time.Unix(n, 0).UTC(), n >= 0 && n < 1<<32
	}
	if s != "" && s[0] >= '0' && s[0] <= '9' {
		if t, err := time.Parse(time.RFC3339, s); err == nil {
			return t.UTC(), true
		}
		t, err := time.ParseInLocation(time.DateTime, s, zone)
		return t.UTC(), err == nil
	}
	at := strings.LastIndexByte(s, ' ')
	if at < 0 {
		return t, false
	}
	wall, name := s[:at], s[at+1:]
	if strings.IndexByte(name, ':') == 2 { // the time itself
		t, err := time.ParseInLocation("Jan _2 2006 15:04:05", s, zone)
		return t.UTC(), err == nil
	}
	// The location knows its own zones, also in the hour that a day has twice.
	if t, err := time.ParseInLocation("Jan _2 2006 15:04:05 MST", s, zone); err == nil && t.Location() == zone {
		return t.UTC(), true
	}
	t, err := time.ParseInLocation("Jan _2 2006 15:04:05", wall, time.UTC)
	if err != nil {
		return t, false
	}
	offset, ok := offsets(name)
	return t.Add(-offset), ok
}

// offsets tells what a zone is ahead of UTC: a number (+09, +0530) or a name that
// stands for one zone only. CST, IST and PST, for example, are several.
func offsets(name string) (time.Duration, bool) {
	if len(name) > 0 && (name[0] == '+' || name[0] == '-') {
		n, err := strconv.Atoi(strings.Replace(name, ":", "", 1))
		if err != nil || n < -1400 || n > 1400 {
			return 0, false
		}
		if len(name) <= 3 { // +9, +09
			return time.Duration(n) * time.Hour, n >= -14 && n <= 14
		}
		return time.Duration(n/100)*time.Hour + time.Duration(n%100)*time.Minute, n%100 > -60 && n%100 < 60
	}
	hours := map[string]int{
		"UTC": 0, "GMT": 0, "Z": 0, "WET": 0, "WEST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "MSK": 3,
		"JST": 9, "KST": 9, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13, "EDT": -4, "EST": -5, "MDT": -6,
	}
	h, ok := hours[name]
	return time.Duration(h) * time.Hour, ok
}
