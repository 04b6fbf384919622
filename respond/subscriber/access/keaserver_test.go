package access_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"

	"sakimori/respond/subscriber"
	"sakimori/respond/subscriber/access"
)

// keaServer starts a server of Kea on loopback and gives its address, a socket for
// what a relay says to it, and the path of its lease file.
func keaServer(t *testing.T, version int, subnet string) (server *net.UDPAddr, relay *net.UDPConn, leases string) {
	t.Helper()
	name := fmt.Sprintf("kea-dhcp%d", version)
	program, err := exec.LookPath(name)
	if err != nil {
		program = "/usr/sbin/" + name
	}
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s isn't installed (Debian: %s-server)", name, name)
		}
		t.Skipf("SKIPPED, NOT TESTED: %s isn't installed (Debian: %s-server)", name, name)
	}
	local := map[int]string{4: "127.0.0.1", 6: "::1"}[version]
	relay, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(local)})
	if err != nil {
		t.Skipf("SKIPPED, NOT TESTED: this machine has no %s: %v", local, err)
	}
	t.Cleanup(func() { _ = relay.Close() })
	free, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(local)})
	if err != nil {
		t.Fatal(err)
	}
	server = free.LocalAddr().(*net.UDPAddr)
	_ = free.Close()

	dir := t.TempDir()
	leases = filepath.Join(dir, "leases.csv")
	config := map[string]any{
		"interfaces-config":   map[string]any{"interfaces": []string{"lo/" + local}},
		"lease-database":      map[string]any{"type": "memfile", "name": leases},
		"store-extended-info": true,
		"valid-lifetime":      600,
		"loggers":             []any{map[string]any{"name": name, "severity": "INFO", "output_options": []any{map[string]any{"output": "stdout"}}}},
	}
	if version == 4 {
		config["interfaces-config"].(map[string]any)["dhcp-socket-type"] = "udp"
	}
	if version == 6 { // its DUID stays out of the system's folder
		config["server-id"] = map[string]any{"type": "LL", "htype": 1, "identifier": "001a2b3c4d5f", "persist": false}
	}
	var sub map[string]any
	if err := json.Unmarshal([]byte(subnet), &sub); err != nil {
		t.Fatal(err)
	}
	config[fmt.Sprintf("subnet%d", version)] = []any{sub}
	text, err := json.Marshal(map[string]any{fmt.Sprintf("Dhcp%d", version): config})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "kea.conf")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(program, "-c", path, "-p", fmt.Sprint(server.Port), "-P", fmt.Sprint(relay.LocalAddr().(*net.UDPAddr).Port))
	cmd.Env = append(os.Environ(), "KEA_PIDFILE_DIR="+dir, "KEA_LOCKFILE_DIR="+dir)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed: never a success
		if t.Failed() {
			t.Logf("%s", said.String())
		}
	})
	return server, relay, leases
}

// ask sends a message through the relay until an answer comes: the server may still
// be starting.
func ask(t *testing.T, relay *net.UDPConn, server *net.UDPAddr, message []byte) []byte {
	t.Helper()
	b := make([]byte, 4096)
	for range 100 {
		if _, err := relay.WriteToUDP(message, server); err != nil {
			t.Fatal(err)
		}
		_ = relay.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, _, err := relay.ReadFromUDP(b); err == nil {
			return b[:n]
		}
	}
	t.Fatal("the server of Kea doesn't answer")
	return nil
}

// leasesOf reads a lease file, until it says what is wanted.
func leasesOf(t *testing.T, path string, want []string) {
	t.Helper()
	var got []string
	eventually(t, func() bool {
		b, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		got = nil
		s, err := access.ReadKea(bytes.NewReader(b), access.LeaseOptions{}, func(r *subscriber.Record) error {
			line := fmt.Sprintf("%s %s %s", kinds[r.Kind], r.Address, r.Line)
			if len(got) == 0 || got[len(got)-1] != line { // said again, as the request was
				got = append(got, line)
			}
			if d := time.Since(r.At); d < -time.Minute || d > time.Minute || r.Kind == subscriber.Begin && r.Until.Sub(r.At) != 10*time.Minute {
				t.Fatalf("at %v until %v, and it is %v", r.At, r.Until, time.Now())
			}
			return nil
		})
		return err == nil && s.Malformed == 0 && slices.Equal(got, want)
	}, func() string {
		b, _ := os.ReadFile(path)
		return fmt.Sprintf("got\n%s, want\n%s, from\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), b)
	})
}

// TestKeaServer4: a server of Kea gives an address through a relay that says which
// circuit asks, renews it, and gets it back.
func TestKeaServer4(t *testing.T) {
	server, relay, leases := keaServer(t, 4, `{"id": 1, "subnet": "203.0.113.0/24", "pools": [{"pool": "203.0.113.10-203.0.113.10"}], "relay": {"ip-addresses": ["127.0.0.1"]}}`)
	circuit := dhcpv4.WithOption(dhcpv4.OptRelayAgentInfo(dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(1), []byte("olt1,7")), dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(2), []byte{0, 4, 0xff})))
	from := []dhcpv4.Modifier{dhcpv4.WithRelay(net.IPv4(127, 0, 0, 1)), circuit, dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte{1, 2, 3}))}
	parse := func(b []byte) *dhcpv4.DHCPv4 {
		m, err := dhcpv4.FromBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	discover, err := dhcpv4.NewDiscovery(net.HardwareAddr{0, 0x1a, 0x2b, 0x3c, 0x4d, 0x5e}, from...)
	if err != nil {
		t.Fatal(err)
	}
	offer := parse(ask(t, relay, server, discover.ToBytes()))
	request, err := dhcpv4.NewRequestFromOffer(offer, from...)
	if err != nil {
		t.Fatal(err)
	}
	ack := parse(ask(t, relay, server, request.ToBytes()))
	if ack.MessageType() != dhcpv4.MessageTypeAck {
		t.Fatal(ack.Summary())
	}
	const who = " 203.0.113.10/32 olt1,7|0x0004ff"
	leasesOf(t, leases, []string{"Begin" + who})
	release, err := dhcpv4.NewReleaseFromACK(ack, from...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := relay.WriteToUDP(release.ToBytes(), server); err != nil {
		t.Fatal(err)
	}
	leasesOf(t, leases, []string{"Begin" + who, "End" + who})
}

// TestKeaServer6: the same with an address and a prefix of IPv6.
func TestKeaServer6(t *testing.T) {
	server, relay, leases := keaServer(t, 6, `{"id": 1, "subnet": "2001:db8::/32", "pools": [{"pool": "2001:db8::10-2001:db8::10"}], "pd-pools": [{"prefix": "2001:db8:100::", "prefix-len": 40, "delegated-len": 40}], "relay": {"ip-addresses": ["2001:db8:ffff::1"]}}`)
	duid := &dhcpv6.DUIDLL{HWType: 1, LinkLayerAddr: net.HardwareAddr{0, 0x1a, 0x2b, 0x3c, 0x4d, 0x5e}}
	through := func(m *dhcpv6.Message) []byte {
		r, err := dhcpv6.EncapsulateRelay(m, dhcpv6.MessageTypeRelayForward, net.ParseIP("2001:db8:ffff::1"), net.ParseIP("fe80::1"))
		if err != nil {
			t.Fatal(err)
		}
		r.AddOption(dhcpv6.OptInterfaceID([]byte("olt1,7")))
		r.AddOption(&dhcpv6.OptRemoteID{EnterpriseNumber: 9, RemoteID: []byte{0, 4, 0xff}})
		return r.ToBytes()
	}
	inner := func(b []byte) *dhcpv6.Message {
		m, err := dhcpv6.FromBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		in, err := m.GetInnerMessage()
		if err != nil {
			t.Fatal(err)
		}
		return in
	}
	solicit, err := dhcpv6.NewMessage(dhcpv6.WithClientID(duid), dhcpv6.WithIAID([4]byte{0, 0, 0, 9}), dhcpv6.WithIAPD([4]byte{0, 0, 0, 8}))
	if err != nil {
		t.Fatal(err)
	}
	solicit.MessageType = dhcpv6.MessageTypeSolicit
	advertise := inner(ask(t, relay, server, through(solicit)))
	request, err := dhcpv6.NewRequestFromAdvertise(advertise)
	if err != nil {
		t.Fatal(err)
	}
	reply := inner(ask(t, relay, server, through(request)))
	if reply.MessageType != dhcpv6.MessageTypeReply {
		t.Fatal(reply.Summary())
	}
	const circuit = "olt1,7|0x0004ff"
	leasesOf(t, leases, []string{
		"Begin " + netip.MustParsePrefix("2001:db8::10/128").String() + " " + circuit,
		"Begin 2001:db8:100::/40 " + circuit,
	})
}
