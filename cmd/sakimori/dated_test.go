package main

import (
	"os"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// The gate looks at the clock: what was seen long ago is no attack that goes on. So the
// walks are of yesterday, whenever they are walked; in the scripts yesterday is $DAY, and in
// their files the 26th of November 2026.

func yesterday() time.Time { return time.Now().UTC().AddDate(0, 0, -1) }

// dated brings files of a script to yesterday.
func dated(ts *testscript.TestScript, neg bool, files []string) {
	if neg || len(files) == 0 {
		ts.Fatalf("usage: dated FILE…")
	}
	for _, f := range files {
		ts.Check(os.WriteFile(ts.MkAbs(f), []byte(ofYesterday(ts.ReadFile(f))), 0o600))
	}
}

// ofYesterday is a text about the 26th of November 2026, about yesterday.
func ofYesterday(text string) string {
	day := yesterday()
	return strings.NewReplacer("2026-11-26", day.Format(time.DateOnly), "Nov 26 2026", day.Format("Jan _2 2006"), "Thu Nov 26 ", day.Format("Mon Jan _2 "), "00:00 2026", "00:00 "+day.Format("2006")).Replace(text)
}
