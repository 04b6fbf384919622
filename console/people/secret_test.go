package people_test

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/console"
)

func TestSessionsEnd(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		w, ctx := newWorld(t, db), t.Context()
		u := w.admin()
		idle, used := w.session(u), w.session(u)
		for range 11 {
			w.clock.on(time.Hour)
			if !w.works(used) {
				t.Fatal("a session in use ended")
			}
		}
		if w.works(idle) {
			t.Error("a session outlived two hours without a request")
		}
		w.clock.on(time.Hour)
		if w.works(used) {
			t.Error("a session outlived its twelve hours")
		}
		list, err := w.Tokens(ctx, console.SessionToken, u.ID)
		if err != nil || len(list) != 0 {
			t.Errorf("%+v %v", list, err)
		}
	})
}

func TestASessionIsOnesOwn(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		w, ctx := newWorld(t, db), t.Context()
		u := w.admin()
		taro := w.user("taro", console.Viewer)
		mine, his := w.session(u), w.session(taro)
		list, err := w.Tokens(ctx, console.SessionToken, taro.ID)
		if err != nil || len(list) != 1 || list[0].User != "taro" || list[0].Roles != console.Viewer {
			t.Fatalf("%+v %v", list, err)
		}
		if err := w.Withdraw(ctx, "hanako", u.ID, list[0].ID); !errors.Is(err, console.ErrNotFound) || !w.works(his) {
			t.Errorf("somebody ended another's session: %v", err)
		}
		if err := w.Withdraw(ctx, "taro", taro.ID, list[0].ID); err != nil || w.works(his) || !w.works(mine) {
			t.Error(err)
		}
		if !strings.Contains(w.lines.last(), `"action":"end session"`) {
			t.Error(w.lines.last())
		}
	})
}

func TestSecretsAreStoredAsSums(t *testing.T) {
	w, ctx := newWorld(t, relationtest.Open(t, relationtest.Place(t, "sqlite"))), t.Context()
	u := w.admin()
	secret := w.session(u)
	rows, err := w.db.Query(ctx, `SELECT id, sum, name, who, origin FROM people_secret`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var f [5]string
		if err := rows.Scan(&f[0], &f[1], &f[2], &f[3], &f[4]); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.Join(f[:], " "), secret[4:]) || len(f[1]) != 64 {
			t.Errorf("%q", f)
		}
	}
	for _, bad := range []string{"", "skm_", secret[4:], secret + "x", strings.ToUpper(secret), "skm_' OR 1=1 --"} {
		if w.works(bad) {
			t.Errorf("%q is good", bad)
		}
	}
}

func TestAPITokens(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		w, ctx := newWorld(t, db), t.Context()
		u := w.user("taro", console.Viewer|console.Legal)
		for name, bad := range map[string]console.Token{
			"more roles":  {Name: "x", UserID: u.ID, Roles: console.Legal | console.Abuse},
			"admin":       {Name: "x", UserID: u.ID, Roles: console.Admin},
			"no roles":    {Name: "x", UserID: u.ID},
			"no name":     {Name: " ", UserID: u.ID, Roles: console.Legal},
			"a long name": {Name: strings.Repeat("あ", 40), UserID: u.ID, Roles: console.Legal},
		} {
			if _, _, err := w.MakeToken(ctx, "taro", bad, time.Hour); !refused(err) {
				t.Errorf("%s: %v", name, err)
			}
		}
		secret, made, err := w.MakeToken(ctx, "taro", console.Token{Name: "report", UserID: u.ID, Roles: console.Legal, ReadOnly: true}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		got, err := w.Redeem(ctx, secret, console.APIToken)
		if err != nil || got.ID != made.ID || !got.ReadOnly || got.Roles != console.Legal || got.Name != "report" || got.UserID != u.ID {
			t.Errorf("%+v %v", got, err)
		}
		w.clock.on(usedEvery)
		if _, err := w.Redeem(ctx, secret, console.SessionToken); !errors.Is(err, console.ErrToken) {
			t.Error("an API token as a session")
		}
		w.works(secret)
		if list, _ := w.Tokens(ctx, console.APIToken, u.ID); len(list) != 1 || !list[0].Used.Equal(w.clock.Now()) {
			t.Errorf("%+v", list)
		}

		// A session that was opened with a token ends with it, and doesn't idle: a
		// wall may be dark over night.
		wall, parent, err := w.MakeToken(ctx, "hanako", console.Token{Name: "hall", Roles: console.Wall}, 1000*time.Hour)
		if err != nil || parent.User != "hall" {
			t.Fatal(parent, err)
		}
		child, _, err := w.Issue(ctx, console.Token{Kind: console.SessionToken, Roles: parent.Roles, User: parent.User, Parent: parent.ID}, 999*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		w.clock.on(100 * time.Hour)
		if !w.works(child) || !w.works(wall) || w.works(secret) {
			t.Error("the wall ended, or an expired token didn't")
		}
		if err := w.Withdraw(ctx, "hanako", "", parent.ID); err != nil || w.works(child) || w.works(wall) {
			t.Error("a session outlived its token")
		}
		if _, _, err := w.Issue(ctx, console.Token{Kind: console.APIToken, User: "x"}, time.Hour); err == nil {
			t.Error("a token that is nobody's and may nothing")
		}
	})
}

const usedEvery = time.Minute

func TestALoginTokenWorksOnce(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		w, ctx := newWorld(t, db), t.Context()
		secret, _, err := w.Issue(ctx, console.Token{Kind: console.LoginToken, Roles: console.Admin, User: "local"}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		var n atomic.Int32
		var all sync.WaitGroup
		for range 10 {
			all.Go(func() {
				if _, err := w.Redeem(ctx, secret, console.LoginToken); err == nil {
					n.Add(1)
				} else if !errors.Is(err, console.ErrToken) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n.Load() != 1 {
			t.Errorf("it worked %d times", n.Load())
		}
	})
}

func TestSessionsOfAUserAreBounded(t *testing.T) {
	w := newWorld(t, relationtest.Open(t, relationtest.Place(t, "sqlite")))
	u := w.admin()
	var all []string
	for range 60 {
		w.clock.on(time.Second)
		all = append(all, w.session(u))
	}
	for i, s := range all {
		if w.works(s) != (i >= 10) {
			t.Errorf("session %d: %v", i, w.works(s))
		}
	}
}

// Whatever happens to a user and their tokens, what a token may do is never more
// than what it was given and what the user has at the moment.
func TestATokenNeverMayMore(t *testing.T) {
	db := relationtest.Open(t, relationtest.Place(t, "sqlite"))
	w, ctx := newWorld(t, db), t.Context()
	w.admin()
	u := w.user("taro", console.Everyone&^console.Admin)
	has, active := u.Roles, true
	type given struct {
		roles console.Roles
		ends  time.Time
		gone  bool
	}
	tokens := map[string]*given{}
	roles := rapid.Custom(func(t *rapid.T) console.Roles {
		return console.Roles(rapid.Uint16().Draw(t, "bits")) & console.Everyone
	})
	rapid.Check(t, func(t *rapid.T) {
		switch rapid.IntRange(0, 5).Draw(t, "what") {
		case 0:
			r, ttl := roles.Draw(t, "token"), time.Duration(rapid.IntRange(1, 100).Draw(t, "minutes"))*time.Minute
			secret, _, err := w.MakeToken(ctx, "x", console.Token{Name: "x", UserID: u.ID, Roles: r}, ttl)
			if allowed := r != 0 && r&^has == 0; allowed != (err == nil) && len(tokens) < 90 {
				t.Fatalf("roles %s of %s: %v", r, has, err)
			} else if err == nil {
				tokens[secret] = &given{roles: r, ends: w.clock.Now().Add(ttl)}
			}
		case 1:
			r := roles.Draw(t, "roles")
			if _, err := w.SetRoles(ctx, "x", u.ID, r); err == nil {
				has = r
			}
		case 2:
			if _, err := w.Lock(ctx, "x", u.ID); err == nil {
				active = false
			}
		case 3:
			if _, err := w.Unlock(ctx, "x", u.ID); err == nil {
				active = true
			}
		case 4:
			w.clock.on(time.Duration(rapid.IntRange(0, 30).Draw(t, "later")) * time.Minute)
		case 5:
			for s, g := range tokens {
				if got, err := w.Redeem(ctx, s, console.APIToken); err == nil {
					if err := w.Revoke(ctx, got.ID); err != nil {
						t.Fatal(err)
					}
					g.gone = true
				}
				break
			}
		}
		for s, g := range tokens {
			got, err := w.Redeem(ctx, s, console.APIToken)
			if good := active && !g.gone && w.clock.Now().Before(g.ends); good != (err == nil) {
				t.Fatalf("good %v, but %v", good, err)
			} else if good && got.Roles != g.roles&has {
				t.Fatalf("%s, given %s, the user has %s", got.Roles, g.roles, has)
			}
		}
	})
}
