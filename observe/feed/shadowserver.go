package feed

import (
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"sakimori/observe"
	"sakimori/observe/feed/reading"
)

// role is what a column is to a report.
type role uint8

const (
	kept role = iota // a Field
	isAddress
	isTime
	isPort
	isService
	isProto
	isFamily
	isInfection
	isVendor
	isModel
	isType
	isClaim
	isMediated
	roles
)

// weighs are the roles whose value must not be cut: half an address is another one.
func (r role) weighs() bool {
	return r == isAddress || r == isTime || r == isPort || r == isService
}

// mostColumns of a header; Shadowserver's widest has some 150.
const mostColumns = 1000

// header is the first line of a table, each column with its role.
type header struct {
	names []string
	roles []role
}

// has finds a column by its name.
func (h *header) has(name string) bool { return slices.Contains(h.names, name) }

// give gives the first column of that name a role.
func (h *header) give(name string, r role) bool {
	i := slices.Index(h.names, name)
	if i < 0 {
		return false
	}
	h.roles[i] = r
	return true
}

// readHeader reads the first row of a table.
func (j *job) readHeader(in *reading.Rows) (*header, error) {
	rw, err := in.Next()
	switch {
	case errors.Is(err, io.EOF):
		return nil, reading.Damaged(nil, "空のファイルです", "the file is empty")
	case err != nil:
		return nil, err
	case rw.Why != reading.Fine || len(rw.Fields) > mostColumns:
		return nil, reading.Damaged(nil, "見出しの行が壊れています", "the header is broken: is this a table of comma-separated values?")
	}
	h := &header{}
	for i, name := range rw.Fields {
		if i == 0 {
			name = strings.TrimPrefix(name, "\ufeff")
		}
		h.names = append(h.names, strings.ToLower(strings.TrimSpace(reading.Clean(name))))
	}
	h.roles = make([]role, len(h.names))
	in.Width = len(h.names)
	return h, nil
}

// check tells whether a row has the columns it needs. A row that is too short is
// taken when neither what it lacks nor what it ends with weighs.
func (h *header) check(rw *reading.Row) Reason {
	if rw.Why != reading.Fine {
		return because[rw.Why]
	}
	n := len(rw.Fields)
	if n > len(h.roles) {
		for _, f := range rw.Fields[len(h.roles):] {
			if f != "" {
				return tooMany
			}
		}
		return fine
	}
	if n < len(h.roles) {
		for _, r := range h.roles[n-1:] {
			if r.weighs() {
				return tooFew
			}
		}
	}
	if rw.Cut && h.roles[n-1].weighs() {
		return cutOff
	}
	return fine
}

// shadowserver reads a report of Shadowserver: a table whose header names the
// columns. Which of them the house knows is said here; all others are Fields. Times
// are UTC (shadowserver.org: "timestamp in UTC+0").
func (j *job) shadowserver(r io.Reader) error {
	typ := j.Type
	if typ == "" {
		typ = typeOf(j.Name)
	}
	k, known := kindOf(typ)
	in := &reading.Rows{Lines: *reading.NewLines(r, j.MaxLine), Comma: ','}
	h, err := j.readHeader(in)
	if err != nil {
		return err
	}
	if !h.give("timestamp", isTime) || !slices.ContainsFunc(k.ours, func(c string) bool { return h.give(c, isAddress) }) {
		return reading.Damaged(nil, "見出しに timestamp とアドレスの列（"+strings.Join(k.ours, "、")+"）がありません",
			"the header has no column timestamp or none for the address ("+strings.Join(k.ours, " or ")+"): is it a report of Shadowserver's?")
	}
	j.assign(h, k)
	s := shadow{job: j, header: h, kind: k, typ: typ}
	for {
		rw, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !known {
			j.st.Unknown++
		}
		why := h.check(&rw)
		var rep *observe.Report
		if why == fine {
			rep, why = s.row(&rw)
		}
		if why != fine {
			j.bad(rw.Line, why)
			continue
		}
		if err := j.good(rep, rw.Line); err != nil {
			return err
		}
	}
}

// assign gives the columns of a type their roles. The port beside "ip" is the
// service that answered there; those of an event have names of their own.
func (j *job) assign(h *header, k kind) {
	h.give("protocol", isProto)
	h.give("family", isFamily)
	if k.malware {
		h.give("infection", isInfection)
	}
	h.give("device_vendor", isVendor)
	h.give("device_model", isModel)
	if !h.has("src_ip") && !h.has("dst_ip") {
		h.give("port", isService)
		return
	}
	if i := slices.Index(h.names, "dst_ip"); i < 0 || h.roles[i] != isAddress {
		h.give("src_port", isPort)
	}
	h.give("dst_port", isService)
}

// shadow reads the rows of one report.
type shadow struct {
	*job
	*header
	kind
	typ string
}

func (s *shadow) row(rw *reading.Row) (*observe.Report, Reason) {
	rep := &observe.Report{Type: s.typ, Claim: s.claim, Mediated: s.mediated, Raw: []byte(rw.Raw)}
	rep.Fields = make([]observe.Field, 0, filled(rw.Fields))
	var t told
	var infection, vendor, model, application string
	tidy := reading.Clean
	if reading.IsClean(rw.Raw) { // then its parts are
		tidy = func(s string) string { return s }
	}
	for i, v := range rw.Fields[:min(len(rw.Fields), len(s.roles))] {
		if v == "" {
			continue
		}
		switch s.roles[i] {
		case isAddress:
			t.address = v
		case isTime:
			t.time = v
		case isPort:
			t.port = v
		case isService:
			t.service = v
		case isProto:
			t.proto = v
		case isFamily:
			t.family = v
		case isInfection:
			infection = v
		case isVendor:
			vendor = v
		case isModel:
			model = v
		default:
			if s.names[i] == "application" {
				application = v
			}
			rep.Fields = append(rep.Fields, observe.Field{Name: s.names[i], Value: tidy(v)})
		}
	}
	if reading.Family(t.family) == "" {
		t.family = infection
	} else if infection != "" {
		rep.Fields = append(rep.Fields, observe.Field{Name: "infection", Value: tidy(infection)})
	}
	why, understood := s.fill(rep, &t, time.UTC)
	if why != fine {
		return nil, why
	}
	if !understood {
		rep.Fields = append(rep.Fields, observe.Field{Name: "protocol", Value: tidy(t.proto)})
	}
	rep.Device = tidy(strings.TrimSpace(vendor + " " + model))
	// A resolver asks a sinkhole's port 53 for whoever asked it.
	rep.Mediated = rep.Mediated || s.sinkhole && (rep.Service == 53 || strings.EqualFold(application, "dns"))
	return rep, fine
}

// filled counts the fields that aren't empty.
func filled(fields []string) int {
	n := 0
	for _, f := range fields {
		if f != "" {
			n++
		}
	}
	return n
}
