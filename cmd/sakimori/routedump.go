package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"sakimori/base/wire/mrt"
	"sakimori/observe/route"
)

// dumpRoutes prints the elements of MRT files as bgpdump -m does. What stands before an
// error is printed.
func dumpRoutes(c *cobra.Command, files []string) error {
	w := bufio.NewWriterSize(c.OutOrStdout(), 1<<16)
	var failed error
	for _, name := range files {
		if err := dumpFile(c, w, name); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(failed, w.Flush())
}

func dumpFile(c *cobra.Command, w *bufio.Writer, name string) error {
	in := c.InOrStdin()
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	plain, closed, err := route.Unpack(bufio.NewReaderSize(in, 1<<18))
	if err != nil {
		return err
	}
	defer closed()
	r := mrt.NewReader(plain)
	var rec mrt.Record
	var d mrt.Dumper
	var line []byte
	var wrong error
	for {
		if err := r.Next(&rec); err != nil {
			if errors.Is(err, io.EOF) {
				return wrong
			}
			return errors.Join(wrong, err)
		}
		line, err = d.Append(line[:0], &rec)
		if err != nil && wrong == nil {
			wrong = err // the first one; bgpdump too goes on
		}
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
}
