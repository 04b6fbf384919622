package flow

import "time"

// What is believed of an exporter's times.
const (
	longest  = int64(time.Hour)        // a record that is older, or spans more, is wrong
	ahead    = int64(2 * time.Second)  // export times are whole seconds: so much a packet may seem to be later than its export
	farOff   = int64(24 * time.Hour)   // a clock that is further off isn't a clock
	jump     = int64(10 * time.Second) // no datagram takes so long: the exporter's clock was set
	remember = int64(time.Minute)      // how long the fastest datagram counts, so that drift is followed
)

// offset is how far this machine's clock is ahead of another: the least of arrival less
// departure within the last minute or two, as a datagram may come late but never early.
type offset struct {
	now, before int64 // the least of this minute and of the one before
	until       int64
	known       bool
	jumps       uint64
}

// take takes one datagram, and gives the offset.
func (o *offset) take(arrival, departure int64) int64 {
	d := arrival - departure
	switch {
	case !o.known:
		o.now, o.before, o.until, o.known = d, d, arrival+remember, true
	case d-o.least() > jump || o.least()-d > jump:
		o.now, o.before, o.until = d, d, arrival+remember
		o.jumps++
	case arrival >= o.until:
		o.before, o.now, o.until = o.now, d, arrival+remember
	default:
		o.now = min(o.now, d)
	}
	return o.least()
}

func (o *offset) least() int64 { return min(o.now, o.before) }

// moment is what a message says of time.
type moment struct {
	arrival int64  // Unix nanoseconds, as everything here
	export  int64  // by the exporter's clock
	skew    int64  // what that clock lacks to ours
	uptime  uint32 // milliseconds; of NetFlow alone
	booted  int64  // when uptime was 0, by our clock; 0: the message has no uptime
	now     int64  // and when it was sent by that
	file    bool   // it is of the past: its records may lie ahead of when it came
}

// start takes when the exporter started, by its clock: IPFIX tells that instead of the
// uptime, if at all.
func (m *moment) start(at int64) {
	if at > 0 && at <= m.export && m.skew < farOff && m.skew > -farOff {
		m.booted, m.now = at+m.skew, m.export+m.skew
		m.uptime = uint32((m.export - at) / 1e6) //nolint:gosec // modulo 2³², as a record's
	}
}

// kind is how a record tells the time.
type kind uint8

const (
	untold kind = iota
	uptime      // milliseconds since the exporter started
	seconds
	milliseconds
	ntp   // RFC 7011 §6.1.9: seconds since 1900 and a fraction
	delta // microseconds before the export
)

// since1900 is the Unix epoch in the seconds of NTP.
const since1900 = 2208988800

// unix converts a time of a record; those that aren't absolute give 0.
func (k kind) unix(v uint64) int64 {
	const most = 1 << 33 // seconds: the year 2242
	switch k {
	case seconds:
		return int64(min(v, most)) * 1e9
	case milliseconds:
		return int64(min(v, most*1000)) * 1e6
	case ntp:
		return (int64(v>>32)-since1900)*1e9 + int64(v&0xffffffff*1e9>>32)
	}
	return 0
}

// span gives when the last packet of a record was by our clock, and how long the record took,
// of raw times as the record tells them. believed is false where the time can't be right,
// and cut tells that the span was too long or turned round.
func (m *moment) span(k kind, first, last uint64) (to, took int64, believed, cut bool) {
	age, at := int64(0), m.arrival
	believed = true
	switch k {
	case untold:
		return m.arrival, 0, true, false
	case uptime: // modulo 49.7 days
		took = int64(int32(uint32(last)-uint32(first))) * 1e6 //nolint:gosec // of 32 bits
		if m.booted != 0 {
			age = int64(int32(m.uptime-uint32(last))) * 1e6 //nolint:gosec // of 32 bits
			at = m.now
		}
	case delta:
		age, took = int64(min(last, 1<<40))*1000, (int64(min(first, 1<<40))-int64(min(last, 1<<40)))*1000
	default:
		l := k.unix(last)
		age, took = m.export-l, l-k.unix(first)
		at = m.export + m.skew
		believed = m.skew < farOff && m.skew > -farOff
	}
	if took < 0 || took > longest {
		took, cut = min(max(took, 0), longest), true
	}
	return at - age, took, believed && age >= -ahead && age <= longest, cut
}

// times are the first and last packet of a record by our clock, as far as they are believed.
func (x *exporter) times(m *moment, k kind, first, last uint64) (from, to int64) {
	to, took, believed, cut := m.span(k, first, last)
	clock := x.source.settings.Clock
	switch {
	case believed && clock != Arrival:
		to = min(to, m.arrival)
	case m.file && clock != Arrival:
		to = x.odd.place(m.arrival, to)
	default:
		to = m.arrival
	}
	if !believed {
		x.counts.clockIgnored++
	}
	if cut {
		x.counts.cut++
	}
	return to - took, to
}

// anchor is what times that can't be right lack to our clock: the first of them is when its
// record came. In a file the others keep their places beside it, as a replayed capture tells
// of packets of another year all at once; of what comes live nothing may lie ahead.
type anchor struct {
	lacks int64
	known bool
}

// place gives a time its place beside those before, or begins anew where that is too far off.
func (a *anchor) place(arrival, told int64) int64 {
	if off := told + a.lacks - arrival; !a.known || off > longest || off < -longest {
		a.lacks, a.known = arrival-told, true
	}
	return told + a.lacks
}
