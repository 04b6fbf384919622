package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/pcap"
	"sakimori/sim"
)

func newSim() *cobra.Command {
	var out, truth string
	var seed uint64
	c := &cobra.Command{
		Use:   "sim SCENE",
		Short: "Write a made-up capture whose truth is known / 正解つきの模擬キャプチャを書く",
		Long: `Writes a capture of a small made-up Internet, and what is true of it. Nothing is
ever sent. Scenes: ` + strings.Join(sim.Names(), ", ") + `

小さな模擬インターネットのキャプチャと、その正解を書き出します。何も送信しません。
加入者網の記録は sakimori sim subscribers で作ります。`,
		Example: "  sakimori sim autumn2016 --out day.pcap --truth day.json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("name one scene: %s", strings.Join(sim.Names(), ", "))
			}
			return nil
		},
		ValidArgs: sim.Names(),
		RunE: func(_ *cobra.Command, args []string) error {
			capture, err := sim.ByName(args[0], seed)
			if err != nil {
				return &exitError{exitUsage, err}
			}
			t, err := writeScene(capture, out)
			if err != nil {
				return err
			}
			if truth == "" {
				return nil
			}
			b, err := json.Marshal(t)
			if err != nil {
				return err
			}
			return os.WriteFile(truth, b, 0o600)
		},
	}
	c.AddCommand(newSimSubscribers(), newSimCamera(), newSimFlow(), newSimRoute())
	c.Flags().StringVar(&out, "out", "sim.pcap", "capture to write")
	c.Flags().StringVar(&truth, "truth", "", "JSON file for the truth")
	c.Flags().Uint64Var(&seed, "seed", 1, "the same seed gives the same bytes")
	return c
}

// writeScene writes a scene to a file, whole or not at all.
func writeScene(c sim.Capture, path string) (t sim.Truth, err error) {
	f, err := os.Create(path)
	if err != nil {
		return t, err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			_ = os.Remove(path) // half a capture helps nobody; the first error is told
		}
	}()
	b := bufio.NewWriterSize(f, 1<<20)
	w, err := pcap.NewWriter(b, packet.LinkEthernet)
	if err != nil {
		return t, err
	}
	if t, err = c.Write(w); err != nil {
		return t, fmt.Errorf("write the scene: %w", err)
	}
	if err := w.Flush(); err != nil {
		return t, err
	}
	return t, b.Flush()
}
