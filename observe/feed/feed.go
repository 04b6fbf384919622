// Package feed reads what others tell us of our addresses: Shadowserver's reports,
// complaints as ARF and X-ARF, events of IntelMQ, and tables and lines of JSON
// whose columns somebody names in a mapping.
//
// Whatever the format, what comes out is an observe.Report: a claim, and whose it
// is. Whom the address belonged to is found out elsewhere. Three rules hold for all
// formats. What can't be read is counted, named by line and reason, and stops
// nothing. What isn't understood is kept, never dropped: a column that nobody knows
// is a Field, a type that nobody knows is ClaimOther. And nothing is guessed that
// could accuse the wrong person: not a time zone, not an address, and what was seen
// through a resolver says so (Mediated).
package feed

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"

	"sakimori/observe"
	"sakimori/observe/feed/reading"
)

// Format is how a report is written.
type Format string

// The formats.
const (
	Shadowserver Format = "shadowserver" // CSV by header, the type in the name of the file
	XARF         Format = "xarf"         // JSON, v1 to v4: one object, an array, or one a line
	Mail         Format = "mail"         // one message: ARF (RFC 5965), or X-ARF by mail
	IntelMQ      Format = "intelmq"      // JSON events, flat or nested: an array, or one a line
	CSV          Format = "csv"          // with a Mapping
	NDJSON       Format = "ndjson"       // with a Mapping
)

// Limits that hold unless Options say otherwise.
const (
	DefaultMaxLine    = 1 << 20  // bytes of a line, or of a record over several
	DefaultMaxMessage = 10 << 20 // bytes of a JSON value or a mail; X-ARF v4 allows evidence of 5 MB
	DefaultMaxBytes   = 16 << 30 // bytes of a file after decompression
)

// Options say how a report is to be read.
type Options struct {
	Source  string // the feed, as configured; required
	Format  Format // required
	Name    string // of the file, for Where and for Shadowserver's type; "" a stream
	Type    string // Shadowserver: the type, when the name of the file doesn't tell it
	Mapping *Mapping
	// Zone is that of times without one. nil: such a time is malformed, unless the
	// format's documentation says that it is UTC (Shadowserver's does).
	Zone *time.Location
	// Public are prefixes that count as public although they are reserved: an
	// operator's own shared space.
	Public []netip.Prefix
	// Came is when the report came. A time more than a day after it is malformed.
	// Zero: not checked.
	Came time.Time

	MaxLine    int   // 0: DefaultMaxLine
	MaxMessage int   // 0: DefaultMaxMessage
	MaxBytes   int64 // 0: DefaultMaxBytes
}

// Unreadable says why a file as a whole couldn't be read, or not to its end. What
// was read before counts.
type Unreadable = reading.Unreadable

// Read reads a report and hands out what it says, one Report at a time, in order.
// A Report is the receiver's to keep. Compression is told from the first bytes:
// gzip anywhere, zip where r is an io.ReaderAt that knows its Size.
//
// The error is emit's own, an *Unreadable, or that of r. The Stats are right in
// any case: Rows = Reports + Malformed.
func Read(r io.Reader, o Options, emit func(*observe.Report) error) (Stats, error) {
	if err := o.check(); err != nil {
		return Stats{}, err
	}
	j := &job{Options: o, emit: emit}
	err := reading.Unpack(r, o.Name, o.MaxBytes, func(name string, r io.Reader) error {
		j.Name = name
		return j.read(r)
	})
	return j.st, err
}

func (o *Options) check() error {
	if o.Source == "" {
		return errors.New("a feed needs a name: set its source")
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
	switch o.Format {
	case Shadowserver, XARF, Mail, IntelMQ:
		return nil
	case CSV, NDJSON:
		if o.Mapping == nil {
			return fmt.Errorf("feed %s: the format %s needs a mapping that names its columns", o.Source, o.Format)
		}
		return o.Mapping.Check()
	}
	return fmt.Errorf("feed %s: format %q isn't known: use shadowserver, xarf, mail, intelmq, csv or ndjson", o.Source, o.Format)
}

// job is one call of Read.
type job struct {
	Options
	emit func(*observe.Report) error
	st   Stats
	from string // the message-id of a mail, for Where; "" it's the file
}

func (j *job) read(r io.Reader) error {
	switch j.Format {
	case Shadowserver:
		return j.shadowserver(r)
	case CSV:
		return j.table(r)
	case Mail:
		return j.mail(r)
	}
	return j.objects(r)
}

// bad counts a row that can't be used.
func (j *job) bad(line int, why Reason) {
	j.st.Rows++
	j.st.malformed(j.Name, line, why)
}

// good hands out a report.
func (j *job) good(r *observe.Report, line int) error {
	r.Source, r.Came = j.Source, j.Came
	if r.Where == "" {
		r.Where = j.where(line)
	}
	j.st.Rows++
	j.st.Reports++
	if r.Mediated {
		j.st.Mediated++
	}
	if r.Claim == observe.ClaimOther {
		j.st.Other++
	}
	return j.emit(r)
}

func (j *job) where(line int) string {
	from := j.from
	if from == "" {
		from = j.Name
	}
	b := make([]byte, 0, len(from)+8)
	b = append(b, from...)
	b = append(b, ':')
	return string(strconv.AppendInt(b, int64(line), 10))
}

// told is what a line says, as it is written there.
type told struct {
	address, port, service, proto, time, family string
}

// fill puts what was told into a report. It gives the reason why it can't, and
// whether the protocol was understood; a protocol that wasn't stays a Field.
func (j *job) fill(r *observe.Report, t *told, zone *time.Location) (why Reason, proto bool) {
	if r.Address, why = j.address(t.address); why != fine {
		return why, false
	}
	var fault reading.Fault
	if r.At, r.Slack, fault = reading.When(t.time, zone); fault != reading.Fine {
		return because[fault], false
	}
	if !j.Came.IsZero() && r.At.After(j.Came.Add(24*time.Hour)) {
		return inFuture, false
	}
	if r.Port, why = port(t.port); why != fine {
		return why, false
	}
	if r.Service, why = port(t.service); why != fine {
		return why, false
	}
	r.Family = reading.Family(t.family)
	r.Proto, proto = protocol(t.proto)
	return fine, proto
}
