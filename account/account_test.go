package account_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"sakimori/account"
)

// TestVerify: a chain holds as it was made; altering, removing or reordering any
// of its entries is found.
func TestVerify(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 20).Draw(t, "n")
		var prev account.Entry
		var book []account.Entry
		for i := range n {
			e := account.Entry{At: time.Unix(int64(i), 0), Kind: "act", Who: rapid.String().Draw(t, "who"), What: rapid.SliceOf(rapid.Byte()).Draw(t, "what")}
			prev = e.Chain(prev)
			book = append(book, prev)
		}
		if err := account.Verify(account.Entry{}, book); err != nil {
			t.Fatal(err)
		}
		i := rapid.IntRange(0, n-1).Draw(t, "i")
		bad := append([]account.Entry(nil), book...)
		switch rapid.IntRange(0, 4).Draw(t, "harm") {
		case 0:
			bad[i].Who += "x"
		case 1:
			bad[i].At = bad[i].At.Add(1)
		case 2:
			bad[i].What = append([]byte("x"), bad[i].What...)
		case 3:
			if i == n-1 { // a missing end shows only against a signed head
				i--
			}
			bad = append(bad[:i], bad[i+1:]...)
		case 4:
			j := (i + 1) % n
			bad[i], bad[j] = bad[j], bad[i]
		}
		if err := account.Verify(account.Entry{}, bad); !errors.Is(err, account.ErrBroken) {
			t.Fatalf("harm to entry %d was not found: %v", i, err)
		}
	})
}
