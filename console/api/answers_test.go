package api

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"sakimori/console"
	"sakimori/detect"
	"sakimori/observe"
)

func decode[T any](t *testing.T, body []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return v
}

func read[T any](w *world, role console.Roles, path string) T {
	w.t.Helper()
	got := w.ask(role, "GET", path, "", nil)
	if got.Code != http.StatusOK {
		w.t.Fatalf("%s: %d %s", path, got.Code, got.Body)
	}
	return decode[T](w.t, got.Body.Bytes())
}

// Each route that reads is asked as each role, in both forms; no own address
// may be in any answer, and for a wall no address at all.
func TestNoOwnAddressLeaves(t *testing.T) {
	w := newWorld(t)
	w.jobs.list = []Job{{ID: "j", File: "203-0-113-7.pcap", Message: &detect.Text{JA: ownSource.String(), EN: ownV6.String()}, Result: map[string]any{"infected": []string{ownSource.String()}}}}
	paths := []string{
		"/api/v1/status", "/api/v1/situation", "/api/v1/telescope/series?dim=port&key=23/tcp&previous=true", "/api/v1/telescope/top", "/api/v1/telescope/heat",
		"/api/v1/telescope/rising", "/api/v1/telescope/years", "/api/v1/telescope/events?limit=500", "/api/v1/telescope/events?limit=7", "/api/v1/telescope/events?source=203.0.113.7",
		"/api/v1/address/203.0.113.7", "/api/v1/address/2001:db8:1:2::7", "/api/v1/address/%3A%3Affff:203.0.113.7", "/api/v1/address/198.51.100.9",
		"/api/v1/findings", "/api/v1/findings/infected-203.0.113.7", "/api/v1/findings?limit=0&x=203.0.113.7", "/api/v1/jobs", "/readyz", "/api/v1/203.0.113.7",
		"/api/v1/flows/top", "/api/v1/flows/top?by=src&dst=203.0.113.7", "/api/v1/flows/series?by=dst", "/api/v1/flows/talkers", "/api/v1/flows/search?limit=7", "/api/v1/flows/search?src=203.0.113.7",
	}
	asked := 0
	for _, path := range paths {
		for _, role := range everyRole {
			for _, form := range []string{"application/json", "text/csv"} {
				got := w.ask(role, "GET", path, "", header{"Accept": form})
				if got.Code == 200 {
					asked++
				}
				body := got.Body.String()
				link, err := url.QueryUnescape(got.Header().Get("Link"))
				if err != nil {
					t.Fatal(err)
				}
				for _, leak := range []string{"203.0.113.7", "203-0-113-7", "cb00:7107", "2001:db8:1:2"} {
					if strings.Contains(body, leak) || strings.Contains(link, leak) && !strings.Contains(path, leak) {
						t.Errorf("%s as %s (%s) shows %s:\n%s", path, role, form, leak, body)
					}
				}
				if !role.Any(readers) && strings.Contains(body, foreign.String()) {
					t.Errorf("%s as %s shows %s", path, role, foreign)
				}
			}
		}
	}
	if asked < 100 {
		t.Errorf("only %d answers were looked at", asked)
	}
}

// Trying the addresses of an own prefix in turn tells nothing about any.
func TestOwnAddressCantBeProbed(t *testing.T) {
	w := newWorld(t)
	seen := w.ask(Admin, "GET", "/api/v1/address/203.0.113.7", "", nil).Body.String()
	unseen := w.ask(Admin, "GET", "/api/v1/address/203.0.113.8", "", nil).Body.String()
	if seen != unseen {
		t.Errorf("an own address with packets and one without differ:\n%s\n%s", seen, unseen)
	}
	got := decode[addressBody](t, []byte(seen))
	if got.State != "none" || !got.Own || got.Address != "203.0.113.x" || got.Reason == nil {
		t.Errorf("%s", seen)
	}
	for _, query := range []string{"source=203.0.113.7", "source=203.0.113.8", "source=::ffff:203.0.113.7", "source=64:ff9b::203.0.113.7"} {
		if e := read[eventsBody](w, Admin, "/api/v1/telescope/events?"+query); e.State != "none" || len(e.Rows) != 0 {
			t.Errorf("%s: %+v", query, e)
		}
	}
}

func TestFindingWithAnAddressInItsID(t *testing.T) {
	w := newWorld(t)
	list := read[findingsBody](w, Operator, "/api/v1/findings?detector=infected")
	if len(list.Rows) != 1 || list.Rows[0].Subject != "203.0.113.x" || !strings.HasPrefix(list.Rows[0].ID, sealedID) {
		t.Fatalf("%+v", list)
	}
	id := list.Rows[0].ID
	one := read[findingBody](w, Operator, "/api/v1/findings/"+id)
	if one.Finding.ID != id || len(one.History) != 1 || one.History[0].ID != id || one.Finding.Title.JA != "契約者 203.0.113.x が感染の疑い" {
		t.Errorf("%+v", one)
	}
	got := w.ask(Operator, "POST", "/api/v1/findings/"+id+"/ack", `{"note":" called them "}`, nil)
	if ack := decode[Ack](t, got.Body.Bytes()); ack.By != "operator" || ack.Note != "called them" || ack.At.IsZero() {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if w.findings.found[0].Ack == nil {
		t.Error("the note wasn't kept")
	}
	for _, item := range read[situationBody](w, Operator, "/api/v1/situation").Work {
		if item.Finding != nil && item.Finding.ID == id {
			t.Error("an acknowledged finding is still on the work list")
		}
	}
}

func TestTimesComeFromTheData(t *testing.T) {
	w := newWorld(t)
	s := read[seriesBody](w, Viewer, "/api/v1/telescope/series")
	if want := time.Date(2016, 9, 20, 13, 0, 0, 0, time.UTC); !s.To.Equal(want) || !s.From.Equal(want.Add(-day)) {
		t.Errorf("%v to %v", s.From, s.To)
	}
	if s.State != "ok" || s.Grain != "hour" || len(s.Points) == 0 || len(s.Gaps) != 1 || s.DarkAddresses != 65536 || s.Previous != nil {
		t.Errorf("%+v", s)
	}
	if p := read[seriesBody](w, Viewer, "/api/v1/telescope/series?dim=port&key=23/tcp&grain=day&previous=1"); p.Name != "telnet" || p.NameJA == "" || p.Key != "23/tcp" || len(p.Previous) == 0 {
		t.Errorf("%+v", p)
	}
}

func TestStates(t *testing.T) {
	w := newWorld(t)
	state := func(path string) Panel { return read[Panel](w, Viewer, path) }
	if p := state("/api/v1/telescope/top?from=2015-01-01T00:00:00Z&to=2015-01-02T00:00:00Z"); p.State != "none" || !strings.Contains(p.Reason.EN, "2016-09-20") {
		t.Errorf("%+v", p)
	}
	if p := state("/api/v1/telescope/top?from=2016-09-20T12:01:00Z&to=2016-09-20T12:02:00Z"); p.State != "zero" {
		t.Errorf("%+v", p)
	}
	w.inputs.list[0].State = "stale"
	if p := state("/api/v1/telescope/top"); p.State != "stale" || p.AsOf == nil || !p.AsOf.Equal(dataEnd) {
		t.Errorf("%+v", p)
	}
	if p := state("/api/v1/telescope/top?from=2016-09-19T12:00:00Z&to=2016-09-20T00:00:00Z"); p.State != "ok" {
		t.Errorf("an old span is %+v", p)
	}
	if got := w.ask(Public, "GET", "/readyz", "", nil); got.Code != http.StatusServiceUnavailable || !strings.Contains(got.Body.String(), `"ok":false`) {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if got := w.ask(Public, "GET", "/livez", "", nil); got.Code != http.StatusOK {
		t.Error(got.Code)
	}
	w.inputs.list[0] = Input{Name: "a.pcap", Kind: "file", State: "done"}
	if p := state("/api/v1/telescope/top"); p.State != "ok" {
		t.Errorf("a file that was read to its end is %+v", p)
	}
	w.inputs.end, w.archive.events = time.Time{}, nil
	for _, path := range []string{"series", "top", "heat", "rising", "events"} {
		if p := state("/api/v1/telescope/" + path); p.State != "none" || p.Reason.JA == "" {
			t.Errorf("%s without data: %+v", path, p)
		}
	}
	if s := read[situationBody](w, Viewer, "/api/v1/situation"); s.State != "none" || s.Today != nil || s.LastWeek != nil {
		t.Errorf("%+v", s)
	}
}

func TestTopAndItsPages(t *testing.T) {
	w := newWorld(t)
	whole := read[topBody](w, Viewer, "/api/v1/telescope/top?limit=500")
	if whole.Next != nil || whole.Rows[0].Key != "23/tcp" || whole.Rows[0].NameJA != "Telnet（IoT）" || whole.Rows[0].Before == nil || whole.Rows[0].Change == nil {
		t.Fatalf("%+v", whole)
	}
	var rows []Row
	share, next := 0.0, ""
	for pages := 0; ; pages++ {
		got := w.ask(Viewer, "GET", "/api/v1/telescope/top?limit=2&cursor="+next, "", nil)
		p := decode[topBody](t, got.Body.Bytes())
		rows = append(rows, p.Rows...)
		if p.Next == nil {
			break
		}
		next = *p.Next
		if link := got.Header().Get("Link"); !strings.Contains(link, "cursor="+next) || !strings.HasSuffix(link, `>; rel="next"`) {
			t.Errorf("Link: %s", link)
		}
		w.inputs.end = w.inputs.end.Add(time.Hour) // new data doesn't move the span of later pages
		if pages > 100 {
			t.Fatal("the pages don't end")
		}
	}
	if len(rows) != len(whole.Rows) {
		t.Fatalf("%d rows in pages, %d in one", len(rows), len(whole.Rows))
	}
	for i, r := range rows {
		share += r.Share
		if r.Key != whole.Rows[i].Key {
			t.Errorf("row %d is %s in pages and %s in one", i, r.Key, whole.Rows[i].Key)
		}
	}
	if share < 0.999 || share > 1.001 {
		t.Errorf("the shares add up to %v", share)
	}
	for dim, first := range map[string]string{"country": "JP", "as": "AS4713", "protocol": "tcp", "class": "scan"} {
		if got := read[topBody](w, Viewer, "/api/v1/telescope/top?dim="+dim+"&order=sources"); got.Rows[0].Key != first {
			t.Errorf("%s: %+v", dim, got.Rows)
		}
	}
}

func TestTamperedCursorIsRefused(t *testing.T) {
	w := newWorld(t)
	good := *read[eventsBody](w, Viewer, "/api/v1/telescope/events?limit=5").Next
	code := func(path string) string {
		return problemOf(t, w.ask(Viewer, "GET", path, "", nil).Body.Bytes()).Code
	}
	for i := range len(good) {
		bad := []byte(good)
		bad[i] = "gh"[len(bad)%2]
		if string(bad) == good {
			bad[i] = 'z'
		}
		if got := code("/api/v1/telescope/events?limit=5&cursor=" + string(bad)); got != "cursor_invalid" {
			t.Fatalf("character %d changed: %q", i, got)
		}
	}
	if got := code("/api/v1/telescope/events?limit=5&port=23&cursor=" + good); got != "cursor_other_query" {
		t.Errorf("with another query: %q", got)
	}
	if got := code("/api/v1/telescope/top?cursor=" + good); got != "cursor_other_query" {
		t.Errorf("on another list: %q", got)
	}
	if got := code("/api/v1/findings/" + sealedID + good); got != "not_found" {
		t.Errorf("as the id of a finding: %q", got)
	}
	other := newWorld(t)
	if got := problemOf(t, other.ask(Viewer, "GET", "/api/v1/telescope/events?cursor="+good, "", nil).Body.Bytes()).Code; got != "cursor_invalid" {
		t.Errorf("on another console: %q", got)
	}
	if raw, err := opaque.DecodeString(good); err != nil || bytes.Contains(raw, []byte("203.0.113.7")) {
		t.Error("the cursor can be read")
	}
}

func TestEventsArePagedAndFiltered(t *testing.T) {
	w := newWorld(t)
	total, next := 0, ""
	for {
		p := read[eventsBody](w, Viewer, "/api/v1/telescope/events?limit=7&cursor="+next)
		total += len(p.Rows)
		if p.Next == nil {
			break
		}
		next = *p.Next
	}
	if total != 47 { // two an hour, and the first of the day is 20 s too early
		t.Errorf("%d events in all pages", total)
	}
	e := read[eventsBody](w, Viewer, "/api/v1/telescope/events?tool=mirai&kind=tcp-syn&limit=500").Rows
	if len(e) != 23 || e[0].Tool != "mirai" || e[0].Class != "scan" || e[0].Kind != "tcp-syn" || e[0].Key != "23/tcp" || e[0].Name != "telnet" || e[0].ID == "" {
		t.Errorf("%d, %+v", len(e), e[0])
	}
	for port, n := range map[string]int{"23": 23, "23/tcp": 23, "23/udp": 0, "8.0/icmp": 12, "8.0": 12, "2048": 12} {
		if got := read[eventsBody](w, Viewer, "/api/v1/telescope/events?limit=500&port="+port).Rows; len(got) != n {
			t.Errorf("port %s: %d events", port, len(got))
		}
	}
	own := read[eventsBody](w, Viewer, "/api/v1/telescope/events?limit=500").Rows
	masked := map[string]int{}
	for _, x := range own {
		if x.Own {
			masked[x.Source]++
		}
	}
	if len(masked) != 2 || masked["203.0.113.x"] != 12 || masked["2001:db8:1::x"] != 12 {
		t.Errorf("%v", masked)
	}
	if a := read[addressBody](w, Viewer, "/api/v1/address/198.51.100.9"); a.State != "ok" || a.Research == nil || a.Place.ASName != "=OCN" || !a.Place.Estimated ||
		len(a.Tools) != 1 || len(a.Findings) != 1 || len(a.Ports) != 1 || len(a.Series) != 1 || a.Packets == 0 {
		t.Errorf("%+v", a)
	}
	if a := read[addressBody](w, Viewer, "/api/v1/address/192.0.2.200"); a.State != "zero" || a.First != nil {
		t.Errorf("%+v", a)
	}
}

func TestCSV(t *testing.T) {
	w := newWorld(t)
	for path, want := range map[string]struct {
		header string
		rows   int
	}{
		"telescope/series":     {"time,packets,sources,sources_err,sources_at_most,targets,targets_err,targets_at_most", 24},
		"telescope/top?dim=as": {"key,name,name_ja,packets,share,sources,sources_err,sources_at_most,targets,targets_err,targets_at_most,before,change", 2},
		"telescope/rising":     {"key,name,name_ja,packets,sources,sources_err,sources_at_most,expected,score,new", 1},
		"telescope/heat":       {"hour,key,name,name_ja,packets,sources", 12 * 24},
		"telescope/years":      {"year,packets,iot_share,per_dark_address,factor,iot_factor,days_covered,partial", 1},
		"telescope/events":     {"id,source,own,port,protocol,key,name,kind,class,first,last,packets,targets,targets_err,targets_at_most,coverage,rate,tool,tool_versions,country,asn,open,flags", 47},
		"findings":             {"id,detector,subject,state,severity,confidence,opened,changed,closed,title_ja,title_en,why_ja,why_en,evidence,ack_by,ack_at,ack_note", 3},
	} {
		got := w.ask(Viewer, "GET", "/api/v1/"+path, "", header{"Accept": "text/csv"})
		if ct := got.Header().Get("Content-Type"); ct != "text/csv; charset=utf-8; header=present" || got.Header().Get("Sakimori-State") != "ok" {
			t.Errorf("%s: %q, state %q", path, ct, got.Header().Get("Sakimori-State"))
		}
		rows, err := csv.NewReader(got.Body).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if strings.Join(rows[0], ",") != want.header || len(rows)-1 < want.rows {
			t.Errorf("%s: %d rows of %s", path, len(rows)-1, strings.Join(rows[0], ","))
		}
	}
	asked := w.ask(Viewer, "GET", "/api/v1/telescope/top?dim=as&format=csv", "", header{"Accept": "*/*"})
	if !strings.Contains(asked.Body.String(), "AS4713,'=OCN,'=OCN,") {
		t.Errorf("a name that a spreadsheet takes for a formula: %s", asked.Body)
	}
	if got := w.ask(Viewer, "GET", "/api/v1/telescope/top?format=json", "", header{"Accept": "text/csv"}); got.Header().Get("Content-Type") != "application/json" {
		t.Error(got.Header())
	}
	if got := w.ask(Viewer, "GET", "/api/v1/status", "", header{"Accept": "text/csv"}); got.Code != 200 || got.Header().Get("Content-Type") != "application/json" {
		t.Errorf("what is no list: %d %s", got.Code, got.Header().Get("Content-Type"))
	}
	bad := w.ask(Viewer, "GET", "/api/v1/telescope/top?limit=0&format=csv", "", nil)
	if bad.Header().Get("Content-Type") != "application/problem+json" || problemOf(t, bad.Body.Bytes()).Code != "validation_failed" {
		t.Errorf("%s %s", bad.Header().Get("Content-Type"), bad.Body)
	}
}

func TestSituation(t *testing.T) {
	w := newWorld(t)
	w.inputs.list = append(w.inputs.list, Input{Name: "b", Kind: "live", State: "failed", Age: time.Minute}, Input{Name: "c", Kind: "live", State: "stale", Age: time.Hour})
	s := read[situationBody](w, Wall, "/api/v1/situation")
	if s.Today == nil || s.Today.Packets == 0 || s.LastWeek != nil || !s.Today.To.Equal(s.Today.From.Add(day)) {
		t.Errorf("%+v", s)
	}
	var order []string
	for _, item := range s.Work {
		if item.Next.JA == "" || item.Next.EN == "" {
			t.Errorf("nothing to do next: %+v", item)
		}
		if item.Input != nil {
			order = append(order, item.Input.Name)
		} else {
			order = append(order, item.Finding.Detector)
		}
	}
	if got := strings.Join(order, " "); got != "ddos b infected c" {
		t.Errorf("work in the order %s", got)
	}
	st := read[Status](w, Operator, "/api/v1/status")
	if st.Floor.RSDoSPPS != 32768 || strings.Join(st.Roles, ",") != "operator" || st.DataTime == nil || !st.DataTime.Equal(dataEnd) || st.Speed != 1 {
		t.Errorf("%+v", st)
	}
	y := read[yearsBody](w, Wall, "/api/v1/telescope/years")
	if len(y.Reference) != 1 || y.IoTTable.Ports[0] != "23/tcp" || y.Years[0].IoTShare == nil || !y.Years[0].Partial {
		t.Errorf("%+v", y)
	}
	h := read[heatBody](w, Wall, "/api/v1/telescope/heat?ports=3")
	if len(h.Ports) != 3 || len(h.Packets) != 3 || len(h.Packets[0]) != len(h.Hours) || len(h.Sources) != 3 {
		t.Errorf("%+v", h)
	}
}

func TestImports(t *testing.T) {
	w := newWorld(t)
	capture := strings.Repeat("pcap", 100_000)
	got := w.ask(Operator, "POST", "/api/v1/imports?name=..%2Fday.pcap", capture, header{"Content-Type": "application/octet-stream"})
	if j := decode[Job](t, got.Body.Bytes()); got.Code != 202 || j.File != "day.pcap" || string(w.jobs.body) != capture {
		t.Errorf("%d %s, %d bytes", got.Code, got.Body, len(w.jobs.body))
	}
	if got := w.ask(Operator, "POST", "/api/v1/jobs/job1/stop", "{}", nil); !strings.Contains(got.Body.String(), `"stopped"`) {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if got := w.ask(Operator, "POST", "/api/v1/jobs/job1/resume", "", nil); !strings.Contains(got.Body.String(), `"queued"`) {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	got = w.ask(Admin, "POST", "/api/v1/imports/path", `{"path":"/day.pcap","dark":["192.0.2.7/24","198.51.100.1"]}`, nil)
	if got.Code != 202 || len(w.jobs.dark) != 2 || w.jobs.dark[0] != netip.MustParsePrefix("192.0.2.0/24") || w.jobs.dark[1].Bits() != 32 {
		t.Errorf("%d %s %v", got.Code, got.Body, w.jobs.dark)
	}
	if got := w.ask(Admin, "POST", "/api/v1/imports/path", `{"path":"/day.pcap","own":["x"]}`, nil); got.Code != 422 {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	small := newWorld(t, func(d *Deps) { d.ImportBytes = 1000 })
	if got := small.ask(Operator, "POST", "/api/v1/imports?name=x", capture, nil); got.Code != 413 {
		t.Errorf("beyond the limit: %d %s", got.Code, got.Body)
	}
}

type brokenArchive struct{ memoryArchive }

func (*brokenArchive) Total(context.Context, observe.Range) (observe.Point, error) {
	return observe.Point{}, errors.New("disk at 203.0.113.7 is gone")
}

func (*brokenArchive) Years(context.Context, []uint32) ([]observe.Year, error) { panic("203.0.113.7") }

func TestWhatFailsInsideStaysInside(t *testing.T) {
	var log bytes.Buffer
	w := newWorld(t, func(d *Deps) {
		d.Archive = &brokenArchive{*d.Archive.(*memoryArchive)}
		d.Log = slog.New(slog.NewJSONHandler(&log, nil))
	})
	for _, path := range []string{"/api/v1/telescope/top", "/api/v1/telescope/years"} {
		log.Reset()
		got := w.ask(Viewer, "GET", path, "", nil)
		p := problemOf(t, got.Body.Bytes())
		if got.Code != 500 || p.Code != "internal" || strings.Contains(got.Body.String(), "203.0.113") {
			t.Errorf("%s: %d %s", path, got.Code, got.Body)
		}
		if l := log.String(); !strings.Contains(l, p.RequestID) || !strings.Contains(l, "203.0.113.x") || strings.Contains(l, "203.0.113.7") {
			t.Errorf("%s: log %s", path, l)
		}
	}
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	if _, err := New(Deps{}); err == nil {
		t.Error("built on nothing")
	}
	w := newWorld(t, func(d *Deps) {
		d.Findings, d.Jobs, d.Geo, d.Research, d.Rising, d.Static, d.Facts, d.People, d.Office, d.Notices = nil, nil, nil, nil, nil, nil, nil, nil, nil, nil
		d.Attacks, d.Mitigations, d.Replays = nil, nil, nil
		d.Incidents, d.Routes, d.Remedies = nil, nil, nil
	})
	without := 0
	for pattern := range permissions {
		if method, path, ok := strings.Cut(pattern, " "); ok && method == "GET" && pattern != streaming {
			path = strings.NewReplacer("{ip}", "198.51.100.9", "{id}", "nothing", "{issuer}", "corp", "{zone}", "c2", "{vendor}", "bind").Replace(path) + needed[pattern]
			got := w.ask(Public, method, path, "", w.cookie(Admin))
			if got.Code == 404 && strings.HasPrefix(problemOf(t, got.Body.Bytes()).Code, "no_") {
				without++
			} else if got.Code != 200 && got.Code != 503 {
				t.Errorf("%s on the bare minimum: %d %s", pattern, got.Code, got.Body)
			}
		}
	}
	if without < 25 {
		t.Errorf("%d routes say what isn't there", without)
	}
}
