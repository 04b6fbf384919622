package vault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sakimori/base/clock"
	"sakimori/base/relation"
	"sakimori/base/relation/relationtest"
	"sakimori/lawful"
	"sakimori/lawful/lawfultest"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/vault"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// book is where looks are written down; full, it refuses.
type book struct {
	looks []vault.Look
	full  bool
}

func (b *book) Record(_ context.Context, l vault.Look) error {
	if b.full {
		return errors.New("the disk is full")
	}
	b.looks = append(b.looks, l)
	return nil
}

func granted(t *testing.T, m lawful.Measure, subjects ...string) lawful.Grant {
	t.Helper()
	return lawfultest.Grant(t, noon, m, subjects...)
}

func open(t *testing.T, db *relation.DB, b *book, path string) (*vault.Vault, *vault.Keys) {
	t.Helper()
	keys, err := vault.LoadKeys(path, noon)
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(t.Context(), db, keys, b, clock.Fixed(noon))
	if err != nil {
		t.Fatal(err)
	}
	return v, keys
}

// TestOnlyWithAGrant: nobody is named without a grant for that measure and subscriber, a
// reason, and an entry before.
func TestOnlyWithAGrant(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		b := &book{}
		v, keys := open(t, db, b, filepath.Join(t.TempDir(), "keys"))
		taro := vault.Person{Name: "見本 太郎", Mail: "taro@example.jp", Lines: []string{"東京都千代田区霞が関 2-1-2"}, Code: "100-8926"}
		if err := v.Keep(t.Context(), "taro@isp.example", "hanako@isp.example", "taro@isp.example"); err != nil {
			t.Fatal(err)
		}
		if err := v.KeepPerson(t.Context(), "taro@isp.example", taro); err != nil {
			t.Fatal(err)
		}
		s, other := subscriber.Subject(keys.Pseudonym("taro@isp.example")), subscriber.Subject(keys.Pseudonym("hanako@isp.example"))
		g := granted(t, lawful.NameSubscriber, s)
		for name, look := range map[string]func() error{
			"the zero grant":     func() error { _, err := v.Contract(t.Context(), lawful.Grant{}, s, "abuse", "case 1"); return err },
			"another subscriber": func() error { _, err := v.Contract(t.Context(), g, other, "abuse", "case 1"); return err },
			"another measure": func() error {
				_, err := v.Contract(t.Context(), granted(t, lawful.Notify, s), s, "abuse", "case 1")
				return err
			},
			"to block": func() error {
				_, err := v.Person(t.Context(), granted(t, lawful.Block, s), lawful.Block, s, "abuse", "case 1")
				return err
			},
			"no reason":  func() error { _, err := v.Contract(t.Context(), g, s, "abuse", ""); return err },
			"no looker":  func() error { _, err := v.Contract(t.Context(), g, s, "", "case 1"); return err },
			"no subject": func() error { _, err := v.Contract(t.Context(), g, "taro@isp.example", "abuse", "case 1"); return err },
		} {
			if err := look(); err == nil {
				t.Errorf("%s: somebody was named", name)
			}
		}
		if len(b.looks) != 0 {
			t.Errorf("refused looks were written down as looks: %+v", b.looks)
		}
		if c, err := v.Contract(t.Context(), g, s, "abuse:hanako", "case 1"); err != nil || c != "taro@isp.example" {
			t.Errorf("%q, %v", c, err)
		}
		if p, err := v.Person(t.Context(), granted(t, lawful.Notify, s), lawful.Notify, s, "notify", "case 1"); err != nil || p.Name != taro.Name || p.Lines[0] != taro.Lines[0] {
			t.Errorf("%+v, %v", p, err)
		}
		if len(b.looks) != 2 || b.looks[0] != (vault.Look{Subject: s, Of: "contract", Rule: "test", Why: "case 1", Who: "abuse:hanako"}) || b.looks[1].Of != "person" {
			t.Errorf("%+v", b.looks)
		}
		b.full = true
		if c, err := v.Contract(t.Context(), g, s, "abuse", "case 1"); !errors.Is(err, lawful.ErrRefused) || c != "" {
			t.Errorf("without an entry: %q, %v", c, err)
		}
		b.full = false
		if _, err := v.Person(t.Context(), granted(t, lawful.NameSubscriber, other), lawful.NameSubscriber, other, "abuse", "case 2"); !errors.Is(err, vault.ErrUnknown) {
			t.Errorf("of whom nothing is kept: %v", err)
		}
		if err := v.Erase(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if _, err := v.Contract(t.Context(), g, s, "abuse", "case 1"); !errors.Is(err, vault.ErrUnknown) {
			t.Errorf("erased: %v", err)
		}
		if err := v.Keep(t.Context(), "taro@isp.example"); err != nil { // a contract that goes on is known again
			t.Fatal(err)
		}
		if c, p, err := v.Count(t.Context()); err != nil || c != 2 || p != 0 {
			t.Errorf("%d contracts, %d people, %v", c, p, err)
		}
	})
}

// TestSealed: nothing of a person can be read in the store, nor moved to another.
func TestSealed(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		v, keys := open(t, db, &book{}, filepath.Join(t.TempDir(), "keys"))
		for _, n := range []string{"taro", "hanako"} {
			if err := v.KeepPerson(t.Context(), n, vault.Person{Name: "name of " + n}); err != nil {
				t.Fatal(err)
			}
		}
		for _, table := range []string{"subscriber_contract", "subscriber_person"} {
			rows, err := db.Query(t.Context(), `SELECT sealed FROM `+table)
			if err != nil {
				t.Fatal(err)
			}
			for rows.Next() {
				var raw []byte
				if err := rows.Scan(&raw); err != nil || bytes.Contains(raw, []byte("taro")) || bytes.Contains(raw, []byte("name")) || len(raw) < 16 {
					t.Errorf("%q, %v", raw, err)
				}
			}
			if err := errors.Join(rows.Err(), rows.Close()); err != nil {
				t.Fatal(err)
			}
		}
		// Swapped rows are refused, and never give the wrong name.
		taro, hanako := keys.Pseudonym("taro"), keys.Pseudonym("hanako")
		if err := db.Tx(t.Context(), func(tx *relation.Tx) error {
			var s []byte
			if err := tx.QueryRow(t.Context(), `SELECT sealed FROM subscriber_contract WHERE subject = $1`, hanako[:]).Scan(&s); err != nil {
				return err
			}
			_, err := tx.Exec(t.Context(), `UPDATE subscriber_contract SET sealed = $1 WHERE subject = $2`, s, taro[:])
			return err
		}); err != nil {
			t.Fatal(err)
		}
		s := subscriber.Subject(taro)
		if c, err := v.Contract(t.Context(), granted(t, lawful.NameSubscriber, s), s, "abuse", "case"); !errors.Is(err, vault.ErrSealed) || c != "" {
			t.Errorf("%q, %v", c, err)
		}
	})
}

// TestRotate: after a rotation everything is read with the new key alone.
func TestRotate(t *testing.T) {
	relationtest.Each(t, func(t *testing.T, db *relation.DB) {
		path := filepath.Join(t.TempDir(), "keys")
		v, keys := open(t, db, &book{}, path)
		var names []string
		for i := range 2500 {
			names = append(names, fmt.Sprint("line", i))
		}
		if err := v.Keep(t.Context(), names...); err != nil {
			t.Fatal(err)
		}
		if err := v.KeepPerson(t.Context(), "line7", vault.Person{Name: "seven"}); err != nil {
			t.Fatal(err)
		}
		before := keys.Pseudonym("line7")
		if err := keys.Next(noon); err != nil {
			t.Fatal(err)
		}
		if n, err := v.Rotate(t.Context(), nil); err != nil || n != 2501 {
			t.Errorf("%d sealed anew, %v", n, err)
		}
		if n, err := v.Rotate(t.Context(), nil); err != nil || n != 0 {
			t.Errorf("again %d, %v", n, err)
		}
		if err := keys.Drop(); err != nil {
			t.Fatal(err)
		}
		v, keys = open(t, db, &book{}, path) // as after a restart
		s := subscriber.Subject(keys.Pseudonym("line7"))
		if keys.Pseudonym("line7") != before {
			t.Error("the pseudonym changed")
		}
		if p, err := v.Person(t.Context(), granted(t, lawful.NameSubscriber, s), lawful.NameSubscriber, s, "abuse", "case"); err != nil || p.Name != "seven" {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	if _, err := vault.LoadKeys(path, noon); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Error("others may read the keys")
	}
	for _, bad := range []string{"", "{}", `{"pseudonym":"AAAA"}`} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := vault.LoadKeys(path, noon); err == nil || !strings.Contains(err.Error(), "restore it from its copy") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSubject(t *testing.T) {
	for i := range 200 {
		var id [16]byte
		for k := range id {
			id[k] = byte(i*k + i)
		}
		s := subscriber.Subject(id)
		if back, err := subscriber.ParseSubject(s); err != nil || back != id {
			t.Errorf("%s: %v, %v", s, back, err)
		}
	}
	for _, bad := range []string{"", "S-", "taro", "S-" + strings.Repeat("0", 25), "S-" + strings.Repeat("0", 27), "S-" + strings.Repeat("u", 26)} {
		if _, err := subscriber.ParseSubject(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
