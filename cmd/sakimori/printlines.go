package main

import (
	"io"
	"runtime"
	"sync"
)

// line appends the i-th element of a list, indented. Each goroutine has its own.
type line func(b []byte, i int) ([]byte, error)

// linesAtOnce is how many are written at once: about a megabyte and a half.
const linesAtOnce = 4096

// printLines writes what stands between the brackets of a JSON list of n. All
// processors write lines; what is ready goes out in turn, so no more than a piece
// for each is in memory.
func printLines(w io.Writer, n int, lines func() line) error {
	workers := runtime.GOMAXPROCS(0)
	turn := make([]chan error, workers) // says that it is one's turn, and what went wrong before
	for i := range turn {
		turn[i] = make(chan error, 1)
	}
	turn[0] <- nil
	var all sync.WaitGroup
	for id := range workers {
		all.Go(func() {
			next := lines()
			var piece []byte
			for from := id * linesAtOnce; from < n; from += workers * linesAtOnce {
				var err error
				piece, err = appendLines(piece[:0], next, from, n)
				if before := <-turn[id]; before != nil {
					err = before
				}
				if err == nil {
					_, err = w.Write(piece)
				}
				turn[(id+1)%workers] <- err
			}
		})
	}
	all.Wait()
	pieces := (n + linesAtOnce - 1) / linesAtOnce
	return <-turn[pieces%workers]
}

// appendLines appends the piece of a list of n that begins at from.
func appendLines(b []byte, next line, from, n int) (_ []byte, err error) {
	for i := from; i < min(from+linesAtOnce, n) && err == nil; i++ {
		if i > 0 {
			b = append(b, ',')
		}
		b, err = next(append(b, '\n'), i)
	}
	if from+linesAtOnce >= n {
		b = append(b, "\n  "...)
	}
	return b, err
}
