package dns

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"
)

// frames are the frames of a block.
func frames(b *block) (list [][]byte) {
	from := int32(0)
	for _, end := range b.ends {
		list = append(list, bytes.Clone(b.bytes[from:end]))
		from = end
	}
	return list
}

// TestQueue: frames come out as they went in, whatever their sizes and however they were
// put; what has no room is counted, to the frame; and no more memory waits than may.
func TestQueue(t *testing.T) {
	t.Parallel()
	const room = 4 * blockBytes
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		q := newQueue(room)
		var want, got [][]byte
		came, lost := 0, 0
		b := newBlock()
		put := func() {
			here := frames(b)
			var dropped int
			switch b, dropped = q.put(b); dropped {
			case 0:
				want = append(want, here...)
			case len(here):
				lost += dropped
			default:
				t.Fatalf("%d dropped of %d", dropped, len(here))
			}
			if len(b.ends) > 0 || len(b.bytes) > 0 {
				t.Fatal("the next block isn't empty")
			}
			if q.bytes > max(room, 4*blockBytes) {
				t.Fatalf("%d bytes wait", q.bytes)
			}
		}
		take := func() {
			if x := q.get(nil); x != nil {
				got = append(got, frames(x)...)
			}
		}
		for i := range 3000 {
			size := r.IntN(300)
			if r.IntN(500) == 0 {
				size = blockBytes * (1 + r.IntN(3))
			}
			if !b.room(1, size) {
				put()
			}
			b.add(bytes.Repeat([]byte{byte(i)}, size))
			came++
			if r.IntN(4) == 0 {
				put()
			}
			if seed%2 == 0 && r.IntN(40) == 0 && len(q.blocks) > q.first {
				take()
			}
		}
		q.close()
		for len(q.blocks) > q.first {
			take()
		}
		if q.get(nil) != nil || q.bytes != 0 {
			t.Fatal("something is left", q.bytes)
		}
		if len(got) != len(want) || came != len(got)+lost+len(b.ends) || lost == 0 && seed%2 == 1 {
			t.Fatalf("%d came out, %d wanted, of %d with %d lost", len(got), len(want), came, lost)
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("frame %d differs", i)
			}
		}
	}
}

// TestQueueDecoderStops: while the decoder has no processor, a second's worth of small
// bursts waits and nothing is lost; where there is really no room, all is told.
func TestQueueDecoderStops(t *testing.T) {
	t.Parallel()
	q := newQueue(DefaultRoom)
	const n, each = 4, 125_000
	var all sync.WaitGroup
	for range n { // as many resolvers, a frame at a time
		all.Go(func() {
			b := newBlock()
			for range each {
				b.add(make([]byte, 100))
				var dropped int
				if b, dropped = q.put(b); dropped > 0 {
					t.Error("dropped")
				}
			}
		})
	}
	all.Wait()
	q.close()
	got := 0
	for b := q.get(nil); b != nil; b = q.get(b) {
		got += len(b.ends)
		b.reset()
	}
	if got != n*each {
		t.Errorf("%d of %d", got, n*each)
	}
	if len(q.spare) > spares {
		t.Errorf("%d blocks are kept", len(q.spare))
	}
}

// TestQueueAllocates: in calm nothing is allocated.
func TestQueueAllocates(t *testing.T) {
	q := newQueue(DefaultRoom)
	b, before := newBlock(), (*block)(nil)
	frame := make([]byte, 100)
	if n := testing.AllocsPerRun(1000, func() {
		for range 100 {
			b.add(frame)
		}
		b, _ = q.put(b)
		before = q.get(before)
		before.reset()
	}); n != 0 {
		t.Errorf("%v allocations for a block", n)
	}
}
