package api

import (
	"cmp"
	"context"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"sakimori/base/clock"
	"sakimori/console"
	"sakimori/detect"
	"sakimori/observe"
)

// The fakes are small but real: they count what they hold.

var (
	dataEnd   = time.Date(2016, 9, 20, 12, 30, 40, 0, time.UTC)
	ownSource = netip.MustParseAddr("203.0.113.7")
	foreign   = netip.MustParseAddr("198.51.100.9")
	ownV6     = netip.MustParseAddr("2001:db8:1:2::7")
)

const telnet = 6<<16 | 23

type memoryArchive struct{ events []observe.Event }

func (m *memoryArchive) in(r observe.Range) []observe.Event {
	return slices.DeleteFunc(slices.Clone(m.events), func(e observe.Event) bool {
		return e.First.Before(r.From) || !e.First.Before(r.To)
	})
}

func (m *memoryArchive) Covered(_ context.Context, r observe.Range) (first, last time.Time, looked bool, err error) {
	if len(m.events) == 0 {
		return
	}
	first, last = m.events[0].First, dataEnd
	return first, last, r.From.Before(last) && r.To.After(first), nil
}

func keyOf(dim observe.Dim, e observe.Event) uint32 {
	switch dim {
	case observe.ByClass:
		return uint32(e.Kind.Class())
	case observe.ByProtocol:
		return uint32(e.Proto)
	case observe.ByPort:
		return uint32(e.Proto)<<16 | uint32(e.Port)
	case observe.ByCountry:
		if e.Country == "" {
			return 0
		}
		return uint32(e.Country[0])<<8 | uint32(e.Country[1])
	case observe.ByAS:
		return e.ASN
	}
	return 0
}

func tally(events []observe.Event) (p observe.Point) {
	sources := map[netip.Addr]bool{}
	for _, e := range events {
		p.Packets += e.Packets
		p.Targets.N += e.Targets.N
		p.Targets.AtMost = true
		sources[e.Source] = true
	}
	p.Sources.N = uint64(len(sources))
	return p
}

func (m *memoryArchive) Series(_ context.Context, dim observe.Dim, key uint32, r observe.Range, g observe.Grain) ([]observe.Point, error) {
	step := time.Duration(g.Seconds()) * time.Second
	var points []observe.Point
	for t := r.From.Truncate(step); t.Before(r.To); t = t.Add(step) {
		if t.Before(m.events[0].First.Truncate(step)) || t.After(dataEnd) {
			continue
		}
		of := slices.DeleteFunc(m.in(observe.Range{From: t, To: t.Add(step)}), func(e observe.Event) bool { return keyOf(dim, e) != key })
		p := tally(of)
		p.Time = t
		points = append(points, p)
	}
	return points, nil
}

func (m *memoryArchive) Total(_ context.Context, r observe.Range) (observe.Point, error) {
	return tally(m.in(r)), nil
}

func (m *memoryArchive) Top(ctx context.Context, dim observe.Dim, r observe.Range, order string, limit, offset int) ([]observe.Row, error) {
	by := map[uint32][]observe.Event{}
	for _, e := range m.in(r) {
		by[keyOf(dim, e)] = append(by[keyOf(dim, e)], e)
	}
	var rows []observe.Row
	for _, k := range slices.Sorted(maps.Keys(by)) {
		p := tally(by[k])
		row := observe.Row{Key: k, Packets: p.Packets, Sources: p.Sources, Targets: p.Targets}
		if _, _, looked, _ := m.Covered(ctx, before(r)); looked {
			var n uint64
			for _, e := range m.in(before(r)) {
				if keyOf(dim, e) == k {
					n += e.Packets
				}
			}
			row.Before = &n
		}
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b observe.Row) int {
		if order == "sources" {
			return cmp.Compare(b.Sources.N, a.Sources.N)
		}
		return cmp.Compare(b.Packets, a.Packets)
	})
	return rows[min(offset, len(rows)):min(offset+limit, len(rows))], nil
}

func (m *memoryArchive) Heat(ctx context.Context, r observe.Range, ports int) (hours []time.Time, keys []uint32, packets, sources [][]uint64, err error) {
	for t := r.From.Truncate(time.Hour); t.Before(r.To); t = t.Add(time.Hour) {
		hours = append(hours, t)
	}
	top, _ := m.Top(ctx, observe.ByPort, r, "packets", ports, 0)
	for _, row := range top {
		var p, s []uint64
		for _, h := range hours {
			c := tally(slices.DeleteFunc(m.in(observe.Range{From: h, To: h.Add(time.Hour)}), func(e observe.Event) bool { return keyOf(observe.ByPort, e) != row.Key }))
			p, s = append(p, c.Packets), append(s, c.Sources.N)
		}
		keys, packets, sources = append(keys, row.Key), append(packets, p), append(sources, s)
	}
	return hours, keys, packets, sources, nil
}

func (m *memoryArchive) Events(_ context.Context, q observe.EventQuery) ([]observe.Event, string, error) {
	rows := slices.DeleteFunc(m.in(q.Range), func(e observe.Event) bool {
		return q.Source.IsValid() && e.Source != q.Source || q.Port >= 0 && int(e.Port) != q.Port ||
			len(q.Kinds) > 0 && !slices.Contains(q.Kinds, e.Kind) || len(q.Tools) > 0 && !slices.Contains(q.Tools, e.Tool) || q.Open && !e.Open
	})
	at, _ := strconv.Atoi(strings.TrimPrefix(q.After, "after 203.0.113.7 at ")) // a cursor that would leak
	end := min(at+q.Limit, len(rows))
	next := ""
	if end < len(rows) {
		next = "after 203.0.113.7 at " + strconv.Itoa(end)
	}
	return rows[at:end], next, nil
}

func (m *memoryArchive) Address(_ context.Context, a netip.Addr) (*observe.Address, error) {
	of := slices.DeleteFunc(slices.Clone(m.events), func(e observe.Event) bool { return e.Source != a })
	if len(of) == 0 {
		return nil, nil
	}
	p := tally(of)
	return &observe.Address{
		First: of[0].First, Last: of[len(of)-1].Last, Packets: p.Packets, Events: of,
		Ports:  []observe.Row{{Key: telnet, Packets: p.Packets}},
		Series: []observe.Point{{Time: of[0].First.Truncate(time.Hour), Packets: p.Packets}},
	}, nil
}

func (m *memoryArchive) Years(_ context.Context, iot []uint32) ([]observe.Year, error) {
	y := observe.Year{Year: 2016, PerAddress: 12.5, DaysCovered: 2}
	for _, e := range m.events {
		y.Packets += e.Packets
		if slices.Contains(iot, keyOf(observe.ByPort, e)) {
			y.IoT += e.Packets
		}
	}
	return []observe.Year{y}, nil
}

func (m *memoryArchive) Gaps(context.Context, observe.Range) ([]observe.Gap, error) {
	return []observe.Gap{{From: dataEnd.Add(-3 * time.Hour), To: dataEnd.Add(-2 * time.Hour), Input: "cap-203.0.113.7.pcap", Reason: "not read"}}, nil
}

type memoryFindings struct {
	mu    sync.Mutex
	found []Found
}

func (m *memoryFindings) List(_ context.Context, q FindingQuery) ([]Found, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rows := slices.DeleteFunc(slices.Clone(m.found), func(f Found) bool {
		return q.Detector != "" && f.Detector != q.Detector || q.State != "" && f.State != q.State ||
			q.Severity != 0 && f.Severity != q.Severity || q.Subject != "" && f.Subject != q.Subject
	})
	at, _ := strconv.Atoi(q.After)
	end, next := min(at+q.Limit, len(rows)), ""
	if end < len(rows) {
		next = strconv.Itoa(end)
	}
	return rows[at:end], next, nil
}

func (m *memoryFindings) Get(_ context.Context, id string) (Found, []detect.Finding, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.found {
		if f.ID == id {
			return f, []detect.Finding{f.Finding}, nil
		}
	}
	return Found{}, nil, ErrNotFound
}

func (m *memoryFindings) Ack(_ context.Context, id string, a Ack) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.found {
		if m.found[i].ID == id {
			m.found[i].Ack = &a
			return nil
		}
	}
	return ErrNotFound
}

type memoryInputs struct {
	list []Input
	end  time.Time
}

func (m *memoryInputs) Inputs() []Input             { return m.list }
func (m *memoryInputs) DataTime() (time.Time, bool) { return m.end, !m.end.IsZero() }

type memoryJobs struct {
	mu   sync.Mutex
	list []Job
	body []byte
	dark []netip.Prefix
}

func (m *memoryJobs) List() []Job { return m.list }

func (m *memoryJobs) Start(_ context.Context, name string, body io.Reader, _, _ []netip.Prefix) (Job, error) {
	raw, err := io.ReadAll(body)
	if err != nil {
		return Job{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.body = raw
	m.list = append(m.list, Job{ID: "job1", Kind: "import", File: name, State: "queued", BytesTotal: int64(len(raw))})
	return m.list[len(m.list)-1], nil
}

func (m *memoryJobs) StartPath(_ context.Context, path string, dark, _ []netip.Prefix) (Job, error) {
	if path == "/none" {
		return Job{}, &Refusal{Text: detect.Textf("%s を開けません。", "can't open %s", path)}
	}
	m.dark = dark
	return Job{ID: "job2", Kind: "import", File: path, State: "queued"}, nil
}

func (m *memoryJobs) Stop(id string) (Job, error) { return m.set(id, "stopped") }

func (m *memoryJobs) Resume(id string) (Job, error) { return m.set(id, "queued") }

func (m *memoryJobs) set(id, state string) (Job, error) {
	for i := range m.list {
		if m.list[i].ID == id {
			m.list[i].State = state
			return m.list[i], nil
		}
	}
	return Job{}, ErrNotFound
}

type flatEarth struct{}

func (flatEarth) Place(netip.Addr) (country string, asn uint32, lat, lon float32, located bool) {
	return "JP", 4713, 35.69, 139.7539, true
}

func (flatEarth) ASName(asn uint32) string {
	if asn == 4713 {
		return "=OCN"
	}
	return ""
}

type oneSurvey struct{}

func (oneSurvey) Who(a netip.Addr) (name, url string, ok bool) {
	return "Survey", "https://survey.example/", a == foreign
}

func (oneSurvey) Rising(context.Context, observe.Range, int) ([]Rise, error) {
	return []Rise{{Key: 6<<16 | 2323, Packets: 900, Expected: 3, Score: math.Inf(1), New: true}}, nil
}

// world is a server on fakes, with a token for each role.
type world struct {
	t        *testing.T
	server   *Server
	handler  http.Handler
	tokens   *MemoryTokens
	people   *memoryPeople
	archive  *memoryArchive
	findings *memoryFindings
	inputs   *memoryInputs
	jobs     *memoryJobs
	office   *memoryOffice
	blocking *memoryBlocking
	attacks  *memoryAttacks
	routes   *memoryRoutes
	live     *Live
	secrets  map[console.Roles]string // bearers
	sessions map[console.Roles]string // of the user with that role, as a cookie
	notices  *memoryNotices
	flows    *memoryFlows
}

func newWorld(t *testing.T, change ...func(*Deps)) *world {
	t.Helper()
	w := &world{
		t: t, archive: &memoryArchive{}, findings: &memoryFindings{}, jobs: &memoryJobs{}, secrets: map[console.Roles]string{}, sessions: map[console.Roles]string{},
		inputs: &memoryInputs{end: dataEnd, list: []Input{{Name: "fiber 203.0.113.7", Kind: "live", State: "running", Packets: 7}}},
	}
	c := clock.System{}
	w.tokens = NewTokens(c)
	w.people = &memoryPeople{tokens: w.tokens}
	w.notices = newMemoryNotices()
	w.flows = newMemoryFlows()
	for i := range 60 {
		e := observe.Event{
			ID: uint64(i + 1), Source: foreign, Port: 23, Proto: 6, Kind: observe.KindTCPSyn, First: dataEnd.Add(time.Duration(i-60) * time.Hour / 2),
			Packets: uint64(10 + i), Targets: observe.Unique{N: 5}, Tool: observe.Mirai, Country: "JP", ASN: 4713, Open: i > 50,
			Sample: []string{"SYN 203.0.113.7:4000 > 192.0.2.1:23"},
		}
		e.Last = e.First.Add(time.Minute)
		switch i % 4 {
		case 1:
			e.Source, e.Flags = ownSource, observe.Own|observe.Scanner
		case 2:
			e.Source, e.Port, e.Tool = ownV6, uint16(8000+i), observe.Unknown
		case 3:
			e.Proto, e.Port, e.Kind, e.Country, e.ASN = 1, 8<<8, observe.KindICMPRequest, "", 0
		}
		w.archive.events = append(w.archive.events, e)
	}
	w.findings.found = []Found{
		{Finding: ownFinding()},
		{Finding: detect.Finding{ID: "ddos-1", Detector: "ddos", Subject: foreign.String(), State: detect.Changed, Severity: detect.Urgent, Opened: dataEnd.Add(-time.Hour), Title: detect.Text{JA: "攻撃", EN: "attack"}}},
		{Finding: detect.Finding{ID: "surge-1", Detector: "surge", Subject: "2323/tcp", State: detect.Closed, Severity: detect.Note, Opened: dataEnd.Add(-time.Hour)}},
	}
	w.live = NewLive(c)
	var office *Office
	w.office, office = newOffice(t, c)
	w.blocking, w.attacks, w.routes = newBlocking(), newAttacks(), newRoutes()
	office.CNC, office.Zones, office.Lookups, office.Choices = w.blocking, w.blocking, w.blocking, w.blocking
	d := Deps{
		Office: office, Flows: w.flows, Exporters: w.flows,

		Archive: w.archive, Inputs: w.inputs, Tokens: w.tokens, People: w.people, Notices: w.notices, Clock: c, Findings: w.findings, Jobs: w.jobs,
		Attacks: w.attacks, Mitigations: w.attacks, Replays: w.attacks,
		Incidents: w.routes, Routes: w.routes, Remedies: w.routes,
		Geo: flatEarth{}, Research: oneSurvey{}, Rising: oneSurvey{}, Live: w.live, Own: ownAddr,
		Facts: func() Facts {
			return Facts{Dark: Dark{V4Addresses: 65536, V4Prefixes: 1, Hit: 9}, StoreBytes: 1 << 20, Attribution: []string{"geo data"}}
		},
		IoT:       IoT{Dated: "2026-11-01", Ports: []uint32{telnet}},
		Reference: []RefYear{{2016, 128_100_000_000, 300_000, "2020-02-10", "NICT"}},
		Version:   Version{"test", "abc", "go"},
		Hosts:     []string{"console.example"},
		Static: fstest.MapFS{
			"index.html":            {Data: []byte("<!doctype html><title>sakimori</title>")},
			"index.html.gz":         {Data: []byte("gz of index")},
			"assets/app-1a2b.js":    {Data: []byte("export {}")},
			"assets/app-1a2b.js.br": {Data: []byte("br of app")},
		},
	}
	for _, f := range change {
		f(&d)
	}
	var err error
	if w.server, err = New(d); err != nil {
		t.Fatal(err)
	}
	w.handler = w.server.Handler()
	for _, r := range everyRole[1:] {
		for kind, into := range map[console.TokenKind]map[console.Roles]string{console.APIToken: w.secrets, console.SessionToken: w.sessions} {
			secret, _, err := w.tokens.Issue(t.Context(), console.Token{Kind: kind, UserID: "id-" + r.String(), Roles: r & console.Everyone, User: r.String()}, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			into[r] = secret
		}
	}
	return w
}

// cookie is the header of the user with a role, who has signed in.
func (w *world) cookie(r console.Roles) header {
	return header{"Cookie": w.server.cookieName("") + "=" + w.sessions[r]}
}

// ownFinding names an own subscriber wherever a finding can.
func ownFinding() detect.Finding {
	a := ownSource.String()
	return detect.Finding{
		ID: "infected-" + a, Detector: "infected", Subject: a, State: detect.Opened, Severity: detect.Soon, Confidence: 0.9,
		Opened: dataEnd.Add(-2 * time.Hour), Changed: dataEnd,
		Title:    detect.Textf("契約者 %s が感染の疑い", "subscriber %s may be infected", a),
		Why:      detect.Textf("%s から", "::ffff:%s sent Mirai packets", a),
		Evidence: []detect.Fact{{Key: "source", Value: a}, {Key: "v6", Value: ownV6.String(), Error: a}},
	}
}

type header map[string]string

// ask sends one request as a role; Public sends no token.
func (w *world) ask(role console.Roles, method, target, body string, h header) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequestWithContext(w.t.Context(), method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:8630"
	r.RemoteAddr = "127.0.0.1:5000"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("Accept-Language", "en")
	if role != Public {
		r.Header.Set("Authorization", "Bearer "+w.secrets[role])
	}
	for k, v := range h {
		switch k {
		case "Host":
			r.Host = v
		case "RemoteAddr":
			r.RemoteAddr = v
		default:
			r.Header.Set(k, v)
		}
	}
	rec := httptest.NewRecorder()
	w.handler.ServeHTTP(rec, r)
	return rec
}
