package record

import (
	"sync"

	"sakimori/observe"
)

// counted is what a cut has of a minute.
type counted struct {
	start   int64 // Unix seconds
	rows    []row
	lacks   uint64
	rawLeft uint64
}

// batch is what one Cut handed over.
type batch struct {
	serial  uint64
	closed  int64 // minutes before it take nothing more, Unix seconds
	minutes []counted
	rows    int // of the minutes
	raw     []observe.Flow
	stats   Stats // then
}

// queue holds what was cut and isn't known to be on disk.
type queue struct {
	mu      sync.Mutex
	batches []batch
}

func (q *queue) put(b batch) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.batches = append(q.batches, b)
}

// rows are those that wait.
func (q *queue) rows() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range q.batches {
		n += q.batches[i].rows
	}
	return n
}

// after are the batches that come after saved, up to serial; those up to saved are
// forgotten.
func (q *queue) after(saved, serial uint64) []batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.batches) > 0 && q.batches[0].serial <= saved {
		q.batches[0] = batch{}
		q.batches = q.batches[1:]
	}
	n := 0
	for n < len(q.batches) && q.batches[n].serial <= serial {
		n++
	}
	return q.batches[:n:n]
}
