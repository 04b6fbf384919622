package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/sim"
)

func newSimFlow() *cobra.Command {
	var name, out, truth, to, progress string
	var seed uint64
	var list bool
	sender := sim.FlowSender{}
	c := &cobra.Command{
		Use: "flow", Args: noArgs,
		Short: "Write or send flows whose truth is known: attacks, and what looks like one / 正解つきの模擬フローを書く・送る",
		Long: `Makes up what passes an operator's routers, and how they tell of it by NetFlow 5 and 9,
IPFIX and sFlow: attacks of all kinds, traffic that only looks like one, exporters in
trouble, the attacks of 2012 and 2016 at their full rates. Writes the datagrams as a
capture, and beside it the truth: who was attacked, when, how, and who is innocent.
With --to it sends them instead, to this machine and to nobody else. --list shows the scenes.

事業者のルーターを通る模擬の通信と、それを伝える NetFlow 5・9、IPFIX、sFlow を作ります。各種の攻撃、
攻撃に見えるだけの通信、ルーターの不調、2012 年と 2016 年の攻撃(実際の規模)を含みます。キャプチャと、
その横に正解(標的、時刻、手口、無実の通信)を書きます。--to を付けると、このマシン自身だけに送信します。
場面の一覧は --list で表示します。`,
		Example: `  sakimori sim flow --list
  sakimori sim flow --scene dyn-2016 -o dyn.pcap
  sakimori sim flow --scene pulse --to 127.0.0.1:2055 --speed 1`,
		RunE: func(c *cobra.Command, _ []string) error {
			if list {
				return listFlowScenes(c.OutOrStdout())
			}
			scene, err := sim.FlowSceneByName(name, seed)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if to != "" {
				if sender.To, err = netip.ParseAddrPort(to); err != nil {
					return usage(say("--to %q: 127.0.0.1:2055 のように書いてください", "--to %q: write an address and a port, like 127.0.0.1:2055"), to)
				}
				return sendFlows(c, &sender, scene)
			}
			if truth == "" {
				truth = strings.TrimSuffix(out, ".pcap") + ".truth.json"
			}
			b := newProgress(c.ErrOrStderr(), progress)
			t, err := writeFlows(scene, out, truth, b)
			if err != nil {
				return err
			}
			b.end()
			_, err = fmt.Fprintf(c.OutOrStdout(), say("%s: 通過 %s パケット、データグラム %s、レコード %s、攻撃 %d(正解: %s)\n", "%s: %s packets passed, %s datagrams, %s records, %d attacks (truth: %s)\n"),
				out, thousands(t.Packets), thousands(t.Datagrams), thousands(t.Records), len(t.Attacks), truth)
			return err
		},
	}
	fl := c.Flags()
	fl.StringVar(&name, "scene", "multi-vector", "which one; see --list")
	fl.BoolVar(&list, "list", false, "show the scenes")
	fl.StringVarP(&out, "out", "o", "flows.pcap", "capture to write")
	fl.StringVar(&truth, "truth", "", "JSON file for the truth; beside the capture unless set")
	fl.Uint64Var(&seed, "seed", 1, "the same seed gives the same bytes")
	fl.StringVar(&to, "to", "", "send to a collector on this machine instead, like 127.0.0.1:2055")
	fl.Float64Var(&sender.Speed, "speed", 1, "with --to: scene seconds a second, 0 as fast as it goes")
	fl.Float64Var(&sender.Rate, "rate", 0, "with --to: datagrams a second at most, 0 any")
	fl.BoolVar(&sender.Now, "now", true, "with --to: the scene happens now; false: at its own time")
	fl.StringVar(&progress, "progress", "auto", "auto, plain, json or none")
	_ = c.RegisterFlagCompletionFunc("scene", cobra.FixedCompletions(sim.FlowNames(), cobra.ShellCompDirectiveNoFileComp)) // fails only for an unknown flag
	return c
}

func listFlowScenes(w io.Writer) error {
	var rows [][]string
	for _, s := range sim.AllFlowScenes() {
		rows = append(rows, []string{s.Name, fmt.Sprint(s.Scene.Duration), say(s.JA, s.EN)})
	}
	return printRows(w, "table", []string{say("場面", "scene"), say("長さ", "length"), say("内容", "what is in it")}, rows)
}

// writeFlows writes a capture and the truth beside it.
func writeFlows(s sim.FlowScene, out, truth string, b *bar) (t sim.FlowTruth, err error) {
	err = writeFile(out, func(w io.Writer) error {
		p, err := pcap.NewWriter(w, packet.LinkEthernet)
		if err != nil {
			return err
		}
		if t, err = s.Write(&counted{to: p, name: out, bar: b}); err != nil {
			return err
		}
		return p.Flush()
	})
	if err != nil {
		return t, err
	}
	return t, writeFile(truth, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(&t)
	})
}

// sendFlows sends a scene to this machine and says how that went.
func sendFlows(c *cobra.Command, f *sim.FlowSender, s sim.FlowScene) error {
	sent, err := f.Send(c.Context(), s)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), say("%s へデータグラム %s(%s バイト)を %.1f 秒で送信、受け手不在 %s\n", "%s: %s datagrams, %s bytes in %.1f seconds, %s met nobody\n"),
		f.To, thousands(sent.Datagrams), thousands(sent.Bytes), sent.Took.Seconds(), thousands(sent.Refused))
	return err
}
