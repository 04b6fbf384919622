package hook

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/detect"
	"sakimori/lawful"
	"sakimori/respond"
	"sakimori/respond/mitigate"
)

// TestMain runs the program that is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv("MITIGATE_KILLED"); path != "" {
		err := drive(path, os.Getenv("MITIGATE_URL"), os.Getenv("MITIGATE_LATER"), detect.State(os.Getenv("MITIGATE_ATTACK")))
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// town is where a desk stands in both programs: the time is moved on for each one, so
// that the lease of one that was killed is over.
type town struct {
	later  time.Duration
	attack detect.Attack
	gate   *lawful.Gate
	grant  lawful.Grant
}

func (c *town) Now() time.Time { return noon.Add(c.later) }

func (c *town) Attack(context.Context, string) (detect.Attack, error) { return c.attack, nil }

func (c *town) Record(context.Context, mitigate.Deed) error { return nil }

func (c *town) Open(context.Context, string) (lawful.Finding, error) {
	return lawful.Finding{Detector: "ddos", Subject: "203.0.113.7", Open: true}, nil
}

type written struct{}

func (written) Record(context.Context, lawful.Decision) error { return nil }

// Ask, Approve and Find are those of a gate whose grants outlive a program.
func (c *town) Ask(ctx context.Context, r lawful.Request) (lawful.Grant, error) {
	return c.gate.Ask(ctx, r)
}

func (c *town) Approve(ctx context.Context, id, who string) (lawful.Grant, error) {
	return c.gate.Approve(ctx, id, who)
}

func (c *town) Find(context.Context, string) (lawful.Grant, error) { return c.grant, nil }

const feature = "match destination 203.0.113.7/32 protocol =17 source-port =53 packet-length =1400 then traffic-rate-bytes 0"

func newTown(ctx context.Context, later time.Duration, state detect.State) (*town, error) {
	c := &town{later: later, attack: detect.Attack{
		ID: "A-1", State: state, Direction: detect.Incoming, Changed: noon, Opened: noon,
		Object:  detect.Object{Kind: detect.AddressObject, Prefix: netip.MustParsePrefix("203.0.113.7/32")},
		Now:     detect.Rate{Packets: detect.Measure{N: 1e5}, Bits: detect.Measure{N: 1e9}},
		Sources: detect.Sources{Count: detect.Counted{N: 1000}},
	}}
	for i := range 300 {
		src := netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})
		c.attack.Sample = append(c.attack.Sample, detect.Sample{Src: src, Dst: netip.MustParseAddr("203.0.113.7"), SrcPort: 53, DstPort: uint16(1024 + 7*i), Proto: 17, Length: 1400, Single: true, Packets: 10, Bytes: 14000})
		c.attack.Ordinary = append(c.attack.Ordinary, detect.Sample{Src: src, Dst: netip.MustParseAddr("203.0.113.7"), SrcPort: uint16(1024 + i), DstPort: 443, Proto: 6, Length: 600, Flags: 0x10, Packets: 10, Bytes: 6000})
	}
	words := lawful.Text{JA: "試験", EN: "a test"}
	var facts []lawful.Fact
	for name, kind := range map[string]lawful.Kind{"finding": lawful.Word, "harm": lawful.Word, "harm_at": lawful.Time, "alternatives": lawful.List, "collateral": lawful.Number} {
		facts = append(facts, lawful.Fact{Name: name, Kind: kind, Text: words})
	}
	g := lawful.Guideline{Facts: facts, Rules: []lawful.Rule{{
		ID: mitigate.UnderAttack, Title: words, Widest: words, Grounds: []lawful.Ground{lawful.SelfDefence}, Edition: "1", Source: "a test",
		Verified: lawful.Verified{By: "legal:test", On: noon}, From: noon.Add(-time.Hour), Measures: []lawful.Measure{lawful.Filter},
		Limits:     lawful.Limits{Longest: 24 * time.Hour, Prefixes: 16, Bits4: 24, Bits6: 48, Features: 20},
		Conditions: []lawful.Condition{{Name: "attack_present", Check: "finding_in_scope", Fact: "finding", Param: "ddos", Missing: words, Satisfy: words}},
	}}}
	var err error
	if c.gate, err = lawful.New(lawful.Deps{Guideline: g, Recorder: written{}, Findings: c, Clock: c}); err != nil {
		return nil, err
	}
	c.grant, err = c.gate.Ask(ctx, lawful.Request{
		Measure: lawful.Filter, Purpose: "a test", Who: "network:x", Facts: lawful.Facts{"finding": "A-1"},
		Scope: lawful.Scope{Prefixes: []netip.Prefix{c.attack.Object.Prefix}, Features: []string{feature}},
	})
	return c, err
}

func (c *town) desk(ctx context.Context, path, url string) (*mitigate.Desk, *relation.DB, error) {
	db, err := relation.Open(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	h, err := New(Config{Name: "noc", URL: url, Secret: secret, Clock: c, Pause: time.Millisecond})
	if err != nil {
		return nil, db, err
	}
	d, err := mitigate.Open(ctx, mitigate.Deps{
		DB: db, Clock: c, Attacks: c, Gate: c, Recorder: c, Announcers: []mitigate.Announcer{h},
		Policy: mitigate.Policy{Policy: respond.Policy{Live: true, Budget: 1000, TTL: 20 * time.Hour, Patience: 20 * time.Hour, Lease: 5 * time.Second}},
	})
	return d, db, err
}

// drive does what is due, again and again, until it is killed.
func drive(path, url, later string, state detect.State) error {
	ctx := context.Background()
	s, err := strconv.Atoi(later)
	if err != nil {
		return err
	}
	c, err := newTown(ctx, time.Duration(s)*time.Second, state)
	if err != nil {
		return err
	}
	d, _, err := c.desk(ctx, path, url)
	if err != nil {
		return err
	}
	fmt.Println("begun")
	for {
		if _, err := d.Tick(ctx); err != nil {
			return err
		}
		wait(ctx, time.Millisecond)
	}
}

// slow is an operator's system that takes its time before and after it has the rules.
type slow struct {
	mu  sync.Mutex
	in  map[string]time.Time
	new map[string]int // how often rules came that weren't in
}

func (s *slow) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	var b Body
	content, err := io.ReadAll(q.Body)
	if err != nil || json.Unmarshal(content, &b) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	wait(context.Background(), time.Duration(rand.IntN(2000))*time.Microsecond)
	s.mu.Lock()
	switch b.Act {
	case Announce:
		if _, is := s.in[b.Mitigation]; !is {
			s.new[b.Mitigation]++
		}
		s.in[b.Mitigation] = b.Until
	case Withdraw:
		delete(s.in, b.Mitigation)
	case Held:
		reply := Reply{Held: []respond.Held{}}
		for id := range s.in {
			reply.Held = append(reply.Held, respond.Held{ID: id, Rules: 1, At: noon})
		}
		content, _ = json.Marshal(reply)
	}
	s.mu.Unlock()
	wait(context.Background(), time.Duration(rand.IntN(2000))*time.Microsecond)
	_, _ = w.Write(content)
}

func (s *slow) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.in)
}

// TestKill kills the announcing program with SIGKILL at random moments, again and again:
// nothing is announced twice, all that is approved is announced, and once the attack is
// over nothing is left standing, whoever died in between.
func TestKill(t *testing.T) {
	t.Parallel()
	const many = 25
	s := &slow{in: map[string]time.Time{}, new: map[string]int{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	path := relationtest.Place(t, "sqlite")
	c, err := newTown(t.Context(), 0, detect.Opened)
	if err != nil {
		t.Fatal(err)
	}
	d, db, err := c.desk(t.Context(), path, server.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	for range many {
		m, err := d.Propose(t.Context(), &c.attack, mitigate.Order{}, "network:taro", "a test")
		if err != nil {
			t.Fatal(err)
		}
		if len(m.Proposal.Rules) != 1 || m.Proposal.Rules[0].String() != feature {
			t.Fatalf("%s", m.Proposal.Rules[0].String())
		}
		if _, err := d.Approve(t.Context(), m.ID, "network:hanako", "a test"); err != nil {
			t.Fatal(err)
		}
	}
	round, kills := 0, 0
	until := func(state detect.State, done func([]mitigate.Mitigation) bool) {
		t.Helper()
		for {
			all, err := d.List(t.Context(), respond.Query{})
			if err != nil {
				t.Fatal(err)
			}
			if done(all) {
				return
			}
			if round++; round > 200 {
				t.Fatalf("not done after %d kills: %d stand", kills, s.count())
			}
			if killed(t, path, server.URL, round, state) {
				kills++
			}
		}
	}
	until(detect.Opened, func(all []mitigate.Mitigation) bool {
		for i := range all {
			if all[i].State != respond.Announced {
				return false
			}
		}
		return true
	})
	if s.count() != many {
		t.Errorf("%d of %d stand", s.count(), many)
	}
	until(detect.Closed, func(all []mitigate.Mitigation) bool {
		for i := range all {
			if all[i].State != respond.Withdrawn || all[i].Standing {
				return false
			}
		}
		return true
	})
	for id, n := range s.new {
		if n != 1 {
			t.Errorf("%s was announced %d times", id, n)
		}
	}
	if s.count() != 0 || len(s.new) != many || kills < 5 {
		t.Errorf("%d are left standing, %d were announced, %d kills", s.count(), len(s.new), kills)
	}
	t.Logf("%d kills", kills)
}

// killed runs the program for a moment.
func killed(t *testing.T, path, url string, round int, state detect.State) bool {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), "MITIGATE_KILLED="+path, "MITIGATE_URL="+url, "MITIGATE_LATER="+strconv.Itoa(6*round), "MITIGATE_ATTACK="+string(state))
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "begun\n" {
		t.Fatalf("%q, %v", line, err)
	}
	// Each round may last longer, so that a slow machine comes to an end, too.
	wait(t.Context(), time.Duration(5+rand.IntN(40+4*round))*time.Millisecond)
	err = c.Process.Kill()
	if x, is := errors.AsType[*exec.ExitError](c.Wait()); is && x.Exited() {
		t.Fatalf("it ended by itself: %v", x)
	}
	return err == nil
}
