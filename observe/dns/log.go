package dns

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sakimori/base/wire/dns"
)

// line reads a line of a log of BIND (queries, rpz) or Unbound (log-queries,
// log-replies, rpz-log). ours tells whether it looked like one; lines about other things
// are passed over. From a log a block is known only by what it says of a policy.
func (r *reading) line(line []byte, zone *time.Location) (ok, ours bool) {
	if before, after, found := bytes.Cut(line, []byte("client ")); found {
		what := string(after)
		query, isQuery := cutAt(what, ": query: ")
		policy, isPolicy := cutAt(what, ": rpz ")
		if !isQuery && !isPolicy {
			return false, false
		}
		e := r.next()
		if !bindTime(e, string(before), zone) || !bindClient(e, what) {
			return false, true
		}
		if isQuery {
			ok = r.asked(e, strings.Fields(query), 0, 2)
		} else {
			ok = r.bindPolicy(e, policy)
		}
		return r.done(e, ok), true
	}
	if before, after, found := bytes.Cut(line, []byte(" info: ")); found && bytes.Contains(before, []byte("unbound[")) {
		words := strings.Fields(string(after))
		if len(words) > 0 && (words[0] == "query:" || words[0] == "reply:") {
			words = words[1:]
		}
		e := r.next()
		switch {
		case len(words) >= 9 && words[0] == "rpz:" && words[1] == "applied":
			// rpz: applied [c2] c2.example. rpz-nxdomain 192.0.2.1@5300 c2.example. A IN
			n := len(words)
			e.Kind = Note
			e.word = []byte(strings.Trim(words[2], "[]"))
			e.passed = words[n-5] == "rpz-passthru"
			who, _, _ := strings.Cut(words[n-4], "@")
			ok = unboundTime(e, line, zone) && clientOf(e, who) && r.asked(e, words, n-3, n-2)
			return r.done(e, ok), true
		case len(words) == 4 || len(words) == 8:
			if _, err := netip.ParseAddr(words[0]); err != nil {
				return false, false
			}
			ok = unboundTime(e, line, zone) && clientOf(e, words[0]) && r.asked(e, words, 1, 2)
			if len(words) == 8 {
				e.Kind, e.Rcode = Response, rcodes[words[4]]
			}
			return r.done(e, ok), true
		}
	}
	return false, false
}

// done keeps an exchange that could be read.
func (r *reading) done(e *Exchange, ok bool) bool {
	if ok {
		e.Resolver = r.resolver(nil)
		r.n++
	}
	return ok
}

func cutAt(s, sep string) (after string, found bool) {
	_, after, found = strings.Cut(s, sep)
	return after, found
}

var rcodes = map[string]uint8{"NOERROR": dns.NoError, "FORMERR": dns.FormErr, "SERVFAIL": dns.ServFail, "NXDOMAIN": dns.NXDomain, "NOTIMPL": dns.NotImp, "REFUSED": dns.Refused}

// types are those that a log may name; others are 0.
var types = map[string]uint16{"A": dns.A, "NS": dns.NS, "CNAME": dns.CNAME, "SOA": dns.SOA, "PTR": dns.PTR, "MX": dns.MX, "TXT": dns.TXT, "AAAA": dns.AAAA, "SRV": dns.SRV, "HTTPS": dns.HTTPS, "ANY": dns.Any}

// asked reads the name and the type at their places.
func (r *reading) asked(e *Exchange, words []string, name, kind int) bool {
	if len(words) <= max(name, kind) {
		return false
	}
	n, err := dns.ParseName(words[name])
	if err != nil {
		return false
	}
	e.Name, e.Type = r.name(n), types[words[kind]]
	return true
}

func clientOf(e *Exchange, s string) bool {
	a, err := netip.ParseAddr(s)
	e.Client = a.Unmap().WithZone("")
	return err == nil
}

// bindTime reads "26-Nov-2026 21:00:00.123", the same as ISO 8601 with or without Z.
func bindTime(e *Exchange, s string, zone *time.Location) bool {
	words := strings.Fields(s)
	for i, w := range words {
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
			if t, err := time.ParseInLocation(layout, w, zone); err == nil {
				e.At = t.UnixNano()
				return true
			}
		}
		if i+1 < len(words) {
			if t, err := time.ParseInLocation("02-Jan-2006 15:04:05.999999999", w+" "+words[i+1], zone); err == nil {
				e.At = t.UnixNano()
				return true
			}
		}
	}
	return false
}

// bindClient reads "@0x7f… 192.0.2.1#53211 (name)", with or without the first word.
func bindClient(e *Exchange, s string) bool {
	for _, w := range strings.Fields(s)[:min(2, len(strings.Fields(s)))] {
		if a, _, found := strings.Cut(w, "#"); found {
			return clientOf(e, a)
		}
	}
	return false
}

// bindPolicy reads "QNAME NXDOMAIN rewrite c2.example/A/IN via c2.example.c2.".
func (r *reading) bindPolicy(e *Exchange, s string) bool {
	words := strings.Fields(s)
	if len(words) < 6 || words[2] != "rewrite" || words[4] != "via" {
		return false
	}
	e.Kind, e.passed = Note, words[1] == "PASSTHRU"
	rule, err := dns.ParseName(words[5])
	if err != nil {
		return false
	}
	e.policy = rule
	parts := strings.Split(words[3], "/")
	if len(parts) < 3 {
		return false
	}
	return r.asked(e, []string{strings.Join(parts[:len(parts)-2], "/"), parts[len(parts)-2]}, 0, 1)
}

// unboundTime reads "[1764190000]", or what log-time-ascii or log-time-iso write.
func unboundTime(e *Exchange, line []byte, zone *time.Location) bool {
	first, _, _ := strings.Cut(string(line), " ")
	if s, is := strings.CutPrefix(first, "["); is {
		n, err := strconv.ParseInt(strings.TrimSuffix(s, "]"), 10, 64)
		const last = 9_000_000_000
		if err != nil || n <= 0 || n > last {
			return false
		}
		e.At = n * int64(time.Second)
		return true
	}
	return bindTime(e, first, zone)
}
