package geo_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"

	"sakimori/base/geo"
	"sakimori/base/wire/packet"
)

// sealed is a body with the magic bytes before and the checksum behind it.
func sealed(body []byte) []byte {
	raw := append([]byte("sakigeo\x01"), body...)
	return binary.LittleEndian.AppendUint64(raw, xxh3.Hash(raw))
}

func pack(t testing.TB, raw []byte) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll(raw, nil)
}

func unpack(t testing.TB, file []byte) []byte {
	t.Helper()
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	raw, err := z.DecodeAll(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestDamagedCompactFile(t *testing.T) {
	file, err := small(t).Encode()
	check(t, err)
	raw := unpack(t, file)
	other := bytes.Clone(raw)
	other[7] = 9
	flipped := bytes.Clone(raw)
	flipped[len(flipped)/2] ^= 1
	for name, c := range map[string]struct {
		file []byte
		says string
	}{
		"empty":          {nil, "damaged"},
		"cut":            {file[:len(file)/2], "damaged"},
		"not zstd":       {[]byte("<html>404</html>"), "damaged"},
		"something else": {pack(t, []byte("a,b,c\n1,2,3\n4,5,6\n")), "does not begin as one"},
		"other version":  {pack(t, other), "of format 9"},
		"flipped bit":    {pack(t, flipped), "checksum"},
		"tail":           {pack(t, sealed(append(bytes.Clone(raw[8:len(raw)-8]), 0))), "contradicts itself"},
		"huge":           {make([]byte, 65<<20), "more than it may have"},
	} {
		_, err := geo.Decode(c.file)
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "build it again") {
			t.Errorf("%s: error %v, want one that says %q", name, err, c.says)
		}
	}
	for n := range raw[8 : len(raw)-8] {
		if _, err := geo.DecodeRaw(sealed(raw[8 : 8+n])); err == nil {
			t.Errorf("a body cut after %d bytes was taken", n)
		}
	}
}

// TestBomb holds files that claim or unpack to far more than they carry.
func TestBomb(t *testing.T) {
	many := binary.AppendUvarint(nil, 1<<40)
	bodies := map[string][]byte{
		"sources":    many,
		"text":       append([]byte{1, 0}, many...),
		"positions":  append([]byte{0}, many...),
		"dictionary": append([]byte{0, 0}, many...),
		"spans":      append([]byte{0, 0, 1, 0}, many...),
		"names":      append([]byte{0, 0, 0, 0, 0, 0, 0, 0}, many...),
	}
	for name, body := range bodies {
		if n := allocated(func() {
			if _, err := geo.DecodeRaw(sealed(body)); err == nil {
				t.Errorf("%s: no error", name)
			}
		}); n > 64<<10 {
			t.Errorf("%s: %d bytes allocated for a file of %d", name, n, len(body))
		}
	}
	zeros := pack(t, make([]byte, 512<<20))
	if n := allocated(func() {
		if _, err := geo.Decode(zeros); err == nil {
			t.Error("a bomb of 512 MiB was taken")
		}
	}); n > 128<<20 {
		t.Errorf("%d MiB allocated for a bomb of %d bytes", n>>20, len(zeros))
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func FuzzRead(f *testing.F) {
	b := geo.NewBuilder()
	for i := range uint32(20) {
		_ = b.AddCountry(packet.V4(i<<24), packet.V4(i<<24|0xff), "JP")
		_ = b.AddASN(packet.V4(i<<20), packet.V4(i<<20|0xff), i, "name")
		_ = b.AddPosition(packet.Addr{Hi: uint64(i) << 40}, packet.Addr{Hi: uint64(i) << 40, Lo: 99}, "US", float64(i), 3)
	}
	for _, p := range []geo.Part{geo.Country, geo.ASN, geo.City} {
		b.Done(geo.Source{Part: p, Name: p.String()})
	}
	file, err := b.Encode()
	if err != nil {
		f.Fatal(err)
	}
	raw := unpack(f, file)
	f.Add(file)
	f.Add(raw[8 : len(raw)-8])
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = geo.Decode(data)
		b, err := geo.DecodeRaw(sealed(data))
		if err != nil {
			return
		}
		table := b.Table()
		for _, a := range []packet.Addr{{}, packet.V4(0), packet.V4(1 << 31), packet.V4(1<<32 - 1), {Hi: 0x2001 << 48}, {Hi: 1<<64 - 1, Lo: 1<<64 - 1}} {
			if p := table.Lookup(a); p.Lat < -90 || p.Lat > 90 || p.Lon < -180 || p.Lon > 180 {
				t.Fatalf("%v is at %v, %v", a, p.Lat, p.Lon)
			}
		}
	})
}
