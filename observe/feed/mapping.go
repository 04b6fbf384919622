package feed

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"sakimori/observe"
	"sakimori/observe/feed/reading"
)

// Mapping names the columns of a table, or the properties of a JSON object (nested
// ones with dots: "source.ip"). Names are compared in lower case.
type Mapping struct {
	Address string   `yaml:"address"` // required
	Time    string   `yaml:"time"`    // required
	Port    string   `yaml:"port"`    // the source port
	Service string   `yaml:"service"` // the port that is open or was asked
	Proto   string   `yaml:"proto"`
	Family  string   `yaml:"family"`
	Vendor  string   `yaml:"vendor"`
	Model   string   `yaml:"model"`
	Type    string   `yaml:"type"`        // of all rows; or
	TypeIn  string   `yaml:"type_column"` // the column that tells it
	Columns []string `yaml:"columns"`     // of a table without a header
	Comma   string   `yaml:"delimiter"`   // of a table; "" is a comma
	Comment string   `yaml:"comment"`     // what lines to be passed over begin with

	Claim   observe.Claim            `yaml:"claim"` // of all rows that Claims doesn't name; "" other
	ClaimIn string                   `yaml:"claim_column"`
	Claims  map[string]observe.Claim `yaml:"claims"` // by the value of that column

	Mediated   bool     `yaml:"mediated"` // all rows are seen through a resolver or proxy; or
	MediatedIn string   `yaml:"mediated_column"`
	MediatedBy []string `yaml:"mediated_values"` // those with one of these values in that column are
}

// Check says what is missing or wrong.
func (m *Mapping) Check() error {
	switch {
	case m.Address == "" || m.Time == "":
		return errors.New("a mapping names the column of the address and that of the time")
	case len(m.Comma) > 1 || m.Comma == `"` || m.Comma == "\n":
		return fmt.Errorf("a mapping's delimiter is one byte and no quote, not %q", m.Comma)
	case (m.ClaimIn == "") != (len(m.Claims) == 0):
		return errors.New("a mapping's claim_column and claims go together")
	case (m.MediatedIn == "") != (len(m.MediatedBy) == 0):
		return errors.New("a mapping's mediated_column and mediated_values go together")
	case m.Type != "" && m.TypeIn != "":
		return errors.New("a mapping has a type or a type_column, not both")
	}
	if m.Claim != "" && !isClaimed(m.Claim) {
		return fmt.Errorf("claim %q isn't known: use infected, attacking, spamming, exposed, hosting or other", m.Claim)
	}
	for _, c := range m.Claims {
		if !isClaimed(c) {
			return fmt.Errorf("claim %q isn't known: use infected, attacking, spamming, exposed, hosting or other", c)
		}
	}
	return nil
}

func isClaimed(c observe.Claim) bool {
	return slices.Contains([]observe.Claim{observe.ClaimInfected, observe.ClaimAttacking, observe.ClaimSpamming, observe.ClaimExposed, observe.ClaimHosting, observe.ClaimOther}, c)
}

// columns are the roles of the named columns.
func (m *Mapping) columns(yield func(string, role) bool) {
	for _, c := range []struct {
		name string
		role role
	}{
		{m.Address, isAddress},
		{m.Time, isTime},
		{m.Port, isPort},
		{m.Service, isService},
		{m.Proto, isProto},
		{m.Family, isFamily},
		{m.Vendor, isVendor},
		{m.Model, isModel},
		{m.TypeIn, isType},
		{m.ClaimIn, isClaim},
		{m.MediatedIn, isMediated},
	} {
		if c.name != "" && !yield(strings.ToLower(c.name), c.role) {
			return
		}
	}
}

// table reads a table by its mapping.
func (j *job) table(r io.Reader) error {
	m := j.Mapping
	in := &reading.Rows{Lines: *reading.NewLines(r, j.MaxLine), Comma: ',', Skip: m.Comment}
	if m.Comma != "" {
		in.Comma = m.Comma[0]
	}
	h := &header{roles: make([]role, len(m.Columns))}
	if len(m.Columns) > 0 {
		for _, c := range m.Columns {
			h.names = append(h.names, strings.ToLower(c))
		}
		in.Width = len(h.names)
	} else {
		var err error
		if h, err = j.readHeader(in); err != nil {
			return err
		}
	}
	for name, ro := range m.columns {
		// A column may have two uses: of a claim and the type, for instance. The
		// values are read by name, the role says only what mustn't be cut.
		if i := slices.Index(h.names, name); i < 0 {
			return reading.Damaged(nil, "対応表にある列 "+name+" がありません", "there is no column "+name+", which the mapping names")
		} else if h.roles[i] == kept {
			h.roles[i] = ro
		}
	}
	for {
		rw, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		why := h.check(&rw)
		if why == fine {
			rec := record{fields: make([]observe.Field, 0, filled(rw.Fields))}
			for i, v := range rw.Fields[:min(len(rw.Fields), len(h.names))] {
				if v = strings.TrimSpace(v); v != "" {
					rec.fields = append(rec.fields, observe.Field{Name: h.names[i], Value: reading.Clean(v)})
				}
			}
			if why, err = j.mapped(&rec, []byte(rw.Raw), rw.Line); err != nil {
				return err
			}
		}
		if why != fine {
			j.bad(rw.Line, why)
		}
	}
}

// mapped makes a report of a record by the mapping.
func (j *job) mapped(rec *record, raw []byte, line int) (Reason, error) {
	m := j.Mapping
	rep := &observe.Report{Type: m.Type, Claim: m.Claim, Mediated: m.Mediated, Raw: raw}
	if rep.Claim == "" {
		rep.Claim = observe.ClaimOther
	}
	// What is only looked at stays among the fields.
	if m.ClaimIn != "" {
		if c, ok := m.Claims[rec.see(m.ClaimIn)]; ok {
			rep.Claim = c
		}
	}
	if m.MediatedIn != "" && slices.Contains(m.MediatedBy, rec.see(m.MediatedIn)) {
		rep.Mediated = true
	}
	if m.TypeIn != "" {
		rep.Type = rec.see(m.TypeIn)
		rec.take(m.TypeIn)
	}
	t := told{address: rec.take(m.Address), time: rec.take(m.Time), port: rec.take(m.Port), service: rec.take(m.Service), proto: rec.see(m.Proto), family: rec.take(m.Family)}
	why, proto := j.fill(rep, &t, j.Zone)
	if why != fine {
		return why, nil
	}
	if proto {
		rec.take(m.Proto)
	}
	rep.Device = strings.TrimSpace(rec.take(m.Vendor) + " " + rec.take(m.Model))
	rep.Fields = rec.rest()
	return fine, j.good(rep, line)
}

// record is a row or an object by the names of its parts.
type record struct {
	fields []observe.Field
	used   [8]uint64 // bits: was given a place of its own; beyond 512 nothing is
}

func (r *record) find(name string) int {
	if name == "" {
		return -1
	}
	return slices.IndexFunc(r.fields, func(f observe.Field) bool { return strings.EqualFold(f.Name, name) })
}

// see gives a value and leaves it among the fields.
func (r *record) see(name string) string {
	if i := r.find(name); i >= 0 {
		return r.fields[i].Value
	}
	return ""
}

// take gives a value that gets a place of its own.
func (r *record) take(name string) string {
	i := r.find(name)
	if i < 0 {
		return ""
	}
	if i < 512 {
		r.used[i/64] |= 1 << (i % 64)
	}
	return r.fields[i].Value
}

// rest are the fields that weren't taken.
func (r *record) rest() []observe.Field {
	out := r.fields[:0]
	for i, f := range r.fields {
		if i >= 512 || r.used[i/64]&(1<<(i%64)) == 0 {
			out = append(out, f)
		}
	}
	return out
}
