//go:build linux

package main

import (
	"math/rand/v2"
	"runtime"
	"time"
)

// step is the latency of memory of one size.
type step struct {
	bytes      int
	one, eight float64 // ns an access: one chain of pointers, and eight side by side
}

// line is a cache line: a chain never finds two of its pointers in one.
const line = 64

// cell is one line of memory that holds the number of the next one.
type cell struct {
	next uint32
	_    [line - 4]byte
}

// climb measures from the second-level cache to well beyond the last one.
func climb(quick bool) (steps []step) {
	for _, mib := range []int{1, 16, 64, 512} {
		n := 4_000_000
		if quick {
			mib, n = min(mib, 64), 200_000
		}
		cells := make([]cell, mib<<20/line)
		cycle(cells)
		steps = append(steps, step{mib << 20, chase(cells, 1, n), chase(cells, 8, n)})
	}
	return steps
}

// cycle links all cells to one ring in random order (Sattolo's algorithm).
func cycle(cells []cell) {
	r := rand.New(rand.NewPCG(3, 4))
	for i := range cells {
		cells[i].next = uint32(i)
	}
	for i := len(cells) - 1; i > 0; i-- {
		j := r.IntN(i)
		cells[i].next, cells[j].next = cells[j].next, cells[i].next
	}
}

// chase follows n pointers, spread over so many chains, and gives ns a pointer.
func chase(cells []cell, chains, n int) float64 {
	var at [8]uint32
	for k := range chains {
		at[k] = uint32(k * (len(cells) / chains))
	}
	walk(cells, &at, chains, min(n, len(cells))) // touches the pages first
	began := time.Now()
	walk(cells, &at, chains, n)
	took := time.Since(began)
	runtime.KeepAlive(&at)
	return float64(took.Nanoseconds()) / float64(n)
}

func walk(cells []cell, at *[8]uint32, chains, n int) {
	if chains == 1 {
		a := at[0]
		for range n {
			a = cells[a].next
		}
		at[0] = a
		return
	}
	a, b, c, d, e, f, g, h := at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[7]
	for range n / 8 {
		a, b, c, d = cells[a].next, cells[b].next, cells[c].next, cells[d].next
		e, f, g, h = cells[e].next, cells[f].next, cells[g].next, cells[h].next
	}
	*at = [8]uint32{a, b, c, d, e, f, g, h}
}
