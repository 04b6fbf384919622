// Package peers runs the real binary beside real programs: scanners that send
// to it inside network namespaces, kills in the middle of its work, and other
// commands that want the same data. Its tests know the binary from outside only.
package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Program is a built sakimori.
type Program struct{ Path string }

// Build makes the binary in dir, or takes the one that SAKIMORI_BINARY names.
// root is the repository. All sources are looked at in this process, so that a
// cached test result doesn't outlive them.
func Build(ctx context.Context, root, dir string) (Program, error) {
	if named := os.Getenv("SAKIMORI_BINARY"); named != "" {
		p, err := filepath.Abs(named)
		if err != nil {
			return Program{}, err
		}
		if _, err := os.Stat(p); err != nil {
			return Program{}, fmt.Errorf("SAKIMORI_BINARY: %w", err)
		}
		return Program{p}, nil
	}
	if err := look(root); err != nil {
		return Program{}, err
	}
	p := Program{filepath.Join(dir, "sakimori")}
	build := exec.CommandContext(ctx, "go", "build", "-o", p.Path, "./cmd/sakimori")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return Program{}, fmt.Errorf("go build ./cmd/sakimori: %w\n%s", err, out)
	}
	return p, nil
}

// look asks for the state of every file that the binary may be made of.
func look(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "node_modules", "bin", "build", "testdata"}, d.Name()):
			return fs.SkipDir
		case d.Type().IsRegular() && !strings.HasSuffix(path, ".md"):
			_, err = os.Stat(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // somebody is building
		}
		return err
	})
}

// Answer is what one run of the program said.
type Answer struct {
	Out, Err []byte
	Code     int // -1: killed
}

// Command prepares a run with English messages and none of the tester's own
// settings. Arguments before the program's, such as "ip netns exec x", are
// given in before.
func (p Program) Command(ctx context.Context, before []string, args ...string) *exec.Cmd {
	line := slices.Concat(before, []string{p.Path}, args)
	cmd := exec.CommandContext(ctx, line[0], line[1:]...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "SAKIMORI_") || strings.HasPrefix(kv, "LC_") || strings.HasPrefix(kv, "LANG")
	}), "LC_ALL=C.UTF-8")
	return cmd
}

// Run runs it to its end. An exit code is no error; not being able to start is.
func (p Program) Run(ctx context.Context, args ...string) (Answer, error) {
	return finish(p.Command(ctx, nil, args...))
}

func finish(cmd *exec.Cmd) (Answer, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	a := Answer{out.Bytes(), errs.Bytes(), cmd.ProcessState.ExitCode()}
	if _, ended := errors.AsType[*exec.ExitError](err); ended {
		err = nil
	}
	return a, err
}

// Into decodes the JSON that a run wrote. Exit codes 0 and 3 (findings) are fine.
func (a Answer) Into(v any) error {
	if a.Code != 0 && a.Code != 3 {
		return fmt.Errorf("exit code %d: %s", a.Code, bytes.TrimSpace(a.Err))
	}
	if err := json.Unmarshal(a.Out, v); err != nil {
		return fmt.Errorf("%w in %.200q", err, a.Out)
	}
	return nil
}

// Stop ends a process as an operator would, and waits for it; if it doesn't
// end within ten seconds it is killed, and that is an error.
func Stop(cmd *exec.Cmd) error {
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if !late.Stop() {
		return errors.New("it didn't end within 10 s of SIGTERM")
	}
	return err
}
