package dns_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sakimori/base/corpus"
	"sakimori/observe/dns"
)

// TestCaptures: tshark, to which fragments aren't put together either, sees as many
// questions and answers; what is missing was counted as not read.
func TestCaptures(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("tshark isn't there: install Debian's package tshark")
		}
		t.Skip("SKIPPED: needs Debian's package tshark")
	}
	files, err := filepath.Glob(filepath.Join(corpus.Folder(t, "dns"), "*.pcap"))
	more, _ := filepath.Glob(filepath.Join(corpus.Folder(t, "dns", "pcap"), "*.pcap")) // the pattern is right
	if files = append(files, more...); err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			o := observer(t, all("match"), nil)
			st := read(t, o, b)
			total, _ := sums(t, o)
			out, err := exec.CommandContext(t.Context(), tshark, "-n", "-r", path, "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE",
				"-Y", "dns && (udp.port == 53 || tcp.port == 53)", "-T", "fields", "-e", "dns.flags.response").Output()
			if err != nil {
				t.Fatal(err)
			}
			var queries, responses uint64
			for f := range strings.FieldsFuncSeq(string(out), func(r rune) bool { return r == '\n' || r == ',' }) {
				if f == "1" || f == "True" {
					responses++
				} else {
					queries++
				}
			}
			got, want := total.Queries+total.Responses, queries+responses
			t.Logf("%d+%d, tshark %d+%d, %+v", total.Queries, total.Responses, queries, responses, st)
			if got > want || want-got > st.Unread+st.Malformed {
				t.Errorf("%d messages were read, and tshark reads %d", got, want)
			}
		})
	}
}

// FuzzFile reads anything without harm.
func FuzzFile(f *testing.F) {
	good := frame(noon, "192.0.2.1", true, message("c2.example", 3, true, "c2."))
	f.Add(stream(f, good, good))
	f.Add([]byte("26-Nov-2026 21:00:01.124 rpz: info: client @0x7f0 192.0.2.1#5300 (c2.example): rpz QNAME NXDOMAIN rewrite c2.example/A/IN via c2.example.c2.\n"))
	f.Add([]byte("[1795726801] unbound[1:0] info: rpz: applied [c2] c2.example. rpz-nxdomain 192.0.2.1@5300 c2.example. A IN\n"))
	dir := os.Getenv("SAKIMORI_CORPUS")
	for _, name := range []string{"dnsdump_tcp.pcap", "dnsdump_tcp_fastopen.pcap", "dnsdump_udp.pcap"} {
		if b, err := os.ReadFile(filepath.Join(dir, "dns", name)); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o := observer(t, all("hits"), &heard{})
		_, _ = o.File(t.Context(), bytes.NewReader(b), dns.FileOptions{Name: "fuzz"})
	})
}
