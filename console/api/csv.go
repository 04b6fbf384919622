package api

import (
	"encoding/csv"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sakimori/observe"
)

// tabular is an answer that is a table too. The first row is the header.
type tabular interface{ table() [][]string }

// csvFormat writes text/csv (RFC 4180) with a header row; times are UTC with
// their offset printed. Whatever isn't a table stays JSON, which only a
// problem ever is.
var csvFormat = huma.Format{
	Marshal: func(w io.Writer, v any) error {
		t, ok := v.(tabular)
		if !ok {
			return huma.DefaultJSONFormat.Marshal(w, v)
		}
		c := csv.NewWriter(w)
		c.UseCRLF = true
		return c.WriteAll(t.table())
	},
	Unmarshal: func([]byte, any) error { return errors.New("a request can't be text/csv: send application/json") },
}

// cell makes text from outside harmless to a spreadsheet, which would take it
// for a formula by its first character.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

func count(n uint64) string { return strconv.FormatUint(n, 10) }

func figure(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

func figureOrEmpty(f *float64) string {
	if f == nil {
		return ""
	}
	return figure(*f)
}

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func yes(b bool) string { return strconv.FormatBool(b) }

// uniqueHeader and uniqueCells are the columns of a number of distinct things.
func uniqueHeader(name string) []string { return []string{name, name + "_err", name + "_at_most"} }

func uniqueCells(u observe.Unique) []string {
	return []string{count(u.N), figure(u.Err), yes(u.AtMost)}
}

// join makes one row of single cells and groups of them.
func join(parts ...any) []string {
	var row []string
	for _, p := range parts {
		switch v := p.(type) {
		case string:
			row = append(row, v)
		case []string:
			row = append(row, v...)
		}
	}
	return row
}
