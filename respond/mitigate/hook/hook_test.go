package hook

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/respond"
	"sakimori/respond/mitigate"
)

var (
	noon   = time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	secret = []byte(strings.Repeat("s", 32))
	rules  = []mitigate.Rule{{Match: mitigate.Match{Dst: netip.MustParsePrefix("203.0.113.7/32"), Proto: mitigate.Just(17), SrcPort: mitigate.Just(53)}, Action: mitigate.Drop}}
)

// receiver is an operator's system: it checks the signature, does each key once, and
// answers as it is told.
type receiver struct {
	mu    sync.Mutex
	keys  map[string]int
	in    map[string]Body
	done  int
	codes []int // answered in turn before what is right
	odd   string
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	content, err := io.ReadAll(q.Body)
	at, err2 := strconv.ParseInt(q.Header.Get("Sakimori-Timestamp"), 10, 64)
	if err != nil || err2 != nil || q.Header.Get("Sakimori-Signature") != "sha256="+Sign(secret, time.Unix(at, 0), content) || at != noon.Unix() {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var b Body
	if err := json.Unmarshal(content, &b); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	key := q.Header.Get("Idempotency-Key")
	if r.keys[key]++; r.keys[key] == 1 || key == "" {
		r.done++
		switch b.Act {
		case Announce:
			r.in[b.Mitigation] = b
		case Withdraw:
			delete(r.in, b.Mitigation)
		}
	}
	if len(r.codes) > 0 {
		code := r.codes[0]
		r.codes = r.codes[1:]
		w.WriteHeader(code)
		return
	}
	if b.Act == Held {
		reply := Reply{Held: []respond.Held{}}
		for id, b := range r.in {
			reply.Held = append(reply.Held, respond.Held{ID: id, Rules: len(b.Rules), At: noon})
		}
		if r.odd != "" {
			_, _ = io.WriteString(w, r.odd)
			return
		}
		_ = json.NewEncoder(w).Encode(reply)
	}
}

type kept struct {
	mu   sync.Mutex
	list []Answer
}

func (k *kept) Answered(_ context.Context, a Answer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(k.list, a)
}

func build(t *testing.T) (*Hook, *receiver, *kept, *httptest.Server) {
	t.Helper()
	r, k := &receiver{keys: map[string]int{}, in: map[string]Body{}}, &kept{}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	h, err := New(Config{Name: "noc", URL: s.URL, Secret: secret, Clock: clock.Fixed(noon), Answers: k, Pause: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return h, r, k, s
}

// TestOnce: an answer that was lost is asked for again, and the receiver does the act
// once; what it holds is what it was told.
func TestOnce(t *testing.T) {
	t.Parallel()
	h, r, k, _ := build(t)
	r.codes = []int{http.StatusBadGateway, http.StatusServiceUnavailable}
	until := noon.Add(10 * time.Minute)
	for range 2 {
		if err := h.Announce(t.Context(), "M-1", rules, until); err != nil {
			t.Fatal(err)
		}
	}
	if r.done != 1 || r.keys["announce M-1 2026-11-26T03:10:00Z"] != 4 || !r.in["M-1"].Until.Equal(until) || r.in["M-1"].Rules[0].String() != rules[0].String() {
		t.Errorf("done %d times, %v, %+v", r.done, r.keys, r.in)
	}
	if err := h.Announce(t.Context(), "M-1", rules, until.Add(time.Minute)); err != nil || r.done != 2 {
		t.Errorf("a later end isn't an act of its own: %v", err)
	}
	held, err := h.Held(t.Context())
	if err != nil || !slices.Equal(held, []respond.Held{{ID: "M-1", Peer: "noc", Rules: 1, At: noon}}) {
		t.Error(held, err)
	}
	if err := h.Withdraw(t.Context(), "M-1"); err != nil {
		t.Error(err)
	}
	if held, err := h.Held(t.Context()); err != nil || len(held) != 0 {
		t.Error(held, err)
	}
	if a := k.list[0]; a.Tries != 3 || a.Status != 200 || a.Err != nil || a.Act != Announce || a.Mitigation != "M-1" {
		t.Errorf("%+v", a)
	}
}

// TestRefusals: a no is a no at once, silence is tried again, and each is kept.
func TestRefusals(t *testing.T) {
	t.Parallel()
	h, r, k, s := build(t)
	for _, code := range []int{http.StatusBadRequest, http.StatusFound, http.StatusConflict} {
		r.codes = []int{code}
		err := h.Withdraw(t.Context(), "M-1")
		if x, is := errors.AsType[*Status](err); !is || x.Code != code || k.list[len(k.list)-1].Tries != 1 {
			t.Errorf("%d: %v after %d tries", code, err, k.list[len(k.list)-1].Tries)
		}
	}
	r.codes = []int{500, 500, 500, 200}
	if err := h.Withdraw(t.Context(), "M-2"); err == nil || k.list[len(k.list)-1].Tries != 3 {
		t.Error(err)
	}
	r.codes = []int{http.StatusNotImplemented}
	if _, err := h.Held(t.Context()); !errors.Is(err, respond.ErrNotTold) {
		t.Error(err)
	}
	r.codes = nil
	for _, odd := range []string{"<html>", `{"held": [{"rules": 1}]}`, `{"held": [{"id": "M-1", "rules": -1}]}`} {
		r.odd = odd
		if _, err := h.Held(t.Context()); err == nil {
			t.Errorf("%s was taken", odd)
		}
	}
	s.Close()
	if err := h.Announce(t.Context(), "M-3", rules, noon); err == nil || strings.Contains(err.Error(), s.URL) {
		t.Error(err)
	}
	if a := k.list[len(k.list)-1]; a.Tries != 3 || a.Status != 0 || a.Err == nil {
		t.Errorf("%+v", a)
	}
	for name, cfg := range map[string]Config{
		"plain":  {URL: "http://noc.example/", Secret: secret, Clock: clock.System{}},
		"user":   {URL: "https://u:p@noc.example/", Secret: secret, Clock: clock.System{}},
		"secret": {URL: "https://noc.example/", Secret: secret[:31], Clock: clock.System{}},
		"clock":  {URL: "https://noc.example/", Secret: secret},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// FuzzHeld: whatever a receiver answers, nothing without an id is held.
func FuzzHeld(f *testing.F) {
	f.Add([]byte(`{"held": [{"id": "M-1", "rules": 2, "at": "2026-11-26T03:00:00Z"}]}`))
	f.Add([]byte(`{"held": null}`))
	f.Add([]byte(`[]`))
	h := &Hook{cfg: Config{Name: "noc"}}
	f.Fuzz(func(t *testing.T, content []byte) {
		held, err := h.read(content)
		for _, x := range held {
			if err != nil || x.ID == "" || x.Peer != "noc" || x.Rules < 0 {
				t.Errorf("%+v, %v", x, err)
			}
		}
	})
}
