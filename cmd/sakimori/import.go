package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"sakimori/base/store"
	"sakimori/detect"
	"sakimori/observe/telescope"
)

func newImport() *cobra.Command {
	c := &cobra.Command{Use: "import", Short: "Take in captures and logs / キャプチャと記録を取り込む"}
	c.AddCommand(newImportTelescope(), newImportSubscriber(), newImportPeople(), newImportReports(), newImportDNS(), newImportFlow(), newImportRoute(), newImportFeed(openCommandList))
	return c
}

type importFlags struct {
	config, data, format, progress string
	dark, own, tunnels             []string
}

func newImportTelescope() *cobra.Command {
	var f importFlags
	c := &cobra.Command{
		Use:   "telescope --dark PREFIX… [--own PREFIX…] FILE…",
		Short: "Import captures of packets to unused addresses / ダークネットのキャプチャを取り込む",
		Long: `Reads captures (pcap, pcapng, plain, gzip or zstd; - is standard input) and says
who scans, who is under attack, and which own addresses are infected. Captures of
several sensors that overlap in time are read as one: name them together.

With --data everything is kept in that folder: each content is counted once, an
interrupted import goes on with the same command, and the console shows it.
Without --data nothing is kept; the document is all.

キャプチャを読み、スキャン元・攻撃の被害者・感染した自社アドレスを示します。
時間帯の重なるキャプチャ(複数のセンサー)は、一緒に指定すると時刻順に1つとして読みます。
--data を付けると保存され、同じ内容は一度だけ数え、中断しても同じ命令で再開します。`,
		Example: `  sakimori import telescope --dark 198.51.100.0/24 --own 203.0.113.0/24 day.pcap.gz
  sakimori import telescope --dark 198.51.100.0/24 --data sakimori-data -o json *.pcap
  tcpdump -r big.pcap -w - | sakimori import telescope --dark 198.51.100.0/24 -`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("name at least one capture file, or - for standard input (see: %s --help)", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args) },
	}
	outputFlag(c, &f.format)
	fl := c.Flags()
	fl.StringVar(&f.config, "config", "", "configuration file")
	fl.StringVar(&f.data, "data", "", "folder in which everything is kept")
	fl.StringSliceVar(&f.dark, "dark", nil, "prefix of unused addresses (repeat or separate by commas)")
	fl.StringSliceVar(&f.own, "own", nil, "prefix of the operator's own addresses")
	fl.StringSliceVar(&f.tunnels, "tunnels", nil, "look into: gre, erspan, vxlan, ipip")
	fl.StringVar(&f.progress, "progress", "auto", "auto, plain, json or none")
	return c
}

// settings joins the configuration file with the flags.
func (f *importFlags) settings() (config, error) {
	cfg, err := readConfig(f.config, os.Environ())
	if err != nil {
		return cfg, err
	}
	if len(f.dark) > 0 {
		cfg.Telescope.Dark = nil
		for _, d := range f.dark {
			cfg.Telescope.Dark = append(cfg.Telescope.Dark, darkEntry{Prefix: d})
		}
	}
	if len(f.own) > 0 {
		cfg.Telescope.Own = f.own
	}
	if len(f.tunnels) > 0 {
		cfg.Telescope.Tunnels = f.tunnels
	}
	return cfg, nil
}

func (f *importFlags) run(c *cobra.Command, args []string) error {
	cfg, err := f.settings()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	ctx := c.Context()
	bar := newProgress(c.ErrOrStderr(), f.progress)
	var files []capture
	var im *importer
	var fault, wrong error
	var ready sync.WaitGroup // while the store is opened
	ready.Go(func() { files, fault = look(args, c.InOrStdin()) })
	ready.Go(func() { im, wrong = newImporter(&cfg) })
	var k *keeper
	if f.data != "" {
		k, err = openKeeper(ctx, f.data)
		if busy, is := errors.AsType[*store.ErrBusy](err); is {
			return f.remote(c, busy, args)
		}
		if err != nil {
			return err
		}
		defer k.Close()
	}
	switch ready.Wait(); {
	case wrong != nil:
		return &exitError{exitUsage, wrong}
	case fault != nil:
		return fault
	}
	im.keeper, im.tell = k, bar.show
	var told []detect.Finding
	im.found = func(f detect.Finding) { told = append(told, f) }
	doc, err := im.run(ctx, files)
	bar.end()
	if k != nil {
		// Also those before an error are kept.
		err = errors.Join(err, giveFindings(ctx, &cfg, f.data, told))
	}
	if err != nil {
		return err
	}
	var closing sync.WaitGroup
	var kept error
	if k != nil {
		closing.Go(func() { kept = k.Close() }) // while the document is written
	}
	err = f.print(c.OutOrStdout(), doc)
	closing.Wait()
	if err = errors.Join(err, kept); err != nil {
		return err
	}
	if len(doc.Errors) > 0 {
		for _, e := range doc.Errors {
			fmt.Fprintln(c.ErrOrStderr(), "sakimori:", e.Message)
		}
		return &exitError{exitFailed, nil}
	}
	return nil
}

// giveFindings gives findings to the cases of a data folder in which there are any. It is
// in the data folder that subscribers are known.
func giveFindings(ctx context.Context, cfg *config, data string, list []detect.Finding) (err error) {
	list = slices.DeleteFunc(list, func(f detect.Finding) bool { return f.Detector != "infected" })
	if len(list) == 0 || !exists(filepath.Join(data, historyDir)) {
		return nil
	}
	c := *cfg
	c.Data = data
	h, err := openOffice(ctx, &c)
	if err != nil {
		return fmt.Errorf("the findings are kept, but not given to cases: %w", err)
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	for i := range list {
		if err := h.finding(ctx, &list[i]); err != nil {
			return fmt.Errorf("the findings are kept, but not given to cases: %w", err)
		}
	}
	return nil
}

// newImporter makes an importer from the configuration; it keeps nothing yet.
func newImporter(cfg *config) (*importer, error) {
	table, err := cfg.places()
	if err != nil {
		return nil, err
	}
	research, err := cfg.research()
	if err != nil {
		return nil, err
	}
	engine, err := cfg.engine(table, research)
	if err != nil {
		return nil, err
	}
	engine.Detail = true
	im := &importer{cfg: engine, rules: rulesDigest(engine), now: time.Now, every: 30 * time.Second}
	if _, err := telescope.Empty(engine); err != nil { // says what is wrong before a file is read
		return nil, err
	}
	return im, nil
}

func (f *importFlags) print(w io.Writer, d report) error {
	switch f.format {
	case "json":
		return printDocumentJSON(w, d.Document, d.all.Len(), d.all.At)
	case "csv":
		head, rows := scannerRows(&d.all)
		return printRows(w, "csv", head, rows)
	}
	return printDocument(w, d)
}

// printDocumentJSON writes the document with n scanners as JSON; of a long list
// each takes one line, as indenting a million takes longer than finding them.
func printDocumentJSON(w io.Writer, d telescope.Document, n int, scanner func(i int) telescope.Scanner) error {
	const long = 10_000
	if n <= long {
		d.Scanners = make([]telescope.Scanner, n)
		for i := range d.Scanners {
			d.Scanners[i] = scanner(i)
		}
		return printJSON(w, d)
	}
	ports := d.Ports
	d.Scanners, d.Ports = []telescope.Scanner{}, []telescope.PortCount{}
	rest, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	for _, list := range []struct {
		name  string
		n     int
		lines func() line
	}{
		{"scanners", n, func() line {
			var l telescope.Lines
			return func(b []byte, i int) ([]byte, error) {
				s := scanner(i)
				return l.Append(append(b, "    "...), &s)
			}
		}},
		{"ports", len(ports), func() line {
			return func(b []byte, i int) ([]byte, error) { return telescope.AppendPort(b, &ports[i]) }
		}},
	} {
		before, after, _ := bytes.Cut(rest, []byte(`"`+list.name+`": [`)) // inside a text the quotes would be escaped
		if _, err := fmt.Fprintf(w, "%s%q: [", before, list.name); err != nil {
			return err
		}
		if err := printLines(w, list.n, list.lines); err != nil {
			return err
		}
		rest = after
	}
	_, err = fmt.Fprintf(w, "%s\n", rest)
	return err
}

func scannerRows(all *telescope.Roll) (head []string, rows [][]string) {
	head = []string{"source", "port", "protocol", "packets", "targets", "coverage", "tool", "tool_versions", "research", "maybe_victim", "first", "last"}
	for i := range all.Len() {
		s := all.At(i)
		rows = append(rows, []string{
			s.Source.String(), portText(s.Protocol, s.Port), s.Protocol, fmt.Sprint(s.Packets), fmt.Sprint(s.Targets),
			fmt.Sprintf("%.4f", s.Coverage), s.Tool, s.ToolVersions, fmt.Sprint(s.Research), fmt.Sprint(s.MaybeVictim), s.First.Format(time.RFC3339), s.Last.Format(time.RFC3339),
		})
	}
	return head, rows
}

// portText writes a port; of ICMP type and code.
func portText(protocol string, port uint16) string {
	if protocol == "icmp" || protocol == "icmpv6" {
		return fmt.Sprintf("%d.%d", port>>8, port&0xff)
	}
	return strconv.Itoa(int(port))
}

// printDocument tells the whole in a screen.
func printDocument(w io.Writer, d report) error {
	for _, dup := range d.DuplicateOf {
		fmt.Fprintf(w, say("%s は取り込み済みです(%s、%s)。数え直していません。\n", "%s was imported before (as %s, %s): not counted again.\n"),
			dup.File, dup.Name, dup.Imported.Format(time.RFC3339))
	}
	if d.First == nil {
		_, err := fmt.Fprintln(w, say("パケットはありません。", "No packets."))
		return err
	}
	fmt.Fprintf(w, say("期間 %s – %s\n", "from %s to %s\n"), d.First.Format(time.RFC3339), d.Last.Format(time.RFC3339))
	fmt.Fprintf(w, say("パケット %s、うち未使用アドレス宛 %s(スキャン %s、跳ね返り %s、反射 %s、その他 %s)\n",
		"%s packets, %s of them to dark space (scan %s, backscatter %s, reflection %s, other %s)\n"),
		thousands(d.Packets), thousands(d.DarkPackets), thousands(d.Classes.Scan), thousands(d.Classes.Backscatter), thousands(d.Classes.Reflection), thousands(d.Classes.Other))
	fmt.Fprintf(w, say("送信元 %s%s、届いた未使用アドレス %s / %s\n", "%s sources%s, %s of %s dark addresses hit\n"),
		thousands(d.UniqueSources), plusMinus(d.UniqueSourcesErr), thousands(d.DarkAddresses.Hit), thousands(d.DarkAddresses.Monitored))
	if d.FromDark > 0 {
		fmt.Fprintf(w, say("注意: 未使用のはずのアドレス %d 個が %s パケットを送信しています\n", "note: %d dark addresses sent %s packets: they aren't dark\n"), len(d.Answering), thousands(d.FromDark))
	}
	if d.Malformed > 0 {
		fmt.Fprintf(w, say("壊れたパケット %s\n", "%s malformed\n"), thousands(d.Malformed))
	}
	if d.Stray > 0 {
		fmt.Fprintf(w, say("日付が信用できないパケット %s(前後の時刻と合わず、他の件数には含めていません)\n", "%s with a date that isn't believed, far from those around it: in no other figure\n"), thousands(d.Stray))
	}
	if d.Late > 0 {
		fmt.Fprintf(w, say("遅れて届いたパケット %s(まだ開いていた後の分に数えました)\n", "%s late: counted in a later minute than their own, that was still open\n"), thousands(d.Late))
	}
	var rows [][]string
	for _, i := range d.Infected {
		rows = append(rows, []string{i.Address.String(), fmt.Sprint(i.Port), thousands(i.Packets), i.Family})
	}
	if err := section(w, say("感染の疑いがある自社アドレス", "infected own addresses"), []string{"address", "port", "packets", "family"}, rows, len(rows)); err != nil {
		return err
	}
	rows = nil
	for _, v := range d.Victims {
		rows = append(rows, []string{v.Address.String(), portText(v.Protocol, v.Port) + "/" + v.Protocol, thousands(v.Packets), v.First.Format(time.RFC3339), v.Last.Format(time.RFC3339)})
	}
	if err := section(w, say("詐称送信元の攻撃を受けているアドレス", "victims of floods with forged sources"), []string{"address", "service", "packets", "first", "last"}, rows, len(rows)); err != nil {
		return err
	}
	rows = nil
	for _, s := range d.Scanners {
		tool := s.Tool + " " + s.ToolVersions
		if s.MaybeVictim {
			tool = say("増幅応答を要求(送信元が詐称され、被害者である可能性)", "asks for amplified answers: may be the victim of who forges it")
		}
		rows = append(rows, []string{s.Source.String(), portText(s.Protocol, s.Port) + "/" + s.Protocol, thousands(s.Packets), thousands(s.Targets), fmt.Sprintf("%.2f %%", 100*s.Coverage), tool})
	}
	if err := section(w, say("スキャン元", "scanners"), []string{"source", "port", "packets", "targets", "coverage", "tool"}, rows, d.all.Len()); err != nil {
		return err
	}
	rows = nil
	for _, p := range d.Ports {
		rows = append(rows, []string{portText(p.Protocol, p.Port) + "/" + p.Protocol, thousands(p.Packets), thousands(p.Sources) + plusMinus(p.SourcesErr)})
	}
	return section(w, say("ポート", "ports"), []string{"port", "packets", "sources"}, rows, len(rows))
}

// section prints at most 20 rows, and says how many more of the n there are.
func section(w io.Writer, title string, head []string, rows [][]string, n int) error {
	fmt.Fprintf(w, "\n%s: %d\n", title, n)
	if len(rows) == 0 {
		return nil
	}
	const most = 20
	if err := printRows(w, "table", head, rows[:min(most, len(rows))]); err != nil {
		return err
	}
	if n > most {
		fmt.Fprintf(w, say("…ほか %d 件(-o json で全件)\n", "… and %d more (-o json has all)\n"), n-most)
	}
	return nil
}

func plusMinus(err float64) string {
	if err == 0 {
		return ""
	}
	return fmt.Sprintf(" (±%.1f %%)", 100*err)
}

// bar shows how far an import is.
type bar struct {
	w     io.Writer
	mode  string
	bar   *progressbar.ProgressBar
	file  string
	began time.Time
	told  time.Time
}

func newProgress(w io.Writer, mode string) *bar {
	if mode == "auto" {
		mode = "none"
		if isTerminal(w) {
			mode = "bar"
		}
	}
	return &bar{w: w, mode: mode}
}

func (b *bar) show(p progress) {
	now := time.Now()
	if p.File+p.Step != b.file {
		b.end()
		b.file, b.began, b.told = p.File+p.Step, now, time.Time{}
	}
	rate := float64(p.Packets) / max(now.Sub(b.began).Seconds(), 0.001)
	switch b.mode {
	case "bar":
		if b.bar == nil {
			total := p.Total
			if total == 0 {
				total = -1
			}
			b.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(b.w), progressbar.OptionShowBytes(true),
				progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
		}
		b.bar.Describe(fmt.Sprintf("%s  %s pkt  %s pkt/s", cut(p.File, 40), thousands(p.Packets), thousands(uint64(rate))))
		_ = b.bar.Set64(p.Done) // a picture: nothing depends on it
	case "plain", "json":
		if now.Sub(b.told) < time.Second {
			return
		}
		b.told = now
		if b.mode == "json" {
			fmt.Fprintf(b.w, `{"file":%q,"step":%q,"bytes":%d,"total":%d,"packets":%d,"rate":%.0f}`+"\n", p.File, p.Step, p.Done, p.Total, p.Packets, rate)
			return
		}
		fmt.Fprintf(b.w, "%s: %s %d/%d bytes, %s packets, %s packets/s\n", p.File, p.Step, p.Done, p.Total, thousands(p.Packets), thousands(uint64(rate)))
	}
}

func (b *bar) end() {
	if b.bar != nil {
		_ = b.bar.Finish() // as above
		b.bar = nil
	}
}

// remote hands the files to the process that has the store.
func (f *importFlags) remote(c *cobra.Command, busy *store.ErrBusy, args []string) error {
	cl, err := newClient(f.data, busy)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.ErrOrStderr(), "sakimori:", cl.notice())
	dark, own, err := f.prefixes()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	return cl.importFiles(c.Context(), c.OutOrStdout(), f.format, args, dark, own)
}

func (f *importFlags) prefixes() (dark, own []netip.Prefix, err error) {
	for _, s := range f.dark {
		p, err := parsePrefix(s, "dark")
		if err != nil {
			return nil, nil, err
		}
		dark = append(dark, p)
	}
	for _, s := range f.own {
		p, err := parsePrefix(s, "own")
		if err != nil {
			return nil, nil, err
		}
		own = append(own, p)
	}
	return dark, own, nil
}
