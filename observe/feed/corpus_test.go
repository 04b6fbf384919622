package feed_test

import (
	"encoding/csv"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sakimori/base/corpus"
	"sakimori/observe"
	"sakimori/observe/feed"
)

var came = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// everything counts all addresses as public: samples have none of anybody's.
var everything = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// all reads a report and keeps what it says.
func all(t testing.TB, text string, o feed.Options) ([]observe.Report, feed.Stats) {
	t.Helper()
	var out []observe.Report
	o.Source, o.Came = "test", came
	st, err := feed.Read(strings.NewReader(text), o, func(r *observe.Report) error {
		out = append(out, *r)
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", o.Name, err)
	}
	if st.Rows != st.Reports+st.Malformed || st.Reports != uint64(len(out)) {
		t.Fatalf("%s: the counts don't add up: %+v, %d reports", o.Name, st, len(out))
	}
	return out, st
}

func slurp(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Real headers of Shadowserver's, 27 types of it, read by another reader too.
func TestShadowserverCorpus(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpus.Folder(t, "intel", "shadowserver"), "*.csv"))
	if err != nil || len(files) < 27 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	claims := map[observe.Claim]int{}
	for _, file := range files {
		text := slurp(t, file)
		other := csv.NewReader(strings.NewReader(strings.ReplaceAll(text, `\"`, `""`))) // scan_http_vulnerable has it
		other.FieldsPerRecord = -1
		rows, err := other.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		name := "2026-11-26-" + filepath.Base(file)
		reports, st := all(t, text, feed.Options{Format: feed.Shadowserver, Name: name, Public: everything})
		if st.Rows != uint64(len(rows)-1) {
			t.Errorf("%s: %d rows, the other reader finds %d", name, st.Rows, len(rows)-1)
		}
		networks := 0 // the block list has one
		for _, f := range st.Named {
			if networks++; f.Why.String() != "a_network" {
				t.Errorf("%s:%d: %s", name, f.Line, f.Why.EN())
			}
		}
		if want := map[bool]int{true: 1}[strings.HasPrefix(filepath.Base(file), "blocklist")]; networks != want {
			t.Errorf("%s: %d networks, want %d", name, networks, want)
		}
		if st.Unknown > 0 {
			t.Errorf("%s: the type isn't in the table", name)
		}
		column := func(row []string, names ...string) string {
			for _, n := range names {
				for i, h := range rows[0] {
					if h == n && i < len(row) {
						return row[i]
					}
				}
			}
			return ""
		}
		next := 1
		for _, r := range reports {
			claims[r.Claim]++
			for column(rows[next], "src_ip", "ip") != r.Address.String() { // past the network
				next++
			}
			row := rows[next]
			next++
			if got := r.At.Format("2006-01-02 15:04:05"); got != column(row, "timestamp") || r.Slack != time.Second {
				t.Errorf("%s: at %s ± %s, the file says %s", r.Where, got, r.Slack, column(row, "timestamp"))
			}
			if r.Type != strings.TrimSuffix(filepath.Base(file), ".csv") || r.Source != "test" || len(r.Raw) == 0 {
				t.Errorf("%s: %+v", r.Where, r)
			}
			// Whatever has no place of its own is a field.
			for i, v := range row {
				if v == "" {
					continue
				}
				switch h := rows[0][i]; h {
				case "timestamp", "ip", "src_ip", "protocol", "family", "infection", "device_vendor", "device_model", "port", "src_port", "dst_port":
				default:
					found := false
					for _, f := range r.Fields {
						found = found || f.Name == strings.ToLower(h) && f.Value == v
					}
					if !found {
						t.Errorf("%s: column %s = %q was dropped", r.Where, h, v)
					}
				}
			}
		}
	}
	if claims[observe.ClaimInfected] != 9 || claims[observe.ClaimSpamming] != 0 {
		t.Errorf("claims: %v", claims)
	}
}
