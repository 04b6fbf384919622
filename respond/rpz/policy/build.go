package policy

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/gaissmai/bart"

	"sakimori/base/wire/dns"
	"sakimori/respond/rpz"
)

// ErrRule is a rule that a zone can't hold.
var ErrRule = errors.New("not a rule of a policy zone")

// Builder compiles a zone, rule by rule or record by record as they are transferred. What
// comes first of two rules for the same trigger stands; local data is added up.
type Builder struct {
	z      *Zone
	apex   dns.Name
	known  map[string]uint32 // outcome by its form
	last   string            // reference that was written last
	lastAt uint32
	edits  bool // a zone that others look into was there before
}

// NewBuilder begins a zone.
func NewBuilder(zone rpz.Zone) (*Builder, error) {
	apex, err := dns.ParseName(string(zone))
	if err != nil {
		return nil, err
	}
	return &Builder{z: &Zone{name: zone, refs: make([]byte, 1), slots: make([]uint64, 16), clients: &bart.Table[clientRule]{}}, apex: apex, known: map[string]uint32{}}, nil
}

// Compile makes a zone of rules.
func Compile(zone rpz.Zone, serial uint32, rules []rpz.Rule) (*Zone, error) {
	b, err := NewBuilder(zone)
	if err != nil {
		return nil, err
	}
	for i, r := range rules {
		if err := b.Add(r); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	return b.Zone(serial), nil
}

// Zone ends the work; the Builder must not be used after it.
func (b *Builder) Zone(serial uint32) *Zone {
	b.z.serial = serial
	return b.z
}

// Add takes a rule.
func (b *Builder) Add(r rpz.Rule) error {
	o := outcome{action: r.Action, words: r.Data}
	switch {
	case (r.Name == "") == !r.Client.IsValid():
		return fmt.Errorf("%w: give a name or a client", ErrRule)
	case r.Action > rpz.Local:
		return fmt.Errorf("%w: action %d", ErrRule, r.Action)
	case (r.Action == rpz.Local) != (len(r.Data) > 0):
		return fmt.Errorf("%w: %s %s: records belong to local data, and to nothing else", ErrRule, r.Name, r.Client)
	}
	for _, w := range r.Data {
		rec, err := parseRecord(w)
		if err != nil {
			return err
		}
		o.data = append(o.data, rec)
	}
	if r.Client.IsValid() {
		return b.client(r.Client, o, r.Ref)
	}
	name, err := dns.ParseName(r.Name)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRule, err)
	}
	return b.byName(name, o, r.Ref)
}

// Record takes a record as it was transferred: owner and names in data absolute, not
// compressed, in lower case. Those at the apex aren't rules.
func (b *Builder) Record(owner dns.Name, typ uint16, data []byte) error {
	if !owner.Below(b.apex) {
		return fmt.Errorf("%w: %s doesn't stand in %s", ErrRule, owner, b.z.name)
	}
	if len(owner) == len(b.apex) {
		return nil
	}
	trigger := append(bytes.Clone(owner[:len(owner)-len(b.apex)]), 0)
	o, ok := outcomeOf(typ, data)
	if !ok {
		b.z.passed++ // RRSIG and the like
		return nil
	}
	labels := split(trigger)
	switch last := string(labels[len(labels)-1]); last {
	case "rpz-client-ip":
		p, err := prefixOf(labels[:len(labels)-1])
		if err != nil {
			return err
		}
		return b.client(p, o, "")
	case "rpz-ip", "rpz-nsip", "rpz-nsdname":
		b.z.passed++
		return nil
	}
	return b.byName(trigger, o, "")
}

// outcomeOf reads what a record does: the draft hides actions in targets of CNAME.
func outcomeOf(typ uint16, data []byte) (outcome, bool) {
	switch typ {
	case dns.CNAME:
		switch t := dns.Name(data).String(); t {
		case ".":
			return outcome{action: rpz.NXDomain}, true
		case "*":
			return outcome{action: rpz.NoData}, true
		case "rpz-passthru":
			return outcome{action: rpz.Passthru}, true
		case "rpz-drop":
			return outcome{action: rpz.Drop}, true
		case "rpz-tcp-only":
			return outcome{action: rpz.TCPOnly}, true
		}
	case dns.DNAME, 46, 47, 48, 50, 43, dns.SOA, dns.NS: // RRSIG, NSEC, DNSKEY, NSEC3, DS
		return outcome{}, false
	}
	rec := Record{typ, bytes.Clone(data)}
	return outcome{action: rpz.Local, data: []Record{rec}, words: []string{rec.String()}}, true
}

func split(name dns.Name) (labels [][]byte) {
	for i := 0; i < len(name) && name[i] != 0; i += 1 + int(name[i]) {
		labels = append(labels, name[i+1:i+1+int(name[i])])
	}
	return labels
}

// prefixOf reads 24.0.2.0.192 and 48.zz.1.db8.2001 (draft §4.1.1).
func prefixOf(labels [][]byte) (netip.Prefix, error) {
	bad := func() (netip.Prefix, error) {
		return netip.Prefix{}, fmt.Errorf("%w: %q isn't a client's address", ErrRule, bytes.Join(labels, []byte(".")))
	}
	if len(labels) < 2 {
		return bad()
	}
	bits, err := strconv.Atoi(string(labels[0]))
	if err != nil {
		return bad()
	}
	parts := make([]string, 0, 8)
	v6 := len(labels) != 5
	for i := len(labels) - 1; i > 0; i-- {
		if p := string(labels[i]); p == "zz" {
			v6, parts = true, append(parts, "")
		} else {
			parts = append(parts, p)
		}
	}
	text := strings.Join(parts, ".")
	if v6 {
		text = strings.Join(parts, ":")
		if strings.HasPrefix(text, ":") {
			text = ":" + text
		}
		if strings.HasSuffix(text, ":") {
			text += ":"
		}
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return bad()
	}
	p := netip.PrefixFrom(a, bits)
	if !p.IsValid() || p.Masked() != p {
		return bad()
	}
	return p, nil
}

func (b *Builder) client(p netip.Prefix, o outcome, ref string) error {
	if p.Masked() != p {
		return fmt.Errorf("%w: %s has bits set behind its length", ErrRule, p)
	}
	if old, ok := b.z.clients.Get(p); ok {
		merged, ok := merge(b.z.outcomes[old.out], o)
		if ok {
			old.out = b.outcome(merged)
			b.put(p, old)
		}
		return nil
	}
	b.put(p, clientRule{p, b.outcome(o), b.ref(ref)})
	b.z.rules++
	return nil
}

// put puts a client's rule into the table, or into a new one if others look into this.
func (b *Builder) put(p netip.Prefix, r clientRule) {
	if b.edits {
		b.z.clients = b.z.clients.InsertPersist(p, r)
	} else {
		b.z.clients.Insert(p, r)
	}
}

func (b *Builder) byName(name dns.Name, o outcome, ref string) error {
	kind := exact
	if len(name) >= 3 && name[0] == 1 && name[1] == '*' {
		kind, name = wild, name[2:]
	}
	e, err := b.entry(name)
	if err != nil {
		return err
	}
	if e.out[kind] != 0 {
		if merged, ok := merge(b.z.outcomes[e.out[kind]-1], o); ok {
			e.out[kind] = b.outcome(merged) + 1
		}
		return nil
	}
	e.out[kind], e.ref[kind] = b.outcome(o)+1, b.ref(ref)
	b.z.depths[kind] |= 1 << min(name.Labels(), 63)
	b.z.rules++
	return nil
}

// merge adds up local data; everything else stands as it came first.
func merge(old, more outcome) (outcome, bool) {
	if old.action != rpz.Local || more.action != rpz.Local {
		return old, false
	}
	return outcome{rpz.Local, append(slices.Clip(old.data), more.data...), append(slices.Clip(old.words), more.words...)}, true
}

// entry finds or makes the entry of a name.
func (b *Builder) entry(name dns.Name) (*entry, error) {
	z := b.z
	hash := maphash.Bytes(seed, name)
	if e := z.entry(hash, name); e != nil {
		return e, nil
	}
	if len(z.names)+1+len(name) > 1<<32-1 || len(z.entries) >= 1<<31 {
		return nil, fmt.Errorf("%w: %s holds more names than 4 GiB", ErrRule, z.name)
	}
	if 4*(len(z.entries)+1) > 3*len(z.slots) {
		z.grow()
	}
	z.entries = append(z.entries, entry{at: uint32(len(z.names))}) // #nosec G115 -- bounded above
	z.names = append(append(z.names, byte(len(name))), name...)    // #nosec G115 -- 255 at most
	z.put(hash, uint32(len(z.entries)))                            // #nosec G115 -- bounded above
	return &z.entries[len(z.entries)-1], nil
}

func (z *Zone) put(hash uint64, number uint32) {
	mask := uint64(len(z.slots) - 1) // #nosec G115 -- never empty
	i := hash & mask
	for z.slots[i] != 0 {
		i = (i + 1) & mask
	}
	z.slots[i] = hash>>32<<32 | uint64(number)
}

func (z *Zone) grow() {
	z.slots = make([]uint64, 2*len(z.slots))
	for i, e := range z.entries {
		z.put(maphash.Bytes(seed, z.nameAt(e.at)), uint32(i+1))
	}
}

// form tells outcomes apart.
func (o *outcome) form() string {
	form := []byte{byte(o.action)}
	for _, d := range o.data {
		form = fmt.Appendf(form, " %d %x", d.Type, d.Data)
	}
	return string(form)
}

func (b *Builder) outcome(o outcome) uint32 {
	key := o.form()
	if n, ok := b.known[key]; ok {
		return n
	}
	n := uint32(len(b.z.outcomes)) // #nosec G115 -- no more than there are entries
	b.z.outcomes = append(b.z.outcomes, o)
	b.known[key] = n
	return n
}

// ref keeps a reference; a name and its wildcard, which come together, share one.
func (b *Builder) ref(ref string) uint32 {
	if ref == "" {
		return 0
	}
	if ref == b.last {
		return b.lastAt
	}
	ref = ref[:min(len(ref), 1<<16-1)]
	b.last, b.lastAt = ref, uint32(len(b.z.refs))                                        // #nosec G115 -- fewer bytes than fill it
	b.z.refs = append(binary.BigEndian.AppendUint16(b.z.refs, uint16(len(ref))), ref...) // #nosec G115 -- cut above
	return b.lastAt
}

// parseRecord reads "A 192.0.2.1" and its like: A, AAAA, CNAME, TXT, and any other in the
// form of RFC 3597.
func parseRecord(s string) (Record, error) {
	typ, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
	rest = strings.TrimSpace(rest)
	bad := fmt.Errorf("%w: %.80q: local data is A, AAAA, CNAME, TXT, or TYPEn \\# length hex", ErrRule, s)
	switch strings.ToUpper(typ) {
	case "A", "AAAA":
		a, err := netip.ParseAddr(rest)
		if err != nil || a.Zone() != "" || a.Is4() != strings.EqualFold(typ, "A") {
			return Record{}, bad
		}
		if a.Is4() {
			return Record{dns.A, a.AsSlice()}, nil
		}
		return Record{dns.AAAA, a.AsSlice()}, nil
	case "CNAME":
		n, err := dns.ParseName(rest)
		if err != nil {
			return Record{}, bad
		}
		return Record{dns.CNAME, n}, nil
	case "TXT":
		data, ok := parseStrings(rest)
		if !ok {
			return Record{}, bad
		}
		return Record{dns.TXT, data}, nil
	}
	number, ok := strings.CutPrefix(strings.ToUpper(typ), "TYPE")
	n, err := strconv.ParseUint(number, 10, 16)
	fields := strings.Fields(rest)
	if !ok || err != nil || len(fields) < 2 || fields[0] != `\#` {
		return Record{}, bad
	}
	data, err := hex.DecodeString(strings.Join(fields[2:], ""))
	if err != nil || fields[1] != strconv.Itoa(len(data)) {
		return Record{}, bad
	}
	return Record{uint16(n), data}, nil
}

// parseStrings reads the strings of a TXT record, quoted or not.
func parseStrings(s string) (data []byte, ok bool) {
	for i := 0; i < len(s); {
		if s[i] == ' ' || s[i] == '\t' {
			i++
			continue
		}
		quoted := s[i] == '"'
		if quoted {
			i++
		}
		at := len(data)
		data = append(data, 0)
		for ; i < len(s) && (quoted && s[i] != '"' || !quoted && s[i] != ' '); i++ {
			c := s[i]
			if c == '\\' && i+1 < len(s) {
				i++
				c = s[i]
				if c >= '0' && c <= '9' {
					if i+2 >= len(s) {
						return nil, false
					}
					v, err := strconv.ParseUint(s[i:i+3], 10, 8)
					if err != nil {
						return nil, false
					}
					c, i = byte(v), i+2
				}
			}
			data = append(data, c)
		}
		if quoted && i >= len(s) || len(data)-at-1 > 255 {
			return nil, false
		}
		if quoted {
			i++
		}
		data[at] = byte(len(data) - at - 1) // #nosec G115 -- 255 at most
	}
	return data, len(data) > 0
}

// String writes the record as parseRecord reads it.
func (r Record) String() string {
	switch {
	case r.Type == dns.A && len(r.Data) == 4, r.Type == dns.AAAA && len(r.Data) == 16:
		a, _ := netip.AddrFromSlice(r.Data)
		if r.Type == dns.A {
			return "A " + a.String()
		}
		return "AAAA " + a.String()
	case r.Type == dns.CNAME:
		return "CNAME " + strings.TrimSuffix(dns.Name(r.Data).String(), ".") + "."
	case r.Type == dns.TXT:
		if s, ok := r.txt(); ok {
			return s
		}
	}
	return fmt.Sprintf(`TYPE%d \# %d %x`, r.Type, len(r.Data), r.Data)
}

func (r Record) txt() (string, bool) {
	out := []byte("TXT")
	for d := r.Data; len(d) > 0; {
		n := int(d[0])
		if n >= len(d) {
			return "", false
		}
		out = append(out, ' ', '"')
		for _, c := range d[1 : 1+n] {
			switch {
			case c == '"' || c == '\\':
				out = append(out, '\\', c)
			case c < ' ' || c >= 0x7f:
				out = fmt.Appendf(out, `\%03d`, c)
			default:
				out = append(out, c)
			}
		}
		out = append(out, '"')
		d = d[1+n:]
	}
	return string(out), len(r.Data) > 0
}
