package blocklist_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sakimori/respond/blocklist"
)

func need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil && os.Getenv("CI") == "true" {
			t.Fatalf("needs %s (Debian: nftables, squid, util-linux)", tool)
		} else if err != nil {
			t.Skipf("SKIPPED, NOT TESTED: needs %s (Debian: nftables, squid, util-linux)", tool)
		}
	}
}

// TestNFT loads the file twice into a network namespace of its own: the second replaces
// the first, a chain of the operator's stays, and what ends soon runs out by itself.
func TestNFT(t *testing.T) {
	t.Parallel()
	need(t, "nft", "unshare")
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: a network namespace takes root")
	}
	w := newWorld(t)
	b, dir := w.open(t)
	first, _ := w.text(t, b, dir, blocklist.NFTables, "individual")
	second, err := b.Make(t.Context(), blocklist.NFTables, w.ground(t, "individual"), "x", listed(sample()[3:10]...))
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf(`set -e
nft -c -f %[1]s
nft -f %[1]s
nft add chain inet sakimori_cnc forward '{ type filter hook forward priority 0; }'
nft add rule inet sakimori_cnc forward ip daddr @address4 counter drop
nft add rule inet sakimori_cnc forward ip daddr . th dport @endpoint4 counter drop
nft get element inet sakimori_cnc prefix4 '{ 192.0.2.3 }' >/dev/null
nft get element inet sakimori_cnc endpoint6 '{ 2001:db8::a . 8443 }' >/dev/null
echo "first $(nft -j list set inet sakimori_cnc address4)"
nft -f %[2]s
echo "second $(nft -j list ruleset)"
sed 's/198.51.100.9 timeout 86400s/198.51.100.9 timeout 1s/' %[2]s | nft -f -
sleep 1.2
echo "gone $(nft list set inet sakimori_cnc address4)"
printf 'flush set inet sakimori_cnc address6\nadd element inet sakimori_cnc address6 { nonsense }\n' | nft -f - 2>/dev/null && exit 1
nft list set inet sakimori_cnc address6 | grep -q 2001:db8::9
`, filepath.Join(dir, first.File), filepath.Join(dir, second.File))
	out, err := exec.CommandContext(t.Context(), "unshare", "-n", "sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	_, rest, _ := strings.Cut(string(out), "first ")
	one, rest, _ := strings.Cut(rest, "second ")
	two, gone, _ := strings.Cut(rest, "gone ")
	if !strings.Contains(one, "198.51.100.77") || !strings.Contains(one, "198.51.100.9") {
		t.Errorf("first: %s", one)
	}
	if strings.Contains(two, "198.51.100.77") || !strings.Contains(two, "198.51.100.9") || !strings.Contains(two, `"forward"`) || strings.Contains(two, "192.0.2") {
		t.Errorf("second: %s", two)
	}
	if strings.Contains(gone, "198.51.100.9 ") {
		t.Errorf("still there after its end: %s", gone)
	}
}

// TestSquid: Squid reads the file, with rules that name each acl, and complains of
// nothing; an empty list is read, too.
func TestSquid(t *testing.T) {
	t.Parallel()
	need(t, "squid")
	w := newWorld(t)
	b, dir := w.open(t)
	full, _ := w.text(t, b, dir, blocklist.Squid, "individual")
	none, err := b.Make(t.Context(), blocklist.Squid, w.ground(t, "individual"), "x", listed())
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []blocklist.Export{full, none} {
		conf := filepath.Join(t.TempDir(), "squid.conf")
		text := fmt.Sprintf("include %s\nhttp_port 127.0.0.1:3128\nvisible_hostname test.invalid\npid_filename none\ncache_log /dev/null\naccess_log none\nhttp_access deny sakimori_cnc_names\nhttp_access deny sakimori_cnc_addresses\nhttp_access deny sakimori_cnc_urls\n", filepath.Join(dir, x.File))
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "squid", "-k", "parse", "-f", conf).CombinedOutput()
		if err != nil || regexp.MustCompile(`(?i)error|fatal|warning|bungled|subdomain`).Match(out) {
			t.Errorf("%s: %v\n%s", x.File, err, out)
		}
	}
}

// TestSyntax reads the other forms with a reader that isn't their writer: of Suricata's
// rules what its manual says of a rule's form, which is no proof that Suricata loads them.
func TestSyntax(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b, dir := w.open(t)
	_, text := w.text(t, b, dir, blocklist.Suricata, "individual")
	rule := regexp.MustCompile(`^drop (dns|tls|http|ip|tcp|udp) \$HOME_NET any -> (any|[0-9a-f.:/]+) (any|\d+) \(msg:"[^"]+"; ((dns\.query|tls\.sni|http\.host|http\.uri\.raw|dotprefix|nocase|endswith|bsize:\d+|content:"(?:[^";:\\|,()]|\|[0-9A-F]{2}\|)+"); )*classtype:command-and-control; metadata:entry [A-Za-z0-9-]+; sid:(\d+); rev:1;\)$`)
	sids := map[string]bool{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); strings.HasPrefix(line, "#") {
			continue
		}
		m := rule.FindStringSubmatch(line)
		if m == nil || sids[m[len(m)-1]] {
			t.Errorf("%s", line)
			continue
		}
		sids[m[len(m)-1]] = true
	}
	if _, again := w.text(t, b, dir, blocklist.Suricata, "individual"); strings.Count(again, "sid:3625998677;") != 1 || len(sids) < 20 {
		t.Error("an id changed from one file to the next")
	}
	_, text = w.text(t, b, dir, blocklist.CSV, "individual")
	r := csv.NewReader(strings.NewReader(text))
	r.Comment = '#'
	if rows, err := r.ReadAll(); err != nil || len(rows) < 15 || len(rows[0]) != 7 {
		t.Errorf("%v %v", rows, err)
	}
	_, text = w.text(t, b, dir, blocklist.NDJSON, "individual")
	for line := range strings.Lines(text) {
		if !json.Valid([]byte(line)) {
			t.Error(line)
		}
	}
	for _, f := range []blocklist.Form{blocklist.STIX, blocklist.FlowSpec} {
		if _, text = w.text(t, b, dir, f, "individual"); !json.Valid([]byte(text)) {
			t.Error(text)
		}
	}
	_, text = w.text(t, b, dir, blocklist.STIX, "individual")
	var bundle struct {
		Type    string
		ID      string
		Objects []map[string]any
	}
	if err := json.Unmarshal([]byte(text), &bundle); err != nil || bundle.Type != "bundle" {
		t.Fatal(err)
	}
	ids, id := map[any]bool{}, regexp.MustCompile(`^[a-z-]+--[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for _, o := range bundle.Objects {
		if !id.MatchString(fmt.Sprint(o["id"])) || ids[o["id"]] || o["spec_version"] != "2.1" || o["created"] == nil {
			t.Errorf("%v", o)
		}
		ids[o["id"]] = true
		if o["type"] == "indicator" {
			from, err1 := time.Parse(time.RFC3339, fmt.Sprint(o["valid_from"]))
			until, err2 := time.Parse(time.RFC3339, fmt.Sprint(o["valid_until"]))
			if err1 != nil || err2 != nil || !from.Before(until) || fmt.Sprint(o["created"]) > fmt.Sprint(o["modified"]) || !ids[o["created_by_ref"]] {
				t.Errorf("%v", o)
			}
		}
	}
}

func many(n int) iter.Seq2[blocklist.Entry, error] {
	return func(yield func(blocklist.Entry, error) bool) {
		for i := range n {
			e := blocklist.Entry{ID: fmt.Sprintf("E-%d", i), Kind: blocklist.Address, Value: fmt.Sprintf("5.%d.%d.%d", i>>16&255, i>>8&255, i&255), Family: "mirai", Until: noon.Add(240 * time.Hour)}
			if i%2 == 0 {
				e.Kind, e.Value = blocklist.Name, fmt.Sprintf("c2-%d.example.net", i)
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// The same entries in another order give the same file, and too many are refused.
func TestSameBytes(t *testing.T) {
	w := newWorld(t)
	b, _ := w.open(t)
	g := w.ground(t, "individual")
	sums := map[string]bool{}
	for _, back := range []bool{false, true} {
		b2, err := blocklist.Open(t.TempDir(), key, w.clock, w, w)
		if err != nil {
			t.Fatal(err)
		}
		list := sample()
		if back {
			for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
				list[i], list[j] = list[j], list[i]
			}
		}
		x, err := b2.Make(t.Context(), blocklist.CSV, g, "x", listed(list...))
		if err != nil {
			t.Fatal(err)
		}
		sums[x.SHA256] = true
	}
	if len(sums) != 1 {
		t.Error("the order of the list shows in the file")
	}
	if _, err := b.Make(t.Context(), blocklist.Suricata, g, "x", many(100_001)); err == nil {
		t.Error("more rules than a sensor holds")
	}
}

func BenchmarkMake(b *testing.B) {
	w := newWorld(b)
	book, _ := w.open(b)
	g := w.ground(b, "individual")
	for _, f := range []blocklist.Form{blocklist.Plain, blocklist.CSV, blocklist.STIX, blocklist.NFTables, blocklist.Squid} {
		b.Run(string(f), func(b *testing.B) {
			for b.Loop() {
				if _, err := book.Make(b.Context(), f, g, "x", many(1_000_000)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
