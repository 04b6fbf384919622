package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sakimori/base/store"
	"sakimori/console/api"
)

// client talks to the process that has the store.
type client struct {
	address, token string
	pid            int
}

func newClient(dir string, busy *store.ErrBusy) (*client, error) {
	if busy.Address == "" {
		return nil, busy
	}
	b, err := os.ReadFile(filepath.Join(dir, cliTokenFile))
	if err != nil {
		return nil, errors.Join(busy, fmt.Errorf("its access token can't be read: %w", err))
	}
	return &client{address: busy.Address, token: strings.TrimSpace(string(b)), pid: busy.PID}, nil
}

func (c *client) notice() string {
	return fmt.Sprintf(say("データは動作中のプロセス(pid %d)が使用中のため、その API(http://%s)を使います。自社アドレスは伏せて表示します",
		"the data belongs to a running process (pid %d): working through its API (http://%s), which masks own addresses"), c.pid, c.address)
}

// call does one request; out, if not nil, takes the JSON answer.
func (c *client) call(ctx context.Context, method, path string, body, out any) error {
	b, err := c.raw(ctx, method, path, body, "application/json")
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(b, out)
}

func (c *client) raw(ctx context.Context, method, path string, body any, accept string) ([]byte, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.address+path, in)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return c.do(req)
}

// send does a request whose body is a file; out takes the JSON answer.
func (c *client) send(ctx context.Context, path string, head map[string]string, file io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.address+path, io.NopCloser(file)) // whoever opened it closes it
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	for k, v := range head {
		req.Header.Set(k, v)
	}
	b, err := c.do(req)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, out)
}

func (c *client) do(req *http.Request) ([]byte, error) {
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Accept-Language", say("ja", "en"))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("the process that has the data doesn't answer: %w", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<30))
	if err != nil {
		return nil, err
	}
	return b, problemOf(res.StatusCode, req.Method+" "+req.URL.Path, b)
}

// through is a client of the serve that has the office, nil when none runs: then the
// office can be opened.
func (f *withBook) through(c *cobra.Command) (*client, error) {
	cfg, err := f.settings()
	if err != nil {
		return nil, err
	}
	busy, err := store.Owner(cfg.Data)
	if err != nil || busy == nil || busy.Address == "" {
		return nil, err
	}
	cl, err := newClient(cfg.Data, busy)
	if err != nil {
		return nil, err
	}
	_, _ = io.WriteString(c.ErrOrStderr(), "sakimori: "+cl.notice()+"\n") // a note
	return cl, nil
}

// importFiles has files imported, and waits for each.
func (c *client) importFiles(ctx context.Context, w io.Writer, format string, files []string, dark, own []netip.Prefix) error {
	for _, f := range files {
		if f == "-" {
			return errors.New("standard input can't be handed to another process: write it to a file first")
		}
		path, err := filepath.Abs(f)
		if err != nil {
			return err
		}
		var j api.Job
		if err := c.call(ctx, http.MethodPost, "/api/v1/imports/path", map[string]any{"path": path, "dark": words(dark), "own": words(own)}, &j); err != nil {
			return err
		}
		if j, err = c.wait(ctx, j.ID); err != nil {
			return err
		}
		if err := printJob(w, format, j); err != nil {
			return err
		}
	}
	return nil
}

func words(p []netip.Prefix) []string {
	s := make([]string, len(p))
	for i := range p {
		s[i] = p[i].String()
	}
	return s
}

func (c *client) wait(ctx context.Context, id string) (api.Job, error) {
	for {
		var list struct {
			Rows []api.Job `json:"rows"`
		}
		if err := c.call(ctx, http.MethodGet, "/api/v1/jobs", nil, &list); err != nil {
			return api.Job{}, err
		}
		for _, j := range list.Rows {
			if j.ID == id && j.State != "queued" && j.State != "running" {
				return j, nil
			}
		}
		select {
		case <-ctx.Done():
			return api.Job{}, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func printJob(w io.Writer, format string, j api.Job) error {
	if j.State == "failed" {
		if j.Message != nil {
			return errors.New(say(j.Message.JA, j.Message.EN))
		}
		return errors.New("the import failed")
	}
	if format == "json" {
		return printJSON(w, j.Result)
	}
	if j.Message != nil {
		fmt.Fprintln(w, say(j.Message.JA, j.Message.EN))
	}
	_, err := fmt.Fprintf(w, "%s: %s, %s\n", j.File, j.State, fmt.Sprintf(say("%s パケット", "%s packets"), thousands(j.Packets)))
	return err
}

// query makes the query part of a path from pairs, leaving empty ones out.
func query(pairs ...string) string {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	if len(v) == 0 {
		return ""
	}
	return "?" + v.Encode()
}

func versionOf() api.Version {
	return api.Version{Version: version, Commit: commit, Go: runtime.Version()}
}
