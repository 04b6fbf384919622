package feed

import (
	"io"
	"strings"
	"time"
)

// When is when.
func When(s string, zone *time.Location) (time.Time, time.Duration, Reason) { return when(s, zone) }

// Rows reads a table whose header has width fields: the fields of each row, nil for
// one that is broken.
func Rows(text string, width int) (out [][]string) {
	in := &rows{lines: *newLines(strings.NewReader(text), 1<<16), comma: ',', width: width}
	for {
		rw, err := in.next()
		if err == io.EOF { //nolint:errorlint // as it is
			return out
		}
		if rw.why != fine {
			out = append(out, nil)
			continue
		}
		out = append(out, append([]string{}, rw.fields...))
	}
}

// Values cuts a text into JSON objects; "" is one that is broken.
func Values(text string) (out []string) {
	in := &values{lines: *newLines(strings.NewReader(text), 1<<16)}
	for {
		v, _, why, err := in.next()
		if err == io.EOF { //nolint:errorlint // as it is
			return out
		}
		if why != fine {
			v = ""
		}
		out = append(out, v)
	}
}
