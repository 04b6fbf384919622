package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/zeebo/xxh3"

	"sakimori/base/sketch"
	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/detect/ddos"
	"sakimori/detect/infected"
	"sakimori/observe"
	"sakimori/observe/flow"
	"sakimori/observe/flow/mirror"
)

type flowFlags struct {
	config, format, progress, thresholds, clock, address string

	own     []string
	packets bool
	rate    uint32
}

func newImportFlow() *cobra.Command {
	var f flowFlags
	c := &cobra.Command{
		Use:   "flow FILE…",
		Short: "Find floods in exports of flows / フローの記録から攻撃を見つける",
		Long: `Reads exports of NetFlow 5 and 9, IPFIX and sFlow 5 in the order in which the files are
named: captures of them (pcap, pcapng, gzip, zstd), or datagrams as they were sent. With
--packets the files are captures of the traffic itself, and its packets are the flows. It
prints the totals, how each exporter fared, the attacks, and which own addresses are
infected as their flows show. Nothing is kept. Names are given to nobody: what is printed
are addresses of the file.

NetFlow 5/9、IPFIX、sFlow 5 のキャプチャ(または送信されたままのデータグラム)を読み、集計、
エクスポーターの状態、攻撃、フローから見た自社の感染アドレスを表示します。--packets を付けると、
通信そのもののキャプチャを読みます。何も保存しません。`,
		Example: `  sakimori import flow -o json --own 203.0.113.0/24 netflow.pcap
  sakimori import flow --clock arrival --thresholds lines.yaml replayed.pcapng
  sakimori import flow --packets --own 203.0.113.0/24 mirror.pcap.zst`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usage("name at least one file (see: %s --help)", c.CommandPath())
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args) },
	}
	outputFlag(c, &f.format)
	fl := c.Flags()
	fl.StringVar(&f.config, "config", "", "configuration file")
	fl.StringSliceVar(&f.own, "own", nil, "prefix of the operator's own addresses: what is protected, and whose infections are told; none: everything is protected")
	fl.StringVar(&f.thresholds, "thresholds", "", "file of thresholds (YAML, see docs/ddos.md)")
	fl.StringVar(&f.clock, "clock", "record", "whose times count: record, the exporter's; arrival, the capture's (replayed captures carry odd exporter times)")
	fl.StringVar(&f.address, "exporter", "192.0.2.1", "address of who sent a file that is a single datagram")
	fl.Uint32Var(&f.rate, "sampling", 0, "one packet of so many was looked at, where an exporter doesn't say")
	fl.BoolVar(&f.packets, "packets", false, "the files are captures of the traffic itself")
	fl.StringVar(&f.progress, "progress", "auto", "auto, plain, json or none")
	fixed(c, "clock", "record", "arrival")
	return c
}

// flowDocument is what an import of flows came to.
type flowDocument struct {
	Datagrams       uint64           `json:"datagrams"`
	Records         uint64           `json:"records"`
	Packets         uint64           `json:"packets"` // scaled by sampling
	Bytes           uint64           `json:"bytes"`
	Samples         uint64           `json:"samples"`
	Malformed       uint64           `json:"malformed"`
	MissingTemplate uint64           `json:"missing_template"` // sets whose template never came
	SequenceGaps    uint64           `json:"sequence_gaps"`
	Exporters       []flowExporter   `json:"exporters"`
	Sources         uint64           `json:"sources"`
	SourcesError    float64          `json:"sources_error"` // 95 %, as a share; 0 exact
	Attacks         []ddos.Result    `json:"attacks"`
	Infected        []infected.Found `json:"infected"`
	First           *time.Time       `json:"first"` // as the clock that counts says
	Last            *time.Time       `json:"last"`
	Errors          []string         `json:"errors"`
}

type flowExporter struct {
	Address  string      `json:"address"`
	Domain   uint32      `json:"domain"`
	Version  string      `json:"version"`
	Records  uint64      `json:"records"`
	Sampling uint32      `json:"sampling"` // the rate that most flows had; 0 not known
	Rates    []flow.Rate `json:"rates"`
}

// flowImport is an import under way.
type flowImport struct {
	doc    flowDocument
	run    *floods
	v4, v6 sketch.Set
	first  int64
	last   int64
}

func (i *flowImport) take(batch []observe.Flow) {
	for j := range batch {
		f := &batch[j]
		if f.Src.Is4() {
			i.v4.Add(sketch.Exact, f.Src.V4())
		} else {
			i.v6.Add(sketch.Exact, fold(f.Src))
		}
		if i.first == 0 || f.First < i.first {
			i.first = f.First
		}
		i.last = max(i.last, f.Last)
	}
	i.run.takeTimed(batch)
}

// fold makes an identity of an IPv6 address: two of a million share one by chance, which
// the error of the sum doesn't hold.
func fold(a packet.Addr) uint32 {
	var b [16]byte
	x := a.Netip().As16()
	copy(b[:], x[:])
	h := xxh3.Hash(b[:])
	return uint32(h ^ h>>32) //nolint:gosec // folded
}

func (f *flowFlags) run(c *cobra.Command, files []string) error {
	cfg, err := readConfig(f.config, os.Environ())
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if len(f.own) > 0 {
		cfg.DDoS.Own = f.own
	}
	set, err := cfg.floods()
	if err == nil && f.thresholds != "" {
		set.Thresholds, err = readThresholds(f.thresholds)
	}
	var clock flow.Clock
	if err == nil {
		err = clock.UnmarshalText([]byte(f.clock))
	}
	var from netip.Addr
	if err == nil {
		if from, err = netip.ParseAddr(f.address); err != nil {
			err = fmt.Errorf("--exporter %q: name an address", f.address)
		}
	}
	if err != nil {
		return &exitError{exitUsage, err}
	}
	table, err := cfg.places()
	if err != nil {
		return err
	}
	i := &flowImport{doc: flowDocument{Exporters: []flowExporter{}, Attacks: []ddos.Result{}, Infected: []infected.Found{}, Errors: []string{}}}
	if f.packets {
		set.Witness = "mirror"
	}
	if i.run, err = newFloods(set, floodPorts{place: table.Owner}); err != nil {
		return &exitError{exitUsage, err}
	}
	if f.packets {
		err = i.mirrored(c, f, files)
	} else {
		err = i.exported(c, f, &cfg, clock, netip.AddrPortFrom(from, 0), files)
	}
	if err != nil {
		return err
	}
	i.sum()
	if err := i.print(c.OutOrStdout(), f.format); err != nil {
		return err
	}
	if len(i.doc.Errors) > 0 {
		for _, e := range i.doc.Errors {
			fmt.Fprintln(c.ErrOrStderr(), "sakimori:", e)
		}
		return &exitError{exitFailed, nil}
	}
	return nil
}

// eachFile reads the files one after the other, "-" the standard input. What stands before
// an error counts; the error joins those that are wrong, and the next file is read.
func eachFile(c *cobra.Command, progressForm string, files []string, wrong *[]string, read func(name string, r io.Reader) error) error {
	bar := newProgress(c.ErrOrStderr(), progressForm)
	defer bar.end()
	for _, name := range files {
		in := c.InOrStdin()
		var total int64
		if name != "-" {
			file, err := os.Open(name)
			if err != nil {
				*wrong = append(*wrong, fmt.Sprintf("%v: %s", err, say("ファイルの場所を指定してください", "give the path of a file")))
				continue
			}
			if info, err := file.Stat(); err == nil {
				total = info.Size()
			}
			defer file.Close()
			in = file
		}
		if err := read(name, &readThrough{r: in, told: func(done int64) { bar.show(progress{File: name, Step: "import", Done: done, Total: total}) }}); err != nil {
			if errors.Is(err, context.Canceled) {
				return err
			}
			*wrong = append(*wrong, fmt.Sprintf("%s: %v", name, err))
		}
	}
	return nil
}

// readThrough tells how far a file was read.
type readThrough struct {
	r    io.Reader
	n    int64
	told func(int64)
}

func (c *readThrough) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	c.told(c.n)
	return n, err
}

// exported reads exports.
func (i *flowImport) exported(c *cobra.Command, f *flowFlags, cfg *config, clock flow.Clock, from netip.AddrPort, files []string) error {
	cfg.Flow.Clock = clock
	settings, err := cfg.Flow.collector()
	if err != nil {
		return &exitError{exitUsage, err}
	}
	settings.Allow = nil // a file holds what it holds
	settings.Default.Rate = f.rate
	dir, err := flow.NewDirectory(settings)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	collector := dir.Collector(i.take)
	collector.Each(i.run.until)
	err = eachFile(c, f.progress, files, &i.doc.Errors, func(_ string, r io.Reader) error {
		n, err := flow.ReadFrom(c.Context(), collector, r, from)
		if err == nil && n.Datagrams == 0 {
			err = errors.New(say("フローの記録がありません(通信そのもののキャプチャなら --packets)", "there is no export of flows in it (of a capture of traffic itself: --packets)"))
		}
		return err
	})
	collector.Publish(i.last)
	for _, h := range dir.Exporters() {
		i.doc.Datagrams += h.Datagrams
		i.doc.Records += h.Records
		i.doc.Packets += h.Packets
		i.doc.Bytes += h.Bytes
		i.doc.Samples += h.Samples
		i.doc.SequenceGaps += h.Gaps
		i.doc.MissingTemplate += h.UnknownTemplate - h.Waited
		for _, m := range h.Malformed {
			i.doc.Malformed += m.Count
		}
		x := flowExporter{Address: h.Address, Domain: h.Domain, Version: h.Protocol, Records: h.Records, Rates: h.Rates}
		if len(h.Rates) > 0 {
			x.Sampling = slices.MaxFunc(h.Rates, func(a, b flow.Rate) int { return int(a.Flows) - int(b.Flows) }).Rate //nolint:gosec // counts
		} else {
			x.Rates = []flow.Rate{}
		}
		i.doc.Exporters = append(i.doc.Exporters, x)
	}
	return err
}

// mirrored reads captures of the traffic itself.
func (i *flowImport) mirrored(c *cobra.Command, f *flowFlags, files []string) error {
	m, err := mirror.New(mirror.DefaultConfig(), i.take)
	if err != nil {
		return err
	}
	err = eachFile(c, f.progress, files, &i.doc.Errors, func(_ string, r io.Reader) error {
		capture, err := pcap.NewReader(r)
		if err != nil {
			return err
		}
		err = m.Read(capture.ReadBlock)
		return errors.Join(err, capture.Close())
	})
	m.Flush()
	s := m.Stats()
	i.doc.Records, i.doc.Packets, i.doc.Bytes, i.doc.Malformed = s.Records, s.Packets, s.Bytes, s.Malformed+s.Cut
	return err
}

// sum ends the run, and says what it came to.
func (i *flowImport) sum() {
	i.run.finish()
	i.doc.Sources = i.v4.Count() + i.v6.Count()
	const sigmas = 1.96 // 95 %
	if n := float64(i.doc.Sources); n > 0 {
		i.doc.SourcesError = sigmas * max(i.v4.Error()*float64(i.v4.Count()), i.v6.Error()*float64(i.v6.Count())) / n
	}
	if i.last > 0 {
		first, last := time.Unix(0, i.first).UTC(), time.Unix(0, i.last).UTC()
		i.doc.First, i.doc.Last = &first, &last
	}
	if r := i.run.attacks.Results(); len(r) > 0 {
		i.doc.Attacks = r
	}
	if i.run.infected != nil {
		i.doc.Infected = i.run.infected.Found()
	}
}

func (i *flowImport) print(w io.Writer, format string) error {
	d := &i.doc
	switch format {
	case "json":
		return printJSON(w, d)
	case "csv":
		rows := make([][]string, 0, len(d.Attacks))
		for j := range d.Attacks {
			a := &d.Attacks[j]
			rows = append(rows, []string{
				a.Target, string(a.Direction), resultVectors(a), fmt.Sprintf("%.0f", a.PeakPPS), fmt.Sprintf("%.0f", a.PeakBPS),
				fmt.Sprintf("%.0f", a.Packets), fmt.Sprint(a.Sources), a.First.Format(time.RFC3339Nano), a.Last.Format(time.RFC3339Nano), fmt.Sprintf("%.2f", a.Confidence),
			})
		}
		return printRows(w, format, []string{"target", "direction", "vectors", "peak_pps", "peak_bps", "packets", "sources", "first", "last", "confidence"}, rows)
	}
	rows := [][]string{
		{say("データグラム", "datagrams"), fmt.Sprint(d.Datagrams)},
		{say("レコード", "records"), fmt.Sprint(d.Records)},
		{say("パケット(推定)", "packets (estimated)"), fmt.Sprint(d.Packets)},
		{say("バイト(推定)", "bytes (estimated)"), fmt.Sprint(d.Bytes)},
		{say("送信元", "sources"), fmt.Sprint(d.Sources)},
		{say("壊れた記録", "malformed"), fmt.Sprint(d.Malformed)},
		{say("テンプレート未着", "missing template"), fmt.Sprint(d.MissingTemplate)},
		{say("途中の欠落", "lost on the way"), fmt.Sprint(d.SequenceGaps)},
	}
	for _, x := range d.Exporters {
		rows = append(rows, []string{say("エクスポーター", "exporter"), fmt.Sprintf("%s (%s) %d, 1:%d", x.Address, x.Version, x.Records, x.Sampling)})
	}
	if err := printRows(w, "table", []string{"", ""}, rows); err != nil {
		return err
	}
	for j := range d.Attacks {
		a := &d.Attacks[j]
		fmt.Fprintf(w, say("\n攻撃: %s  %s  最大 %.3g pps %.3g bps  送信元 %d  %s–%s  確度 %.2f\n", "\nattack: %s  %s  peak %.3g pps %.3g bps  %d sources  %s–%s  confidence %.2f\n"),
			a.Target, resultVectors(a), a.PeakPPS, a.PeakBPS, a.Sources, a.First.Format(time.RFC3339), a.Last.Format(time.TimeOnly), a.Confidence)
	}
	for _, x := range d.Infected {
		fmt.Fprintf(w, say("\n感染の疑い: %s  %s  ポート %v  宛先 %d\n", "\ninfected, it seems: %s  %s  ports %v  %d targets\n"), x.Address, x.Reason, x.Ports, x.Targets)
	}
	if len(d.Attacks)+len(d.Infected) == 0 {
		fmt.Fprintln(w, say("\n攻撃も感染も見つかりませんでした。", "\nneither an attack nor an infection was found."))
	}
	return nil
}

func resultVectors(r *ddos.Result) string {
	var words []string
	for _, v := range r.Vectors {
		words = append(words, fmt.Sprintf("%s %.0f%%", v.Name, 100*v.Share))
	}
	return strings.Join(words, " ")
}
