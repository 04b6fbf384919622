package rpz

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"sakimori/base/wire/dns"
)

// ErrRule is in the error of a rule that can't be published.
var ErrRule = errors.New("a rule that can't be published")

const star = "\x01*"

// clientIP is the label below which rules about clients stand (draft §4.1.1).
var clientIP = []byte("\x0drpz-client-ip")

// owner is a rule's name in its zone as bytes of the wire, without the zone's own labels
// or an end.
func owner(zone Zone, r *Rule) ([]byte, error) {
	switch {
	case r.Name != "" && r.Client.IsValid():
		return nil, fmt.Errorf("%w: %.80q and %s: either a name or a client triggers it", ErrRule, r.Name, r.Client)
	case r.Client.IsValid():
		return clientOwner(r.Client)
	}
	n, err := dns.ParseName(r.Name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRule, err)
	}
	rel := n[:len(n)-1]
	if len(rel) == 0 || string(rel) == star {
		return nil, fmt.Errorf("%w: %q is every name there is: pause the zones of blocks if that is meant", ErrRule, r.Name)
	}
	for at, rest := 0, []byte(rel); len(rest) > 0; at++ {
		label := rest[1 : 1+int(rest[0])]
		rest = rest[1+len(label):]
		switch {
		case len(rest) == 0 && bytes.HasPrefix(label, []byte("rpz-")):
			return nil, fmt.Errorf("%w: %.80q would be read as a trigger of another kind", ErrRule, r.Name)
		case at > 0 && string(label) == "*":
			return nil, fmt.Errorf("%w: %.80q has a * inside: only the first label may be one", ErrRule, r.Name)
		}
	}
	if most := dns.MaxName - len(zone.Name()); len(rel) > most {
		return nil, fmt.Errorf("%w: %.80q… has %d bytes: with the zone's name behind it only %d have room", ErrRule, r.Name, len(rel), most)
	}
	return rel, nil
}

// Name is the zone's name on the wire.
func (z Zone) Name() dns.Name {
	label := strings.TrimSuffix(string(z), ".")
	return append(append(dns.Name{byte(len(label))}, label...), 0) // #nosec G115 -- one of four, and short
}

// clientOwner writes a prefix as resolvers want it: the length, then the address from its
// end; of IPv6 the words in hexadecimal, the longest run of zeros as zz.
func clientOwner(p netip.Prefix) ([]byte, error) {
	switch {
	case p != p.Masked():
		return nil, fmt.Errorf("%w: client %s: write %s", ErrRule, p, p.Masked())
	case p.Addr().Is4In6() || p.Addr().Zone() != "":
		return nil, fmt.Errorf("%w: client %s: write IPv4 as IPv4, and no interface", ErrRule, p)
	case p.Bits() == 0:
		return nil, fmt.Errorf("%w: client %s is everybody: pause the zones of blocks if that is meant", ErrRule, p)
	}
	words := []string{strconv.Itoa(p.Bits())}
	if a := p.Addr(); a.Is4() {
		b := a.As4()
		for i := 3; i >= 0; i-- {
			words = append(words, strconv.Itoa(int(b[i])))
		}
	} else {
		var w [8]uint64 // from the end
		b := a.As16()
		for i := range w {
			w[i] = uint64(b[14-2*i])<<8 | uint64(b[15-2*i])
		}
		from, n := zeros(&w)
		for i := 0; i < len(w); i++ {
			if n > 1 && i == from {
				words = append(words, "zz")
				i += n - 1
				continue
			}
			words = append(words, strconv.FormatUint(w[i], 16))
		}
	}
	var rel []byte
	for _, l := range words {
		rel = append(append(rel, byte(len(l))), l...) // #nosec G115 -- a number
	}
	return append(rel, clientIP...), nil
}

// zeros is the first longest run of zeros.
func zeros(w *[8]uint64) (from, n int) {
	for i := 0; i < len(w); i++ {
		j := i
		for j < len(w) && w[j] == 0 {
			j++
		}
		if j-i > n {
			from, n = i, j-i
		}
		i = j
	}
	return from, n
}

// trigger reads an owner that owner wrote.
func trigger(rel []byte) (name string, client netip.Prefix) {
	name = dns.Name(append(bytes.Clone(rel), 0)).String()
	if !bytes.HasSuffix(rel, clientIP) {
		return name, client
	}
	var w []string
	for rest := rel; len(rest) > 0; rest = rest[1+int(rest[0]):] {
		w = append(w, string(rest[1:1+int(rest[0])]))
	}
	if w = w[:len(w)-1]; len(w) < 2 {
		return name, client
	}
	bits, _ := strconv.Atoi(w[0])
	var text strings.Builder
	six := len(w) != 5 || strings.Contains(strings.Join(w, "."), "zz")
	for i := len(w) - 1; i > 0; i-- {
		switch {
		case !six:
			text.WriteString(w[i])
			if i > 1 {
				text.WriteByte('.')
			}
		case w[i] == "zz":
			if i == len(w)-1 {
				text.WriteByte(':')
			}
			text.WriteByte(':')
		default:
			text.WriteString(w[i])
			if i > 1 {
				text.WriteByte(':')
			}
		}
	}
	a, err := netip.ParseAddr(text.String())
	if err != nil {
		return name, client
	}
	return "", netip.PrefixFrom(a, bits)
}
