package record

import (
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"

	"sakimori/base/store"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// kept is a row as it stands in a table.
type kept struct {
	start int64
	part  uint64
	*row

	src, dst place
	customer string
	ours     uint8

	raw *observe.Flow // where the grain is raw
	id  uint64
}

type place struct {
	country uint16 // two letters, 0 unknown
	as      uint32
}

// column is one column: the one place from which the DDL, what the appender writes and
// the documentation come.
type column struct {
	name, kind, doc string
	value           func(*kept) driver.Value
}

// Addresses are in two halves: DuckDB's INET knows no prefix comparison that prunes.
var columns = []column{
	{"start", "BIGINT", "start of the bucket, Unix seconds", func(k *kept) driver.Value { return k.start }},
	{"id", "UBIGINT", "of the row within its bucket: the same for the same keys; a raw record's number", func(k *kept) driver.Value { return k.id }},
	{"part", "UBIGINT", "who wrote it", func(k *kept) driver.Value { return k.part }},
	{"exporter", "UINTEGER", "number of the exporter", func(k *kept) driver.Value { return k.exporter() }},
	{"in_if", "UINTEGER", "SNMP index of the interface it came in by, 0 not told", func(k *kept) driver.Value { return k.in() }},
	{"out_if", "UINTEGER", "and by which it went out", func(k *kept) driver.Value { return k.out() }},
	{"src_hi", "UBIGINT", "source address, upper 64 bits (IPv4 as ::ffff:a.b.c.d)", func(k *kept) driver.Value { return k.key.src.Hi }},
	{"src_lo", "UBIGINT", "lower 64 bits", func(k *kept) driver.Value { return k.key.src.Lo }},
	{"dst_hi", "UBIGINT", "destination address, upper 64 bits", func(k *kept) driver.Value { return k.key.dst.Hi }},
	{"dst_lo", "UBIGINT", "lower 64 bits", func(k *kept) driver.Value { return k.key.dst.Lo }},
	{"proto", "UTINYINT", "IANA protocol number", func(k *kept) driver.Value { return k.proto() }},
	{"src_port", "USMALLINT", "source port", func(k *kept) driver.Value { return k.srcPort() }},
	{"dst_port", "USMALLINT", "destination port, of ICMP type<<8|code", func(k *kept) driver.Value { return k.dstPort() }},
	{"flags", "UTINYINT", "TCP flags of all packets together", func(k *kept) driver.Value { return k.flags() }},
	{"tos", "UTINYINT", "type of service", func(k *kept) driver.Value { return k.tos() }},
	{"marks", "UTINYINT", "1 sample, 2 fragment, 4 inner, 8 dropped, 16 egress, 32 flags not told", func(k *kept) driver.Value { return k.marks() }},
	{"folded", "UTINYINT", "what the row leaves out: 1 source, 2 destination, 4 source port, 8 destination port, 16 interfaces and protocol", func(k *kept) driver.Value { return uint8(k.folded()) }},
	{"ours", "UTINYINT", "1 the source is ours, 2 the destination", func(k *kept) driver.Value { return k.ours }},
	{"packets", "UBIGINT", "packets, scaled by sampling", func(k *kept) driver.Value { return k.packets }},
	{"bytes", "UBIGINT", "bytes, scaled by sampling", func(k *kept) driver.Value { return k.bytes }},
	{"flows", "UBIGINT", "flows that ended", func(k *kept) driver.Value { return k.flows }},
	{"seen", "UBIGINT", "packets that exporters looked at", func(k *kept) driver.Value { return k.seen }},
	{"packets_var", "DOUBLE", "variance of packets by sampling, 0 exact", func(k *kept) driver.Value { return k.packetsVariance }},
	{"bytes_var", "DOUBLE", "variance of bytes by sampling", func(k *kept) driver.Value { return k.bytesVariance }},
	{"src_as", "UINTEGER", "AS of the source, 0 unknown", func(k *kept) driver.Value { return k.src.as }},
	{"dst_as", "UINTEGER", "AS of the destination", func(k *kept) driver.Value { return k.dst.as }},
	{"src_country", "USMALLINT", "its country, two letters as first<<8|second, 0 unknown", func(k *kept) driver.Value { return k.src.country }},
	{"dst_country", "USMALLINT", "of the destination", func(k *kept) driver.Value { return k.dst.country }},
	{"customer", "VARCHAR", "customer of the destination where it is ours, else of the source", func(k *kept) driver.Value { return k.customer }},
}

var rawColumns = append(slices.Clip(columns),
	column{"first", "BIGINT", "first packet, Unix nanoseconds", func(k *kept) driver.Value { return k.raw.First }},
	column{"last", "BIGINT", "last packet, Unix nanoseconds", func(k *kept) driver.Value { return k.raw.Last }},
	column{"rate", "UINTEGER", "one packet of so many was looked at", func(k *kept) driver.Value { return k.raw.Rate }},
)

// Tables by grain. What a part counted since the last Save stands in flow_fresh until
// its minute is over.
var tables = [...]string{"flow_raw", "flow_minute", "flow_five", "flow_hour"}

const fresh = "flow_fresh"

// Their order on disk is that of time, which does an index's work: a row group of
// 122,880 rows knows the least and greatest value of each column.
func migrations() []store.Migration {
	var b strings.Builder
	for _, t := range append(tables[1:len(tables):len(tables)], fresh) {
		ddl(&b, t, columns)
	}
	ddl(&b, tables[observe.FlowRaw], rawColumns)
	b.WriteString(`CREATE TABLE flow_bucket (grain UTINYINT NOT NULL, start BIGINT NOT NULL, part UBIGINT NOT NULL, lacks UBIGINT NOT NULL, raw_left UBIGINT NOT NULL);
CREATE TABLE flow_part (part UBIGINT NOT NULL, serial UBIGINT NOT NULL, minute_until BIGINT NOT NULL, five_until BIGINT NOT NULL, hour_until BIGINT NOT NULL, stats VARCHAR NOT NULL);
`)
	return []store.Migration{{Version: 1, Name: "flows by grain", SQL: b.String()}}
}

func ddl(b *strings.Builder, table string, columns []column) {
	fmt.Fprintf(b, "CREATE TABLE %s (", table)
	for i, c := range columns {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(c.name + " " + c.kind + " NOT NULL")
	}
	b.WriteString(");\n")
}

// Docs describes the tables in Markdown.
func Docs() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### flow_minute, flow_five, flow_hour, flow_fresh; flow_raw with first, last and rate\n\n| column | type | meaning |\n|---|---|---|\n")
	for _, c := range rawColumns {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", c.name, c.kind, strings.ReplaceAll(c.doc, "|", "\\|"))
	}
	return b.String()
}

// appendRows writes rows to a table.
func appendRows(tx *store.Tx, table string, columns []column, rows []*kept) error {
	if len(rows) == 0 {
		return nil
	}
	values := make([]driver.Value, len(columns))
	return tx.Append(table, func(row store.Row) error {
		for _, k := range rows {
			for j := range columns {
				values[j] = columns[j].value(k)
			}
			if err := row(values...); err != nil {
				return err
			}
		}
		return nil
	})
}

// whereabouts asks for places and customers; rows of one address come together.
type whereabouts struct {
	o     *Options
	addrs [2]packet.Addr
	last  [2]struct {
		place
		customer string
		ours     bool
	}
}

// side is what is known of one end; i tells which.
func (w *whereabouts) side(i int, a packet.Addr, as uint32) (place, string, bool) {
	if a == (packet.Addr{}) {
		return place{as: as}, "", false
	}
	l := &w.last[i]
	if w.addrs[i] != a {
		w.addrs[i] = a
		*l = struct {
			place
			customer string
			ours     bool
		}{}
		if w.o.Places != nil {
			country, as := w.o.Places.Place(a)
			l.as = as
			if len(country) == 2 {
				l.country = uint16(country[0])<<8 | uint16(country[1])
			}
		}
		if w.o.Customers != nil {
			l.customer, l.ours = w.o.Customers.Customer(a)
		}
	}
	p := l.place
	if as != 0 {
		p.as = as
	}
	return p, l.customer, l.ours
}

// keep is a row as it is to stand.
func (w *whereabouts) keep(start int64, r *row) *kept {
	k := &kept{start: start, part: w.o.Part, row: r}
	var from, to string
	var srcOurs, dstOurs bool
	k.src, from, srcOurs = w.side(0, r.key.src, r.srcAS)
	k.dst, to, dstOurs = w.side(1, r.key.dst, r.dstAS)
	if srcOurs {
		k.ours, k.customer = 1, from
	}
	if dstOurs {
		k.ours |= 2
		k.customer = to
	}
	k.id = r.hash(&known)
	return k
}
