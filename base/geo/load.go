package geo

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
)

// built holds the compact file once base/geo/compile has put it there, and
// always a README, so that the program builds without it.
//
//go:embed data
var built embed.FS

const builtPath = "data/sakimori.geo.zst"

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

// Load makes a Table. Without built-in data Options.Builtin adds nothing, which
// HasBuiltin and an empty Sources tell. A file that can't be read is an error
// which names it; the Table is nil then.
//
// The City file's country is used where the country part is silent, and for all
// addresses when a City file that names countries is given without a Country file.
func Load(o Options) (*Table, error) {
	b := NewBuilder()
	if o.Builtin {
		file, err := built.ReadFile(builtPath)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("built-in geography: %w", err)
		default:
			if b, err = Decode(file); err != nil {
				return nil, err
			}
		}
	}
	for _, own := range []struct {
		part Part
		list string
	}{{Country, o.Country}, {ASN, o.ASN}, {City, o.City}} {
		paths := files(own.list)
		if len(paths) == 0 {
			continue
		}
		b.drop(own.part)
		for _, path := range paths {
			if err := b.AddMMDB(path, Source{Part: own.part}); err != nil {
				return nil, err
			}
		}
		if own.part == City && len(files(o.Country)) == 0 && b.cityNamesCountries() {
			b.drop(Country)
		}
	}
	return b.Table(), nil
}
