package access_test

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sakimori/base/corpus"
	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/access"
)

func sample(t testing.TB, file string) *os.File {
	t.Helper()
	f, err := os.Open(corpus.Folder(t, "subscriber", file))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// TestCorpus: what is in real files, as a person reads them.
func TestCorpus(t *testing.T) {
	detail := func(r io.Reader, emit access.Emit) (subscriber.Stats, error) {
		return access.ReadDetail(r, access.DetailOptions{}, emit)
	}
	kea := func(r io.Reader, emit access.Emit) (subscriber.Stats, error) {
		return access.ReadKea(r, access.LeaseOptions{Source: "kea"}, emit)
	}
	isc := func(r io.Reader, emit access.Emit) (subscriber.Stats, error) {
		return access.ReadISC(r, access.LeaseOptions{Source: "dhcpd"}, emit)
	}
	capture := func(r io.Reader, emit access.Emit) (subscriber.Stats, error) {
		return access.ReadCapture(r, access.CaptureOptions{}, emit)
	}
	for _, tt := range []struct {
		file    string
		read    func(io.Reader, access.Emit) (subscriber.Stats, error)
		want    []string
		ignored uint64
	}{
		// 17:50:39 UTC is 13:50:39 EDT.
		{"freeradius-juniper-bng-detail.txt", detail, []string{
			"Begin, 203.0.0.10/32, line juniper, session 61, source petrel1, at 2021-03-23T17:50:39Z",
			"End, 203.0.0.10/32, line juniper, session 61, source petrel1, at 2021-03-23T17:51:56Z, since 2021-03-23T17:50:39Z",
			"Begin, 203.0.0.5/32, line ac:16:2d:75:9d:0a, session 63, source petrel1, at 2021-03-23T17:52:44Z",
			"End, 203.0.0.5/32, line ac:16:2d:75:9d:0a, session 63, source petrel1, at 2021-03-23T17:53:31Z, since 2021-03-23T17:52:44Z",
		}, 0},
		{"lease4_dump_test.reference.csv", kea, []string{
			"Begin, 0.0.0.10/32, line 33:30, source kea, at 2022-01-12T15:06:00Z, until 2022-01-12T15:06:40Z",
			"End, 0.0.0.11/32, line 31:32:33, source kea, at 2022-01-26T15:12:40Z",
			"End, 0.0.0.12/32, line 32:32, source kea, at 2022-01-26T15:52:25Z",
		}, 0},
		{"lease6_dump_test.reference.csv", kea, []string{
			"Begin, ::10/128, line 32:30:33, source kea, at 2022-01-12T15:06:10Z, until 2022-01-12T15:06:40Z",
			"End, ::11/128, line 32:31:33, source kea, at 2022-01-26T15:12:50Z",
			"End, ::12/128, line 32:32:33, source kea, at 2022-01-26T15:52:25Z",
			"End, ::13/128, line 32:33:33, source kea, at 2023-11-14T22:13:20Z",
		}, 0},
		{"dhcpd.leases", isc, []string{
			"Begin, 192.168.56.50/32, line 01:08:00:27:a5:b8:87, source dhcpd, at 2025-09-24T12:08:03Z, until 2025-09-24T12:18:03Z",
			"Begin, 192.168.56.50/32, line 01:08:00:27:a5:b8:87, source dhcpd, at 2025-09-24T12:20:40Z, until 2025-09-24T12:30:40Z",
			"Begin, 192.168.56.50/32, line 01:08:00:27:a5:b8:87, source dhcpd, at 2025-09-24T12:21:25Z, until 2025-09-24T12:31:25Z",
			"Begin, 192.168.56.50/32, line 01:08:00:27:a5:b8:87, source dhcpd, at 2025-09-24T12:31:13Z, until 2025-09-24T12:41:13Z",
		}, 0},
		// Three Accounting-Requests of an access point, none of which tells an address.
		{"libtrace-radius.pcap", capture, nil, 34},
		{"radius_localhost.pcap", capture, nil, 19},
	} {
		got, emit := collect()
		s, err := tt.read(sample(t, tt.file), emit)
		if err != nil || s.Malformed != 0 || s.Ignored != tt.ignored || s.Records != uint64(len(tt.want)) {
			t.Errorf("%s: %v, %+v", tt.file, err, s)
		}
		if !slices.Equal(*got, tt.want) {
			t.Errorf("%s:\n%s, want\n%s", tt.file, strings.Join(*got, "\n"), strings.Join(tt.want, "\n"))
		}
	}
}

// TestZone: the name of a zone means what it means where the server stood.
func TestZone(t *testing.T) {
	for _, tt := range []struct{ date, zone, want string }{
		{"Mar 23 2021 13:50:39 EDT", "", "2021-03-23T17:50:39Z"},
		{"Mar 23 2021 13:50:39 EDT", "America/New_York", "2021-03-23T17:50:39Z"},
		{"Mar  3 2021 13:50:39 JST", "", "2021-03-03T04:50:39Z"},
		{"Mar 23 2021 13:50:39 CST", "America/Chicago", "2021-03-23T19:50:39Z"}, // in summer, too, the name counts
		{"Jan 23 2021 13:50:39 CST", "America/Chicago", "2021-01-23T19:50:39Z"},
		{"Jan 23 2021 13:50:39 CST", "Asia/Shanghai", "2021-01-23T05:50:39Z"},
		{"Jan 23 2021 13:50:39 CST", "", ""}, // either of them
		// The hour that comes twice.
		{"Nov  7 2021 01:30:00 EDT", "America/New_York", "2021-11-07T05:30:00Z"},
		{"Nov  7 2021 01:30:00 EST", "America/New_York", "2021-11-07T06:30:00Z"},
		{"Mar 23 2021 13:50:39 UTC", "Asia/Tokyo", "2021-03-23T13:50:39Z"},
		{"Mar 23 2021 13:50:39 +03", "", "2021-03-23T10:50:39Z"},
		{"Mar 23 2021 13:50:39 +0530", "", "2021-03-23T08:20:39Z"},
		{"Mar 23 2021 13:50:39 -0330", "", "2021-03-23T17:20:39Z"},
		{"Mar 23 2021 13:50:39", "Asia/Tokyo", "2021-03-23T04:50:39Z"},
		{"2021-03-23T13:50:39+01:00", "Asia/Tokyo", "2021-03-23T12:50:39Z"},
		{"2021-03-23 13:50:39", "Asia/Tokyo", "2021-03-23T04:50:39Z"},
		{"1616507439", "Asia/Tokyo", "2021-03-23T13:50:39Z"},
		{"yesterday", "", ""},
		{"Mar 23 2021", "", ""},
		{"", "", ""},
	} {
		var zone *time.Location
		if tt.zone != "" {
			var err error
			if zone, err = time.LoadLocation(tt.zone); err != nil {
				t.Skipf("SKIPPED, NOT TESTED: no zones on this machine: %v", err)
			}
		}
		text := fmt.Sprintf("Sun Jan  3 00:00:00 2100\n\tAcct-Status-Type = Accounting-On\n\tEvent-Timestamp = \"%s\"\n", tt.date)
		var got string
		s, err := access.ReadDetail(strings.NewReader(text), access.DetailOptions{Zone: zone}, func(r *subscriber.Record) error {
			got = r.At.Format(time.RFC3339)
			return nil
		})
		if err != nil || got != tt.want || (tt.want == "") != (s.Malformed == 1) {
			t.Errorf("%q in %q: %q, want %q (%v, %+v)", tt.date, tt.zone, got, tt.want, err, s)
		}
	}
}
