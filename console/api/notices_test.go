package api

import (
	"encoding/csv"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sakimori/console"
)

// TestNotices: a list in pages and as a table, one with its history, and previews that
// show the person with a grant alone.
func TestNotices(t *testing.T) {
	w := newWorld(t)
	var ids []string
	for next := ""; ; {
		b := read[noticesBody](w, Operator, "/api/v1/notices?limit=3&case=C-2026-000001&cursor="+url.QueryEscape(next))
		if b.Total != 4 {
			t.Fatalf("%+v", b)
		}
		for _, n := range b.Notices {
			ids = append(ids, n.ID)
		}
		if next = b.Next; next == "" {
			break
		}
		if got := w.ask(Operator, "GET", "/api/v1/notices?state=sent&cursor="+url.QueryEscape(next), "", nil); problemOf(t, got.Body.Bytes()).Code != "cursor_other_query" {
			t.Errorf("another query's cursor: %s", got.Body)
		}
	}
	if !slices.Equal(ids, []string{"n1", "n2", "n3", "n4"}) {
		t.Errorf("%q", ids)
	}
	if b := read[noticesBody](w, Operator, "/api/v1/notices?state=in_doubt"); b.Total != 1 || b.Notices[0].Words.JA == "" || strings.Contains(b.Notices[0].Reason, ownSource.String()) {
		t.Errorf("%+v", b)
	}
	got := w.ask(Operator, "GET", "/api/v1/notices?format=csv", "", nil)
	rows, err := csv.NewReader(got.Body).ReadAll()
	if err != nil || len(rows) != 5 || rows[1][0] != "n1" || rows[1][18] == "" || rows[2][18] != "" || !strings.HasPrefix(rows[1][9], "'=") {
		t.Errorf("%q, %v", rows, err)
	}
	if b := read[noticeHistoryBody](w, Operator, "/api/v1/notices/n1"); b.Notice.State != "sent" || len(b.History) != 2 || b.History[1].Said != "seen" {
		t.Errorf("%+v", b)
	}
	if p := read[NoticePreview](w, Operator, "/api/v1/notices/n1/preview"); !p.Masked || p.Text == "" || len(p.PDF) != 0 {
		t.Errorf("%+v", p)
	}
	if got := w.ask(console.Abuse, "POST", "/api/v1/notices/n1/preview", `{"grant":"G-bad"}`, nil); got.Code != http.StatusForbidden || problemOf(t, got.Body.Bytes()).Code != "no_grant" {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if got := w.ask(console.Abuse, "POST", "/api/v1/notices/n1/preview", `{"grant":"G-good"}`, nil); got.Code != http.StatusOK || !strings.Contains(got.Body.String(), `"pdf":"JVBERg=="`) {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if b := read[channelsBody](w, console.Legal, "/api/v1/notices/channels"); len(b.Channels) != 1 || b.Policy.Most != 3 {
		t.Errorf("%+v", b)
	}
	if !slices.Equal(w.notices.acts, []string{"abuse:abuse looks"}) {
		t.Errorf("%q", w.notices.acts)
	}
}

// TestNoticeActs: each act names who does it, is refused in words, and takes a reason.
func TestNoticeActs(t *testing.T) {
	w := newWorld(t)
	do := func(path, body string, want int, says string) {
		t.Helper()
		got := w.ask(console.Abuse, "POST", "/api/v1/"+path, body, nil)
		if got.Code != want || !strings.Contains(got.Body.String(), says) {
			t.Errorf("%s %s: %d %s", path, body, got.Code, got.Body)
		}
	}
	do("cases/C-2026-000001/notices", `{"why":" reported ","channel":"letter","language":"en"}`, 200, `"state":"proposed"`)
	do("cases/C-1999-000001/notices", `{"why":"reported"}`, 404, "not_found")
	do("cases/C-2026-000001/notices", `{"why":"reported","channel":"pigeon"}`, 422, "channel")
	do("notices/n4/approve", `{"why":"looked at"}`, 422, "the harm isn't shown")
	do("notices/n4/approve", `{"why":"looked at","facts":{"harm":"scans"}}`, 200, `"state":"approved"`)
	do("notices/n4/approve", `{"why":"looked at","facts":{"harm":"scans"}}`, 422, "refused")
	do("notices/n4/approve", `{"facts":{"harm":"scans"}}`, 422, "why")
	do("notices/n3/resolve", `{"sent":true,"why":"the log has it"}`, 200, `"state":"sent"`)
	do("notices/n1/confirm", `{"became":"bounced","why":"it came back"}`, 200, `"state":"bounced"`)
	do("notices/n1/confirm", `{"became":"eaten","why":"it came back"}`, 422, "became")
	do("notices/n2/withdraw", `{"why":"clean"}`, 200, `"state":"withdrawn"`)
	do("notices/n2/withdraw", `{"why":""}`, 422, "why")
	do("notices/none/withdraw", `{"why":"clean"}`, 404, "not_found")
	do("notices/letters", `{}`, 200, `"unprintable":1`)
	want := []string{"abuse:abuse proposes letteren: reported", "abuse:abuse approves: looked at", "abuse:abuse resolves: the log has it", "abuse:abuse confirms: it came back", "abuse:abuse withdraws: clean", "abuse:abuse prints"}
	if !slices.Equal(w.notices.acts, want) {
		t.Errorf("%q\nnot %q", w.notices.acts, want)
	}
}

// TestNoOfficeNoNotices: without an office each route says so.
func TestNoOfficeNoNotices(t *testing.T) {
	w := newWorld(t, func(d *Deps) { d.Notices = nil })
	bodies := map[string]string{
		"POST /api/v1/notices/{id}/preview": `{"grant":"G-1"}`, "POST /api/v1/notices/{id}/resolve": `{"sent":true,"why":"x"}`, "POST /api/v1/notices/{id}/confirm": `{"became":"bounced","why":"x"}`,
		"POST /api/v1/notices/letters": `{}`,
	}
	n := 0
	for _, pattern := range w.server.mux.patterns {
		method, path, _ := strings.Cut(pattern, " ")
		if !strings.Contains(path, "notices") {
			continue
		}
		body := bodies[pattern]
		if body == "" && method == http.MethodPost {
			body = `{"why":"x"}`
		}
		got := w.ask(Admin, method, strings.ReplaceAll(path, "{id}", "n1"), body, nil)
		if n++; got.Code != http.StatusNotFound || problemOf(t, got.Body.Bytes()).Code != "no_office" {
			t.Errorf("%s: %d %s", pattern, got.Code, got.Body)
		}
	}
	if n != 11 {
		t.Errorf("%d routes", n)
	}
}
