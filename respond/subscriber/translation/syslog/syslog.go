// Package syslog reads what translators write by syslog about ports that they give and
// take back, as subscriber.Records. Each vendor's form is a row of a table with a mark that its
// lines hold and a function that reads them; lines without any mark are about something
// else and counted as ignored.
//
// Whom a subscriber spoke with stands in many of these lines. It isn't a part of a Record
// and isn't kept.
package syslog

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sakimori/base/clock"
	"sakimori/respond/subscriber"
)

// Config is what may be set.
type Config struct {
	// Zone is where the clocks are whose lines don't tell it, as "Asia/Tokyo"; UTC if not
	// said.
	Zone string `yaml:"zone"`
	// Source is who says it where a line names no host: "syslog" if not said.
	Source string `yaml:"source"`
	// Live says that lines come as they are written, so that one without a time may have
	// the time of its arrival. In a file such a line is malformed.
	Live bool `yaml:"-"`
}

// Parser reads lines and counts. It is for one goroutine.
type Parser struct {
	cfg    Config
	zone   *time.Location
	stats  subscriber.Stats
	lines  uint64
	names  map[string]string // so that a million lines hold one copy of a host's name
	record subscriber.Record // handed out
}

// New makes a parser.
func New(cfg Config) (*Parser, error) {
	zone, err := time.LoadLocation(cfg.Zone)
	if err != nil || cfg.Zone == "Local" {
		return nil, fmt.Errorf("syslog: zone %q isn't known: give a name like Asia/Tokyo", cfg.Zone)
	}
	if cfg.Source == "" {
		cfg.Source = "syslog"
	}
	return &Parser{cfg: cfg, zone: zone, names: map[string]string{}}, nil
}

// Stats is what all lines came to. Records are those handed out.
func (p *Parser) Stats() subscriber.Stats { return p.stats }

// line is one message and what its form may need.
type line struct {
	text    string    // without priority
	host    string    // of the header; "" none
	at      time.Time // of the header; zero none
	arrival time.Time
	zone    *time.Location
	realm   string // set by the form: which of several that use the same inside addresses
	each    func(*subscriber.Record)
	taken   int
}

// form is one vendor's way to say it.
type form struct {
	name string
	mark string // what its lines hold
	read func(*Parser, *line) error
}

// forms, with the document that describes each. Where a line could hold two marks, the
// first counts.
var forms = []form{
	// Juniper SRX and MX-SPC3, structured and not: "System Log Explorer", RT_SRC_NAT_PBA_ALLOC
	// and following.
	{"RT_SRC_NAT_PBA", "RT_SRC_NAT_PBA_", srxBlock},
	// The same, sessions: RT_FLOW_SESSION_CREATE and _CLOSE, on MX-SPC3 with _USF behind.
	{"RT_FLOW_SESSION", "RT_FLOW_SESSION_C", srxSession},
	// Juniper MS-DPC (ASP) and MS-MPC (JSERVICES): "Secured Port Block Allocation".
	{"NAT_PORT_BLOCK", "_NAT_PORT_BLOCK_", mpcBlock},
	// A10 Thunder, Common Event Format.
	{"A10 CEF", "|A10|", a10},
	// Cisco IOS XR: "Carrier Grade NAT Configuration Guide for the Cisco CRS Router", External
	// Logging, Syslog Message Format.
	{"CGv6", "[Userbased", cgv6},
	{"CGv6", "[Sessionbased", cgv6},
	// Cisco IOS XE (ASR 1000) and IOS: `ip nat log translations syslog`.
	{"IOS NAT", "%NAT-6-LOG_TRANSLATION", ios},
	{"IOS NAT", "%IPNAT-6-", ios},
	// Nokia SR OS: "Multiservice ISA and ESA Guide", event 2012 and 2013 of application NAT, whose
	// fields TIMETRA-NAT-MIB lists.
	{"SR OS NAT", "tmnxNatPlBlockAllocation", nokia},
	// F5 BIG-IP: "BIG-IP CGNAT: Implementations", NAPT and PBA log examples.
	{"F5 LSN", "LSN_", f5},
	// draft-ietf-behave-syslog-nat-logging-06, as VPP writes it.
	{"SYSLOG NAT", "[napmap ", draft},
	{"SYSLOG NAT", "[nsess ", draft},
}

// What is wrong with a line whose form is known. None says what stood there.
var (
	errShape   = errors.New("it doesn't look like the form that its name promises")
	errAddress = errors.New("an address is missing or damaged")
	errPorts   = errors.New("a port is missing or damaged")
	errTime    = errors.New("no time is told: let the sender or a relay write one")
	errLong    = errors.New("it is longer than 64 KiB")
)

// Parse takes one message without its framing. Its records go to each, which must copy
// what it keeps. An error means that the line is of a known form and can't be used; it is in
// Stats already. arrival tells the year that RFC 3164 leaves out.
func (p *Parser) Parse(message []byte, arrival time.Time, each func(*subscriber.Record)) error {
	p.lines++
	text := strings.TrimRight(string(message), "\x00\r\n ")
	for i := range forms {
		f := &forms[i]
		if !strings.Contains(text, f.mark) {
			continue
		}
		l := line{arrival: arrival, zone: p.zone, each: each}
		l.header(text)
		if err := f.read(p, &l); err != nil {
			err = fmt.Errorf("%s: %w", f.name, err)
			p.stats.Bad(fmt.Sprintf("line %d", p.lines), err.Error())
			return err
		}
		if l.taken == 0 {
			p.stats.Ignored++
		}
		return nil
	}
	p.stats.Ignored++
	return nil
}

// Read takes messages from a stream or file to its end; lines that can't be used are
// counted and don't end it.
func (p *Parser) Read(r io.Reader, clk clock.Clock, each func(*subscriber.Record)) error {
	f := newFrames(r)
	for {
		message, err := f.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, errLong):
			p.lines++
			p.stats.Bad(fmt.Sprintf("line %d", p.lines), errLong.Error())
		case err != nil:
			return fmt.Errorf("syslog: after line %d: %w", p.lines, err)
		default:
			_ = p.Parse(message, clk.Now(), each) // it is counted
		}
	}
}

// mapping is what a form found. At is left zero where the line has no time of its own.
type mapping struct {
	kind           subscriber.Kind
	inside, public string
	first, last    string // one port: last is ""
	proto          uint8
	session        string
	line           string // what names the contract, where the translator knows
	at, since      time.Time
}

// take makes a record of it. What was only seen, or is about port 0, which a Record can't
// tell from the whole address, isn't one.
func (p *Parser) take(l *line, m *mapping) error {
	inside, err := netip.ParseAddr(m.inside)
	public, err2 := netip.ParseAddr(m.public)
	if err != nil || err2 != nil || inside.Zone() != "" || public.Zone() != "" {
		return errAddress
	}
	inside, public = inside.Unmap(), public.Unmap()
	if m.last == "" {
		m.last = m.first
	}
	first, err := strconv.ParseUint(m.first, 10, 16)
	last, err2 := strconv.ParseUint(m.last, 10, 16)
	switch {
	case err != nil || err2 != nil || last < first:
		return errPorts
	case inside.IsUnspecified() || public.IsUnspecified():
		return errAddress
	case inside == public || last == 0:
		return nil
	}
	at := m.at
	if at.IsZero() {
		at = l.at
	}
	if at.IsZero() && p.cfg.Live {
		at = l.arrival
	}
	if at.IsZero() {
		at = m.since // it was so at least then
	}
	if at.IsZero() {
		return errTime
	}
	p.record = subscriber.Record{
		Kind: m.kind, Source: p.source(l), Session: strings.Clone(m.session), Line: strings.Clone(m.line),
		Address: netip.PrefixFrom(public, public.BitLen()), Ports: subscriber.Ports{First: uint16(first), Last: uint16(last)},
		Proto: m.proto, Inside: inside, At: at.UTC(),
	}
	if !m.since.IsZero() && !m.since.After(at) {
		p.record.Since = m.since.UTC()
	}
	l.taken++
	p.stats.Took(&p.record)
	l.each(&p.record)
	return nil
}

// mostNames of hosts are remembered; more are copied for each record.
const mostNames = 4096

// source is who says it: the host, and its realm, as two realms of a translator may use
// the same inside addresses for different subscribers.
func (p *Parser) source(l *line) string {
	name := l.host
	if name == "" {
		name = p.cfg.Source
	}
	if l.realm != "" {
		name += " " + l.realm
	}
	if known, ok := p.names[name]; ok {
		return known
	}
	name = strings.Clone(name)
	if len(p.names) < mostNames {
		p.names[name] = name
	}
	return name
}

// protocol is the number of a protocol that is written as number or name; 0 unknown.
func protocol(s string) uint8 {
	if n, err := strconv.ParseUint(s, 10, 8); err == nil {
		return uint8(n)
	}
	switch strings.ToUpper(s) {
	case "ICMP":
		return 1
	case "TCP":
		return 6
	case "UDP":
		return 17
	case "GRE":
		return 47
	case "ICMP6", "ICMPV6", "ICMP-V6":
		return 58
	case "SCTP":
		return 132
	}
	return 0
}
