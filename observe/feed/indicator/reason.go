package indicator

import (
	"fmt"
	"io"

	"sakimori/observe/feed/reading"
)

// Reason is why a value can't be used.
type Reason uint8

// The reasons.
const (
	fine Reason = iota
	badQuote
	tooFew
	tooLong
	notJSON
	noValue
	severalValues
	noHost
	noScheme
	notName
	topLevel
	specialName
	badIDN
	notAddress
	hasZone
	notPublic
	notPrefix
	tooWide
	badPort
	badURL
	badScheme
	notTime
	noZone
	inFuture
	badConfidence
	notNetwork
	notDetection
	falsePositive
	decayed
	deleted
	superseded
	benign
	badPattern
	unknownPattern
	combined
	reasons
)

var words = [reasons]reading.Words{
	fine:           {"", "", ""},
	badQuote:       reading.Quote.Words(),
	tooFew:         {"too_few_columns", "値の列がありません", "the column of the value is missing"},
	tooLong:        reading.TooLong.Words(),
	notJSON:        reading.NotJSON.Words(),
	noValue:        {"no_value", "値がありません", "it names nothing"},
	severalValues:  {"several_values", "1 行に値が複数あります", "several values in one line"},
	noHost:         {"no_host", "パスだけで、ホストがありません", "only a path: no host is named"},
	noScheme:       {"no_scheme", "URL に http:// などがありません", "a URL without http:// or the like"},
	notName:        {"not_a_name", "ドメイン名として使えません", "not a name of the DNS"},
	topLevel:       {"top_level", "最上位のドメインだけです", "a whole top-level domain, or a word without a dot"},
	specialName:    {"special_use", "公開 DNS に存在しない特別な名前です（onion、local など）", "a name of special use that isn't in the public DNS (onion, local, …)"},
	badIDN:         {"idn", "国際化ドメイン名が正しくありません", "not a valid internationalized name"},
	notAddress:     reading.NotAddress,
	hasZone:        {"zone", "インターフェース名（%）の付いたアドレスです", "an address of one machine's interface (with %)"},
	notPublic:      {"not_public", "公開アドレスではありません（プライベート、予約、文書用、マルチキャスト）", "not public address space (private, reserved, documentation or multicast)"},
	notPrefix:      {"not_a_prefix", "アドレス範囲として読めません", "what should be a prefix isn't one"},
	tooWide:        {"too_wide", "範囲が広すぎます", "the prefix is too wide to belong to malware"},
	badPort:        {"port", "ポート番号が正しくありません", "a port isn't a number from 1 to 65535"},
	badURL:         {"url", "URL として読めません", "what should be a URL isn't one"},
	badScheme:      {"scheme", "http、https、ftp 以外の URL です", "a URL that isn't http, https or ftp"},
	notTime:        reading.NotTime.Words(),
	noZone:         reading.NoZone.Words(),
	inFuture:       {"in_the_future", "時刻が受信より 1 日以上先です", "seen more than a day after the list came"},
	badConfidence:  {"confidence", "確度が数値でないか範囲外です", "the confidence isn't a number in its range"},
	notNetwork:     {"not_network", "通信先ではありません（ハッシュ、ファイル名など）", "not something on the network (a hash, a file name, …)"},
	notDetection:   {"not_for_detection", "検知に使うものではないと明記されています（to_ids）", "marked as not for detection (to_ids)"},
	falsePositive:  {"false_positive", "誤検知の報告があります", "reported as a false positive"},
	decayed:        {"decayed", "提供元で期限切れです", "decayed, says the source"},
	deleted:        {"deleted", "提供元で削除済みです", "deleted by the source"},
	superseded:     {"superseded", "同じファイルに新しい版があります", "a newer version is in the same file"},
	benign:         {"benign", "無害とされています", "said to be benign"},
	badPattern:     {"pattern", "パターンの文法が正しくありません", "the pattern isn't well formed"},
	unknownPattern: {"pattern_not_supported", "通信先に置き換えられないパターンです", "a pattern that can't be told as names, addresses or URLs"},
	combined:       {"combined", "他の条件との組み合わせで初めて成り立つため、単独では使えません", "it holds only together with another condition, not alone"},
}

// because is the reason that a fault is.
var because = [...]Reason{
	reading.Fine: fine, reading.Quote: badQuote, reading.TooLong: tooLong, reading.NotJSON: notJSON,
	reading.NoTime: fine, reading.NotTime: notTime, reading.NoZone: noZone,
}

// String is the reason's stable name, for programs and metrics.
func (r Reason) String() string { return words[r].Code() }

// JA says it in Japanese.
func (r Reason) JA() string { return words[r].JA() }

// EN says it in English.
func (r Reason) EN() string { return words[r].EN() }

// Fault names a value that couldn't be used. It never holds what stands there.
type Fault struct {
	File string // or the entry of an archive
	Line int    // from 1
	Why  Reason
}

// MostNamed is how many faults are named; all are counted.
const MostNamed = 1000

// Stats is what reading came to. Read = Accepted + Rejected.
type Stats struct {
	Format   Format // that was read, or told from the first bytes
	Read     uint64 // values, without comments and empty lines
	Accepted uint64 // that were handed out
	Rejected uint64 // that can't be used, each counted once
	Reasons  [reasons]uint64
	Named    []Fault // the first ones
}

func (s *Stats) rejected(file string, line int, why Reason) {
	s.Rejected++
	s.Reasons[why]++
	if len(s.Named) < MostNamed {
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

// Add counts what another file of the same reading came to.
func (s *Stats) Add(o *Stats) {
	s.Format = o.Format
	s.Read += o.Read
	s.Accepted += o.Accepted
	s.Rejected += o.Rejected
	for i, n := range o.Reasons {
		s.Reasons[i] += n
	}
	s.Named = append(s.Named, o.Named[:min(len(o.Named), MostNamed-len(s.Named))]...)
}

// Write tells a person, in both languages, what couldn't be used and where.
func (s *Stats) Write(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%d 件のうち %d 件を読み、%d 件は使えませんでした。\nOf %d values %d were taken and %d can't be used.\n",
		s.Read, s.Accepted, s.Rejected, s.Read, s.Accepted, s.Rejected); err != nil {
		return err
	}
	for r, n := range s.Why {
		if _, err := fmt.Fprintf(w, "\n%8d  %s\n          %s\n", n, r.JA(), r.EN()); err != nil {
			return err
		}
	}
	for i, f := range s.Named {
		if i == 0 {
			if _, err := fmt.Fprintf(w, "\n最初の %d 件 / The first %d:\n", len(s.Named), len(s.Named)); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintf(w, "%s:%d: %s / %s\n", f.File, f.Line, f.Why.JA(), f.Why.EN()); err != nil {
			return err
		}
	}
	return nil
}
