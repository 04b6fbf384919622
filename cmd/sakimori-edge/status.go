package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sakimori/base/clock"
	"sakimori/respond/rpz/forward"
)

// status is what the process says of itself, in a file that is replaced as a whole.
type status struct {
	At     time.Time         `json:"at"`
	Zones  []forward.Copy    `json:"zones"`
	Counts *forward.Counts   `json:"counts,omitempty"`
	Dnstap *forward.TapState `json:"dnstap,omitempty"`
}

const (
	statusFile  = "status.json"
	statusEvery = 5 * time.Second
	logEvery    = 12 // times that
)

// state is what the status is of.
type state struct {
	file   string
	zones  *forward.Secondary
	server *forward.Server
	tap    *forward.Tap
	log    *slog.Logger
}

func (s *state) now() status {
	st := status{At: clock.System{}.Now(), Zones: s.zones.Copies()}
	if s.server != nil {
		c := s.server.Counts()
		st.Counts = &c
	}
	if s.tap != nil {
		t := s.tap.State()
		st.Dnstap = &t
	}
	return st
}

// run writes the status until ctx ends, and logs it each minute.
func (s *state) run(ctx context.Context, ready func()) error {
	ready()
	each := time.NewTicker(statusEvery)
	defer each.Stop()
	for n := 0; ; n++ {
		st := s.now()
		if err := st.write(s.file); err != nil {
			s.log.ErrorContext(ctx, "the status can't be written", slog.Any("error", err))
		}
		if n%logEvery == logEvery-1 {
			s.log.InfoContext(ctx, "status", slog.Any("status", st))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-each.C:
		}
	}
}

func (st *status) write(file string) error {
	b, err := json.Marshal(st)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), statusFile+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(b, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// newStatus shows what the process that has the same configuration last said.
func newStatus() *cobra.Command {
	var path string
	c := &cobra.Command{
		Use: "status", Short: "Say which zones are in force, how old they are, and what was answered / 有効なゾーン、その古さ、回答の件数を表示する", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := load(path)
			if err != nil {
				return err
			}
			b, err := os.ReadFile(filepath.Join(cfg.Folder, statusFile))
			if err != nil {
				return fmt.Errorf("nothing has been said yet: does it run? %w", err)
			}
			var st status
			if err := json.Unmarshal(b, &st); err != nil {
				return fmt.Errorf("%s: %w", statusFile, err)
			}
			out, now := c.OutOrStdout(), clock.System{}.Now()
			if age := now.Sub(st.At); age > 3*statusEvery {
				fmt.Fprintf(out, "STALE: said %s ago, it doesn't run now / %s前の内容です。今は動いていません\n", age.Round(time.Second), age.Round(time.Second))
			}
			for _, z := range st.Zones {
				age := "never / なし"
				if !z.Confirmed.IsZero() {
					age = now.Sub(z.Confirmed).Round(time.Second).String()
				}
				fmt.Fprintf(out, "%-11s serial %-10d records %-8d confirmed / 確認 %s %s\n", z.Zone, z.Serial, z.Records, age, z.Error)
			}
			if n := st.Counts; n != nil {
				fmt.Fprintf(out, "blocked / 遮断 %d, cached %d, asked %d, cache hits %.1f %%, failed %d, busy %d, lost %d, unsent %d, refused %d, limited %d, dropped %d\n",
					n.Blocked, n.Cached, n.Asked, 100*n.Hits(), n.Failed, n.Busy, n.Lost, n.Unsent, n.Refused, n.Limited, n.Dropped)
			}
			if t := st.Dnstap; t != nil {
				fmt.Fprintf(out, "dnstap: connected %v, told %d, dropped %d %s\n", t.Connected, t.Told, t.Dropped, t.Error)
			}
			return nil
		},
	}
	c.Flags().StringVar(&path, "config", "sakimori-edge.yaml", "configuration file / 設定ファイル")
	return c
}
