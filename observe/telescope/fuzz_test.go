package telescope_test

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"sakimori/base/wire/packet"
	"sakimori/observe"
	"sakimori/observe/telescope"
)

// sample makes a telescope that has seen something of everything.
func sample(t tb, workers, packets int) *rig {
	cfg := small()
	cfg.Workers = workers
	r := build(t, cfg)
	rng := rand.New(rand.NewPCG(21, 22))
	now := start + 23*hour + 50*minute
	for range packets {
		now += rng.Int64N(3 * second)
		r.feed(draw(rng).at(now - rng.Int64N(40*second)))
	}
	return r
}

// use lets a restored telescope see packets, answer everything and write itself
// down again.
func use(t tb, tel *telescope.Telescope) {
	defer tel.Close()
	_, last, _ := tel.Span()
	rng := rand.New(rand.NewPCG(23, 24))
	at := max(last.UnixNano(), 0)
	b := tel.Block()
	b.Buf, b.Frames = b.Buf[:0], b.Frames[:0]
	for i := range 150 {
		f := draw(rng)
		b.Frames = append(b.Frames, packet.Frame{Time: at + int64(i)*second, Off: uint32(len(b.Buf)), Len: uint32(len(f.data)), Orig: uint32(len(f.data)), Link: f.link})
		b.Buf = append(b.Buf, f.data...)
	}
	tel.Ingest(b)
	tel.Advance(time.Unix(0, min(at, telescope.MaxTime-hour)).Add(5 * time.Minute))
	tel.OpenBuckets()
	tel.Open(time.Time{}, 10)
	tel.Document()
	if tel.Totals().Frames == 0 {
		t.Fatal("no frames after Restore")
	}
	tel.Begin()
	tel.State()
}

// damaged tries to restore a state and fails the test when more memory is taken
// than the state's length allows for.
func damaged(t tb, state []byte, workers int) error {
	cfg := small()
	cfg.Workers = workers
	tel, err := telescope.New(cfg, &sink{})
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err = tel.Restore(state)
	runtime.ReadMemStats(&after)
	// Tables, bitmaps and a minute's cells have a size of their own, about 10 MB
	// a worker; beyond that a byte may become some dozens in a table.
	if took := after.TotalAlloc - before.TotalAlloc; took > uint64(64<<20+200*len(state)) {
		t.Fatalf("%d bytes of state took %d bytes of memory", len(state), took)
	}
	if err == nil {
		use(t, tel)
	}
	return err
}

// TestDamagedState cuts a state off at every place, and puts a wrong byte in
// many: an error in words or a telescope that works, never a panic or a hang.
func TestDamagedState(t *testing.T) {
	state := sample(t, 2, 400).State()
	if err := damaged(t, state, 3); err != nil {
		t.Fatalf("the whole state: %v", err)
	}
	rng := rand.New(rand.NewPCG(25, 26))
	for range 60 {
		if err := damaged(t, state[:rng.IntN(len(state))], 2); err == nil {
			t.Error("a state that ends early was restored")
		}
	}
	if err := damaged(t, append(append([]byte{}, state...), 0), 2); err == nil {
		t.Error("a state with something behind its end was restored")
	}
	refused := 0
	for i := range 150 {
		bad := append([]byte{}, state...)
		at := rng.IntN(len(bad))
		if i < 60 {
			at = rng.IntN(150) // where the numbers are that everything depends on
		}
		bad[at] = byte(rng.UintN(256))
		if damaged(t, bad, 1+i%3) != nil {
			refused++
		}
	}
	t.Logf("a state of %d bytes; %d of 150 with a wrong byte were refused", len(state), refused)
}

// TestRestoreRefuses: states of something else.
func TestRestoreRefuses(t *testing.T) {
	state := sample(t, 1, 5).State()
	for name, c := range map[string]struct {
		cfg   telescope.Config
		state []byte
		seen  bool
	}{
		"nothing":               {cfg: small()},
		"something else":        {cfg: small(), state: []byte("sakimori-flow-1\n")},
		"another dark space":    {cfg: dark("198.51.100.0/24"), state: state},
		"of one that has begun": {cfg: small(), state: state, seen: true},
	} {
		r := build(t, c.cfg)
		if c.seen {
			r.feed(syn(host, target, 23).at(start))
		}
		if err := r.Restore(c.state); err == nil || len(err.Error()) < 30 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(sample(f, 1, 0).State())
	f.Add(sample(f, 1, 3).State())
	f.Add(sample(f, 2, 60).State())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 1<<20 {
			_ = damaged(t, b, 1)
		}
	})
}

// FuzzFrame lets frames of any content and time through a telescope: it never
// fails, every frame is in at most one sum, and the classes add up.
func FuzzFrame(f *testing.F) {
	rng := rand.New(rand.NewPCG(27, 28))
	for range 40 {
		r := draw(rng)
		f.Add(uint16(r.link), r.data, int64(1))
	}
	f.Add(uint16(packet.LinkEthernet), make([]byte, 60), int64(-1))
	f.Fuzz(func(t *testing.T, link uint16, data []byte, step int64) {
		cfg := dark("0.0.0.0/1", "203.0.113.64/27", "198.51.100.0/24", "2000::/3")
		cfg.Own = small().Own
		cfg.Tunnels = packet.GRE | packet.ERSPAN | packet.VXLAN | packet.IPIP
		cfg.Workers = 1 + len(data)%3
		r := build(t, cfg)
		// The frame as it is, cut, and with its addresses and ports turned over.
		now := start
		var recs []rec
		for i := range 6 {
			d := append([]byte{}, data...)
			switch {
			case i == 1 && len(d) > 0:
				d = d[:len(d)/2]
			case i > 1 && len(d) > 4:
				at := int(binary.LittleEndian.Uint32(d)>>i) % len(d)
				d[at] ^= byte(1 << i)
			}
			recs = append(recs, rec{link: packet.LinkType(link), data: d, t: now})
			now += step
		}
		d := r.feed(recs...).finish().document()
		c := classes(d)
		if d.Packets != 6 || c[0]+c[1]+c[2]+c[3] != d.DarkPackets || d.DarkPackets+d.Fragments+d.FromDark+d.NotIP+d.UnknownLink+d.Malformed > d.Packets {
			t.Fatalf("the sums don't add up: %+v", d)
		}
		packets := uint64(0)
		for _, p := range d.Ports {
			packets += p.Packets
		}
		if packets != c[observe.Scan] || d.UniqueSources > d.DarkPackets || d.DarkAddresses.Hit+d.DarkAddresses.HitV6 > d.DarkPackets {
			t.Fatalf("ports %d, sources %d: %+v", packets, d.UniqueSources, d)
		}
		if err := build(t, cfg).Restore(r.State()); err != nil {
			t.Fatal(err)
		}
	})
}
