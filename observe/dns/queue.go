package dns

import "sync"

// block is some frames in one buffer.
type block struct {
	bytes []byte
	ends  []int32
}

// The size of a block. A longer frame has one for itself.
const (
	blockBytes  = 64 << 10
	blockFrames = 4 * lot
)

// reset empties it; nobody stays in it.
func (b *block) reset() {
	clear(b.bytes)
	b.bytes, b.ends = b.bytes[:0], b.ends[:0]
}

// room tells whether so many more frames, and bytes of them, have a place.
func (b *block) room(frames, bytes int) bool {
	return len(b.ends) == 0 || len(b.ends)+frames <= blockFrames && len(b.bytes)+bytes <= blockBytes
}

func (b *block) add(frame []byte) {
	b.bytes = append(b.bytes, frame...)
	b.ends = append(b.ends, int32(len(b.bytes))) //nolint:gosec // at most dnstap.MaxFrame
}

// join adds the frames of another one.
func (b *block) join(o *block) {
	at := int32(len(b.bytes)) //nolint:gosec // as before
	b.bytes = append(b.bytes, o.bytes...)
	for _, end := range o.ends {
		b.ends = append(b.ends, at+end)
	}
}

func newBlock() *block { return &block{bytes: make([]byte, 0, blockBytes)} }

// queue is what readers have and the decoder hasn't yet. Readers never wait: a resolver
// that can't get rid of a frame throws it away, and nobody here would know how many. So
// whatever comes is read at once and waits here, and when there is no room any more it is
// dropped here, where it is counted. Its room is for the second or so in which something
// else has the processors; who is slower than what comes for good is helped by none.
type queue struct {
	mu     sync.Mutex
	some   sync.Cond
	blocks []*block // that wait, from first on
	first  int
	spare  []*block
	bytes  int // that the blocks take which wait
	most   int // that they may
	closed bool
}

// spares is how many empty blocks are kept, as a rule there are no more under way: the
// memory of a bad moment is given back.
const spares = 16

func newQueue(bytes int) *queue {
	q := &queue{most: max(bytes, blockBytes)}
	q.some.L = &q.mu
	return q
}

// put takes the frames of a block and gives an empty one for the next: the same when its
// frames fit behind those that wait, so that many small blocks take no more room than
// their bytes. dropped is how many frames there was no room for.
func (q *queue) put(b *block) (empty *block, dropped int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.blocks) > q.first {
		if last := q.blocks[len(q.blocks)-1]; last.room(len(b.ends), len(b.bytes)) {
			last.join(b)
			b.reset()
			return b, 0
		}
	}
	if q.bytes+cap(b.bytes) > q.most && q.bytes > 0 {
		dropped = len(b.ends)
		b.reset()
		return b, dropped
	}
	if q.first > 0 && len(q.blocks) == cap(q.blocks) {
		q.blocks = q.blocks[:copy(q.blocks, q.blocks[q.first:])]
		q.first = 0
	}
	q.blocks = append(q.blocks, b)
	q.bytes += cap(b.bytes)
	q.some.Signal()
	return q.empty(), 0
}

// empty is a block to fill; q.mu is held.
func (q *queue) empty() *block {
	if n := len(q.spare); n > 0 {
		b := q.spare[n-1]
		q.spare = q.spare[:n-1]
		return b
	}
	return newBlock()
}

// get gives the block that waits for longest, and takes back the one before, emptied; nil when the queue
// is closed and nothing waits any more.
func (q *queue) get(before *block) *block {
	q.mu.Lock()
	defer q.mu.Unlock()
	if before != nil && len(q.spare) < spares && cap(before.bytes) == blockBytes {
		q.spare = append(q.spare, before)
	}
	for q.first == len(q.blocks) {
		if q.closed {
			return nil
		}
		q.some.Wait()
	}
	b := q.blocks[q.first]
	q.blocks[q.first] = nil
	q.bytes -= cap(b.bytes)
	if q.first++; q.first == len(q.blocks) {
		q.blocks, q.first = q.blocks[:0], 0
	}
	return b
}

// close says that nothing comes any more.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.some.Broadcast()
}
