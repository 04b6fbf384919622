package notify_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/lawful"
	"sakimori/respond/notify"
	"sakimori/respond/notify/notifytest"
)

// next is a next hop that does as it is told, and counts what it got.
type next struct {
	mu    sync.Mutex
	got   map[string]int // by notice
	reach error
	hand  error
	took  bool // it has the message although hand fails
	drops atomic.Int64
}

func (c *next) Write(m *notify.Message) (notify.Sheet, error) {
	return notify.Sheet{Type: "text/plain", Content: []byte(m.Person.Name + m.Words.Title)}, nil
}

func (c *next) Reach(_ context.Context, m *notify.Message, _ notify.Sheet) (notify.Handing, error) {
	if c.reach != nil {
		return nil, c.reach
	}
	return &hop{c, m.Notice.ID, false}, nil
}

type hop struct {
	c    *next
	id   string
	over bool
}

func (h *hop) Hand(context.Context) (string, error) {
	h.c.mu.Lock()
	defer h.c.mu.Unlock()
	h.over = true
	if h.c.hand == nil || h.c.took {
		h.c.got[h.id]++
	}
	return "queued as 1", h.c.hand
}

func (h *hop) Drop() {
	if !h.over {
		h.c.drops.Add(1)
	}
}

type rig struct {
	house *notifytest.House
	desk  *notify.Desk
	hop   *next
}

func build(t *testing.T, db *relation.DB, people int) *rig {
	t.Helper()
	r := &rig{house: notifytest.NewHouse(people), hop: &next{got: map[string]int{}}}
	r.desk = r.house.Desk(t, db, map[notify.Channel]notify.Carrier{notify.Mail: r.hop, notify.Webhook: r.hop}, nil)
	return r
}

func (r *rig) send(t *testing.T, n notify.Notice) (notify.Notice, error) {
	t.Helper()
	return r.desk.Send(t.Context(), n.ID, r.house.Grant(t, n.Subject), "abuse:hanako")
}

func states(list []notify.Change) (s []notify.State) {
	for _, c := range list {
		s = append(s, c.To)
	}
	return s
}

// TestLife walks a notice from the proposal to the proof of its arrival, and its
// history says who, when and why.
func TestLife(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := build(t, db, 1)
		n := notifytest.Approved(t, r.desk, "S-0", notify.Mail)
		r.house.Pass(time.Minute)
		sent, err := r.send(t, n)
		if err != nil || sent.State != notify.Sent || sent.Rule != "test" || sent.Receipt != "queued as 1" || r.hop.got[n.ID] != 1 {
			t.Fatalf("%+v, %v", sent, err)
		}
		if len(r.house.Deeds) != 1 || r.house.Deeds[0].Notice != n.ID || r.house.Deeds[0].Rule != "test" || r.house.Deeds[0].Sum == [32]byte{} {
			t.Errorf("the ledger has %+v", r.house.Deeds)
		}
		if _, err := r.send(t, n); !errors.Is(err, notify.ErrOrder) || r.hop.got[n.ID] != 1 {
			t.Errorf("sent again: %v", err)
		}
		for range 2 { // the second report changes nothing
			if got, err := r.desk.Confirm(t.Context(), n.ID, notify.Delivered, "bounce box", "2.0.0"); err != nil || got.State != notify.Delivered {
				t.Errorf("%+v, %v", got, err)
			}
		}
		h, err := r.desk.History(t.Context(), n.ID)
		want := []notify.State{notify.Proposed, notify.Approved, notify.Sending, notify.Sent, notify.Delivered}
		if err != nil || !slices.Equal(states(h), want) {
			t.Fatalf("%v, %v", states(h), err)
		}
		if c := h[1]; c.Who != "abuse:hanako" || c.Reason != "looked at" || !c.At.Equal(notifytest.Noon) || c.From != notify.Proposed {
			t.Errorf("%+v", c)
		}
		if c := h[3]; !c.At.Equal(notifytest.Noon.Add(time.Minute)) {
			t.Errorf("%+v", c)
		}
		back, err := r.desk.Get(t.Context(), n.ID)
		if err != nil || !back.Seen.Equal(notifytest.Noon.Add(-9*time.Hour)) || back.Template != n.Template || back.Reference != n.Reference || back.Attempts != 1 {
			t.Errorf("%+v, %v", back, err)
		}
		if _, err := r.desk.Get(t.Context(), "nonsense"); !errors.Is(err, notify.ErrUnknown) {
			t.Error(err)
		}
	})
}

// TestOutcomes: what each end of a try makes of a notice, and whether the next hop
// has it.
func TestOutcomes(t *testing.T) {
	temporary, permanent, lost := &notify.NotTaken{Reason: "SMTP 451"}, &notify.NotTaken{Permanent: true, Reason: "SMTP 550"}, errors.New("line lost")
	for name, tt := range map[string]struct {
		set   func(*rig)
		want  notify.State
		after time.Duration // due; 0 at once
		got   int
		deeds int
	}{
		"taken":               {func(*rig) {}, notify.Sent, 0, 1, 1},
		"not reached":         {func(r *rig) { r.hop.reach = errors.New("refused") }, notify.Approved, 5 * time.Minute, 0, 0},
		"reached, refused":    {func(r *rig) { r.hop.reach = permanent }, notify.Failed, 0, 0, 0},
		"handed, later":       {func(r *rig) { r.hop.hand = temporary }, notify.Approved, 5 * time.Minute, 0, 1},
		"handed, never":       {func(r *rig) { r.hop.hand = permanent }, notify.Failed, 0, 0, 1},
		"lost, and it has it": {func(r *rig) { r.hop.hand, r.hop.took = lost, true }, notify.InDoubt, 0, 1, 1},
		"lost, and it hasn't": {func(r *rig) { r.hop.hand = lost }, notify.InDoubt, 0, 0, 1},
		"no grant":            {func(r *rig) { r.house.Refuse["S-0"] = true }, notify.Approved, 0, 0, 0},
		"no ledger":           {func(r *rig) { r.house.Broken = errors.New("disk full") }, notify.Approved, 0, 0, 0},
		"nobody":              {func(r *rig) { delete(r.house.People, "S-0") }, notify.Approved, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			relationtest.Each(t, func(t *testing.T, db *relation.DB) {
				r := build(t, db, 1)
				n := notifytest.Approved(t, r.desk, "S-0", notify.Mail)
				tt.set(r)
				got, err := r.send(t, n)
				if got.State != tt.want || (err == nil) != (tt.want == notify.Sent) || r.hop.got[n.ID] != tt.got || len(r.house.Deeds) != tt.deeds {
					t.Errorf("%s, got %d, %d deeds, %v", got.State, r.hop.got[n.ID], len(r.house.Deeds), err)
				}
				if tt.after != 0 && !got.Due.Equal(notifytest.Noon.Add(tt.after)) || tt.after == 0 && !got.Due.IsZero() {
					t.Errorf("due %s", got.Due)
				}
				// Only what may be with somebody counts against the throttle and is known to Check.
				if mayBe := slices.Contains([]notify.State{notify.Sent, notify.InDoubt}, tt.want); got.Sent.IsZero() == mayBe {
					t.Errorf("sent at %s", got.Sent)
				}
				if stored, err := r.desk.Get(t.Context(), n.ID); err != nil || stored.State != got.State || !stored.Due.Equal(got.Due) {
					t.Errorf("stored %+v, %v", stored, err)
				}
			})
		})
	}
}

// TestTries: waits double up to a limit, then it is given up.
func TestTries(t *testing.T) {
	r := build(t, relationtest.Open(t, relationtest.Place(t, "sqlite")), 1)
	n := notifytest.Approved(t, r.desk, "S-0", notify.Mail)
	r.hop.reach = errors.New("refused")
	var waits []time.Duration
	for range 20 {
		got, _ := r.send(t, n)
		if got.State == notify.Failed {
			if !strings.Contains(got.Reason, "given up after 8 tries") {
				t.Error(got.Reason)
			}
			break
		}
		if again, err := r.send(t, n); !errors.Is(err, notify.ErrThrottle) || again.Attempts != got.Attempts {
			t.Errorf("tried before it was due: %v", err)
		}
		waits = append(waits, got.Due.Sub(r.house.Now()))
		r.house.Pass(got.Due.Sub(r.house.Now()))
	}
	const m = time.Minute
	if want := []time.Duration{5 * m, 10 * m, 20 * m, 40 * m, 80 * m, 160 * m, 240 * m}; !slices.Equal(waits, want) {
		t.Errorf("waited %v", waits)
	}
}

// TestDoubt: what a dead program left is in doubt, isn't sent by itself, and is
// resolved by a person or by a bounce.
func TestDoubt(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := build(t, db, 4)
		r.hop.hand = errors.New("line lost")
		var ids []string
		for i := range 4 {
			n := notifytest.Approved(t, r.desk, fmt.Sprintf("S-%d", i), notify.Mail)
			if got, _ := r.send(t, n); got.State != notify.InDoubt {
				t.Fatal(got.State)
			}
			ids = append(ids, n.ID)
		}
		r.hop.hand = nil
		if tally, err := r.desk.SendDue(t.Context(), notify.Mail, r.house, "x"); err != nil || tally.Sent+tally.Later != 0 || len(r.hop.got) > 0 {
			t.Errorf("what is in doubt was sent: %+v, %v", tally, err)
		}
		for i, do := range []func() (notify.Notice, error){
			func() (notify.Notice, error) {
				return r.desk.Resolve(t.Context(), ids[0], true, "abuse:taro", "the MTA's log has it")
			},
			func() (notify.Notice, error) {
				return r.desk.Resolve(t.Context(), ids[1], false, "abuse:taro", "the MTA's log hasn't")
			},
			func() (notify.Notice, error) {
				return r.desk.Confirm(t.Context(), ids[2], notify.Bounced, "bounce box", "5.1.1")
			},
			func() (notify.Notice, error) { return r.desk.Withdraw(t.Context(), ids[3], "abuse:taro", "clean") },
		} {
			want := []notify.State{notify.Sent, notify.Failed, notify.Bounced, notify.Withdrawn}[i]
			if n, err := do(); err != nil || n.State != want || n.Sent.IsZero() != (want == notify.Failed) {
				t.Errorf("%+v, %v", n, err)
			}
			if _, err := r.desk.Resolve(t.Context(), ids[i], true, "abuse:taro", "again"); !errors.Is(err, notify.ErrOrder) {
				t.Errorf("resolved twice: %v", err)
			}
		}
	})
}

// TestTwoAtOnce: many processes that send the same notice hand it over once.
func TestTwoAtOnce(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := build(t, db, 1)
		for range 5 {
			n := notifytest.Approved(t, r.desk, "S-0", notify.Mail)
			g := r.house.Grant(t, "S-0")
			var all sync.WaitGroup
			var fine atomic.Int64
			for range 8 {
				all.Go(func() {
					if _, err := r.desk.Send(t.Context(), n.ID, g, "x"); err == nil {
						fine.Add(1)
					}
				})
			}
			all.Wait()
			if r.hop.got[n.ID] != 1 || fine.Load() != 1 {
				t.Errorf("handed over %d times, %d said so", r.hop.got[n.ID], fine.Load())
			}
		}
	})
}

// TestThrottle: so many within the window, one of a case by a channel, then another
// channel; and quiet hours.
func TestThrottle(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := build(t, db, 1)
		carriers := map[notify.Channel]notify.Carrier{notify.Mail: r.hop, notify.Webhook: r.hop}
		p := notify.DefaultPolicy(notifytest.Zone)
		p.Most = 2
		desk := r.house.DeskWith(t, db, carriers, nil, p)
		try := func(c notify.Channel, want error) {
			t.Helper()
			n := notifytest.Approved(t, desk, "S-0", c)
			if _, err := desk.Send(t.Context(), n.ID, r.house.Grant(t, "S-0"), "x"); !errors.Is(err, want) {
				t.Errorf("%s: %v", c, err)
			}
		}
		due := func(want notify.Channel) {
			t.Helper()
			if c, err := desk.Next(t.Context(), "C-S-0", "S-0"); err != nil || c != want {
				t.Errorf("%q is due, %v", c, err)
			}
		}
		due(notify.Mail)
		try(notify.Mail, nil)
		due(notify.Webhook) // no letters here
		try(notify.Mail, notify.ErrThrottle)
		try(notify.Webhook, nil)
		due("")
		try(notify.Webhook, notify.ErrThrottle) // the third
		r.house.Pass(p.Window + time.Second)
		due(notify.Mail)
		try(notify.Mail, nil)
		r.house.Pass(9 * time.Hour) // 21:00:01
		try(notify.Webhook, notify.ErrThrottle)
		if n := len(r.house.Deeds); n != 3 {
			t.Errorf("%d deeds", n)
		}
	})
}

// TestTwoPeople: whoever proposed can't approve, where the policy says so.
func TestTwoPeople(t *testing.T) {
	r := build(t, relationtest.Open(t, relationtest.Place(t, "sqlite")), 1)
	p := notify.DefaultPolicy(notifytest.Zone)
	p.TwoPeople = true
	desk := r.house.DeskWith(t, relationtest.Open(t, relationtest.Place(t, "sqlite")), nil, nil, p)
	n, err := desk.Propose(t.Context(), notify.Proposal{Case: "C-1", Subject: "S-0", Channel: notify.Mail}, "taro", "x")
	if err != nil || n.Template.Device != notify.Unknown {
		t.Fatal(n, err)
	}
	if _, err := desk.Approve(t.Context(), n.ID, "taro", "x"); err == nil {
		t.Error("approved by who proposed it")
	}
	if n, err := desk.Approve(t.Context(), n.ID, "hanako", "x"); err != nil || n.State != notify.Approved {
		t.Error(n, err)
	}
}

// TestCheck: the operator's page knows what was sent, and tells nothing of whose it
// is.
func TestCheck(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		r := build(t, db, 1)
		n := notifytest.Approved(t, r.desk, "S-0", notify.Mail)
		check := func(typed string) notify.Answer {
			t.Helper()
			a, err := r.desk.Check(t.Context(), typed)
			if err != nil || a.Text.JA == "" || a.Text.EN == "" {
				t.Errorf("%q: %+v, %v", typed, a, err)
			}
			if s := fmt.Sprintf("%+v", a); strings.Contains(s, "S-0") || strings.Contains(s, "花子") {
				t.Errorf("%s", s)
			}
			return a
		}
		if a := check(n.Reference); a.Known {
			t.Error("known before it was sent")
		}
		if _, err := r.send(t, n); err != nil {
			t.Fatal(err)
		}
		for _, typed := range []string{n.Reference, notify.Grouped(n.Reference), " " + strings.ReplaceAll(notify.Grouped(n.Reference), "-", "ー") + " "} {
			if a := check(typed); !a.Known || a.Withdrawn || a.On != "2026-11-26" || !strings.Contains(a.Text.JA, "2026-11-26") {
				t.Errorf("%+v", a)
			}
		}
		if _, err := r.desk.Withdraw(t.Context(), n.ID, "x", "a false alarm"); err != nil {
			t.Fatal(err)
		}
		if a := check(n.Reference); !a.Known || !a.Withdrawn || !strings.Contains(a.Text.JA, "不要") {
			t.Errorf("%+v", a)
		}
		if _, err := r.desk.Check(t.Context(), n.Reference[:11]+string('0'+(n.Reference[11]-'0'+1)%10)); !errors.Is(err, notify.ErrMistyped) {
			t.Error(err)
		}
	})
}

// TestRefusals of what can't be a notice.
func TestRefusals(t *testing.T) {
	r := build(t, relationtest.Open(t, relationtest.Place(t, "sqlite")), 1)
	fine := notify.Proposal{Case: "C-1", Subject: "S-0", Channel: notify.Mail}
	for name, change := range map[string]func(*notify.Proposal){
		"no case": func(p *notify.Proposal) { p.Case = "" }, "no subject": func(p *notify.Proposal) { p.Subject = "" }, "channel": func(p *notify.Proposal) { p.Channel = "pigeon" },
		"device": func(p *notify.Proposal) { p.Template.Device = "toaster" }, "language": func(p *notify.Proposal) { p.Language = "tlh" },
	} {
		p := fine
		change(&p)
		if _, err := r.desk.Propose(t.Context(), p, "x", "y"); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := r.desk.Propose(t.Context(), fine, "", "y"); err == nil {
		t.Error("proposed by nobody")
	}
	n, err := r.desk.Propose(t.Context(), fine, "x", "y")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.send(t, n); !errors.Is(err, notify.ErrOrder) {
		t.Errorf("sent without approval: %v", err)
	}
	if _, err := r.desk.Send(t.Context(), notifytest.Approved(t, r.desk, "S-0", notify.Mail).ID, lawful.Grant{}, "x"); !errors.Is(err, notify.ErrRefused) || r.house.Reads > 0 {
		t.Errorf("without a grant: %v, %d people read", err, r.house.Reads)
	}
	if _, err := r.desk.Send(t.Context(), notifytest.Approved(t, r.desk, "S-0", notify.Letter).ID, r.house.Grant(t, "S-0"), "x"); err == nil {
		t.Error("a letter was sent alone")
	}
}
