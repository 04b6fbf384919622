package telescope_test

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"sakimori/base/wire/packet"
	"sakimori/observe/telescope"
)

// dated are frames with these times, each of two bytes that say which it is.
func dated(times []int64, from int) (b packet.Block) {
	for i, t := range times {
		b.Frames = append(b.Frames, packet.Frame{Time: t, Off: uint32(len(b.Buf)), Len: 2, Orig: 2})
		b.Buf = append(b.Buf, byte((from+i)>>8), byte(from+i))
	}
	return b
}

// TestDatesInPieces: frames come out of Dates in their order and with their bytes,
// and are judged alike, however they are cut into blocks; no more than a window of
// them wait.
func TestDatesInPieces(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		ahead := rapid.SampledFrom([]int{3, 30, 300}).Draw(rt, "one of so many is ahead")
		times, now := make([]int64, rapid.IntRange(0, 400).Draw(rt, "frames")), start
		for i := range times {
			now += r.Int64N(minute)
			times[i] = now
			switch x := r.IntN(ahead * 4); {
			case x < 3:
				times[i] += []int64{2 * day, 400 * day, r.Int64()}[x]
			case x == 3:
				times[i] = []int64{-1, 0, telescope.NoDate, 1<<63 - 1}[r.IntN(4)]
			case x == 4:
				now += []int64{20 * hour, 3 * day, 30 * day}[r.IntN(3)]
			}
		}
		inPieces(rt, times, func() int { return 1 + r.IntN(100) })
	})
}

// inPieces judges frames with these times in one piece and in pieces of some lengths.
func inPieces(t tb, times []int64, length func() int) {
	var whole telescope.Dates
	want := dated(times, 0)
	whole.Settle(&want)
	var d telescope.Dates
	var got []int64
	for at, over := 0, false; !over; {
		n := min(length(), len(times)-at)
		b := dated(times[at:at+n], at)
		if at += n; at == len(times) {
			d.Settle(&b)
			over = true
		} else {
			d.Take(&b)
		}
		if d.Waiting() > 64 {
			t.Fatalf("%d frames wait", d.Waiting())
		}
		for i, f := range b.Frames {
			if k := int(b.Bytes(i)[0])<<8 | int(b.Bytes(i)[1]); k != len(got)&0xffff {
				t.Fatalf("frame %d came as number %d", k, len(got))
			}
			got = append(got, f.Time)
		}
	}
	if len(got) != len(want.Frames) {
		t.Fatalf("%d frames of %d", len(got), len(want.Frames))
	}
	for i := range got {
		if got[i] != want.Frames[i].Time {
			t.Fatalf("frame %d: %d, in one piece %d", i, got[i], want.Frames[i].Time)
		}
		if got[i] != telescope.NoDate && got[i] != min(times[i], telescope.MaxTime) {
			t.Fatalf("frame %d: its date was changed", i)
		}
	}
}

// FuzzDates: whatever dates come, they are judged alike in any pieces.
func FuzzDates(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x80\x81\xff"), uint8(1))
	f.Add([]byte("\x10\x10\x10\x10\x10\x10\x90\x90\x90\x90\x90\x90\x90\x10"), uint8(3))
	f.Fuzz(func(t *testing.T, steps []byte, cut uint8) {
		now := start
		times := make([]int64, min(len(steps), 5000))
		for i, s := range steps[:len(times)] { // a step: how far, and whether the time goes along
			by := int64(s&7) * []int64{second, hour, day, -day, 40 * day, -40 * day, 1 << 60, -(1 << 60)}[s>>3&7]
			if times[i] = now + by; s&0xc0 == 0x80 {
				now = max(min(times[i], telescope.MaxTime), 0)
			}
		}
		inPieces(t, times, func() int { return 1 + int(cut)%97 })
	})
}

// ordinary is a block whose dates are as they should be.
func ordinary() packet.Block {
	times := make([]int64, 4096)
	for i := range times {
		times[i] = start + int64(i)*minute/1000
	}
	return dated(times, 0)
}

func TestDatesAllocateNothing(t *testing.T) {
	var d telescope.Dates
	b := ordinary()
	if n := testing.AllocsPerRun(10, func() { d.Take(&b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkDates tells what a frame costs.
func BenchmarkDates(b *testing.B) {
	var d telescope.Dates
	frames := ordinary()
	b.ReportAllocs()
	for range b.N {
		for i := range frames.Frames {
			frames.Frames[i].Time += 5 * minute
		}
		d.Take(&frames)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4096, "ns/frame")
}
