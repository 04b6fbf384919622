package portal

import (
	"bytes"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"sakimori/base/clock"
	"sakimori/respond/notify"
)

// The page on which anybody checks a reference number. It says whether, and on which
// day, a notice with it was sent, and nothing of whose it is.

// checked are the words of that page.
type checked struct {
	Other, OtherLang, Title, Ask, Number, Go, Mistyped, Often string
}

var checks = map[string]checked{
	"ja": {
		Other: "English", OtherLang: "en", Title: "お知らせの確認", Ask: "お手元のお知らせに書かれた12桁のお問い合わせ番号を入力してください。", Number: "お問い合わせ番号", Go: "確認する",
		Mistyped: "番号が正しくありません。12桁の数字をもう一度ご確認ください。", Often: "確認の回数が多すぎます。10分ほど待ってからお試しください。",
	},
	"en": {
		Other: "日本語", OtherLang: "ja", Title: "Check a notice", Ask: "Type the twelve digits of the reference number in your notice.", Number: "Reference number", Go: "Check",
		Mistyped: "This is no reference number: please look at the twelve digits again.", Often: "That was asked too often: please wait ten minutes.",
	},
}

var checkPage = template.Must(template.New("check").Parse(`<!doctype html>
<html lang="{{.Lang}}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{.P.Title}} - {{.Operator}}</title><style>{{.Style}}</style></head>
<body>
<header><p>{{.Operator}} <a href="/check?lang={{.P.OtherLang}}" lang="{{.P.OtherLang}}" hreflang="{{.P.OtherLang}}">{{.P.Other}}</a></p></header>
<main>
<h1>{{.P.Title}}</h1>
{{- if .Answer}}
<p class="number" role="status">{{.Answer}}</p>
{{- end}}
<p>{{.P.Ask}}</p>
<form method="post" action="/check?lang={{.Lang}}"><p><label>{{.P.Number}} <input name="number" inputmode="numeric" autocomplete="off" required></label></p><button type="submit">{{.P.Go}}</button></form>
</main>
</body>
</html>
`))

func (p *Portal) check(w http.ResponseWriter, r *http.Request) {
	lang := tongue(r)
	ph := checks[lang]
	answer, status := "", http.StatusOK
	if r.Method == http.MethodPost {
		a, err := p.client(r)
		switch {
		case err != nil:
			p.Log.WarnContext(r.Context(), "a reference number can't be checked", slog.Any("error", err))
			http.Error(w, later, http.StatusServiceUnavailable)
			return
		case !p.asked.may(a):
			answer, status = ph.Often, http.StatusTooManyRequests
		default:
			found, err := p.Desk.LookUp(r.Context(), r.PostFormValue("number"))
			switch {
			case errors.Is(err, notify.ErrMistyped):
				answer = ph.Mistyped
			case err != nil:
				p.Log.ErrorContext(r.Context(), "a reference number can't be checked", slog.Any("error", err))
				http.Error(w, later, http.StatusServiceUnavailable)
				return
			case lang == "en":
				answer = found.Text.EN
			default:
				answer = found.Text.JA
			}
		}
	}
	data := struct {
		Lang, Operator, Answer string
		P                      checked
		Style                  template.CSS
	}{lang, p.cfg.Operator.JA, answer, ph, style}
	if lang == "en" {
		data.Operator = p.cfg.Operator.EN
	}
	var out bytes.Buffer
	if err := checkPage.Execute(&out, data); err != nil {
		p.Log.ErrorContext(r.Context(), "the page that checks numbers can't be made", slog.Any("error", err))
		http.Error(w, later, http.StatusServiceUnavailable)
		return
	}
	if status != http.StatusOK {
		w.Header().Set("Retry-After", "600")
	}
	_ = write(w, status, lang, out.Bytes()) // a visitor that went away needs no answer
}

// How often one visitor may ask: numbers are found by trying once in 10¹¹/n tries, and
// this keeps the tries few. Everybody whom the table doesn't hold counts together.
const (
	visitMost   = 20
	visitWindow = 10 * time.Minute
	visitors    = 100_000
)

// visits counts who asked how often.
type visits struct {
	clock clock.Clock
	mu    sync.Mutex
	by    map[netip.Addr]visit
}

type visit struct {
	since time.Time
	n     int
}

// may counts a visit, and tells whether it is one of those that are allowed. A home has
// a whole /64 of IPv6 addresses.
func (v *visits) may(a netip.Addr) bool {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			a = p.Addr()
		}
	}
	now := v.clock.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, known := v.by[a]; !known && len(v.by) >= visitors {
		for k, x := range v.by {
			if now.Sub(x.since) >= visitWindow {
				delete(v.by, k)
			}
		}
		if len(v.by) >= visitors {
			a = netip.Addr{}
		}
	}
	x := v.by[a]
	if now.Sub(x.since) >= visitWindow {
		x = visit{since: now}
	}
	x.n++
	v.by[a] = x
	return x.n <= visitMost
}
