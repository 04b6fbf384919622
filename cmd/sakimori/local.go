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
	"sakimori/console"
	"sakimori/console/api"
	"sakimori/observe/telescope"
)

// asking is how commands that only read get their answers: always from the API,
// that of the running process, or one made for the moment over the data folder.
// So both say the same.
type asking struct {
	config, data, format string

	people bool   // about users: a data folder needn't be there, and the house is opened
	office bool   // about notices: the office is opened
	base   string // where browsers find the console
}

func (a *asking) flags(c *cobra.Command) {
	a.where(c)
	outputFlag(c, &a.format)
}

func (a *asking) where(c *cobra.Command) {
	c.Flags().StringVar(&a.config, "config", "", "configuration file")
	c.Flags().StringVar(&a.data, "data", "", "data folder")
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
	if a.base = cfg.PublicURL; a.base == "" {
		a.base = "http://" + cfg.Listen
	}
	if _, err := os.Stat(cfg.Data); err != nil && !a.people {
		return nil, nil, errors.New(say("データフォルダがありません: ", "there is no data folder: ") + cfg.Data + say("(--data で指定するか、先に取り込んでください)", " (name it with --data, or import something first)"))
	}
	k, err := openKeeper(c.Context(), cfg.Data)
	if busy, is := errors.AsType[*store.ErrBusy](err); is {
		cl, err := newClient(cfg.Data, busy)
		if err != nil {
			return nil, nil, err
		}
		_, _ = io.WriteString(c.ErrOrStderr(), "sakimori: "+cl.notice()+"\n") // a note
		if cfg.PublicURL == "" {
			a.base = "http://" + cl.address
		}
		return cl.raw, func() error { return nil }, nil
	}
	if err != nil {
		return nil, nil, err
	}
	done = k.Close
	var known api.People
	var told api.Notices
	switch {
	case a.office:
		h, err := openOffice(c.Context(), &cfg)
		if err != nil {
			return nil, nil, errors.Join(err, k.Close())
		}
		done = func() error { return errors.Join(k.Close(), h.Close()) }
		told = noticePort{h.notices}
	case a.people:
		h, err := openHouse(c.Context(), &cfg)
		if err != nil {
			return nil, nil, errors.Join(err, k.Close())
		}
		done = func() error { return errors.Join(k.Close(), h.Close()) }
		known = h.people
	}
	ask, err = a.inside(c.Context(), &cfg, k, known, told)
	if err != nil {
		return nil, nil, errors.Join(err, done())
	}
	return ask, done, nil
}

// inside makes the API for this one command. The command line of the data
// folder's owner sees own addresses as they are.
func (a *asking) inside(ctx context.Context, cfg *config, k *keeper, known api.People, told api.Notices) (asker, error) {
	table, err := cfg.places()
	if err != nil {
		return nil, err
	}
	research, err := cfg.research()
	if err != nil {
		return nil, err
	}
	tokens := api.NewTokens(clock.System{})
	secret, _, err := tokens.Issue(ctx, console.Token{Kind: console.APIToken, Roles: console.Admin, User: whoAmI()}, time.Hour)
	if err != nil {
		return nil, err
	}
	server, err := api.New(api.Deps{
		Archive: archive{k.record}, Inputs: stored{c: k}, Tokens: tokens, People: known, Notices: told, Clock: clock.System{}, Findings: findings{k}, Flows: k.flows,
		Geo: places{table}, Research: research, IoT: api.IoT{Dated: telescope.IoTDated.Format(time.DateOnly), Ports: telescope.IoTKeys()},
		Attacks: attackPort{register: k.register, table: table}, Replays: &whatIf{cfg: cfg, kept: k.flows, table: table},
		Incidents: incidentPort{register: k.register, names: asNames{cfg.Route.House.Book, table}, flows: trafficOf{flows: k.flows}}, Routes: &routePort{cfg: cfg, names: asNames{cfg.Route.House.Book, table}, kept: k.routes, register: k.register, drills: &drills{}},
		Reference: reference(), Version: versionOf(), Local: func(console.Token) (string, bool) { return whoAmI(), true },
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

// answer asks, and takes the answer into out. With -o json or csv it is also written as it
// came, and printed is true. csv is only for what is a table.
func (a *asking) answer(c *cobra.Command, method, path string, body, out any) (printed bool, err error) {
	ask, done, err := a.open(c)
	if err != nil {
		return false, err
	}
	b, err := ask(c.Context(), method, path, body, "application/json")
	raw := append(b, '\n')
	if err == nil && a.format == "csv" {
		raw, err = ask(c.Context(), method, path, body, "text/csv")
	}
	if cerr := done(); err == nil {
		err = cerr
	}
	if err == nil {
		err = json.Unmarshal(b, out)
	}
	if err != nil || a.format != "json" && a.format != "csv" {
		return false, err
	}
	_, err = c.OutOrStdout().Write(raw)
	return true, err
}
