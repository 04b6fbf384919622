package mail

import (
	"fmt"
	"strings"

	"sakimori/respond/notify"
)

// headings of the parts, in each language.
var headings = map[string][5]string{
	"ja": {"お問い合わせ番号", "■ 何が起きているか", "■ お願いしたいこと", "■ このお知らせの確かめ方", "■ お問い合わせ"},
	"en": {"Reference number", "WHAT HAS HAPPENED", "WHAT TO DO", "HOW TO CHECK THIS NOTICE", "CONTACT"},
}

// Text is the body of a mail. There is no link in it, as none needs to be followed.
func Text(m *notify.Message) string {
	w := &m.Words
	h := headings[w.Language]
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	paragraphs := func(list []string) {
		for _, p := range list {
			line("%s\r\n", p)
		}
	}
	if w.Language == "ja" {
		line("%s 様\r\n", m.Person.Name)
	} else {
		line("Dear %s,\r\n", m.Person.Name)
	}
	paragraphs(w.Greeting)
	line("%s: %s\r\n", h[0], notify.Grouped(m.Notice.Reference))
	line("%s\r\n", h[1])
	paragraphs(w.What)
	line("%s\r\n", h[2])
	for i, s := range w.Steps {
		line("%d. %s\r\n", i+1, s)
	}
	paragraphs(w.After)
	line("%s\r\n", h[3])
	paragraphs(w.Check)
	line("%s\r\n", h[4])
	paragraphs(w.Contact)
	paragraphs(w.Channel)
	return strings.TrimRight(b.String(), "\r\n") + "\r\n"
}
