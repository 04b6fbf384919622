package feed

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/textproto"

	"sakimori/observe"
	"sakimori/observe/feed/reading"
)

const (
	deepestMail = 4  // multiparts in multiparts
	mostMail    = 64 // parts of a mail that are looked at
)

// found are the parts of a mail that may be a report.
type found struct {
	parts    int
	feedback []byte   // message/feedback-report
	json     [][]byte // X-ARF v1 to v4
	yaml     []byte   // X-ARF v0.1 and v0.2: the part after the text for a person
	texts    int
}

// mail reads one message: ARF (RFC 5965), or X-ARF in it.
func (j *job) mail(r io.Reader) error {
	whole, err := io.ReadAll(io.LimitReader(r, int64(j.MaxMessage)+1))
	if err != nil {
		return err //nolint:wrapcheck // that of the reader that was handed in
	}
	if len(whole) > j.MaxMessage {
		j.bad(1, tooLong)
		return nil
	}
	why, err := j.message(whole)
	if why != fine {
		j.bad(1, why)
	}
	return err
}

func (j *job) message(whole []byte) (Reason, error) {
	m, err := message.Read(bytes.NewReader(whole))
	if m == nil || err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err) {
		return notMessage, nil
	}
	var f found
	if err := f.walk(m, 0); err != nil {
		return notMessage, nil
	}
	where := reading.Clean(strings.TrimSpace(m.Header.Get("Message-Id")))
	if where == "" || len(where) > 998 { // RFC 5322, section 2.1.1
		where = j.Name
	}
	old := m.Header.Has("X-ARF") || m.Header.Has("X-XARF")
	switch {
	case len(f.json) > 0:
		j.from, j.Format = where, XARF
		defer func() { j.from, j.Format = "", Mail }()
		return fine, j.objects(io.MultiReader(readers(f.json)...))
	case old && len(f.yaml) > 0:
		return j.xarf02(f.yaml, whole, where)
	case len(f.feedback) > 0:
		return j.arf(f.feedback, whole, where)
	}
	return noReport, nil
}

// readers puts a line between parts, so that an object that isn't closed ends.
func readers(parts [][]byte) []io.Reader {
	var all []io.Reader
	for _, p := range parts {
		all = append(all, bytes.NewReader(p), strings.NewReader("\n"))
	}
	return all
}

// walk looks for reports among the parts.
func (f *found) walk(e *message.Entity, depth int) error {
	if mr := e.MultipartReader(); mr != nil {
		for depth < deepestMail && f.parts < mostMail {
			p, err := mr.NextPart()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if p == nil || err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err) {
				return fmt.Errorf("part of a mail: %w", err)
			}
			f.parts++
			if err := f.walk(p, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	kind, params, _ := e.Header.ContentType() // a type that can't be read is none
	_, named, _ := e.Header.ContentDisposition()
	name := strings.ToLower(params["name"] + named["filename"])
	var to *[]byte
	switch {
	case kind == "message/feedback-report":
		to = &f.feedback
	case kind == "application/json" || strings.HasSuffix(name, ".json"):
		f.json = append(f.json, nil)
		to = &f.json[len(f.json)-1]
	case kind == "text/plain":
		// The second text is the report (x-arf.org/specification.html).
		if f.texts++; f.texts == 2 {
			to = &f.yaml
		}
	}
	if to == nil || len(*to) > 0 {
		return nil
	}
	var err error
	if *to, err = io.ReadAll(e.Body); err != nil {
		return fmt.Errorf("part of a mail: %w", err)
	}
	return nil
}

// arf reads the machine-readable part of an abuse report (RFC 5965, section 3).
// Source-Port is RFC 6692's. A mail that was sent through a subscriber's machine is
// a claim of spam even where the type is virus: Source-IP may be a relay.
func (j *job) arf(part, whole []byte, where string) (Reason, error) {
	h, err := textproto.ReadHeader(bufio.NewReader(io.MultiReader(bytes.NewReader(part), strings.NewReader("\r\n\r\n"))))
	if err != nil {
		return notMessage, nil
	}
	rec := &record{}
	addresses := 0
	for fields := h.Fields(); fields.Next(); {
		if strings.EqualFold(fields.Key(), "Source-IP") {
			addresses++
		}
		if v := strings.TrimSpace(fields.Value()); v != "" && len(rec.fields) < mostParts {
			rec.fields = append(rec.fields, observe.Field{Name: reading.Clean(fields.Key()), Value: reading.Clean(v)})
		}
	}
	if addresses > 1 {
		return notAddress, nil // at most once (section 3.2)
	}
	typ := strings.ToLower(rec.take("Feedback-Type"))
	rep := &observe.Report{Type: typ, Claim: observe.ClaimOther, Raw: whole, Where: where}
	switch typ {
	case "abuse", "fraud", "virus":
		rep.Claim = observe.ClaimSpamming
	}
	t := told{address: rec.take("Source-IP"), port: rec.take("Source-Port"), time: rec.take("Arrival-Date")}
	if t.time == "" {
		t.time = rec.take("Received-Date") // the name in drafts, still in use
	}
	return j.finish(rep, rec, &t, "", 1)
}

// xarf02 reads the report of X-ARF v0.1 and v0.2: YAML of names and values, without
// anything nested. In it Port is the service that was attacked.
func (j *job) xarf02(part, whole []byte, where string) (Reason, error) {
	rec := &record{}
	for l := range strings.Lines(string(part)) {
		name, value, ok := strings.Cut(strings.TrimRight(l, "\r\n"), ":")
		if !ok || name == "" || strings.ContainsAny(name[:1], " \t-#") || len(rec.fields) >= mostParts {
			continue
		}
		value = strings.TrimSpace(value)
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		if value != "" {
			rec.fields = append(rec.fields, observe.Field{Name: reading.Clean(name), Value: reading.Clean(value)})
		}
	}
	category, typ := rec.take("Category"), rec.take("Report-Type")
	rep := &observe.Report{Type: strings.Trim(category+"/"+typ, "/"), Claim: claimOf(typ), Raw: whole, Where: where}
	if strings.EqualFold(category, "info") {
		rep.Claim = observe.ClaimOther
	}
	t := told{address: rec.take("Source"), time: rec.take("Date"), service: rec.take("Port"), proto: rec.see("Protocol")}
	return j.finish(rep, rec, &t, "Protocol", 1)
}
