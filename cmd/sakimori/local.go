package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"sakimori/base/clock"
	"sakimori/base/store"
	"sakimori/console/api"
	"sakimori/observe/telescope"
)

// asking is how commands that only read get their answers: always from the API,
// that of the running process, or one made for the moment over the data folder.
// So both say the same.
type asking struct {
	config, data, format string
}

func (a *asking) flags(c *cobra.Command) {
	c.Flags().StringVar(&a.config, "config", "", "configuration file")
	c.Flags().StringVar(&a.data, "data", "", "data folder")
	outputFlag(c, &a.format)
}

// asker does a request and gives the body of the answer.
type asker func(ctx context.Context, method, path string, body any, accept string) ([]byte, error)

// open finds who answers.
func (a *asking) open(c *cobra.Command) (ask asker, done func() error, err error) {
	cfg, err := readConfig(a.config, os.Environ())
	if err != nil {
		return nil, nil, &exitError{exitUsage, err}
	}
	if a.data != "" {
		cfg.Data = a.data
	}
	if _, err := os.Stat(cfg.Data); err != nil {
		return nil, nil, errors.New(say("データフォルダがありません: ", "there is no data folder: ") + cfg.Data + say("(--data で指定するか、先に取り込んでください)", " (name it with --data, or import something first)"))
	}
	k, err := openKeeper(c.Context(), cfg.Data)
	if busy, is := errors.AsType[*store.ErrBusy](err); is {
		cl, err := newClient(cfg.Data, busy)
		if err != nil {
			return nil, nil, err
		}
		_, _ = io.WriteString(c.ErrOrStderr(), "sakimori: "+cl.notice()+"\n") // a note
		return cl.raw, func() error { return nil }, nil
	}
	if err != nil {
		return nil, nil, err
	}
	ask, err = a.inside(&cfg, k)
	if err != nil {
		return nil, nil, errors.Join(err, k.Close())
	}
	return ask, k.Close, nil
}

// inside makes the API for this one command. The command line of the data
// folder's owner sees own addresses as they are.
func (a *asking) inside(cfg *config, k *keeper) (asker, error) {
	table, err := cfg.places()
	if err != nil {
		return nil, err
	}
	research, err := cfg.research()
	if err != nil {
		return nil, err
	}
	tokens, err := api.OpenTokens("", clock.System{})
	if err != nil {
		return nil, err
	}
	secret, _, err := tokens.Issue(api.Token{Kind: api.APIToken, Role: api.Admin, User: "command line"}, time.Hour)
	if err != nil {
		return nil, err
	}
	server, err := api.New(api.Deps{
		Archive: archive{k.record}, Inputs: stored{c: k}, Tokens: tokens, Clock: clock.System{}, Findings: findings{k},
		Geo: places{table}, Research: research, IoT: api.IoT{Dated: telescope.IoTDated.Format(time.DateOnly), Ports: telescope.IoTKeys()},
		Reference: reference(), Version: versionOf(),
	})
	if err != nil {
		return nil, err
	}
	h := server.Handler()
	return func(ctx context.Context, method, path string, body any, accept string) ([]byte, error) {
		var in io.Reader = http.NoBody
		if body != nil {
			b, err := json.Marshal(body)
			if err != nil {
				return nil, err
			}
			in = bytes.NewReader(b)
		}
		req, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1"+path, in)
		if err != nil {
			return nil, err
		}
		req.RemoteAddr = "127.0.0.1:1"
		req.Header.Set("Authorization", "Bearer "+secret)
		req.Header.Set("Accept", accept)
		req.Header.Set("Accept-Language", say("ja", "en"))
		if body != nil {
			req.Header.Set("Content-Type", "application/json")
		}
		res := &answer{head: http.Header{}, code: http.StatusOK}
		h.ServeHTTP(res, req)
		return res.body.Bytes(), problemOf(res.code, method+" "+path, res.body.Bytes())
	}, nil
}

// answer takes what a handler writes.
type answer struct {
	head http.Header
	code int
	body bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.head }
func (a *answer) WriteHeader(code int)        { a.code = code }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// problemOf is the error in an answer, in the words of the API.
func problemOf(code int, what string, body []byte) error {
	if code < 300 {
		return nil
	}
	var p struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(body, &p) == nil && p.Detail != "" {
		return errors.New(p.Detail)
	}
	return fmt.Errorf("%s: %s", what, http.StatusText(code))
}

// stored tells the data's time where no input runs: the end of what is kept.
type stored struct{ c *keeper }

func (s stored) Inputs() []api.Input { return nil }

func (s stored) DataTime() (time.Time, bool) {
	_, last, _, err := s.c.record.Covered(context.Background(), always)
	return last, err == nil && !last.IsZero()
}
