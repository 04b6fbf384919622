package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/observe/telescope"
)

func newExplain() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use: "explain", Short: "Say how packets become findings, as configured / 判定の道筋を説明する", Args: noArgs,
		Long: `Prints the way from a packet to a finding with the figures of this configuration:
time-outs, thresholds, fingerprints with their dates, sources and odds.

パケットから検知までの道筋を、この設定での数値(時間切れ、しきい値、指紋の出典と偶然一致率)とともに表示します。`,
		Example: "  sakimori explain --config sakimori.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := readConfig(path, os.Environ())
			if err != nil {
				return &exitError{exitUsage, err}
			}
			return explain(c.OutOrStdout(), &cfg)
		},
	}
	c.Flags().StringVar(&path, "config", "", "configuration file")
	return c
}

func explain(w io.Writer, cfg *config) error {
	research, err := cfg.research()
	if err != nil {
		return err
	}
	engine, err := cfg.engine(nil, research)
	if err != nil {
		return err
	}
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p("%s", say("1. 観測 (observe/telescope)", "1. observe/telescope"))
	if len(engine.Dark) == 0 {
		p("   %s", say("未使用アドレスが設定されていません(telescope.dark)", "no dark prefix is configured (telescope.dark)"))
	} else {
		t, err := telescope.New(engine, nil)
		if err != nil {
			return err
		}
		n := t.Monitored(time.Now())
		p("   %s %s", say("未使用 IPv4 アドレス:", "dark IPv4 addresses:"), thousands(n))
		if n > 0 {
			scale := float64(1<<32) / float64(n)
			p("   %s ×%.0f (2^32/N)", say("全インターネット換算:", "to the whole Internet:"), scale)
			p("   %s %.1f packets/s", say("跳ね返りで見える攻撃の下限:", "smallest flood that backscatter shows:"), 0.5*scale)
		}
		p("   %s %s = 3 · 2^32 / (%g · N)", say("事象の時間切れ:", "an event ends after"), t.Idle(), engine.MinRate)
	}
	p("   %s %s", say("スキャンと判定する前の事象の保持:", "kept while it isn't a scan yet:"), engine.Slow)
	p("   %s", say("スキャンの定義: 1ポートで未使用アドレス3件以上、または5分間に15ポート以上、またはスキャンツールの指紋",
		"a scan: 3 dark addresses on one port, or 15 ports in 5 minutes, or the fingerprint of a scanning tool"))
	p("")
	p("%s", say("2. 指紋(パケットがすべて一致したときだけ名前を付ける)", "2. fingerprints (a tool is named only if every packet agrees)"))
	for _, r := range telescope.Rules {
		p("   %-13s v%d %s  %s", r.Tool, r.Version, span(r.From, r.Until), r.Tool.Versions())
		p("                 %s", r.Form)
		p("                 %s %.1e %s %d; %s", say("偶然の一致", "by accident"), r.Chance, say("毎パケット、最少", "a packet, least"), r.Least, r.Source)
	}
	p("")
	p("%s", say("3. 判定 (detect)", "3. detect"))
	p("   infected  %s", say("自社アドレスからのスキャン(1〜2宛先だけの通信は設定誤りとみなす)", "a scan from an own address (one or two targets are a misconfiguration)"))
	p("   ddos      %s", say("跳ね返り: 25パケット以上、60秒以上、いずれかの60秒間に30パケット以上", "backscatter: 25 packets, 60 s, and 30 packets in some 60 s"))
	p("   surge     %s", say("同じ曜日・時刻の過去4週以上の中央値とMADに対する増加", "a rise against the median and MAD of the same hour of the week"))
	p("")
	names := make([]string, 0, len(telescope.Researchers))
	for _, r := range telescope.Researchers {
		names = append(names, r.Name)
	}
	p("%s %s: %s", say("調査目的と名乗るスキャン元", "scanners that say who they are"), telescope.ResearchDated.Format(time.DateOnly), strings.Join(names, ", "))
	p("%s %s: %d", say("IoTポート表", "IoT ports"), telescope.IoTDated.Format(time.DateOnly), len(telescope.IoTPorts))
	return nil
}

func span(from, until time.Time) string {
	f, u := "", ""
	if !from.IsZero() {
		f = from.Format(time.DateOnly)
	}
	if !until.IsZero() {
		u = until.Format(time.DateOnly)
	}
	return f + "–" + u
}
