package mail_test

import (
	"errors"
	"strings"
	"testing"

	"sakimori/respond/notify/mail"
)

const id = "abcdefghijklmnopqrstuvwx23"

// dsn builds a report as RFC 3464, section 2.1 has it.
func dsn(to, envelope, action, status, returned string) string {
	lines := []string{
		"From: MAILER-DAEMON@mta.example", "To: " + to, "Subject: report", "MIME-Version: 1.0",
		`Content-Type: multipart/report; report-type=delivery-status; boundary="b"`, "",
		"--b", "", "It didn't arrive.", "", "--b", "Content-Type: message/delivery-status", "",
		"Reporting-MTA: dns; mta.example", envelope, "", "Final-Recipient: rfc822; hanako@home.example", "Action: " + action, "Status: " + status, "",
		"--b", "Content-Type: text/rfc822-headers", "", "Message-ID: " + returned, "Subject: x", "", "--b--", "",
	}
	kept := lines[:0]
	for i, l := range lines {
		if l != "" || i == 0 || lines[i-1] != "" || envelope != "" {
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, "\r\n")
}

// TestReadBounce: the notice is known from each of three places, and permanent from
// temporary by the status.
func TestReadBounce(t *testing.T) {
	envelope, verp, other := "Original-Envelope-Id: "+id, "bounce+"+id+"@isp.example", "bounce@isp.example"
	for name, tt := range map[string]struct {
		mail string
		want mail.Bounce
		none bool
	}{
		"by the envelope":    {mail: dsn(other, envelope, "failed", "5.1.1", "<x@y>"), want: mail.Bounce{Notice: id, Action: "failed", Status: "5.1.1", Permanent: true}},
		"by the address":     {mail: dsn(verp, "X-A: b", "failed", "5.1.1 (no such user)", "<x@y>"), want: mail.Bounce{Notice: id, Action: "failed", Status: "5.1.1", Permanent: true}},
		"by what came back":  {mail: dsn(other, "X-A: b", "Failed", "5.2.2", "<"+id+"@isp.example>"), want: mail.Bounce{Notice: id, Action: "failed", Status: "5.2.2", Permanent: true}},
		"in capitals":        {mail: dsn(strings.ToUpper(verp), "X-A: b", "failed", "5.1.1", "<x@y>"), want: mail.Bounce{Notice: id, Action: "failed", Status: "5.1.1", Permanent: true}},
		"given up":           {mail: dsn(verp, envelope, "failed", "4.4.7", "<x@y>"), want: mail.Bounce{Notice: id, Action: "failed", Status: "4.4.7"}},
		"delayed":            {mail: dsn(verp, envelope, "delayed", "4.4.1", "<x@y>"), want: mail.Bounce{Notice: id, Action: "delayed", Status: "4.4.1"}},
		"delivered":          {mail: dsn(verp, envelope, "delivered", "2.0.0", "<x@y>"), want: mail.Bounce{Notice: id, Action: "delivered", Status: "2.0.0"}},
		"status of nonsense": {mail: dsn(verp, envelope, "failed", "hanako@home.example", "<x@y>"), want: mail.Bounce{Notice: id, Action: "failed", Permanent: true}},
		"not ours":           {mail: dsn(other, "X-A: b", "failed", "5.1.1", "<x@y>"), none: true},
		"unknown action":     {mail: dsn(verp, envelope, "exploded", "5.1.1", "<x@y>"), none: true},
		"holiday":            {mail: "To: " + verp + "\r\nAuto-Submitted: auto-replied\r\nSubject: away\r\n\r\nI am away.\r\n", none: true},
		"cut off":            {mail: dsn(verp, envelope, "failed", "5.1.1", "<x@y>")[:150], none: true},
		"nothing":            {none: true},
		"endless headers":    {mail: strings.Repeat("X: y\r\n", 400_000), none: true},
		"nested":             {mail: "Content-Type: multipart/report; report-type=delivery-status; boundary=a\r\n\r\n" + strings.Repeat("--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n", 10_000), none: true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := mail.ReadBounce(strings.NewReader(tt.mail))
			if tt.none != errors.Is(err, mail.ErrNoBounce) || !tt.none && (err != nil || got != tt.want) {
				t.Errorf("%+v, %v\n%.600s", got, err, tt.mail)
			}
		})
	}
}

// FuzzReadBounce: whatever comes to the box, there is a whole answer or ErrNoBounce.
func FuzzReadBounce(f *testing.F) {
	f.Add(dsn("bounce+"+id+"@isp.example", "Original-Envelope-Id: "+id, "failed", "5.1.1", "<"+id+"@isp.example>"))
	f.Add(dsn("x@y", "X-A: b", "delayed", "4.0.0", "<"+id+"@isp.example>"))
	f.Add("Content-Type: multipart/report; report-type=delivery-status; boundary=\r\n\r\n--\r\n")
	f.Fuzz(func(t *testing.T, raw string) {
		b, err := mail.ReadBounce(strings.NewReader(raw))
		if err != nil {
			if !errors.Is(err, mail.ErrNoBounce) || b != (mail.Bounce{}) {
				t.Errorf("%+v, %v", b, err)
			}
			return
		}
		if len(b.Notice) != 26 || b.Action == "" || b.Permanent && b.Action != "failed" || len(b.Status) > 9 {
			t.Errorf("%+v", b)
		}
	})
}
