package record

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"sakimori/base/store"
	"sakimori/base/wire/packet"
	"sakimori/observe"
)

// allEvents are the closed and the open ones as one table.
var allEvents = `(SELECT ` + names(eventColumns) + `, false AS open FROM telescope_event WHERE %[1]s
	UNION ALL SELECT ` + names(eventColumns) + `, true AS open FROM telescope_event_open WHERE %[1]s)`

// Events are the events that a query selects, latest last packet first, a page
// at a time: next is the After of the following page, "" on the last one. An
// open event that goes on meanwhile moves to the front.
func (r *Record) Events(ctx context.Context, q observe.EventQuery) (rows []observe.Event, next string, err error) {
	if q.Limit < 1 || q.Limit > 500 {
		return nil, "", fmt.Errorf("telescope record: the limit of a page of events is 1 to 500, not %d", q.Limit)
	}
	where, args, err := conditions(q)
	if err != nil {
		return nil, "", err
	}
	table := allEvents
	if q.Open {
		table = `(SELECT ` + names(eventColumns) + `, true AS open FROM telescope_event_open WHERE %[1]s)`
	} else {
		args = append(args, args...)
	}
	rows, err = r.events(ctx, r.store, fmt.Sprintf(table, where)+` ORDER BY ended DESC, id DESC LIMIT `+strconv.Itoa(q.Limit+1), args...)
	if err != nil {
		return nil, "", wrap(err, "events")
	}
	if len(rows) > q.Limit {
		rows = rows[:q.Limit]
		last := rows[q.Limit-1]
		next = cursor(last.Last.UnixNano(), last.ID)
	}
	return rows, next, nil
}

func (r *Record) events(ctx context.Context, a store.Asker, from string, args ...any) ([]observe.Event, error) {
	rows, err := a.Query(ctx, `SELECT * FROM `+from, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := []observe.Event{}
	for rows.Next() {
		e, err := scanEvent(rows.Scan)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, rows.Err()
}

// conditions is the SQL of a query. Times are compared by single columns, so
// that DuckDB skips the row groups of other times.
func conditions(q observe.EventQuery) (where string, args []any, err error) {
	list := []string{"true"}
	add := func(s string, a ...any) { list, args = append(list, s), append(args, a...) }
	if q.Source.IsValid() {
		add(from(q.Source))
	}
	if q.Port >= 0 {
		if q.Port > 65535 {
			return "", nil, fmt.Errorf("telescope record: %d is no port: use 0 to 65535, or -1 for any", q.Port)
		}
		add("port = " + strconv.Itoa(q.Port))
	}
	if len(q.Kinds) > 0 {
		add("kind IN (" + numbers(q.Kinds) + ")")
	}
	if len(q.Tools) > 0 {
		add("tool IN (" + numbers(q.Tools) + ")")
	}
	if q.Scanners {
		add("flags & " + strconv.Itoa(int(observe.Scanner)) + " != 0")
	}
	if !q.Range.From.IsZero() {
		add("ended >= ?", q.Range.From.UnixNano())
	}
	if !q.Range.To.IsZero() {
		add("begun < ?", q.Range.To.UnixNano())
	}
	if q.After != "" {
		ended, id, err := parseCursor(q.After)
		if err != nil {
			return "", nil, err
		}
		add(fmt.Sprintf("ended <= %d AND (ended < %d OR id < %d)", ended, ended, id))
	}
	return strings.Join(list, " AND "), args, nil
}

// from is the condition for a source. Its halves stand in the text, as
// database/sql refuses a uint64 parameter with its highest bit set.
func from(ip netip.Addr) string {
	a := packet.FromNetip(ip)
	return fmt.Sprintf("source_hi = %d AND source_lo = %d", a.Hi, a.Lo)
}

func numbers[T ~uint8](list []T) string {
	s := make([]string, len(list))
	for i, v := range list {
		s[i] = strconv.Itoa(int(v))
	}
	return strings.Join(s, ", ")
}

func cursor(ended int64, id uint64) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(ended)) //nolint:gosec // comes back the same
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(b, id))
}

func parseCursor(s string) (ended int64, id uint64, err error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != 16 {
		return 0, 0, errors.New("telescope record: this page mark is none of ours: begin again without it")
	}
	return int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint64(b[8:]), nil //nolint:gosec // was one
}

const (
	eventsOfAddress = 500              // the latest ones are listed
	seriesOfAddress = 31 * 24          // hours, the latest
	portsOfAddress  = 1000             // the busiest ones are listed
	hourNs          = int64(time.Hour) // in nanoseconds
)

// Address is what is known of one source, nil when it was never seen. The
// series spreads each event's packets evenly over its life, as packets of one
// source aren't counted by hour; targets of several events are an upper bound.
func (r *Record) Address(ctx context.Context, ip netip.Addr) (out *observe.Address, err error) {
	err = r.view(ctx, func(v picture) error {
		out, err = r.address(ctx, v, ip)
		return err
	})
	return out, wrap(err, "address")
}

func (r *Record) address(ctx context.Context, v picture, ip netip.Addr) (*observe.Address, error) {
	mine := fmt.Sprintf(allEvents, from(ip))
	var n uint64
	var first, last int64
	out := &observe.Address{}
	err := v.QueryRow(ctx, `SELECT count(*)::UBIGINT, coalesce(min(begun), 0), coalesce(max(ended), 0), coalesce(sum(packets), 0)::UBIGINT FROM `+mine).
		Scan(&n, &first, &last, &out.Packets)
	if err != nil || n == 0 {
		return nil, err
	}
	out.First, out.Last = unixNano(first), unixNano(last)
	out.Events, err = r.events(ctx, v, mine+` ORDER BY ended DESC, id DESC LIMIT `+strconv.Itoa(eventsOfAddress))
	if err != nil {
		return nil, err
	}
	if err := portsOf(ctx, v, mine, out); err != nil {
		return nil, err
	}
	out.Series, err = hoursOf(ctx, v, mine, last)
	return out, err
}

// portsOf sums events by the destination port; the source port of an answer is
// nothing that the address asked for.
func portsOf(ctx context.Context, a store.Asker, mine string, out *observe.Address) error {
	var asked []observe.Kind
	for k := range observe.Kind(observe.Kinds) {
		if !k.SourcePort() {
			asked = append(asked, k)
		}
	}
	rows, err := a.Query(ctx, `SELECT proto::UINTEGER << 16 | port AS key, sum(packets)::UBIGINT AS p, sum(targets)::UBIGINT, max(targets_err), count(*) > 1 OR bool_or(targets_at_most)
		FROM `+mine+` WHERE kind IN (`+numbers(asked)+`) GROUP BY key ORDER BY p DESC, key LIMIT `+strconv.Itoa(portsOfAddress))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		w := observe.Row{Sources: observe.Unique{N: 1}}
		if err := rows.Scan(&w.Key, &w.Packets, &w.Targets.N, &w.Targets.Err, &w.Targets.AtMost); err != nil {
			return err
		}
		out.Ports = append(out.Ports, w)
	}
	return rows.Err()
}

func hoursOf(ctx context.Context, v picture, mine string, last int64) ([]observe.Point, error) {
	until := down(last/1e9, hour) + hour
	from := until - seriesOfAddress*hour
	rows, err := v.Query(ctx, `SELECT begun, ended, packets, targets FROM `+mine+` WHERE ended >= ?`, from*1e9)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	points := map[int64]*observe.Point{}
	for rows.Next() {
		var begun, ended int64
		var packets, targets uint64
		if err := rows.Scan(&begun, &ended, &packets, &targets); err != nil {
			return nil, err
		}
		life := uint64(ended-begun) + 1 //nolint:gosec // an event doesn't end before it begins
		for t := max(down(begun/1e9, hour), from); t*1e9 <= ended; t += hour {
			p := points[t]
			if p == nil {
				p = &observe.Point{Time: at(t), Sources: observe.Unique{N: 1}}
				points[t] = p
			}
			// The difference of two running totals, so that the hours of an
			// event add up to its packets.
			n := share(packets, max(begun, t*1e9), begun, life)
			m := share(packets, min(ended+1, t*1e9+hourNs), begun, life)
			p.Packets += m - n
			p.Targets.N += min(targets, m-n)
			p.Targets.AtMost = true
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, t := range v.looked(observe.Hour, from, until) {
		if points[t] == nil {
			points[t] = &observe.Point{Time: at(t)}
		}
	}
	out := make([]observe.Point, 0, len(points))
	for _, p := range points {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(x, y observe.Point) int { return cmp.Compare(x.Time.Unix(), y.Time.Unix()) })
	return out, nil
}

// share is packets × (t − begun) / life, rounded down.
func share(packets uint64, t, begun int64, life uint64) uint64 {
	hi, lo := bits.Mul64(packets, uint64(t-begun)) //nolint:gosec // t is not before begun
	if hi >= life {
		return packets
	}
	q, _ := bits.Div64(hi, lo, life)
	return q
}

// Gaps are the gaps that overlap a range, in order of time.
func (r *Record) Gaps(ctx context.Context, in observe.Range) ([]observe.Gap, error) {
	rows, err := r.store.Query(ctx, `SELECT begun, ended, input, reason, dropped FROM telescope_gap WHERE begun < ? AND ended >= ? ORDER BY begun, ended, input`,
		in.To.UnixNano(), in.From.UnixNano())
	if err != nil {
		return nil, wrap(err, "gaps")
	}
	defer rows.Close()
	out := []observe.Gap{}
	for rows.Next() {
		var g observe.Gap
		var begun, ended int64
		if err := rows.Scan(&begun, &ended, &g.Input, &g.Reason, &g.Dropped); err != nil {
			return nil, wrap(err, "gaps")
		}
		g.From, g.To = unixNano(begun), unixNano(ended)
		out = append(out, g)
	}
	return out, wrap(rows.Err(), "gaps")
}
