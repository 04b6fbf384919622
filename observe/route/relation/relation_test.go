package relation_test

import (
	"bytes"
	"compress/gzip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sakimori/base/corpus"
	"sakimori/observe"
	"sakimori/observe/route/relation"
)

const small = `# input clique: 10 20 30
# IXP ASes: 90
# source:topology|BGP|20161102|ripe|rrc00
10|20|0
10|100|-1
20|100|-1|bgp
100|200|0|mlp
300|100|1
300|301|3
`

func TestRead(t *testing.T) {
	t.Parallel()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write([]byte(small))
	_ = w.Close()
	for what, in := range map[string]string{"plain": small, "gzip": z.String()} {
		tab, err := relation.Read(strings.NewReader(in))
		if err != nil {
			t.Fatal(what, err)
		}
		for _, c := range []struct {
			a, b uint32
			want observe.ASRelation
		}{
			{10, 20, observe.ASPeer},
			{20, 10, observe.ASPeer},
			{10, 100, observe.ASProvider},
			{100, 10, observe.ASCustomer},
			{300, 100, observe.ASCustomer},
			{100, 300, observe.ASProvider},
			{301, 300, observe.ASSibling},
			{10, 30, observe.ASUnknown},
			{0, 10, observe.ASUnknown},
			{10, 10, observe.ASUnknown},
		} {
			if got, score := tab.Relation(c.a, c.b); got != c.want || (score == 0) != (got == observe.ASUnknown) {
				t.Errorf("%s: %d is %v (%.2f) to %d, not %v", what, c.a, got, score, c.b, c.want)
			}
		}
		_, bgp := tab.Relation(10, 20)
		if _, mlp := tab.Relation(100, 200); mlp >= bgp {
			t.Errorf("what only a route server shows is believed as much: %.2f, %.2f", mlp, bgp)
		}
		if !tab.Tier1(30) || tab.Tier1(100) || !tab.Exchange(90) || tab.Links() != 6 || !tab.Date().Equal(time.Date(2016, 11, 2, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("%s: %v %d %v", what, tab.Clique(), tab.Links(), tab.Date())
		}
		if d := tab.Degree(100); d != (relation.Degree{Providers: 2, Peers: 1, Customers: 1}) {
			t.Errorf("%+v", d)
		}
	}
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "no link", "# nothing\n": "no link", "1|2\n": "line 1", "1|2|7\n": "-1, 0, 1 or 3",
		"1|x|0\n": "no AS number", "5|5|0\n": "itself", "1|2|0\n4294967296|1|0\n": "line 2", "\x1f\x8bxx": "gzip", "1|0|0": "no AS number",
	} {
		if _, err := relation.Read(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, not %q", in, err, want)
		}
	}
}

func TestSiblings(t *testing.T) {
	t.Parallel()
	s, err := relation.ReadSiblings(strings.NewReader("# as2org\n701|702\n703 702\n4713|2914\n"))
	if err != nil || !s.Same(701, 703) || s.Same(701, 4713) || !s.Same(5, 5) || !s.Same(2914, 4713) {
		t.Error(err)
	}
	if _, err := relation.ReadSiblings(strings.NewReader("701\n")); err == nil {
		t.Error("one AS is nobody's sibling")
	}
	if (*relation.Siblings)(nil).Same(1, 2) {
		t.Error("nobody knows")
	}
}

// The files of CAIDA: the 2016 one knows 701 as a provider of 15169, which is why the leak
// of 2017 is no valley by it.
func TestCorpus(t *testing.T) {
	t.Parallel()
	dir := corpus.Folder(t, "bgp", "asrel")
	tab, err := relation.ReadFile(filepath.Join(dir, "20161101.as-rel.txt.bz2"))
	if err != nil {
		t.Fatal(err)
	}
	if r, _ := tab.Relation(701, 15169); r != observe.ASProvider || tab.Links() != 239_064 || len(tab.Clique()) != 17 || !tab.Tier1(3356) || tab.Tier1(15169) {
		t.Errorf("%v, %d links, %v", r, tab.Links(), tab.Clique())
	}
	old, err := relation.ReadFile(filepath.Join(dir, "full-internet-rel.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if r, _ := old.Relation(17074, 174); r != observe.ASCustomer || old.Links() < 100_000 || old.Date().Year() != 2011 {
		t.Errorf("%v, %d links, %v", r, old.Links(), old.Date())
	}
}

// A small Internet of three tier 1, two transit ASes each and their customers is learnt
// from the paths that three of them see.
func TestLearn(t *testing.T) {
	t.Parallel()
	paths := [][]uint32{}
	transit := map[uint32][]uint32{1: {11, 12}, 2: {21, 22}, 3: {31, 32}}
	stubs := func(m uint32) []uint32 { return []uint32{m*10 + 1, m*10 + 2, m*10 + 3} }
	for _, from := range []uint32{1, 2, 3} {
		for _, to := range []uint32{1, 2, 3} {
			for _, m := range transit[to] {
				for _, s := range stubs(m) {
					p := []uint32{transit[from][0], from, to, m, m, s}
					if from == to {
						p = []uint32{transit[from][0], from, m, s}
					}
					if p[0] == m {
						p = []uint32{m, s}
					}
					paths = append(paths, p)
				}
			}
		}
	}
	tab := relation.Learn(func(yield func([]uint32, int) bool) {
		for _, p := range paths {
			if !yield(p, 5) {
				return
			}
		}
	})
	for _, c := range []struct {
		a, b uint32
		want observe.ASRelation
	}{{1, 2, observe.ASPeer}, {2, 3, observe.ASPeer}, {1, 11, observe.ASProvider}, {21, 211, observe.ASProvider}, {322, 32, observe.ASCustomer}, {11, 21, observe.ASUnknown}} {
		if got, score := tab.Relation(c.a, c.b); got != c.want || got != observe.ASUnknown && (score < 0.3 || score > 0.8) {
			t.Errorf("%d is %v (%.2f) to %d, not %v", c.a, got, score, c.b, c.want)
		}
	}
	var e relation.Either
	if r, _ := e.Relation(1, 2); r != observe.ASUnknown || e.Tier1(1) || e.Exchange(1) {
		t.Error("nothing is known yet")
	}
	file, err := relation.Read(strings.NewReader("1|2|-1\n"))
	if err != nil {
		t.Fatal(err)
	}
	e.Set(file, tab)
	if r, _ := e.Relation(2, 1); r != observe.ASCustomer || !e.Tier1(3) {
		t.Error("the file counts first, the learnt clique where it has none")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(small))
	f.Add([]byte("1|2|0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		tab, err := relation.Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		n := 0
		tab.Walk(func(a, b uint32, r observe.ASRelation, s float64) bool {
			n++
			if got, score := tab.Relation(a, b); got != r || score != s || a >= b {
				t.Errorf("%d %d: %v, not %v", a, b, got, r)
			}
			return true
		})
		if n != tab.Links() {
			t.Errorf("%d links, not %d", n, tab.Links())
		}
	})
}

func BenchmarkRelation(b *testing.B) {
	tab, err := relation.ReadFile(filepath.Join(corpus.Folder(b, "bgp", "asrel"), "20161101.as-rel.txt.bz2"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		tab.Relation(701, 15169)
	}
}
