package flow_test

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/corpus"
	"sakimori/observe/flow"
)

// key is by what pmacct adds up, as far as all its tests have it.
type key struct {
	Src, Dst         netip.Addr
	SrcPort, DstPort int
	Proto            uint8
	In, Out          uint32
	TOS              uint8
}

type sums struct{ Packets, Bytes uint64 }

var numbers = map[string]uint8{"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "ospf": 89, "vrrp": 112, "esp": 50, "gre": 47, "igmp": 2, "pim": 103}

// expected is pmacct's own expectation.
func expected(t *testing.T, path string) map[key]sums {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := map[key]sums{}
	for line := range strings.Lines(string(b)) {
		var r struct {
			Src     string `json:"ip_src"`
			Dst     string `json:"ip_dst"`
			SrcPort int    `json:"port_src"`
			DstPort int    `json:"port_dst"`
			Proto   string `json:"ip_proto"`
			In      uint32 `json:"iface_in"`
			Out     uint32 `json:"iface_out"`
			TOS     uint8  `json:"tos"`
			Packets uint64 `json:"packets"`
			Bytes   uint64 `json:"bytes"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: %v: %s", path, err, line)
		}
		if r.Packets == 0 && r.Bytes == 0 {
			continue // events
		}
		p, is := numbers[r.Proto]
		if n, err := strconv.ParseUint(r.Proto, 10, 8); err == nil {
			p, is = uint8(n), true
		}
		if !is {
			t.Fatalf("%s: which protocol is %q?", path, r.Proto)
		}
		k := key{netip.MustParseAddr(r.Src), netip.MustParseAddr(r.Dst), r.SrcPort, r.DstPort, p, r.In, r.Out, r.TOS}
		s := all[k]
		all[k] = sums{s.Packets + r.Packets, s.Bytes + r.Bytes}
	}
	return all
}

// TestEqualToPmacct: each flow of its captures is what it expects of them.
func TestEqualToPmacct(t *testing.T) {
	t.Parallel()
	folders, err := filepath.Glob(filepath.Join(corpus.Folder(t, "flow", "pmacct"), "*"))
	if err != nil || len(folders) < 6 {
		t.Fatal(len(folders), err)
	}
	for _, dir := range folders {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			captures, err := filepath.Glob(filepath.Join(dir, "*.pcap"))
			if err != nil {
				t.Fatal(err)
			}
			_, flows, n := collect(t, flow.Config{}, captures...)
			if n.Malformed != 0 {
				t.Errorf("%d of %d malformed: %v", n.Malformed, n.Datagrams, n.Err)
			}
			got := map[key]sums{}
			for i := range flows {
				f := &flows[i]
				k := key{f.Src.Netip(), f.Dst.Netip(), int(f.SrcPort), int(f.DstPort), f.Proto, f.In, f.Out, f.TOS}
				if f.Proto == 1 || f.Proto == 58 {
					k.DstPort = 0
				}
				s := got[k]
				got[k] = sums{s.Packets + f.Packets, s.Bytes + f.Bytes}
			}
			if d := cmp.Diff(expected(t, filepath.Join(dir, "output-flow-00.json")), got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Errorf("- pmacct, + ours:\n%s", d)
			}
		})
	}
}
