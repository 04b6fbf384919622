package mrt_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	oracle "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	oraclemrt "github.com/osrg/gobgp/v4/pkg/packet/mrt"

	"sakimori/base/corpus"
	"sakimori/base/wire/bgp"
	"sakimori/base/wire/mrt"
)

// say says what a record holds, but for the attributes: those are compared in package
// bgp.
func say(r *mrt.Record) (list []string, err error) {
	who := func(s *mrt.Session) string {
		return fmt.Sprintf("%s %d to %s %d by %d", s.Peer, s.PeerAS, s.Local, s.LocalAS, s.Interface)
	}
	switch r.Kind() {
	case mrt.KindMessage:
		var m mrt.Message
		err = r.Message(&m)
		list = append(list, fmt.Sprintf("%s: %d, %x", who(&m.Session), m.Type, m.Body))
	case mrt.KindState:
		var s mrt.State
		err = r.State(&s)
		list = append(list, fmt.Sprintf("%s: %d to %d", who(&s.Session), s.From, s.To))
	case mrt.KindPeers:
		var p mrt.Peers
		err = r.Peers(&p)
		list = append(list, fmt.Sprintf("%s %s", p.Collector, p.View))
		for _, peer := range p.List {
			list = append(list, fmt.Sprintf("%s %d %s", peer.Address, peer.AS, peer.BGPID))
		}
	case mrt.KindRIB:
		var rib mrt.RIB
		err = r.RIB(&rib)
		list = append(list, fmt.Sprintf("%d %s %s: %d", rib.Sequence, rib.Prefix.Family, rib.Prefix.Netip(), rib.Entries))
		for e := (mrt.Entry{}); rib.Next(&e); {
			list = append(list, fmt.Sprintf("%d %d %d %d", e.Peer, e.Originated, e.ID, len(e.Attributes)))
		}
		err = errors.Join(err, rib.Err())
	case mrt.KindTable:
		var d mrt.Table
		err = r.Table(&d)
		list = append(list, fmt.Sprintf("%d %d %s from %s %d at %d: %x", d.View, d.Sequence, d.Prefix.Netip(), d.Peer, d.PeerAS, d.Originated, d.Attributes))
	case mrt.Unread:
	}
	return list, err
}

// theirs says it by GoBGP, which reads neither the oldest records nor those with
// microseconds; of those it is given the rest.
func theirs(r *mrt.Record) ([]string, error) {
	h := &oraclemrt.MRTHeader{Type: oraclemrt.MRTType(r.Type), SubType: r.Subtype, Len: uint32(len(r.Body))}
	if r.Type == mrt.TypeBGP4MPET {
		h.Type = oraclemrt.BGP4MP
	}
	m, err := oraclemrt.ParseBody(r.Body, h)
	if err != nil {
		return nil, fmt.Errorf("oracle: %w", err)
	}
	who := func(h *oraclemrt.BGP4MPHeader) string {
		return fmt.Sprintf("%s %d to %s %d by %d", h.PeerIpAddress, h.PeerAS, h.LocalIpAddress, h.LocalAS, h.InterfaceIndex)
	}
	switch b := m.Body.(type) {
	case *oraclemrt.BGP4MPMessage:
		raw := r.Body[len(r.Body)-int(b.BGPMessage.Header.Len)+bgp.HeaderSize:]
		return []string{fmt.Sprintf("%s: %d, %x", who(b.BGP4MPHeader), b.BGPMessage.Header.Type, raw)}, nil
	case *oraclemrt.BGP4MPStateChange:
		return []string{fmt.Sprintf("%s: %d to %d", who(b.BGP4MPHeader), b.OldState, b.NewState)}, nil
	case *oraclemrt.PeerIndexTable:
		list := []string{fmt.Sprintf("%s %s", b.CollectorBgpId, b.ViewName)}
		for _, p := range b.Peers {
			list = append(list, fmt.Sprintf("%s %d %s", p.IpAddress, p.AS, p.BgpId))
		}
		return list, nil
	case *oraclemrt.Rib:
		list := []string{fmt.Sprintf("%d %s %s: %d", b.SequenceNumber, bgp.FamilyOf(b.Family.Afi(), b.Family.Safi()), b.Prefix, len(b.Entries))}
		for _, e := range b.Entries {
			n := 0
			for _, a := range e.PathAttributes {
				n += attributeLen(a)
			}
			list = append(list, fmt.Sprintf("%d %d %d %d", e.PeerIndex, e.OriginatedTime, e.PathIdentifier, n))
		}
		return list, nil
	}
	return nil, errors.New("oracle: of no kind")
}

// attributeLen is how many bytes an attribute had.
func attributeLen(a oracle.PathAttributeInterface) int { return a.Len() }

// TestOracle: each record of each file says to us what it says to GoBGP.
func TestOracle(t *testing.T) {
	t.Parallel()
	compared := map[mrt.Kind]int{}
	each := func(name string, data []byte) {
		var r mrt.Record
		for k := 0; len(data) > 0; k++ {
			n, err := mrt.Parse(data, &r)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			data = data[n:]
			if k > 1500 && k%20 != 0 {
				continue // the oracle is slow; of the longest files a part
			}
			want, err := theirs(&r)
			if err != nil {
				continue
			}
			got, err := say(&r)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Fatalf("%s, record %d: %v\n- GoBGP, + ours:\n%s", name, k, err, diff)
			}
			compared[r.Kind()]++
		}
	}
	each("the sample", sample())
	for _, path := range files(t) {
		each(path, plain(t, path))
	}
	if compared[mrt.KindMessage] < 5000 || compared[mrt.KindState] < 100 || compared[mrt.KindPeers] < 3 || compared[mrt.KindRIB] < 60 {
		t.Errorf("too little was compared: %v", compared)
	}
	t.Logf("compared by kind: %v", compared)
}

// files are all MRT files of the corpus.
func files(t testing.TB) (list []string) {
	t.Helper()
	for _, pattern := range []string{"bgpdump/data/*", "ris/*", "incidents-mrt/*"} {
		found, err := filepath.Glob(filepath.Join(corpus.Folder(t, "bgp"), pattern))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, slices.DeleteFunc(found, func(p string) bool { return strings.HasSuffix(p, ".json") })...)
	}
	if len(list) < 20 {
		t.Fatalf("only %d files", len(list))
	}
	return list
}

// TestRecords: records that GoBGP can't read, and what one says beside its body.
func TestRecords(t *testing.T) {
	t.Parallel()
	var r mrt.Record
	kinds := map[mrt.Kind]int{}
	for data := sample(); len(data) > 0; {
		n, err := mrt.Parse(data, &r)
		if err != nil {
			t.Fatal(err)
		}
		data = data[n:]
		kinds[r.Kind()]++
		list, err := say(&r)
		if err != nil {
			t.Errorf("type %d, subtype %d: %v", r.Type, r.Subtype, err)
		}
		var m mrt.Message
		switch {
		case r.Type == mrt.TypeBGP4MPET && r.Subtype == 4:
			if r.At != 1503631373000042000 {
				t.Errorf("at %d", r.At)
			}
		case r.Type == mrt.TypeBGP && r.Subtype == 1:
			if err := r.Message(&m); err != nil || m.Raw != nil || m.Options.AS4 || m.Peer.String() != "192.0.2.9" || m.Local.String() != "192.0.2.10" {
				t.Errorf("%v: %+v", err, m)
			}
		case r.Type == mrt.TypeBGP4MP && r.Subtype == 11:
			if err := r.Message(&m); err != nil || !m.Sent || !m.Options.AS4 || !m.Options.AddPath.Has(bgp.IPv6Multicast) || len(m.Raw) == 0 {
				t.Errorf("%v: %+v", err, m)
			}
		case r.Type == mrt.TypeBGP4MP && r.Subtype == 0 && len(r.Body) == 8:
			if list[0] != "invalid IP 0 to invalid IP 0 by 0: 3 to 4" {
				t.Error(list)
			}
		case r.Type == mrt.TypeTableDump && r.Subtype == 2:
			if list[0] != "0 2 2001:db8::/32 from 2001:db8::9 64509 at 1503631000: " {
				t.Error(list)
			}
		}
	}
	want := map[mrt.Kind]int{mrt.Unread: 2, mrt.KindMessage: 7, mrt.KindState: 4, mrt.KindPeers: 1, mrt.KindRIB: 3, mrt.KindTable: 2}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Error(diff)
	}
}

// TestDamage: a record that is shorter than what it says it holds is an error, wherever
// it ends, and says no more than the whole one.
func TestDamage(t *testing.T) {
	t.Parallel()
	var r mrt.Record
	for data := sample(); len(data) > 0; {
		n, err := mrt.Parse(data, &r)
		if err != nil {
			t.Fatal(err)
		}
		data = data[n:]
		whole, _ := say(&r)
		for i := range r.Body {
			cut := r
			cut.Body = r.Body[:i:i]
			if r.Subtype == 0 && len(r.Body) > 8 && i == 8 || r.Type == mrt.TypeBGP && r.Subtype == 1 && i >= 12 {
				continue // it is Zebra's then; what the oldest records hold has no length of its own
			}
			if got, err := say(&cut); r.Kind() != mrt.Unread && (err == nil || len(got) > len(whole)) {
				t.Errorf("type %d, subtype %d, cut to %d of %d bytes: %q", r.Type, r.Subtype, i, len(r.Body), got)
			}
		}
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"family": {record(1, mrt.TypeBGP4MP, 4, numbers(4, 1, 2), numbers(2, 0, 3), make([]byte, 60)), mrt.ErrFamily},
		"marker": {record(1, mrt.TypeBGP4MP, 4, session4, make([]byte, 60)), mrt.ErrMessage},
		"bits":   {record(1, mrt.TypeTableDumpV2, 2, numbers(4, 1), []byte{33, 1, 2, 3, 4, 5}, numbers(2, 0)), mrt.ErrPrefix},
		"bits 1": {record(1, mrt.TypeTableDump, 1, numbers(4, 1, 1), []byte{33, 1}, make([]byte, 14)), mrt.ErrPrefix},
		"behind": {record(1, mrt.TypeBGP4MP, 4, session4, update(nil, nil), []byte{1}), mrt.ErrMessage},
	} {
		if _, err := mrt.Parse(c.b, &r); err != nil {
			t.Fatal(err)
		}
		if _, err := say(&r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
