package flow_test

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sakimori/observe"
	"sakimori/observe/flow"
)

// sender makes the test's program send datagrams instead of testing: an address, the place of
// what to send in datagrams, how many a second, and how many in all.
const sender = "SAKIMORI_TEST_SENDER"

func TestMain(m *testing.M) {
	if to := os.Getenv(sender); to != "" {
		if err := sendTo(to, os.Args[1:]); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func sendTo(to string, args []string) error {
	var n [3]int
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(args[i]); err != nil {
			return err
		}
	}
	c, err := net.Dial("udp", to)
	if err != nil {
		return err
	}
	dd := datagrams[n[0]]
	if dd.template != nil {
		if _, err := c.Write(dd.template); err != nil {
			return err
		}
	}
	start := time.Now()
	for i := range n[2] {
		if _, err := c.Write(dd.data); err != nil {
			return err
		}
		if i%32 == 31 {
			if ahead := time.Duration(i)*time.Second/time.Duration(n[1]) - time.Since(start); ahead > 0 {
				time.Sleep(ahead)
			}
		}
	}
	return nil
}

// BenchmarkReceive is what a record costs from the socket to whoever takes it, in processor
// time of the whole program; another program sends 600,000 records a second.
func BenchmarkReceive(b *testing.B) {
	for i, dd := range datagrams {
		b.Run(dd.name, func(b *testing.B) {
			var got atomic.Uint64
			_, r, stop := receive(b, flow.Config{}, flow.Receiving{Workers: 1}, func(f []observe.Flow) { got.Add(uint64(len(f))) }, func(time.Time) {})
			for b.Loop() {
				const records = 1_200_000
				count := records / dd.records
				peer := exec.CommandContext(b.Context(), os.Args[0], strconv.Itoa(i), strconv.Itoa(600_000/dd.records), strconv.Itoa(count))
				peer.Env, peer.Stderr = append(os.Environ(), sender+"="+r.Addresses()[0].String()), os.Stderr
				before, had := used(b), got.Load()
				if err := peer.Run(); err != nil {
					b.Fatal(err)
				}
				time.Sleep(250 * time.Millisecond) // until the last are handed on
				b.ReportMetric(float64(used(b)-before)/float64(got.Load()-had), "cpu-ns/record")
				b.ReportMetric(float64(count*dd.records)-float64(got.Load()-had), "lost")
			}
			stop()
		})
	}
}

// used is how much processor time this process took.
func used(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
