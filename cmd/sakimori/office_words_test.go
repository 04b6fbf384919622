package main

import (
	"errors"
	"fmt"
	"testing"

	"sakimori/console"
	"sakimori/respond/casework"
	"sakimori/respond/subscriber"
)

// What the desk says no to, and why nobody is accused, is told in both languages, in each
// without the other.
func TestDeskSpeaksBothLanguages(t *testing.T) {
	for err, want := range map[error]string{
		fmt.Errorf("%w: %s → %s", casework.ErrOrder, "attributed", "clean"): "案件をその状態にはできません: attributed → clean",
		casework.ErrHeld: "案件は保留中です。先に保留を解除してください。",
		casework.ErrWhy:  "理由を書いてください。",
		fmt.Errorf("%w: twice", casework.ErrBulk): "一括処理(move、assign、hold、release)と、1 件から 1000 件の案件を指定してください: twice",
	} {
		r, is := errors.AsType[*console.Refusal](deskError(err))
		if !is || r.Text.JA != want || r.Text.EN != err.Error() {
			t.Errorf("%v: %+v", err, r)
		}
	}
	if !errors.Is(deskError(casework.ErrUnknown), console.ErrNotFound) || deskError(nil) != nil || deskError(errNotKept) != errNotKept { //nolint:errorlint // the very same
		t.Error("what isn't there, or isn't the asker's fault, is said to be something else")
	}
	for _, v := range []subscriber.Verdict{subscriber.Unique, subscriber.UniqueBut, subscriber.Ambiguous, subscriber.Expired, subscriber.Foreign, subscriber.NoPort} {
		if w := verdicts[string(v)]; w.JA == "" || w.EN == "" {
			t.Errorf("%s has no words", v)
		}
		if d := doubts[v]; !v.Certain() && *doubtOf(d.EN) != d {
			t.Errorf("%s: %+v", v, doubtOf(d.EN))
		}
	}
	if *doubtOf(mediated.EN) != mediated || *doubtOf(untold.EN) != untold {
		t.Error("a doubt has one language")
	}
}
