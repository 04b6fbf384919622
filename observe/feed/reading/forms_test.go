package reading_test

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sakimori/observe/feed/reading"
)

func TestWhen(t *testing.T) {
	tokyo := time.FixedZone("JST", 9*3600)
	tests := []struct {
		s     string
		zone  *time.Location
		want  string // RFC 3339, or the reason
		slack time.Duration
	}{
		{"2026-11-25 03:04:05", time.UTC, "2026-11-25T03:04:05Z", time.Second},
		{"2026-11-25 03:04:05", tokyo, "2026-11-24T18:04:05Z", time.Second},
		{"2026-11-25 03:04:05", nil, "no_zone", 0},
		{"2026-11-25T03:04:05Z", nil, "2026-11-25T03:04:05Z", time.Second},
		{"2026-11-25T03:04:05.25+09:00", nil, "2026-11-24T18:04:05.25Z", 10 * time.Millisecond},
		{"2026-11-25T03:04:05.123456789Z", nil, "2026-11-25T03:04:05.123456789Z", time.Millisecond},
		{"2026-11-25 03:04:05 UTC", nil, "2026-11-25T03:04:05Z", time.Second},
		{"2026-11-25 03:04:05 UTC+09:00", nil, "2026-11-24T18:04:05Z", time.Second},
		{"2026-11-25 12:04:05 JST", nil, "2026-11-25T03:04:05Z", time.Second},
		{"2026-11-25 12:04:05 CST", time.UTC, "no_zone", 0}, // three countries' own
		{"2026-11-25 03:04", time.UTC, "2026-11-25T03:04:00Z", time.Minute},
		{"2026-11-25T03:04Z", nil, "2026-11-25T03:04:00Z", time.Minute},
		{"2026-11-25T0304Z", nil, "2026-11-25T03:04:00Z", time.Minute},
		{"20261125T030405Z", nil, "2026-11-25T03:04:05Z", time.Second},
		{"2026-11-25", time.UTC, "2026-11-25T00:00:00Z", 24 * time.Hour},
		{"2026-11-25", tokyo, "2026-11-24T15:00:00Z", 24 * time.Hour},
		{"2026-11-25", nil, "no_zone", 0},
		{"2026/11/25", time.UTC, "2026-11-25T00:00:00Z", 24 * time.Hour},
		{"20261125", time.UTC, "2026-11-25T00:00:00Z", 24 * time.Hour},
		{"Wed, 25 Nov 2026 12:04:05 +0900", nil, "2026-11-25T03:04:05Z", time.Second},
		{"Wed, 25 Nov 2026 12:04:05 +0900 (JST)", nil, "2026-11-25T03:04:05Z", time.Second},
		{"5 Nov 2026 03:04 -0000", nil, "2026-11-05T03:04:00Z", time.Minute},
		{"25/Nov/2026:12:04:05 +0900", nil, "2026-11-25T03:04:05Z", time.Second},
		{"1795575845", nil, "2026-11-25T03:04:05Z", time.Second},
		{"1795575845.5", nil, "2026-11-25T03:04:05.5Z", 100 * time.Millisecond},
		{"1795575845250", nil, "2026-11-25T03:04:05.25Z", time.Millisecond},
		{"2016-12-31 23:59:60", time.UTC, "2017-01-01T00:00:00Z", time.Second},
		{"11/25/2026 03:04:05", time.UTC, "not_a_time", 0}, // month first?
		{"03/04/2026", time.UTC, "not_a_time", 0},
		{"2026-02-30", time.UTC, "not_a_time", 0},
		{"2026-13-01", time.UTC, "not_a_time", 0},
		{"2026-11-25 24:00:00", time.UTC, "not_a_time", 0},
		{"2026-11-25 03:04:05 +25:00", nil, "not_a_time", 0},
		{"1970-01-01 00:00:00", time.UTC, "not_a_time", 0}, // somebody's zero
		{"0", nil, "not_a_time", 0},
		{"yesterday", time.UTC, "not_a_time", 0},
		{"", time.UTC, "no_time", 0},
	}
	for _, tt := range tests {
		got, slack, why := reading.When(tt.s, tt.zone)
		said := why.String()
		if said == "" {
			said = got.Format(time.RFC3339Nano)
		}
		if said != tt.want || slack != tt.slack {
			t.Errorf("%q: %s ± %s, want %s ± %s", tt.s, said, slack, tt.want, tt.slack)
		}
	}
}

// Whatever Go writes is read as Go meant it.
func TestWhenReadsWhatGoWrites(t *testing.T) {
	layouts := []struct {
		layout string
		slack  time.Duration
	}{
		{time.RFC3339, time.Second},
		{"2006-01-02T15:04:05.000Z07:00", time.Millisecond},
		{"2006-01-02 15:04:05 -0700", time.Second},
		{time.RFC1123Z, time.Second},
		{"_2 Jan 2006 15:04:05 -0700", time.Second},
		{"02/Jan/2006:15:04:05 -0700", time.Second},
		{"20060102T150405Z0700", time.Second},
		{"2006/01/02 15:04-07:00", time.Minute},
	}
	rapid.Check(t, func(t *rapid.T) {
		l := rapid.SampledFrom(layouts).Draw(t, "layout")
		zone := time.FixedZone("", 900*rapid.IntRange(-48, 56).Draw(t, "quarters"))
		at := time.UnixMilli(rapid.Int64Range(700_000_000_000, 4_000_000_000_000).Draw(t, "ms")).In(zone)
		text := at.Format(l.layout)
		want, err := time.Parse(l.layout, text)
		if err != nil {
			t.Fatal(err)
		}
		got, slack, why := reading.When(text, nil)
		if why.String() != "" || !got.Equal(want) || slack != l.slack {
			t.Fatalf("%q: %v ± %v %s, want %v", text, got, slack, why, want)
		}
		if at.Before(got) || !at.Before(got.Add(slack)) {
			t.Fatalf("%q: %v isn't in [%v, +%v)", text, at, got, slack)
		}
	})
}

// Whatever encoding/csv writes is read as it was meant, between broken lines too.
func TestRowsReadWhatCSVWrites(t *testing.T) {
	field := rapid.StringOf(rapid.SampledFrom([]rune{'a', 'b', '"', ',', ' ', '\n', '0', '人'}))
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(2, 6).Draw(t, "width")
		var text strings.Builder
		var want [][]string
		for range rapid.IntRange(1, 8).Draw(t, "rows") {
			if rapid.Bool().Draw(t, "broken") {
				text.WriteString(rapid.SampledFrom([]string{"\"a\"b,c\n", "x,\"y\" z\n"}).Draw(t, "line"))
				want = append(want, nil)
				continue
			}
			row := []string{"r"} // no empty line
			for len(row) < width {
				row = append(row, field.Draw(t, "field"))
			}
			w := csv.NewWriter(&text)
			_ = w.Write(row)
			w.Flush()
			want = append(want, row)
		}
		if d := cmp.Diff(want, rowsOf(text.String(), width)); d != "" {
			t.Fatalf("%q: %s", text.String(), d)
		}
	})
}

// A JSON object is found whole whatever its form, and a broken line of JSON is one
// broken line.
func TestValues(t *testing.T) {
	text := rapid.StringOf(rapid.SampledFrom([]rune{'a', '{', '}', '[', ']', '"', '\\', ',', '\n', '人'}))
	rapid.Check(t, func(t *rapid.T) {
		form := rapid.SampledFrom([]string{"lines", "pretty", "array", "pretty array"}).Draw(t, "form")
		var objects []map[string]any
		var all []string
		var want []string
		for range rapid.IntRange(1, 5).Draw(t, "objects") {
			if form == "lines" && rapid.IntRange(0, 3).Draw(t, "break") == 0 {
				all = append(all, rapid.SampledFrom([]string{`{"a": {"b": 1}`, `{"a": "b`, `{"a": [1, {`, `so what`}).Draw(t, "broken"))
				want = append(want, "")
				continue
			}
			o := map[string]any{text.Draw(t, "k"): text.Draw(t, "v"), "n": []any{1.5, map[string]any{text.Draw(t, "k2"): text.Draw(t, "v2")}}, "z": nil}
			b, _ := json.Marshal(o)
			objects, want = append(objects, o), append(want, string(b))
			if form == "pretty" {
				b, _ = json.MarshalIndent(o, "", "  ")
			}
			all = append(all, string(b))
		}
		whole := strings.Join(all, "\n")
		switch form {
		case "array":
			b, _ := json.Marshal(objects)
			whole = string(b)
		case "pretty array":
			b, _ := json.MarshalIndent(objects, "", "\t")
			whole = string(b)
		}
		got := valuesOf(whole)
		for i, g := range got {
			if g != "" {
				var v any
				if err := json.Unmarshal([]byte(g), &v); err != nil {
					t.Fatalf("%q: %v", g, err)
				}
				b, _ := json.Marshal(v)
				got[i] = string(b)
			}
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s:\n%s\n got %q\nwant %q", form, whole, got, want)
		}
	})
}

// rowsOf are the fields of each row of a table whose header has width fields, nil for
// one that is broken.
func rowsOf(text string, width int) (out [][]string) {
	in := &reading.Rows{Lines: *reading.NewLines(strings.NewReader(text), 1<<16), Comma: ',', Width: width}
	for {
		rw, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			return out
		case rw.Why != reading.Fine:
			out = append(out, nil)
		default:
			out = append(out, append([]string{}, rw.Fields...))
		}
	}
}

// valuesOf are the JSON objects of a text; "" is one that is broken.
func valuesOf(text string) (out []string) {
	in := reading.NewValues(strings.NewReader(text), 1<<16)
	for {
		v, _, why, err := in.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if why != reading.Fine {
			v = ""
		}
		out = append(out, v)
	}
}
