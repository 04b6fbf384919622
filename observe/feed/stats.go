package feed

import (
	"fmt"
	"io"

	"sakimori/observe/feed/reading"
)

// Reason is why a row can't be used.
type Reason uint8

// The reasons.
const (
	fine Reason = iota
	badQuote
	tooFew
	tooMany
	cutOff
	tooLong
	noAddress
	notAddress
	aNetwork
	notPublic
	noTime
	notTime
	noZone
	inFuture
	badPort
	notJSON
	notObject
	notMessage
	noReport
	reasons
)

var words = [reasons]reading.Words{
	fine:       {"", "", ""},
	badQuote:   reading.Quote.Words(),
	tooFew:     {"too_few_columns", "列が見出しより少なく、必要な値が欠けているか切れています", "fewer columns than the header, and one that matters is missing or may be cut"},
	tooMany:    {"too_many_columns", "列が見出しより多くあります", "more columns than the header"},
	cutOff:     {"cut_off", "ファイルが行の途中で終わっています", "the file ends in the middle of the line"},
	tooLong:    reading.TooLong.Words(),
	noAddress:  {"no_address", "アドレスがありません", "it names no address"},
	notAddress: reading.NotAddress,
	aNetwork:   {"a_network", "個別のアドレスではなくネットワークです", "it names a network, not an address"},
	notPublic:  {"not_public", "公開アドレスではありません（プライベート、予約、マルチキャスト）", "not a public address (private, reserved or multicast)"},
	noTime:     reading.NoTime.Words(),
	notTime:    reading.NotTime.Words(),
	noZone:     reading.NoZone.Words(),
	inFuture:   {"in_the_future", "時刻が受信より 1 日以上先です", "the time is more than a day after the report came"},
	badPort:    {"port", "ポート番号が正しくありません", "a port isn't a number from 0 to 65535"},
	notJSON:    {"json", "JSON として読めません", "not JSON, or it isn't closed"},
	notObject:  {"not_an_object", "JSON オブジェクトではありません", "JSON, but not an object, or of too many parts"},
	notMessage: {"message", "メールとして読めません", "not a mail, or its parts are broken"},
	noReport:   {"no_report", "メールに報告の部分（ARF、X-ARF）がありません", "the mail has no part that is a report (ARF or X-ARF)"},
}

// because is the reason that a fault is.
var because = [...]Reason{
	reading.Fine: fine, reading.Quote: badQuote, reading.TooLong: tooLong, reading.NotJSON: notJSON,
	reading.NoTime: noTime, reading.NotTime: notTime, reading.NoZone: noZone,
}

// String is the reason's stable name, for programs and metrics.
func (r Reason) String() string { return words[r].Code() }

// JA says it in Japanese.
func (r Reason) JA() string { return words[r].JA() }

// EN says it in English.
func (r Reason) EN() string { return words[r].EN() }

// Fault names a row that couldn't be used. It never holds what stands there.
type Fault struct {
	File string // or the entry of an archive
	Line int    // the first of the row, from 1
	Why  Reason
}

// mostNamed is how many faults are named; all are counted.
const mostNamed = 20

// Stats is what reading came to. Rows = Reports + Malformed.
type Stats struct {
	Rows       uint64          // records, without headers, comments and empty lines
	Reports    uint64          // that were handed out
	Malformed  uint64          // that can't be used, each counted once
	Reasons    [reasons]uint64 // of the malformed ones, by Reason
	Named      []Fault         // the first ones
	Mediated   uint64          // reports that were seen through a resolver
	Other      uint64          // reports that claim nothing which the house has a word for
	Unknown    uint64          // rows of types that the table of types doesn't know
	Duplicates uint64          // reports that an Intake had already handed on
}

func (s *Stats) malformed(file string, line int, why Reason) {
	s.Malformed++
	s.Reasons[why]++
	if len(s.Named) < mostNamed {
		s.Named = append(s.Named, Fault{file, line, why})
	}
}

// Why gives the reasons that occurred and how often, in a fixed order.
func (s *Stats) Why(yield func(Reason, uint64) bool) {
	for r, n := range s.Reasons {
		if n > 0 && !yield(Reason(r), n) {
			return
		}
	}
}

// Write tells a person, in both languages, what couldn't be read and where; failed
// may be nil.
func (s *Stats) Write(w io.Writer, failed *Unreadable) error {
	p := printer{w: w}
	if failed != nil {
		p.f("ファイルを最後まで読めませんでした: %s\nThe file couldn't be read to its end: %s\n\n", failed.JA, failed.EN)
	}
	p.f("%d 行のうち %d 行を読み、%d 行は使えませんでした。\nOf %d rows %d were read and %d can't be used.\n", s.Rows, s.Reports, s.Malformed, s.Rows, s.Reports, s.Malformed)
	for r, n := range s.Why {
		p.f("\n%8d  %s\n          %s\n", n, r.JA(), r.EN())
	}
	for i, f := range s.Named {
		if i == 0 {
			p.f("\n最初の %d 件 / The first %d:\n", len(s.Named), len(s.Named))
		}
		p.f("%s:%d: %s / %s\n", f.File, f.Line, f.Why.JA(), f.Why.EN())
	}
	return p.err
}

// printer remembers the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}
