package flow_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sakimori/base/corpus"
	"sakimori/observe/flow"
)

// needs is a program of Debian's. Without it the test is skipped, and under CI=true it fails.
func needs(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("Debian's nfdump has %s: %v", program, err)
		}
		t.Skipf("SKIPPED, NOT TESTED: no %s: %v (Debian's nfdump has it)", program, err)
	}
	return path
}

// TestEqualToNfdump: flows, packets, bytes and what was lost are those of nfdump, of a real
// exporter's NetFlow 5, and of NetFlow 9 and IPFIX. (Its version 1.7.1 doesn't scale by
// sampling that options tell.)
func TestEqualToNfdump(t *testing.T) {
	t.Parallel()
	nfcapd, nfdump := needs(t, "nfcapd"), needs(t, "nfdump")
	real5 := corpus.Datagrams(t, corpus.Folder(t, "generated", "flow", "synflood-netflow5.pcap"))
	nine := [][]byte{message9(0, 10_000, uint32(now/second), 0, set(0, usual))}
	for i := range 40 {
		if i != 30 { // lost on the way
			nine = append(nine, message9(uint32(1+i), 10_000, uint32(now/second), 0, set(256, usualRecords(20))))
		}
	}
	six := [][]byte{message10(0, uint32(now/second), 5, set(2, ipfixUsual))}
	for i := range 40 {
		six = append(six, message10(uint32(20*i), uint32(now/second), 5, set(256, ipfixRecords(20))))
	}
	for name, list := range map[string][][]byte{"netflow5": real5[:400], "netflow9": nine, "ipfix": six} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			free, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			port := free.LocalAddr().(*net.UDPAddr).Port
			free.Close()
			var log strings.Builder
			peer := exec.CommandContext(t.Context(), nfcapd, "-4", "-b", "127.0.0.1", "-p", strconv.Itoa(port), "-w", dir, "-B", "4000000")
			peer.Stdout, peer.Stderr = &log, &log
			if err := peer.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- peer.Wait() }()
			t.Cleanup(func() { _ = peer.Process.Kill() })
			until(t, "nfcapd listens", func() bool { return bound(t, port) })
			c, err := net.Dial("udp", fmt.Sprint("127.0.0.1:", port))
			if err != nil {
				t.Fatal(err)
			}
			for i, b := range list {
				if _, err := c.Write(b); err != nil {
					t.Fatal(err)
				}
				if i%50 == 49 {
					time.Sleep(5 * time.Millisecond) // its buffer is small where the system's limit is
				}
			}
			until(t, "nfcapd has read it", func() bool { return drained(t, port) })
			time.Sleep(50 * time.Millisecond) // the last one
			if err := peer.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err != nil {
				t.Logf("nfcapd: %v", err)
			}
			out, err := exec.CommandContext(t.Context(), nfdump, "-R", dir, "-I").CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s\n%s", err, out, log.String())
			}
			d, err := flow.NewDirectory(flow.Config{})
			if err != nil {
				t.Fatal(err)
			}
			mine := collectorOf(t, d)
			for _, b := range list {
				mine.take(b, now)
			}
			h := mine.health()
			for _, w := range []struct {
				word string
				is   uint64
			}{{"Flows", h.Flows}, {"Packets", h.Packets}, {"Bytes", h.Bytes}, {"Sequence failures", min(h.Gaps, 1)}} {
				m := regexp.MustCompile(`(?m)^` + w.word + `: (\d+)$`).FindSubmatch(out)
				if m == nil || string(m[1]) != strconv.FormatUint(w.is, 10) {
					t.Errorf("%s: we say %d, nfdump\n%s\n%s", w.word, w.is, out, log.String())
				}
			}
			t.Logf("%d flows, %d packets, %d bytes, %d lost", h.Flows, h.Packets, h.Bytes, h.Gaps)
		})
	}
}

// socket is what the kernel says of the socket of 127.0.0.1 with a port: bytes that wait.
func socket(t *testing.T, port int) (waiting int64, is bool) {
	t.Helper()
	b, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 4 && f[1] == fmt.Sprintf("0100007F:%04X", port) {
			_, queue, _ := strings.Cut(f[4], ":")
			waiting, err = strconv.ParseInt(queue, 16, 64)
			return waiting, err == nil
		}
	}
	return 0, false
}

func bound(t *testing.T, port int) bool {
	t.Helper()
	_, is := socket(t, port)
	return is
}

func drained(t *testing.T, port int) bool {
	t.Helper()
	n, _ := socket(t, port)
	return n == 0
}
