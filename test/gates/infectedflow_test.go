package gates_test

import (
	"cmp"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sakimori/base/corpus"
	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/detect"
	infectedroom "sakimori/detect/infected"
	"sakimori/observe"
	"sakimori/observe/flow/mirror"
)

// private is everything that a capture made somewhere inside may call its own.
var private = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"),
}

var everybody = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

type told []detect.Finding

func (l *told) Find(f detect.Finding) { *l = append(*l, f) }

// infectedIn gives what the flows of a capture say.
func infectedIn(t *testing.T, path string, own []netip.Prefix) (found []infectedroom.Found, said told, packets uint64) {
	t.Helper()
	r, err := pcap.Open(path)
	if err != nil {
		return nil, nil, 0 // broken captures are another test's
	}
	defer r.Close()
	d := infectedroom.NewFlows(infectedroom.FlowsConfig{Own: own}, infectedroom.FlowsPorts{}, &said)
	m, err := mirror.New(mirror.Config{Tunnels: packet.GRE | packet.VXLAN, Most: 1 << 12}, func(list []observe.Flow) { d.Take(list) })
	if err != nil {
		t.Fatal(err)
	}
	_ = m.Read(r.ReadBlock) // as far as it can be read
	d.Finish()
	return d.Found(), said, m.Stats().Packets
}

// captures are the files below a folder of the corpus.
func captures(t *testing.T, parts ...string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(corpus.Folder(t, parts...), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(d.Name(), ".pcap") {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestInfectedByFlowsInCaptures: of the benign captures, of those of floods, whose victims
// answer very many, and of scans of one host nobody is said to be infected; of a capture
// that has a worm in it the worm is, and nobody else.
func TestInfectedByFlowsInCaptures(t *testing.T) {
	t.Parallel()
	worms, packets := 0, uint64(0)
	for _, folder := range []string{"benign", "ddos", "encap", "scan", "c2"} {
		for _, path := range captures(t, "pcap", folder) {
			for _, own := range [][]netip.Prefix{private, everybody} {
				found, said, n := infectedIn(t, path, own)
				packets += n
				if filepath.Base(path) == "infection_scan.pcap" {
					worms++
					if len(found) != 1 || found[0].Address != netip.MustParseAddr("10.0.0.5") || found[0].Targets != 40 || !slices.Equal(found[0].Ports, []uint16{445}) {
						t.Errorf("%s: %v", path, found)
					}
					continue
				}
				for _, f := range said {
					t.Errorf("%s: %s %s", path, f.Title.EN, f.Why.EN)
				}
			}
		}
	}
	if worms != 2 || packets < 2*100_000 {
		t.Errorf("%d worms, %d packets: is the corpus whole?", worms, packets)
	}
}

// argus reads a file of Argus's flows, both directions of each.
func argus(t *testing.T, path string) (list []observe.Flow) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	flags := map[rune]packet.TCPFlags{'F': packet.FIN, 'S': packet.SYN, 'R': packet.RST, 'P': packet.PSH, 'A': packet.ACK}
	for line := range strings.Lines(string(b)) {
		v := strings.Split(line, ",")
		if len(v) < 14 || v[2] != "tcp" && v[2] != "udp" {
			continue
		}
		at, err := time.Parse("2006/01/02 15:04:05.000000", v[0])
		src, err1 := netip.ParseAddr(v[3])
		from, err2 := strconv.ParseUint(v[4], 0, 16)
		dst, err3 := netip.ParseAddr(v[6])
		to, err4 := strconv.ParseUint(v[7], 0, 16)
		packets, err5 := strconv.ParseUint(v[11], 10, 32)
		if err := errors.Join(err, err1, err2, err3, err4, err5); err != nil {
			t.Fatalf("%s: %s: %v", path, line, err)
		}
		f := observe.Flow{
			Src: packet.FromNetip(src), Dst: packet.FromNetip(dst), SrcPort: uint16(from), DstPort: uint16(to), Proto: packet.UDP,
			First: at.UnixNano(), Last: at.UnixNano(), Packets: packets, Seen: uint32(packets), Bytes: 60 * packets, Rate: 1,
		}
		there, back, both := strings.Cut(v[8], "_")
		switch v[8] {
		case "REQ": // nothing was answered
			there, both = "S", false
		case "CON", "FIN":
			there, back, both = "SPA", "SPA", true
		}
		g := f
		g.Src, g.Dst, g.SrcPort, g.DstPort = f.Dst, f.Src, f.DstPort, f.SrcPort
		if v[2] == "tcp" {
			f.Proto, g.Proto = packet.TCP, packet.TCP
			for _, c := range there {
				f.TCPFlags |= flags[c]
			}
			for _, c := range back {
				g.TCPFlags |= flags[c]
			}
		}
		list = append(list, f)
		if both && back != "" {
			list = append(list, g)
		}
	}
	slices.SortStableFunc(list, func(a, b observe.Flow) int { return cmp.Compare(a.Last, b.Last) })
	return list
}

// TestInfectedByFlowsOfArgus: a real device that looks for victims is found by its flows,
// with its two ports, and nobody whom it talks to; devices that only talk to their C&C,
// as people read pages, aren't said to scan.
func TestInfectedByFlowsOfArgus(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]infectedroom.Found{
		"test4-malicious.binetflow": {{Address: netip.MustParseAddr("192.168.2.12"), Reason: "scan", Ports: []uint16{23, 81}}},
		"test2-malicious.binetflow": nil,
		"2016-09-09_win1.binetflow": nil,
	} {
		var said told
		d := infectedroom.NewFlows(infectedroom.FlowsConfig{Own: everybody}, infectedroom.FlowsPorts{}, &said)
		list := argus(t, corpus.Folder(t, "pcap", "c2", name))
		d.Take(list)
		d.Finish()
		found := d.Found()
		t.Logf("%s: %d flows, %v", name, len(list), found)
		if !slices.EqualFunc(found, want, func(a, b infectedroom.Found) bool {
			return a.Address == b.Address && a.Reason == b.Reason && slices.Equal(a.Ports, b.Ports)
		}) {
			t.Errorf("%s: %v, want %v", name, found, want)
		}
	}
}
