package stream

// A reader of JSON that copies nothing: it finds values in place. Strings are taken as they
// stand, as what RIS Live sends holds no escapes where it matters; one that does is no
// address and no number, and so is refused.

// maxDepth is how deep values may stand in one another.
const maxDepth = 16

// object calls f with each name and value of an object, and tells whether b is one.
func object(b []byte, f func(name, value []byte)) bool {
	i := space(b, 0)
	if i >= len(b) || b[i] != '{' {
		return false
	}
	if i = space(b, i+1); i < len(b) && b[i] == '}' {
		return true
	}
	for {
		end := skip(b, i, 0)
		if end < 0 || b[i] != '"' {
			return false
		}
		name := b[i+1 : end-1]
		if i = space(b, end); i >= len(b) || b[i] != ':' {
			return false
		}
		i = space(b, i+1)
		if end = skip(b, i, 0); end < 0 {
			return false
		}
		f(name, b[i:end])
		if i = space(b, end); i >= len(b) || b[i] != ',' {
			return i < len(b) && b[i] == '}'
		}
		i = space(b, i+1)
	}
}

// list calls f with each value of a list, and tells whether b is one.
func list(b []byte, f func(value []byte)) bool {
	i := space(b, 0)
	if i >= len(b) || b[i] != '[' {
		return false
	}
	if i = space(b, i+1); i < len(b) && b[i] == ']' {
		return true
	}
	for {
		end := skip(b, i, 0)
		if end < 0 {
			return false
		}
		f(b[i:end])
		if i = space(b, end); i >= len(b) || b[i] != ',' {
			return i < len(b) && b[i] == ']'
		}
		i = space(b, i+1)
	}
}

// numbers calls f with each number of a list; group is even outside inner lists, and odd
// and a new one in each of them. An absent list has none.
func numbers(b []byte, f func(n uint32, group int)) bool {
	if len(b) == 0 || string(b) == "null" {
		return true
	}
	fine, group := true, 0
	is := list(b, func(v []byte) {
		if len(v) > 0 && v[0] == '[' {
			group += 1 - group&1 + group&1*2 // the next odd one
			fine = list(v, func(v []byte) {
				n, ok := number(v)
				fine = fine && ok
				f(n, group)
			}) && fine
			return
		}
		if group&1 == 1 {
			group++
		}
		n, ok := number(v)
		fine = fine && ok
		f(n, group)
	})
	return is && fine
}

// number reads an AS number, quoted or not.
func number(v []byte) (uint32, bool) {
	v = text(v)
	n := uint64(0)
	for _, c := range v {
		if n = n*10 + uint64(c-'0'); c < '0' || c > '9' || n > 1<<32-1 {
			return 0, false
		}
	}
	return uint32(n), len(v) > 0 // #nosec G115 -- just looked at
}

// text is what stands between quotes, or the value itself where there are none.
func text(v []byte) []byte {
	if len(v) >= 2 && v[0] == '"' {
		return v[1 : len(v)-1]
	}
	if string(v) == "null" {
		return nil
	}
	return v
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// skip gives the end of the value that begins at i; −1: there is none.
func skip(b []byte, i, depth int) int {
	if i >= len(b) || depth > maxDepth {
		return -1
	}
	switch c := b[i]; c {
	case '"':
		for i++; i < len(b); i++ {
			switch b[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
		return -1
	case '{', '[':
		closing := c + 2 // of both, in ASCII
		if i = space(b, i+1); i < len(b) && b[i] == closing {
			return i + 1
		}
		for {
			if c == '{' {
				if i = skip(b, i, depth+1); i < 0 {
					return -1
				}
				if i = space(b, i); i >= len(b) || b[i] != ':' {
					return -1
				}
				i = space(b, i+1)
			}
			if i = skip(b, i, depth+1); i < 0 {
				return -1
			}
			if i = space(b, i); i >= len(b) {
				return -1
			}
			if b[i] == closing {
				return i + 1
			}
			if b[i] != ',' {
				return -1
			}
			i = space(b, i+1)
		}
	default:
		from := i
		for i < len(b) && (b[i] >= '0' && b[i] <= '9' || b[i] >= 'a' && b[i] <= 'z' || b[i] >= 'A' && b[i] <= 'Z' || b[i] == '-' || b[i] == '+' || b[i] == '.') {
			i++
		}
		if i == from {
			return -1
		}
		return i
	}
}
