package rpz

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"sakimori/base/wire/dns"
)

// A model of a zone: rules by their triggers.
type model map[string]Rule

func triggerOf(r Rule) string { return r.Name + r.Client.String() }

func (m model) with(add, remove []Rule) model {
	n := maps.Clone(m)
	for _, r := range remove {
		delete(n, triggerOf(r))
	}
	for _, r := range add {
		n[triggerOf(r)] = r
	}
	return n
}

func modelOf(s *Set) model {
	m := model{}
	for r := range s.All() {
		m[triggerOf(r)] = r
	}
	return m
}

func same(a, b model) bool {
	return maps.EqualFunc(a, b, func(x, y Rule) bool {
		return x.Name == y.Name && x.Client == y.Client && x.Action == y.Action && x.Ref == y.Ref && slices.Equal(x.Data, y.Data)
	})
}

func drawRule(t *rapid.T) Rule {
	r := Rule{Ref: rapid.SampledFrom([]string{"", "a", "entry-1", "entry-2"}).Draw(t, "ref")}
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		bits := rapid.IntRange(1, 32).Draw(t, "bits")
		r.Client, _ = netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4"))).Prefix(bits)
	case 1:
		b := [16]byte{0x20, 1}
		for i := range rapid.SliceOfN(rapid.IntRange(2, 15), 0, 6).Draw(t, "set") {
			b[2+i] = byte(i)
		}
		r.Client, _ = netip.AddrFrom16(b).Prefix(rapid.IntRange(1, 128).Draw(t, "bits"))
	default:
		r.Name = rapid.SampledFrom([]string{"", "*."}).Draw(t, "wild") + fmt.Sprintf("%s.example", rapid.StringMatching(`[a-c0-9]{1,3}(\.[a-b])?`).Draw(t, "name"))
	}
	r.Action = Action(rapid.IntRange(0, 5).Draw(t, "action"))
	if r.Action == Local {
		r.Data = slices.Clone(rapid.SampledFrom([][]string{{"A 192.0.2.1"}, {"A 192.0.2.1", "AAAA 2001:db8::1", `TXT "a \" \\ b" "c"`}, {"CNAME walled.example."}}).Draw(t, "data"))
	}
	return r
}

// Sets made by changes are those that a map would be; deltas lead from one to the other;
// what is written is read again.
func TestSetsAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set, want := &Set{}, model{}
		sets := []*Set{set}
		var steps []*Delta
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			add := rapid.SliceOfN(rapid.Custom(drawRule), 0, 12).Draw(t, "add")
			remove := rapid.SliceOfN(rapid.Custom(drawRule), 0, 6).Draw(t, "remove")
			for r := range set.All() {
				if rapid.IntRange(0, 3).Draw(t, "also") == 0 {
					remove = append(remove, r)
				}
			}
			come, err := coming(C2, slices.Values(add))
			if err != nil {
				t.Fatal(err)
			}
			gone, err := going(C2, remove)
			if err != nil {
				t.Fatal(err)
			}
			next := set.with(joined(come, gone))
			want = want.with(add, remove)
			if got := modelOf(next); !same(got, want) || next.Rules() != len(want) {
				t.Fatalf("%v\nnot\n%v", got, want)
			}
			whole, err := NewSet(C2, maps.Values(want))
			if err != nil || whole.Digest() != next.Digest() {
				t.Fatalf("made at once it is another: %v", err)
			}
			d, removed, added := difference(set, next, 1<<30)
			if removed != d.Removed.Rules() || added != d.Added.Rules() {
				t.Fatal("counts")
			}
			steps, sets, set = append(steps, d), append(sets, next), next
			var b bytes.Buffer
			if err := next.write(&b); err != nil {
				t.Fatal(err)
			}
			again, err := readSet(bufio.NewReader(&b))
			if err != nil || !same(modelOf(again), want) || again.Digest() != next.Digest() {
				t.Fatalf("read again: %v", err)
			}
		}
		for i := range steps {
			got, err := sets[i].apply(condense(steps[i:], false))
			if err != nil || !same(modelOf(got), want) {
				t.Fatalf("from step %d: %v", i, err)
			}
			sent := condense(steps[i:], true)
			if got, err = sets[i].apply(sent); err != nil || got.Digest() != set.Digest() || sent.idle() {
				t.Fatalf("what is sent from step %d: %v", i, err)
			}
		}
		for trigger, r := range want {
			var got Rule
			var found bool
			if r.Client.IsValid() {
				got, found = set.find(must(clientOwner(r.Client)))
			} else {
				n, _ := dns.ParseName(strings.Replace(r.Name, "*", "surely-none", 1))
				got, found = set.Match(n)
			}
			if !found || triggerOf(got) != trigger {
				t.Fatalf("%s was found as %v", trigger, got)
			}
		}
	})
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// Chunks stay of a size that a message holds, however a zone grows and shrinks; and a
// small change touches few of them.
func TestChunksStayInBounds(t *testing.T) {
	many := func(from, to int, ref string) []Rule {
		var l []Rule
		for i := from; i < to; i++ {
			l = append(l, Rule{Name: fmt.Sprintf("host-%07d.example.com", i*7919%1000003), Ref: ref})
		}
		return l
	}
	set, err := NewSet(C2, slices.Values(many(0, 20000, "a")))
	if err != nil {
		t.Fatal(err)
	}
	check := func(rules int) {
		t.Helper()
		n := 0
		for i, c := range set.Chunks() {
			if len(c.Wire) > chunkMost || len(c.Wire) < chunkLow && i < len(set.chunks)-1 {
				t.Errorf("chunk %d of %d has %d bytes", i, len(set.chunks), len(c.Wire))
			}
			n += c.rules
			if c.Records != c.rules {
				t.Errorf("%d records of %d rules", c.Records, c.rules)
			}
		}
		if n != rules || set.Rules() != rules {
			t.Errorf("%d rules, said to be %d, not %d", n, set.Rules(), rules)
		}
	}
	check(20000)
	for i := range 200 {
		before := set
		come, _ := coming(C2, slices.Values(many(20000+10*i, 20010+10*i, "b")))
		set = set.with(come)
		touched := 0
		for _, c := range set.chunks {
			if !slices.Contains(before.chunks, c) {
				touched++
			}
		}
		if touched > 22 {
			t.Fatalf("ten rules touched %d chunks of %d", touched, len(set.chunks))
		}
	}
	check(22000)
	gone, _ := going(C2, many(0, 21950, ""))
	set = set.with(gone)
	check(50)
	gone, _ = going(C2, many(0, 22000, ""))
	set = set.with(gone)
	check(0)
}

func TestLongestPrefixAndNearestName(t *testing.T) {
	set, err := NewSet(OptOut, slices.Values([]Rule{
		{Client: netip.MustParsePrefix("192.0.2.0/24"), Action: Passthru, Ref: "net"},
		{Client: netip.MustParsePrefix("192.0.2.9/32"), Action: Passthru, Ref: "one"},
		{Client: netip.MustParsePrefix("2001:db8::/56"), Action: Passthru, Ref: "six"},
		{Name: "*.example.com", Ref: "wide"},
		{Name: "*.a.example.com", Ref: "near"},
		{Name: "x.a.example.com", Ref: "exact"},
	}))
	if err != nil {
		t.Fatal(err)
	}
	for a, ref := range map[string]string{"192.0.2.9": "one", "192.0.2.10": "net", "192.0.3.1": "", "2001:db8:0:aa::1": "six", "2001:db8:1::1": "", "::ffff:192.0.2.9": "one"} {
		if r, _ := set.MatchClient(netip.MustParseAddr(a)); r.Ref != ref {
			t.Errorf("%s: %q", a, r.Ref)
		}
	}
	for n, ref := range map[string]string{"x.a.example.com": "exact", "y.a.example.com": "near", "z.x.a.example.com": "near", "b.example.com": "wide", "a.example.com": "wide", "example.com": "", "com": ""} {
		name, _ := dns.ParseName(n)
		if r, _ := set.Match(name); r.Ref != ref {
			t.Errorf("%s: %q", n, r.Ref)
		}
	}
}

func TestOwnersAsTheDraftWritesThem(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1/32": "32.1.2.0.192.rpz-client-ip", "10.0.0.0/8": "8.0.0.0.10.rpz-client-ip", "2001:db8::/32": "32.zz.db8.2001.rpz-client-ip",
		"2001:db8:0:1::57/128": "128.57.zz.1.0.db8.2001.rpz-client-ip", "::1/128": "128.1.zz.rpz-client-ip", "1:2:3:4:5:6:7:0/128": "128.0.7.6.5.4.3.2.1.rpz-client-ip",
	} {
		rel, err := owner(OptOut, &Rule{Client: netip.MustParsePrefix(in)})
		if got := dns.Name(append(rel, 0)).String(); err != nil || got != want {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
}

func TestRulesThatArentPublished(t *testing.T) {
	long := strings.Repeat("abcdefghi.", 26)
	for name, r := range map[string]Rule{
		"nothing": {}, "everything": {Name: "*"}, "the root": {Name: "."}, "too long": {Name: long[:251]}, "not ASCII": {Name: "例え.jp"}, "a star inside": {Name: "a.*.example"},
		"another trigger": {Name: "32.1.2.0.192.rpz-ip"}, "both": {Name: "a.example", Client: netip.MustParsePrefix("192.0.2.0/24")},
		"everybody": {Client: netip.MustParsePrefix("0.0.0.0/0")}, "host bits": {Client: netip.MustParsePrefix("192.0.2.1/24")}, "mapped": {Client: netip.MustParsePrefix("::ffff:192.0.2.0/120")},
		"an action nobody knows": {Name: "a.example", Action: 77}, "data of no use": {Name: "a.example", Data: []string{"A 192.0.2.1"}}, "local without data": {Name: "a.example", Action: Local},
		"another family": {Name: "a.example", Action: Local, Data: []string{"A ::1"}}, "DNAME": {Name: "a.example", Action: Local, Data: []string{"DNAME b.example."}},
		"an action in disguise": {Name: "a.example", Action: Local, Data: []string{"CNAME rpz-drop."}}, "a root in disguise": {Name: "a.example", Action: Local, Data: []string{"CNAME ."}},
		"CNAME and more": {Name: "a.example", Action: Local, Data: []string{"CNAME b.example.", "A 192.0.2.1"}}, "no quotes": {Name: "a.example", Action: Local, Data: []string{"TXT a"}},
		"open quotes": {Name: "a.example", Action: Local, Data: []string{`TXT "a`}}, "a long ref": {Name: "a.example", Ref: strings.Repeat("r", 300)},
	} {
		if _, err := NewSet(C2, slices.Values([]Rule{{Name: "good.example"}, r})); !errors.Is(err, ErrRule) {
			t.Errorf("%s: %v", name, err)
		}
	}
	set, err := NewSet(C2, slices.Values([]Rule{{Name: "UPPER.Example."}, {Name: long[:249]}}))
	if err != nil || set.Rules() != 2 {
		t.Fatal(err)
	}
	for r := range set.All() {
		if r.Name != strings.ToLower(r.Name) {
			t.Errorf("%s is in upper case", r.Name)
		}
	}
}

// FuzzSet reads anything that may lie on a disk without harm.
func FuzzSet(f *testing.F) {
	set, _ := NewSet(C2, slices.Values([]Rule{{Name: "a.example", Ref: "1"}, {Name: "*.a.example", Ref: "1"}, {Client: netip.MustParsePrefix("192.0.2.0/24"), Action: Local, Data: []string{"A 192.0.2.1", "TXT \"x\""}}}))
	var b bytes.Buffer
	_ = set.write(&b)
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		set, err := readSet(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return
		}
		n := 0
		for range set.All() {
			n++
		}
		if n != set.Rules() {
			t.Fatalf("%d of %d", n, set.Rules())
		}
		set.Match(dns.Name("\x01a\x07example\x00"))
		set.MatchClient(netip.MustParseAddr("192.0.2.1"))
	})
}
