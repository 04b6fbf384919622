package route_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"sakimori/base/corpus"
	"sakimori/observe"
	"sakimori/observe/route"
)

// read reads a file into a new table.
func read(t *testing.T, path string, o route.ReadOptions) (route.File, *route.Table) {
	t.Helper()
	tab := table(t, route.Config{})
	n, err := route.Read(t.Context(), tab, path, o)
	if err != nil {
		t.Fatal(err)
	}
	return n, tab
}

// TestDumps: each file of RIPE's own has the lines that bgpdump prints of it.
func TestDumps(t *testing.T) {
	t.Parallel()
	dir := corpus.Folder(t, "bgp", "bgpdump")
	files, err := filepath.Glob(filepath.Join(dir, "data", "*"))
	if err != nil || len(files) < 8 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := os.Open(filepath.Join(dir, "expect", name+".bgp.gz"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			z, err := gzip.NewReader(f)
			if err != nil {
				t.Fatal(err)
			}
			var announced, withdrawn, states uint64
			prefixes := map[string]bool{}
			for s := bufio.NewScanner(z); s.Scan(); {
				switch c := strings.Split(s.Text(), "|"); c[2] {
				case "A", "B":
					announced++
					prefixes[c[5]] = true
				case "W":
					withdrawn++
				case "STATE":
					states++
				default:
					t.Fatal(s.Text())
				}
			}
			n, tab := read(t, path, route.ReadOptions{})
			if name == "updates.nlri_mask_trailing_bits.gz" {
				// Behind its prefix stands the beginning of another: bgpdump prints the first, RFC 7606
				// (section 5.3) has none of it believed.
				announced, prefixes = 0, nil
				if n.Malformed != 1 {
					t.Errorf("%+v", n)
				}
			} else if n.Malformed != 0 {
				t.Errorf("%+v", n)
			}
			if n.Announcements != announced || n.Withdrawals != withdrawn || n.States != states || n.Elements != announced+withdrawn {
				t.Errorf("%+v, bgpdump has %d announcements, %d withdrawals, %d states", n, announced, withdrawn, states)
			}
			c := tab.Counts()
			if c.Numbered > len(prefixes) || c.Multicast == 0 && c.Numbered != len(prefixes) {
				t.Errorf("%+v of %d prefixes", c, len(prefixes))
			}
			if strings.HasPrefix(name, "bview") != tab.Warm() {
				t.Errorf("a table is known: %v", tab.Warm())
			}
		})
	}
}

// counts is what of a file is held against what others found in it.
type counts struct{ messages, announced, withdrawn, states, other, malformed, peers uint64 }

// TestFiles: the samples of collectors, incidents and routers have what routes.md, their
// JSON and pmacct's expectations say.
func TestFiles(t *testing.T) {
	t.Parallel()
	dir := corpus.Folder(t, "bgp")
	for name, want := range map[string]counts{
		// bgpdump prints as many lines: 8,611, and 1,561 with four states. Of the third it prints
		// 816, as it takes the ADD-PATH identifiers of a peer for prefixes.
		"ris/routeviews.route-views.jinx.updates.1427846400.bz2": {1756, 8160, 451, 0, 0, 0, 4},
		"ris/ris.rrc06.updates.1427846400.gz":                    {791, 1435, 122, 4, 0, 0, 2},
		"ris/bgpipe-sample.mrt":                                  {500, 680, 64, 0, 0, 0, 26},
		// Of the sixth line the end is missing, and one is an error of the server.
		"ris/ris-live-stream.json": {4, 1, 0, 1, 0, 2, 1},
		// As many as the JSON of the same names.
		"incidents-mrt/pakistan_youtube_2008.mrt":                    {172, 172, 0, 0, 0, 0, 47},
		"incidents-mrt/indosat_2014.mrt":                             {738, 710, 28, 0, 0, 0, 42},
		"incidents-mrt/cloudflare_verizon_2019_104.18.32.0_21.mrt":   {1528, 1125, 403, 0, 0, 0, 58},
		"incidents-mrt/telekom_malaysia_2015.mrt":                    {13, 13, 0, 0, 0, 0, 6},
		"incidents-mrt/amazon_route53_mew_2018_205.251.192.0_24.mrt": {28, 15, 13, 0, 0, 0, 9},
		// pmacct has 3 and 2 unicast routes, of IPv4 and IPv6; the others are of VPNs and labels.
		"bmp/200-BMP-HUAWEI-locrib_instance/traffic-00.pcap": {84, 5, 0, 0, 77, 0, 1},
		"bmp/203-BMP-HUAWEI-dump/traffic-00.pcap":            {84, 5, 0, 0, 77, 0, 1},
		// Of VPNs alone.
		"bgp-pcap/300-BGP-IPv6-CISCO-extNH_enc/traffic-00.pcap": {46, 0, 0, 0, 45, 0, 0},
		"bgp-pcap/303-BGP-high-availability/traffic-00.pcap":    {46, 0, 0, 0, 45, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n, tab := read(t, filepath.Join(dir, name), route.ReadOptions{})
			c := tab.Counts()
			if got := (counts{n.Messages, n.Announcements, n.Withdrawals, n.States, c.Other, n.Malformed, uint64(len(n.Peers))}); got != want {
				t.Errorf("%+v, not %+v", got, want)
			}
			if n.First == 0 || n.Last < n.First || n.Lost != 0 {
				t.Errorf("%+v", n)
			}
		})
	}
	for _, name := range []string{"ris/bgpipe-updates.json", "rpki/roa.csv", "asrel/20161101.as-rel.txt.bz2", "../INDEX.tsv"} {
		tab := table(t, route.Config{})
		if n, err := route.Read(t.Context(), tab, filepath.Join(dir, name), route.ReadOptions{}); err == nil || n.Elements > 0 {
			t.Errorf("%s was read: %+v", name, n)
		}
	}
}

// TestDumpAndUpdates: a dump and then updates of the same feed are how it was, and news.
func TestDumpAndUpdates(t *testing.T) {
	t.Parallel()
	dir := corpus.Folder(t, "bgp", "bgpdump", "data")
	m := newMirror(t)
	tab := table(t, route.Config{}, m)
	var seconds []int64
	o := route.ReadOptions{Feed: "rrc", Each: func(s int64) { seconds = append(seconds, s) }}
	updates := filepath.Join(dir, "updates.20020722.2238.gz")
	if _, err := route.Read(t.Context(), tab, updates, o); err != nil {
		t.Fatal(err)
	}
	without := m.marks[observe.RouteFirst]
	if without == 0 || m.marks[observe.RouteState] != 0 || tab.Warm() || !slices.IsSorted(seconds) || len(seconds) < 100 {
		t.Errorf("%v %d", m.marks, len(seconds))
	}
	// The dump of an hour later, as if it had been before.
	tab = table(t, route.Config{}, counter{new(int)})
	if _, err := route.Read(t.Context(), tab, filepath.Join(dir, "bview.20020722.2337.gz"), o); err != nil {
		t.Fatal(err)
	}
	before := tab.Counts()
	if _, err := route.Read(t.Context(), tab, updates, o); err != nil {
		t.Fatal(err)
	}
	if after := tab.Counts(); !tab.Warm() || after.Numbered-before.Numbered > 100 || after.Peers-before.Peers > 43 {
		t.Errorf("%+v, then %+v", before, after)
	}
}

// dump is a TABLE_DUMP_V2 of two peers, of which each has some of 203.0.0.0/24 and on.
func dump(seconds uint32, has func(peer, i int) bool) (b []byte) {
	be := binary.BigEndian
	record := func(subtype uint16, body []byte) {
		b = be.AppendUint16(be.AppendUint16(be.AppendUint32(b, seconds), 13), subtype)
		b = append(be.AppendUint32(b, uint32(len(body))), body...)
	}
	index := []byte{10, 0, 0, 1, 0, 0, 0, 2}
	for peer := range 2 {
		index = append(index, 2, 10, 0, 0, byte(peer), 10, 0, 0, byte(peer))
		index = be.AppendUint32(index, 64500+uint32(peer))
	}
	record(1, index)
	for i := range 200 {
		body := []byte{0, 0, 0, byte(i), 24, 203, 0, byte(i), 0, 0}
		for peer := range 2 {
			if has(peer, i) {
				a := said{ases: []uint32{64500 + uint32(peer), uint32(i)}, hop: address(9)}.attributes(false)
				body = append(be.AppendUint32(append(body, 0, byte(peer)), seconds), 0, byte(len(a)))
				body = append(body, a...)
				body[9]++
			}
		}
		record(2, body)
		if i == 100 {
			record(6, []byte{1, 2, 3}) // of a family that isn't read
		}
	}
	return b
}

// TestDumpAgain: a later dump of the same collector gives what differs.
func TestDumpAgain(t *testing.T) {
	t.Parallel()
	m := newMirror(t)
	tab := table(t, route.Config{}, m)
	file := func(b []byte) {
		t.Helper()
		m.marks, m.all = map[observe.RouteMarks]int{}, 0
		if n, err := route.ReadFrom(t.Context(), tab, bytes.NewReader(b), 0, route.ReadOptions{Feed: "rrc"}); err != nil || n.Malformed != 0 {
			t.Fatal(n, err)
		}
	}
	file(dump(1_700_000_000, func(peer, i int) bool { return peer == 0 || i < 150 }))
	if m.all != 350 || m.marks[observe.RouteState|observe.RouteFirst] != 200 || !tab.Warm() || tab.Peer(1).BGPID != address(0) {
		t.Fatalf("%v", m.marks)
	}
	later := dump(1_700_000_500, func(peer, i int) bool { return peer == 0 && i != 7 || peer == 1 && i > 2 && i < 152 })
	update := said{announce: []netip.Prefix{netip.MustParsePrefix("203.1.0.0/24")}, ases: []uint32{64500}}.bytes()
	head := []byte{0x65, 0x54, 0, 0, 0, 16, 0, 4, 0, 0, 0, byte(20 + len(update)), 0, 0, 0xfb, 0xf4, 0, 0, 0xfb, 0xf0, 0, 0, 0, 1, 10, 0, 0, 0, 10, 0, 0, 9}
	file(append(append(later, head...), update...))
	if m.marks[observe.RouteState] != 2 || m.marks[observe.RouteDown] != 4 || m.marks[observe.RouteFirst] != 1 || m.all != 7 {
		t.Errorf("%v", m.marks)
	}
	if c := tab.Counts(); c.Routes != 349 || tab.Peer(1).Resets != 0 || tab.Peer(1).Routes != 200 {
		t.Errorf("%+v", c)
	}
}

// TestForms: each compression and each way to a file give the same; one that is cut gives
// what stood before, and says where.
func TestForms(t *testing.T) {
	t.Parallel()
	path := corpus.Folder(t, "bgp", "ris", "bgpipe-sample.mrt")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var gz bytes.Buffer
	z := gzip.NewWriter(&gz)
	z.Write(b)
	z.Close()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, form := range map[string][]byte{"plain": b, "gzip": gz.Bytes(), "zstd": e.EncodeAll(b, nil)} {
		var told int64
		o := route.ReadOptions{Feed: "f", Progress: func(done, size int64) {
			if size != int64(len(form)) || done < told {
				t.Errorf("%s: %d of %d", name, done, size)
			}
			told = done
		}}
		n, err := route.ReadFrom(t.Context(), table(t, route.Config{}), bytes.NewReader(form), int64(len(form)), o)
		if err != nil || n.Elements != 744 || told != int64(len(form)) {
			t.Errorf("%s: %+v, told of %d, %v", name, n, told, err)
		}
	}
	for name, form := range map[string][]byte{"plain": b[:50000], "gzip": gz.Bytes()[:gz.Len()/2]} {
		n, err := route.ReadFrom(t.Context(), table(t, route.Config{}), bytes.NewReader(form), 0, route.ReadOptions{})
		if err == nil || !strings.Contains(err.Error(), "byte ") || n.Elements < 200 || n.Elements >= 744 {
			t.Errorf("%s cut: %+v, %v", name, n, err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := route.ReadFrom(ctx, table(t, route.Config{}), bytes.NewReader(b), 0, route.ReadOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for name, bad := range map[string][]byte{"nothing": nil, "xz": []byte("\xfd7zXZ...."), "noise": bytes.Repeat([]byte{7, 200}, 400)} {
		if _, err := route.ReadFrom(t.Context(), table(t, route.Config{}), bytes.NewReader(bad), 0, route.ReadOptions{}); err == nil {
			t.Errorf("%s was read", name)
		}
	}
}

// TestLines: what RIS Live tells in words is what it tells as the message itself.
func TestLines(t *testing.T) {
	t.Parallel()
	const head = `{"type":"ris_message","data":{"timestamp":1700000000.25,"peer":"192.0.2.9","peer_asn":"64500","host":"rrc21","type":"UPDATE",`
	raw := said{announce: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}, ases: []uint32{64500, 4200000000}, communities: []uint32{64500<<16 | 7}, hop: address(3)}.bytes()
	lines := []string{
		head + `"raw":"` + strings.ToUpper(hex.EncodeToString(raw)) + `"}}`,
		head + `"path":[64500,4200000000],"community":[[64500,7]],"origin":"igp","announcements":[{"next_hop":"10.0.0.3","prefixes":["198.51.100.0/24"]}]}}`,
		head + `"path":[64500,[1,2]],"origin":"incomplete","med":5,"announcements":[{"next_hop":"2001:db8::1,fe80::1","prefixes":["2001:db8::/32","2001:db8:1::/48"]}],"withdrawals":["198.51.100.0/24"]}}`,
		head + `"withdrawals":["2001:db8::/32"]}}`,
		`{"type":"ris_rrc_list","data":[]}`, head + `"withdrawals":["nonsense"]}}`, `{"type":"ris_message","data":{"timestamp":1}}`,
	}
	m := newMirror(t)
	tab := table(t, route.Config{}, m)
	n, err := route.ReadFrom(t.Context(), tab, strings.NewReader(strings.Join(lines, "\n")), 0, route.ReadOptions{Feed: "f"})
	if err != nil || n.Form != route.FormRIS || n.Announcements != 4 || n.Withdrawals != 2 || n.Malformed != 2 || n.Skipped != 1 || tab.Counts().Unchanged != 1 {
		t.Fatalf("%+v %v", n, err)
	}
	if len(m.last) != 5 || m.last[0].At != 1700000000_250000000 || tab.Peer(1).Feed != "rrc21" {
		t.Errorf("%+v", m.last)
	}
	left := tab.Path(tab.At(tab.Number(netip.MustParsePrefix("2001:db8:1::/48")), 1))
	if !left.Set || left.Origin != 0 || !slices.Equal(left.ASes, []uint32{64500}) || left.MED != 5 || left.OriginCode != 2 || left.NextHop != netip.MustParseAddr("2001:db8::1") {
		t.Errorf("%+v", left)
	}
	if p := tab.Path(m.last[0].Path); p.ID != 0 { // its last use ended, and the batch too
		t.Errorf("%+v", p)
	}
}
