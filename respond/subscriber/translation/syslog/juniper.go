package syslog

import (
	"strconv"
	"strings"
	"time"

	"sakimori/respond/subscriber"
)

// attribute is the value of key="value", as RFC 5424 §6.3.3 writes structured data.
func attribute(s, key string) string {
	for from := 0; ; {
		i := strings.Index(s[from:], key)
		if i < 0 {
			return ""
		}
		i += from
		from = i + len(key)
		if i > 0 && s[i-1] != ' ' && s[i-1] != '[' && s[i-1] != ',' || !strings.HasPrefix(s[from:], `="`) {
			continue // the end of a longer key
		}
		v, _, ok := strings.Cut(s[from+2:], `"`)
		if !ok {
			return ""
		}
		return v
	}
}

// between is what stands between two texts, and what follows; "" where one is missing.
func between(s, before, after string) (string, string) {
	_, s, ok := strings.Cut(s, before)
	if !ok {
		return "", ""
	}
	v, rest, ok := strings.Cut(s, after)
	if !ok {
		return "", ""
	}
	return v, rest
}

// epoch reads hexadecimal Unix seconds; zero none.
func epoch(s string) time.Time {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
	if err != nil || n == 0 || n > 1<<40 {
		return time.Time{}
	}
	return time.Unix(int64(n), 0).UTC()
}

// srxBlock reads
//
//	RT_NAT - RT_SRC_NAT_PBA_ALLOC [internal-ip="…" block-port-low="…" block-port-high="…" reflexive-ip="…" … epoch-time-64="624b0492"]
//	RT_NAT: RT_SRC_NAT_PBA_ALLOC: Subscriber … used/maximum [1/4] blocks, allocates port block [1024-1151] from … in source pool … lsys_id: 0 epoch 0x624b0492
//
// The epoch is when the block was given, and in a release when it was taken back; a line
// in between (INTERIM) repeats when it was given.
func srxBlock(p *Parser, l *line) error {
	_, s, _ := strings.Cut(l.text, "RT_SRC_NAT_PBA_")
	m := mapping{
		inside: attribute(s, "internal-ip"), public: attribute(s, "reflexive-ip"),
		first: attribute(s, "block-port-low"), last: attribute(s, "block-port-high"),
	}
	lsys, at := attribute(s, "logical-system-id"), epoch(attribute(s, "epoch-time-64"))
	if m.inside == "" {
		var rest, ports string
		m.inside, rest = between(s, "Subscriber ", " ")
		ports, rest = between(rest, "port block [", "] ")
		m.first, m.last, _ = strings.Cut(ports, "-")
		m.public, rest = between(rest, "from ", " ")
		lsys, _ = between(rest+" ", "lsys_id: ", " ")
		word, _ := between(rest+" ", "epoch ", " ")
		at = epoch(word)
	}
	if lsys != "" && lsys != "0" {
		l.realm = "lsys " + lsys
	}
	switch {
	case strings.HasPrefix(s, "ALLOC"):
		m.kind, m.at = subscriber.Begin, at
	case strings.HasPrefix(s, "RELEASE"):
		m.kind, m.at = subscriber.End, at
	case strings.HasPrefix(s, "INTERIM"):
		m.kind, m.since = subscriber.Alive, at
	default:
		return errShape
	}
	return p.take(l, &m)
}

// srxSession reads
//
//	RT_FLOW - RT_FLOW_SESSION_CREATE [source-address="…" … nat-source-address="…" nat-source-port="…" … protocol-id="6" … session-id="…"]
//	RT_FLOW: RT_FLOW_SESSION_CREATE: session created 10.0.0.1/1024->… 0x0 junos-http 198.51.100.1/2048->… 0x0 source rule r1 N/A N/A 6 policy trust untrust 92317
//
// and the same of a close, which tells the session's age at its end.
func srxSession(p *Parser, l *line) error {
	_, s, _ := strings.Cut(l.text, "RT_FLOW_SESSION_C")
	m := mapping{kind: subscriber.Begin}
	switch {
	case strings.HasPrefix(s, "LOSE"):
		m.kind = subscriber.End
	case !strings.HasPrefix(s, "REATE"):
		return errShape
	}
	elapsed := ""
	if m.inside = attribute(s, "source-address"); m.inside != "" {
		m.public, m.first = attribute(s, "nat-source-address"), attribute(s, "nat-source-port")
		m.proto, m.session = protocol(attribute(s, "protocol-id")), attribute(s, "session-id-32")
		if m.session == "" {
			m.session = attribute(s, "session-id")
		}
		elapsed = attribute(s, "elapsed-time")
	} else if !m.plain(s, &elapsed) {
		return errShape
	}
	if n, err := strconv.ParseUint(elapsed, 10, 31); err == nil && m.kind == subscriber.End && !l.at.IsZero() {
		m.since = l.at.Add(-time.Duration(n) * time.Second)
	}
	return p.take(l, &m)
}

// plain reads a session line that isn't structured.
func (m *mapping) plain(s string, elapsed *string) bool {
	// The reason of a close may have an arrow in it no more than "created" has.
	before, after, ok := strings.Cut(s, "->")
	if !ok {
		return false
	}
	m.inside, _, ok = strings.Cut(before[strings.LastIndexByte(before, ' ')+1:], "/")
	if !ok {
		return false
	}
	before, after, ok = strings.Cut(after, "->")
	if !ok {
		return false
	}
	m.public, m.first, ok = strings.Cut(before[strings.LastIndexByte(before, ' ')+1:], "/")
	if !ok {
		return false
	}
	w := strings.Fields(after)
	if len(w) < 2 {
		return false
	}
	w = w[1:] // the destination
	if strings.HasPrefix(w[0], "0x") {
		// Since connection tags are written, so is the type of each rule: "source rule", or N/A.
		w = w[1:]
		for range 2 {
			n := 2
			if len(w) > 1 && w[1] == "rule" {
				n = 3
			}
			if len(w) < n {
				return false
			}
			w = w[n:]
		}
	} else if len(w) > 2 {
		w = w[2:]
	}
	// protocol, policy, zones, session, and of a close: packets and bytes each way, seconds.
	if len(w) < 5 {
		return false
	}
	m.proto, m.session = protocol(w[0]), w[4]
	if len(w) > 7 {
		*elapsed = w[7]
	}
	return m.proto != 0
}

// mpcBlock reads
//
//	… 2011-10-31 04:46:04 [FWNAT]:ASP_NAT_PORT_BLOCK_ALLOC: 3002::1 -> 198.51.100.3:1050-1099 0x4eae2a1c
//	… 2023-05-31 10:30:45: cgn{SSET}[jservices-nat]: JSERVICES_NAT_PORT_BLOCK_ALLOC: 100.64.0.1 -> 198.51.100.3:1024-1087
//
// where the card's date is in UTC, whatever the header's is. The number at the end, where
// there is one, is when the block was given.
func mpcBlock(p *Parser, l *line) error {
	head, s, _ := strings.Cut(l.text, "_NAT_PORT_BLOCK_")
	word, s, ok := strings.Cut(s, ":")
	if !ok {
		return errShape
	}
	m := mapping{at: cardDate(head)}
	switch word {
	case "ALLOC":
		m.kind = subscriber.Begin
	case "RELEASE":
		m.kind = subscriber.End
	case "ACTIVE":
		m.kind = subscriber.Alive
	default:
		return nil // that a block couldn't be given
	}
	left, right, ok := strings.Cut(s, "->")
	if !ok {
		return errShape
	}
	m.inside = strings.TrimSpace(left)
	w := strings.Fields(right)
	if len(w) == 0 {
		return errShape
	}
	i := strings.LastIndexByte(w[0], ':')
	if i < 0 {
		return errPorts
	}
	m.public = w[0][:i]
	m.first, m.last, _ = strings.Cut(w[0][i+1:], "-")
	if len(w) > 1 && strings.HasPrefix(w[1], "0x") && m.kind != subscriber.Begin {
		m.since = epoch(w[1])
	}
	return p.take(l, &m)
}

// cardDate finds "2011-10-31 04:46:04" in the head of a line; some versions put a space
// behind the hour. Zero: none.
func cardDate(head string) time.Time {
	for i := 4; i+15 <= len(head); i++ {
		if head[i] != '-' || head[i+3] != '-' || head[i+6] != ' ' {
			continue
		}
		y, ok1 := number(head[i-4:i], 4)
		mon, ok2 := number(head[i+1:i+3], 2)
		d, ok3 := number(head[i+4:i+6], 2)
		s := head[i+7:]
		if len(s) > 3 && s[3] == ' ' {
			s = s[:3] + s[4:]
		}
		of, _, ok4 := timeOfDay(s)
		if ok1 && ok2 && ok3 && ok4 && mon >= 1 && mon <= 12 && d >= 1 && d <= 31 {
			return time.Date(y, time.Month(mon), d, 0, 0, 0, int(of), time.UTC)
		}
	}
	return time.Time{}
}
