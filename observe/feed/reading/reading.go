// Package reading is how files that others send are read, whatever they tell: they
// are unpacked, cut into lines, rows and JSON objects, and times and names of malware
// are understood in all the ways in which people write them. A row that is broken
// spoils no other, and nothing grows with the size of a file.
package reading

// Fault is what is wrong with a piece of a file.
type Fault uint8

// The faults.
const (
	Fine    Fault = iota
	Quote         // a quote isn't closed, or something follows it
	TooLong       // longer than allowed
	NotJSON       // or it isn't closed
	NoTime        // there is none
	NotTime       // it can't be read as one
	NoZone        // it doesn't say which zone it is in, and nobody else does
)

// String is the fault's stable name.
func (f Fault) String() string {
	return [...]string{"", "quote", "too_long", "json", "no_time", "not_a_time", "no_zone"}[f]
}
