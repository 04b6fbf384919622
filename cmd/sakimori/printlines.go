package main

import (
	"io"
	"runtime"
	"sync"

	"sakimori/observe/telescope"
)

// linesAtOnce is how many lines are written at once: about a megabyte and a half.
const linesAtOnce = 4096

// printLines writes scanners as JSON, one a line, with commas between. All
// processors write lines; what is ready goes out in turn, so no more than a piece
// for each is in memory.
func printLines(w io.Writer, list []telescope.Scanner) error {
	workers := runtime.GOMAXPROCS(0)
	turn := make([]chan error, workers) // says that it is one's turn, and what went wrong before
	for i := range turn {
		turn[i] = make(chan error, 1)
	}
	turn[0] <- nil
	var all sync.WaitGroup
	for id := range workers {
		all.Go(func() {
			var lines telescope.Lines
			var piece []byte
			for from := id * linesAtOnce; from < len(list); from += workers * linesAtOnce {
				var err error
				piece, err = appendLines(piece[:0], &lines, list, from)
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
	pieces := (len(list) + linesAtOnce - 1) / linesAtOnce
	return <-turn[pieces%workers]
}

// appendLines appends the piece of a list that begins at from.
func appendLines(b []byte, lines *telescope.Lines, list []telescope.Scanner, from int) ([]byte, error) {
	for i := from; i < min(from+linesAtOnce, len(list)); i++ {
		if i > 0 {
			b = append(b, ",\n"...)
		}
		var err error
		if b, err = lines.Append(append(b, "    "...), &list[i]); err != nil {
			return b, err
		}
	}
	return b, nil
}
