package mrt_test

import (
	"compress/bzip2"
	"compress/gzip"
	"encoding/binary"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sakimori/base/wire/mrt"
)

var be = binary.BigEndian

// record is a record as a file has it.
func record(seconds uint32, t mrt.Type, subtype uint16, body ...[]byte) []byte {
	all := slices.Concat(body...)
	b := be.AppendUint16(be.AppendUint16(be.AppendUint32(nil, seconds), uint16(t)), subtype)
	return append(be.AppendUint32(b, uint32(len(all))), all...)
}

// numbers are numbers of a size in bytes, in turn.
func numbers(size int, list ...uint64) (b []byte) {
	for _, v := range list {
		b = append(b, be.AppendUint64(nil, v)[8-size:]...)
	}
	return b
}

// addrs are addresses.
func addrs(list ...string) (b []byte) {
	for _, a := range list {
		b = append(b, netip.MustParseAddr(a).AsSlice()...)
	}
	return b
}

// attributes of an announcement: ORIGIN, AS_PATH in four bytes, NEXT_HOP, and more.
func attributes(more ...[]byte) []byte {
	return slices.Concat(append([][]byte{
		{0x40, 1, 1, 0}, {0x40, 2, 10, 2, 2}, numbers(4, 64500, 4200000001), {0x40, 3, 4, 192, 0, 2, 1},
	}, more...)...)
}

// update is an UPDATE with its header.
func update(withdrawn, attributes []byte, announced ...byte) []byte {
	b := slices.Concat(numbers(2, uint64(len(withdrawn))), withdrawn, numbers(2, uint64(len(attributes))), attributes, announced)
	return slices.Concat(slices.Repeat([]byte{0xff}, 16), numbers(2, uint64(19+len(b))), []byte{2}, b)
}

// session4 is what stands before a message or states, AS numbers in four bytes.
var session4 = slices.Concat(numbers(4, 4200000009, 64511), numbers(2, 7, 1), addrs("192.0.2.9", "192.0.2.10"))

// session2 is the same in two bytes, of IPv6.
var session2 = slices.Concat(numbers(2, 64509, 64511, 7, 2), addrs("2001:db8::9", "2001:db8::a"))

// peers is a table of two peers.
var peers = slices.Concat(addrs("192.0.2.10"), numbers(2, 3), []byte("tky"), numbers(2, 2),
	[]byte{0}, addrs("192.0.2.1", "192.0.2.9"), numbers(2, 64509), []byte{3}, addrs("192.0.2.2", "2001:db8::9"), numbers(4, 4200000009))

// entry is an entry of a table of the second format.
func entry(peer int, attributes []byte, id ...uint64) []byte {
	return slices.Concat(numbers(2, uint64(peer)), numbers(4, 1503631374), numbers(4, id...), numbers(2, uint64(len(attributes))), attributes)
}

// sample is one record of every kind that is read.
func sample() []byte {
	net := []byte{24, 203, 0, 113}
	attributes2 := []byte{0x40, 1, 1, 2, 0x40, 2, 6, 2, 2, 0xfb, 0xf4, 0x5b, 0xa0, 0x40, 3, 4, 192, 0, 2, 1, 0x40, 6, 0, 0x80, 4, 4, 0, 0, 0, 9}
	hop6 := slices.Concat([]byte{0x40, 1, 1, 0, 0x40, 2, 6, 2, 1}, numbers(4, 64500), []byte{0x80, 14, 17, 16}, addrs("2001:db8:0:1:1:1:1:1"))
	id := numbers(4, 77)
	both := update(net, attributes([]byte{0xc0, 8, 12}, numbers(4, 0xffffff01, 0xffffff02, 0xfbf40001), []byte{0x40, 5, 4, 0, 0, 0, 100}, []byte{0xc0, 7, 8}, numbers(4, 65536), addrs("192.0.2.7")), 16, 198, 18)
	added := update(slices.Concat(id, net), attributes(), slices.Concat(id, []byte{16, 198, 18})...)
	return slices.Concat(
		record(1503631370, mrt.TypeTableDumpV2, 1, peers),
		record(1503631370, mrt.TypeTableDumpV2, 2, numbers(4, 1), net, numbers(2, 2), entry(0, attributes()), entry(1, attributes())),
		record(1503631370, mrt.TypeTableDumpV2, 4, numbers(4, 2), []byte{32, 0x20, 1, 0xd, 0xb8}, numbers(2, 1), entry(1, hop6)),
		record(1503631370, mrt.TypeTableDumpV2, 8, numbers(4, 3), net, numbers(2, 1), entry(0, attributes(), 77)),
		record(1503631370, mrt.TypeTableDumpV2, 6, numbers(4, 3)), // RIB_GENERIC isn't read
		record(1503631371, mrt.TypeTableDump, 1, numbers(2, 0, 1), addrs("203.0.113.0"), []byte{24, 1}, numbers(4, 1503631000), addrs("192.0.2.9"), numbers(2, 64509, uint64(len(attributes2))), attributes2),
		record(1503631371, mrt.TypeTableDump, 2, numbers(2, 0, 2), addrs("2001:db8::"), []byte{32, 1}, numbers(4, 1503631000), addrs("2001:db8::9"), numbers(2, 64509, 0)),
		record(1503631372, mrt.TypeBGP4MP, 4, session4, both),
		record(1503631372, mrt.TypeBGP4MP, 7, session4, both),
		record(1503631372, mrt.TypeBGP4MP, 1, session2, update(nil, attributes2, net...)),
		record(1503631372, mrt.TypeBGP4MP, 9, session4, added),
		record(1503631372, mrt.TypeBGP4MP, 11, session4, added),
		record(1503631373, mrt.TypeBGP4MPET, 4, numbers(4, 42), session4, both),
		record(1503631373, mrt.TypeBGP4MPET, 5, numbers(4, 999999), session4, numbers(2, 5, 6)),
		record(1503631373, mrt.TypeBGP4MP, 0, session2, numbers(2, 6, 1)),
		record(1503631373, mrt.TypeBGP4MP, 0, numbers(2, 0, 0, 3, 4)), // Zebra's: neither interface nor addresses
		record(1503631374, mrt.TypeBGP, 1, numbers(2, 64509), addrs("192.0.2.9"), numbers(2, 64511), addrs("192.0.2.10"), update(nil, attributes2, net...)[19:]),
		record(1503631374, mrt.TypeBGP, 3, numbers(2, 64509), addrs("192.0.2.9"), numbers(2, 1, 6)),
		record(1503631374, 11, 0, numbers(4, 1)), // OSPF isn't read
	)
}

// plain reads a file, compressed or not.
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
