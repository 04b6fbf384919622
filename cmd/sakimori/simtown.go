package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/sim"
)

func newSimSubscribers() *cobra.Command {
	var out, start, progress string
	var town sim.Town
	var days int
	c := &cobra.Command{
		Use: "subscribers", Args: noArgs,
		Short: "Write the logs of made-up subscribers whose truth is known / 正解つきの模擬加入者の記録を書く",
		Long: `Makes up an access network: lines whose sessions come and go, some behind a translator,
some infected, cleaned and infected again. Writes what an operator would have of them:
RADIUS accounting (radius.pcap, and detail as FreeRADIUS writes it), the translator's log
(cgn.log), what the telescope saw (telescope.pcap), what others reported (reports/), a
configuration to import it with (sakimori.yaml), and the truth (truth.json). Some records
come late, twice or never; one clock is off; one BNG is started anew. Nothing is sent.

模擬の加入者網(セッションの接続と切断、NAT、感染、駆除、再感染)を作り、事業者の手元にあるはずの
記録を書き出します: RADIUS 課金記録、NAT ログ、ダークネットのキャプチャ、外部からの通報、取り込み用の
設定、正解(truth.json)。遅延・重複・欠落した記録、時計のずれ、BNG の再起動を含みます。何も送信しません。`,
		Example: `  sakimori sim subscribers --out town --lines 500 --days 30
  sakimori import subscriber --data store --config town/sakimori.yaml --secret "$(cat town/secret)" town/radius.pcap town/cgn.log`,
		RunE: func(c *cobra.Command, _ []string) error {
			at, err := time.Parse(time.DateOnly, start)
			if err != nil {
				return usage("--start %s: write it like 2026-10-01", start)
			}
			town.Start, town.Duration = at, time.Duration(days)*24*time.Hour
			life, err := town.Live()
			if err != nil {
				return &exitError{exitUsage, err}
			}
			b := newProgress(c.ErrOrStderr(), progress)
			if err := writeTown(life, out, b); err != nil {
				return err
			}
			b.end()
			t := life.Truth()
			_, err = fmt.Fprintf(c.OutOrStdout(), say("%s: 回線 %d、アドレスの利用 %d、感染 %d、通報 %d\n", "%s: %d lines, %d uses of an address, %d infections, %d reports\n"),
				out, len(t.Lines), len(t.Uses), len(t.Infected), len(t.Reports))
			return err
		},
	}
	fl := c.Flags()
	fl.StringVar(&out, "out", "town", "folder to write")
	fl.IntVar(&town.Lines, "lines", 500, "contracts, 20 to 30000")
	fl.IntVar(&town.Infected, "infected", 0, "lines that are infected sooner or later; 0 one of twenty")
	fl.IntVar(&days, "days", 30, "days, 2 to 400")
	fl.StringVar(&start, "start", "2026-10-01", "the first day")
	fl.Uint64Var(&town.Seed, "seed", 1, "the same seed gives the same bytes")
	fl.StringVar(&progress, "progress", "auto", "auto, plain, json or none")
	return c
}

// writeTown writes everything of a town into a folder.
func writeTown(l *sim.Life, dir string, b *bar) error {
	if err := os.MkdirAll(filepath.Join(dir, "reports"), 0o700); err != nil {
		return err
	}
	truth := l.Truth()
	frames := func(name string, write func(sim.FrameWriter) error) error {
		return writeFile(filepath.Join(dir, name), func(w io.Writer) error {
			p, err := pcap.NewWriter(w, packet.LinkEthernet)
			if err != nil {
				return err
			}
			if err := write(&counted{to: p, name: name, bar: b}); err != nil {
				return err
			}
			return p.Flush()
		})
	}
	if err := frames("radius.pcap", l.Radius); err != nil {
		return err
	}
	if err := frames("telescope.pcap", func(w sim.FrameWriter) error { _, err := l.Scene().Write(w); return err }); err != nil {
		return err
	}
	files := map[string]func(io.Writer) error{
		"detail": l.Detail, "cgn.log": l.Translator,
		"secret":        func(w io.Writer) error { _, err := io.WriteString(w, truth.Secret); return err },
		"sakimori.yaml": func(w io.Writer) error { return townConfig(w, &truth) },
		"truth.json":    func(w io.Writer) error { return json.NewEncoder(w).Encode(&truth) }, //nolint:gosec // the secret is published
	}
	for _, typ := range sim.ReportTypes {
		name := filepath.Join("reports", truth.End.Format(time.DateOnly)+"-"+typ+".csv")
		files[name] = func(w io.Writer) error { _, err := l.Reports(w, typ, time.Time{}, truth.End); return err }
	}
	for name, write := range files {
		if err := writeFile(filepath.Join(dir, name), write); err != nil {
			return err
		}
	}
	return nil
}

// townConfig is what an operator of that town would have written down.
func townConfig(w io.Writer, t *sim.TownTruth) error {
	_, err := fmt.Fprintf(w, `telescope:
  dark: [%s]
  own: [%s]
subscriber:
  own: [%s]
  skew: {%s: %s}   # its clock is known to be off
`, list(t.Dark), list(t.Own), list(t.Own), t.Skewed, t.Skew)
	return err
}

func list[T fmt.Stringer](values []T) (s string) {
	for i, v := range values {
		if i > 0 {
			s += ", "
		}
		s += `"` + v.String() + `"`
	}
	return s
}

// writeFile writes a file whole, or leaves none.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	b := bufio.NewWriterSize(f, 1<<20)
	if err = write(b); err == nil {
		err = b.Flush()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(path) // half a file helps nobody; the first error is told
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// counted tells how many frames were written.
type counted struct {
	to   sim.FrameWriter
	name string
	bar  *bar
	n    uint64
}

func (c *counted) WriteFrame(ts int64, data []byte) error {
	c.n++
	if c.n%4096 == 0 {
		c.bar.show(progress{File: c.name, Step: "write", Packets: c.n})
	}
	return c.to.WriteFrame(ts, data)
}
