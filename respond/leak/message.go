package leak

import (
	"bytes"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"time"
)

// message is a letter as a mail program opens it (RFC 5322, 2045, 2047). It is written
// and never sent from here: a person reads it and sends it.
type message struct {
	from, to, subject string
	date              time.Time
	id, lang, body    string
}

// String is the message, its lines ended with CR LF. An address that isn't one is left
// out, so that nobody's configuration writes a header of its own.
func (m message) String() string {
	var b bytes.Buffer
	head := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	from := address(m.from)
	head("From", from)
	head("Reply-To", from)
	head("To", address(m.to))
	head("Subject", subjectLine(m.subject))
	head("Date", m.date.UTC().Format(time.RFC1123Z))
	host := "sakimori.invalid"
	if _, domain, ok := strings.Cut(strings.Trim(from, "<>"), "@"); ok {
		host = domain
	}
	head("Message-ID", "<"+plain(m.id)+"@"+host+">")
	head("MIME-Version", "1.0")
	head("Content-Language", m.lang)
	head("Content-Type", "text/plain; charset=utf-8")
	head("Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	_, _ = w.Write([]byte(strings.ReplaceAll(m.body, "\n", "\r\n"))) // a buffer takes everything
	_ = w.Close()
	return b.String()
}

// address is "<noc@example.net>", "" where it isn't one.
func address(s string) string {
	a, err := mail.ParseAddress(s)
	if err != nil {
		return ""
	}
	a.Name = ""
	return a.String()
}

// plain keeps what a message id may have of a text (RFC 5322, section 3.6.4).
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '.' || r == '-') {
			return r
		}
		return '-'
	}, s)
}

// subjectLine is in encoded words where it isn't ASCII, folded between them.
func subjectLine(s string) string {
	return strings.ReplaceAll(mime.BEncoding.Encode("utf-8", s), "?= =?", "?=\r\n =?")
}
