package mrt_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sakimori/base/wire/mrt"
)

// FuzzRecords: no bytes crash the readers or make them reach beyond the file; a stream
// gives what Parse gives; each line of text is whole; and what neither we nor GoBGP find
// anything wrong with is read alike.
func FuzzRecords(f *testing.F) {
	for data := sample(); len(data) > 0; {
		var r mrt.Record
		n, err := mrt.Parse(data, &r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data[:n])
		data = data[n:]
	}
	f.Add(sample())
	f.Fuzz(func(t *testing.T, data []byte) {
		stream := mrt.NewReader(bytes.NewReader(data))
		var d mrt.Dumper
		var r, same mrt.Record
		for {
			n, err := mrt.Parse(data, &r)
			if err2 := stream.Next(&same); (err == nil) != (err2 == nil) || err == nil && !bytes.Equal(r.Body, same.Body) {
				t.Fatalf("Parse says %v, Reader %v", err, err2)
			} else if len(data) == 0 && !errors.Is(err2, io.EOF) {
				t.Fatal(err2)
			}
			if err != nil {
				return
			}
			data = data[n:]
			r.Body = slices.Clip(r.Body)
			got, err := say(&r)
			if text, _ := d.Append(nil, &r); len(text) > 0 && text[len(text)-1] != '\n' {
				t.Fatalf("half a line: %q", text)
			}
			if want, bad := theirs(&r); err == nil && bad == nil {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("- GoBGP, + ours:\n%s", diff)
				}
			}
		}
	})
}
