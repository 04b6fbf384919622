package rpki

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"
)

// ErrFile is in every error about a file's form.
var ErrFile = errors.New("no file of ROAs or ASPAs")

// The most that is read of one file.
const (
	maxFile    = 1 << 30 // bytes, unpacked; of the whole world's ROAs there are some 100 MB of JSON
	maxEntries = 8 << 20
)

// ReadFile reads a file as Read does.
func ReadFile(path string) (*Data, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return d, nil
}

// Read takes JSON or CSV, gzipped or not, and finds out which it is.
//
// JSON is that of rpki-client and Routinator (roas, aspas, metadata), or a list of ROAs.
// CSV has a line of names (rpki-client, Routinator, RIPE's archive), or none and then the
// columns AS, prefix, maximum length and maybe whether it holds. Entries that can't be
// read are counted and left out; a file without one that can is an error.
func Read(r io.Reader) (*Data, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	if magic, _ := b.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrFile, err)
		}
		defer z.Close()
		b = bufio.NewReaderSize(z, 1<<16)
	}
	rest := &io.LimitedReader{R: b, N: maxFile}
	b = bufio.NewReaderSize(rest, 1<<16)
	d := &Data{}
	first, err := skipSpace(b)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: it is empty", ErrFile)
	case first == '{' || first == '[':
		d.Form, err = "json", d.json(b)
	default:
		d.Form, err = "csv", d.csv(b)
	}
	if rest.N <= 0 {
		err = errors.Join(err, fmt.Errorf("it has more than %d MB", maxFile>>20))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	if len(d.ROAs)+len(d.ASPAs)+d.Skipped == 0 && d.Malformed > 0 {
		return nil, fmt.Errorf("%w: none of %d entries can be read, the first: %w", ErrFile, d.Malformed, d.Error)
	}
	d.arrange()
	return d, nil
}

// skipSpace looks at the first byte that is neither white space nor a byte order mark.
func skipSpace(b *bufio.Reader) (byte, error) {
	for {
		c, err := b.ReadByte()
		if err != nil {
			return 0, err
		}
		if !strings.ContainsRune(" \t\r\n\xef\xbb\xbf", rune(c)) && c != 0xef && c != 0xbb && c != 0xbf {
			return c, b.UnreadByte()
		}
	}
}

// jsonROA has the names of all validators.
type jsonROA struct {
	Prefix    string      `json:"prefix"`
	MaxLength *int        `json:"maxLength"`
	AS        asNumber    `json:"asn"`
	Anchor    string      `json:"ta"`
	Expires   json.Number `json:"expires"`
}

type jsonASPA struct {
	Customer  *asNumber   `json:"customer_asid"` // rpki-client
	Customer2 *asNumber   `json:"customer"`      // Routinator
	Providers []asNumber  `json:"providers"`
	Expires   json.Number `json:"expires"`
}

// asNumber is 64500, "64500" or "AS64500"; of an older Routinator also "AS64500(v4)".
type asNumber uint32

// UnmarshalJSON reads any of them.
func (a *asNumber) UnmarshalJSON(b []byte) error {
	n, err := parseAS(strings.Trim(string(b), `"`))
	*a = asNumber(n)
	return err
}

func parseAS(s string) (uint32, error) {
	s = strings.TrimSpace(s)
	s, _, _ = strings.Cut(s, "(")
	if len(s) > 2 && strings.EqualFold(s[:2], "AS") {
		s = s[2:]
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no AS number", s)
	}
	return uint32(n), nil
}

// parsePrefix takes an address alone for itself.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Prefix(a.BitLen())
	}
	return netip.ParsePrefix(s)
}

// json walks the document one entry at a time, so that what is in memory is what is kept.
func (d *Data) json(r io.Reader) error {
	dec := json.NewDecoder(r)
	first, err := dec.Token()
	if err != nil {
		return err
	}
	if first == json.Delim('[') {
		return d.list(dec, d.jsonROA)
	}
	known := false
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return err
		}
		switch name {
		case "metadata":
			var m struct {
				Buildtime string      `json:"buildtime"` // rpki-client
				Generated json.Number `json:"generated"` // Routinator, Unix seconds
			}
			if err := dec.Decode(&m); err != nil {
				return err
			}
			if at, err := time.Parse(time.RFC3339, m.Buildtime); err == nil {
				d.Built = at.UTC()
			} else if n, err := m.Generated.Int64(); err == nil {
				d.Built = time.Unix(n, 0).UTC()
			}
		case "roas":
			known = true
			if err := d.enter(dec, d.jsonROA); err != nil {
				return err
			}
		case "aspas", "provider_authorizations": // as an older rpki-client calls them
			known = true
			if err := d.enter(dec, d.jsonASPA); err != nil {
				return err
			}
		default:
			var skip json.RawMessage
			if err := dec.Decode(&skip); err != nil {
				return err
			}
		}
	}
	if _, err := dec.Token(); err != nil {
		return err
	}
	if !known {
		return errors.New("JSON has neither roas nor aspas in it")
	}
	return nil
}

// enter reads a list, or an object of lists: an older rpki-client has ASPAs by family.
func (d *Data) enter(dec *json.Decoder, one func(*json.Decoder) error) error {
	first, err := dec.Token()
	switch {
	case err != nil:
		return err
	case first == json.Delim('['):
		return d.list(dec, one)
	case first != json.Delim('{'):
		return nil // null
	}
	for dec.More() {
		if _, err := dec.Token(); err != nil {
			return err
		}
		if first, err = dec.Token(); err != nil || first != json.Delim('[') {
			return errors.Join(err, errors.New("a list was expected"))
		}
		if err := d.list(dec, one); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

func (d *Data) list(dec *json.Decoder, one func(*json.Decoder) error) error {
	for dec.More() {
		if len(d.ROAs)+len(d.ASPAs)+d.Malformed >= maxEntries {
			return fmt.Errorf("it has more than %d entries", maxEntries)
		}
		at := dec.InputOffset()
		err := one(dec)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return err // nothing after it can be read
		}
		if err != nil {
			d.bad(fmt.Errorf("at byte %d: %w", at, err))
		}
	}
	_, err := dec.Token()
	return err
}

func (d *Data) bad(err error) {
	if d.Malformed++; d.Error == nil {
		d.Error = err
	}
}

func (d *Data) jsonROA(dec *json.Decoder) error {
	var j jsonROA
	if err := dec.Decode(&j); err != nil {
		return err
	}
	p, err := parsePrefix(j.Prefix)
	if err != nil {
		return err
	}
	most := p.Bits()
	if j.MaxLength != nil {
		most = *j.MaxLength
	}
	return d.add(p, most, uint32(j.AS), j.Anchor, seconds(string(j.Expires)))
}

func (d *Data) jsonASPA(dec *json.Decoder) error {
	var j jsonASPA
	if err := dec.Decode(&j); err != nil {
		return err
	}
	customer := j.Customer
	if customer == nil {
		customer = j.Customer2
	}
	if customer == nil {
		return errors.New("an ASPA names no customer")
	}
	a := ASPA{Customer: uint32(*customer), Expires: seconds(string(j.Expires))}
	for _, p := range j.Providers {
		a.Providers = append(a.Providers, uint32(p))
	}
	d.ASPAs = append(d.ASPAs, a)
	return nil
}

// seconds is a time as Unix seconds, 0 where there is none that can be.
func seconds(s string) uint32 {
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return uint32(n)
	}
	for _, form := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if at, err := time.Parse(form, s); err == nil && at.Unix() > 0 && at.Unix() < 1<<32 {
			return uint32(at.Unix()) // #nosec G115 -- just compared
		}
	}
	return 0
}

// add takes one ROA, if it can be one.
func (d *Data) add(p netip.Prefix, most int, as uint32, anchor string, expires uint32) error {
	if most < 0 || most > 128 {
		return fmt.Errorf("%s has a maximum length of %d", p, most)
	}
	r := ROA{Prefix: p.Masked(), AS: as, MaxLength: uint8(most), Expires: expires}
	if !r.valid() {
		return fmt.Errorf("%s has a maximum length of %d", p, most)
	}
	d.ROAs = append(d.ROAs, r)
	if anchor != "" {
		if d.Anchors == nil {
			d.Anchors = map[string]int{}
		}
		if _, ok := d.Anchors[anchor]; ok || len(d.Anchors) < 64 { // there are five
			d.Anchors[strings.Clone(anchor)]++
		}
	}
	return nil
}

// columns are where a table has what; −1 nowhere.
type columns struct{ as, prefix, most, anchor, expires, holds int }

// csv reads a table.
func (d *Data) csv(r io.Reader) error {
	c := csv.NewReader(r)
	c.FieldsPerRecord, c.ReuseRecord, c.Comment, c.TrimLeadingSpace = -1, true, '#', true
	at := columns{as: 0, prefix: 1, most: 2, anchor: -1, expires: -1, holds: 3}
	for first := true; ; first = false {
		if len(d.ROAs)+d.Malformed+d.Skipped >= maxEntries {
			return fmt.Errorf("it has more than %d lines", maxEntries)
		}
		row, err := c.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		var bad *csv.ParseError
		if err != nil && !errors.As(err, &bad) {
			return err
		}
		if first && err == nil {
			if named, ok := head(row); ok {
				at = named
				continue
			}
		}
		if err == nil {
			err = d.row(row, at)
		}
		if err != nil {
			if bad == nil { // whose error says the line itself
				line, _ := c.FieldPos(0)
				err = fmt.Errorf("line %d: %w", line, err)
			}
			d.bad(err)
		}
	}
}

// head reads a line of names.
func head(row []string) (columns, bool) {
	at := columns{-1, -1, -1, -1, -1, -1}
	for i, name := range row {
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "asn", "as", "origin":
			at.as = i
		case "ip prefix", "prefix":
			at.prefix = i
		case "max length", "maxlength", "max_length", "maxlen":
			at.most = i
		case "trust anchor", "ta":
			at.anchor = i
		case "expires", "not after":
			at.expires = i
		case "valid":
			at.holds = i
		}
	}
	return at, at.as >= 0 && at.prefix >= 0
}

func (d *Data) row(row []string, at columns) error {
	cell := func(i int) string {
		if i < 0 || i >= len(row) {
			return ""
		}
		return strings.TrimSpace(row[i])
	}
	if strings.EqualFold(cell(at.holds), "false") {
		d.Skipped++
		return nil
	}
	as, err := parseAS(cell(at.as))
	if err != nil {
		return err
	}
	p, err := parsePrefix(cell(at.prefix))
	if err != nil {
		return err
	}
	most := p.Bits()
	if s := cell(at.most); s != "" {
		if most, err = strconv.Atoi(s); err != nil {
			return fmt.Errorf("%q is no maximum length", s)
		}
	}
	return d.add(p, most, as, cell(at.anchor), seconds(cell(at.expires)))
}
