package rpki

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
)

// SLURM is what an operator holds true whatever the RPKI says (RFC 8416; version 2 with
// ASPAs is draft-ietf-sidrops-aspa-slurm). What it says of BGPsec isn't used here.
type SLURM struct {
	filters    []slurmFilter
	customers  []uint32 // whose ASPAs are left out
	assertions Data
}

type slurmFilter struct {
	prefix netip.Prefix // zero: any
	as     *uint32      // nil: any
}

// ReadSLURM reads such a file. Anything in it that can't be read is an error, as it is
// somebody's own decision.
func ReadSLURM(path string) (*SLURM, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := ParseSLURM(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// ParseSLURM reads its text.
func ParseSLURM(b []byte) (*SLURM, error) {
	type asserted struct {
		AS     *uint32 `json:"asn"`
		Prefix string  `json:"prefix"`
		Most   *int    `json:"maxPrefixLength"`
	}
	type aspa struct {
		Customer   *uint32  `json:"customerAsn"`
		Customer2  *uint32  `json:"customer_asid"`
		Providers  []uint32 `json:"providerAsns"`
		Providers2 []uint32 `json:"providers"`
	}
	var j struct {
		Version int `json:"slurmVersion"`
		Filters struct {
			Prefix []asserted `json:"prefixFilters"`
			ASPA   []aspa     `json:"aspaFilters"`
		} `json:"validationOutputFilters"`
		Added struct {
			Prefix []asserted `json:"prefixAssertions"`
			ASPA   []aspa     `json:"aspaAssertions"`
		} `json:"locallyAddedAssertions"`
	}
	if err := json.Unmarshal(b, &j); err != nil {
		return nil, fmt.Errorf("no SLURM file: %w", err)
	}
	if j.Version != 1 && j.Version != 2 {
		return nil, fmt.Errorf("SLURM version %d isn't known: 1 and 2 are", j.Version)
	}
	s := &SLURM{}
	for _, f := range j.Filters.Prefix {
		out := slurmFilter{as: f.AS}
		if f.Prefix != "" {
			p, err := netip.ParsePrefix(f.Prefix)
			if err != nil {
				return nil, fmt.Errorf("a prefixFilter of SLURM: %w", err)
			}
			out.prefix = p.Masked()
		}
		if f.AS == nil && f.Prefix == "" {
			return nil, errors.New("a prefixFilter of SLURM names neither prefix nor asn: it would leave out everything")
		}
		s.filters = append(s.filters, out)
	}
	for _, a := range j.Added.Prefix {
		p, err := netip.ParsePrefix(a.Prefix)
		if err == nil && a.AS == nil {
			err = fmt.Errorf("%s has no asn", a.Prefix)
		}
		if err == nil {
			most := p.Bits()
			if a.Most != nil {
				most = *a.Most
			}
			err = s.assertions.add(p, most, *a.AS, "", 0)
		}
		if err != nil {
			return nil, fmt.Errorf("a prefixAssertion of SLURM: %w", err)
		}
	}
	customer := func(a aspa) (uint32, error) {
		switch {
		case a.Customer != nil:
			return *a.Customer, nil
		case a.Customer2 != nil:
			return *a.Customer2, nil
		}
		return 0, errors.New("an entry of SLURM for ASPAs names no customerAsn")
	}
	for _, f := range j.Filters.ASPA {
		as, err := customer(f)
		if err != nil {
			return nil, err
		}
		s.customers = append(s.customers, as)
	}
	for _, a := range j.Added.ASPA {
		as, err := customer(a)
		if err != nil {
			return nil, err
		}
		s.assertions.ASPAs = append(s.assertions.ASPAs, ASPA{Customer: as, Providers: slices.Concat(a.Providers, a.Providers2)})
	}
	s.assertions.arrange()
	return s, nil
}

// apply leaves out of data what is filtered, without changing them. A filter with a prefix
// leaves out what is inside it (RFC 8416, 3.3.1).
func (s *SLURM) apply(d *Data) *Data {
	if s == nil || len(s.filters)+len(s.customers) == 0 {
		return d
	}
	out := *d
	out.ROAs = slices.DeleteFunc(slices.Clone(d.ROAs), func(r ROA) bool {
		return slices.ContainsFunc(s.filters, func(f slurmFilter) bool {
			return (f.as == nil || *f.as == r.AS) && (!f.prefix.IsValid() || covers(f.prefix, r.Prefix))
		})
	})
	out.ASPAs = slices.DeleteFunc(slices.Clone(d.ASPAs), func(a ASPA) bool { return slices.Contains(s.customers, a.Customer) })
	return &out
}
