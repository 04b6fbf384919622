package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"sakimori/console"
	"sakimori/detect"
)

// Problem is an error as it is written (RFC 9457), with two members more: a
// code that stays the same in all versions and languages, and the id under
// which the server's log speaks of this request.
type Problem struct {
	Type      string              `json:"type"`
	Title     string              `json:"title"`
	Status    int                 `json:"status"`
	Detail    string              `json:"detail"`
	Code      string              `json:"code"`
	RequestID string              `json:"request_id"`
	Errors    []*huma.ErrorDetail `json:"errors,omitempty"`
	Protected *Protected          `json:"protected,omitempty"` // of the code protected

	text  detect.Text
	cause error
}

// Error is the English detail.
func (p *Problem) Error() string { return p.Code + ": " + p.text.EN }

// Unwrap gives what went wrong inside, which is logged and never shown.
func (p *Problem) Unwrap() error { return p.cause }

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType is that of RFC 9457, whatever was asked for.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

var problems = map[string]struct {
	status int
	ja, en string
}{
	"unauthenticated":    {401, "ログインが必要です。トークンでログインするか、Authorization: Bearer を付けてください。", "Log in first: with a token at /session, or as Authorization: Bearer."},
	"token_invalid":      {401, "このトークンは使えません。期限切れ、使用済み、または失効しています。新しいトークンを発行してください。", "This token isn't valid: it has expired, been used or been revoked. Make a new one."},
	"credentials_wrong":  {401, "名前かパスワードが違うか、利用者がロックされています。", "Name or password is wrong, or the user is locked."},
	"forbidden":          {403, "この操作には権限「%s」のいずれかが必要です（現在は「%s」）。", "This takes one of the roles %s; yours are: %s."},
	"read_only":          {403, "このトークンは読み取り専用です。", "This token can only read."},
	"no_account":         {403, "これは利用者本人がログインして行います。トークンではできません。", "This takes a user who has signed in; a token can't do it."},
	"cross_origin":       {403, "別のサイトからの要求のため拒否しました。", "Refused: the request came from another site."},
	"loopback_only":      {403, "この操作は同じ機械からのみ行えます。", "This can only be asked for from the machine itself."},
	"host_unknown":       {421, "このホスト名では応答しません。設定の hosts に加えるか、127.0.0.1 を使ってください。", "This console doesn't answer to that host name: add it to the hosts of the configuration, or use 127.0.0.1."},
	"no_grant":           {403, "この契約者を特定できる有効な許可がありません。根拠を選んで許可を求めてください。", "No grant in force allows to name this subscriber: choose a ground, and ask the gate for one."},
	"own_request":        {403, "自分が求めた許可は、自分では承認・却下できません。別の人が行ってください。", "Nobody decides on what they asked for themselves: somebody else does."},
	"ask_invalid":        {422, "この内容では許可を求められません：%s", "The gate can't be asked like this: %s"},
	"no_office":          {404, "加入者対応(案件・許可・台帳)はこの構成では動いていません。", "There is no office here: neither cases nor grants nor a ledger."},
	"no_cnc":             {404, "C&C リストはこの構成では動いていません。", "There is no list of C&C servers here."},
	"no_rpz":             {404, "DNS のポリシーゾーンはこの構成では配っていません。", "No DNS policy zones are published here."},
	"no_dns":             {404, "リゾルバーへの問い合わせはこの構成では数えていません。", "What resolvers are asked isn't counted here."},
	"no_flows":           {404, "フローはこの構成では扱っていません。", "There are no flows here."},
	"no_choice":          {404, "契約者の選択(同意・オプトアウト)はこの構成では扱っていません。", "Subscribers' choices aren't kept here."},
	"no_routes":          {404, "経路の監視はこの構成では動いていません。", "Routes aren't watched here."},
	"no_attacks":         {404, "攻撃の検知(フロー)はこの構成では動いていません。", "No flows are looked at for attacks here."},
	"filter_masked":      {403, "アドレスでの検索は、攻撃に対処する権限(operator・network・legal・admin)でのみ行えます。", "Only who defends the network may search by address: operator, network, legal or admin."},
	"own_review":         {403, "同じ人が二人分の判定はできません。登録や判定をしていない別の人が行ってください。", "Nobody is two people: somebody decides who neither added the entry nor judged it before."},
	"protected":          {409, "%s は保護されており(%s)、登録できません。", "%s is protected (by %s) and is never listed."},
	"choice_whose":       {422, "case、subject、contract のうち一つだけを指定してください。", "Name the subscriber by exactly one of case, subject and contract."},
	"not_found":          {404, "見つかりません。", "There is nothing here by that name."},
	"method_not_allowed": {405, "このパスではその操作はできません。", "This path doesn't take that method."},
	"too_many_logins":    {429, "ログインの失敗が続きました。%d 秒後にもう一度試してください。", "Too many failed logins: try again in %d seconds."},
	"too_many_streams":   {503, "配信中の接続が多すぎます。開いている画面を閉じてください。", "Too many streams are open: close some of the pages."},
	"too_large":          {413, "本文が大きすぎます（上限 %d バイト）。", "The body is too large: at most %d bytes are taken."},
	"range_invalid":      {422, "期間が正しくありません：from は to より前にしてください。", "The span isn't valid: from must come before to."},
	"range_too_long":     {422, "期間が長すぎます：最長 %d 日です。", "The span is too long: at most %d days."},
	"too_many_points":    {422, "点が多すぎます（%d、上限 %d）。粒度を粗くするか期間を短くしてください。", "That would be %d points, and at most %d are given: take a coarser grain or a shorter span."},
	"key_invalid":        {422, "%q は dim=%s の key として読めません。例：%s", "%q can't be read as a key of dim=%s; an example: %s"},
	"filter_invalid":     {422, "%q は %s として読めません。例：%s", "%q can't be read as %s; an example: %s"},
	"cursor_invalid":     {422, "cursor が正しくないか、サーバーの再起動で無効になりました。最初のページから取り直してください。", "The cursor isn't valid, or ended with a restart of the server: begin again at the first page."},
	"cursor_other_query": {422, "cursor は別の検索条件のものです。最初のページから取り直してください。", "The cursor belongs to another query: begin again at the first page."},
	"address_invalid":    {422, "%q は IP アドレスではありません。", "%q is no IP address."},
	"validation_failed":  {422, "入力に誤りがあります。errors の各項目を確認してください。", "The request isn't valid: see each entry of errors."},
	"refused":            {422, "受け付けられません。", "That can't be done."},
	"issuer_failed":      {502, "外部の認証サーバーが応答しません。時間をおくか、パスワードでログインしてください。", "The issuer doesn't answer as it should: try later, or sign in with a password."},
	"unavailable":        {503, "この機能は動いていません。", "This part isn't running."},
	"timeout":            {504, "時間内に答えられませんでした。期間を短くしてください。", "There was no answer in time: take a shorter span."},
	"canceled":           {499, "要求が取り消されました。", "The request was given up."},
	"internal":           {500, "内部エラーです。request_id を添えてログを確認してください。", "Something went wrong inside: look for the request_id in the log."},
	"bad_request":        {400, "要求を読めません。", "The request can't be read."},
	"unsupported_media":  {415, "この形式の本文は受け付けません。application/json を使ってください。", "This type of body isn't taken: use application/json."},
}

// fail makes the problem of that code. The arguments fill its sentence.
func fail(code string, args ...any) *Problem {
	p := problems[code]
	return &Problem{
		Type: "about:blank", Title: http.StatusText(p.status), Status: p.status, Code: code,
		text: detect.Text{JA: sentence(p.ja, args), EN: sentence(p.en, args)},
	}
}

func sentence(format string, args []any) string {
	if len(args) == 0 {
		return format
	}
	return fmt.Sprintf(format, args...)
}

// explain turns an error of a port into a problem; what it says is for the log.
func explain(err error) *Problem {
	var p *Problem
	var refusal *Refusal
	var tooLarge *http.MaxBytesError
	var protected *Protected
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &refusal):
		p = fail("refused")
		p.text = refusal.Text
	case errors.As(err, &tooLarge):
		p = fail("too_large", tooLarge.Limit)
	case errors.As(err, &protected):
		p = fail("protected", protected.Name, protected.List)
		p.Protected = protected
	case errors.Is(err, ErrOwnReview):
		p = fail("own_review")
	case errors.Is(err, console.ErrPassword):
		p = fail("credentials_wrong")
	case errors.Is(err, console.ErrToken):
		p = fail("token_invalid")
	case errors.Is(err, console.ErrIssuer):
		p = fail("issuer_failed")
	case errors.Is(err, ErrNoGrant):
		p = fail("no_grant")
	case errors.Is(err, ErrNotFound):
		p = fail("not_found")
	case errors.Is(err, context.DeadlineExceeded):
		p = fail("timeout")
	case errors.Is(err, context.Canceled):
		p = fail("canceled")
	default:
		p = fail("internal")
	}
	p.cause = err
	return p
}

// localize completes a problem for one request.
func (p *Problem) localize(lang, requestID string) *Problem {
	q := *p
	q.Detail, q.RequestID = p.text.EN, requestID
	if lang == "ja" {
		q.Detail = p.text.JA
		q.Errors = nil
		for _, e := range p.Errors {
			d := *e
			d.Message = inJapanese(e.Message)
			q.Errors = append(q.Errors, &d)
		}
	}
	return &q
}

// fromHuma gives the framework's own errors our form.
func fromHuma(e *huma.ErrorModel) *Problem {
	code := "internal"
	switch e.Status {
	case http.StatusUnprocessableEntity:
		code = "validation_failed"
	case http.StatusBadRequest:
		code = "bad_request"
	case http.StatusRequestEntityTooLarge:
		code = "too_large"
	case http.StatusUnsupportedMediaType:
		code = "unsupported_media"
	case http.StatusRequestTimeout:
		code = "timeout"
	}
	p := fail(code)
	if code == "too_large" {
		p = fail(code, jsonBytes)
	}
	if e.Status >= 500 {
		p.cause = e
		return p
	}
	p.Errors = e.Errors
	return p
}

// inJapanese translates the framework's remarks on single values, by their
// beginnings; one that isn't known stays English.
func inJapanese(s string) string {
	for _, t := range [...]struct{ en, ja string }{
		{"expected string to be RFC 3339 date-time", "RFC 3339 の日時が必要です（例 2016-09-01T00:00:00Z）"},
		{"expected value to be one of ", "次のいずれかにしてください："},
		{"expected number >= ", "下限："},
		{"expected number <= ", "上限："},
		{"expected length <= ", "長さの上限："},
		{"expected length >= ", "長さの下限："},
		{"expected required property ", "必須の項目です："},
		{"required query parameter is missing", "必須のパラメーターです"},
		{"request body is required", "本文が必要です"},
		{"invalid integer", "整数が必要です"},
		{"invalid boolean", "true か false が必要です"},
		{"invalid float", "数が必要です"},
		{"expected boolean", "true か false が必要です"},
		{"expected string", "文字列が必要です"},
		{"expected array", "配列が必要です"},
		{"expected object", "オブジェクトが必要です"},
		{"unexpected property", "知らない項目です"},
	} {
		if rest, ok := strings.CutPrefix(s, t.en); ok {
			return t.ja + rest
		}
	}
	return s
}

// language picks ja or en by Accept-Language (RFC 9110 §12.5.4). Without a
// wish it is the house's first language.
func language(header string) string {
	best, weight := "ja", 0.0
	for part := range strings.SplitSeq(header, ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		q := 1.0
		if v, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			f, err := strconv.ParseFloat(v, 64)
			if err != nil {
				continue
			}
			q = f
		}
		tag, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		if (tag == "ja" || tag == "en") && q > weight {
			best, weight = tag, q
		}
	}
	return best
}

// writeProblem answers outside of the framework.
func writeProblem(w http.ResponseWriter, r *http.Request, p *Problem) {
	lang := language(r.Header.Get("Accept-Language"))
	w.Header().Set("Content-Type", p.ContentType(""))
	w.Header().Set("Content-Language", lang)
	w.WriteHeader(p.Status)
	raw, err := json.Marshal(p.localize(lang, callOf(r.Context()).requestID))
	if err != nil { // strings and numbers; values came from JSON or the query
		return
	}
	_, _ = w.Write(append(raw, '\n')) // a client that went away needs no answer
}

var (
	_ huma.StatusError       = (*Problem)(nil)
	_ huma.ContentTypeFilter = (*Problem)(nil)
)
