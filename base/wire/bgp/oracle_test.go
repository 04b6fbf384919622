package bgp_test

import (
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	oracle "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"sakimori/base/corpus"
	"sakimori/base/wire/bgp"
	"sakimori/base/wire/mrt"
)

// options are ours in the oracle's words.
func options(o bgp.Options) *oracle.MarshallingOption {
	their := &oracle.MarshallingOption{Use2ByteAS: !o.AS4, AddPath: map[oracle.Family]oracle.BGPAddPathMode{}}
	for f, name := range []oracle.Family{oracle.RF_IPv4_UC, oracle.RF_IPv4_MC, oracle.RF_IPv6_UC, oracle.RF_IPv6_MC} {
		if o.AddPath.Has(bgp.Family(f)) {
			their.AddPath[name] = oracle.BGP_ADD_PATH_BOTH
		}
	}
	return their
}

// theirs reads an UPDATE by GoBGP.
func theirs(body []byte, o bgp.Options) ([]string, error) {
	var m oracle.BGPUpdate
	if err := m.DecodeFromBytes(body, options(o)); err != nil {
		return nil, fmt.Errorf("oracle: %w", err)
	}
	var list []string
	say := func(verb string, f bgp.Family, p oracle.PathNLRI, via string) {
		list = append(list, fmt.Sprintf("%s %s %s %d%s", verb, f, prefix(p.NLRI), p.ID, via))
	}
	hop := ""
	for _, p := range m.WithdrawnRoutes {
		say("withdraw", bgp.IPv4Unicast, p, "")
	}
	for _, a := range m.PathAttributes {
		switch a := a.(type) {
		case *oracle.PathAttributeMpUnreachNLRI:
			for _, p := range a.Value {
				say("withdraw", bgp.FamilyOf(a.AFI, a.SAFI), p, "")
			}
		case *oracle.PathAttributeNextHop:
			hop = fmt.Sprintf(" via %s invalid IP", a.Value)
		}
	}
	for _, p := range m.NLRI {
		say("announce", bgp.IPv4Unicast, p, hop)
	}
	for _, a := range m.PathAttributes {
		if a, is := a.(*oracle.PathAttributeMpReachNLRI); is {
			for _, p := range a.Value {
				say("announce", bgp.FamilyOf(a.AFI, a.SAFI), p, fmt.Sprintf(" via %s %s", a.Nexthop, a.LinkLocalNexthop))
			}
		}
	}
	return append(list, theirAttributes(m.PathAttributes, o.AS4)...), nil
}

// prefix is a prefix of the oracle without what it leaves behind the mask.
func prefix(n oracle.NLRI) string {
	if p, is := n.(*oracle.IPAddrPrefix); is {
		return p.Prefix.Masked().String()
	}
	return n.String()
}

// theirAttributes says the oracle's attributes in our order. The first of several counts.
func theirAttributes(attributes []oracle.PathAttributeInterface, as4 bool) (list []string) {
	said := map[oracle.BGPAttrType]string{}
	var old, new4 []string
	transit, merged := false, true
	for _, a := range attributes {
		if said[a.GetType()] != "" {
			continue
		}
		line := ""
		switch a := a.(type) {
		case *oracle.PathAttributeOrigin:
			line = fmt.Sprintf("origin %d", a.Value)
		case *oracle.PathAttributeAsPath:
			line = "path"
			for _, s := range a.Value {
				old = append(old, tokens(bgp.Kind(s.GetType()), s.GetAS())...)
			}
		case *oracle.PathAttributeAs4Path:
			line = "path4"
			for _, s := range a.Value {
				new4 = append(new4, tokens(bgp.Kind(s.Type), s.AS)...)
			}
		case *oracle.PathAttributeMultiExitDisc:
			line = fmt.Sprintf("med %d", a.Value)
		case *oracle.PathAttributeLocalPref:
			line = fmt.Sprintf("pref %d", a.Value)
		case *oracle.PathAttributeAtomicAggregate:
			line = "atomic"
		case *oracle.PathAttributeAggregator:
			line = fmt.Sprintf("aggregator %d %s", a.Value.AS, a.Value.Address)
			transit = a.Value.AS == 23456
		case *oracle.PathAttributeAs4Aggregator:
			line = fmt.Sprintf("aggregator %d %s", a.Value.AS, a.Value.Address)
		case *oracle.PathAttributeCommunities:
			line = fmt.Sprintf("communities %d", a.Value)
		case *oracle.PathAttributeLargeCommunities:
			var numbers []uint32
			for _, v := range a.Values {
				numbers = append(numbers, v.ASN, v.LocalData1, v.LocalData2)
			}
			line = fmt.Sprintf("large %d", numbers)
		case *oracle.PathAttributeExtendedCommunities:
			line = fmt.Sprintf("extended %d", len(a.Value))
		}
		said[a.GetType()] = line
	}
	if both := said[oracle.BGP_ATTR_TYPE_AS4_AGGREGATOR]; both != "" && !as4 && said[oracle.BGP_ATTR_TYPE_AGGREGATOR] != "" {
		if merged = transit; merged {
			said[oracle.BGP_ATTR_TYPE_AGGREGATOR] = both
		}
	}
	if keep := len(old) - len(new4); !as4 && merged && said[oracle.BGP_ATTR_TYPE_AS4_PATH] != "" && keep >= 0 {
		old = append(old[:keep:keep], new4...)
	}
	if said[oracle.BGP_ATTR_TYPE_AS_PATH] != "" {
		said[oracle.BGP_ATTR_TYPE_AS_PATH] = "path " + strings.Join(old, " ")
	}
	for _, t := range []oracle.BGPAttrType{
		oracle.BGP_ATTR_TYPE_ORIGIN, oracle.BGP_ATTR_TYPE_AS_PATH, oracle.BGP_ATTR_TYPE_MULTI_EXIT_DISC, oracle.BGP_ATTR_TYPE_LOCAL_PREF,
		oracle.BGP_ATTR_TYPE_ATOMIC_AGGREGATE, oracle.BGP_ATTR_TYPE_AGGREGATOR, oracle.BGP_ATTR_TYPE_COMMUNITIES,
		oracle.BGP_ATTR_TYPE_LARGE_COMMUNITY, oracle.BGP_ATTR_TYPE_EXTENDED_COMMUNITIES,
	} {
		if said[t] != "" {
			list = append(list, said[t])
		}
	}
	return list
}

// tokens are the parts of a path that count one each: of a sequence each AS, of a set all
// of it.
func tokens(k bgp.Kind, ases []uint32) (list []string) {
	if k != bgp.Sequence {
		return []string{segment(k, ases)}
	}
	for _, as := range ases {
		list = append(list, segment(k, []uint32{as}))
	}
	return list
}

// split makes a path that we said into tokens, as the oracle's are.
func split(list []string) []string {
	for i, line := range list {
		if strings.HasPrefix(line, "path ") {
			var parts []string
			for s := range strings.SplitSeq(strings.TrimPrefix(line, "path "), "] ") {
				s = strings.TrimSuffix(s, "]")
				if kind, ases, found := strings.Cut(s, "["); found && kind == "2" {
					for as := range strings.FieldsSeq(ases) {
						parts = append(parts, "2["+as+"]")
					}
				} else if found {
					parts = append(parts, s+"]")
				}
			}
			list[i] = "path " + strings.Join(parts, " ")
		}
	}
	return list
}

// plain opens a file, compressed or not.
func plain(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = f
	switch filepath.Ext(path) {
	case ".gz":
		if r, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	case ".bz2":
		r = bzip2.NewReader(f)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestOracle: each UPDATE of each collector's file says to us what it says to GoBGP.
// Tables are compared in package mrt.
func TestOracle(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(corpus.Folder(t, "bgp"), "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(corpus.Folder(t, "bgp", "bgpdump", "data"), "updates.*"))
	if err != nil {
		t.Fatal(err)
	}
	compared, guessed := 0, map[string]int{}
	for _, path := range append(more, files...) {
		if name := filepath.Base(path); !strings.Contains(name, "updates.") && filepath.Ext(name) != ".mrt" || filepath.Ext(name) == ".json" {
			continue
		}
		data := plain(t, path)
		var r mrt.Record
		var m mrt.Message
		var u bgp.Update
		each := 0
		for len(data) > 0 {
			n, err := mrt.Parse(data, &r)
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			data = data[n:]
			if r.Kind() != mrt.KindMessage {
				continue
			}
			if err := r.Message(&m); err != nil {
				t.Errorf("%s: %v", path, err)
			}
			if m.Type != bgp.TypeUpdate {
				continue
			}
			if each++; each > 1500 && each%20 != 0 { // the oracle is slow; of the longest files a part
				continue
			}
			if u.Parse(m.Body, m.Options); u.Guessed {
				guessed[filepath.Base(path)]++
			}
			m.Options.Guess = false
			u.Parse(m.Body, m.Options)
			want, err := theirs(m.Body, m.Options)
			if err != nil || u.Fault != bgp.Sound {
				if strings.Contains(path, "trailing_bits") && u.Fault == bgp.Reset {
					continue // made to be damaged: half a prefix at its end
				}
				if err == nil || u.Fault == bgp.Sound {
					t.Errorf("%s: GoBGP says %v, we say %v", path, err, u.Err)
				}
				continue
			}
			compared++
			if diff := cmp.Diff(want, split(lines(&u))); diff != "" {
				t.Fatalf("%s: - GoBGP, + ours:\n%s", path, diff)
			}
		}
	}
	if compared < 10000 {
		t.Errorf("only %d updates were compared", compared)
	}
	// Only this file holds identifiers that nobody told: those of one peer.
	if len(guessed) != 1 || guessed["bgpipe-sample.mrt"] != 11 {
		t.Errorf("identifiers are guessed in %v", guessed)
	}
	t.Logf("%d updates say the same", compared)
}

// TestSessions: of real sessions of Cisco routers each message is whole, its OPEN tells
// what GoBGP reads in it, and its UPDATEs, of VPNs all of them, are passed over and
// counted, their attributes read.
func TestSessions(t *testing.T) {
	t.Parallel()
	list, err := filepath.Glob(filepath.Join(corpus.Folder(t, "bgp", "bgp-pcap"), "*", "*.pcap"))
	if err != nil || len(list) < 7 {
		t.Fatal(list, err)
	}
	opened, skipped := 0, 0
	for _, path := range list {
		for _, b := range corpus.Streams(t, path) {
			var m bgp.Message
			var u bgp.Update
			for len(b) > 0 {
				n, err := bgp.Cut(b, bgp.MaxMessage, &m)
				if errors.Is(err, bgp.ErrShort) {
					break // some captures end within a message
				}
				if err != nil {
					t.Fatalf("%s: %v", path, err)
				}
				b = b[n:]
				want, err := oracle.ParseBGPMessage(m.Raw)
				if err != nil {
					t.Fatalf("%s: GoBGP: %v", path, err)
				}
				switch body := want.Body.(type) {
				case *oracle.BGPOpen:
					var o bgp.Open
					if err := o.Parse(m.Body); err != nil || o.ID != body.ID || o.HoldTime != body.HoldTime || !o.AS4 || o.Others == 0 {
						t.Errorf("%s: %v, %+v", path, err, o)
					}
					opened++
				case *oracle.BGPUpdate:
					u.Parse(m.Body, bgp.Options{AS4: true})
					if diff := cmp.Diff(theirAttributes(body.PathAttributes, true), split(attributeLines(&u))); u.Fault != bgp.Sound || diff != "" {
						t.Errorf("%s: %v\n- GoBGP, + ours:\n%s", path, u.Err, diff)
					}
					skipped += u.Skipped
				}
			}
		}
	}
	if opened < 7 || skipped < 100 {
		t.Errorf("%d sessions, %d blocks passed over", opened, skipped)
	}
}
