package rtr_test

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	theirs "github.com/osrg/gobgp/v4/pkg/packet/rtr"

	"sakimori/base/wire/rtr"
)

var (
	p4 = netip.MustParsePrefix("192.0.2.0/24")
	p6 = netip.MustParsePrefix("2001:db8::/32")
)

// session is one of everything.
func session(version uint8) []byte {
	b := rtr.AppendSerialNotify(nil, version, 7, 40)
	b = rtr.AppendSerialQuery(b, version, 7, 39)
	b = rtr.AppendResetQuery(b, version)
	b = rtr.AppendCacheReset(b, version)
	b = rtr.AppendCacheResponse(b, version, 7)
	b = rtr.AppendPrefix(b, version, true, p4, 26, 64500)
	b = rtr.AppendPrefix(b, version, false, p6, 48, 64501)
	if version >= 2 {
		b = rtr.AppendASPA(b, version, true, 64500, []uint32{64501, 4200000000})
		b = rtr.AppendASPA(b, version, false, 64502, nil)
	}
	b = rtr.AppendEndOfData(b, version, 7, 40, 3600, 600, 7200)
	return rtr.AppendErrorReport(b, version, rtr.NoData, []byte{1, 2, 0, 0, 0, 0, 0, 8}, "come back later")
}

// split reads all PDUs of b.
func split(t *testing.T, b []byte) (list []rtr.PDU, raw [][]byte) {
	t.Helper()
	for len(b) > 0 {
		var p rtr.PDU
		n, err := rtr.Parse(b, &p)
		if err != nil {
			t.Fatal(err)
		}
		list, raw, b = append(list, p), append(raw, b[:n]), b[n:]
	}
	return list, raw
}

// write is the other way round.
func write(p *rtr.PDU) []byte {
	var providers []uint32
	for i := range p.Providers() {
		providers = append(providers, p.Provider(i))
	}
	switch p.Type {
	case rtr.SerialNotify:
		return rtr.AppendSerialNotify(nil, p.Version, p.Session, p.Serial)
	case rtr.SerialQuery:
		return rtr.AppendSerialQuery(nil, p.Version, p.Session, p.Serial)
	case rtr.ResetQuery:
		return rtr.AppendResetQuery(nil, p.Version)
	case rtr.CacheReset:
		return rtr.AppendCacheReset(nil, p.Version)
	case rtr.CacheResponse:
		return rtr.AppendCacheResponse(nil, p.Version, p.Session)
	case rtr.IPv4Prefix, rtr.IPv6Prefix:
		return rtr.AppendPrefix(nil, p.Version, p.Announce, p.Prefix, p.MaxLength, p.AS)
	case rtr.ASPA:
		return rtr.AppendASPA(nil, p.Version, p.Announce, p.AS, providers)
	case rtr.EndOfData:
		return rtr.AppendEndOfData(nil, p.Version, p.Session, p.Serial, p.Refresh, p.Retry, p.Expire)
	case rtr.ErrorReport:
		return rtr.AppendErrorReport(nil, p.Version, p.Code, p.Copy, string(p.Text))
	}
	return nil
}

func TestThereAndBack(t *testing.T) {
	for version := range uint8(3) {
		list, raw := split(t, session(version))
		if want := []int{9, 9, 11}[version]; len(list) != want {
			t.Fatalf("version %d: %d PDUs, want %d", version, len(list), want)
		}
		for i := range list {
			if got := write(&list[i]); !bytes.Equal(got, raw[i]) {
				t.Errorf("version %d: %+v\n read from %x\nwritten as %x", version, list[i], raw[i], got)
			}
		}
	}
}

// The PDUs of the RFC's figures, written out by hand.
func TestFigures(t *testing.T) {
	var p rtr.PDU
	if _, err := rtr.Parse([]byte{1, 4, 0, 0, 0, 0, 0, 20, 1, 24, 26, 0, 192, 0, 2, 0, 0, 0, 0xfb, 0xf4}, &p); err != nil ||
		p.Prefix != p4 || p.MaxLength != 26 || p.AS != 64500 || !p.Announce || p.Version != 1 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := rtr.Parse([]byte{0, 7, 0, 9, 0, 0, 0, 12, 0, 0, 1, 0}, &p); err != nil || p.Session != 9 || p.Serial != 256 || p.Refresh != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := rtr.Parse([]byte{1, 7, 0, 9, 0, 0, 0, 24, 0, 0, 1, 0, 0, 0, 14, 16, 0, 0, 2, 88, 0, 0, 28, 32}, &p); err != nil || p.Refresh != 3600 || p.Retry != 600 || p.Expire != 7200 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := rtr.Parse([]byte{2, 11, 1, 0, 0, 0, 0, 20, 0, 0, 0xfb, 0xf4, 0, 0, 0xfb, 0xf5, 0, 0, 0xfb, 0xf6}, &p); err != nil || !p.Announce || p.AS != 64500 || p.Providers() != 2 || p.Provider(1) != 64502 {
		t.Errorf("%+v, %v", p, err)
	}
}

// As stayrtr 0.5.1 sends it, with one PDU for each family.
func TestOldForm(t *testing.T) {
	var p rtr.PDU
	if _, err := rtr.Parse([]byte{2, 11, 0, 0, 0, 0, 0, 24, 1, 1, 0, 2, 0, 0, 0x3c, 0xca, 0, 0, 0x0b, 0x62, 0, 0, 0x20, 0x5b}, &p); err != nil || !p.Announce || p.Family != 6 || p.AS != 15562 || p.Providers() != 2 || p.Provider(1) != 8283 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := rtr.Parse([]byte{2, 11, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0x3c, 0xca}, &p); err != nil || p.Announce || p.Family != 4 || p.AS != 15562 || p.Providers() != 0 {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := rtr.Parse([]byte{2, 11, 0, 0, 0, 0, 0, 20, 1, 0, 0, 2, 0, 0, 0x3c, 0xca, 0, 0, 0x0b, 0x62}, &p); !errors.Is(err, rtr.ErrLength) {
		t.Errorf("two providers in the space of one: %v", err)
	}
}

func TestBroken(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"nothing", nil, rtr.ErrMore},
		{"half a header", []byte{1, 2, 0, 0}, rtr.ErrMore},
		{"half a body", []byte{1, 0, 0, 0, 0, 0, 0, 12, 0}, rtr.ErrMore},
		{"shorter than its header", []byte{1, 2, 0, 0, 0, 0, 0, 7}, rtr.ErrLength},
		{"a length bomb", []byte{1, 2, 0, 0, 0xff, 0xff, 0xff, 0xff}, rtr.ErrLength},
		{"HTTP", []byte("HTTP/1.1 400 Bad Request\r\n"), rtr.ErrLength},
		{"a reset with a body", []byte{1, 2, 0, 0, 0, 0, 0, 9, 0}, rtr.ErrLength},
		{"version 3", []byte{3, 2, 0, 0, 0, 0, 0, 8}, rtr.ErrVersion},
		{"type 5", []byte{1, 5, 0, 0, 0, 0, 0, 8}, rtr.ErrType},
		{"ASPA in version 1", []byte{1, 11, 1, 0, 0, 0, 0, 12, 0, 0, 0, 1}, rtr.ErrType},
		{"a key in version 0", []byte{0, 9, 1, 0, 0, 0, 0, 8}, rtr.ErrType},
		{"a short key", []byte{1, 9, 1, 0, 0, 0, 0, 9, 0}, rtr.ErrLength},
		{"half a provider", []byte{2, 11, 1, 0, 0, 0, 0, 14, 0, 0, 0, 1, 0, 0}, rtr.ErrLength},
		{"new end in version 0", []byte{0, 7, 0, 9, 0, 0, 0, 24, 0, 0, 1, 0, 0, 0, 14, 16, 0, 0, 2, 88, 0, 0, 28, 32}, rtr.ErrLength},
		{"longer than its maximum", []byte{1, 4, 0, 0, 0, 0, 0, 20, 1, 24, 23, 0, 192, 0, 2, 0, 0, 0, 0, 1}, rtr.ErrPrefix},
		{"longer than an address", []byte{1, 4, 0, 0, 0, 0, 0, 20, 1, 33, 33, 0, 192, 0, 2, 0, 0, 0, 0, 1}, rtr.ErrPrefix},
		{"an error about more than there is", []byte{1, 10, 0, 0, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0}, rtr.ErrLength},
		{"an error that says more than there is", []byte{1, 10, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 1}, rtr.ErrLength},
	} {
		var p rtr.PDU
		if _, err := rtr.Parse(c.b, &p); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if rtr.NoData.String() != "no data available" || rtr.Code(99).String() != "error 99" {
		t.Error("the codes' words")
	}
}

// GoBGP, which knows version 0 only, writes as we do.
func TestOracle(t *testing.T) {
	for _, c := range []struct {
		ours []byte
		its  theirs.RTRMessage
	}{
		{rtr.AppendSerialNotify(nil, 0, 7, 40), theirs.NewRTRSerialNotify(7, 40)},
		{rtr.AppendSerialQuery(nil, 0, 7, 40), theirs.NewRTRSerialQuery(7, 40)},
		{rtr.AppendResetQuery(nil, 0), theirs.NewRTRResetQuery()},
		{rtr.AppendCacheResponse(nil, 0, 7), theirs.NewRTRCacheResponse(7)},
		{rtr.AppendCacheReset(nil, 0), theirs.NewRTRCacheReset()},
		{rtr.AppendPrefix(nil, 0, true, p4, 26, 64500), theirs.NewRTRIPPrefix(p4.Addr(), 24, 26, 64500, theirs.ANNOUNCEMENT)},
		{rtr.AppendPrefix(nil, 0, false, p6, 48, 64500), theirs.NewRTRIPPrefix(p6.Addr(), 32, 48, 64500, theirs.WITHDRAWAL)},
		{rtr.AppendEndOfData(nil, 0, 7, 40, 1, 2, 3), theirs.NewRTREndOfData(7, 40)},
	} {
		want, err := c.its.Serialize()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.ours, want) {
			t.Errorf("%T:\n ours %x\ntheirs %x", c.its, c.ours, want)
		}
	}
}

// Fuzz: nothing crashes it or makes it reach beyond the PDU, and what it reads without a
// word it writes again.
func Fuzz(f *testing.F) {
	for version := range uint8(3) {
		f.Add(session(version))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			var p rtr.PDU
			n, err := rtr.Parse(b, &p)
			if errors.Is(err, rtr.ErrMore) {
				if n <= len(b) || n > rtr.MaxSize {
					t.Fatalf("%d bytes aren't enough, %d are", len(b), n)
				}
				return
			}
			if err != nil {
				return
			}
			if p.Type != rtr.RouterKey && len(p.Copy) <= 128 && p.Family == 0 && (p.Type != rtr.ASPA || p.Announce) {
				var again rtr.PDU
				w := write(&p)
				if _, err := rtr.Parse(w, &again); err != nil || !bytes.Equal(write(&again), w) {
					t.Fatalf("%x\nwritten as %x: %v", b[:n], w, err)
				}
			}
			b = b[n:]
		}
	})
}

func TestAllocations(t *testing.T) {
	b := session(2)
	buf := make([]byte, 0, len(b))
	var p rtr.PDU
	if n := testing.AllocsPerRun(100, func() {
		for rest := b; len(rest) > 0; {
			n, err := rtr.Parse(rest, &p)
			if err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		buf = rtr.AppendPrefix(buf[:0], 2, true, p6, 48, 64501)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkParse(b *testing.B) {
	one := rtr.AppendPrefix(nil, 2, true, p4, 26, 64500)
	var p rtr.PDU
	for b.Loop() {
		if _, err := rtr.Parse(one, &p); err != nil {
			b.Fatal(err)
		}
	}
}
