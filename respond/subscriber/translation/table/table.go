// Package table reads any other log as CSV, by a mapping that an operator writes: which
// column is what, how times are written, and which words mean that a use begins or ends.
// Columns that the mapping doesn't name are passed over.
package table

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sakimori/respond/subscriber"
)

// Mapping says how a log is read.
type Mapping struct {
	Name    string `yaml:"name"`
	Comma   string `yaml:"comma"`     // between columns: "," if not said; "tab" may be written
	NoNames bool   `yaml:"no_header"` // the first line is a row already: Columns are numbers from 1

	Columns Columns `yaml:"columns"`

	// Kinds says what the words of the kind column mean: begin, alive, end, reset, or
	// ignore. Kind is what all rows are when there is no such column.
	Kinds map[string]string `yaml:"kinds"`
	Kind  string            `yaml:"kind"`
	// Protocols says what words of the protocol column mean, besides numbers, tcp, udp and
	// icmp.
	Protocols map[string]uint8 `yaml:"protocols"`
	// Source is who says it, when no column does.
	Source string `yaml:"source"`

	// Time is how times are written: rfc3339 (if not said), unix, unix_ms, or Go's reference
	// time Mon Jan 2 15:04:05 2006 written in the log's way.
	Time string `yaml:"time"`
	Zone string `yaml:"zone"` // of times that don't tell theirs, as Asia/Tokyo; UTC if not said
}

// Columns are the columns' names, or numbers from 1. Only Address, At and Kind (or
// Mapping.Kind) must be there.
type Columns struct {
	Kind    string `yaml:"kind"`
	Source  string `yaml:"source"`
	Session string `yaml:"session"`
	Line    string `yaml:"line"`
	Address string `yaml:"address"`    // an address or a prefix
	First   string `yaml:"first_port"` // first and last port; a row without is about the whole address
	Last    string `yaml:"last_port"`
	Ports   string `yaml:"ports"` // or both in one column: 1024-2047, or one port
	Proto   string `yaml:"protocol"`
	Inside  string `yaml:"inside"`
	At      string `yaml:"at"`
	Since   string `yaml:"since"`
	Until   string `yaml:"until"`
}

// Table is a mapping that was found to be whole.
type Table struct {
	m     Mapping
	comma byte
	zone  *time.Location
	kinds map[string]subscriber.Kind
	all   subscriber.Kind
	names [fields]string
}

// The fields of a record, as columns give them.
const (
	kind = iota
	source
	session
	line
	address
	firstPort
	lastPort
	portRange
	proto
	inside
	at
	since
	until
	fields
)

// ignored is a word that says nothing of an address.
const ignored = subscriber.Kind(255)

// New checks a mapping.
func New(m Mapping) (*Table, error) {
	t := &Table{m: m, kinds: map[string]subscriber.Kind{}}
	c := &m.Columns
	t.names = [fields]string{c.Kind, c.Source, c.Session, c.Line, c.Address, c.First, c.Last, c.Ports, c.Proto, c.Inside, c.At, c.Since, c.Until}
	fail := func(format string, args ...any) (*Table, error) {
		return nil, fmt.Errorf("table %q: "+format, append([]any{m.Name}, args...)...)
	}
	switch m.Comma {
	case "":
		t.comma = ','
	case "tab":
		t.comma = '\t'
	default:
		if len(m.Comma) != 1 || strings.ContainsAny(m.Comma, "\"\r\n") {
			return fail("comma is %q: it must be one character, or tab", m.Comma)
		}
		t.comma = m.Comma[0]
	}
	var err error
	if t.zone, err = time.LoadLocation(m.Zone); err != nil || m.Zone == "Local" {
		return fail("zone %q isn't known: give a name like Asia/Tokyo", m.Zone)
	}
	if c.Address == "" || c.At == "" {
		return fail("columns address and at must be named")
	}
	if c.Ports != "" && (c.First != "" || c.Last != "") {
		return fail("name either column ports, or first_port and last_port")
	}
	if c.Last != "" && c.First == "" {
		return fail("last_port is named without first_port")
	}
	if c.Source == "" && m.Source == "" {
		return fail("name column source, or give source: records are joined by who says them")
	}
	for _, word := range slices.Sorted(maps.Keys(m.Kinds)) {
		if t.kinds[word], err = kindOf(m.Kinds[word]); err != nil {
			return fail("kinds, %q: %w", word, err)
		}
	}
	switch {
	case (c.Kind == "") == (m.Kind == ""):
		return fail("either name column kind and give kinds, or give kind for all rows")
	case c.Kind != "" && len(t.kinds) == 0:
		return fail("kinds is missing: say which words of the column mean begin, alive, end, reset or ignore")
	case c.Kind == "":
		if t.all, err = kindOf(m.Kind); err != nil {
			return fail("kind: %w", err)
		}
	}
	some := time.Date(2023, 11, 14, 22, 13, 0, 0, time.UTC)
	if back, err := t.time(some.In(t.zone).Format(t.layout())); !t.counts() && (err != nil || !back.Equal(some)) {
		return fail("time is %q: write rfc3339, unix, unix_ms, or 2006-01-02 15:04:05 in the log's way, from the year to the minute at least", m.Time)
	}
	if m.NoNames {
		for _, name := range t.names {
			if n, err := strconv.Atoi(name); name != "" && (err != nil || n < 1 || n > mostColumns) {
				return fail("column %q: without a header, columns are numbers from 1 to %d", name, mostColumns)
			}
		}
	}
	return t, nil
}

func kindOf(word string) (subscriber.Kind, error) {
	switch word {
	case "begin":
		return subscriber.Begin, nil
	case "alive":
		return subscriber.Alive, nil
	case "end":
		return subscriber.End, nil
	case "reset":
		return subscriber.Reset, nil
	case "ignore":
		return ignored, nil
	}
	return 0, fmt.Errorf("%q is none of begin, alive, end, reset and ignore", word)
}

// The bounds of what is read.
const (
	longest     = 1 << 20 // bytes of a line
	mostColumns = 4096
)

// Read reads a log to its end. Rows that can't be used are counted, with the number of
// their line and the name of the column, and don't end it; only a header that lacks a named
// column does, and a reader that fails. Each record goes to each, which must copy what it
// keeps.
func (t *Table) Read(r io.Reader, each func(*subscriber.Record)) (st subscriber.Stats, err error) {
	br := bufio.NewReaderSize(r, 64<<10)
	row := rows{comma: t.comma}
	where, known := [fields]int{}, t.m.NoNames
	if known {
		for i, name := range t.names {
			where[i], _ = strconv.Atoi(name)
			where[i]-- // -1: not there
		}
	}
	var buf []byte
	var rec subscriber.Record
	for n := 1; ; n++ {
		buf, err = readLine(br, buf[:0])
		if errors.Is(err, io.EOF) {
			if !known {
				return st, fmt.Errorf("table %q: the file is empty: its first line must name the columns", t.m.Name)
			}
			return st, nil
		}
		if err != nil && !errors.Is(err, errLong) {
			return st, fmt.Errorf("table %q: line %d: %w", t.m.Name, n, err)
		}
		if err == nil && len(buf) == 0 {
			continue
		}
		if err == nil {
			err = row.cut(buf)
		}
		if !known {
			if err != nil {
				return st, fmt.Errorf("table %q: line %d, which must name the columns: %w", t.m.Name, n, err)
			}
			if where, err = t.find(row.columns); err != nil {
				return st, err
			}
			known = true
			continue
		}
		if err == nil {
			err = t.record(&rec, row.columns, &where)
		}
		switch {
		case errors.Is(err, errIgnore):
			st.Ignored++
		case err != nil:
			st.Bad(fmt.Sprintf("line %d", n), err.Error())
		default:
			st.Took(&rec)
			each(&rec)
		}
	}
}

// find looks up the columns in a header. Names are compared without the spaces around
// them; a byte order mark is taken off.
func (t *Table) find(header []string) (where [fields]int, err error) {
	for i, name := range t.names {
		where[i] = -1
		if name == "" {
			continue
		}
		for j, h := range header {
			if strings.TrimSpace(strings.TrimPrefix(h, "\ufeff")) == name {
				where[i] = j
				break
			}
		}
		if where[i] < 0 {
			return where, fmt.Errorf("table %q: line 1 has no column %q: correct the mapping, or the file isn't this log", t.m.Name, name)
		}
	}
	return where, nil
}

var (
	errIgnore = errors.New("ignored")
	errLong   = errors.New("it is longer than 1 MiB")
	errQuote  = errors.New("a quote isn't closed, or something follows it")
	errMany   = errors.New("it has more than 4096 columns")
)

// record makes a record of a row.
func (t *Table) record(rec *subscriber.Record, row []string, where *[fields]int) error {
	get := func(f int) string {
		if i := where[f]; i >= 0 && i < len(row) {
			return strings.TrimSpace(row[i])
		}
		return ""
	}
	bad := func(f int, what string) error {
		return fmt.Errorf("column %s: %s", t.names[f], what)
	}
	*rec = subscriber.Record{Kind: t.all, Source: strings.Clone(get(source)), Session: strings.Clone(get(session)), Line: strings.Clone(get(line))}
	if t.all == 0 {
		var ok bool
		if rec.Kind, ok = t.kinds[get(kind)]; !ok {
			return bad(kind, "a word that kinds doesn't have")
		}
	}
	if rec.Kind == ignored {
		return errIgnore
	}
	if rec.Source == "" {
		if rec.Source = t.m.Source; rec.Source == "" {
			return bad(source, "empty")
		}
	}
	var err error
	if rec.At, err = t.time(get(at)); err != nil {
		return bad(at, "not a time as the mapping says it is written")
	}
	for _, f := range [...]int{since, until} {
		v := get(f)
		if v == "" {
			continue
		}
		when, err := t.time(v)
		switch {
		case err != nil:
			return bad(f, "not a time as the mapping says it is written")
		case f == since && when.After(rec.At):
			return bad(f, "later than "+t.names[at])
		case f == since:
			rec.Since = when
		default:
			rec.Until = when
		}
	}
	if rec.Kind == subscriber.Reset && get(address) == "" {
		return nil // a source that begins anew needs no address
	}
	if rec.Address, err = prefix(get(address)); err != nil {
		return bad(address, "neither an address nor a prefix")
	}
	if v := get(inside); v != "" {
		if rec.Inside, err = netip.ParseAddr(v); err != nil || rec.Inside.Zone() != "" {
			return bad(inside, "not an address")
		}
		rec.Inside = rec.Inside.Unmap()
	}
	if v := get(proto); v != "" {
		var ok bool
		if rec.Proto, ok = t.protocol(v); !ok {
			return bad(proto, "a protocol that isn't known: give it in protocols")
		}
	}
	f, err := t.ports(rec, get)
	if err != nil {
		return bad(f, err.Error())
	}
	return nil
}

// ports reads the ports and says in which column they were wrong.
func (t *Table) ports(rec *subscriber.Record, get func(int) string) (int, error) {
	f, first, last := firstPort, get(firstPort), get(lastPort)
	if t.names[portRange] != "" {
		f = portRange
		first, last, _ = strings.Cut(get(portRange), "-")
	}
	first, last = strings.TrimSpace(first), strings.TrimSpace(last)
	if first == "" && last == "" {
		return 0, nil // the whole address
	}
	if last == "" {
		last = first
	}
	a, err := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	switch {
	case err != nil || err2 != nil:
		return f, errors.New("not a port from 0 to 65535")
	case b < a:
		return f, errors.New("the last port is below the first")
	case b == 0:
		// Only an empty column says the whole address.
		return f, errors.New("port 0 alone can't be given to anybody")
	}
	rec.Ports = subscriber.Ports{First: uint16(a), Last: uint16(b)}
	return 0, nil
}

// prefix reads an address or a prefix.
func prefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("no prefix")
	}
	return p.Masked(), nil
}

func (t *Table) protocol(s string) (uint8, bool) {
	if n, ok := t.m.Protocols[s]; ok {
		return n, true
	}
	if n, err := strconv.ParseUint(s, 10, 8); err == nil {
		return uint8(n), true
	}
	switch strings.ToLower(s) {
	case "icmp":
		return 1, true
	case "tcp":
		return 6, true
	case "udp":
		return 17, true
	}
	return 0, false
}

// counts tells whether times are numbers.
func (t *Table) counts() bool { return t.m.Time == "unix" || t.m.Time == "unix_ms" }

func (t *Table) layout() string {
	if t.m.Time == "" || t.m.Time == "rfc3339" {
		return time.RFC3339
	}
	return t.m.Time
}

// time reads a time; years are 1970 to 9999.
func (t *Table) time(s string) (time.Time, error) {
	var when time.Time
	var err error
	if t.counts() {
		var n int64
		if n, err = strconv.ParseInt(s, 10, 48); err == nil && t.m.Time == "unix" {
			when = time.Unix(n, 0)
		} else if err == nil {
			when = time.UnixMilli(n)
		}
	} else {
		when, err = time.ParseInLocation(t.layout(), s, t.zone)
	}
	if err != nil {
		return time.Time{}, err
	}
	if y := when.UTC().Year(); y < 1970 || y > 9999 {
		return time.Time{}, errors.New("no time of this era")
	}
	return when.UTC(), nil
}
