//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// taker is a program that takes accounting.
type taker struct {
	name string
	from contestant // whose version it is
	// start writes what it needs into a folder and says how it is started. where is the
	// address on which it is to listen.
	start func(ctx context.Context, dir, where string) (program string, args []string, err error)
	kept  func(dir string) (int64, error) // bytes of what it keeps
}

// running is a taker that runs.
type running struct {
	c     *exec.Cmd
	where string
}

// begin starts a taker, and waits until it answers.
func (t *taker) begin(ctx context.Context, dir string) (*running, error) {
	l, err := net.ListenPacket("udp4", "127.0.0.1:0") //nolint:noctx // for a free port
	if err != nil {
		return nil, err
	}
	where := l.LocalAddr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	program, args, err := t.start(ctx, dir, where)
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, program, args...)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return nil, err
	}
	r := &running{c, where}
	for range 300 {
		n := nases{to: where, sockets: 1, lines: 1}
		n.next.Store(1 << 40) // of nobody who is measured
		s, err := n.send(ctx, 100*time.Millisecond)
		if err == nil && s.answered > 0 {
			return r, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	said, _ := os.ReadFile(log.Name())
	_, _ = r.end()
	return nil, fmt.Errorf("%s doesn't answer: %s", t.name, lastLine(string(said)))
}

// end stops it, and says what it used.
func (r *running) end() (cost, error) {
	x := cost{rss: peak(r.c.Process.Pid)}
	_ = r.c.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(40*time.Second, func() { _ = syscall.Kill(-r.c.Process.Pid, syscall.SIGKILL) })
	err := r.c.Wait()
	kill.Stop()
	if _, is := errors.AsType[*exec.ExitError](err); is { // others end by the signal, or too late to be waited for
		err = nil
	}
	return x, err
}

// sakimoriTaker is our own program: requests verified, contracts sealed in the vault,
// spans in the history, answered when both are on disk.
func sakimoriTaker(o *options) *taker {
	return &taker{
		name: "sakimori serve", from: contestant{program: o.sakimori, version: []string{"version"}},
		start: func(_ context.Context, dir, where string) (string, []string, error) {
			secret, file := filepath.Join(dir, "secret"), filepath.Join(dir, "sakimori.yaml")
			text := fmt.Sprintf("data: %s\nlisten: 127.0.0.1:0\nlog: warn\nsubscriber:\n  radius:\n    listen: [%q]\n    clients: [{name: bench, prefix: 127.0.0.0/8, secret_file: %s}]\n", filepath.Join(dir, "data"), where, secret)
			if err := errors.Join(os.WriteFile(secret, []byte(nasSecret), 0o600), os.WriteFile(file, []byte(text), 0o600)); err != nil {
				return "", nil, err
			}
			return o.sakimori, []string{"serve", "--config", file}, nil
		},
		kept: func(dir string) (int64, error) { return weight(filepath.Join(dir, "data", "addresses")) },
	}
}

// freeRADIUS takes the same with one of its modules.
func freeRADIUS(name, module string, kept func(dir string) (int64, error)) *taker {
	return &taker{
		name: "FreeRADIUS, " + name, from: contestant{program: "freeradius", debian: "freeradius"},
		start: func(_ context.Context, dir, where string) (string, []string, error) {
			_, port, err := net.SplitHostPort(where)
			if err != nil {
				return "", nil, err
			}
			text := fmt.Sprintf(freeRADIUSConfig, dir, nasSecret, strings.ReplaceAll(module, "DIR", dir), port, strings.Fields(module)[0])
			text = strings.NewReplacer("{ ", "{\n", " }", "\n}", "  ", "\n").Replace(text) // each setting on its line
			return "freeradius", []string{"-f", "-l", "stdout", "-d", dir, "-n", "bench"}, os.WriteFile(filepath.Join(dir, "bench.conf"), []byte(text), 0o600)
		},
		kept: kept,
	}
}

// freeRADIUSConfig has what is needed and nothing else: the folder, the secret, the module, the
// port, its name.
const freeRADIUSConfig = `prefix = /usr
logdir = %[1]s
raddbdir = %[1]s
run_dir = %[1]s
libdir = /usr/lib/freeradius
name = bench
correct_escapes = true
max_requests = 65536
cleanup_delay = 0
log { destination = stdout }
security { max_attributes = 200  reject_delay = 0  status_server = no }
thread pool { start_servers = 4  max_servers = 8  min_spare_servers = 2  max_spare_servers = 8  max_requests_per_server = 0 }
client bench { ipaddr = 127.0.0.0/8  secret = %[2]s }
modules { expr { } %[3]s }
instantiate { expr }
server default {
	listen { type = acct  ipaddr = 127.0.0.1  port = %[4]s }
	preacct { update request { &Acct-Unique-Session-Id := "%%{md5:%%{User-Name},%%{Acct-Session-ID},%%{NAS-IP-Address},%%{NAS-Port-ID}}" } }
	accounting { %[5]s }
}
`

const detailModule = `detail { filename = DIR/detail  permissions = 0600  header = "%t"  locking = no }`

// sqlModule is the one of its Debian package with its own schema and queries.
func sqlModule(driver, dialect, where string) string {
	return fmt.Sprintf(`sql {
	driver = "rlm_sql_%s"
	dialect = "%s"
	%s
	acct_table1 = "radacct"
	acct_table2 = "radacct"
	postauth_table = "radpostauth"
	authcheck_table = "radcheck"
	groupcheck_table = "radgroupcheck"
	authreply_table = "radreply"
	groupreply_table = "radgroupreply"
	usergroup_table = "radusergroup"
	client_table = "nas"
	group_attribute = "SQL-Group"
	delete_stale_sessions = yes
	pool { start = 4  min = 1  max = 8  spare = 4  uses = 0  lifetime = 0  idle_timeout = 60  retry_delay = 30 }
	$INCLUDE /etc/freeradius/3.0/mods-config/sql/main/%s/queries.conf
}`, driver, dialect, where, dialect)
}

const sqlFiles = "/etc/freeradius/3.0/mods-config/sql/main/"

// weight is how many bytes a file or folder has.
func weight(path string) (n int64, err error) {
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// postgres is a server of its own on a socket in a folder, with its usual settings: what it
// acknowledges is on disk.
type postgres struct {
	bin, dir string
	c        *exec.Cmd
}

func startPostgres(ctx context.Context) (p *postgres, err error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres") // the pattern is right
	if len(found) == 0 {
		return nil, errors.New("not installed (apt-get install postgresql)")
	}
	slices.Sort(found)
	p = &postgres{bin: filepath.Dir(found[len(found)-1])}
	if p.dir, err = os.MkdirTemp("", "sakimori-bench-pg-"); err != nil { // a socket's path is short
		return nil, err
	}
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 { // it refuses to run as root
		u, err := user.Lookup("nobody")
		if err != nil {
			return nil, err
		}
		uid, _ := strconv.Atoi(u.Uid) // numbers on Linux
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(p.dir, uid, gid); err != nil {
			return nil, err
		}
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	made := exec.CommandContext(ctx, filepath.Join(p.bin, "initdb"), "--auth=trust", "--username=sakimori", "--encoding=UTF8", "--locale=C.UTF-8", "--pgdata="+p.dir+"/data")
	made.SysProcAttr, made.Dir = attr, p.dir
	if out, err := made.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, lastLine(string(out)))
	}
	p.c = exec.CommandContext(ctx, filepath.Join(p.bin, "postgres"), "-D", p.dir+"/data", "-k", p.dir, "-c", "listen_addresses=")
	p.c.SysProcAttr, p.c.Dir = attr, p.dir
	if err := p.c.Start(); err != nil {
		return nil, err
	}
	for range 600 {
		if exec.CommandContext(ctx, filepath.Join(p.bin, "pg_isready"), "-q", "-h", p.dir).Run() == nil {
			return p, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	p.end()
	return nil, errors.New("PostgreSQL doesn't start")
}

// make makes an empty database, from a file of statements if there is one.
func (p *postgres) make(ctx context.Context, name, file string) error {
	for _, args := range [][]string{{"-d", "postgres", "-qc", "CREATE DATABASE " + name}, {"-d", name, "-qf", file}} {
		if args[3] == "" {
			continue
		}
		c := exec.CommandContext(ctx, filepath.Join(p.bin, "psql"), append([]string{"-h", p.dir, "-U", "sakimori"}, args...)...)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("psql: %w: %s", err, lastLine(string(out)))
		}
	}
	return nil
}

func (p *postgres) url(name string) string {
	return (&url.URL{Scheme: "postgres", User: url.User("sakimori"), Path: "/" + name, RawQuery: url.Values{"host": {p.dir}, "sslmode": {"disable"}}.Encode()}).String()
}

func (p *postgres) end() {
	if p.c != nil && p.c.Process != nil {
		_ = p.c.Process.Signal(syscall.SIGINT)
		_ = p.c.Wait() // it was told to end
	}
	_ = os.RemoveAll(p.dir) // a folder for temporary files
}
