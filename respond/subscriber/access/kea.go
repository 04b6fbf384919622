package access

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"sakimori/respond/subscriber"
)

// ReadKea reads a lease file of Kea's memfile backend, or a dump by kea-admin
// lease-dump: CSV, IPv4 or IPv6, with its columns named in the first line. Columns that
// nothing here asks for are passed over.
//
// A lease in state 0 is a Begin at its client's last transaction, which is expire less
// valid_lifetime (every renewal is a line). One that was reclaimed, released or declined
// is an End when it was to expire. When a lease was given back early, Kea writes a
// lifetime of 0, and the end comes out at the last renewal: the file doesn't know better.
func ReadKea(r io.Reader, o LeaseOptions, emit Emit) (subscriber.Stats, error) {
	k := &kea{book: newBook(o, emit)}
	in := newLines(r)
	for {
		line, long, err := in.next()
		if errors.Is(err, io.EOF) {
			return k.stats, nil
		}
		if err != nil {
			return k.stats, fmt.Errorf("lease file, line %d: %w", in.number+1, err)
		}
		switch {
		case long:
			k.bad(in.number, "a line is too long")
		case len(bytes.TrimSpace(line)) == 0:
		case k.columns == nil:
			if err := k.heading(string(line)); err != nil {
				return k.stats, fmt.Errorf("lease file, line %d: %w", in.number, err)
			}
		case bytes.HasPrefix(line, []byte("address,")): // files that were put together
			if err := k.heading(string(line)); err != nil {
				return k.stats, fmt.Errorf("lease file, line %d: %w", in.number, err)
			}
		default:
			if err := k.row(string(line), in.number); err != nil {
				return k.stats, err
			}
		}
	}
}

// column is one that is read.
type column uint8

const (
	passed column = iota
	address
	hwaddr
	clientID
	duid
	lifetime
	expire
	iaid
	leaseType
	prefixLen
	leaseState
	userContext
	columns // how many
)

// kea reads rows by the heading.
type kea struct {
	*book
	columns []column
}

// mostColumns is more than any version of Kea has.
const mostColumns = 64

func (k *kea) heading(line string) error {
	names := strings.Split(line, ",")
	if len(names) > mostColumns {
		return errors.New("not a lease file of Kea: too many columns")
	}
	known := map[string]column{
		"address": address, "hwaddr": hwaddr, "client_id": clientID, "duid": duid, "valid_lifetime": lifetime, "expire": expire,
		"iaid": iaid, "lease_type": leaseType, "prefix_len": prefixLen, "state": leaseState, "user_context": userContext,
	}
	var have [columns]bool
	k.columns = k.columns[:0]
	for _, n := range names {
		c := known[strings.TrimSpace(n)]
		k.columns = append(k.columns, c)
		have[c] = true
	}
	if !have[address] || !have[lifetime] || !have[expire] {
		return errors.New("not a lease file of Kea: its first line must name the columns address, valid_lifetime and expire")
	}
	return nil
}

func (k *kea) row(line string, number uint64) error {
	var f [columns]string
	n := 0
	for v := range strings.SplitSeq(line, ",") {
		if n == len(k.columns) {
			k.bad(number, "more fields than the first line names")
			return nil
		}
		f[k.columns[n]] = v
		n++
	}
	if n < len(k.columns) {
		k.bad(number, "fewer fields than the first line names")
		return nil
	}
	l, why := row(&f)
	if why != "" {
		k.bad(number, why)
		return nil
	}
	return k.take(&l, number)
}

// The states of a lease in Kea.
const (
	assigned   = "0"
	declined   = "1"
	reclaimed  = "2"
	released   = "3"
	registered = "4" // an address that its host chose (RFC 9686)
)

func row(f *[columns]string) (l lease, why string) {
	a, err := netip.ParseAddr(f[address])
	if err != nil || a.Zone() != "" {
		return l, noAddress
	}
	bits := a.BitLen()
	switch f[leaseType] {
	case "", "0", "1", "IA_NA", "IA_TA":
	case "2", "IA_PD":
		n, err := strconv.ParseUint(f[prefixLen], 10, 8)
		if err != nil || int(n) > a.BitLen() {
			return l, "a delegated prefix without a length"
		}
		bits = int(n)
	default:
		return l, "an unknown type of lease"
	}
	l.address = netip.PrefixFrom(a, bits)
	life, err1 := strconv.ParseUint(f[lifetime], 10, 32)
	end, err2 := strconv.ParseInt(f[expire], 10, 64)
	if err1 != nil || err2 != nil || end < 0 || end > 1<<33 {
		return l, noTime
	}
	l.until = time.Unix(end, 0).UTC()
	l.given = l.until.Add(-time.Duration(life) * time.Second)
	switch f[leaseState] {
	case "", assigned, registered:
		l.over = life == 0
	case declined, reclaimed, released:
		l.over = true
		if f[leaseState] == declined { // the client found somebody else at it, there and then
			l.until = l.given
		}
	default:
		return l, "an unknown state"
	}
	if life == 1<<32-1 && !l.over { // for ever
		l.until = time.Time{}
	}
	if n, err := strconv.ParseUint(f[iaid], 10, 32); err == nil {
		l.iaid = uint32(n)
	}
	return l, clients(f, &l)
}

// clients reads who has it.
func clients(f *[columns]string, l *lease) (why string) {
	var ok [3]bool
	client := f[duid]
	if client == "" {
		client = f[clientID]
	}
	l.client, ok[0] = fromColons(client)
	l.mac, ok[1] = fromColons(f[hwaddr])
	l.circuit, l.remote, ok[2] = relayed(unescape(f[userContext]))
	switch {
	case !ok[0] || !ok[1]:
		return "an identifier can't be read"
	case !ok[2]:
		return "its user_context can't be read"
	}
	return ""
}

// unescape undoes what Kea writes for commas and the like: "&#x2c".
func unescape(s string) string {
	const mark = "&#x"
	if !strings.Contains(s, mark) {
		return s
	}
	var out strings.Builder
	for {
		before, after, ok := strings.Cut(s, mark)
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		if len(after) >= 2 {
			if n, err := strconv.ParseUint(after[:2], 16, 8); err == nil {
				out.WriteByte(byte(n))
				s = after[2:]
				continue
			}
		}
		out.WriteString(mark)
		s = after
	}
}
