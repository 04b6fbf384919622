package blocklist

import (
	"bufio"
	"fmt"
	"regexp"
	"strings"
)

// A proxy sees the host of a request, and the path where nothing is encrypted. So names
// are "traffic" here, not the question to a resolver, and URLs of https aren't carried.
func squidCarries(x *item) bool {
	switch x.Kind {
	case Name, Host:
		return x.reach&traffic != 0
	case Address, Prefix:
		return true
	case URL:
		return x.url.Scheme == "http"
	case Endpoint: // an acl has no pairs
	}
	return false
}

// foldSquid leaves out names below a listed one, which Squid complains of, and addresses
// inside prefixes.
func foldSquid(list []item) []item {
	listed := map[string]bool{}
	for i := range list {
		if list[i].Kind == Name {
			listed[list[i].Value] = true
		}
	}
	under := func(name string) bool {
		for {
			_, parent, more := strings.Cut(name, ".")
			if !more {
				return false
			}
			if listed[parent] {
				return true
			}
			name = parent
		}
	}
	kept := list[:0]
	for i := range list {
		x := &list[i]
		if (x.Kind == Name || x.Kind == Host) && under(x.Value) || x.Kind == Host && listed[x.Value] {
			continue
		}
		kept = append(kept, *x)
	}
	var names, rest []item
	for _, x := range kept {
		if addresses(&x) {
			rest = append(rest, x)
		} else {
			names = append(names, x)
		}
	}
	// The kinds keep their order: addresses stand between names and URLs.
	at := 0
	for at < len(names) && names[at].Kind != URL {
		at++
	}
	out := append([]item{}, names[:at]...)
	out = append(out, foldPrefixes(rest)...)
	return append(out, names[at:]...)
}

// writeSquid writes three acls; what is denied by them, the operator says. An acl that
// holds nothing would be unknown to a rule, so each holds something that nobody asks for.
func writeSquid(w *bufio.Writer, x *Export, list []item) error {
	comment(w, x)
	_, _ = w.WriteString("acl sakimori_cnc_names dstdomain nothing.sakimori.invalid\nacl sakimori_cnc_addresses dst 0.0.0.0/32\nacl sakimori_cnc_urls url_regex ^http://nothing\\.sakimori\\.invalid/$\n")
	for i := range list {
		it := &list[i]
		switch it.Kind {
		case Name:
			fmt.Fprintf(w, "acl sakimori_cnc_names dstdomain .%s\n", it.Value)
		case Host:
			fmt.Fprintf(w, "acl sakimori_cnc_names dstdomain %s\n", it.Value)
		case URL:
			fmt.Fprintf(w, "acl sakimori_cnc_urls url_regex ^%s$\n", posix(it.Value))
		default:
			fmt.Fprintf(w, "acl sakimori_cnc_addresses dst %s\n", prefixOf(it.prefix))
		}
	}
	return nil
}

// posix writes a URL as an extended regular expression that fits itself alone. What
// QuoteMeta escapes is what POSIX does, besides letters; a URL of the list holds neither
// blanks nor quotes.
func posix(url string) string { return regexp.QuoteMeta(url) }
