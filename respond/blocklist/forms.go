package blocklist

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// form is how one kind of file is written.
type form struct {
	ext     string
	most    int // entries that its readers hold; 0 Most
	carries func(x *item) bool
	fold    func(list []item) []item // leaves out what is inside another; nil nothing is
	write   func(w *bufio.Writer, x *Export, list []item) error
}

var forms = map[Form]form{
	Plain:    {ext: "txt", carries: anything, write: writePlain},
	CSV:      {ext: "csv", carries: anything, write: writeCSV},
	NDJSON:   {ext: "ndjson", carries: anything, write: writeNDJSON},
	STIX:     {ext: "json", carries: anything, write: writeSTIX},
	NFTables: {ext: "nft", carries: addresses, fold: foldPrefixes, write: writeNFT},
	Suricata: {ext: "rules", most: 100_000, carries: suricataCarries, write: writeSuricata},
	Squid:    {ext: "conf", carries: squidCarries, fold: foldSquid, write: writeSquid},
	FlowSpec: {ext: "json", carries: addresses, fold: foldPrefixes, write: writeFlow},
}

func anything(*item) bool { return true }

func addresses(x *item) bool { return x.Kind == Address || x.Kind == Endpoint || x.Kind == Prefix }

// head is what every file says of itself, in lines for a comment.
func (x *Export) head() []string {
	return []string{
		fmt.Sprintf("sakimori C&C list, %s, version %d, %d entries", x.Form, x.Version, x.Entries),
		"made " + stamp(x.Made) + ", expires " + stamp(x.Expires) + ": out of force by then",
		fmt.Sprintf("basis: grant %s, measure %s, rule %s", x.Basis.Grant, x.Basis.Measure, x.Basis.Rule),
		"根拠: " + line(x.Basis.Title.JA) + " (" + line(x.Basis.Source) + ")",
		"ground: " + line(x.Basis.Title.EN),
		line(x.Basis.Words.JA),
		line(x.Basis.Words.EN),
	}
}

// line keeps a text on its line: what follows one in a comment would be configuration.
func line(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func comment(w *bufio.Writer, x *Export) {
	for _, l := range x.head() {
		fmt.Fprintf(w, "# %s\n", l)
	}
}

func writePlain(w *bufio.Writer, x *Export, list []item) error {
	comment(w, x)
	for i := range list {
		_, _ = w.WriteString(list[i].Value) // the writer keeps its first error for Flush
		_ = w.WriteByte('\n')
	}
	return nil
}

// hostPort are the host of an entry and its port, as columns.
func (x *item) hostPort() (value, port string) {
	if x.Kind == Endpoint {
		return x.prefix.Addr().String(), strconv.Itoa(int(x.port))
	}
	return x.Value, ""
}

// writeCSV begins with comments, as lists of this kind do.
func writeCSV(w *bufio.Writer, x *Export, list []item) error {
	comment(w, x)
	c := csv.NewWriter(w)
	_ = c.Write([]string{"id", "kind", "value", "port", "family", "for", "until"}) // Error has it
	for i := range list {
		it := &list[i]
		value, port := it.hostPort()
		_ = c.Write([]string{it.ID, string(it.Kind), value, port, it.Family, it.reach.words(), stamp(it.Until)})
	}
	c.Flush()
	return c.Error()
}

// row is an entry in NDJSON.
type row struct {
	ID     string    `json:"id"`
	Kind   Kind      `json:"kind"`
	Value  string    `json:"value"`
	Port   uint16    `json:"port,omitempty"`
	Family string    `json:"family,omitempty"`
	For    string    `json:"for"`
	Until  time.Time `json:"until"`
}

// about is a head in JSON. How many were left out is told by the signature.
type about struct {
	Form    Form      `json:"form"`
	Version uint64    `json:"version"`
	Entries int       `json:"entries"`
	Made    time.Time `json:"made"`
	Expires time.Time `json:"expires"`
	Basis   Basis     `json:"basis"`
}

func (x *Export) about() about {
	return about{x.Form, x.Version, x.Entries, x.Made, x.Expires, x.Basis}
}

func writeNDJSON(w *bufio.Writer, x *Export, list []item) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	if err := out.Encode(map[string]about{"head": x.about()}); err != nil {
		return err
	}
	for i := range list {
		it := &list[i]
		value, _ := it.hostPort()
		if err := out.Encode(row{it.ID, it.Kind, value, it.port, it.Family, it.reach.words(), it.Until}); err != nil {
			return err
		}
	}
	return nil
}
