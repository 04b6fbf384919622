package api

import (
	"bytes"
	"encoding/binary"
	"net/http"
	"net/netip"
	"strings"
)

// masker hides addresses in whatever the API writes. It works on the bytes that
// leave, not on the fields of the answers, so that an address inside a title, a
// file name or an error is hidden too. It finds an address in any textual form:
// dotted, with dashes or underscores as in host names, reversed below
// in-addr.arpa, IPv6 in any spelling, and IPv4 embedded in IPv6.
type masker struct {
	hide func(netip.Addr) bool
}

func everybody(netip.Addr) bool { return true }
func nobody(netip.Addr) bool    { return false }

// Addr is the address as it may be shown: 203.0.113.x, 2001:db8:1::x.
func (m masker) Addr(a netip.Addr) string {
	if !m.hidden(a) {
		return a.String()
	}
	return maskedForm(a)
}

// String is s with the addresses to hide masked.
func (m masker) String(s string) string { return string(m.Append(nil, []byte(s))) }

func maskedForm(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		b := a.As4()
		return strings.TrimSuffix(netip.AddrFrom4([4]byte{b[0], b[1], b[2], 0}).String(), "0") + "x"
	}
	p, err := a.Prefix(48)
	if err != nil { // only for the zero address
		return "x"
	}
	return strings.TrimSuffix(p.Addr().String(), "::") + "::x"
}

// hidden looks behind the forms in which IPv6 carries an IPv4 address.
func (m masker) hidden(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if m.hide(a) {
		return true
	}
	if !a.Is6() {
		return false
	}
	b := a.As16()
	var v4 uint32
	switch hi := binary.BigEndian.Uint64(b[:8]); {
	case hi>>48 == 0x2002: // 6to4, RFC 3056
		v4 = uint32(hi >> 16) //nolint:gosec // the middle 32 bits
	case hi>>32 == 0x20010000: // Teredo, RFC 4380: the client's address inverted
		v4 = ^binary.BigEndian.Uint32(b[12:])
	case hi>>32 == 0x0064ff9b, hi == 0: // NAT64 (RFC 6052, RFC 8215) and IPv4-compatible
		v4 = binary.BigEndian.Uint32(b[12:])
	default:
		return false
	}
	return m.hide(netip.AddrFrom4([4]byte{byte(v4 >> 24), byte(v4 >> 16), byte(v4 >> 8), byte(v4)})) //nolint:gosec // byte by byte
}

// Append writes src to dst, masked, and returns dst.
func (m masker) Append(dst, src []byte) []byte { return m.append4(dst, m.all6(src)) }

// append4 writes src to dst with its dotted addresses masked.
func (m masker) append4(dst, src []byte) []byte {
	plain := 0 // src[plain:i] is harmless and not yet copied
	for i := 0; i < len(src); {
		end, text := m.v4(src, i)
		if end == 0 {
			i++
			continue
		}
		dst = append(append(dst, src[plain:i]...), text...)
		i, plain = end, end
	}
	return append(dst, src[plain:]...)
}

// all6 gives src with its IPv6 addresses masked: src itself when it holds none.
func (m masker) all6(src []byte) []byte {
	var dst []byte
	plain, run := 0, 0 // run: end of the run of IPv6 characters around i
	for i := 0; i < len(src); {
		if !isHex(src[i]) && src[i] != ':' {
			i++
			continue
		}
		if i >= run {
			for run = i; run < len(src) && (isHex(src[run]) || src[run] == ':' || src[run] == '.'); {
				run++
			}
			if !maybe6(src[i:run]) {
				i = run
				continue
			}
		}
		end, text := m.v6(src, i, run)
		if end == 0 {
			i++
			continue
		}
		if end < len(src) && src[end] == 'x' { // masked before
			end++
		}
		dst = append(append(dst, src[plain:i]...), text...)
		i, plain = end, end
	}
	if plain == 0 {
		return src
	}
	return append(dst, src[plain:]...)
}

// v4 reads four numbers from src[i:]. It gives the end of the address and the
// mask for it, or 0 when there is nothing to hide.
func (m masker) v4(src []byte, i int) (end int, mask string) {
	if !isDigit(src[i]) { // digits before it are no boundary: a JSON escape may end in them
		return 0, ""
	}
	var octets [4]byte
	var at [4]int // where each number starts
	var sep byte
	p := i
	for k := range octets {
		if k > 0 {
			if p >= len(src) || (k == 1 && src[p] != '.' && src[p] != '-' && src[p] != '_') || (k > 1 && src[p] != sep) {
				return 0, ""
			}
			sep = src[p]
			p++
		}
		at[k] = p
		n := 0
		for p < len(src) && isDigit(src[p]) && p < at[k]+3 {
			n = n*10 + int(src[p]-'0')
			p++
		}
		if p == at[k] || n > 255 {
			return 0, ""
		}
		octets[k] = byte(n)
	}
	if p < len(src) && isDigit(src[p]) {
		return 0, ""
	}
	if a := netip.AddrFrom4(octets); m.hide(a) && !network(a, src[p:]) {
		return p, string(src[i:at[3]]) + "x"
	}
	const arpa = ".in-addr.arpa"
	back := netip.AddrFrom4([4]byte{octets[3], octets[2], octets[1], octets[0]})
	if len(src)-p >= len(arpa) && bytes.EqualFold(src[p:p+len(arpa)], []byte(arpa)) && m.hide(back) {
		return p, "x" + string(src[at[1]-1:p])
	}
	return 0, ""
}

// network tells whether what follows the address makes it the prefix of a network, which
// BGP carries and which is nobody's line: 256 addresses, or 65,536 /64s, or more.
func network(a netip.Addr, rest []byte) bool {
	if len(rest) == 0 || rest[0] != '/' {
		return false
	}
	bits, n := 0, 1
	for ; n < len(rest) && n < 4 && isDigit(rest[n]); n++ {
		bits = bits*10 + int(rest[n]-'0')
	}
	most := 24
	if a.Is6() {
		most = 48
	}
	if n == 1 || n < len(rest) && isDigit(rest[n]) || bits > most {
		return false
	}
	p, err := a.Prefix(bits)
	return err == nil && p.Addr() == a
}

// v6 finds the longest address to hide that starts at src[i] and ends before end6.
func (m masker) v6(src []byte, i, end6 int) (end int, mask string) {
	run := src[:end6]
	const longest = 45 // eight groups, the last two as dotted IPv4
	for e := min(len(run), i+longest); e >= i+2; e-- {
		if e < len(run) && isHex(run[e]) {
			continue // inside a group
		}
		if bytes.Count(run[i:e], []byte{':'}) < 2 {
			return 0, ""
		}
		a, err := netip.ParseAddr(string(run[i:e]))
		if err == nil && network(a, src[e:]) {
			return 0, ""
		}
		if err == nil && m.hidden(a) {
			return e, maskedForm(a)
		}
	}
	return 0, ""
}

// maybe6 tells quickly whether an IPv6 address can be inside a run: one has
// "::", or seven colons, or six and a dotted tail.
func maybe6(run []byte) bool {
	colons := bytes.Count(run, []byte{':'})
	return colons >= 6 || colons >= 2 && bytes.Contains(run, []byte("::"))
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// maskWriter masks a response. It holds back an unfinished line, as an address
// may be cut in two between writes; Close writes what is left.
type maskWriter struct {
	http.ResponseWriter
	m         masker
	begun     bool // something was sent
	held, out []byte
}

const heldBytes = 1 << 20 // a line longer than this is cut where no address can be

func (w *maskWriter) WriteHeader(status int) {
	if w.begun {
		return // a handler that fails after it began can't take it back
	}
	w.begun = true
	w.Header().Del("Content-Length")
	w.ResponseWriter.WriteHeader(status)
}

func (w *maskWriter) Write(p []byte) (int, error) {
	w.Header().Del("Content-Length")
	w.held = append(w.held, p...)
	cut := bytes.LastIndexByte(w.held, '\n') + 1
	if cut == 0 && len(w.held) > heldBytes {
		cut = bytes.LastIndexAny(w.held, "\",; {}[]") + 1
	}
	if err := w.send(cut); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *maskWriter) send(n int) error {
	if n == 0 {
		return nil
	}
	w.out = w.m.Append(w.out[:0], w.held[:n])
	w.held = append(w.held[:0], w.held[n:]...)
	w.begun = true
	_, err := w.ResponseWriter.Write(w.out) //nolint:gosec // JSON, CSV or events, never a page
	return err
}

// FlushError sends the finished lines on their way.
func (w *maskWriter) FlushError() error {
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Unwrap lets http.ResponseController reach the connection.
func (w *maskWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Close writes what was held back.
func (w *maskWriter) Close() error { return w.send(len(w.held)) }
