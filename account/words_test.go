package account_test

import (
	"testing"

	"sakimori/account"
)

func TestEveryKindHasWords(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range account.Kinds {
		w := k.Words()
		if w.JA == "" || w.EN == "" || seen[w.JA] || seen[w.EN] {
			t.Errorf("%s: %+v", k, w)
		}
		seen[w.JA], seen[w.EN] = true, true
	}
	if len(account.Kinds) != 15 {
		t.Error(len(account.Kinds))
	}
}
