package pcap_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sakimori/base/corpus"
	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
)

// truth is what capinfos says of one file of INDEX.tsv.
type truth struct {
	frames int // -1: unreadable, -2: not measured
	first  string
	link   string
}

// index reads the rows of INDEX.tsv below pcap/.
func index(t *testing.T, dir string) map[string]truth {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "INDEX.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows := map[string]truth{}
	for s := bufio.NewScanner(f); s.Scan(); {
		c := strings.Split(s.Text(), "\t")
		if !strings.HasPrefix(c[0], "pcap/") || !strings.Contains(c[0], ".pcap") {
			continue
		}
		row := truth{frames: -2}
		if said, ok := strings.CutPrefix(c[6], "capinfos: "); ok {
			row.frames = -1
			if p := strings.Split(said, ","); len(p) == 4 {
				row.link, row.first = p[0], p[3]
				if row.frames, err = strconv.Atoi(p[1]); err != nil {
					t.Fatal(err)
				}
			}
		}
		rows[c[0]] = row
	}
	return rows
}

// drain reads a capture to its end and says what it holds.
func drain(path string) (frames int, first, least int64, faces []pcap.Interface, err error) {
	r, err := pcap.Open(path)
	if err != nil {
		return 0, 0, 0, nil, err
	}
	defer r.Close()
	var b packet.Block
	for {
		err = r.ReadBlock(&b)
		if err != nil {
			break
		}
		for i, f := range b.Frames {
			if frames == 0 {
				first, least = f.Time, f.Time
			}
			least = min(least, f.Time)
			frames++
			_ = b.Bytes(i)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return frames, first, least, r.Interfaces(), err
}

// unnamed are whole captures that capinfos refuses only because it doesn't know
// their link types (Juniper's, FRF.16): tcpdump and we read them.
var unnamed = map[string]int{
	"vtp_asan": 5, "vtp_asan-2": 1, "vtp_asan-3": 1, "hoobr_juniper3": 1, "frf16_magic_ie-oobr": 1,
	"juniper_monitor_invalid_cookie_length": 1, "juniper_es_oobr": 1,
}

// garbled are fuzzed captures whose records are in no order and have fractions
// beyond a second, of which capinfos picks another one as the first.
var garbled = map[string]bool{
	"pim_header_asan-2": true, "bgp_vpn_rt-oobr": true, "olsr-oobr-2": true, "rx_serviceid_oobr": true,
}

// TestCorpusAgreesWithCapinfos reads every real capture and compares the number
// of frames and the first time with what Wireshark's capinfos found.
func TestCorpusAgreesWithCapinfos(t *testing.T) {
	dir := corpus.Folder(t)
	read, compared := 0, 0
	for name, want := range index(t, dir) {
		frames, _, least, _, err := drain(filepath.Join(dir, name))
		read++
		if want.frames == -2 {
			continue
		}
		base := strings.TrimSuffix(filepath.Base(name), ".pcap")
		if want.frames == -1 {
			if n, ok := unnamed[base]; ok && err == nil && frames == n {
				continue
			}
			if bad := new(pcap.Error); !errors.As(err, &bad) {
				t.Errorf("%s: capinfos can't read it, we find %d frames and no fault", name, frames)
			}
			continue
		}
		compared++
		if frames != want.frames {
			t.Errorf("%s: %d frames, capinfos says %d (%v)", name, frames, want.frames, err)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if want.first == "n/a" || garbled[base] {
			continue
		}
		digits := len(want.first) - strings.IndexByte(want.first, '.') - 1
		got := time.Unix(0, least).UTC().Format("2006-01-02 15:04:05." + strings.Repeat("0", digits))
		if got != want.first {
			t.Errorf("%s: earliest %s, capinfos says %s", name, got, want.first)
		}
	}
	t.Logf("%d captures read, %d compared", read, compared)
	if compared < 500 {
		t.Errorf("only %d captures compared: is INDEX.tsv whole?", compared)
	}
}
