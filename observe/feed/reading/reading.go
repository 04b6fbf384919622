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

// Words are why something can't be used: a stable name for programs and metrics, and a
// sentence in each language.
type Words [3]string

// Code is the name.
func (w Words) Code() string { return w[0] }

// JA says it in Japanese.
func (w Words) JA() string { return w[1] }

// EN says it in English.
func (w Words) EN() string { return w[2] }

// Words is what a fault is called, whatever is read.
func (f Fault) Words() Words {
	return [...]Words{
		Fine:    {},
		Quote:   {"quote", "引用符が閉じていません", "a quote isn't closed, or something follows it"},
		TooLong: {"too_long", "長すぎます", "it is too long"},
		NotJSON: {"json", "JSON オブジェクトとして読めません", "not an object of JSON, or it isn't closed"},
		NoTime:  {"no_time", "時刻がありません", "it names no time"},
		NotTime: {"not_a_time", "時刻として読めません", "what should be a time isn't one"},
		NoZone:  {"no_zone", "時刻にタイムゾーンがなく、設定もありません", "the time has no time zone that is known, and none is configured"},
	}[f]
}

// NotAddress is said of an address that isn't one.
var NotAddress = Words{"not_an_address", "アドレスとして読めません", "what should be an address isn't one"}

// String is the fault's stable name.
func (f Fault) String() string { return f.Words().Code() }
