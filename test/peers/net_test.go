package peers_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// network is two namespaces with a cable between them: one in which senders
// live (198.19.255.0/24), and one in which the dark addresses (198.18.0.0/16)
// are routed to nobody. Nothing leaves it.
type network struct {
	senders, dark string // namespaces
	port, listen  string // the two ends of the cable
	mac           string // of the dark end
}

var networks atomic.Int32

func newNetwork(t *testing.T) *network {
	t.Helper()
	id := fmt.Sprintf("%x%x", os.Getpid(), networks.Add(1))
	n := &network{senders: "sks" + id, dark: "skd" + id, port: "va" + id, listen: "vb" + id}
	t.Cleanup(func() {
		for _, ns := range []string{n.senders, n.dark} { // the cable goes with them
			if out, err := exec.Command("ip", "netns", "del", ns).CombinedOutput(); err != nil {
				t.Logf("ip netns del %s: %v: %s", ns, err, out)
			}
		}
	})
	n.ip(t, "netns", "add", n.senders)
	n.ip(t, "netns", "add", n.dark)
	n.ip(t, "link", "add", n.port, "netns", n.senders, "type", "veth", "peer", "name", n.listen, "netns", n.dark)
	for _, ns := range []string{n.senders, n.dark} {
		n.ip(t, "netns", "exec", ns, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv4.ip_forward=0")
		n.ip(t, "-n", ns, "link", "set", "lo", "up")
	}
	n.ip(t, "-n", n.senders, "addr", "add", sender(1)+"/24", "dev", n.port)
	n.ip(t, "-n", n.dark, "addr", "add", gateway+"/24", "dev", n.listen)
	n.ip(t, "-n", n.senders, "link", "set", n.port, "up")
	n.ip(t, "-n", n.dark, "link", "set", n.listen, "up")
	var links []struct {
		Address string `json:"address"`
	}
	if err := json.Unmarshal(n.ip(t, "-n", n.dark, "-j", "link", "show", n.listen), &links); err != nil || len(links) != 1 {
		t.Fatalf("the cable's address: %v", err)
	}
	n.mac = links[0].Address
	return n
}

const gateway = "198.19.255.254"

// sender is the address of sender number i, darkNet the dark part that it asks.
func sender(i int) string  { return fmt.Sprintf("198.19.255.%d", i) }
func darkNet(i int) string { return fmt.Sprintf("198.18.%d.0/24", i) }

func (n *network) ip(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// seat gives sender i its address, and sends what it asks of its dark part from
// there: so programs that can't choose their source have the right one too.
func (n *network) seat(t *testing.T, i int) {
	t.Helper()
	if i > 1 {
		n.ip(t, "-n", n.senders, "addr", "add", sender(i)+"/24", "dev", n.port)
	}
	n.ip(t, "-n", n.senders, "route", "add", darkNet(i), "via", gateway, "src", sender(i))
}

func (n *network) inDark() []string { return []string{"ip", "netns", "exec", n.dark} }

// send runs a program among the senders. Many end with an error when nobody
// answers; what counts is what they sent. One that crashes by itself, as ZMap does
// now and then before it has sent anything, is run again.
func (n *network) send(ctx context.Context, t *testing.T, line []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	const tries = 3
	for try := 1; ; try++ {
		cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.senders}, line...)...)
		out, err := cmd.CombinedOutput()
		if ctx.Err() != nil {
			t.Errorf("%s took more than 40 s: %s", strings.Join(line, " "), out)
			return
		}
		if err != nil {
			t.Logf("%s: %v", strings.Join(line, " "), err)
		}
		ended, is := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if !is || !ended.Signaled() || try == tries {
			return
		}
		t.Logf("it crashed: %s", out)
	}
}

// capture starts tcpdump on the dark end. The function ends it.
func (n *network) capture(ctx context.Context, t *testing.T, file string) (stop func()) {
	t.Helper()
	// It would give up root before it opens the file.
	cmd := exec.CommandContext(ctx, "ip", append(n.inDark()[1:], "tcpdump", "-Z", "root", "-i", n.listen, "-U", "-w", file)...)
	errs, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(errs)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("tcpdump ended before it listened: %v", err)
		}
		if strings.Contains(line, "listening on") {
			break
		}
	}
	said := make(chan string, 1)
	go func() {
		rest, _ := io.ReadAll(r) // what it says at its end
		said <- string(rest)
	}()
	return func() {
		t.Helper()
		time.Sleep(300 * time.Millisecond) // the last packets
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		if rest := <-said; !strings.Contains(rest, "\n0 packets dropped by kernel") {
			t.Errorf("tcpdump: %s", rest)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("tcpdump: %v", err)
		}
	}
}

// client reaches servers on the dark side's loopback.
func (n *network) client() *http.Client {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	return &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			type result struct {
				c   net.Conn
				err error
			}
			done := make(chan result, 1)
			go func() {
				// The thread changes its namespace: it is never unlocked, so
				// it ends with this goroutine.
				runtime.LockOSThread()
				ns, err := os.Open("/run/netns/" + n.dark)
				if err == nil {
					defer ns.Close()
					err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
				}
				var c net.Conn
				if err == nil {
					c, err = dialer.DialContext(ctx, network, address)
				}
				done <- result{c, err}
			}()
			r := <-done
			return r.c, r.err
		},
	}}
}
