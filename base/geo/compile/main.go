// Command compile turns the open data sets that npm fetched into the packed file
// that base/geo embeds. It runs at build time:
//
//	npm ci --prefix geodata
//	go run ./base/geo/compile -from geodata/node_modules -o base/geo/data/sakimori.geo
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"sakimori/base/geo"
)

func main() {
	from := flag.String("from", "geodata/node_modules", "`folder` into which npm installed the data packages")
	out := flag.String("o", "base/geo/data/sakimori.geo", "`file` to write")
	flag.Parse()
	if err := run(*from, *out, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "geo/compile:", err)
		os.Exit(1)
	}
}

func run(from, out string, log io.Writer) error {
	b := geo.NewBuilder()
	for _, set := range sets {
		if err := set.add(b, filepath.Join(from, filepath.FromSlash(set.pkg)), log); err != nil {
			return fmt.Errorf("%s: %w (run: npm ci --prefix geodata)", set.pkg, err)
		}
	}
	b.Forget(special)
	b.Coarsen()
	file, err := b.Pack()
	if err != nil {
		return err
	}
	t, err := geo.Unpack(bytes.NewReader(file), int64(len(file)))
	if err != nil { // what can't be read back must not be shipped
		return err
	}
	if err := t.Prepare(); err != nil {
		return err
	}
	if err := write(out, file); err != nil {
		return err
	}
	fmt.Fprintf(log, "%s: %.1f MB, %.1f MB in memory\n", out, float64(len(file))/1e6, float64(t.Bytes())/1e6)
	for _, s := range t.Sources() {
		fmt.Fprintf(log, "  %-7s %s, %s, built %s, %d ranges\n", s.Part, s.Name, s.Licence, s.Built.Format("2006-01-02"), s.Ranges)
	}
	return nil
}

// write replaces the file in one step, so that a build never sees half of it.
func write(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a build folder, readable by all
		return err
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, 0o644); err != nil { //nolint:gosec // public data
		return err
	}
	return os.Rename(tmp, path)
}
