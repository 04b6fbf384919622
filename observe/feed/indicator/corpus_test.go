package indicator_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/corpus"
	"sakimori/observe"
	"sakimori/observe/feed/indicator"
	"sakimori/observe/feed/reading"
)

var came = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// all reads a list and keeps what it says.
func all(t testing.TB, text string, o indicator.Options) ([]observe.Indicator, indicator.Stats) {
	t.Helper()
	out, st, err := try(t, text, o)
	if err != nil {
		t.Fatalf("%s: %v", o.Name, err)
	}
	return out, st
}

func try(t testing.TB, text string, o indicator.Options) (out []observe.Indicator, st indicator.Stats, err error) {
	t.Helper()
	o.Source, o.Came = "test", came
	st, err = indicator.Read(strings.NewReader(text), o, func(in *observe.Indicator) error {
		out = append(out, *in)
		return nil
	})
	if st.Read != st.Accepted+st.Rejected || st.Accepted != uint64(len(out)) {
		t.Fatalf("%s: the counts don't add up: %+v, %d indicators", o.Name, st, len(out))
	}
	return out, st, err
}

func reasonsOf(st *indicator.Stats) map[string]uint64 {
	out := map[string]uint64{}
	for r, n := range st.Why {
		out[r.String()] = n
	}
	return out
}

type counts = map[string]uint64

// Every list of the corpus, with counts that were made with other tools (grep, awk and a
// JSON reader).
func TestCorpus(t *testing.T) {
	tests := []struct {
		file   string
		format indicator.Format // as it must be detected
		kinds  counts
		why    counts
	}{
		{"feeds/bambenek-c2-dommasterlist.txt", indicator.Bambenek, counts{"name": 1}, nil},
		{"feeds/bambenek-c2-ipmasterlist.txt", indicator.Bambenek, counts{"address": 1}, nil},
		{"feeds/bambenek-dga-feed.txt", indicator.Bambenek, counts{"name": 1}, nil},
		{"feeds/openphish-feed.txt", indicator.Plain, nil, counts{"not_a_name": 2}}, // http://www..example.com/
		{"feeds/spamhaus-drop.txt", indicator.Drop, counts{"prefix": 2}, nil},
		{"feeds/spamhaus-asndrop.txt", indicator.Drop, nil, counts{"not_network": 2}},
		{"ipsum-level-3.txt", indicator.Plain, counts{"address": 14217}, nil},
		{"ipsum-level-5.txt", indicator.Plain, counts{"address": 1413}, nil},
		{"ipsum-level-8.txt", indicator.Plain, counts{"address": 23}, nil},
		{"maltrail/elf_gafgyt.txt", indicator.Maltrail, counts{"endpoint": 32666, "name": 485, "url": 293}, counts{"no_host": 15808, "special_use": 6, "port": 4}},
		{"maltrail/elf_hajime.txt", indicator.Maltrail, counts{"endpoint": 92, "name": 1}, nil},
		{"maltrail/elf_hideseek.txt", indicator.Maltrail, counts{"endpoint": 171}, nil},
		{"maltrail/elf_kaiten.txt", indicator.Maltrail, counts{"endpoint": 50, "name": 54, "url": 11}, counts{"no_host": 63}},
		{"maltrail/elf_mirai.txt", indicator.Maltrail, counts{"endpoint": 10916, "name": 4321, "url": 1885}, counts{"no_host": 37611, "special_use": 65}}, // onion
		{"maltrail/elf_moobot.txt", indicator.Maltrail, counts{"endpoint": 1, "name": 22, "url": 1}, counts{"no_host": 1, "special_use": 14}},
		{"maltrail/elf_xorddos.txt", indicator.Maltrail, counts{"endpoint": 210, "name": 192, "url": 6}, counts{"no_host": 1}},
		{"maltrail/emotet.txt", indicator.Maltrail, counts{"endpoint": 4704, "name": 232, "url": 5361}, counts{"no_host": 4737}},
		{"maltrail/mass_scanner.txt", indicator.Maltrail, counts{"address": 19215}, counts{"no_host": 2, "not_an_address": 3}},
		{"maltrail/mass_scanner_cidr.txt", indicator.Maltrail, counts{"address": 13, "prefix": 1093}, nil},
		{"misp/57c4445b-c548-4654-af0b-4be3950d210f.json", indicator.MISP, nil, counts{"not_network": 7, "not_for_detection": 2}},
		{"misp/existing_event.json", indicator.MISP, counts{"name": 19, "address": 12}, counts{"not_network": 90, "not_for_detection": 1}},
		{"misp/intelmq-misp_event.json", indicator.MISP, nil, counts{"not_network": 1, "not_for_detection": 1}},
		{"misp/malware_exist.json", indicator.MISP, nil, counts{"not_network": 6}},
		{"misp/misp_event.json", indicator.MISP, nil, counts{"not_network": 1, "not_for_detection": 1}},
		{"misp/shadow.json", indicator.MISP, nil, counts{"not_network": 3}},
		{"misp/stix2.json", indicator.STIX, nil, nil}, // observed data alone
		{"stix/apt1.json", indicator.STIX, counts{"name": 3, "prefix": 4}, counts{"not_network": 5}},
		{"stix/defining-campaigns-threat-actors-intrusion-sets.json", indicator.STIX, nil, nil},
		{"stix/identifying-a-threat-actor-profile.json", indicator.STIX, nil, nil},
		{"stix/indicator-for-malicious-url.json", indicator.STIX, counts{"url": 1}, nil},
		{"stix/malware-indicator-for-file-hash.json", indicator.STIX, nil, counts{"not_network": 1}},
		{"stix/sighting-of-an-indicator.json", indicator.STIX, counts{"url": 1}, nil},
		{"stix/using-granular-markings.json", indicator.STIX, nil, counts{"not_network": 1}},
		{"stix/using-marking-definitions.json", indicator.STIX, nil, counts{"not_public": 1}}, // 10.0.0.0
	}
	for _, tt := range tests {
		b, err := os.ReadFile(filepath.Join(corpus.Folder(t, "intel"), tt.file))
		if err != nil {
			t.Fatal(err)
		}
		list, st := all(t, string(b), indicator.Options{Name: filepath.Base(tt.file)})
		kinds := counts{}
		for _, in := range list {
			kinds[string(in.Kind)]++
		}
		if st.Format != tt.format || !maps.Equal(kinds, tt.kinds) || !maps.Equal(reasonsOf(&st), tt.why) {
			t.Errorf("%s: %s %v %v, want %s %v %v", tt.file, st.Format, kinds, reasonsOf(&st), tt.format, tt.kinds, tt.why)
		}
	}
}

// What isn't a list of indicators says so instead of making some up.
func TestNoLists(t *testing.T) {
	root := corpus.Folder(t, "intel")
	files := []string{
		"maltrail/whitelist.txt", "misp/intelmq-misp_attribute.json", "misp/git-vuln-finder-quagga.json", "misp/sharing_groups.json",
		"iodef/rfc7970-minimal.xml", "taxii/config.json", "feeds/shodan-tests.json", "feeds/microsoft-ctip.txt", "feeds/dshield-block.txt",
		"feeds/html_table-feodotracker.html", "feeds/spamhaus-cert.txt", "feeds/cymru-certname_20190327.txt", "feeds/dataplane-dnsrd.txt",
	}
	for _, folder := range []string{"warninglists", "xarf", "shadowserver"} {
		more, err := filepath.Glob(filepath.Join(root, folder, "*"))
		if err != nil || len(more) == 0 {
			t.Fatal(err)
		}
		for _, f := range more {
			files = append(files, filepath.Join(folder, filepath.Base(f)))
		}
	}
	for _, file := range files {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		list, _, err := try(t, string(b), indicator.Options{Name: filepath.Base(file)})
		bad := (*reading.Unreadable)(nil)
		if !errors.As(err, &bad) || bad.JA == "" || len(list) > 0 {
			t.Errorf("%s: %d indicators, %v", file, len(list), err)
		}
		if strings.HasPrefix(file, "warninglists/") && !strings.Contains(bad.EN, "warninglist") {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// A table that nobody documents is read with a mapping.
func TestMappedCorpus(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(corpus.Folder(t, "intel", "feeds"), "dataplane-telnetlogin.txt"))
	if err != nil {
		t.Fatal(err)
	}
	m := &indicator.Mapping{Value: "ip", Last: "seen", Columns: []string{"asn", "as", "ip", "seen", "what"}, Comma: "|"}
	list, st := all(t, string(b), indicator.Options{Format: indicator.CSV, Mapping: m, Zone: time.UTC, Role: observe.RoleScanner})
	rows := 0
	for line := range strings.SplitSeq(string(b), "\n") {
		if f := strings.Split(line, "|"); len(f) == 5 && !strings.HasPrefix(line, "#") {
			rows++
		}
	}
	if rows == 0 || st.Read != uint64(rows) || len(list)+int(reasonsOf(&st)["not_public"]) != rows {
		t.Errorf("%+v of %d rows", reasonsOf(&st), rows)
	}
	for _, in := range list {
		if in.Last.IsZero() || in.Role != observe.RoleScanner {
			t.Errorf("%+v", in)
		}
	}
}

// What the corpus' richer files say beside the values.
func TestSaid(t *testing.T) {
	said := func(file string, value string) observe.Indicator {
		b, err := os.ReadFile(filepath.Join(corpus.Folder(t, "intel"), file))
		if err != nil {
			t.Fatal(err)
		}
		list, _ := all(t, string(b), indicator.Options{Name: filepath.Base(file)})
		for _, in := range list {
			if in.Value == value {
				return in
			}
		}
		t.Fatalf("%s: no %s", file, value)
		return observe.Indicator{}
	}
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tt := range []struct {
		file string
		want observe.Indicator
	}{
		{"feeds/bambenek-dga-feed.txt", observe.Indicator{Kind: "name", Value: "xqmclnusaswvof.com", Role: observe.RoleC2, Family: "cryptolocker", Last: at("2016-11-10T00:00:00Z"), Evidence: "http://osint.bambenekconsulting.com/manual/cl.txt", Line: 15}},
		{"feeds/spamhaus-drop.txt", observe.Indicator{Kind: "prefix", Value: "2a06:e480::/29", Role: observe.RoleOther, Evidence: "SBL301771", Line: 6}},
		{"maltrail/elf_kaiten.txt", observe.Indicator{Kind: "endpoint", Value: "46.149.233.35:2407", Role: observe.RoleOther, Family: "kaiten", Evidence: "https://www.virustotal.com/gui/file/ca42237354f76bd8aebb97635887c286cddc8d3b6cca2581fa228acf335b3a8c/detection", Line: 9}},
		{"stix/indicator-for-malicious-url.json", observe.Indicator{Kind: "url", Value: "http://x4z9arb.cn/4712/", Role: observe.RoleOther, Family: "x4z9arb backdoor", First: at("2014-06-29T13:49:37.079Z"), Evidence: "indicator--d81f86b9-975b-4c0b-875e-810c5ad45a4f", Line: 5}},
		{"stix/sighting-of-an-indicator.json", observe.Indicator{Kind: "url", Value: "http://paypa1.banking.com/", Role: observe.RoleOther, First: at("2015-06-29T09:10:15.915Z"), Last: at("2017-02-27T21:37:11.214Z"), Evidence: "indicator--9299f726-ce06-492e-8472-2b52ccb53191", Line: 5}},
		{"misp/existing_event.json", observe.Indicator{Kind: "name", Value: "movieultimate.com", Role: observe.RoleOther, First: at("2017-12-21T22:05:57Z"), Evidence: "MISP event 5a3c2fcd-8328-42bb-a95e-4f4402de0b81 attribute 5a3c3045-ab0c-4d38-8efe-459002de0b81 (TLP:WHITE)", Line: 71}},
	} {
		tt.want.Source, tt.want.Where = "test", ""
		got := said(tt.file, tt.want.Value)
		if !strings.HasPrefix(got.Where, filepath.Base(tt.file)+":") {
			t.Errorf("where: %s", got.Where)
		}
		got.Where = ""
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %s", tt.file, d)
		}
	}
}
