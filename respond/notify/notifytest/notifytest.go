// Package notifytest gives the tests of notices a house around a desk: people, a
// gate, a ledger, words, and a real MTA.
package notifytest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"sakimori/base/relation"
	"sakimori/lawful"
	"sakimori/lawful/lawfultest"
	"sakimori/respond/notify"
	"sakimori/respond/notify/words"
)

// Zone is Japan's, also where no table of zones is installed.
var Zone = time.FixedZone("JST", 9*60*60)

// Noon is a Thursday's, when nothing is quiet.
var Noon = time.Date(2026, 11, 26, 12, 0, 0, 0, Zone)

// Operators of the tests.
var (
	JA = words.Operator{Name: "さきもり通信株式会社", Site: "www.sakimori.example", Desk: "ネットワーク安全相談窓口", Phone: "0120-000-000", Hours: "平日 9時から17時"}
	EN = words.Operator{Name: "Sakimori Telecom", Site: "www.sakimori.example", Desk: "Network Safety Desk", Phone: "0120-000-000", Hours: "weekdays, 9 to 17"}
)

// Book is the words that are built in.
func Book(t testing.TB) *words.Book {
	t.Helper()
	b, err := words.Load(words.Config{JA: JA, EN: EN, Zone: Zone})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// House is what a desk stands in. Its fields may be changed between calls.
type House struct {
	mu     sync.Mutex
	now    time.Time
	People map[string]notify.Person
	Refuse map[string]bool // subjects that get no grant
	Broken error           // what the ledger answers
	Deeds  []notify.Deed
	Reads  int
}

// NewHouse has a number of people, S-0, S-1 and so on, and the time is Noon.
func NewHouse(people int) *House {
	h := &House{now: Noon, People: map[string]notify.Person{}, Refuse: map[string]bool{}}
	for i := range people {
		h.People[fmt.Sprintf("S-%d", i)] = Person(i)
	}
	return h
}

// Person is somebody who doesn't exist.
func Person(i int) notify.Person {
	return notify.Person{
		Name: fmt.Sprintf("防人 花子%d", i), Mail: fmt.Sprintf("s%d@home.example", i), Phone: "090-0000-0000", Language: "ja", Line: notify.Home,
		Postal: notify.Postal{Code: "100-8926", Lines: []string{"東京都千代田区霞が関二丁目1番2号", fmt.Sprintf("さきもりハイツ %d号室", 100+i)}},
	}
}

// Now is the time in the house.
func (h *House) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

// Pass lets time go by.
func (h *House) Pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

// Read gives a person.
func (h *House) Read(_ context.Context, g lawful.Grant, subject, _, _ string) (notify.Person, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !g.Allows(lawful.Notify, lawful.Of(subject), h.now) {
		return notify.Person{}, errors.New("a person was read without a grant")
	}
	p, is := h.People[subject]
	if !is {
		return notify.Person{}, errors.New("nobody is behind this pseudonym")
	}
	h.Reads++
	return p, nil
}

// Record keeps a deed.
func (h *House) Record(_ context.Context, d notify.Deed) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.Broken != nil {
		return h.Broken
	}
	h.Deeds = append(h.Deeds, d)
	return nil
}

// For gives a grant of an hour for one subject, of a real gate.
func (h *House) For(ctx context.Context, subject string) (lawful.Grant, error) {
	if h.Refuse[subject] {
		return lawful.Grant{}, nil
	}
	return lawfultest.Give(ctx, h, lawful.Notify, subject)
}

// Grant is For in tests.
func (h *House) Grant(t testing.TB, subject string) lawful.Grant {
	t.Helper()
	g, err := h.For(t.Context(), subject)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// Desk opens a desk in the house; its policy is generous, and there is no quiet hour.
func (h *House) Desk(t testing.TB, db *relation.DB, carriers map[notify.Channel]notify.Carrier, press notify.Press) *notify.Desk {
	t.Helper()
	p := notify.DefaultPolicy(Zone)
	p.Most, p.Again, p.QuietFrom, p.QuietTo = 100, 100, 0, 0
	return h.DeskWith(t, db, carriers, press, p)
}

// DeskWith opens a desk with a policy.
func (h *House) DeskWith(t testing.TB, db *relation.DB, carriers map[notify.Channel]notify.Carrier, press notify.Press, p notify.Policy) *notify.Desk {
	t.Helper()
	secret := sha256.Sum256([]byte("a secret of tests"))
	refs, err := notify.NewReferences(secret[:])
	if err != nil {
		t.Fatal(err)
	}
	d, err := notify.Open(t.Context(), notify.Deps{
		DB: db, Clock: h, People: h, Recorder: h, Writer: Book(t), References: refs, Carriers: carriers, Press: press, Policy: p,
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Approved proposes and approves a notice to a subject.
func Approved(t testing.TB, d *notify.Desk, subject string, c notify.Channel) notify.Notice {
	t.Helper()
	n, err := d.Propose(t.Context(), notify.Proposal{
		Case: "C-" + subject, Subject: subject, Channel: c, Seen: Noon.Add(-9 * time.Hour), Template: notify.Template{Family: "mirai", Device: notify.Router},
	}, "abuse:taro", "darknet")
	if err != nil {
		t.Fatal(err)
	}
	if n, err = d.Approve(t.Context(), n.ID, "abuse:hanako", "looked at"); err != nil {
		t.Fatal(err)
	}
	return n
}
