package people_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"

	"sakimori/account"
	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/console"
	"sakimori/console/people"
)

// hand is a clock that a test moves.
type hand struct {
	mu sync.Mutex
	at time.Time
}

func (h *hand) Now() time.Time { h.mu.Lock(); defer h.mu.Unlock(); return h.at }

func (h *hand) on(d time.Duration) { h.mu.Lock(); defer h.mu.Unlock(); h.at = h.at.Add(d) }

// lines takes what would go into the ledger.
type lines struct {
	mu   sync.Mutex
	list []string
	err  error
}

func (l *lines) Record(_ context.Context, kind account.Kind, who string, what any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, err := json.Marshal(what)
	l.list = append(l.list, fmt.Sprintf("%s %s %s", kind, who, b))
	return errors.Join(err, l.err)
}

func (l *lines) last() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) == 0 {
		return ""
	}
	return l.list[len(l.list)-1]
}

// cheap is what a test can afford.
var cheap = argon2id.Params{Memory: 64, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}

type world struct {
	*people.Register

	t     *testing.T
	db    *relation.DB
	clock *hand
	lines *lines
}

func newWorld(t *testing.T, db *relation.DB, issuers ...people.Issuer) *world {
	t.Helper()
	w := &world{t: t, db: db, clock: &hand{at: time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)}, lines: &lines{}}
	w.reopen(people.Config{Hash: cheap, SessionIdle: 2 * time.Hour, Issuers: issuers})
	return w
}

func (w *world) reopen(c people.Config) {
	w.t.Helper()
	var err error
	if w.Register, err = people.Open(w.t.Context(), w.db, w.clock, w.lines, c); err != nil {
		w.t.Fatal(err)
	}
}

const good = "kite umbrella 十二 lantern"

var home, elsewhere = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")

// admin brings the first admin in.
func (w *world) admin() console.User {
	w.t.Helper()
	secret, err := w.FirstLink(w.t.Context())
	if err != nil || secret == "" {
		w.t.Fatal(secret, err)
	}
	u, err := w.Accept(w.t.Context(), secret, "Hanako", good, home)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

// user brings one in by invitation.
func (w *world) user(name string, roles console.Roles) console.User {
	w.t.Helper()
	_, secret, err := w.Add(w.t.Context(), "hanako", name, roles)
	if err != nil {
		w.t.Fatal(err)
	}
	u, err := w.Accept(w.t.Context(), secret, "", good, home)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

func (w *world) session(u console.User) string {
	w.t.Helper()
	secret, _, err := w.Issue(w.t.Context(), console.Token{Kind: console.SessionToken, UserID: u.ID}, 12*time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	return secret
}

func (w *world) works(secret string) bool {
	w.t.Helper()
	_, err := w.Redeem(w.t.Context(), secret, console.SessionToken, console.APIToken)
	if err != nil && !errors.Is(err, console.ErrToken) {
		w.t.Fatal(err)
	}
	return err == nil
}

func refused(err error) bool {
	_, is := errors.AsType[*console.Refusal](err)
	return is
}

func TestFirstAdminComesByALink(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		w, ctx := newWorld(t, db), t.Context()
		old, err := w.FirstLink(ctx)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := w.FirstLink(ctx)
		if err != nil || len(secret) != len("skm_")+43 {
			t.Fatalf("%q %v: not 256 bits", secret, err)
		}
		if _, err := w.Open(ctx, old); !errors.Is(err, console.ErrToken) {
			t.Errorf("an older link is good still: %v", err)
		}
		l, err := w.Open(ctx, secret)
		if err != nil || l.Purpose != console.FirstAdmin || l.Expires.Sub(w.clock.Now()) != time.Hour {
			t.Errorf("%+v %v", l, err)
		}
		for _, weak := range []string{"short", "password12345!", "Hanako-Hanako!"} {
			if _, err := w.Accept(ctx, secret, "hanako", weak, home); !refused(err) {
				t.Errorf("%q is taken: %v", weak, err)
			}
		}
		var in atomic.Int32
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				u, err := w.Accept(ctx, secret, fmt.Sprintf("Admin%d", i), good, home)
				if err == nil && u.Roles == console.Admin && u.State == console.Active {
					in.Add(1)
				} else if !errors.Is(err, console.ErrToken) {
					t.Errorf("%+v %v", u, err)
				}
			})
		}
		all.Wait()
		if in.Load() != 1 {
			t.Errorf("%d came in by one link", in.Load())
		}
		if again, err := w.FirstLink(ctx); again != "" || err != nil {
			t.Errorf("another first admin is let in: %v", err)
		}
		list, err := w.Users(ctx)
		if err != nil || len(list) != 1 || list[0].SignedIn.IsZero() {
			t.Errorf("%+v %v", list, err)
		}
	})
}

func TestFirstLinkEndsAfterAnHour(t *testing.T) {
	w := newWorld(t, relationtest.Open(t, relationtest.Place(t, "sqlite")))
	secret, err := w.FirstLink(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.clock.on(time.Hour)
	if _, err := w.Accept(t.Context(), secret, "hanako", good, home); !errors.Is(err, console.ErrToken) {
		t.Error(err)
	}
}

func TestSignIn(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		w, ctx := newWorld(t, db), t.Context()
		u := w.admin()
		for _, name := range []string{"hanako", "HANAKO", "ｈａｎａｋｏ"} {
			if in, err := w.SignIn(ctx, name, good, home); err != nil || in.ID != u.ID {
				t.Errorf("%s: %v", name, err)
			}
		}
		if l := w.lines.last(); !strings.HasPrefix(l, "sign-in hanako ") || strings.Contains(l, "failed") {
			t.Error(l)
		}
		if _, err := w.SignIn(ctx, "hanako", good+"!", home); !errors.Is(err, console.ErrPassword) {
			t.Error(err)
		}
		if l := w.lines.last(); !strings.Contains(l, `sign-in hanako`) || !strings.Contains(l, `"failed":true`) {
			t.Error(l)
		}
		for _, name := range []string{"my secret typed into the wrong field", "nobody", "", strings.Repeat("x", 1000), "\x00"} {
			if _, err := w.SignIn(ctx, name, good, home); !errors.Is(err, console.ErrPassword) {
				t.Errorf("%q: %v", name, err)
			}
			if l := w.lines.last(); !strings.HasPrefix(l, "sign-in unknown ") {
				t.Error(l)
			}
		}
		w.lines.err = errors.New("disk full")
		if _, err := w.SignIn(ctx, "hanako", good, elsewhere); err == nil {
			t.Error("a sign-in counts that couldn't be written down")
		}
	})
}

func TestPasswordIsHashedAnewWhenTheParametersChange(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		w := newWorld(t, db)
		w.admin()
		stored := func() (hash string) {
			if err := db.QueryRow(t.Context(), `SELECT password FROM people_user`).Scan(&hash); err != nil {
				t.Fatal(err)
			}
			return hash
		}
		if h := stored(); !strings.HasPrefix(h, "$argon2id$v=19$m=64,t=1,p=1$") {
			t.Error(h)
		}
		dearer := cheap
		dearer.Iterations = 2
		w.reopen(people.Config{Hash: dearer, SessionIdle: time.Hour})
		for range 2 {
			if _, err := w.SignIn(t.Context(), "hanako", good, home); err != nil {
				t.Fatal(err)
			}
			if h := stored(); !strings.HasPrefix(h, "$argon2id$v=19$m=64,t=2,p=1$") {
				t.Error(h)
			}
		}
	})
}

func TestUsersComeAndGo(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		w, ctx := newWorld(t, db), t.Context()
		boss := w.admin()
		u, secret, err := w.Add(ctx, "hanako", "taro", console.Operator|console.Legal)
		if err != nil || u.State != console.Invited {
			t.Fatal(u, err)
		}
		if _, _, err := w.Add(ctx, "hanako", "TARO", console.Viewer); !refused(err) {
			t.Errorf("two of one name: %v", err)
		}
		if _, err := w.SignIn(ctx, "taro", good, home); !errors.Is(err, console.ErrPassword) {
			t.Errorf("signed in without a password: %v", err)
		}
		if _, err := w.Accept(ctx, secret, "ignored", good, home); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Accept(ctx, secret, "", good, home); !errors.Is(err, console.ErrToken) {
			t.Errorf("a link worked twice: %v", err)
		}

		// A change ends the sessions; the tokens go with the roles and the state.
		s := w.session(u)
		api, _, err := w.MakeToken(ctx, "taro", console.Token{Name: "script", UserID: u.ID, Roles: console.Operator | console.Legal}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if u, err = w.SetRoles(ctx, "hanako", u.ID, console.Legal); err != nil || w.works(s) {
			t.Errorf("a session outlived a change of roles (%v)", err)
		}
		if got, err := w.Redeem(ctx, api, console.APIToken); err != nil || got.Roles != console.Legal || got.User != "taro" {
			t.Errorf("%+v %v", got, err)
		}
		s = w.session(u)
		if _, err := w.Lock(ctx, "hanako", u.ID); err != nil || w.works(s) || w.works(api) {
			t.Errorf("a locked user acts (%v)", err)
		}
		if _, err := w.SignIn(ctx, "taro", good, home); !errors.Is(err, console.ErrPassword) {
			t.Error(err)
		}
		if _, _, err := w.Reset(ctx, "hanako", u.ID); !refused(err) {
			t.Errorf("a locked user gets a link: %v", err)
		}
		if u, err = w.Unlock(ctx, "hanako", u.ID); err != nil || u.State != console.Active || w.works(s) || !w.works(api) {
			t.Errorf("%+v %v", u, err)
		}

		// A new password ends sessions and the other links.
		s = w.session(u)
		_, first, err := w.Reset(ctx, "hanako", u.ID)
		if err != nil {
			t.Fatal(err)
		}
		_, second, err := w.Reset(ctx, "hanako", u.ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Open(ctx, first); !errors.Is(err, console.ErrToken) {
			t.Error("an older link is good still")
		}
		if _, err := w.SignIn(ctx, "taro", good, home); err != nil {
			t.Errorf("a link alone ends the password: %v", err)
		}
		if _, err := w.Accept(ctx, second, "", good+" new", home); err != nil || w.works(s) {
			t.Errorf("a session outlived a password (%v)", err)
		}
		s = w.session(u)
		if err := w.ChangePassword(ctx, u.ID, "wrong wrong wrong", good, home); !errors.Is(err, console.ErrPassword) || !w.works(s) {
			t.Error(err)
		}
		if err := w.ChangePassword(ctx, u.ID, good+" new", good, home); err != nil || w.works(s) {
			t.Errorf("a session outlived a password (%v)", err)
		}

		// The last admin stays.
		for what, err := range map[string]error{
			"locked":  second2(w.Lock(ctx, "x", boss.ID)),
			"demoted": second2(w.SetRoles(ctx, "x", boss.ID, console.Viewer)),
			"removed": w.Remove(ctx, "x", boss.ID),
		} {
			if !refused(err) {
				t.Errorf("the last admin was %s: %v", what, err)
			}
		}
		if _, err := w.SetRoles(ctx, "hanako", u.ID, console.Admin); err != nil {
			t.Fatal(err)
		}
		s = w.session(boss)
		if err := w.Remove(ctx, "taro", boss.ID); err != nil || w.works(s) {
			t.Errorf("a removed user acts (%v)", err)
		}
		if _, err := w.SignIn(ctx, "hanako", good, home); !errors.Is(err, console.ErrPassword) {
			t.Error(err)
		}
		if _, err := w.Lock(ctx, "taro", boss.ID); !errors.Is(err, console.ErrNotFound) {
			t.Error(err)
		}
		if list, _ := w.Users(ctx); len(list) != 1 || list[0].Name != "taro" {
			t.Errorf("%+v", list)
		}
		if _, _, err := w.Add(ctx, "taro", "hanako", console.Viewer); err != nil {
			t.Errorf("the name isn't free: %v", err)
		}
		for _, want := range []string{"add user", "set roles", "lock user", "unlock user", "make link", "choose password", "change password", "remove user", "make token", "make first admin"} {
			if !slices.ContainsFunc(w.lines.list, func(l string) bool { return strings.Contains(l, `"action":"`+want+`"`) }) {
				t.Errorf("%q isn't in the ledger", want)
			}
		}
		if text := strings.Join(w.lines.list, "\n"); strings.Contains(text, "skm_") || strings.Contains(text, "lantern") || strings.Contains(text, "192.0.2") {
			t.Errorf("a secret or an address is in the ledger: %s", text)
		}
	})
}

func second2[T any](_ T, err error) error { return err }

func TestNothingIsDoneThatCantBeWrittenDown(t *testing.T) {
	w, ctx := newWorld(t, relationtest.Open(t, relationtest.Place(t, "sqlite"))), t.Context()
	u := w.admin()
	taro := w.user("taro", console.Viewer)
	s := w.session(taro)
	w.lines.err = errors.New("disk full")
	for what, err := range map[string]error{
		"add":    func() error { _, _, err := w.Add(ctx, "hanako", "jiro", console.Viewer); return err }(),
		"roles":  second2(w.SetRoles(ctx, "hanako", taro.ID, console.Legal)),
		"lock":   second2(w.Lock(ctx, "hanako", taro.ID)),
		"remove": w.Remove(ctx, "hanako", taro.ID),
		"token": func() error {
			_, _, err := w.MakeToken(ctx, "x", console.Token{Name: "x", Roles: console.Wall}, time.Hour)
			return err
		}(),
		"password": w.ChangePassword(ctx, u.ID, good, good+"!", home),
	} {
		if err == nil {
			t.Errorf("%s: done without an entry", what)
		}
	}
	list, _ := w.Users(ctx)
	if len(list) != 2 || !w.works(s) {
		t.Errorf("%+v", list)
	}
	if l, _ := w.Tokens(ctx, console.APIToken, ""); len(l) != 0 {
		t.Errorf("%+v", l)
	}
}
