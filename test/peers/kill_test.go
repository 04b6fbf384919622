package peers_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sakimori/sim"
)

// TestKilledImport: an import that is killed again and again, and once asked to
// stop, ends with the document and the totals of one that never was.
func TestKilledImport(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: a capture of two million packets takes a while")
	}
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	const kills = 5
	w := write(t, sim.Autumn2016(3), dir, "day", 1)
	calm, killed := filepath.Join(dir, "calm"), filepath.Join(dir, "killed")
	began := time.Now()
	want := say(ctx, t, w.importing(calm, w.files...)...).Out
	t.Logf("%d packets; an import takes %s", w.truth.Packets, time.Since(began).Round(100*time.Millisecond))

	dice := rand.New(rand.NewPCG(20161006, 1))
	stopped := uint64(0)
	for i := 1; i <= kills; i++ {
		signal := syscall.SIGKILL
		// The first dies before it has done anything, the others somewhere.
		at, later := uint64(0), time.Duration(dice.IntN(int(300*time.Millisecond)))
		if i > 1 {
			at = w.truth.Packets / 10 * (1 + dice.Uint64N(5))
		}
		if i == kills-1 { // asked to stop, it makes a checkpoint, from which the last goes on
			signal, at = syscall.SIGTERM, w.truth.Packets/10
		}
		r := interrupt(t, program.Command(ctx, nil, w.importing(killed, w.files...)...), signal, at, later)
		t.Logf("%d: %s; from packet %d to %d at least, %s", i, signal, r.first, r.last, r.state)
		if r.state.Success() {
			t.Fatalf("%d: it ended before the signal", i)
		}
		if signal == syscall.SIGTERM {
			stopped = r.last
			if r.state.ExitCode() != 1 || !bytes.Contains(r.errs.Bytes(), []byte("the same command goes on from here")) {
				t.Errorf("asked to stop: %s, %s", r.state, tail(r.errs.Bytes()))
			}
		}
		if i == 2 { // what is left is sound: other commands read it
			say(ctx, t, "finding", "list", "--data", killed, "-o", "json")
		}
	}
	r := interrupt(t, program.Command(ctx, nil, w.importing(killed, w.files...)...), 0, 0, 0)
	if !r.state.Success() {
		t.Fatalf("the last run: %s: %s", r.state, tail(r.errs.Bytes()))
	}
	t.Logf("last: from packet %d", r.first)
	if r.first < stopped || stopped == 0 {
		t.Errorf("the last run began with packet %d, although the one before got to %d", r.first, stopped)
	}
	if !bytes.Equal(want, r.out.Bytes()) {
		t.Errorf("the document differs from that of an uninterrupted import (-uninterrupted +killed):\n%s", short(cmp.Diff(keys(t, want), keys(t, r.out.Bytes()))))
	}
	if diff := cmp.Diff(kept(ctx, t, &w, calm), kept(ctx, t, &w, killed)); diff != "" {
		t.Errorf("the store differs from that of an uninterrupted import (-uninterrupted +killed):\n%s", short(diff))
	}
}

// ran is a run of an import.
type ran struct {
	out, errs   bytes.Buffer
	first, last uint64 // packets that its progress told of first and last
	state       *os.ProcessState
}

// interrupt runs an import, and sends the signal (0: none) some time after its
// progress has told of so many packets; at 0 from its start.
func interrupt(t *testing.T, cmd *exec.Cmd, signal syscall.Signal, at uint64, later time.Duration) *ran {
	t.Helper()
	r := &ran{}
	cmd.Stdout = &r.out
	errs, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	armed := false
	arm := func() {
		if !armed && signal != 0 {
			armed = true
			time.AfterFunc(later, func() { _ = cmd.Process.Signal(signal) }) // it may have ended
		}
	}
	if at == 0 {
		arm()
	}
	for lines := bufio.NewScanner(errs); lines.Scan(); {
		r.errs.Write(append(lines.Bytes(), '\n'))
		var p struct {
			Step    string
			Packets uint64
		}
		if json.Unmarshal(lines.Bytes(), &p) != nil || p.Step != "import" {
			continue
		}
		if r.first == 0 {
			r.first = p.Packets
		}
		if r.last = p.Packets; r.last >= at {
			arm()
		}
	}
	_ = cmd.Wait() // the state says it
	r.state = cmd.ProcessState
	return r
}

// keys is a document as its keys and values.
func keys(t *testing.T, doc []byte) map[string]any {
	t.Helper()
	var x map[string]any
	if err := json.Unmarshal(doc, &x); err != nil {
		t.Fatalf("%v in %.200q", err, doc)
	}
	return x
}

func tail(b []byte) []byte { return b[max(0, len(b)-1000):] }
