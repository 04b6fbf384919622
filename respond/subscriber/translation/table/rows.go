package table

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// readLine reads a line without its end into buf. One that is too long is passed over,
// with errLong. The last line may do without its newline.
func readLine(r *bufio.Reader, buf []byte) ([]byte, error) {
	long := false
	for {
		b, err := r.ReadSlice('\n')
		if !long {
			buf = append(buf, b...)
		}
		long = long || len(buf) > longest
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && (len(buf) > 0 || long), err == nil:
		default:
			return nil, err
		}
		if long {
			return buf[:0], errLong
		}
		for len(buf) > 0 && (buf[len(buf)-1] == '\n' || buf[len(buf)-1] == '\r') {
			buf = buf[:len(buf)-1]
		}
		return buf, nil
	}
}

// rows cuts lines into columns, as RFC 4180 has them but for one thing: a quoted column
// may not go over several lines. So a quote that somebody forgot spoils its own line alone.
type rows struct {
	comma   byte
	columns []string // of the line in hand
}

func (r *rows) cut(raw []byte) error {
	s := string(raw)
	r.columns = r.columns[:0]
	for {
		if len(r.columns) == mostColumns {
			return errMany
		}
		if s == "" || s[0] != '"' {
			i := strings.IndexByte(s, r.comma)
			if i < 0 {
				r.columns = append(r.columns, s)
				return nil
			}
			r.columns = append(r.columns, s[:i])
			s = s[i+1:]
			continue
		}
		i := 1
		for doubled := true; doubled; {
			n := strings.IndexByte(s[i:], '"')
			if n < 0 {
				return errQuote
			}
			i += n + 1
			if doubled = i < len(s) && s[i] == '"'; doubled {
				i++
			}
		}
		r.columns = append(r.columns, strings.ReplaceAll(s[1:i-1], `""`, `"`))
		switch {
		case i == len(s):
			return nil
		case s[i] != r.comma:
			return errQuote
		}
		s = s[i+1:]
	}
}
