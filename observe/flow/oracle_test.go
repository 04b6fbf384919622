package flow_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/netsampler/goflow2/v2/decoders/netflow"
	"github.com/netsampler/goflow2/v2/decoders/netflowlegacy"
	"github.com/netsampler/goflow2/v2/decoders/sflow"
	"github.com/netsampler/goflow2/v2/producer"
	proto "github.com/netsampler/goflow2/v2/producer/proto"

	"sakimori/base/corpus"
	"sakimori/observe"
	"sakimori/observe/flow"
)

// exporters are the datagrams of the corpus by who sent them: those of a capture, or of a
// group of files of which some hold the templates and others the data.
func exporters(t testing.TB) map[string][][]byte {
	t.Helper()
	dir := corpus.Folder(t, "flow")
	all := map[string][][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		group, _, _ := strings.Cut(strings.TrimSuffix(strings.TrimSuffix(name, ".pcap"), ".dat"), "_tpl")
		for _, part := range []string{"_opttpl", "_data", "-template", "-data"} {
			if !strings.Contains(name, "tpldata") {
				group, _, _ = strings.Cut(group, part)
			}
		}
		if group == "akvorado/template" {
			group = "akvorado/data"
		}
		var list [][]byte
		switch filepath.Ext(path) {
		case ".pcap":
			list = corpus.Datagrams(t, path)
		case ".dat":
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			list = [][]byte{b}
			if strings.HasSuffix(name, "/netflow5.dat") || strings.HasSuffix(name, "/ipfix.dat") {
				list = split(b)
			}
		}
		if strings.Contains(name, "template") || strings.Contains(name, "tpl") {
			all[group] = append(list, all[group]...)
		} else {
			all[group] = append(all[group], list...)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// split is a file of several datagrams of NetFlow version 5 or of IPFIX.
func split(b []byte) (list [][]byte) {
	for len(b) > 0 {
		n := int(binary.BigEndian.Uint16(b[2:]))
		if b[1] == 5 {
			n = 24 + 48*n
		}
		list, b = append(list, b[:n]), b[n:]
	}
	return list
}

// goflow is goflow2 as its collector uses it.
type goflow struct {
	templates netflow.NetFlowTemplateSystem
	producer  producer.ProducerInterface
}

func newGoflow(t *testing.T) *goflow {
	t.Helper()
	cfg, err := (&proto.ProducerConfig{}).Compile()
	if err != nil {
		t.Fatal(err)
	}
	p, err := proto.CreateProtoProducer(cfg, proto.CreateSamplingSystem)
	if err != nil {
		t.Fatal(err)
	}
	return &goflow{netflow.CreateTemplateSystem(), p}
}

// lines are the flows that goflow2 makes of a datagram.
func (g *goflow) lines(b []byte) (list []string, err error) {
	var v5 netflowlegacy.PacketNetFlowV5
	var v9 netflow.NFv9Packet
	var v10 netflow.IPFIXPacket
	var s5 sflow.Packet
	var msg any
	switch binary.BigEndian.Uint16(b) {
	case 5:
		err, msg = netflowlegacy.DecodeMessageVersion(bytes.NewBuffer(b), &v5), &v5
	case 9:
		err, msg = netflow.DecodeMessageVersion(bytes.NewBuffer(b), g.templates, &v9, &v10), &v9
	case 10:
		err, msg = netflow.DecodeMessageVersion(bytes.NewBuffer(b), g.templates, &v9, &v10), &v10
	default:
		err, msg = sflow.DecodeMessageVersion(bytes.NewBuffer(b), &s5), &s5
	}
	if err != nil && !errors.Is(err, netflow.ErrorTemplateNotFound) {
		return nil, err
	}
	flows, err := g.producer.Produce(msg, &producer.ProduceArgs{Src: netip.MustParseAddrPort("192.0.2.1:2055"), SamplerAddress: netip.MustParseAddr("192.0.2.1"), TimeReceived: time.Unix(0, 0)})
	if err != nil {
		return nil, err
	}
	for _, f := range flows {
		m := f.(*proto.ProtoProducerMessage)
		src, _ := netip.AddrFromSlice(m.SrcAddr)
		dst, _ := netip.AddrFromSlice(m.DstAddr)
		p, sport, dport, flags := m.Proto, m.SrcPort, m.DstPort, m.TcpFlags
		switch p {
		case 6, 17, 132:
		case 1, 58:
			sport = 0
			if i := m.IcmpType<<8 | m.IcmpCode; i != 0 {
				dport = i
			}
		default:
			sport, dport = 0, 0
		}
		if p != 6 {
			flags = 0
		}
		if !src.IsValid() || m.Packets|m.Bytes == 0 {
			continue // tells of no traffic, or not of whose
		}
		list = append(list, fmt.Sprintf("%s:%d > %s:%d %d, %d packets %d bytes, %d > %d, AS %d > %d, flags %x", src.Unmap(), sport, dst.Unmap(), dport, p, m.Packets, m.Bytes, face(m.InIf), face(m.OutIf), m.SrcAs, m.DstAs, flags&0xff))
	}
	return list, nil
}

func line(f *observe.Flow) string {
	return fmt.Sprintf("%s:%d > %s:%d %d, %d packets %d bytes, %d > %d, AS %d > %d, flags %x", f.Src, f.SrcPort, f.Dst, f.DstPort, f.Proto, f.Packets/uint64(f.Rate), f.Bytes/uint64(f.Rate), f.In, f.Out, f.SrcAS, f.DstAS, f.TCPFlags)
}

// differ are datagrams of which we mean to read something else.
var differ = map[string]string{
	"akvorado/data+templates 0":                      "its data stand before its templates: goflow2 drops them",
	"logstash/netflow9_test_cisco_asa_1 1":           "bytes are told as those of who began a session and of who answers",
	"logstash/netflow9_test_cisco_asa_2 2":           "likewise",
	"logstash/netflow9_test_fortigate_fortios_521 2": "of counts of what came in and what left, goflow2 takes the last, which is 0",
	"logstash/netflow9_test_invalid01 0":             "its header counts two records, and goflow2 stops there",
	"akvorado/data-sflow-raw-ipv4 0":                 "goflow2 doesn't read headers that begin with IP",
	"logstash/ipfix 0":                               "goflow2 can't read a sampling interval of two bytes, and gives no flows",
	"akvorado/ipfix-srv6 1":                          "bytes are those of the frame there, of IP here",
}

// sampled is what a sample of sFlow has alike: bytes are those of the frame there, of IP
// here; type and code of ICMP aren't told there.
var sampled = regexp.MustCompile(`:\d+( (?:1|58),)|( 1 packets) \d+ bytes`)

// face is an interface; these two stand for the router itself, and for several.
func face(n uint32) uint32 {
	if n == 1<<30-1 || n == 1<<31 {
		return 0
	}
	return n
}

// TestEqualToGoflow: of every datagram of the corpus the flows are those of goflow2.
func TestEqualToGoflow(t *testing.T) {
	t.Parallel()
	all := exporters(t)
	datagrams, flows, different := 0, 0, 0
	for name, list := range all {
		d, err := flow.NewDirectory(flow.Config{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		c := d.Collector(func(b []observe.Flow) {
			for i := range b {
				got = append(got, line(&b[i]))
			}
		})
		g := newGoflow(t)
		for i, b := range list {
			if len(b) < 4 {
				continue
			}
			got = nil
			err := c.Ingest(b, netip.MustParseAddrPort("192.0.2.1:2055"), int64(i)*1e9)
			c.Flush()
			want, bad := g.lines(b)
			reason := differ[fmt.Sprint(name, " ", i)]
			if (err == nil) != (bad == nil) && reason == "" {
				t.Errorf("%s, datagram %d: we say %v, goflow2 %v", name, i, err, bad)
				continue
			}
			datagrams++
			flows += len(got)
			if b[1] == 0 {
				for _, list := range [...][]string{got, want} {
					for j := range list {
						list[j] = sampled.ReplaceAllString(list[j], "$1$2")
					}
				}
			}
			diff := cmp.Diff(want, got)
			if reason != "" {
				different++
				if diff == "" {
					t.Errorf("%s, datagram %d is read alike: take it off the list", name, i)
				}
			} else if diff != "" {
				t.Errorf("%s, datagram %d, - goflow2, + ours:\n%s", name, i, diff)
			}
		}
	}
	t.Logf("%d exporters, %d datagrams, %d flows; %d datagrams are meant to differ", len(all), datagrams, flows, different)
	if datagrams < 319 || flows < 640 || different != len(differ) {
		t.Error("is the corpus whole?")
	}
}
