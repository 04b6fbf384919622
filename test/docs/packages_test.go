package docs_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// scripts/debian-packages runs here against a machine of our own making: a
// PATH that holds nothing but what the case allows.
func TestDebianPackages(t *testing.T) {
	const installed = "#!/bin/sh\nprintf installed\n"
	const lacksNmap = "#!/bin/sh\ncase \"$3\" in nmap|zmap) printf not-installed; exit 1;; *) printf installed;; esac\n"
	const apt = "#!/bin/sh\necho \"$@\" >>\"$LOG\"\n"
	const brokenApt = "#!/bin/sh\necho 'E: no such mirror'\nexit 100\n"
	tests := []struct {
		name    string
		tools   map[string]string // what the machine has besides a shell
		ci      string
		fails   bool
		says    []string
		apt     string // the last thing apt-get was asked for
		nothing bool   // says nothing at all
	}{
		{name: "all there", tools: map[string]string{"dpkg-query": installed, "apt-get": apt, "id": "#!/bin/sh\necho 0\n"}, nothing: true},
		{
			name: "two missing, root", tools: map[string]string{"dpkg-query": lacksNmap, "apt-get": apt, "id": "#!/bin/sh\necho 0\n"},
			says: []string{"needs nmap: its real packets", "needs zmap", "installing: nmap zmap"}, apt: "install -y --no-install-recommends nmap zmap",
		},
		{
			name: "two missing, sudo", tools: map[string]string{"dpkg-query": lacksNmap, "apt-get": apt, "id": "#!/bin/sh\necho 1000\n", "sudo": "#!/bin/sh\nif [ \"$1\" = -n ]; then exit 0; fi\nexec \"$@\"\n"},
			apt: "install -y --no-install-recommends nmap zmap",
		},
		{
			name: "two missing, no rights", tools: map[string]string{"dpkg-query": lacksNmap, "apt-get": apt, "id": "#!/bin/sh\necho 1000\n"},
			fails: true, says: []string{"As root, run:  apt-get install nmap zmap"},
		},
		{
			name: "apt fails", tools: map[string]string{"dpkg-query": lacksNmap, "apt-get": brokenApt, "id": "#!/bin/sh\necho 0\n"},
			fails: true, says: []string{"E: no such mirror", "build/apt.log"},
		},
		{name: "not Debian", tools: map[string]string{"nmap": installed}, says: []string{"needs tshark", "This isn't Debian"}},
		{name: "not Debian, under CI", ci: "true", fails: true, says: []string{"This isn't Debian"}},
	}
	script := read(t, "scripts/debian-packages")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			bin := filepath.Join(dir, "bin")
			for _, sub := range []string{"bin", "scripts"} {
				if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, tool := range []string{"bash", "env", "dirname", "tail", "mkdir", "flock"} {
				p, err := exec.LookPath(tool)
				if err != nil {
					t.Skipf("SKIPPED: %v", err)
				}
				if err := os.Symlink(p, filepath.Join(bin, tool)); err != nil {
					t.Fatal(err)
				}
			}
			for name, text := range tt.tools {
				if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			at := filepath.Join(dir, "scripts", "debian-packages")
			if err := os.WriteFile(at, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			log := filepath.Join(dir, "log")
			cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "bash"), at, "test")
			cmd.Env = []string{"PATH=" + bin, "CI=" + tt.ci, "LOG=" + log}
			out, err := cmd.CombinedOutput()
			if (err != nil) != tt.fails {
				t.Errorf("ended with %v, said\n%s", err, out)
			}
			for _, s := range tt.says {
				if !strings.Contains(string(out), s) {
					t.Errorf("said\n%s\nwithout %q", out, s)
				}
			}
			if tt.nothing && len(out) > 0 {
				t.Errorf("said %q", out)
			}
			asked, err := os.ReadFile(log)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(string(asked)), "\n")
			if last := lines[len(lines)-1]; !strings.HasSuffix(last, tt.apt) || tt.apt == "" && last != "" {
				t.Errorf("apt-get was asked %q, want %q", slices.Compact(lines), tt.apt)
			}
		})
	}
}
