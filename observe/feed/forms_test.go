package feed_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sakimori/observe/feed"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

var compareAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// The order of the columns isn't part of a report's identity; all that is said is.
func TestID(t *testing.T) {
	columns := []string{"timestamp", "src_ip", "src_port", "protocol", "infection", "tag", "dst_port", "severity", "device_model"}
	values := []string{"2026-11-25 00:00:00", "198.0.2.7", "1024", "tcp", "mirai", "x", "80", "high", "M"}
	others := []string{"2026-11-25 00:00:01", "198.0.2.8", "1025", "udp", "gafgyt", "y", "81", "low", "N"}
	id := func(columns, values []string, name string) [16]byte {
		r, _ := all(t, strings.Join(columns, ",")+"\n"+strings.Join(values, ",")+"\n", feed.Options{Format: feed.Shadowserver, Name: name})
		if len(r) != 1 {
			t.Fatal(columns, values)
		}
		return feed.ID(&r[0])
	}
	first := id(columns, values, "event4_sinkhole.csv")
	rapid.Check(t, func(t *rapid.T) {
		order := rapid.Permutation([]int{0, 1, 2, 3, 4, 5, 6, 7, 8}).Draw(t, "order")
		change := rapid.IntRange(-1, len(columns)-1).Draw(t, "change")
		var c, v []string
		for _, i := range order {
			c = append(c, columns[i])
			if i == change {
				v = append(v, others[i])
			} else {
				v = append(v, values[i])
			}
		}
		if got := id(c, v, "2026-11-27-event4_sinkhole-again.csv"); (got == first) != (change < 0) {
			t.Fatalf("columns %v, changed %d: the same is %v", c, change, got == first)
		}
	})
	if id(columns, values, "event4_microsoft_sinkhole.csv") == first {
		t.Error("another type is another report")
	}
}

func TestMappingCheck(t *testing.T) {
	for _, tt := range []struct {
		m    feed.Mapping
		part string
	}{
		{feed.Mapping{Address: "ip"}, "address and that of the time"},
		{feed.Mapping{Address: "ip", Time: "t", Claim: "guilty"}, `claim "guilty" isn't known`},
		{feed.Mapping{Address: "ip", Time: "t", Comma: "||"}, "delimiter"},
		{feed.Mapping{Address: "ip", Time: "t", ClaimIn: "what"}, "claims go together"},
		{feed.Mapping{Address: "ip", Time: "t", MediatedIn: "what"}, "mediated_values go together"},
		{feed.Mapping{Address: "ip", Time: "t", Type: "a", TypeIn: "b"}, "not both"},
	} {
		if err := tt.m.Check(); err == nil || !strings.Contains(err.Error(), tt.part) {
			t.Errorf("%+v: %v", tt.m, err)
		}
	}
	for _, o := range []feed.Options{{Format: feed.CSV, Source: "x"}, {Format: "morse", Source: "x"}, {Format: feed.XARF}} {
		if _, err := feed.Read(strings.NewReader(""), o, nil); err == nil {
			t.Error(fmt.Sprint(o) + " passed")
		}
	}
}
