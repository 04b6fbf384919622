package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"sakimori/sim"
)

func newSimRoute() *cobra.Command {
	var name, out, to string
	var seed uint64
	var list bool
	sender := sim.RouteSender{}
	c := &cobra.Command{
		Use: "route", Args: noArgs,
		Short: "Write or play routes whose truth is known: leaks, hijacks, and what looks like one / 正解つきの模擬経路を書く・流す",
		Long: `Makes up a small Internet and what its peers tell of its routes: leaks of all types of
RFC 7908, hijacks, lost and private space, and what only looks like one; the shape of
25 August 2017 small, and at its full size (leak-2017-full). Writes into a folder: rib.mrt.gz
(the table at the start), updates.mrt, truth.json, and what the operator knows: own.txt,
relations.txt, siblings.txt, roas.csv, rpki.json (with ASPA). With --bmp it plays the scene
to a BMP station instead, on this machine and nowhere else. --list shows the scenes.

Numbers and prefixes stand for nobody: AS numbers from 1,000,000 on, 240.0.0.0/4 and 3fff::/20.
IANA's lists call that space reserved: tell a detector of bogons that it is in use here.

小さな模擬インターネットの経路を作ります。RFC 7908 の各種の漏れ、乗っ取り、経路の消失、そう見えるだけの
出来事、2017年8月25日の形(小、leak-2017-full は実際の規模)を含みます。フォルダーに、開始時の表(rib.mrt.gz)、
更新(updates.mrt)、正解(truth.json)、事業者が知っていること(own.txt、relations.txt、siblings.txt、
roas.csv、ASPA を含む rpki.json)を書きます。--bmp を付けると、このマシンの BMP 受信部だけに流します。
AS 番号(1,000,000 以降)とプレフィックス(240.0.0.0/4、3fff::/20)は誰のものでもありません。IANA の一覧では予約済みの
空間なので、検知側では使用中の空間として扱ってください。`,
		Example: `  sakimori sim route --list
  sakimori sim route --scene leak-2017 -o leak2017
  sakimori sim route --scene leak-1 --bmp 127.0.0.1:5000 --speed 10`,
		RunE: func(c *cobra.Command, _ []string) error {
			if list {
				return listRouteScenes(c.OutOrStdout())
			}
			scene, err := sim.RouteSceneByName(name, seed)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			if to != "" {
				if sender.To, err = netip.ParseAddrPort(to); err != nil {
					return usage(say("--bmp %q: 127.0.0.1:5000 のように書いてください", "--bmp %q: write an address and a port, like 127.0.0.1:5000"), to)
				}
				return sendRoutes(c, &sender, scene)
			}
			t, err := writeRoutes(scene, out)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), say("%s: 経路 %s(プレフィックス %s)、更新 %s(広告 %s、取り消し %s)、事象 %d\n", "%s: %s routes (%s prefixes), %s messages (%s announced, %s withdrawn), %d incidents\n"),
				out, thousands(uint64(t.Entries)), thousands(uint64(t.Prefixes)), thousands(t.Messages), thousands(t.Announced), thousands(t.Withdrawn), len(t.Incidents)) //nolint:gosec // counts
			return err
		},
	}
	fl := c.Flags()
	fl.StringVar(&name, "scene", "leak-2017", "which one; see --list")
	fl.BoolVar(&list, "list", false, "show the scenes")
	fl.StringVarP(&out, "out", "o", "routes", "folder to write to; made if it isn't there")
	fl.Uint64Var(&seed, "seed", 1, "the same seed gives the same bytes")
	fl.StringVar(&to, "bmp", "", "play to a BMP station on this machine instead, like 127.0.0.1:5000")
	fl.Float64Var(&sender.Speed, "speed", 1, "with --bmp: scene seconds a second, 0 as fast as it goes")
	fl.BoolVar(&sender.Now, "now", true, "with --bmp: the scene happens now; false: at its own time")
	fl.BoolVar(&sender.Hold, "hold", false, "with --bmp: the session stays when the scene is over, until it is stopped")
	_ = c.RegisterFlagCompletionFunc("scene", cobra.FixedCompletions(sim.RouteNames(), cobra.ShellCompDirectiveNoFileComp)) // fails only for an unknown flag
	return c
}

func listRouteScenes(w io.Writer) error {
	var rows [][]string
	for _, s := range sim.AllRouteScenes() {
		rows = append(rows, []string{s.Name, fmt.Sprint(s.Scene.Duration), say(s.JA, s.EN)})
	}
	return printRows(w, "table", []string{say("場面", "scene"), say("長さ", "length"), say("内容", "what is in it")}, rows)
}

// writeRoutes writes a scene's files into a folder.
func writeRoutes(s sim.RouteScene, dir string) (t sim.RouteTruth, err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return t, err
	}
	err = writeFile(filepath.Join(dir, "updates.mrt"), func(updates io.Writer) error {
		return writeFile(filepath.Join(dir, "rib.mrt.gz"), func(dump io.Writer) error {
			z := gzip.NewWriter(dump)
			if t, err = s.WriteMRT(z, updates); err != nil {
				return err
			}
			return z.Close()
		})
	})
	if err != nil {
		return t, err
	}
	for _, f := range []struct {
		name  string
		write func(io.Writer) error
	}{
		{"relations.txt", t.WriteRelations},
		{"siblings.txt", t.WriteSiblings},
		{"roas.csv", t.WriteROAs},
		{"rpki.json", t.WriteRPKI},
		{"own.txt", t.WriteOwn},
		{"truth.json", func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetIndent("", "  ")
			return e.Encode(&t)
		}},
	} {
		if err := writeFile(filepath.Join(dir, f.name), f.write); err != nil {
			return t, err
		}
	}
	return t, nil
}

// sendRoutes plays a scene to this machine and says how that went.
func sendRoutes(c *cobra.Command, f *sim.RouteSender, s sim.RouteScene) error {
	sent, err := f.Send(c.Context(), s)
	if err != nil && c.Context().Err() == nil {
		return err
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), say("%s へ BMP メッセージ %s(%s バイト)を %.1f 秒で送信\n", "%s: %s BMP messages, %s bytes in %.1f seconds\n"),
		f.To, thousands(sent.Messages), thousands(sent.Bytes), sent.Took.Seconds())
	return err
}
