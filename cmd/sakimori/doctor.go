package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/base/store"
	"sakimori/base/wire/ring"
	"sakimori/console/web"
)

// check is one thing that doctor looks at.
type check struct {
	Name   string `json:"name"`
	State  string `json:"state"` // fine, note, bad
	Detail string `json:"detail"`
}

func newDoctor() *cobra.Command {
	var path, format string
	c := &cobra.Command{
		Use: "doctor", Short: "Look for what would keep sakimori from working / 動作環境を点検する", Args: noArgs,
		Example: "  sakimori doctor --config sakimori.yaml",
		RunE: func(c *cobra.Command, _ []string) error {
			list := examine(c.Context(), path)
			bad := false
			rows := make([][]string, 0, len(list))
			for _, k := range list {
				bad = bad || k.State == "bad"
				rows = append(rows, []string{k.State, k.Name, k.Detail})
			}
			var err error
			if format == "json" {
				err = printJSON(c.OutOrStdout(), list)
			} else {
				err = printRows(c.OutOrStdout(), format, []string{"state", "check", "detail"}, rows)
			}
			if err == nil && bad {
				return &exitError{exitFailed, nil}
			}
			return err
		},
	}
	c.Flags().StringVar(&path, "config", "", "configuration file")
	outputFlag(c, &format)
	return c
}

func examine(ctx context.Context, path string) []check {
	var list []check
	add := func(name, state, detail string) { list = append(list, check{name, state, detail}) }
	cfg, err := readConfig(path, os.Environ())
	if err == nil {
		err = cfg.check()
	}
	if err != nil {
		add("configuration", "bad", err.Error())
		return list
	}
	add("configuration", "fine", filepath.Base(path))
	if web.IsPlaceholder() {
		add("console", "bad", "this binary was built without the pages: run make build")
	} else {
		add("console", "fine", "built in")
	}
	table, err := cfg.places()
	if err == nil {
		err = table.Prepare()
	}
	if err != nil {
		add("geography", "bad", err.Error())
	} else if s := table.Sources(); len(s) == 0 {
		add("geography", "note", "no data set is built in and none is configured: countries and ASes stay unknown (make build fetches one)")
	} else {
		for _, x := range s {
			age := time.Since(x.Built)
			state := "fine"
			if age > 200*24*time.Hour {
				state = "note"
			}
			add("geography", state, fmt.Sprintf("%s: %s of %s, %s", x.Part, x.Name, x.Built.Format(time.DateOnly), x.Licence))
		}
	}
	list = append(list, examineStore(ctx, cfg.Data), examineListen(ctx, cfg.Listen))
	for _, i := range cfg.Telescope.Interfaces {
		list = append(list, examineInterface(i))
	}
	list = append(list, examineFlow(ctx, &cfg)...)
	list = append(list, examineHeld(ctx, filepath.Join(cfg.Data, zonesDir))...)
	add("processors", "fine", fmt.Sprintf("%d, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH))
	return list
}

func examineStore(ctx context.Context, dir string) check {
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return check{"store", "note", dir + " doesn't exist yet: serve or import --data makes it"}
	}
	k, err := openKeeper(ctx, dir)
	var busy *store.ErrBusy
	switch {
	case errors.As(err, &busy):
		return check{"store", "fine", busy.Error()}
	case err != nil:
		return check{"store", "bad", err.Error()}
	}
	defer k.Close()
	size, err := k.store.Size()
	if err != nil {
		return check{"store", "bad", err.Error()}
	}
	left, err := k.record.Unfinished(ctx)
	if err != nil {
		return check{"store", "bad", err.Error()}
	}
	if len(left) > 0 {
		return check{"store", "note", fmt.Sprintf("the import of %s was interrupted: the same command goes on", left[0].Name)}
	}
	return check{"store", "fine", fmt.Sprintf("%s: %s bytes", dir, thousands(uint64(size.Database+size.Log+size.Blobs)))} //nolint:gosec // sizes
}

func examineListen(ctx context.Context, address string) check {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		if strings.Contains(err.Error(), "in use") {
			return check{"listen", "note", address + " is in use: if that isn't sakimori itself, choose another one"}
		}
		return check{"listen", "bad", err.Error()}
	}
	_ = l.Close() // it was only a question
	return check{"listen", "fine", address}
}

func examineInterface(name string) check {
	rings, err := ring.Open(ring.Options{Interface: name, Blocks: 2})
	if err != nil {
		return check{"interface " + name, "bad", err.Error()}
	}
	for _, r := range rings {
		_ = r.Close() // as above
	}
	return check{"interface " + name, "fine", "can be captured"}
}
