package forward

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/miekg/dns"

	wire "sakimori/base/wire/dns"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/policy"
)

// Copy is what is known of a zone.
type Copy struct {
	Zone      rpz.Zone  `json:"zone"`
	Serial    uint32    `json:"serial"`
	Records   int       `json:"records"`
	Confirmed time.Time `json:"confirmed,omitzero"` // when a primary last said that it is the newest
	Error     string    `json:"error,omitempty"`
}

// held is a zone in memory: its records without their TTL, so that differences can be
// applied, and what answers by them. One goroutine changes it; what others see is under the
// Secondary's lock.
type held struct {
	Copy
	begun    bool // there is a serial
	unkept   bool // the file is older
	records  map[record]struct{}
	compiled *policy.Zone
}

// record is owner, type and data on the wire, one behind the other: the owner ends itself.
type record string

func (r record) parts() (owner wire.Name, typ uint16, data []byte) {
	n := 0
	for r[n] != 0 {
		n += 1 + int(r[n])
	}
	n++
	b := []byte(r)
	return wire.Name(b[:n]), binary.BigEndian.Uint16(b[n:]), b[n+2:]
}

// compile makes the zone that answers.
func (h *held) compile() error {
	b, err := policy.NewBuilder(h.Zone)
	if err != nil {
		return err
	}
	for r := range h.records {
		if err := b.Record(r.parts()); err != nil {
			return err
		}
	}
	h.compiled = b.Zone(h.Serial)
	return nil
}

// end is the last line of a file: who doesn't find it reads half of one.
const end = "; end"

// write keeps a zone: its SOA first, and the file replaced by renaming.
func (h *held) write(file string) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	w := bufio.NewWriterSize(f, 1<<16)
	fmt.Fprintf(w, "%s 5 IN SOA localhost. root.localhost. %d 5 5 864000 5\n", h.Zone, h.Serial)
	var line []byte
	for r := range h.records {
		owner, typ, data := r.parts()
		line = append(owner.Append(line[:0]), ". 5 IN "...)
		if typ == wire.NS {
			line = append(append(append(line, "NS "...), strings.TrimSuffix(wire.Name(data).String(), ".")...), '.')
		} else {
			line = append(line, policy.Record{Type: typ, Data: data}.String()...)
		}
		_, _ = w.Write(append(line, '\n')) // Flush says it
	}
	fmt.Fprintf(w, "%s %d\n", end, len(h.records))
	if err := errors.Join(w.Flush(), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// read reads what write wrote.
func read(z rpz.Zone, file string) (*held, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := &held{Copy: Copy{Zone: z}, records: map[record]struct{}{}}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<18)
	var buf []byte
	whole := false
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if count, is := strings.CutPrefix(line, end+" "); is {
			whole = count == fmt.Sprint(len(h.records))
			continue
		}
		if owner, target, is := strings.Cut(line, " 5 IN CNAME "); is { // nearly all of them
			o, err := wire.ParseName(owner)
			t, also := wire.ParseName(target)
			if err := errors.Join(err, also); err != nil {
				return nil, fmt.Errorf("%s, line %d: %w", file, n, err)
			}
			buf = append(binary.BigEndian.AppendUint16(append(buf[:0], o...), wire.CNAME), t...)
			h.records[record(buf)] = struct{}{}
			continue
		}
		rr, err := dns.NewRR(line)
		if err != nil || rr == nil {
			return nil, fmt.Errorf("%s, line %d isn't a record: %w", file, n, err)
		}
		if soa, is := rr.(*dns.SOA); is {
			h.Serial, h.begun = soa.Serial, true
			continue
		}
		r, err := recordOf(rr)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", file, n, err)
		}
		h.records[r] = struct{}{}
	}
	switch {
	case lines.Err() != nil:
		return nil, lines.Err()
	case !h.begun:
		return nil, fmt.Errorf("%s has no SOA record", file)
	case !whole:
		return nil, fmt.Errorf("%s isn't whole", file)
	}
	h.Records = len(h.records)
	return h, h.compile()
}

// recordOf is the library's record as one of ours.
func recordOf(rr dns.RR) (record, error) {
	buf := make([]byte, dns.Len(rr)+1)
	end, err := dns.PackRR(rr, buf, 0, nil, false)
	if err != nil {
		return "", err
	}
	owner, at, err := wire.AppendName(nil, buf, 0)
	if err != nil {
		return "", err
	}
	b := binary.BigEndian.AppendUint16(owner, rr.Header().Rrtype)
	return record(append(b, buf[at+10:end]...)), nil
}
