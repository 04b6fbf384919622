package people

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPasswords(t *testing.T) {
	for p, ok := range map[string]bool{
		"kite umbrella 12 lantern":   true,
		"ふるいけやかわずとびこむ":               true, // twelve characters
		"ｋｉｔｅ umbrella lantern":      true,
		"elevenchars":                false,
		"password1234":               false,
		"P@ssw0rd!2026":              false,
		"passwordpassword":           false,
		"qwertyuiop12345":            false,
		"123456789012345":            false,
		"aaaaaaaaaaaaaaaa":           false,
		"abababababab":               false,
		"sakimori2026!!":             false,
		"administrator99":            false,
		"CorrectHorseBatteryStaple1": false,
		"hanako.yamada!!":            false, // the name itself
		"line\nbreak in the middle":  false,
		strings.Repeat("あいうえお", 20):  false, // more than 256 bytes
	} {
		prepared, err := preparePassword(p)
		if err == nil {
			err = checkPassword(prepared, "hanako.yamada")
		}
		if (err == nil) != ok {
			t.Errorf("%q: %v", p, err)
		}
	}
}

// One password is one, however the keyboard writes it.
func TestPasswordsAreNormalized(t *testing.T) {
	composed, err := preparePassword("pâté à la carte")
	if err != nil {
		t.Fatal(err)
	}
	decomposed, err := preparePassword("pa\u0302te\u0301 a\u0300 la\u3000carte") // an ideographic space, too
	if err != nil || composed != decomposed {
		t.Errorf("%q, %q, %v", composed, decomposed, err)
	}
}

func TestNobodysHashTakesAnyPassword(t *testing.T) {
	h, err := newHasher(DefaultConfig().Hash)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"nobody's password", "kite umbrella lantern", "\x00", strings.Repeat("x", 300)} {
		if fits, stale, err := h.check(t.Context(), p, ""); fits || stale || err != nil {
			t.Errorf("%q: %v %v %v", p, fits, stale, err)
		}
	}
}

func TestDamagedHashes(t *testing.T) {
	h, err := newHasher(DefaultConfig().Hash)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"x", "$argon2id$v=19$m=64,t=0,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "$argon2id$v=19$m=64,t=1,p=0$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
		"$argon2id$v=19$m=4294967295,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "$argon2i$v=19$m=64,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
	} {
		if _, _, err := h.check(t.Context(), "kite umbrella lantern", bad); err == nil || !strings.Contains(err.Error(), "sakimori user reset") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzPassword(f *testing.F) {
	for _, s := range []string{"", "P@ssw0rd!", "ｈａｎａｋｏ", "あいうえお", "\xff\x00"} {
		f.Add(s, "hanako")
	}
	f.Fuzz(func(t *testing.T, p, name string) {
		_ = bareWord(p)
		if folded, err := foldName(name); err == nil {
			if again, err := foldName(folded); err != nil || again != folded || len(folded) > nameBytes {
				t.Errorf("%q folds to %q, and that to %q (%v)", name, folded, again, err)
			}
		}
		prepared, err := preparePassword(p)
		if err != nil {
			return
		}
		if again, err := preparePassword(prepared); err != nil || again != prepared {
			t.Errorf("%q is prepared as %q, and that as %q (%v)", p, prepared, again, err)
		}
		if checkPassword(prepared, name) == nil && utf8.RuneCountInString(prepared) < passwordRunes {
			t.Errorf("%q is taken", p)
		}
	})
}
