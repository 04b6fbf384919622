package syslog

import (
	"strconv"
	"strings"
	"time"

	"sakimori/respond/subscriber"
)

// a10 reads
//
//	CEF:0|A10|CFW|6.0.0|CGN 106|Nat Port Batch Pool Allocated|5|proto=UDP src=… sourceTranslatedAddress=… sourceTranslatedPort=22016 cn3=22271 cn3Label=Last Nat Port
//
// of a batch or a single port, allocated or freed. The time is the header's, or rt, which
// is milliseconds since 1970 in CEF.
func a10(p *Parser, l *line) error {
	head, s, ok := strings.Cut(l.text, "CEF:")
	w := strings.SplitN(s, "|", 8)
	if !ok || len(w) < 8 {
		return errShape
	}
	name, ext := w[5], w[7]
	m := mapping{
		inside: extension(ext, "src="), public: extension(ext, "sourceTranslatedAddress="),
		first: extension(ext, "sourceTranslatedPort="), proto: protocol(extension(ext, "proto=")),
	}
	switch {
	case !strings.HasPrefix(name, "Nat Port "):
		return nil
	case strings.HasSuffix(name, " Allocated"):
		m.kind = subscriber.Begin
	case strings.HasSuffix(name, " Freed"):
		m.kind = subscriber.End
	default:
		return nil
	}
	if strings.HasPrefix(name, "Nat Port Batch") {
		if m.last = extension(ext, "cn3="); m.last == "" {
			return errPorts
		}
	}
	if ms, err := strconv.ParseInt(extension(ext, "rt="), 10, 64); err == nil && ms > 0 && ms < 1<<48 {
		m.at = time.UnixMilli(ms).UTC()
	}
	if l.host == "" { // without a date, the name stands before CEF alone
		if h := strings.Fields(head); len(h) > 0 {
			l.host = h[len(h)-1]
		}
	}
	return p.take(l, &m)
}

// extension is the value behind "key=", up to the next space.
func extension(s, key string) string {
	for from := 0; ; {
		i := strings.Index(s[from:], key)
		if i < 0 {
			return ""
		}
		i += from
		from = i + len(key)
		if i == 0 || s[i-1] == ' ' {
			v, _, _ := strings.Cut(s[from:], " ")
			return v
		}
	}
}

// cgv6 reads
//
//	1 2011 May 31 10:30:45 192.0.2.3 - - NAT44 - [UserbasedA - 10.0.0.1 Broadband - 100.1.1.1 - 2048 3071 - -][…]
//
// In each bracket stand event, protocol, inside address, VRF, inside IPv6 address (of
// DS-Lite), public address, original port, first and last public port, destination and its
// port; "-" where something doesn't apply. One bracket that is damaged leaves the rest.
func cgv6(p *Parser, l *line) error {
	own := l.at
	head, s, _ := strings.Cut(l.text, "[")
	for i := strings.LastIndex(head, " 20"); i >= 0; i = strings.LastIndex(head[:i], " 20") {
		// Behind a relay's header stands its own, which says it better.
		if at, after, ok := l.stamp(head[i+1:]); ok {
			own = at
			if h := host(after); h != "" {
				l.host = h
			}
			break
		}
	}
	var bad error
	for ok := true; ok; {
		var one string
		one, s, ok = strings.Cut(s, "]")
		_, s, _ = strings.Cut(s, "[")
		w := strings.Fields(one)
		if len(w) == 0 {
			break
		}
		m := mapping{at: own}
		switch w[0] {
		case "UserbasedA", "SessionbasedA", "SessionbasedAD":
			m.kind = subscriber.Begin
		case "UserbasedW", "SessionbasedW", "SessionbasedWD":
			m.kind = subscriber.End
		default:
			continue // ports ran out
		}
		if len(w) != 11 {
			bad = errShape
			continue
		}
		m.proto, m.inside, m.public, m.first = protocol(w[1]), w[2], w[5], w[7]
		if w[4] != "-" {
			m.inside = w[4]
		}
		if strings.HasPrefix(w[0], "User") {
			m.last = w[8]
		}
		l.realm = ""
		if w[3] != "-" {
			l.realm = "vrf " + w[3]
		}
		if err := p.take(l, &m); err != nil {
			bad = err
		}
	}
	return bad
}

// ios reads
//
//	%NAT-6-LOG_TRANSLATION: Created Translation UDP 10.0.0.1:44593 198.51.100.1:21129 203.0.113.5:53 203.0.113.5:53 0
//	%IPNAT-6-CREATED: udp 10.0.0.1:44593 198.51.100.1:21129 …
//	%IPNAT-6-NAT_CREATED: Created udp 10.0.0.1:44593 198.51.100.1:21129 …
//
// inside local, inside global, outside local and outside global, and the number of a VRF.
func ios(p *Parser, l *line) error {
	i := strings.Index(l.text, "NAT-6-")
	word, s, ok := strings.Cut(l.text[i+len("NAT-6-"):], ":")
	if !ok {
		return errShape
	}
	w := strings.Fields(s)
	if len(w) > 0 && (w[0] == "Created" || w[0] == "Deleted") {
		word, w = w[0], w[1:]
	}
	if len(w) > 0 && w[0] == "Translation" {
		w = w[1:]
	}
	var m mapping
	switch strings.ToUpper(strings.TrimPrefix(word, "NAT_")) {
	case "CREATED":
		m.kind = subscriber.Begin
	case "DELETED":
		m.kind = subscriber.End
	default:
		return nil
	}
	if len(w) < 3 {
		return errShape
	}
	var ok2 bool
	m.proto = protocol(w[0])
	m.inside, _, ok = strings.Cut(w[1], ":")
	m.public, m.first, ok2 = strings.Cut(w[2], ":")
	if !ok || !ok2 || m.proto == 0 {
		return errShape
	}
	if len(w) > 5 {
		if vrf, ok := number(strings.TrimRight(w[5], "."), 9); ok && vrf > 0 {
			l.realm = "vrf " + strconv.Itoa(vrf)
		}
	}
	return p.take(l, &m)
}

// nokia reads
//
//	… NAT-MINOR-tmnxNatPlBlockAllocationLsn-2012 [NAT]: {2} Map 192.0.2.28 [2002-2005] MDA 1/2 -- 276824064 classic-lsn-sub %3 vprn601 10.10.10.101 at 2013/10/08 11:14:26
//
// public address and ports, what the subscriber is called and of which kind, policy, inside
// router and address, time of the event. L2-aware NAT (…L2Aw) names its subscriber by the
// subscriber management's own name, so that names the contract.
func nokia(p *Parser, l *line) error {
	_, s, _ := strings.Cut(l.text, "tmnxNatPlBlockAllocation")
	left, right, ok := strings.Cut(s, " -- ")
	if !ok {
		return errShape
	}
	var m mapping
	switch {
	case strings.Contains(left, "Map "):
		m.kind = subscriber.Begin
	case strings.Contains(left, "Free "):
		m.kind = subscriber.End
	default:
		return errShape
	}
	i := max(strings.LastIndex(left, " ["), 0)
	ports, _ := between(left[i:], " [", "]")
	m.first, m.last, _ = strings.Cut(ports, "-")
	w := strings.Fields(left[:i])
	if len(w) == 0 {
		return errShape
	}
	m.public = w[len(w)-1]
	who, when, ok := strings.Cut(right, " at ")
	f := strings.Fields(who)
	if !ok || len(f) < 3 {
		return errShape
	}
	m.inside, l.realm = f[len(f)-1], f[len(f)-2]
	if strings.HasPrefix(s, "L2Aw") {
		m.line = f[0]
	}
	when = strings.TrimRight(when, `" .`)
	at, err := time.ParseInLocation("2006/01/02 15:04:05", when[:min(len(when), 19)], l.zone)
	if err != nil {
		return errTime
	}
	m.at = at
	return p.take(l, &m)
}

// f5 reads
//
//	LSN_ADD 10.0.0.1%0:40000 6 198.51.100.1%0:2048 203.0.113.5 443          (each may be in quotes)
//	LSN_PB_ALLOCATED 10.0.0.1%0 198.51.100.9%0: 5555 - 6666
//	lsn_event="LSN_DELETE",start="1562092616047",cli="10.0.0.1:40000",nat="198.51.100.1:2048",duration="8080"
//	lsn_event="LSN_PB_RELEASED",lsn_client="10.0.0.1",lsn_pb="198.51.100.9: 5555 - 6666"
//
// start is milliseconds since 1970 and duration milliseconds. %0 is a route domain.
func f5(p *Parser, l *line) error {
	if event := attribute(l.text, "lsn_event"); event != "" {
		return f5Pairs(p, l, event)
	}
	i := strings.Index(l.text, "LSN_")
	w := strings.Fields(strings.ReplaceAll(l.text[i:], `"`, " "))
	block := strings.HasPrefix(w[0], "LSN_PB_")
	m := mapping{kind: f5Kind(w[0])}
	switch {
	case m.kind == 0:
		return nil
	case block && len(w) >= 3:
		m.inside, l.realm = domain(w[1])
		m.block(strings.Join(w[2:], ""))
	case !block && len(w) >= 4:
		var who string
		who, _ = cutLast(w[1])
		m.inside, l.realm = domain(who)
		m.proto = protocol(w[2])
		who, m.first = cutLast(w[3])
		m.public, _ = domain(who)
	default:
		return errShape
	}
	return p.take(l, &m)
}

func f5Pairs(p *Parser, l *line, event string) error {
	m := mapping{kind: f5Kind(event), proto: protocol(attribute(l.text, "ip_protocol"))}
	if m.kind == 0 {
		return nil
	}
	if strings.HasPrefix(event, "LSN_PB_") {
		m.inside, l.realm = domain(attribute(l.text, "lsn_client"))
		m.block(strings.ReplaceAll(attribute(l.text, "lsn_pb"), " ", ""))
		return p.take(l, &m)
	}
	who, _ := cutLast(attribute(l.text, "cli"))
	m.inside, l.realm = domain(who)
	who, m.first = cutLast(attribute(l.text, "nat"))
	m.public, _ = domain(who)
	if start, err := strconv.ParseInt(attribute(l.text, "start"), 10, 64); err == nil && start > 0 && start < 1<<48 {
		begin := time.UnixMilli(start).UTC()
		m.at = begin
		if m.kind == subscriber.End {
			m.at, m.since = time.Time{}, begin
			if d, err := strconv.ParseUint(attribute(l.text, "duration"), 10, 40); err == nil {
				m.at = begin.Add(time.Duration(d) * time.Millisecond)
			}
		}
	}
	if id := attribute(l.text, "pem_subscriber_id"); id != "No-lookup" && id != "unknown" {
		m.line = id
	}
	return p.take(l, &m)
}

// f5Kind: what is added or allocated begins, what is deleted or released ends.
func f5Kind(event string) subscriber.Kind {
	switch event {
	case "LSN_ADD", "LSN_INBOUND_ADD", "LSN_PB_ALLOCATED":
		return subscriber.Begin
	case "LSN_DELETE", "LSN_INBOUND_DELETE", "LSN_PB_RELEASED":
		return subscriber.End
	}
	return 0
}

// block reads "198.51.100.9%0:5555-6666".
func (m *mapping) block(s string) {
	who, ports := cutLast(s)
	m.public, _ = domain(who)
	m.first, m.last, _ = strings.Cut(ports, "-")
}

// domain takes a route domain off an address; the one numbered 0 is no realm of its own.
func domain(s string) (address, realm string) {
	address, number, ok := strings.Cut(s, "%")
	if ok && number != "0" {
		realm = "rd " + number
	}
	return address, realm
}

// cutLast cuts at the last colon, as IPv6 addresses have some.
func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i+1:]
}

// draft reads
//
//	<134>1 2018-06-26T17:23:06Z cgn NAT 1234 APMADD [napmap SSUBIX="0" SVLAN="0" IATYP="IPv4" ISADDR="10.0.0.1" ISPORT="1024" XATYP="IPv4" XSADDR="198.51.100.1" XSPORT="2048" PROTO="6"]
//
// SADD and SDEL of a session likewise. SV6ENC is the B4's address of DS-Lite.
func draft(p *Parser, l *line) error {
	i := strings.LastIndex(l.text, " [n")
	if i < 0 {
		return errShape
	}
	head, s := l.text[:i], l.text[i+1:]
	m := mapping{
		inside: attribute(s, "ISADDR"), public: attribute(s, "XSADDR"), first: attribute(s, "XSPORT"),
		proto: protocol(attribute(s, "PROTO")),
	}
	switch {
	case strings.HasSuffix(head, " APMADD"), strings.HasSuffix(head, " SADD"):
		m.kind = subscriber.Begin
	case strings.HasSuffix(head, " APMDEL"), strings.HasSuffix(head, " SDEL"):
		m.kind = subscriber.End
	default:
		return nil
	}
	if b4 := attribute(s, "SV6ENC"); b4 != "" {
		m.inside = b4
	}
	if n := attribute(s, "SSUBIX"); n != "" && n != "0" {
		l.realm = "subscriber " + n
	}
	return p.take(l, &m)
}
