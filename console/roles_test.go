package console_test

import (
	"encoding/json"
	"strings"
	"testing"

	"sakimori/console"
)

func TestRolesReadAndWrite(t *testing.T) {
	for bits := range console.Roles(1 << 10) {
		if bits&^console.Everyone != 0 {
			continue
		}
		words := bits.Words()
		if got, err := console.ParseRoles(words...); err != nil || got != bits {
			t.Errorf("%v: %v, %v", words, got, err)
		}
		if b, err := json.Marshal(bits); err != nil || len(words) > 0 && string(b) != `["`+strings.Join(words, `","`)+`"]` {
			t.Errorf("%s %v", b, err)
		}
	}
	for _, s := range []string{"", "public", "known", "person", "root"} {
		if _, err := console.ParseRoles("viewer", s); err == nil {
			t.Errorf("%q is taken as a role", s)
		}
	}
}
