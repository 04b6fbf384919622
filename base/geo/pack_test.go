package geo_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/zeebo/xxh3"

	"sakimori/base/geo"
	"sakimori/base/wire/packet"
)

func unpackTable(file []byte) (*geo.Table, error) {
	return geo.Unpack(bytes.NewReader(file), int64(len(file)))
}

// resealed is the front of a packed file with the right checksum, and the rest.
func resealed(file []byte, front int) []byte {
	out := bytes.Clone(file)
	binary.LittleEndian.PutUint64(out[front-8:], xxh3.Hash(out[:front-8]))
	return out
}

func TestDamagedPackedFile(t *testing.T) {
	b := small(t)
	file, err := b.Pack()
	check(t, err)
	compact, err := b.Encode()
	check(t, err)
	front := len(file) - len(compact)
	changed := func(at int) []byte {
		out := bytes.Clone(file)
		out[at] ^= 1
		return out
	}
	const v4 = 36 // where the sources begin
	starts := v4 + int(binary.LittleEndian.Uint32(file[8:]))
	for name, c := range map[string]struct {
		file []byte
		says string
	}{
		"empty":          {nil, "does not begin as one"},
		"the compact":    {compact, "does not begin as one"},
		"other version":  {changed(7), "does not begin as one"},
		"cut":            {file[:len(file)-1], "not as long"},
		"tail":           {append(bytes.Clone(file), 0), "not as long"},
		"huge":           {changed(15), "not as long"},
		"flipped bit":    {changed(front - 20), "checksum"},
		"first start":    {resealed(changed(starts), front), "contradicts itself"},
		"start descends": {resealed(changed(starts+7), front), "contradicts itself"},
	} {
		if _, err := unpackTable(c.file); err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "build it again") {
			t.Errorf("%s: error %v, want one that says %q", name, err, c.says)
		}
	}

	// Damage behind the front takes the positions, and says so.
	table, err := unpackTable(changed(front + len(compact)/2))
	check(t, err)
	if err := table.Prepare(); err == nil || !strings.Contains(err.Error(), "build it again") {
		t.Errorf("positions that are damaged: error %v", err)
	}
	if got, want := table.Lookup(addr("203.0.113.7")), place("FR", 64501, 0, 0, false); got != want {
		t.Errorf("without positions 203.0.113.7 is %+v, want %+v", got, want)
	}
}

func FuzzUnpack(f *testing.F) {
	b := geo.NewBuilder()
	for i := range uint32(20) {
		_ = b.AddCountry(packet.V4(i<<24), packet.V4(i<<24|0xff), "JP")
		_ = b.AddASN(packet.Addr{Hi: uint64(i) << 40}, packet.Addr{Hi: uint64(i) << 40, Lo: 99}, i, "name")
	}
	b.Done(geo.Source{Part: geo.Country, Name: "c"})
	b.Done(geo.Source{Part: geo.ASN, Name: "n"})
	file, err := b.Pack()
	if err != nil {
		f.Fatal(err)
	}
	compact, err := b.Encode()
	if err != nil {
		f.Fatal(err)
	}
	front := len(file) - len(compact)
	f.Add(file)
	f.Add(file[:front])
	f.Fuzz(func(_ *testing.T, data []byte) {
		if len(data) >= front { // let the fuzzer past the checksum
			data = resealed(data, front)
		}
		table, err := unpackTable(data)
		if err != nil {
			return
		}
		for _, a := range []packet.Addr{{}, packet.V4(0), packet.V4(1 << 31), packet.V4(1<<32 - 1), {Hi: 0x2001 << 48}, {Hi: 1<<64 - 1, Lo: 1<<64 - 1}} {
			_, asn := table.Owner(a)
			table.ASName(asn)
			table.Lookup(a)
		}
		for asn := range uint32(20) {
			table.ASName(asn)
		}
	})
}
