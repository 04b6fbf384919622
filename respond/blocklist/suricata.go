package blocklist

import (
	"bufio"
	"fmt"
	"hash/fnv"
	"strings"
)

// Rules' ids: each is made of what its rule matches, so that it stays the same in every
// file; where two would meet, the later one takes the next that is free.
const (
	sidFirst = 3_000_000_000 // far from the public sets
	sidCount = 1_200_000_000
)

// suricataCarries: paths of encrypted requests can't be seen.
func suricataCarries(x *item) bool { return x.Kind != URL || x.url.Scheme == "http" }

// writeSuricata writes rules that drop, which without an inline engine alert.
func writeSuricata(w *bufio.Writer, x *Export, list []item) error {
	comment(w, x)
	used := map[uint32]bool{}
	sid := func(what string) uint32 {
		h := fnv.New32a()
		_, _ = h.Write([]byte(what)) // never fails
		id := sidFirst + h.Sum32()%sidCount
		for used[id] {
			id = sidFirst + (id-sidFirst+1)%sidCount
		}
		used[id] = true
		return id
	}
	for i := range list {
		it := &list[i]
		family := it.Family
		if family == "" {
			family = "unknown"
		}
		rule := func(aspect, proto, to, options string) {
			fmt.Fprintf(w, `drop %s $HOME_NET any -> %s (msg:"sakimori C&C %s"; %sclasstype:command-and-control; metadata:entry %s; sid:%d; rev:1;)`+"\n",
				proto, to, family, options, it.ID, sid(string(it.Kind)+" "+it.Value+" "+aspect))
		}
		switch it.Kind {
		case Name, Host:
			match := named(it)
			lower := strings.ReplaceAll(match, "nocase; ", "") // http.host is in lower case already, and takes none
			if it.reach&resolution != 0 {
				rule("dns", "dns", "any any", "dns.query; "+match)
			}
			if it.reach&traffic != 0 {
				rule("tls", "tls", "any any", "tls.sni; "+match)
				rule("http", "http", "any any", "http.host; "+lower)
			}
		case Address, Prefix:
			rule("ip", "ip", prefixOf(it.prefix)+" any", "")
		case Endpoint:
			for _, proto := range []string{"tcp", "udp"} {
				rule(proto, proto, fmt.Sprintf("%s %d", it.prefix.Addr(), it.port), "")
			}
		case URL:
			host := it.url.Hostname()
			path := it.url.RequestURI()
			rule("url", "http", "any any", fmt.Sprintf(`http.host; content:"%s"; bsize:%d; http.uri.raw; content:"%s"; bsize:%d; `, escape(host), len(host), escape(path), len(path)))
		}
	}
	return nil
}

// named matches a name, and what is below it unless it is a host's.
func named(x *item) string {
	if x.Kind == Host {
		return fmt.Sprintf(`content:"%s"; nocase; bsize:%d; `, escape(x.Value), len(x.Value))
	}
	return fmt.Sprintf(`dotprefix; content:".%s"; nocase; endswith; `, escape(x.Value))
}

// escape writes a content: what means something in a rule goes in hexadecimal.
func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || strings.IndexByte(`";:\|,()`, c) >= 0 {
			fmt.Fprintf(&b, "|%02X|", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
