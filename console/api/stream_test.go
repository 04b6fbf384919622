package api

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sakimori/console"
	"sakimori/detect"
)

type sse struct{ id, event, data string }

// follow opens the stream over a real connection and sends its events on.
func (w *world) follow(url string, role console.Roles, query, last string) (<-chan sse, context.CancelFunc) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", url+"/api/v1/stream?"+query, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.secrets[role])
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" || resp.Header.Get("X-Accel-Buffering") != "no" {
		w.t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	events := make(chan sse)
	go func() {
		defer close(events)
		defer resp.Body.Close()
		var e sse
		for in := bufio.NewScanner(resp.Body); in.Scan(); {
			switch name, value, _ := strings.Cut(in.Text(), ": "); name {
			case "id":
				e.id = value
			case "event":
				e.event = value
			case "data":
				e.data = value
			case "":
				if in.Text() == "" {
					select {
					case events <- e:
					case <-ctx.Done():
						return
					}
					e = sse{}
				}
			}
		}
	}()
	return events, cancel
}

func (w *world) next(events <-chan sse) sse {
	w.t.Helper()
	select {
	case e, ok := <-events:
		if !ok {
			w.t.Fatal("the stream ended")
		}
		return e
	case <-time.After(5 * time.Second):
		w.t.Fatal("nothing came")
	}
	return sse{}
}

func finding(id string) detect.Finding {
	f := ownFinding()
	f.ID = id
	return f
}

func TestStreamTellsFindingsMasked(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.handler)
	defer server.Close()
	for role, want := range map[console.Roles]string{Wall: "198.51.100.x", Viewer: "198.51.100.9"} {
		events, stop := w.follow(server.URL, role, "topics=findings,jobs,status", "")
		if e := w.next(events); e.id == "" || e.event != "" {
			t.Errorf("the first event only carries the id: %+v", e)
		}
		if e := w.next(events); e.event != "status" || !strings.Contains(e.data, `"roles":["`+role.String()) || strings.Contains(e.data, "203.0.113.7") {
			t.Errorf("%+v", e)
		}
		f := ownFinding()
		f.Title.EN += " by " + foreign.String()
		w.live.Find(f)
		w.live.Publish(TopicMap, MapFrame{}) // wasn't asked for
		w.live.Publish(TopicJobs, Job{ID: "j", File: "203.0.113.7.pcap"})
		e := w.next(events)
		if e.event != "finding" || e.id == "" || strings.Contains(e.data, "203.0.113.7") || strings.Contains(e.data, "2001:db8:1:2") || !strings.Contains(e.data, want) {
			t.Errorf("%s: %+v", role, e)
		}
		if role.Any(readers) {
			if e := w.next(events); e.event != "job" || !strings.Contains(e.data, "203.0.113.x.pcap") {
				t.Errorf("%+v", e)
			}
		}
		stop()
	}
}

func TestStreamGoesOnWhereItWasCut(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.handler)
	defer server.Close()
	events, stop := w.follow(server.URL, Viewer, "topics=findings", "")
	w.next(events) // the greeting
	last := ""
	w.live.Find(finding("a"))
	if e := w.next(events); !strings.Contains(e.data, `"id":"a"`) {
		t.Fatalf("%+v", e)
	} else {
		last = e.id
	}
	stop()
	w.live.Find(finding("b"))
	w.live.Find(finding("c"))
	events, stop = w.follow(server.URL, Viewer, "topics=findings", last)
	for _, id := range []string{"b", "c"} {
		if e := w.next(events); !strings.Contains(e.data, `"id":"`+id+`"`) {
			t.Errorf("want %s: %+v", id, e)
		}
	}
	stop()
	for _, strange := range []string{"00000000/1", "nonsense", w.live.id(99)} {
		events, stop = w.follow(server.URL, Viewer, "topics=findings", strange)
		if e := w.next(events); e.id == "" {
			t.Errorf("%+v", e)
		}
		if e := w.next(events); e.event != "reset" {
			t.Errorf("after %q: %+v", strange, e)
		}
		stop()
	}
	if got := w.ask(Viewer, "GET", "/api/v1/stream?topics=weather", "", nil); got.Code != 422 {
		t.Error(got.Code)
	}
}

// handClock is set by the test.
type handClock struct{ at time.Time }

func (h *handClock) Now() time.Time { return h.at }

func TestReplayForgetsAfterAMinute(t *testing.T) {
	c := &handClock{dataEnd}
	l := NewLive(c)
	l.Find(finding("old"))
	c.at = c.at.Add(30 * time.Second)
	l.Find(finding("young"))
	topics := map[Topic]bool{TopicFindings: true}
	if got, _, reset, _ := l.listen(topics, l.id(0)); reset || len(got.waiting) != 2 {
		t.Errorf("within the minute: reset %v, %d waiting", reset, len(got.waiting))
	}
	c.at = c.at.Add(31 * time.Second)
	if _, _, reset, _ := l.listen(topics, l.id(0)); !reset {
		t.Error("an event was forgotten and nobody says so")
	}
	if got, _, reset, _ := l.listen(topics, l.id(1)); reset || len(got.waiting) != 1 {
		t.Errorf("after the first: reset %v, %d waiting", reset, len(got.waiting))
	}
	if got, _, reset, _ := l.listen(topics, l.id(2)); reset || len(got.waiting) != 0 {
		t.Errorf("nothing was missed: reset %v, %d waiting", reset, len(got.waiting))
	}
}

func TestSlowClientLosesFramesAndNoFinding(t *testing.T) {
	l := NewLive(&handClock{dataEnd})
	c, _, _, err := l.listen(map[Topic]bool{TopicMap: true, TopicFindings: true, TopicJobs: true}, "")
	if err != nil {
		t.Fatal(err)
	}
	const n = 500
	for i := range n {
		l.Publish(TopicMap, MapFrame{Shown: i})
		l.Find(finding(fmt.Sprint(i)))
		l.Publish(TopicJobs, Job{ID: fmt.Sprint(i)})
	}
	got, cut := c.take()
	if cut || len(got) != 2*n+1 || c.dropped != n-1 {
		t.Fatalf("%d events, cut %v, %d frames dropped", len(got), cut, c.dropped)
	}
	for i := range n {
		if got[2*i].event.(Found).ID != fmt.Sprint(i) || got[2*i+1].event.(Job).ID != fmt.Sprint(i) {
			t.Fatalf("event %d out of order", i)
		}
	}
	if frame := got[2*n].event.(MapFrame); frame.Shown != n-1 {
		t.Errorf("not the newest frame: %d", frame.Shown)
	}
	for range replayAtMost + 1 {
		l.Find(finding("x"))
	}
	if got, cut := c.take(); !cut || len(got) != replayAtMost {
		t.Errorf("a client that never reads: %d kept, cut %v", len(got), cut)
	}
	l.leave(c)
	if len(l.clients) != 0 {
		t.Error("it is still there")
	}
}

// A client that doesn't read holds up nobody and costs bounded memory; when it
// reads again, every finding is there.
func TestSlowConnection(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.handler)
	defer server.Close()
	events, stop := w.follow(server.URL, Viewer, "topics=map,findings", "")
	defer stop()
	w.next(events)
	arcs := make([]Arc, 4000) // some 80 kB a frame: more than the connection takes without a reader
	const n = 300
	for i := range n {
		w.live.Publish(TopicMap, MapFrame{Shown: i, Arcs: arcs})
		w.live.Find(finding(fmt.Sprintf("f%d", i)))
	}
	frames := 0
	for want := 0; want < n; {
		e := w.next(events)
		switch {
		case e.event == "map":
			frames++
		case strings.Contains(e.data, fmt.Sprintf(`"id":"f%d"`, want)):
			want++
		default:
			t.Fatalf("finding %d is missing: %.100s", want, e.data)
		}
	}
	if frames >= n {
		t.Errorf("%d frames of %d came through", frames, n)
	}
}

func TestTooManyStreams(t *testing.T) {
	w := newWorld(t)
	for range streamsMost {
		if _, _, _, err := w.live.listen(map[Topic]bool{}, ""); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.ask(Viewer, "GET", "/api/v1/stream", "", nil); got.Code != 503 || problemOf(t, got.Body.Bytes()).Code != "too_many_streams" {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

func crowd(counts [MapStrata]int) (arcs []Arc) {
	for p, n := range counts {
		for i := range n {
			arcs = append(arcs, Arc{Lat: float32(i % 90), Proto: uint8(p), N: 1})
		}
	}
	return arcs
}

// Whatever comes, no span of a second has more than 600 arcs, and in each second
// of the clock a protocol has at least 10 or all that it had.
func TestSamplerKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := NewMapSampler(rapid.Uint64().Draw(t, "seed"))
		type frame struct {
			at    time.Time
			had   [MapStrata]int
			shown [MapStrata]int
		}
		var frames []frame
		now := dataEnd
		for range rapid.IntRange(1, 40).Draw(t, "frames") {
			now = now.Add(time.Duration(rapid.IntRange(1, 400).Draw(t, "ms")) * time.Millisecond)
			f := frame{at: now}
			for p := range f.had {
				f.had[p] = rapid.SampledFrom([]int{0, 0, 1, 3, 12, 70, 900}).Draw(t, "n")
			}
			got := m.Frame(now, crowd(f.had), MapTotals{})
			for _, a := range got.Arcs {
				f.shown[a.Proto]++
			}
			if got.Shown != len(got.Arcs) || got.Sampled != (got.Shown < sum6(f.had)) {
				t.Fatalf("%d shown of %v, sampled %v", got.Shown, f.had, got.Sampled)
			}
			for p := range f.had {
				if f.had[p] > 0 && math.Abs(got.Rates[p]-float64(f.shown[p])/float64(f.had[p])) > 1e-9 {
					t.Fatalf("rate %v of %d/%d", got.Rates[p], f.shown[p], f.had[p])
				}
			}
			frames = append(frames, f)
		}
		type second struct{ had, shown [MapStrata]int }
		seconds := map[int64]*second{}
		for i, f := range frames {
			all := 0
			for j := i; j >= 0 && f.at.Sub(frames[j].at) < time.Second; j-- {
				all += sum6(frames[j].shown)
			}
			if all > arcsPerSecond {
				t.Fatalf("%d arcs in the second before frame %d", all, i)
			}
			s := seconds[f.at.Unix()]
			if s == nil {
				s = &second{}
				seconds[f.at.Unix()] = s
			}
			for p := range f.had {
				s.had[p] += f.had[p]
				s.shown[p] += f.shown[p]
			}
		}
		for at, s := range seconds {
			for p := range s.had {
				if s.shown[p] < min(s.had[p], floorPerProto) {
					t.Fatalf("protoIndex %d: %d of %d in second %d", p, s.shown[p], s.had[p], at)
				}
			}
		}
	})
}

func sum6(n [MapStrata]int) (s int) {
	for _, v := range n {
		s += v
	}
	return s
}

func TestSamplerUsesItsBudget(t *testing.T) {
	m, again := NewMapSampler(7), NewMapSampler(7)
	shown, rare := 0, 0
	for i := range 20 {
		now := dataEnd.Add(time.Duration(i) * 100 * time.Millisecond)
		counts := [MapStrata]int{MapSYN: 5000, MapUDP: 400, MapICMP: 2}
		totals := MapTotals{Packets: [MapStrata]uint64{MapSYN: 498}, Hosts: 9, Elapsed: 100 * time.Millisecond}
		f := m.Frame(now, crowd(counts), totals)
		if d := cmp.Diff(f, again.Frame(now, crowd(counts), totals)); d != "" {
			t.Fatal("the same seed picks otherwise:", d)
		}
		if math.Abs(f.TotalPPS-4980) > 1e-6 || math.Abs(f.ByProto[MapSYN]-4980) > 1e-6 || f.Hosts != 9 || !f.Sampled {
			t.Errorf("%v %v", f.TotalPPS, f.ByProto)
		}
		if i > 0 && f.Shown > 120 {
			t.Errorf("frame %d has %d arcs: they should be spread over the second", i, f.Shown)
		}
		if i < 10 {
			continue // a second to get going
		}
		shown += f.Shown
		for _, a := range f.Arcs {
			if a.Proto == MapICMP {
				rare++
			}
		}
	}
	if shown > arcsPerSecond || shown < arcsPerSecond*8/10 || rare < floorPerProto {
		t.Errorf("%d arcs in a second, %d of the rare ones", shown, rare)
	}
	if f := m.Frame(dataEnd.Add(time.Hour), []Arc{{Lat: 35.6894, Lon: -139.7539, Proto: 3, N: 2}, {Proto: 200}}, MapTotals{}); f.Shown != 1 || f.Sampled {
		t.Errorf("%+v", f)
	} else if raw, err := f.Arcs[0].MarshalJSON(); err != nil || string(raw) != "[35.69,-139.75,3,2]" {
		t.Errorf("%s, %v", raw, err)
	}
}
