package choice

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
)

// style is all that isn't text. The policy names its hash, so that nothing else can be put
// into the page.
const style = `:root{color-scheme:light dark}body{font:1.1rem/1.8 system-ui,sans-serif;max-width:42rem;margin:0 auto;padding:1rem;color:#111;background:#fff}
h1{font-size:1.5rem;line-height:1.4}h2{font-size:1.15rem;border-bottom:1px solid #767676;margin-top:2rem}a{color:#0b57a4}
.now{border:2px solid;padding:.4rem 1rem}.said{border-left:.4rem solid #c46200;padding:.2rem 1rem}
form{display:flex;flex-wrap:wrap;gap:.8rem;margin:1rem 0}
button,.back{font:inherit;box-sizing:border-box;padding:.6rem 1.4rem;border:2px solid #0b57a4;background:#0b57a4;color:#fff;border-radius:.3rem;min-height:44px}
.back{background:none;color:#0b57a4}button:focus-visible,a:focus-visible{outline:3px solid #c46200;outline-offset:2px}
@media (prefers-color-scheme:dark){body{color:#eee;background:#161616}a,.back{color:#8ec7ff}.back{border-color:#8ec7ff}.said{border-color:#ffa94d}button:focus-visible,a:focus-visible{outline-color:#ffa94d}}`

var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}()

var page = template.Must(template.New("choice").Parse(`<!doctype html>
<html lang="{{.Lang}}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{{.P.Title}} - {{.Operator}}</title><style>{{.Style}}</style></head>
<body>
<header><p>{{.Operator}} <a href="/choice?lang={{.P.OtherLang}}" lang="{{.P.OtherLang}}" hreflang="{{.P.OtherLang}}">{{.P.Other}}</a></p></header>
<main>
{{- if .Ask}}
<h1>{{.P.Sure}}</h1>
<p>{{.Ask}}</p>
<form method="post" action="/choice/say?lang={{.Lang}}"><input type="hidden" name="purpose" value="{{.Purpose}}"><input type="hidden" name="choice" value="{{.Choice}}"><input type="hidden" name="token" value="{{.Token}}">
<button type="submit">{{.P.Yes}}</button> <a class="back" href="/choice?lang={{.Lang}}">{{.P.Back}}</a></form>
{{- else}}
<h1>{{.P.Title}}</h1>
{{- if .Said}}
<p class="said" role="status">{{.Said}}</p>
{{- end}}
{{- if .Switches}}
<p>{{.P.Lead}}</p>
{{- range .Switches}}
<section>
<h2>{{.About.Name}}</h2>
<p class="now">{{$.P.Now}}: <strong>{{.Now}}</strong>{{if .Since}} ({{.Since}}){{end}}</p>
<p>{{.About.What}}</p>
<p>{{.About.Off}}</p>
<form method="post" action="/choice/confirm?lang={{$.Lang}}"><input type="hidden" name="purpose" value="{{.Purpose}}"><input type="hidden" name="choice" value="{{.Choice}}"><button type="submit">{{.Button}}<span> ({{.About.Name}})</span></button></form>
</section>
{{- end}}
<h2>{{.P.Unchanged}}</h2>
<p>{{.P.UnchangedText}}</p>
{{- end}}
{{- if .TermsURL}}
<p><a href="{{.TermsURL}}">{{.P.Terms}}</a></p>
{{- end}}
<h2>{{.P.Contact}}</h2>
<p>{{.Desk}}</p>
{{- end}}
</main>
</body>
</html>
`))

type toggle struct {
	Purpose            Purpose
	About              about
	Now, Since, Button string
	Choice             string
}

// view is what the template is filled with.
type view struct {
	Lang, Operator, Desk, TermsURL, Said, Ask, Choice, Token string
	Purpose                                                  Purpose
	Switches                                                 []toggle
	P                                                        phrases
	Style                                                    template.CSS
}

// tongue is the reader's language: the one asked for, or the browser's.
func tongue(r *http.Request) string {
	switch l := r.URL.Query().Get("lang"); l {
	case "ja", "en":
		return l
	}
	for part := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		tag, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(part)), ";")
		switch tag, _, _ = strings.Cut(tag, "-"); tag {
		case "ja", "en":
			return tag
		}
	}
	return "ja"
}

func (p *Page) view(r *http.Request) *view {
	lang := tongue(r)
	v := &view{Lang: lang, Operator: p.cfg.Operator.JA, Desk: p.cfg.Desk.JA, TermsURL: p.cfg.Terms, P: said[lang], Style: style}
	if lang == "en" {
		v.Operator, v.Desk = p.cfg.Operator.EN, p.cfg.Desk.EN
	}
	return v
}

// fill says how a line stands, or why that can't be told.
func (p *Page) fill(v *view, l *line) {
	switch {
	case errors.Is(l.why, ErrShared):
		v.Said = v.P.Shared
	case errors.Is(l.why, ErrForeign):
		v.Said = v.P.Foreign
	case l.why != nil:
		v.Said = v.P.Nobody
	default:
		for _, of := range []Purpose{Block, Hits} {
			s := l.of(of)
			t := toggle{Purpose: of, About: v.P.Purpose[of], Now: v.P.None, Button: v.P.TurnOn, Choice: "yes"}
			switch s.Stand {
			case Consents:
				t.Now, t.Button, t.Choice = v.P.On, v.P.TurnOff, "no"
			case Declined:
				t.Now = v.P.Off
			case Outdated:
				t.Now = v.P.Old
			case Unknown:
			}
			if s.Since != nil {
				t.Since = fmt.Sprintf(v.P.Since, s.Since.In(p.cfg.Zone).Format("2006-01-02 15:04"))
			}
			v.Switches = append(v.Switches, t)
		}
	}
}

func (p *Page) show(w http.ResponseWriter, r *http.Request) {
	v := p.view(r)
	l, err := p.look(r)
	if err != nil {
		p.fail(w, r, v, err)
		return
	}
	p.fill(v, &l)
	p.write(w, r, http.StatusOK, v)
}

// confirm asks once more: a choice is two steps, none of them by accident.
func (p *Page) confirm(w http.ResponseWriter, r *http.Request) {
	v := p.view(r)
	of, consents, ok := answer(r.PostFormValue("purpose"), r.PostFormValue("choice"))
	l, err := p.look(r)
	switch {
	case err != nil:
		p.fail(w, r, v, err)
		return
	case !ok:
		p.fill(v, &l)
		v.Said = v.P.Which
		p.write(w, r, http.StatusBadRequest, v)
		return
	case l.why != nil:
		p.fill(v, &l)
		p.write(w, r, http.StatusConflict, v)
		return
	}
	v.Purpose, v.Choice, v.Token = of, r.PostFormValue("choice"), p.token(l.subject, of, consents, p.Clock.Now())
	if v.Ask = v.P.Purpose[of].AskOff; consents {
		v.Ask = v.P.Purpose[of].AskOn
	}
	p.write(w, r, http.StatusOK, v)
}

func (p *Page) say(w http.ResponseWriter, r *http.Request) {
	v := p.view(r)
	of, consents, ok := answer(r.PostFormValue("purpose"), r.PostFormValue("choice"))
	l, err := p.look(r)
	switch {
	case err != nil:
		p.fail(w, r, v, err)
		return
	case l.why != nil:
		p.fill(v, &l)
		p.write(w, r, http.StatusConflict, v)
		return
	case !ok || !p.good(r.PostFormValue("token"), l.subject, of, consents):
		p.fill(v, &l)
		v.Said = v.P.Stale
		p.write(w, r, http.StatusConflict, v)
		return
	}
	e, err := p.Choices.Say(r.Context(), l.subject, of, consents, "web")
	if err == nil {
		l.states, err = p.Choices.State(r.Context(), l.subject)
	}
	if err != nil {
		p.fail(w, r, v, err)
		return
	}
	p.fill(v, &l)
	if v.Said = v.P.Soon; e.Serial != 0 || of == Hits {
		v.Said = v.P.Done
	}
	p.write(w, r, http.StatusOK, v)
}

// fail says that it didn't work, and never that it did.
func (p *Page) fail(w http.ResponseWriter, r *http.Request, v *view, err error) {
	v.Switches = nil
	if errors.Is(err, errOften) {
		w.Header().Set("Retry-After", "600")
		v.Said = v.P.Often
		p.write(w, r, http.StatusTooManyRequests, v)
		return
	}
	p.Log.ErrorContext(r.Context(), "a subscriber's choice can't be shown or entered", slog.Any("error", err))
	w.Header().Set("Retry-After", "30")
	v.Said = v.P.Failed
	p.write(w, r, http.StatusServiceUnavailable, v)
}

// write sends a page that nothing can be put into, and that nobody keeps.
func (p *Page) write(w http.ResponseWriter, r *http.Request, status int, v *view) {
	var out bytes.Buffer
	if err := page.Execute(&out, v); err != nil {
		p.Log.ErrorContext(r.Context(), "the page of choices can't be made", slog.Any("error", err))
		http.Error(w, v.P.Failed, http.StatusServiceUnavailable)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.Lang)
	h.Set("Content-Security-Policy", policy)
	h.Set("Referrer-Policy", "same-origin")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, no-store")
	h.Set("Vary", "Accept-Language")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes()) // html/template made it; a visitor that went away needs no answer
}

// apiAnswer is the page in JSON: of the line that calls, without saying whose it is.
type apiAnswer struct {
	Known    bool    `json:"known"`            // it can be told which line calls
	Reason   string  `json:"reason,omitempty"` // shared, foreign, unknown, often, unavailable, choice, token
	Purposes []State `json:"purposes"`
	Effect   *Effect `json:"effect,omitempty"`
	Token    string  `json:"token,omitempty"` // of GET with purpose and choice: POST takes it
}

func reason(why error) string {
	switch {
	case errors.Is(why, ErrShared):
		return "shared"
	case errors.Is(why, ErrForeign):
		return "foreign"
	}
	return "unknown"
}

func (p *Page) apiShow(w http.ResponseWriter, r *http.Request) {
	l, err := p.look(r)
	if err != nil {
		p.apiFail(w, r, err)
		return
	}
	a := p.answerOf(&l)
	if of, consents, ok := answer(r.URL.Query().Get("purpose"), r.URL.Query().Get("choice")); ok && l.why == nil {
		a.Token = p.token(l.subject, of, consents, p.Clock.Now())
	}
	sendJSON(w, http.StatusOK, a)
}

func (p *Page) answerOf(l *line) apiAnswer {
	a := apiAnswer{Known: l.why == nil, Purposes: []State{}}
	if l.why != nil {
		a.Reason = reason(l.why)
		return a
	}
	a.Purposes = append(a.Purposes, l.of(Block), l.of(Hits))
	return a
}

func (p *Page) apiSay(w http.ResponseWriter, r *http.Request) {
	var in struct{ Purpose, Choice, Token string }
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(&in)
	of, consents, ok := answer(in.Purpose, in.Choice)
	if err != nil || !ok {
		sendJSON(w, http.StatusBadRequest, apiAnswer{Reason: "choice", Purposes: []State{}})
		return
	}
	l, err := p.look(r)
	if err != nil {
		p.apiFail(w, r, err)
		return
	}
	a := p.answerOf(&l)
	if l.why != nil {
		sendJSON(w, http.StatusConflict, a)
		return
	}
	if !p.good(in.Token, l.subject, of, consents) {
		a.Reason = "token"
		sendJSON(w, http.StatusConflict, a)
		return
	}
	e, err := p.Choices.Say(r.Context(), l.subject, of, consents, "web")
	if err == nil {
		l.states, err = p.Choices.State(r.Context(), l.subject)
	}
	if err != nil {
		p.apiFail(w, r, err)
		return
	}
	a = p.answerOf(&l)
	a.Effect = &e
	sendJSON(w, http.StatusOK, a)
}

func (p *Page) apiFail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, errOften) {
		w.Header().Set("Retry-After", "600")
		sendJSON(w, http.StatusTooManyRequests, apiAnswer{Reason: "often", Purposes: []State{}})
		return
	}
	p.Log.ErrorContext(r.Context(), "a subscriber's choice can't be shown or entered", slog.Any("error", err))
	w.Header().Set("Retry-After", "30")
	sendJSON(w, http.StatusServiceUnavailable, apiAnswer{Reason: "unavailable", Purposes: []State{}})
}

func sendJSON(w http.ResponseWriter, status int, v apiAnswer) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "private, no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // a visitor that went away needs no answer
}
