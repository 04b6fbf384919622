package letter

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// clean is a field on one line: controls become spaces, and a kana with its voicing
// mark apart becomes one letter. Nothing else is made equal: 神 and 神 (U+FA19) are two
// names.
func clean(s string) string {
	var b strings.Builder
	runes := []rune(s)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		if i+1 < len(runes) && (runes[i+1] == 0x3099 || runes[i+1] == 0x309a) {
			if one := []rune(norm.NFC.String(string(runes[i : i+2]))); len(one) == 1 {
				b.WriteRune(one[0])
				i++
				continue
			}
		}
		if unicode.IsControl(r) || r == 0x2028 || r == 0x2029 {
			r = ' '
		}
		b.WriteRune(r)
	}
	return strings.TrimSpace(b.String())
}

// chooses tells whether a code point only chooses or changes the form of the letter
// before it. No layout is done here, so to leave it out would print another form.
func chooses(r rune) bool {
	return r >= 0xfe00 && r <= 0xfe0f || r >= 0xe0100 && r <= 0xe01ef || unicode.Is(unicode.Mn, r)
}

// What may not begin or end a line of Japanese (JIS X 4051, 行頭禁則 and 行末禁則).
const (
	notFirst = "、。,.,.・:;?!:;?!゛゜ヽヾゝゞ々ー)]})〕]}〉》」』】〙〗〟’”»ぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ‐–〜~%%"
	notLast  = "([{(〔[{〈《「『【〘〖〝‘“«"
)

// units are what a line isn't broken inside of: a word of Latin letters with what
// hangs on it, or one letter of Japanese with its punctuation.
func units(s string) (list []string) {
	var cur strings.Builder
	flush := func() {
		if cur.Len() > 0 {
			list = append(list, cur.String())
			cur.Reset()
		}
	}
	var before rune
	for _, r := range s {
		switch {
		case before == 0:
		case r == ' ': // the space stays with the word before it
		case strings.ContainsRune(notFirst, r), strings.ContainsRune(notLast, before):
		case before != ' ' && !wide(before) && !wide(r):
		default:
			flush()
		}
		cur.WriteRune(r)
		before = r
	}
	flush()
	return list
}

// wide tells whether a letter is of those between which a line may be broken.
func wide(r rune) bool {
	return r >= 0x2e80 || strings.ContainsRune("●■", r)
}

// wrap breaks a text into lines. A unit that is wider than a line is broken inside.
func wrap(s string, width float64, measure func(string) float64) (lines []string) {
	cur, used := "", 0.0
	flush := func() {
		if t := strings.TrimRight(cur, " "); t != "" {
			lines = append(lines, t)
		}
		cur, used = "", 0
	}
	for _, u := range units(s) {
		w := measure(strings.TrimRight(u, " "))
		if used+w > width && cur != "" {
			flush()
		}
		for w > width && len([]rune(u)) > 1 {
			runes := []rune(u)
			n := len(runes) - 1
			for n > 1 && measure(string(runes[:n])) > width {
				n--
			}
			lines = append(lines, string(runes[:n]))
			u = string(runes[n:])
			w = measure(strings.TrimRight(u, " "))
		}
		cur += u
		used += measure(u)
	}
	flush()
	return lines
}
