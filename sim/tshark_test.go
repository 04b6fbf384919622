package sim_test

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/sim"
)

// TestWireshark has a third of every labelled scene but the long ones read by
// tshark with all checksums on: nothing may be wrong but what the scene means to
// be, and that is read whole.
func TestWireshark(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("tshark isn't installed: apt-get install tshark")
		}
		t.Skip("SKIPPED: tshark isn't installed; the frames are checked by gopacket alone")
	}
	for _, s := range sim.Labelled() {
		if s.Scene.Duration.Hours() > 24 || s.Name == "everything" {
			continue // the same packets again
		}
		t.Run(s.Name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "scene.pcap")
			part := 3
			if s.Name == "broken" {
				part = 1
			}
			truth := save(t, file, s.Scene, part)
			// Wireshark guesses a protocol by either port, and a flood's answers go
			// to any: leave it only the ports that mean something here.
			only := []string{"-d", "udp.port==1024-1899,data", "-d", "udp.port==1901-5059,data", "-d", "udp.port==5061-65535,data"}
			cmd := exec.CommandContext(t.Context(), tshark, append(only, "-n", "-r", file, "-o", "ip.check_checksum:TRUE",
				"-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-o", "ip.defragment:TRUE",
				"-Y", `_ws.malformed || ip.checksum.status=="Bad" || tcp.checksum.status=="Bad" || udp.checksum.status=="Bad" || icmp.checksum.status=="Bad" || icmpv6.checksum.status=="Bad" || ip.bogus_header_length || ip.bogus_ip_length || ip.version != 4 && !ipv6 || _ws.expert.message contains "ogus" || frame.len < 60`,
				"-T", "fields", "-e", "frame.number", "-e", "_ws.col.Protocol", "-e", "_ws.col.Info")...)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("tshark: %v: %s", err, stderr.String())
			}
			var lines []string
			for sc := bufio.NewScanner(bytes.NewReader(out)); sc.Scan(); {
				lines = append(lines, sc.Text())
			}
			if uint64(len(lines)) != truth.Malformed {
				t.Errorf("tshark objects to %d packets of %d, %d are meant to be broken; the first: %s",
					len(lines), truth.Packets, truth.Malformed, strings.Join(lines[:min(5, len(lines))], " / "))
			}
		})
	}
}

// oneIn hands on one frame of so many.
type oneIn struct {
	sim.FrameWriter
	part, n int
}

func (o *oneIn) WriteFrame(ts int64, data []byte) error {
	if o.n++; o.n%o.part != 0 {
		return nil
	}
	return o.FrameWriter.WriteFrame(ts, data)
}

// save writes one of so many frames of a scene to a capture file.
func save(t *testing.T, file string, s sim.Capture, part int) sim.Truth {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := pcap.NewWriter(f, packet.LinkEthernet)
	if err != nil {
		t.Fatal(err)
	}
	truth, err := s.Write(&oneIn{FrameWriter: w, part: part})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return truth
}
