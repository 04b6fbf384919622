package portal

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"time"

	"sakimori/respond/notify"
)

// style is all that isn't text. The policy below names its hash, so that nothing else
// can be put into the page.
const style = `:root{color-scheme:light dark}body{font:1.1rem/1.8 system-ui,sans-serif;max-width:42rem;margin:0 auto;padding:1rem;color:#111;background:#fff}
h1{font-size:1.5rem;line-height:1.4}h2{font-size:1.15rem;border-bottom:1px solid #767676;margin-top:2rem}li{margin:.6rem 0}
.number{border:2px solid;padding:.6rem 1rem}.number b{font-size:1.4rem;white-space:nowrap}a{color:#0b57a4}
button{font:inherit;padding:.7rem 1.4rem;border:2px solid #0b57a4;background:#0b57a4;color:#fff;border-radius:.3rem}
button:focus-visible,a:focus-visible{outline:3px solid #c46200;outline-offset:2px}
@media (prefers-color-scheme:dark){body{color:#eee;background:#161616}a{color:#8ec7ff}}`

var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}()

// phrases are the page's own words.
type phrases struct {
	Other, OtherLang, Number, What, Steps, Check, Contact, Go, Left, Released, None, Free, FreeTitle, Clean, Done, Heard string
}

var said = map[string]phrases{
	"ja": {
		Other: "English", OtherLang: "en", Number: "お問い合わせ番号", What: "何が起きているか", Steps: "お願いしたいこと", Check: "このお知らせの確かめ方", Contact: "お問い合わせ",
		Go: "インターネットを使う", Left: "手順がお済みになったら、または急ぎのときは、下のボタンで %s の間インターネットをお使いいただけます(あと %d 回)。",
		Released: "%s までインターネットをお使いいただけます。それまでに手順をお済ませください。",
		None:     "ご自身で再開できる回数を使い終えました。下の窓口にご連絡ください。", FreeTitle: "お知らせはありません", Free: "この回線へのお知らせはありません。そのままインターネットをお使いいただけます。",
		Clean: "手順がお済みになりましたら、お知らせください。しばらく様子を確認し、問題がなければこのお知らせを終了します。", Done: "対処を済ませました", Heard: "ご連絡ありがとうございます。しばらく様子を確認します。",
	},
	"en": {
		Other: "日本語", OtherLang: "ja", Number: "Reference number", What: "What has happened", Steps: "What to do", Check: "How to check this notice", Contact: "Contact",
		Go: "Use the Internet", Left: "When you have followed the steps, or when it is urgent, the button below lets you use the Internet for %s (%d more times).",
		Released: "You can use the Internet until %s. Please follow the steps before then.",
		None:     "You can't let yourself through any more. Please call the desk below.", FreeTitle: "There is no notice", Free: "There is no notice for this line. You can use the Internet as usual.",
		Clean: "When you have followed the steps, please let us know. We watch for a while, and end this notice when nothing is seen any more.", Done: "I have cleaned it", Heard: "Thank you. We watch for a while now.",
	},
}

var page = template.Must(template.New("page").Parse(`<!doctype html>
<html lang="{{.Lang}}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{.Title}} - {{.Operator}}</title><style>{{.Style}}</style></head>
<body>
<header><p>{{.Operator}} <a href="/?lang={{.P.OtherLang}}" lang="{{.P.OtherLang}}" hreflang="{{.P.OtherLang}}">{{.P.Other}}</a></p></header>
<main>
<h1>{{.Title}}</h1>
{{- if .Walled}}
<p class="number">{{.P.Number}}<br><b>{{.Number}}</b></p>
{{- range .W.Greeting}}
<p>{{.}}</p>
{{- end}}
<h2>{{.P.What}}</h2>
{{- range .W.What}}
<p>{{.}}</p>
{{- end}}
<h2>{{.P.Steps}}</h2>
<ol>
{{- range .W.Steps}}
<li>{{.}}</li>
{{- end}}
</ol>
{{- range .W.After}}
<p>{{.}}</p>
{{- end}}
<p role="status">{{.Status}}</p>
{{- if .Button}}
<form method="post" action="/release"><button type="submit">{{.P.Go}}</button></form>
{{- end}}
{{- if .Heard}}
<p role="status">{{.P.Heard}}</p>
{{- else}}
<p>{{.P.Clean}}</p>
<form method="post" action="/fixed"><button type="submit">{{.P.Done}}</button></form>
{{- end}}
{{- if .Open}}
<p>{{.Open}}</p>
{{- end}}
<h2>{{.P.Check}}</h2>
{{- range .W.Check}}
<p>{{.}}</p>
{{- end}}
<h2>{{.P.Contact}}</h2>
{{- range .W.Contact}}
<p>{{.}}</p>
{{- end}}
{{- else}}
<p>{{.P.Free}}</p>
{{- end}}
</main>
</body>
</html>
`))

func (p *Portal) page(w http.ResponseWriter, r *http.Request) {
	s, ok := p.look(w, r)
	if !ok {
		return
	}
	words := notify.Words{Language: tongue(r)}
	if s.walled {
		var err error
		if words, err = p.Writer.Write(&s.notice, words.Language); err != nil {
			p.Log.ErrorContext(r.Context(), "the words of a notice are missing", slog.String("notice", s.notice.ID), slog.Any("error", err))
			http.Error(w, later, http.StatusServiceUnavailable)
			return
		}
	}
	s.heard = r.URL.Query().Get("said") == "fixed"
	content, err := p.render(words, s)
	if err != nil {
		p.Log.ErrorContext(r.Context(), "the portal's page can't be made", slog.Any("error", err))
		http.Error(w, later, http.StatusServiceUnavailable)
		return
	}
	if write(w, http.StatusOK, words.Language, content) != nil {
		return // the visitor went away before the notice was there
	}
	if s.walled {
		if err := p.Desk.Answer(r.Context(), s.notice.ID, notify.Seen, "the portal's page was opened"); err != nil {
			p.Log.WarnContext(r.Context(), "that a notice was seen couldn't be written down", slog.String("notice", s.notice.ID), slog.Any("error", err))
		}
	}
}

// write sends a page that nothing can be put into, and that nobody keeps.
func write(w http.ResponseWriter, status int, lang string, content []byte) error {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", lang)
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, no-store")
	h.Set("Vary", "Accept-Language")
	w.WriteHeader(status)
	_, err := w.Write(content) //nolint:gosec // html/template made it
	return err
}

// render makes the page. No name, address or contract of a person is known to it.
func (p *Portal) render(words notify.Words, s stay) ([]byte, error) {
	ph := said[words.Language]
	data := struct {
		Lang, Operator, Title, Number, Status, Open string
		Walled, Button, Heard                       bool
		P                                           phrases
		W                                           notify.Words
		Style                                       template.CSS
	}{
		Lang: words.Language, Operator: p.cfg.Operator.JA, Title: words.Title, Number: notify.Grouped(s.notice.Reference), Open: p.cfg.Open.JA,
		Walled: s.walled, Heard: s.heard, P: ph, W: words, Style: style,
	}
	if words.Language == "en" {
		data.Operator, data.Open = p.cfg.Operator.EN, p.cfg.Open.EN
	}
	switch {
	case !s.walled:
		data.Title = ph.FreeTitle
	case !s.released.IsZero():
		data.Status = fmt.Sprintf(ph.Released, s.released.In(p.cfg.Zone).Format("2006-01-02 15:04"))
	case s.left > 0:
		data.Status, data.Button = fmt.Sprintf(ph.Left, length(p.cfg.Pass, words.Language), s.left), true
	default:
		data.Status = ph.None
	}
	var out bytes.Buffer
	err := page.Execute(&out, data)
	return out.Bytes(), err
}

// length writes how long a release lasts.
func length(d time.Duration, lang string) string {
	h, m := int(d/time.Hour), int(d%time.Hour/time.Minute)
	switch {
	case lang == "ja" && m == 0:
		return fmt.Sprintf("%d時間", h)
	case lang == "ja" && h == 0:
		return fmt.Sprintf("%d分", m)
	case lang == "ja":
		return fmt.Sprintf("%d時間%d分", h, m)
	case m == 0 && h == 1:
		return "an hour"
	case m == 0:
		return fmt.Sprintf("%d hours", h)
	case h == 0:
		return fmt.Sprintf("%d minutes", m)
	}
	return fmt.Sprintf("%d hours and %d minutes", h, m)
}
