package main

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts run this very binary as the command sakimori.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"sakimori": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt) // as main does
			code := Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
			stop()
			os.Exit(code)
		},
	})
}

// TestScripts walks the commands as a person would; the scripts are the manual.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("LANG", "C")
			e.Setenv("CORPUS", corpus(t))
			e.Setenv("DAY", yesterday().Format(time.DateOnly))
			e.Setenv("WEEK", yesterday().AddDate(0, 0, -6).Format(time.DateOnly))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"mta": startMTA, "arrived": arrived, "dated": dated},
		Condition: func(cond string) (bool, error) {
			if cond == "font" {
				_, err := os.Stat(gothic)
				return err == nil, nil //nolint:nilerr // without it the part on letters is left out
			}
			if cond == "unbound" {
				return ownNetwork(t, "unbound", "ip", "unshare"), nil
			}
			if cond == "bird" {
				return ownNetwork(t, "bird", "birdc", "curl", "ip", "unshare"), nil
			}
			return cond == "corpus" && corpus(t) != "", nil
		},
	})
}

// ownNetwork tells whether a script may make a network of its own, and has the programs for
// it; on the machine that must have them it is an error if not.
func ownNetwork(t *testing.T, programs ...string) bool {
	err := exec.CommandContext(t.Context(), "unshare", "-n", "true").Run()
	for _, p := range programs {
		if _, missing := exec.LookPath(p); missing != nil {
			err = missing
		}
	}
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	if err != nil {
		t.Log("NO NETWORK OF ONE'S OWN:", err)
	}
	return err == nil
}

// gothic is the font of the letters in the scripts (Debian: fonts-ipafont-gothic).
const gothic = "/usr/share/fonts/opentype/ipafont-gothic/ipag.ttf"

// corpus is the folder of real captures, "" when there is none: then the
// scripts that need it say so and pass, except on the machine that must have it.
func corpus(t *testing.T) string {
	dir := os.Getenv("SAKIMORI_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "INDEX.tsv")); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("SAKIMORI_CORPUS: %v: the tests on real captures can't run", err)
		}
		t.Log("NO CORPUS: set SAKIMORI_CORPUS to run the tests on real captures")
		return ""
	}
	return dir
}
