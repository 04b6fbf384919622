package peers_test

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sakimori/observe/telescope"
	"sakimori/test/peers"
)

// TestLive: `serve` on the dark end of the cable, with CAP_NET_RAW and no other
// capability, says the same of nmap and zmap as an import does, and drops
// nothing.
func TestLive(t *testing.T) {
	needs(t, "ip", "sysctl", "setpriv", "tcpdump", "nmap", "zmap", "ping")
	t.Parallel()
	ctx, n := t.Context(), newNetwork(t)
	watched := map[int]int{} // number in the cast, by sender
	for i, p := range cast {
		if p.name == "nmap -sS" || p.name == "zmap" || p.name == "ping" {
			watched[first+i] = i
			n.seat(t, first+i)
		}
	}
	config := fmt.Sprintf("telescope:\n  dark: [198.18.0.0/16]\n  interfaces: [%s]\n", n.listen)
	bare := append(n.inDark(), "setpriv", "--bounding-set", "-all,+net_raw", "--inh-caps", "-all,+net_raw")
	s, err := program.Serve(ctx, filepath.Join(t.TempDir(), "data"), config, bare, n.client())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if out, err := exec.Command("grep", "CapEff", fmt.Sprintf("/proc/%d/status", s.PID())).Output(); err != nil || string(out) != "CapEff:\t0000000000002000\n" {
		t.Errorf("serve has more than CAP_NET_RAW: %q %v", out, err)
	}
	// It says where its console is before it listens to the wire.
	until(func() bool { return input(ctx, t, s, n.listen).State == "running" })
	file := filepath.Join(t.TempDir(), "beside.pcap")
	before := input(ctx, t, s, n.listen).Packets
	stop := n.capture(ctx, t, file)
	for number, i := range watched {
		n.send(ctx, t, cast[i].command(n, number))
	}
	stop()
	var d telescope.Document
	ask(ctx, t, &d, "import", "telescope", "--dark", "198.18.0.0/16", "--progress", "none", "-o", "json", file)
	// The ring hands over what it has after a moment.
	until(func() bool { return input(ctx, t, s, n.listen).Packets >= before+d.Packets })
	status := input(ctx, t, s, n.listen)
	if status.Dropped.Kernel != 0 || status.Packets < before+d.Packets || d.DarkPackets < 500 || status.State != "running" {
		t.Errorf("tcpdump beside it has %d packets, %d of them to dark space; the input is %+v", d.Packets, d.DarkPackets, status)
	}
	t.Logf("live: %d packets, %d dropped by the kernel, %d late", status.Packets, status.Dropped.Kernel, status.Dropped.Late)
	// What is kept is written once a minute.
	deadline := time.Now().Add(100 * time.Second)
	for number, i := range watched {
		p := cast[i]
		for {
			said := live(ctx, t, s, sender(number))
			wrong := len(said) != len(p.scans)
			for port, tool := range p.scans {
				wrong = wrong || said[port] != tool
			}
			if !wrong && (len(p.scans) > 0 || time.Now().After(deadline.Add(-100*time.Second))) {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("%s: said %v, right is %v", p.name, said, p.scans)
				break
			}
			time.Sleep(2 * time.Second)
		}
	}
	// By now everything is written: who was not accused then is not at all.
	for number, i := range watched {
		if said := live(ctx, t, s, sender(number)); len(said) != len(cast[i].scans) {
			t.Errorf("%s: said %v, right is %v", cast[i].name, said, cast[i].scans)
		}
	}
	if end := input(ctx, t, s, n.listen); end.Dropped.Kernel != 0 {
		t.Errorf("the kernel dropped %d packets", end.Dropped.Kernel)
	}
}

// until waits for something, at most ten seconds.
func until(done func() bool) {
	for end := time.Now().Add(10 * time.Second); !done() && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
	}
}

type liveInput struct {
	Name, Kind, State string
	Packets           uint64
	Dropped           struct{ Kernel, Late uint64 }
}

func input(ctx context.Context, t *testing.T, s *peers.Server, name string) liveInput {
	t.Helper()
	var status struct{ Inputs []liveInput }
	if err := s.Get(ctx, "/api/v1/status", &status); err != nil {
		t.Fatal(err)
	}
	for _, in := range status.Inputs {
		if in.Name == name && in.Kind == "live" {
			return in
		}
	}
	return liveInput{State: "absent"}
}

// live are the scans of one source with their tools, by port, as the API has them.
func live(ctx context.Context, t *testing.T, s *peers.Server, source string) map[string]string {
	t.Helper()
	var list struct {
		Rows []struct {
			Source       netip.Addr
			Key, Tool    string
			ToolVersions string `json:"tool_versions"`
		}
	}
	if err := s.Get(ctx, "/api/v1/telescope/events?scanner=true&limit=500&source="+source, &list); err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for _, r := range list.Rows {
		said[r.Key] = r.Tool
		if r.ToolVersions != "" {
			said[r.Key] += ", " + r.ToolVersions
		}
	}
	return said
}
