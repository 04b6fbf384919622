package peers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Server is a running `sakimori serve`.
type Server struct {
	Address string // host:port of its console
	Data    string
	cmd     *exec.Cmd
	log     bytes.Buffer
	client  *http.Client
	token   string
}

var console = regexp.MustCompile(`http://([^/]+)/`)

// Serve starts the program on a data folder and waits until it says where its
// console is. more is YAML that is added to the configuration; before as in
// Command. client, if not nil, reaches the console from where the test is.
func (p Program) Serve(ctx context.Context, data, more string, before []string, client *http.Client) (*Server, error) {
	config := filepath.Join(filepath.Dir(data), filepath.Base(data)+".yaml")
	text := fmt.Sprintf("data: %q\nlisten: 127.0.0.1:0\n%s", data, more)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if client == nil {
		client = http.DefaultClient
	}
	s := &Server{Data: data, client: client, cmd: p.Command(ctx, before, "serve", "--config", config)}
	s.cmd.Stderr = &s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	line := make(chan string, 1)
	go func() {
		r := bufio.NewReader(out)
		first, _ := r.ReadString('\n') // at the end of the output it is empty, which says enough
		line <- first
		_, _ = io.Copy(io.Discard, r)
	}()
	select {
	case first := <-line:
		m := console.FindStringSubmatch(first)
		if m == nil {
			_ = s.cmd.Process.Kill()
			_ = s.cmd.Wait()
			return nil, fmt.Errorf("serve didn't say where its console is: %q\n%s", first, &s.log)
		}
		s.Address = m[1]
	case <-time.After(30 * time.Second):
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		return nil, fmt.Errorf("serve said nothing for 30 s\n%s", &s.log)
	}
	token, err := os.ReadFile(filepath.Join(data, "cli.token"))
	if err != nil {
		_ = s.Stop()
		return nil, err
	}
	s.token = strings.TrimSpace(string(token))
	return s, nil
}

// Get asks the API. path begins with /api.
func (s *Server) Get(ctx context.Context, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Address+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Accept", "application/json")
	res, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %.300s", path, res.Status, b)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("GET %s: %w in %.200q", path, err, b)
	}
	return nil
}

// PID is the process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Stop ends it and gives what it logged if it ended badly.
func (s *Server) Stop() error {
	if err := Stop(s.cmd); err != nil {
		return fmt.Errorf("serve: %w\n%s", err, &s.log)
	}
	return nil
}
