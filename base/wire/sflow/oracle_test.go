package sflow_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	oracle "github.com/netsampler/goflow2/v2/decoders/sflow"

	"sakimori/base/corpus"
	"sakimori/base/wire/packet"
	"sakimori/base/wire/sflow"
)

// lines writes down what we read of a datagram, a line for the header, each sample and
// each record. The error is the first thing that was wrong.
func lines(b []byte) (list []string, fault error) {
	var d sflow.Datagram
	if err := sflow.Parse(b, &d); err != nil {
		return nil, err
	}
	list = append(list, fmt.Sprintf("%x %d %d %d", d.Agent.AsSlice(), d.SubAgent, d.Sequence, d.Uptime))
	for s := (sflow.Sample{}); d.Next(&s); {
		list = append(list, fmt.Sprintf("sample %d: %d %d %d; %d %d %d %v %v %d", s.Type, s.Sequence, s.SourceClass, s.SourceIndex, s.Rate, s.Pool, s.Drops, s.Input, s.Output, s.Reason))
		for r := (sflow.Record{}); s.Next(&r); {
			x, err := content(&s, &r)
			fault = errors.Join(fault, err)
			list = append(list, fmt.Sprintf("record %d: %x", r.Type, said(x)))
		}
		fault = errors.Join(fault, s.Err())
	}
	return list, errors.Join(fault, d.Err())
}

// said is what is in a record, in words that the oracle's can be put into too.
func said(x any) any {
	switch x := x.(type) {
	case sflow.Record:
		return x.Body
	case sflow.IPHeader:
		return []any{x.Length, x.Proto, x.Src.AsSlice(), x.Dst.AsSlice(), x.SrcPort, x.DstPort, x.TCPFlags, x.TOS}
	case sflow.RouterInfo:
		return []any{x.NextHop.AsSlice(), x.SrcBits, x.DstBits}
	case sflow.GatewayInfo:
		return []any{x.NextHop.AsSlice(), x.AS, x.SrcAS, x.SrcPeerAS, x.DstPeerAS, x.DstAS, x.Hops, x.LocalPref}
	case sflow.InterfaceCounters:
		return fields(x)
	}
	return x
}

// fields are the values of a struct of numbers, in order.
func fields(x any) (list []uint64) {
	for _, f := range reflect.ValueOf(x).Fields() {
		list = append(list, f.Uint())
	}
	return list
}

// theirs writes down what goflow2 reads of it, in the same words.
func theirs(b []byte) (list []string, err error) {
	var p oracle.Packet
	if err := oracle.DecodeMessageVersion(bytes.NewBuffer(b), &p); err != nil {
		return nil, err
	}
	list = append(list, fmt.Sprintf("%x %d %d %d", []byte(p.AgentIP), p.SubAgentId, p.SequenceNumber, p.Uptime))
	for _, s := range p.Samples {
		var h oracle.SampleHeader
		var records []any
		tail := "0 0 0 {0 0} {0 0} 0"
		flows := func(list []oracle.FlowRecord) {
			for _, r := range list {
				records = append(records, r)
			}
		}
		switch s := s.(type) {
		case oracle.FlowSample:
			h = s.Header
			tail = fmt.Sprintf("%d %d %d {%d %d} {%d %d} 0", s.SamplingRate, s.SamplePool, s.Drops, s.Input>>30, s.Input&0x3fffffff, s.Output>>30, s.Output&0x3fffffff)
			flows(s.Records)
		case oracle.ExpandedFlowSample:
			h = s.Header
			tail = fmt.Sprintf("%d %d %d {%d %d} {%d %d} 0", s.SamplingRate, s.SamplePool, s.Drops, s.InputIfFormat, s.InputIfValue, s.OutputIfFormat, s.OutputIfValue)
			flows(s.Records)
		case oracle.DropSample:
			h = s.Header
			tail = fmt.Sprintf("0 0 %d {0 %d} {0 %d} %d", s.Drops, s.Input, s.Output, s.Reason)
			flows(s.Records)
		case oracle.CounterSample:
			h = s.Header
			for _, r := range s.Records {
				records = append(records, r)
			}
		default:
			return list, errors.New("a sample is missing")
		}
		list = append(list, fmt.Sprintf("sample %d: %d %d %d; %s", h.Format, h.SampleSequenceNumber, h.SourceIdType, h.SourceIdValue, tail))
		for _, r := range records {
			switch r := r.(type) {
			case oracle.FlowRecord:
				list = append(list, fmt.Sprintf("record %d: %x", r.Header.DataFormat, theirSaid(r.Data)))
			case oracle.CounterRecord:
				list = append(list, fmt.Sprintf("record %d: %x", r.Header.DataFormat, theirSaid(r.Data)))
			}
		}
	}
	return list, nil
}

func theirSaid(x any) any {
	switch x := x.(type) {
	case oracle.RawRecord:
		return x.Data
	case oracle.SampledHeader:
		return sflow.RawHeader{Protocol: x.Protocol, Length: x.FrameLength, Stripped: x.Stripped, Bytes: x.HeaderData[:min(len(x.HeaderData), int(x.OriginalLength))]}
	case oracle.SampledEthernet:
		return sflow.EthernetHeader{Length: x.Length, Src: [6]byte(x.SrcMac), Dst: [6]byte(x.DstMac), Kind: x.EthType}
	case oracle.SampledIPv4:
		return []any{x.Length, x.Protocol, []byte(x.SrcIP), []byte(x.DstIP), x.SrcPort, x.DstPort, x.TcpFlags, x.Tos}
	case oracle.SampledIPv6:
		return []any{x.Length, x.Protocol, []byte(x.SrcIP), []byte(x.DstIP), x.SrcPort, x.DstPort, x.TcpFlags, x.Priority}
	case oracle.ExtendedSwitch:
		return sflow.SwitchInfo{SrcVLAN: x.SrcVlan, SrcPriority: x.SrcPriority, DstVLAN: x.DstVlan, DstPriority: x.DstPriority}
	case oracle.ExtendedRouter:
		return []any{[]byte(x.NextHop), x.SrcMaskLen, x.DstMaskLen}
	case oracle.ExtendedGateway:
		var first, last uint32
		if n := len(x.ASPath); n > 0 && (n == 1 || x.ASPathType == 2) {
			first, last = x.ASPath[0], x.ASPath[n-1]
		}
		return []any{[]byte(x.NextHop), x.AS, x.SrcAS, x.SrcPeerAS, first, last, uint32(len(x.ASPath)), x.LocalPref}
	case oracle.IfCounters:
		return fields(x)
	case oracle.EthernetCounters:
		var b []byte
		for _, v := range fields(x) {
			b = append(b, xdr(int(v))...)
		}
		return b
	}
	return x
}

// agents are the datagrams of the corpus that say version 5, by capture.
func agents(t testing.TB) map[string][][]byte {
	t.Helper()
	dir := corpus.Folder(t, "flow")
	all := map[string][][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".pcap" {
			return err
		}
		for _, b := range corpus.Datagrams(t, path) {
			if len(b) > 4 && bytes.Equal(b[:4], []byte{0, 0, 0, 5}) {
				name, _ := filepath.Rel(dir, path)
				all[name] = append(all[name], b)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestEqualToGoflow: every datagram of the corpus is read as goflow2 reads it, but for
// an Ethernet header, whose addresses it takes to have no padding. One capture was made
// to break readers.
func TestEqualToGoflow(t *testing.T) {
	t.Parallel()
	captures, datagrams, samples, records, ethernet, cut := 0, 0, 0, 0, 0, 0
	for name, list := range agents(t) {
		captures++
		for i, b := range list {
			got, err := lines(b)
			want, bad := theirs(b)
			if err != nil {
				cut++
				t.Logf("%s, datagram %d: we say %v, goflow2 %v", name, i, err, bad)
				continue
			}
			if bad != nil {
				t.Errorf("%s, datagram %d: goflow2 says %v, we nothing", name, i, bad)
			}
			want = slices.DeleteFunc(want, func(l string) bool { return strings.HasPrefix(l, "record 2: {") })
			got = slices.DeleteFunc(got, func(l string) bool {
				if strings.HasPrefix(l, "record 2: {") {
					ethernet++
					return true
				}
				return false
			})
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, datagram %d, - goflow2, + ours:\n%s", name, i, diff)
			}
			datagrams++
			for _, l := range got[1:] {
				if strings.HasPrefix(l, "sample") {
					samples++
				} else {
					records++
				}
			}
		}
	}
	t.Logf("%d captures, %d datagrams, %d samples, %d records, and %d Ethernet headers; %d datagrams damaged", captures, datagrams, samples, records, ethernet, cut)
	if datagrams < 65 || samples < 225 || records < 453 || ethernet != 1 || cut != 1 {
		t.Error("is the corpus whole?")
	}
}

// TestPackets: the headers in the corpus are packets that packet.Decoder reads.
func TestPackets(t *testing.T) {
	t.Parallel()
	got := map[packet.Status]int{}
	for _, list := range agents(t) {
		for _, b := range list {
			var d sflow.Datagram
			if sflow.Parse(b, &d) != nil {
				continue
			}
			for s := (sflow.Sample{}); d.Next(&s); {
				for r := (sflow.Record{}); s.Next(&r); {
					var h sflow.RawHeader
					if s.Kind != sflow.Flow || r.Type != sflow.Header || r.Header(&h) != nil {
						continue
					}
					link, known := h.Link()
					if !known {
						t.Errorf("protocol %d isn't read", h.Protocol)
						continue
					}
					var p packet.Packet
					got[(&packet.Decoder{}).Decode(link, h.Bytes, h.Length-min(h.Length, h.Stripped), &p)]++
				}
			}
		}
	}
	if got[packet.OK] < 25 || len(got) != 1 {
		t.Errorf("headers by what became of them: %v", got)
	}
}

// TestRealEthernet: an agent's Ethernet header, as tshark reads it.
func TestRealEthernet(t *testing.T) {
	t.Parallel()
	b := agents(t)["akvorado/data-sflow-ipv4-data.pcap"][0]
	got, err := lines(b)
	want := "record 2: {56e 00fec8990547 01005e2aaa04 800}"
	if err != nil || !slices.Contains(got, want) {
		t.Errorf("%q isn't in %q; %v", want, got, err)
	}
}
