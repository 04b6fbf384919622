package infected_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/base/corpus"
	"sakimori/detect"
	"sakimori/detect/infected"
	"sakimori/observe"
)

// scene is what clients of a resolver ask, in order of time.
type scene struct {
	r     *rand.Rand
	list  []observe.Lookup
	names []string // that people ask for
}

func newScene(t testing.TB, seed uint64) *scene {
	t.Helper()
	b, err := os.ReadFile(corpus.Folder(t, "intel", "warninglists", "tranco10k.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ List []string }
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	return &scene{r: rand.New(rand.NewPCG(seed, 7)), names: doc.List}
}

// ask puts a lookup into it, so many minutes after start.
func (s *scene) ask(client string, minute float64, name string, rcode uint8, change ...func(*observe.Lookup)) {
	l := observe.Lookup{At: start.Add(time.Duration(minute * float64(time.Minute))), Resolver: "res1", Client: netip.MustParseAddr(client), Name: name, Type: 1, Rcode: rcode, Form: observe.Recursive}
	for _, c := range change {
		c(&l)
	}
	s.list = append(s.list, l)
}

// home is a household from one minute to another: popular names, a few typing errors,
// a browser's probes at its start, and the search list of an office.
func (s *scene) home(client string, from, to float64) {
	for m := from; m < to; m += 0.1 + s.r.Float64() {
		n := s.names[min(len(s.names)-1, int(s.r.ExpFloat64()*300))]
		s.ask(client, m, n, 0)
		if s.r.IntN(40) == 0 {
			s.ask(client, m, "w"+n, 3)
		}
		if s.r.IntN(60) == 0 {
			for range 3 {
				s.ask(client, m, s.random(7+s.r.IntN(8)), 3)
				s.ask(client, m, s.random(7+s.r.IntN(8))+".corp.example.com", 3)
			}
		}
	}
}

func (s *scene) random(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + s.r.IntN(26))
	}
	return string(b)
}

// run shows the scene to a detector.
func (s *scene) run(cfg infected.CallersConfig) (found log, d *infected.Callers) {
	slices.SortStableFunc(s.list, func(a, b observe.Lookup) int { return a.At.Compare(b.At) })
	d = infected.NewCallers(cfg, &found)
	for part := range slices.Chunk(s.list, 100) {
		d.Look(part)
		d.Tick(part[len(part)-1].At)
	}
	d.Finish()
	return found, d
}

// TestScenes: each family's client is found among a hundred homes, and nobody else.
func TestScenes(t *testing.T) {
	dir := corpus.Folder(t, "dns", "dga")
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	// What isn't found: twelve names of words; names of four letters and digits.
	silent := []string{"gozi-example_domains.txt"}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			s := newScene(t, 1)
			for i := range 100 {
				s.home(fmt.Sprintf("203.0.113.%d", i+1), 0, 120)
			}
			names := strings.Fields(string(b))
			for i, n := range names[:min(len(names), 300)] {
				s.ask("203.0.113.50", 60+float64(i)*0.15, n, 3)
			}
			found, d := s.run(infected.CallersConfig{})
			for _, f := range found {
				if f.Subject != "203.0.113.50" {
					t.Errorf("accused though innocent: %s %+v", f.Title.EN, f.Evidence)
				}
			}
			want := !slices.Contains(silent, filepath.Base(f))
			if (len(found) > 0) != want || (len(d.Suspects()) == 1) != want {
				t.Errorf("%d findings, %+v", len(found), d.Suspects())
			}
			if want {
				t.Logf("%s (%.2f)", found[len(found)-1].Title.EN, found[len(found)-1].Confidence)
			}
		})
	}
}

// TestInnocent: whoever asks for many others, or in ways that look alike, is accused of
// nothing.
func TestInnocent(t *testing.T) {
	qakbot := strings.Fields(string(readFile(t, corpus.Folder(t, "dns", "dga", "qakbot-example_domains.txt"))))
	listed := func(l *observe.Lookup) { l.Contact, l.Zone, l.Family, l.Rcode = observe.Blocked, "c2.", "mirai", 3 }
	kind := func(k uint16) func(*observe.Lookup) { return func(l *observe.Lookup) { l.Type = k } }
	for name, fill := range map[string]func(s *scene){
		"a resolver, with an infected client behind it": func(s *scene) {
			for i := range 6000 {
				s.ask("203.0.113.9", float64(i)*0.01, s.names[s.r.IntN(len(s.names))], 0)
			}
			for i, n := range qakbot[:200] {
				s.ask("203.0.113.9", 1+float64(i)*0.2, n, 3)
			}
			for i := range 30 {
				s.ask("203.0.113.9", float64(i), "c2.example", 3, listed)
			}
		},
		"an office whose programs ask in many forms": func(s *scene) {
			for i := range 900 {
				s.ask("203.0.113.9", float64(i)*0.06, s.names[s.r.IntN(1500)], 0, func(l *observe.Lookup) { l.Form = observe.Form(i % 8) })
			}
			for i, n := range qakbot[:100] {
				s.ask("203.0.113.9", 10+float64(i)*0.3, n, 3)
			}
		},
		"a mail server that checks senders": func(s *scene) {
			for i, n := range qakbot[:300] {
				s.ask("203.0.113.9", float64(i)*0.2, n, 3, kind(15))
				s.ask("203.0.113.9", float64(i)*0.2, n, 3, kind(16))
				s.ask("203.0.113.9", float64(i)*0.2, n, 3)
			}
			s.ask("203.0.113.9", 3, "c2.example", 3, listed)
			s.ask("203.0.113.9", 43, "c2.example", 3, listed)
		},
		"lists of addresses, reverse names, hashes": func(s *scene) {
			for i := range 500 {
				s.ask("203.0.113.9", float64(i)*0.1, fmt.Sprintf("%d.%d.0.10.zen.dnsbl.example.org", i%250, i/250), 3)
				s.ask("203.0.113.9", float64(i)*0.1, s.random(26)+".avqs.antivirus.example.com", 3)
				s.ask("203.0.113.9", float64(i)*0.1, s.random(12)+".local", 3)
				s.ask("203.0.113.9", float64(i)*0.1, s.random(12)+".lan", 3)
				s.ask("203.0.113.9", float64(i)*0.1, s.random(12), 3)
			}
		},
		"a program that looks for trackers that are gone": func(s *scene) {
			for i := range 120 {
				s.ask("203.0.113.9", float64(i)*0.3, "tracker."+s.names[s.r.IntN(len(s.names))], 3)
			}
		},
		"one look at a link, with its retries": func(s *scene) {
			for i := range 4 {
				s.ask("203.0.113.9", 5+float64(i)*0.1, "c2.example", 3, listed)
			}
		},
		"names that exist": func(s *scene) {
			for i, n := range qakbot[:300] {
				s.ask("203.0.113.9", float64(i)*0.2, n, 0)
			}
		},
		"who always asks for as many": func(s *scene) {
			for h := range 24 {
				for i := range 11 {
					s.ask("203.0.113.9", float64(h*60+i*5), qakbot[h*11+i], 3)
				}
			}
			for i, n := range qakbot[1000:1014] {
				s.ask("203.0.113.9", 24*60+5+float64(i), n, 3)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, 2)
			fill(s)
			found, _ := s.run(infected.CallersConfig{})
			for _, f := range found {
				if f.Confidence > 0 { // not taken back
					last := found[len(found)-1]
					if last.Confidence > 0 || last.State != detect.Closed {
						t.Errorf("%s: %s", f.State, f.Title.EN)
					}
				}
			}
			if len(found) > 0 {
				t.Errorf("%d findings, the first: %s", len(found), found[0].Title.EN)
			}
		})
	}
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestCalls: contact opens a finding that says what was seen, lasts, and closes.
func TestCalls(t *testing.T) {
	var found log
	d := infected.NewCallers(infected.CallersConfig{}, &found)
	call := func(minute int, c observe.Contact, name string) {
		at := start.Add(time.Duration(minute) * time.Minute)
		d.Look([]observe.Lookup{{At: at, Resolver: "res1", Client: netip.MustParseAddr("2001:db8::7"), Name: name, Type: 1, Rcode: 3, Zone: "c2.", Family: "mirai", Entry: "e1", Contact: c}})
		d.Tick(at)
	}
	call(0, observe.Blocked, "c2.example")
	call(3, observe.Blocked, "c2.example")
	if len(found) != 0 {
		t.Fatalf("%d findings before it was watched for long enough", len(found))
	}
	call(6, observe.Blocked, "c2.example")
	if len(found) != 1 || found[0].State != detect.Opened || found[0].Confidence != 0.8 || found[0].ID != "infected-call-2001-db8--7-20161001T0306Z" {
		t.Fatalf("%+v", found)
	}
	for i := range 40 {
		call(10+i, observe.Sinkholed, "hole.example")
	}
	f := found[len(found)-1]
	facts := map[string]string{}
	for _, e := range f.Evidence {
		facts[e.Key] = e.Value
	}
	if f.State != detect.Changed || f.Confidence < 0.97 || facts["family"] != "mirai" || facts["names"] != "c2.example hole.example" || facts["resolver"] != "res1" || facts["source"] != "dns" || facts["first"] != "2016-10-01T03:00:00Z" {
		t.Errorf("%+v", f)
	}
	state, err := d.State()
	if err != nil {
		t.Fatal(err)
	}
	again := infected.NewCallers(infected.CallersConfig{}, &found)
	if err := again.Restore(state); err != nil {
		t.Fatal(err)
	}
	if b, err := again.State(); err != nil || !bytes.Equal(b, state) {
		t.Errorf("the state isn't the same after it was restored: %v", err)
	}
	again.Tick(start.Add(49*time.Minute + 25*time.Hour))
	if f := found[len(found)-1]; f.State != detect.Closed || !f.Closed.Equal(start.Add(49*time.Minute+24*time.Hour)) {
		t.Errorf("%+v", f)
	}
}

// TestConsentGone: whose consent is gone is forgotten, and what was said of them ends.
func TestConsentGone(t *testing.T) {
	var found log
	d := infected.NewCallers(infected.CallersConfig{}, &found)
	for m := range 10 {
		for _, a := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
			l := observe.Lookup{At: start.Add(time.Duration(m) * time.Minute), Client: netip.MustParseAddr(a), Name: "c2.example", Type: 1, Contact: observe.Blocked}
			if a == "192.0.2.3" {
				l.Contact = observe.NoContact
			}
			d.Look([]observe.Lookup{l})
		}
	}
	d.Keep(func(a netip.Addr) bool { return a.String() == "192.0.2.2" })
	if len(found) != 3 || found[2].State != detect.Closed || found[2].Subject != "192.0.2.1" || !strings.Contains(found[2].Why.EN, "consent") {
		t.Errorf("%+v", found)
	}
	state, err := d.State()
	if err != nil || bytes.Contains(state, []byte("192.0.2.1")) || bytes.Contains(state, []byte("192.0.2.3")) || !bytes.Contains(state, []byte("192.0.2.2")) {
		t.Errorf("%s %v", state, err)
	}
}

// FuzzCallers restores anything without harm, and what it takes it gives again.
func FuzzCallers(f *testing.F) {
	d := infected.NewCallers(infected.CallersConfig{}, &log{})
	d.Look([]observe.Lookup{{At: start, Client: netip.MustParseAddr("192.0.2.1"), Name: "c2.example", Type: 1, Contact: observe.Blocked}})
	b, err := d.State()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		d := infected.NewCallers(infected.CallersConfig{}, &log{})
		if d.Restore(b) != nil {
			return
		}
		d.Tick(start.AddDate(1, 0, 0))
		d.Finish()
		state, err := d.State()
		if err != nil {
			t.Fatal(err)
		}
		if err := infected.NewCallers(infected.CallersConfig{}, &log{}).Restore(state); err != nil {
			t.Fatal(err)
		}
	})
}
