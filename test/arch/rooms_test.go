package arch_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// roomRule is one row: what the files of a room may import.
type roomRule struct {
	name string
	may  []string // nil: nothing of the house; all: everything
}

// rooms is the table of imports, in the order of the walk; ARCHITECTURE.md
// shows the same one. A sub-package of a room is private to it: from outside
// only its root, the doormat, may be imported. base has no doormat: there an
// entry stands for everything below it.
var rooms = []roomRule{
	{"base", nil},
	{"lawful", []string{"base"}},
	{"observe", []string{"lawful", "base"}},
	{"detect", []string{"observe", "lawful", "base"}},
	{"respond", []string{"detect", "lawful", "base"}},
	{"account", []string{"respond", "detect", "observe", "lawful", "base"}},
	{"console", []string{"account", "respond", "detect", "observe", "lawful", "base"}},
	{"sim", []string{"base/wire", "base/clock"}},
	{"docs", nil},
	{"cmd", all},
	{"test", all},
}

var all = []string{"everything"}

// may tells whether a file in room from may import p, which stands in another
// room.
func may(allowed []string, p string) error {
	if slices.Equal(allowed, all) {
		return nil
	}
	for _, a := range allowed {
		if p == a || room(a) == "base" && strings.HasPrefix(p, a+"/") {
			return nil
		}
		if strings.HasPrefix(p, a+"/") {
			return fmt.Errorf("reaches inside room %s: import its root, or let cmd hand it over through a port of your own", a)
		}
	}
	return fmt.Errorf("may import only %s", strings.Join(append([]string{"the standard library, modules"}, allowed...), ", "))
}

// inside tells whether a file in folder from may import p of the same room.
func inside(from, p string) error {
	if room(p) == "base" || room(p) == "cmd" || room(p) == "test" {
		return nil
	}
	mine, theirs := strings.Split(from, "/"), strings.Split(p, "/")
	switch {
	case len(theirs) == 1: // the doormat of one's own room
		return nil
	case len(mine) == 1:
		return fmt.Errorf("is a doormat and imports %s, which stands behind it", p)
	case mine[1] != theirs[1]:
		return fmt.Errorf("imports its neighbour %s: let cmd hand it over", p)
	}
	return nil // observe/telescope/record belongs to observe/telescope
}

func TestImports(t *testing.T) {
	for _, f := range sources(t) {
		from := room(f.dir)
		i := slices.IndexFunc(rooms, func(r roomRule) bool { return r.name == from })
		if i < 0 {
			t.Errorf("%s: a new top-level folder: add it to the table here and in ARCHITECTURE.md", f.path)
			continue
		}
		for _, im := range f.imports {
			p := local(im)
			if p == "" {
				continue
			}
			var err error
			switch {
			case room(p) == from:
				err = inside(f.dir, p)
			case f.test && room(p) == "sim": // every room's tests may take their packets from the simulator
			case p == grants && (f.test || strings.HasSuffix(f.dir, "test")): // and their grants from a gate of tests
			default:
				err = may(rooms[i].may, p)
			}
			if err != nil {
				t.Errorf("%s imports %s: %s %v", f.path, im, f.dir, err)
			}
		}
	}
}

// The rule itself, on imports that must and must not pass.
func TestImportRule(t *testing.T) {
	tests := []struct {
		from, imported string
		ok             bool
	}{
		{"observe", "base/wire/packet", true},
		{"observe/telescope", "observe", true},
		{"observe/telescope", "observe/telescope/record", true},
		{"observe/telescope/record", "observe/telescope", true},
		{"observe/telescope/record", "base/store", true},
		{"detect/ddos", "observe", true},
		{"base/geo", "base/wire/packet", true},
		{"cmd/sakimori", "detect/ddos", true},
		{"sim", "base/wire/packet", true},
		{"detect/ddos", "observe/telescope", false}, // reaches inside
		{"detect/ddos", "detect/infected", false},   // neighbour
		{"observe", "observe/telescope", false},     // doormat
		{"observe/telescope", "detect", false},      // down the stream
		{"base/store", "observe", false},
		{"sim", "base/store", false},
		{"sim", "observe", false},
		{"console/api", "console/web", false},
		{"console/api", "detect/register", false},
		{"docs", "base/clock", false},
	}
	for _, tt := range tests {
		var allowed []string
		for _, r := range rooms {
			if r.name == room(tt.from) {
				allowed = r.may
			}
		}
		var err error
		if room(tt.from) == room(tt.imported) {
			err = inside(tt.from, tt.imported)
		} else {
			err = may(allowed, tt.imported)
		}
		if (err == nil) != tt.ok {
			t.Errorf("%s imports %s: %v", tt.from, tt.imported, err)
		}
	}
}

// A row without a folder would be a promise.
func TestRoomsAreInhabited(t *testing.T) {
	all := sources(t)
	for _, r := range rooms {
		if !slices.ContainsFunc(all, func(f file) bool { return room(f.dir) == r.name }) {
			t.Errorf("room %s of the table holds no Go file", r.name)
		}
	}
}

// ARCHITECTURE.md shows the same table.
func TestTableInArchitecture(t *testing.T) {
	var want []string
	for _, r := range rooms {
		cell := "–"
		if len(r.may) > 0 && !slices.Equal(r.may, all) {
			cell = "`" + strings.Join(r.may, "`, `") + "`"
		} else if len(r.may) > 0 {
			cell = "everything"
		}
		want = append(want, fmt.Sprintf("| `%s` | %s |", r.name, cell))
	}
	text := read(t, "ARCHITECTURE.md")
	_, text, ok := strings.Cut(text, "\n| Folder | May import |")
	if !ok {
		t.Fatal("ARCHITECTURE.md has no table that begins with | Folder | May import |")
	}
	text, _, _ = strings.Cut(text, "\n\n")
	rows := strings.Split(strings.TrimSpace(text), "\n")[2:]
	if len(rows) != len(want) {
		t.Errorf("ARCHITECTURE.md has %d rows, the table %d", len(rows), len(want))
	}
	for i, row := range rows[:min(len(rows), len(want))] {
		if !strings.HasPrefix(row, want[i]) {
			t.Errorf("ARCHITECTURE.md says %q, the table %q", row, want[i])
		}
	}
}

// doors names the one folder that may import a module from outside, so that
// it can be replaced there. Tests may use any as an oracle.
var doors = map[string]string{
	"github.com/duckdb/":             "base/store",
	"github.com/danielgtaylor/huma":  "console/api",
	"github.com/spf13/":              "cmd",
	"github.com/oschwald/maxminddb":  "base/geo",
	"github.com/axiomhq/hyperloglog": "base/sketch",
	"github.com/prometheus/":         "base/telemetry",
	"github.com/schollz/progressbar": "cmd",
	"github.com/wneessen/go-mail":    "respond/notify/mail",
	"github.com/emersion/go-msgauth": "respond/notify/mail",
	"github.com/signintech/gopdf":    "respond/notify/letter",
	"github.com/goccy/go-yaml":       "base/yaml",
	"github.com/gopacket/":           "(tests only)",
	"github.com/miekg/dns":           "respond/rpz/forward",
	"github.com/osrg/gobgp/v4":       "respond/mitigate/speaker",
}

func TestDoors(t *testing.T) {
	for _, f := range sources(t) {
		for _, im := range f.imports {
			for module, door := range doors {
				if strings.HasPrefix(im, module) && !f.test && f.dir != door && !strings.HasPrefix(f.dir, door+"/") && room(f.dir) != "test" {
					t.Errorf("%s imports %s: only %s does", f.path, im, door)
				}
			}
		}
	}
}

func TestModule(t *testing.T) {
	mod := read(t, "go.mod")
	if !strings.HasPrefix(mod, "module "+module+"\n") {
		t.Errorf("go.mod must begin with module %s", module)
	}
	for line := range strings.Lines(mod) {
		if strings.HasPrefix(line, "replace") {
			t.Errorf("go.mod: %q: a build from the module proxy wouldn't see it", strings.TrimSpace(line))
		}
	}
	for _, own := range []string{"geodata", "console/web/ui", "tools"} {
		if _, err := os.Stat(filepath.Join(root, own, "go.mod")); err != nil {
			t.Errorf("%s needs a go.mod of its own, to keep ./... out of what is downloaded there: %v", own, err)
		}
	}
}
