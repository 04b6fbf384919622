package geo

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// built holds the compact file once base/geo/compile has put it there, and
// always a README, so that the program builds without it.
//
//go:embed data
var built embed.FS

const builtPath = "data/sakimori.geo"

// Options say where the data come from. Country, ASN and City are the operator's
// own MMDB files (several of one kind are joined as in PATH: ip-location-db ships
// IPv4 and IPv6 apart); each replaces that part of the built-in data.
type Options struct {
	Country, ASN, City string
	Builtin            bool // use the data compiled into the program
}

// HasBuiltin tells whether data are compiled into this program.
func HasBuiltin() bool {
	_, err := fs.Stat(built, builtPath)
	return err == nil
}

// openBuilt is the packed file in the program, nil when there is none. It lies in
// memory: nothing is lost by leaving it open.
func openBuilt() (file io.ReaderAt, size int64, err error) {
	f, err := built.Open(builtPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("built-in geography: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("built-in geography: %w", err)
	}
	return f.(io.ReaderAt), info.Size(), nil // which embed.FS says of its files
}

// own is the operator's files of one part.
type own struct {
	part  Part
	paths []string
}

// Load makes a Table. Without built-in data Options.Builtin adds nothing, which
// HasBuiltin and an empty Sources tell. A file that can't be read is an error
// which names it; the Table is nil then.
//
// The City file's country is used where the country part is silent, and for all
// addresses when a City file that names countries is given without a Country file.
func Load(o Options) (*Table, error) {
	var file io.ReaderAt
	var size int64
	var err error
	if o.Builtin {
		if file, size, err = openBuilt(); err != nil {
			return nil, err
		}
	}
	var theirs []own
	for _, f := range []own{{Country, files(o.Country)}, {ASN, files(o.ASN)}, {City, files(o.City)}} {
		if len(f.paths) > 0 {
			theirs = append(theirs, f)
		}
	}
	if file != nil && theirs == nil {
		return Unpack(file, size)
	}
	b := NewBuilder()
	if file != nil {
		if b, err = decodePacked(file, size); err != nil {
			return nil, err
		}
	}
	for _, f := range theirs {
		b.drop(f.part)
		for _, path := range f.paths {
			if err := b.AddMMDB(path, Source{Part: f.part}); err != nil {
				return nil, err
			}
		}
		if f.part == City && len(files(o.Country)) == 0 && b.cityNamesCountries() {
			b.drop(Country)
		}
	}
	return b.Table(), nil
}
