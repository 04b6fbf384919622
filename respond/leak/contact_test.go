package leak_test

import (
	"io"
	"mime"
	"mime/quotedprintable"
	"net/mail"
	"net/netip"
	"strings"
	"testing"
	"time"

	"sakimori/detect"
	"sakimori/respond/leak"
)

// lines writes a message as one line.
type lines struct{}

func (lines) Lines(m detect.RouteMessage) []string {
	return []string{"BGP4MP|1503631374|A|" + m.Address + "|64501|10.20.0.0/20|64501 64502 64510 64520|IGP"}
}

// told is an incident with everything that a letter tells.
func told() *detect.Incident {
	i := leaked()
	i.Own = []detect.OwnSpace{{Prefix: netip.MustParsePrefix("10.20.0.0/16"), Prefixes: 3}, {Prefix: netip.MustParsePrefix("10.20.32.0/20"), Name: "shop", Prefixes: 2}}
	i.Sample = []detect.HitPrefix{
		{Prefix: netip.MustParsePrefix("10.20.0.0/20")}, {Prefix: netip.MustParsePrefix("10.20.32.0/24")}, {Prefix: netip.MustParsePrefix("10.20.33.0/24")}, {Prefix: netip.MustParsePrefix("198.51.100.0/25")},
	}
	i.Lanes = []detect.Lane{
		{Prefix: netip.MustParsePrefix("10.20.0.0/20"), Cover: netip.MustParsePrefix("10.20.0.0/16"), Usual: []uint32{64501, 64500}, Is: []uint32{64501, 64502, 64510, 64500}},
		{Prefix: netip.MustParsePrefix("10.20.32.0/24"), Is: []uint32{64501, 64502, 64510, 64530}},
		{Prefix: netip.MustParsePrefix("10.20.48.0/20"), Usual: []uint32{64501, 64500}},
	}
	i.Evidence = []detect.RouteMessage{{Address: "192.0.2.9"}}
	return i
}

var written = time.Date(2017, 8, 25, 3, 30, 0, 0, time.UTC)

// TestLetters: to who leaks, who let it through, and whose space it is: with what, since
// when in both zones, how many, the paths, evidence, and whom to answer.
func TestLetters(t *testing.T) {
	t.Parallel()
	list := leak.Contacts(house(), told(), lines{}, written)
	if len(list) != 3 || list[0].Role != leak.Leaker || list[0].AS != 64510 || list[1].Role != leak.Upstream || list[1].AS != 64502 || list[2].Role != leak.Victim || list[2].AS != 64530 {
		t.Fatalf("%+v", list)
	}
	if list[0].Where != "noc@leaky.example, +1-555-0100" || list[1].Where != "" || !strings.Contains(list[1].Look.EN, "https://rdap.org/autnum/64502") {
		t.Errorf("%q %q %q", list[0].Where, list[1].Where, list[1].Look.EN)
	}
	for i, want := range [][]string{
		{
			"AS64510 (Leaky)", "AS64500 (Example Networks)", "AS64502 (Carrier)", "2017-08-25 03:22:54 UTC / 2017-08-25 12:22:54 JST", "1,000", "950", "10.20.0.0/20, 10.20.32.0/24",
			"64501 64500", "10.20.0.0/16", "64501 64502 64510 64500", "BGP4MP|1503631374|A|192.0.2.9|", "noc@example.net, +81-3-0000-0000", "I-1", "RFC 8212",
		},
		{"AS64502 (Carrier)", "AS64510 (Leaky)", "RFC 9234"},
		{"AS64530", "10.20.32.0/20", "10.20.32.0/24, 10.20.33.0/24", "ROA"},
	} {
		for _, w := range want {
			for name, text := range map[string]string{"ja": list[i].Text.JA, "en": list[i].Text.EN} {
				if !strings.Contains(text, w) {
					t.Errorf("%s, %s: no %q in\n%s", list[i].Role, name, w, text)
				}
			}
		}
	}
	for text, want := range map[string][]string{
		list[0].Text.JA: {"型4:ピアから受けた経路をプロバイダーへ", "本来: 不明", "観測: 経路なし", "直ちに止めてください", "継続中"},
		list[0].Text.EN: {"type 4: a peer's routes passed to a provider", "usual: not known", "no way any more", "stop announcing", "still under way"},
	} {
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("no %q in\n%s", w, text)
			}
		}
	}
	if strings.Contains(list[2].Text.JA, "10.20.0.0/20") || strings.Contains(list[2].Text.EN, "198.51.100.0/25") {
		t.Errorf("a customer reads of others' space:\n%s", list[2].Text.JA)
	}
	for _, c := range list {
		if strings.Contains(c.Text.JA+c.Text.EN+c.Mail.JA, "%!") {
			t.Error(c.Text.JA, c.Text.EN)
		}
	}

	h, i := house(), told()
	h.Own = append(h.Own, leak.Own{Prefix: netip.MustParsePrefix("10.20.128.0/20"), Name: "a bakery", Origins: []uint32{64500}})
	i.Own = append(i.Own, detect.OwnSpace{Prefix: netip.MustParsePrefix("10.20.128.0/20"), Name: "a bakery", Prefixes: 1}, i.Own[1])
	if list := leak.Contacts(h, i, nil, written); len(list) != 4 || list[2].Name != "shop" || strings.Count(list[2].Text.EN, "Your space") != 2 || list[3].Name != "a bakery" || list[3].AS != 64500 ||
		!strings.HasPrefix(list[3].Text.EN, "To the network operations of a bakery\n") || !strings.Contains(list[3].Look.EN, "your records") {
		t.Errorf("%+v", list)
	}

	over := told()
	over.State, over.Restored, over.Closed = detect.Closed, true, written
	if text := leak.Contacts(house(), over, nil, written)[0].Text; !strings.Contains(text.EN, "restored: 2017-08-25 03:30:00 UTC") || !strings.Contains(text.EN, "tell us the cause") || strings.Contains(text.EN, "BGP4MP") {
		t.Error(text.EN)
	}
	over.Restored = false
	if text := leak.Contacts(house(), over, nil, written)[0].Text; !strings.Contains(text.EN, "doesn't prove that it is restored") {
		t.Error(text.EN)
	}
}

// TestUnknownLeaker: nobody is accused whom nobody knows, nor oneself.
func TestUnknownLeaker(t *testing.T) {
	t.Parallel()
	i := told()
	i.Leaker, i.To, i.Own = 0, 0, nil
	if list := leak.Contacts(house(), i, nil, written); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	i.Leaker, i.To = 64500, 64501
	if list := leak.Contacts(house(), i, nil, written); len(list) != 1 || list[0].Role != leak.Upstream {
		t.Errorf("%+v", list)
	}
	i.Kind = detect.Hijack
	for _, form := range []string{"exact", "more-specific", "squatting", "first-hop", ""} {
		i.Form = form
		if text := leak.Contacts(house(), i, nil, written)[0].Text; !strings.Contains(text.EN, "hijack") || !strings.Contains(text.JA, "ハイジャック") {
			t.Error(text.EN)
		}
	}
	for kind, want := range map[detect.IncidentKind]string{detect.Outage: "lost", detect.Blackhole: "BLACKHOLE", detect.Bogon: "nobody may announce"} {
		i.Kind = kind
		if text := leak.Contacts(house(), i, nil, written)[0].Text; !strings.Contains(text.EN, want) {
			t.Error(text.EN)
		}
	}
}

// TestMail: a mail program opens it and finds the same text; nobody's address writes a
// header of its own.
func TestMail(t *testing.T) {
	t.Parallel()
	h := house()
	for _, c := range leak.Contacts(h, told(), lines{}, written) {
		for _, one := range [][2]string{{c.Mail.JA, c.Text.JA}, {c.Mail.EN, c.Text.EN}} {
			m, err := mail.ReadMessage(strings.NewReader(one[0]))
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
			if err != nil || strings.ReplaceAll(string(body), "\r\n", "\n") != one[1] {
				t.Errorf("%v: %s", err, body)
			}
			subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
			if err != nil || !strings.Contains(subject, "AS64510 → AS64502") {
				t.Error(subject, err)
			}
			if d, err := m.Header.Date(); err != nil || !d.Equal(written) {
				t.Error(d, err)
			}
			if m.Header.Get("From") != "<noc@example.net>" || !strings.Contains(m.Header.Get("Message-Id"), "@example.net>") || (c.Role == leak.Leaker) != (m.Header.Get("To") == "<noc@leaky.example>") {
				t.Errorf("%v", m.Header)
			}
			for line := range strings.SplitSeq(one[0], "\r\n") {
				if len(line) > 998 || strings.Contains(line, "\n") {
					t.Errorf("%q", line)
				}
			}
		}
	}
	h.Book[0].Mail = "noc@leaky.example\r\nBcc: everybody@example.org"
	h.ReplyTo = "not an address"
	if text := leak.Contacts(h, told(), nil, written)[0].Mail.EN; strings.Contains(text, "Bcc") || strings.Contains(text, "\nTo:") || strings.Contains(text, "\nFrom:") {
		t.Error(text)
	}
}
