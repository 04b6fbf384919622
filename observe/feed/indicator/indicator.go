// Package indicator reads lists of what belongs to malware: plain lists and hosts
// files, tables of abuse.ch and others, maltrail's and Bambenek's lists, Spamhaus DROP,
// events of MISP and bundles of STIX 2.
//
// Whatever the format, what comes out is an observe.Indicator in its normal form.
// What can't be used is counted and named by line and reason, and stops nothing.
// Nothing is made wider than it was written: a URL doesn't become its host, a pair of
// conditions not one of them.
package indicator

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sakimori/observe"
	"sakimori/observe/feed/reading"
)

// Format is how a list is written.
type Format string

// The formats.
const (
	Auto      Format = ""          // told from the first bytes: see Detect
	Plain     Format = "plain"     // one value a line; # ; and // begin comments
	Hosts     Format = "hosts"     // 0.0.0.0 name…, as in /etc/hosts
	CSV       Format = "csv"       // with a Mapping
	URLhaus   Format = "urlhaus"   // abuse.ch's table of URLs
	Feodo     Format = "feodo"     // abuse.ch's C&C servers, table or JSON
	ThreatFox Format = "threatfox" // abuse.ch's indicators: table, JSON export or answer of the API
	Maltrail  Format = "maltrail"  // values, a reference in the comment above them
	Bambenek  Format = "bambenek"  // value, description, time, manual
	Drop      Format = "drop"      // Spamhaus: prefix ; reference
	MISP      Format = "misp"      // events
	STIX      Format = "stix"      // a bundle of STIX 2, or an envelope of TAXII 2.1
)

// Formats are all that can be named.
func Formats() []Format {
	return []Format{Plain, Hosts, CSV, URLhaus, Feodo, ThreatFox, Maltrail, Bambenek, Drop, MISP, STIX}
}

// TellsRole says whether a format itself tells what its entries serve.
func (f Format) TellsRole() bool {
	return f == URLhaus || f == Feodo || f == ThreatFox || f == Bambenek
}

// Limits that hold unless Options say otherwise.
const (
	DefaultMaxLine    = 64 << 10  // bytes of a line
	DefaultMaxMessage = 4 << 20   // bytes of one object of JSON
	DefaultMaxBytes   = 4 << 30   // bytes of a file after decompression
	maxDocument       = 256 << 20 // bytes of JSON whose objects refer to each other
)

// Options say how a list is to be read.
type Options struct {
	Source  string // the feed, as configured; required
	Format  Format
	Name    string // of the file, for Where; "" a stream
	Mapping *Mapping
	Zone    *time.Location // of times in a table that name none; nil: such a row can't be used
	Came    time.Time      // when the list came. Things seen more than a day after it can't be used; zero: not checked
	Role    observe.Role   // where the list doesn't tell it; "" other
	Family  string         // where the list doesn't tell it
	Public  []netip.Prefix // count as public although they are reserved

	MaxLine    int   // 0: DefaultMaxLine
	MaxMessage int   // 0: DefaultMaxMessage
	MaxBytes   int64 // 0: DefaultMaxBytes
}

// Check says what is missing or wrong.
func (o *Options) Check() error {
	switch {
	case o.Source == "":
		return errors.New("a list needs a name: set its source")
	case o.Format != Auto && !slices.Contains(Formats(), o.Format):
		return fmt.Errorf("list %s: format %q isn't known: use %s", o.Source, o.Format, named(Formats()))
	case o.Format == CSV && o.Mapping == nil:
		return fmt.Errorf("list %s: the format csv needs a mapping that names its columns", o.Source)
	case o.Format != CSV && o.Mapping != nil:
		return fmt.Errorf("list %s: only the format csv takes a mapping", o.Source)
	case o.Role != "" && !slices.Contains(roles, o.Role):
		return fmt.Errorf("list %s: role %q isn't known: use %s", o.Source, o.Role, named(roles))
	case o.Mapping != nil:
		if err := o.Mapping.Check(); err != nil {
			return fmt.Errorf("list %s: %w", o.Source, err)
		}
	}
	return nil
}

var roles = []observe.Role{observe.RoleC2, observe.RoleDistribution, observe.RolePhishing, observe.RoleScanner, observe.RoleOther}

// named are words, the last after an "or".
func named[T ~string](list []T) string {
	var b strings.Builder
	for i, w := range list {
		switch {
		case i == len(list)-1 && i > 0:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}

// Unreadable says why a file as a whole couldn't be read, or not to its end.
type Unreadable = reading.Unreadable

// Read reads a list and hands out what it says, one Indicator at a time, in order. The
// Indicator is used again after the call, its strings aren't. gzip is understood
// anywhere, zip where r is an io.ReaderAt that knows its Size.
//
// The error is emit's own, an *Unreadable, or that of r. The Stats are right in
// any case: Read = Accepted + Rejected.
func Read(r io.Reader, o Options, emit func(*observe.Indicator) error) (Stats, error) {
	if err := o.Check(); err != nil {
		return Stats{}, err
	}
	if o.MaxLine <= 0 {
		o.MaxLine = DefaultMaxLine
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = DefaultMaxMessage
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	o.Family = reading.Family(o.Family)
	j := &job{Options: o, emit: emit}
	err := reading.Unpack(r, o.Name, o.MaxBytes, j.file)
	return j.st, err
}

// job is one call of Read.
type job struct {
	Options
	emit func(*observe.Indicator) error
	st   Stats
	out  observe.Indicator
}

// file reads one file; an archive may hold several, each in its own format.
func (j *job) file(name string, r io.Reader) error {
	j.Name = name
	format := j.Format
	// Only a table and JSON of abuse.ch look different under one name.
	head, r, err := peek(r)
	if err != nil {
		return err
	}
	if format == Auto {
		if format, err = Detect(name, head); err != nil {
			return err
		}
	}
	j.st.Format = format
	object := isJSON(head)
	switch format {
	case Plain, Hosts, Maltrail, Drop:
		return j.list(format, r)
	case Feodo, ThreatFox:
		if object {
			return j.records(format, r)
		}
		return j.table(format, r)
	case CSV, URLhaus, Bambenek:
		return j.table(format, r)
	case MISP:
		return j.misp(r)
	}
	return j.stix(r)
}

// begin gives the indicator to fill for a line.
func (j *job) begin(line int) *observe.Indicator {
	j.out = observe.Indicator{Source: j.Source, Line: line}
	return &j.out
}

// take hands out what was begun, as the value in its normal form. kind is what the
// list says that the value is; "" it doesn't say.
func (j *job) take(value string, kind observe.IndicatorKind) error {
	in := &j.out
	var why Reason
	if in.Kind, in.Value, why = j.normal(value, kind); why == fine && !j.Came.IsZero() {
		if soon := j.Came.Add(24 * time.Hour); in.First.After(soon) || in.Last.After(soon) {
			why = inFuture
		}
	}
	if why != fine {
		j.bad(in.Line, why)
		return nil
	}
	if in.Role == "" {
		if in.Role = j.Role; in.Role == "" {
			in.Role = observe.RoleOther
		}
	}
	if in.Family == "" {
		in.Family = j.Family
	}
	in.Where = j.where(in.Line)
	j.st.Read++
	j.st.Accepted++
	return j.emit(in)
}

// bad counts a value that can't be used.
func (j *job) bad(line int, why Reason) {
	j.st.Read++
	j.st.rejected(j.Name, line, why)
}

func (j *job) where(line int) string {
	b := make([]byte, 0, len(j.Name)+12)
	b = append(b, j.Name...)
	b = append(b, ':')
	return string(strconv.AppendInt(b, int64(line), 10))
}
