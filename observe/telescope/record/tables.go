package record

import (
	"database/sql/driver"
	"fmt"
	"net/netip"
	"strings"

	"sakimori/base/store"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// column is one column of a table: the one place from which its DDL, what the
// appender writes, and its documentation come.
type column[T any] struct {
	name, kind, doc string
	value           func(*T) driver.Value
}

// counted is a row with the bucket and part that it belongs to.
type counted struct {
	start int64
	part  uint64
	*Row
}

var countColumns = []column[counted]{
	{"start", "BIGINT", "start of the bucket, Unix seconds", func(c *counted) driver.Value { return c.start }},
	{"dim", "UTINYINT", "what the key is: 0 total, 1 class, 2 protocol, 3 port, 4 country, 5 AS", func(c *counted) driver.Value { return uint8(c.Dim) }},
	{"key", "UINTEGER", "see dim; a port is protocol<<16 | port", func(c *counted) driver.Value { return c.Key }},
	{"packets", "UBIGINT", "packets", func(c *counted) driver.Value { return c.Packets }},
	{"sources", "UBIGINT", "distinct source addresses", func(c *counted) driver.Value { return c.Sources }},
	{"targets", "UBIGINT", "distinct dark addresses hit", func(c *counted) driver.Value { return c.Targets }},
	{"sources_err", "FLOAT", "standard error of sources as a share, 0 exact", func(c *counted) driver.Value { return c.SourcesErr }},
	{"targets_err", "FLOAT", "the same of targets", func(c *counted) driver.Value { return c.TargetsErr }},
	{"at_most", "BOOLEAN", "sources and targets are upper bounds (months only)", func(*counted) driver.Value { return false }},
	{"part", "UBIGINT", "the engine run that counted; 0 in months", func(c *counted) driver.Value { return c.part }},
}

// Sketches are large and few. They stood in tables of their own before they had
// sheets, whose lines say the same. The numbers are here again so that what has
// no sketch can be told by subtraction.
var setColumns = []column[counted]{
	countColumns[0], countColumns[1], countColumns[2],
	{"sources", "UBIGINT", "as in the counts, 0 without a sketch", func(c *counted) driver.Value { return ifSet(c.SourceSet, c.Sources) }},
	{"targets", "UBIGINT", "as in the counts, 0 without a sketch", func(c *counted) driver.Value { return ifSet(c.TargetSet, c.Targets) }},
	{"source_set", "BLOB", "sketch of the sources, or NULL", func(c *counted) driver.Value { return orNull(c.SourceSet) }},
	{"target_set", "BLOB", "sketch of the targets, or NULL", func(c *counted) driver.Value { return orNull(c.TargetSet) }},
	countColumns[9],
}

func ifSet(set []byte, n uint64) driver.Value {
	if set == nil {
		return uint64(0)
	}
	return n
}

func orNull(b []byte) driver.Value {
	if b == nil {
		return nil
	}
	return b
}

// written is a bucket with its part.
type written struct {
	part uint64
	*Bucket
}

var bucketColumns = []column[written]{
	{"grain", "UTINYINT", "0 minute, 1 hour, 2 day", func(b *written) driver.Value { return uint8(b.Grain) }},
	{"start", "BIGINT", "Unix seconds", func(b *written) driver.Value { return b.Start }},
	{"part", "UBIGINT", "the engine run", func(b *written) driver.Value { return b.part }},
	{"open", "BOOLEAN", "more may come", func(b *written) driver.Value { return b.Open }},
	{"dark_v4", "UBIGINT", "IPv4 addresses monitored", func(b *written) driver.Value { return b.DarkV4 }},
	{"looked", "DOUBLE", "share of the bucket observed, 0 to 1", func(b *written) driver.Value { return b.Looked }},
}

// seen is an event with its part.
type seen struct {
	part uint64
	*observe.Event
}

var eventColumns = []column[seen]{
	{"id", "UBIGINT", "of the event", func(e *seen) driver.Value { return e.ID }},
	{"source_hi", "UBIGINT", "source address, upper 64 bits (IPv4 as ::ffff:a.b.c.d)", func(e *seen) driver.Value { return packet.FromNetip(e.Source).Hi }},
	{"source_lo", "UBIGINT", "lower 64 bits", func(e *seen) driver.Value { return packet.FromNetip(e.Source).Lo }},
	{"port", "USMALLINT", "of the destination, of the source in answers", func(e *seen) driver.Value { return e.Port }},
	{"proto", "UTINYINT", "IANA protocol number", func(e *seen) driver.Value { return e.Proto }},
	{"kind", "UTINYINT", "type of the packets", func(e *seen) driver.Value { return uint8(e.Kind) }},
	{"tool", "UTINYINT", "the sending program", func(e *seen) driver.Value { return uint8(e.Tool) }},
	{"flags", "UTINYINT", "what else is known of the source", func(e *seen) driver.Value { return uint8(e.Flags) }},
	{"begun", "BIGINT", "first packet, Unix nanoseconds", func(e *seen) driver.Value { return e.First.UnixNano() }},
	{"ended", "BIGINT", "last packet, Unix nanoseconds", func(e *seen) driver.Value { return e.Last.UnixNano() }},
	{"packets", "UBIGINT", "packets", func(e *seen) driver.Value { return e.Packets }},
	{"targets", "UBIGINT", "distinct dark addresses hit", func(e *seen) driver.Value { return e.Targets.N }},
	{"targets_err", "DOUBLE", "standard error as a share", func(e *seen) driver.Value { return e.Targets.Err }},
	{"targets_at_most", "BOOLEAN", "an upper bound", func(e *seen) driver.Value { return e.Targets.AtMost }},
	{"coverage", "DOUBLE", "targets / dark addresses monitored", func(e *seen) driver.Value { return e.Coverage }},
	{"rate", "DOUBLE", "packets/s", func(e *seen) driver.Value { return e.Rate }},
	{"country", "VARCHAR", "ISO 3166-1 alpha-2, empty unknown", func(e *seen) driver.Value { return e.Country }},
	{"asn", "UINTEGER", "AS number, 0 unknown", func(e *seen) driver.Value { return e.ASN }},
	{"sample", "VARCHAR", "up to four packets in words, a line each", func(e *seen) driver.Value { return strings.Join(e.Sample, "\n") }},
	{"part", "UBIGINT", "the engine run", func(e *seen) driver.Value { return e.part }},
}

// scan reads a row of eventColumns.
func scanEvent(scan func(...any) error) (observe.Event, error) {
	var e observe.Event
	var a packet.Addr
	var first, last int64
	var kind, tool, flags uint8
	var part uint64
	var sample string
	err := scan(&e.ID, &a.Hi, &a.Lo, &e.Port, &e.Proto, &kind, &tool, &flags, &first, &last, &e.Packets, &e.Targets.N, &e.Targets.Err,
		&e.Targets.AtMost, &e.Coverage, &e.Rate, &e.Country, &e.ASN, &sample, &part, &e.Open)
	e.Source = netip.Addr{}
	if a != (packet.Addr{}) {
		e.Source = a.Netip()
	}
	e.Kind, e.Tool, e.Flags = observe.Kind(kind), observe.Tool(tool), observe.Flags(flags)
	e.First, e.Last = unixNano(first), unixNano(last)
	if sample != "" {
		e.Sample = strings.Split(sample, "\n")
	}
	return e, err
}

// migrations are the released steps. DuckDB quirks behind them: no PRIMARY KEY
// and no index, because a key that is deleted and inserted in one transaction
// violates its own constraint, and an index of 35 million rows lives in memory;
// order on disk does an index's work, as every row group of 122,880 rows knows
// the least and greatest value of each column. Times are plain integers: they
// compress better than TIMESTAMP, and mean the same in any session time zone.
func migrations() []store.Migration {
	var b strings.Builder
	for l := range levels {
		ddl(&b, level(l).counts(), countColumns)
		ddl(&b, level(l).heads(), countColumns)
		ddl(&b, oldSets(level(l)), setColumns)
	}
	ddl(&b, "telescope_bucket", bucketColumns)
	ddl(&b, "telescope_event", eventColumns)
	ddl(&b, "telescope_event_open", eventColumns)
	ddl(&b, "telescope_gap", gapColumns)
	ddl(&b, "telescope_import", importColumns)
	// The months whose roll-up stands; a late day takes its month out again.
	b.WriteString("CREATE TABLE telescope_month (start BIGINT NOT NULL);\n")
	return []store.Migration{
		{Version: 1, Name: "counts, events, gaps, imports", SQL: b.String()},
		{Version: 2, Name: "sketches in sheets", Do: toSheets},
		{Version: 3, Name: "heads by sources, too", Do: longerHeads},
		{Version: 4, Name: "minutes in leaves", Do: toLeaves},
	}
}

func ddl[T any](b *strings.Builder, table string, columns []column[T]) {
	fmt.Fprintf(b, "CREATE TABLE %s (", table)
	for i, c := range columns {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(c.name + " " + c.kind)
		if c.kind != "BLOB" {
			b.WriteString(" NOT NULL")
		}
	}
	b.WriteString(");\n")
}

func names[T any](columns []column[T]) string {
	s := make([]string, len(columns))
	for i, c := range columns {
		s[i] = c.name
	}
	return strings.Join(s, ", ")
}

// line appends one row.
func line[T any](row store.Row, columns []column[T], values []driver.Value, of *T) error {
	for i := range columns {
		values[i] = columns[i].value(of)
	}
	return row(values[:len(columns)]...)
}

// Docs describes the tables in Markdown.
func Docs() string {
	var b strings.Builder
	describe(&b, "telescope_count_hour, _day, _month; telescope_head_minute, _hour, _day, _month; blobs telescope/counts/minute (once telescope_count_minute), a file for each minute and part", countColumns)
	describe(&b, "sketches: blobs telescope/sketches/minute, hour, day, month, a file for each bucket and part", setColumns)
	describe(&b, "telescope_bucket", bucketColumns)
	describe(&b, "telescope_event, telescope_event_open", eventColumns)
	describe(&b, "telescope_gap", gapColumns)
	describe(&b, "telescope_import", importColumns)
	return b.String()
}

func describe[T any](b *strings.Builder, name string, columns []column[T]) {
	fmt.Fprintf(b, "### %s\n\n| column | type | meaning |\n|---|---|---|\n", name)
	for _, c := range columns {
		fmt.Fprintf(b, "| %s | %s | %s |\n", c.name, c.kind, strings.ReplaceAll(c.doc, "|", "\\|"))
	}
	b.WriteString("\n")
}
