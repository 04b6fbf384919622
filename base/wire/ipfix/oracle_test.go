package ipfix_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/netsampler/goflow2/v2/decoders/netflow"

	"sakimori/base/corpus"
	"sakimori/base/wire/ipfix"
)

// datagrams are those of a capture that begin with version 9 or 10.
func datagrams(t testing.TB, path string) [][]byte {
	t.Helper()
	return slices.DeleteFunc(corpus.Datagrams(t, path), func(b []byte) bool { return !ours(b) })
}

func ours(b []byte) bool { return len(b) > 2 && b[0] == 0 && (b[1] == ipfix.V9 || b[1] == ipfix.IPFIX) }

// exporters are the datagrams of the corpus, by who sent them: those of a capture, or
// of a group of files of which some hold the templates and others the data.
func exporters(t testing.TB) map[string][][]byte {
	t.Helper()
	dir := corpus.Folder(t, "flow")
	all := map[string][][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		switch filepath.Ext(path) {
		case ".pcap":
			// akvorado's stand in pairs of template and data.
			group := strings.NewReplacer("-template", "", "-data", "").Replace(name)
			if strings.HasSuffix(name, "/template.pcap") || strings.HasSuffix(name, "/data.pcap") {
				group = filepath.Dir(name)
			}
			got := datagrams(t, path)
			if strings.Contains(name, "template.pcap") {
				all[group] = append(got, all[group]...)
			} else {
				all[group] = append(all[group], got...)
			}
		case ".dat":
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if !ours(b) {
				return nil
			}
			group, _, tpl := strings.Cut(name, "_tpl")
			if g, _, ok := strings.Cut(name, "_opttpl"); ok {
				group, tpl = g, true
			}
			group, _, _ = strings.Cut(group, "_data")
			if tpl {
				all[group] = append([][]byte{b}, all[group]...)
			} else {
				all[group] = append(all[group], b)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var exporter = netip.MustParseAddrPort("192.0.2.1:4739")

// mine writes down what we read of a datagram; whole tells whether nothing was wrong.
func mine(c *ipfix.Cache[struct{}], b []byte) (lines []string, whole bool) {
	var m ipfix.Message
	if err := ipfix.Parse(b, &m); err != nil {
		return []string{err.Error()}, false
	}
	lines = append(lines, fmt.Sprintf("v%d at %d number %d of %d", m.Version, m.ExportTime, m.Sequence, m.Domain))
	var r ipfix.Records
	whole = true
	for set := (ipfix.Set{}); m.Next(&set); {
		switch set.Kind {
		case ipfix.Templates, ipfix.OptionsTemplates:
			l, err := c.Learn(exporter, &m, &set)
			whole = whole && err == nil
			lines = append(lines, fmt.Sprintf("%d templates", l.New+l.Changed+l.Same+l.Withdrawn+l.Refused))
		case ipfix.Data:
			e := c.Find(exporter, &m, set.ID)
			if e == nil {
				lines = append(lines, fmt.Sprintf("%d: no template", set.ID))
				continue
			}
			r.Start(e.Template, set.Body)
			for r.Next() {
				line := fmt.Sprintf("%d:", set.ID)
				for i, f := range e.Template.Fields {
					line += fmt.Sprintf(" %d.%d=%x", f.Enterprise, f.ID, r.Bytes(i))
				}
				lines = append(lines, line)
			}
			whole = whole && !r.Damaged()
		}
	}
	return lines, whole && m.Err() == nil
}

// theirs writes down what goflow2 reads of it, in the same words.
func theirs(c netflow.NetFlowTemplateSystem, b []byte) (lines []string, err error) {
	var v9 netflow.NFv9Packet
	var v10 netflow.IPFIXPacket
	err = netflow.DecodeMessageVersion(bytes.NewBuffer(b), c, &v9, &v10)
	sets := v9.FlowSets
	if v9.Version == 9 {
		lines = append(lines, fmt.Sprintf("v9 at %d number %d of %d", v9.UnixSeconds, v9.SequenceNumber, v9.SourceId))
	} else {
		sets = v10.FlowSets
		lines = append(lines, fmt.Sprintf("v10 at %d number %d of %d", v10.ExportTime, v10.SequenceNumber, v10.ObservationDomainId))
	}
	for _, s := range sets {
		switch s := s.(type) {
		case netflow.TemplateFlowSet:
			lines = append(lines, fmt.Sprintf("%d templates", len(s.Records)))
		case netflow.NFv9OptionsTemplateFlowSet:
			lines = append(lines, fmt.Sprintf("%d templates", len(s.Records)))
		case netflow.IPFIXOptionsTemplateFlowSet:
			lines = append(lines, fmt.Sprintf("%d templates", len(s.Records)))
		case netflow.RawFlowSet:
			lines = append(lines, fmt.Sprintf("%d: no template", s.Id))
		case netflow.DataFlowSet:
			for _, r := range s.Records {
				lines = append(lines, record(s.Id, r.Values))
			}
		case netflow.OptionsDataFlowSet:
			for _, r := range s.Records {
				lines = append(lines, record(s.Id, slices.Concat(r.ScopesValues, r.OptionsValues)))
			}
		}
	}
	if errors.Is(err, netflow.ErrorTemplateNotFound) {
		err = nil
	}
	return lines, err
}

func record(id uint16, values []netflow.DataField) string {
	line := fmt.Sprintf("%d:", id)
	for _, v := range values {
		kind := v.Type
		if v.PenProvided {
			kind &= 0x7fff // goflow2 leaves the enterprise bit in options templates
		}
		line += fmt.Sprintf(" %d.%d=%x", v.Pen, kind, v.Value)
	}
	return line
}

// TestEqualToGoflow: every datagram of the corpus is read as goflow2 reads it.
func TestEqualToGoflow(t *testing.T) {
	all := exporters(t)
	messages, records, missing := 0, 0, 0
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		c, o := ipfix.NewCache[struct{}](1<<16, nil), netflow.CreateTemplateSystem()
		for i, b := range all[name] {
			if strings.Contains(name, "invalid01") {
				// Its header counts two records, and goflow2 stops there. We take what is there.
				b[3] = 0xff
			}
			got, whole := mine(c, b)
			want, err := theirs(o, b)
			if whole != (err == nil) {
				t.Errorf("%s, datagram %d: whole is %v, goflow2 says %v", name, i, whole, err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s, datagram %d, - goflow2, + ours:\n%s", name, i, d)
			}
			messages++
			for _, l := range got[1:] {
				if strings.HasSuffix(l, "no template") {
					missing++
				} else if strings.Contains(l, "=") {
					records++
				}
			}
		}
	}
	t.Logf("%d exporters, %d messages, %d records, %d sets before their template", len(all), messages, records, missing)
	if messages < 231 || records < 644 {
		t.Errorf("only %d messages and %d records: is the corpus whole?", messages, records)
	}
}
