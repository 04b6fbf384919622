// Package relationtest gives tests the relational stores that there are: an SQLite
// file, and a real PostgreSQL server of their own on a socket in a temporary folder.
package relationtest

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sakimori/base/relation"
)

// Each runs a test on each kind of store, every time an empty one.
func Each(t *testing.T, run func(t *testing.T, db *relation.DB)) {
	t.Helper()
	for _, kind := range Kinds {
		t.Run(kind, func(t *testing.T) { run(t, Open(t, Place(t, kind))) })
	}
}

// Kinds are the kinds of store, for Place.
var Kinds = []string{"sqlite", "postgres"}

// Open opens a store until the test ends.
func Open(t testing.TB, where string) *relation.DB {
	t.Helper()
	db, err := relation.Open(t.Context(), where)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// Place is where an empty store of a kind is, for relation.Open. Where there is no
// PostgreSQL the test is skipped, and on CI fails.
func Place(t testing.TB, kind string) string {
	t.Helper()
	if kind == "sqlite" {
		return filepath.Join(t.TempDir(), "house.sqlite")
	}
	s := start(t)
	name := fmt.Sprintf("test%d", made.Add(1))
	s.sql(t, "CREATE DATABASE "+name)
	return (&url.URL{Scheme: "postgres", User: url.User("sakimori"), Path: "/" + name, RawQuery: url.Values{"host": {s.dir}, "sslmode": {"disable"}}.Encode()}).String()
}

var made atomic.Int64 // databases

// server is a running PostgreSQL: one for all tests of a process.
type server struct {
	bin, dir string
	hold     io.Closer // a pipe; the server ends when it is closed
}

var (
	starting sync.Mutex
	running  server
)

func start(t testing.TB) server {
	t.Helper()
	starting.Lock()
	defer starting.Unlock()
	if running.dir != "" {
		return running
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // the pattern is right
	if len(found) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("PostgreSQL isn't there: install Debian's package postgresql")
		}
		t.Skip("SKIPPED: needs a PostgreSQL server (Debian: postgresql)")
	}
	slices.Sort(found)
	s := server{bin: filepath.Dir(found[len(found)-1])}
	var err error
	if s.dir, err = os.MkdirTemp("", "sakimori-pg-"); err != nil { //nolint:usetesting // of all tests; and a socket's path is short
		t.Fatal(err)
	}
	as := unprivileged(t, s.dir)
	// No port at all: only the socket in the folder. What a crash of the machine would
	// lose doesn't matter here, so nothing is synced. The shell reads from this process,
	// and clears away when that has ended, however it did.
	c := exec.CommandContext(context.Background(), "/bin/sh", "-c", `
		"$1/initdb" --no-sync --auth=trust --username=sakimori --encoding=UTF8 --locale=C.UTF-8 --pgdata="$2/data" || exit
		"$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off &
		cat; kill -INT $!; wait; rm -rf "$2"`, "sh", s.bin, s.dir)
	c.SysProcAttr, c.Dir = &syscall.SysProcAttr{Credential: as, Setpgid: true}, s.dir
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	c.Stdout, c.Stderr = log, log
	if s.hold, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for try := 0; ; try++ {
		if exec.CommandContext(t.Context(), filepath.Join(s.bin, "pg_isready"), "-q", "-h", s.dir).Run() == nil {
			running = s
			return s
		}
		if try == 600 { // half a minute
			said, _ := os.ReadFile(log.Name()) // it may say nothing
			t.Fatalf("PostgreSQL doesn't start:\n%s", said)
		}
		pause, end := context.WithTimeout(t.Context(), 50*time.Millisecond)
		<-pause.Done()
		end()
	}
}

// unprivileged is who runs the server: it refuses to run as root.
func unprivileged(t testing.TB, dir string) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(uid), int(gid)); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func (s server) sql(t testing.TB, statement string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), filepath.Join(s.bin, "psql"), "-h", s.dir, "-U", "sakimori", "-d", "postgres", "-qc", statement)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", statement, err, strings.TrimSpace(string(out)))
	}
}
