package mail

import (
	"bufio"
	"errors"
	"io"
	"regexp"
	"strings"

	"github.com/emersion/go-message"
	"github.com/emersion/go-message/textproto"
)

// Bounce is what a delivery status notification says of a notice (RFC 3464).
type Bounce struct {
	Notice    string // id
	Action    string // failed, delayed, delivered, relayed or expanded
	Status    string // RFC 3463: "5.1.1"; "" not told
	Permanent bool   // a failure whose status says that it won't do later either
}

// ErrNoBounce is what ReadBounce returns for a mail that is no delivery status
// notification of a notice of ours: a person looks at it.
var ErrNoBounce = errors.New("this mail is no delivery report on a notice")

// mostBounce is how much of a mail is read: reports are short, what they return may
// not be.
const mostBounce = 1 << 20

var (
	status = regexp.MustCompile(`^[245]\.\d{1,3}\.\d{1,3}$`)
	ours   = regexp.MustCompile(`^[a-z2-7]{26}$`)
)

// ReadBounce reads a mail that came to the bounce address. The notice is known by the
// envelope id that the report repeats, by the address it came to, or by the
// Message-ID of what it returns, in this order. Nothing of a person is kept.
func ReadBounce(r io.Reader) (Bounce, error) {
	e, err := message.Read(io.LimitReader(r, mostBounce))
	if err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err) {
		return Bounce{}, ErrNoBounce
	}
	var b Bounce
	var envelope, returned string
	kind, params, _ := e.Header.ContentType()
	parts := e.MultipartReader()
	if kind != "multipart/report" || !strings.EqualFold(params["report-type"], "delivery-status") || parts == nil {
		return Bounce{}, ErrNoBounce
	}
	const most = 20
	for range most {
		p, err := parts.NextPart()
		if err != nil && (p == nil || !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err)) {
			break // the end, or what is broken: what was read counts
		}
		switch kind, _, _ := p.Header.ContentType(); kind {
		case "message/delivery-status", "message/global-delivery-status":
			envelope = report(p.Body, &b)
		case "message/rfc822", "text/rfc822-headers", "message/rfc822-headers", "message/global", "message/global-headers":
			if h, err := textproto.ReadHeader(bufio.NewReader(io.LimitReader(p.Body, mostBounce))); err == nil {
				returned, _, _ = strings.Cut(strings.Trim(h.Get("Message-Id"), "<> \t"), "@")
			}
		}
	}
	for _, id := range []string{envelope, addressed(&e.Header), returned} {
		if id = strings.ToLower(id); ours.MatchString(id) {
			b.Notice = id
			break
		}
	}
	if b.Notice == "" || b.Action == "" {
		return Bounce{}, ErrNoBounce
	}
	// What was given up after 4.x.x may do tomorrow, when the mailbox is empty again.
	b.Permanent = b.Action == "failed" && !strings.HasPrefix(b.Status, "4.")
	return b, nil
}

// report reads the fields of a delivery report: those of the message, then those of
// each recipient. A notice has one. It gives the envelope's id.
func report(body io.Reader, b *Bounce) (envelope string) {
	in := bufio.NewReader(io.LimitReader(body, mostBounce))
	const most = 20
	for range most {
		h, err := textproto.ReadHeader(in)
		if v := h.Get("Original-Envelope-Id"); v != "" && envelope == "" {
			envelope = strings.TrimSpace(v)
		}
		action := strings.ToLower(strings.TrimSpace(h.Get("Action")))
		switch action {
		case "failed", "delayed", "delivered", "relayed", "expanded":
			b.Action = action
			first, _, _ := strings.Cut(strings.TrimSpace(h.Get("Status")), " ")
			if b.Status = ""; status.MatchString(first) {
				b.Status = first
			}
			return envelope
		}
		if err != nil {
			return envelope
		}
	}
	return envelope
}

// addressed is the notice's id in the address that a bounce came to.
func addressed(h *message.Header) string {
	for _, name := range []string{"Delivered-To", "Envelope-To", "X-Original-To", "To"} {
		local, _, _ := strings.Cut(strings.Trim(h.Get(name), "<> \t"), "@")
		if i := strings.LastIndexByte(local, '+'); i >= 0 {
			return local[i+1:]
		}
	}
	return ""
}
