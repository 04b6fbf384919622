package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sakimori/detect"
)

// outputFlag adds -o table|json|csv.
func outputFlag(c *cobra.Command, format *string) {
	c.Flags().StringVarP(format, "output", "o", "table", "table, json or csv")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "csv"}, cobra.ShellCompDirectiveNoFileComp)) // fails only for an unknown flag
	c.PreRunE = func(*cobra.Command, []string) error {
		switch *format {
		case "table", "json", "csv":
			return nil
		}
		return usage("-o %s: use table, json or csv", *format)
	}
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// printRows writes a table for people or CSV for programs.
func printRows(w io.Writer, format string, head []string, rows [][]string) error {
	if format == "csv" {
		c := csv.NewWriter(w)
		if err := c.Write(head); err != nil {
			return err
		}
		return c.WriteAll(rows)
	}
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(head, "\t"))
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}

// thousands writes 1234567 as 1,234,567.
func thousands(n uint64) string { return detect.Grouped(n) }

// japanese tells whether the person at the terminal reads Japanese, by the
// locale that is set.
func japanese() bool {
	for _, k := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := os.Getenv(k); v != "" {
			return strings.HasPrefix(v, "ja")
		}
	}
	return false
}

// say picks the language.
func say(ja, en string) string {
	if japanese() {
		return ja
	}
	return en
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// cut shortens s to n characters.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	r := []rune(s)
	return string(r[:n-1]) + "…"
}
