package rpki_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sakimori/base/corpus"
	"sakimori/observe"
	"sakimori/observe/route/rpki"
)

func TestCorpus(t *testing.T) {
	t.Parallel()
	dir := corpus.Folder(t, "bgp")
	for _, c := range []struct {
		file                       string
		roas, aspas, skipped, from int // from: trust anchors
	}{
		{"rpki/roa.csv", 15904, 0, 65, 0},
		{"rpki/test.rpki.json", 19, 2, 0, 5},
		{"rpki/smalltest.rpki.json", 2, 0, 0, 1},
		{"rpki/bgpalerter-vrp.correct.json", 3, 0, 0, 0},
		{"rpki/bgpalerter-vrp.wrong.json", 2, 0, 0, 0},
		{"rpki/bgpalerter-vrp.missing.json", 2, 0, 0, 0},
		{"rpki/bgpalerter-roas.before.json", 5, 0, 0, 1},
		{"rpki/bgpalerter-roas.after.json", 2, 0, 0, 1},
		{"ris/bgpipe-rpki.json", 3, 3, 0, 0},
	} {
		d, err := rpki.ReadFile(filepath.Join(dir, c.file))
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		if len(d.ROAs) != c.roas || len(d.ASPAs) != c.aspas || d.Malformed != 0 || d.Skipped != c.skipped || len(d.Anchors) != c.from {
			t.Errorf("%s: %d ROAs, %d ASPAs, %d malformed (%v), %d skipped, anchors %v", c.file, len(d.ROAs), len(d.ASPAs), d.Malformed, d.Error, d.Skipped, d.Anchors)
		}
	}
}

// What bgpipe's tests say of its two files of updates.
func TestBgpipe(t *testing.T) {
	t.Parallel()
	d, err := rpki.ReadFile(filepath.Join(corpus.Folder(t, "bgp", "ris"), "bgpipe-rpki.json"))
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Date(2026, 7, 13, 0, 0, 0, 0, time.UTC); !d.Built.Equal(want) {
		t.Errorf("built %s", d.Built)
	}
	tab := rpki.NewTable(noon, d)
	for _, c := range []struct { // rov
		p    string
		as   uint32
		want observe.ROV
	}{
		{"192.0.2.0/24", 65001, observe.ROVValid}, {"198.51.100.0/24", 65099, observe.ROVInvalid}, {"10.99.0.0/16", 65030, observe.ROVNotFound},
	} {
		if got := tab.Origin(pfx(c.p), c.as); got != c.want {
			t.Errorf("%s AS%d: %s", c.p, c.as, got)
		}
	}
	// aspa: 65010 is a provider of 65020, and not of 65099.
	if got := tab.Path([]uint32{65010, 65020}, false, observe.ASCustomer); got != observe.ASPAValid {
		t.Error(got)
	}
	if got := tab.Path([]uint32{65010, 65099}, false, observe.ASCustomer); got != observe.ASPAInvalid {
		t.Error(got)
	}
}

func TestForms(t *testing.T) {
	for name, text := range map[string]string{
		"rpki-client CSV":            "ASN,IP Prefix,Max Length,Trust Anchor,Expires\nAS64500,192.0.2.0/24,26,apnic,1827568318\n",
		"Routinator CSV":             "ASN,IP Prefix,Max Length,Trust Anchor\nAS64500,192.0.2.0/24,26,apnic\n",
		"RIPE's archive":             "URI,ASN,IP Prefix,Max Length,Not Before,Not After\nrsync://x/y.roa,AS64500,192.0.2.0/24,26,2026-01-01 00:00:00,2027-01-01 00:00:00\n",
		"no names":                   "# a comment\n64500, 192.0.2.0/24, 26\n",
		"a line that isn't one":      "64500,192.0.2.0/24,26\nnonsense,192.0.2.0/24,26\n",
		"rpki-client JSON":           `{"metadata":{"buildtime":"2026-11-27T11:00:00Z"},"roas":[{"asn":64500,"prefix":"192.0.2.0/24","maxLength":26,"ta":"apnic","expires":1827568318}],"bgpsec_keys":[{"x":[1]}],"aspas":[{"customer_asid":64500,"expires":1827568318,"providers":[64501]}]}`,
		"Routinator JSON":            `{"metadata":{"generated":1795777200},"roas":[{"asn":"AS64500","prefix":"192.0.2.0/24","maxLength":26,"ta":"apnic"}],"routerKeys":[],"aspas":[{"customer":"AS64500","providers":["AS64501","AS64502(v4)"],"ta":"apnic"}]}`,
		"a list, with a mark before": "\ufeff [ {\"asn\":\"AS64500\",\"prefix\":\"192.0.2.7/24\",\"maxLength\":26}, {\"asn\":\"x\",\"prefix\":\"192.0.2.0/24\"}, {\"asn\":1,\"prefix\":\"192.0.2.0/24\",\"maxLength\":33}]",
	} {
		for _, packed := range []bool{false, true} {
			b := []byte(text)
			if packed {
				var z bytes.Buffer
				w := gzip.NewWriter(&z)
				_, _ = w.Write(b)
				_ = w.Close()
				b = z.Bytes()
			}
			d, err := rpki.Read(bytes.NewReader(b))
			if err != nil || len(d.ROAs) != 1 || d.ROAs[0].Prefix != pfx("192.0.2.0/24") || d.ROAs[0].MaxLength != 26 || d.ROAs[0].AS != 64500 {
				t.Errorf("%s: %+v, %v", name, d, err)
				continue
			}
			if want := strings.Count(text, "nonsense") + strings.Count(text, `"x",`) + strings.Count(text, "33}"); d.Malformed != want || (want > 0) != (d.Error != nil) {
				t.Errorf("%s: %d malformed, %v", name, d.Malformed, d.Error)
			}
			if strings.Contains(text, "aspas") && (len(d.ASPAs) != 1 || d.ASPAs[0].Customer != 64500 || d.ASPAs[0].Providers[0] != 64501 || d.Built.IsZero()) {
				t.Errorf("%s: %+v", name, d)
			}
			if strings.Contains(text, "1827568318") != (d.ROAs[0].Expires == 1827568318) && name != "RIPE's archive" {
				t.Errorf("%s: expires %d", name, d.ROAs[0].Expires)
			}
		}
	}
	for name, text := range map[string]string{
		"nothing": "", "white space": " \n", "another document": `{"results":[]}`, "cut": `{"roas":[{"asn":64500,"prefix":"192.0.2.0/24"`, "not a table": "<html>\n<body>\n", "a broken gzip": "\x1f\x8bxx",
	} {
		if d, err := rpki.Read(strings.NewReader(text)); !errors.Is(err, rpki.ErrFile) {
			t.Errorf("%s: %+v, %v", name, d, err)
		}
	}
}

// FuzzRead: whatever a file holds, what is read of it can be asked.
func FuzzRead(f *testing.F) {
	f.Add([]byte("ASN,IP Prefix,Max Length\nAS1,10.0.0.0/8,16\n"))
	f.Add([]byte(`{"roas":[{"asn":1,"prefix":"10.0.0.0/8","maxLength":16}],"aspas":[{"customer_asid":1,"providers":[2]}]}`))
	f.Add([]byte(`[{"asn":"AS1","prefix":"2001:db8::/32"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := rpki.Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		tab := rpki.NewTable(noon, d)
		for _, r := range d.ROAs {
			if r.AS != 0 && r.Expires == 0 && tab.Origin(r.Prefix, r.AS) != observe.ROVValid {
				t.Fatalf("%+v isn't valid", r)
			}
		}
	})
}

// FuzzParseSLURM: an exception is understood or refused.
func FuzzParseSLURM(f *testing.F) {
	f.Add([]byte(`{"slurmVersion":1,"validationOutputFilters":{"prefixFilters":[{"asn":1,"prefix":"10.0.0.0/8"}]},"locallyAddedAssertions":{"prefixAssertions":[{"asn":2,"prefix":"10.0.0.0/8","maxPrefixLength":9}]}}`))
	f.Add([]byte(`{"slurmVersion":2,"validationOutputFilters":{"aspaFilters":[{"customerAsn":1}]},"locallyAddedAssertions":{"aspaAssertions":[{"customerAsn":2,"providerAsns":[3]}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := rpki.ParseSLURM(b); (s == nil) == (err == nil) {
			t.Fatal(s, err)
		}
	})
}
