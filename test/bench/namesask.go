//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"

	"sakimori/base/wire/dnstap"
	"sakimori/respond/rpz"
	"sakimori/respond/rpz/resolver"
)

// asked compares the forwarder with Unbound: answers that a policy zone gives, and answers from
// the cache, with the same zones and upstream.
func asked(ctx context.Context, o *options, n *named, s *section, dir string, z *zoneServing) error {
	perf, err := program("dnsperf")
	if err != nil {
		return err
	}
	up, stop, err := truth()
	if err != nil {
		return err
	}
	defer stop()
	servers := []struct {
		name string
		at   netip.AddrPort
		a    *actor
	}{{name: "Unbound", at: z.unbound}, {name: "sakimori-edge", at: z.edge}}
	folder := filepath.Join(dir, "asked")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if servers[0].a, err = launch(ctx, resolver.Unbound, site(z.unbound, z.at, up, folder), fmt.Sprintf("\tnum-threads: %d\n\tso-reuseport: yes\n\tmsg-cache-slabs: 4\n\trrset-cache-slabs: 4\n", runtime.NumCPU())); err != nil {
		return err
	}
	defer servers[0].a.end()
	if servers[1].a, err = o.edge(ctx, dir, z, up); err != nil {
		return err
	}
	defer servers[1].a.end()
	last := ruleName(int(o.rules)/2 - 1)
	kinds := []string{"blocked", "cached"}
	for _, k := range kinds {
		var b strings.Builder
		for i := range 1000 {
			if k == "blocked" {
				fmt.Fprintf(&b, "x.%s A\n", ruleName(i*997%(int(o.rules)/2)))
			} else {
				fmt.Fprintf(&b, "www.site%d.example A\n", i)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, k), []byte(b.String()), 0o644); err != nil {
			return err
		}
	}
	rates, costs := map[string][]float64{}, map[string][]float64{}
	for i := range servers {
		v := &servers[i]
		if err := until(ctx, 3*time.Minute, v.name+" has the zones", func() bool { return blockedAt(ctx, v.at, last) }); err != nil {
			return fmt.Errorf("%w: %s", err, lastLine(v.a.said.String()))
		}
		for _, k := range kinds { // it knows them all then
			if _, _, err := o.perf(ctx, perf, v.at, filepath.Join(dir, k), "-n", "2", "-Q", "5000"); err != nil {
				return err
			}
		}
	}
	long := fmt.Sprint(max(1, int((5*o.trial)/(2*time.Second))))
	for range max(o.rounds, 1) {
		for _, v := range servers {
			for _, k := range kinds {
				o.say("G: %s answers: %s", v.name, k)
				before, begun := cpuOf(v.a.c.Process.Pid), time.Now()
				rate, _, err := o.perf(ctx, perf, v.at, filepath.Join(dir, k), "-l", long)
				if err != nil {
					return fmt.Errorf("%s: %w", v.name, err)
				}
				rates[v.name+k] = append(rates[v.name+k], rate)
				used := cpuOf(v.a.c.Process.Pid) - before
				costs[v.name+k] = append(costs[v.name+k], float64(used.Nanoseconds())/(rate*time.Since(begun).Seconds()))
			}
		}
	}
	for _, k := range kinds {
		base := 0.0
		for _, v := range servers {
			_, times, err := o.perf(ctx, perf, v.at, filepath.Join(dir, k), "-v", "-l", "2", "-Q", "10000")
			if err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
			rate := median(rates[v.name+k])
			if base == 0 {
				base = rate
			}
			if k == "blocked" {
				n.blocked[v.name] = rate
			} else {
				n.hits[v.name] = rate
			}
			us := func(q float64) string { return fmt.Sprintf("%.0f µs", float64(ranked(times, q).Nanoseconds())/1e3) }
			s.row("answers: "+k, v.name, fmt.Sprintf("%s/s, %.1f µs CPU", thousands(uint64(rate)), median(costs[v.name+k])/1e3), us(0.5), us(0.99), mib(peak(v.a.c.Process.Pid)), fmt.Sprintf("%.2f", rate/base))
		}
	}
	s.note("同じプライマリーの同じ 4 ゾーン、同じ上流。dnsperf(同じ機械、1 スレッド、16 ソケット、応答待ち 256 件まで)が毎回 %s 秒、%d 回の中央値。遅延は毎秒 1 万件のとき。Unbound はスレッド %d。CPU はサーバー側の 1 答えあたりで、残りは dnsperf が使う。/ The same four zones from the same primary, the same upstream. dnsperf, on the same machine, asks for %s s each time (one thread, 16 sockets, up to 256 on the way), %d times in turn; the median. Latencies at 10,000 questions a second. Unbound has %d threads. CPU is the server's own, of an answer: dnsperf takes the rest.",
		long, max(o.rounds, 1), runtime.NumCPU(), long, max(o.rounds, 1), runtime.NumCPU())
	return nil
}

func median(list []float64) float64 {
	d := make([]time.Duration, len(list))
	for i, x := range list {
		d[i] = time.Duration(x)
	}
	return float64(middle(d))
}

// edge starts the forwarder.
func (o *options) edge(ctx context.Context, dir string, z *zoneServing, up netip.AddrPort) (*actor, error) {
	name := filepath.Join(filepath.Dir(o.sakimori), "sakimori-edge")
	if _, err := os.Stat(name); err != nil {
		name = filepath.Join(o.dir, "sakimori-edge")
		if err := o.build(ctx, "build", "-o", name, "./cmd/sakimori-edge"); err != nil {
			return nil, err
		}
	}
	folder, key, file := filepath.Join(dir, "edge"), filepath.Join(dir, "edge.key"), filepath.Join(dir, "edge.yaml")
	text := fmt.Sprintf("listen: [%q]\nclients: [127.0.0.0/8]\nupstream: [{addr: %q}]\nprimaries: [%q]\nkey: {name: edge, algorithm: hmac-sha256, file: %q}\nfolder: %q\nrate: 1000000000\n", z.edge, up, z.at, key, folder)
	if err := errors.Join(os.MkdirAll(folder, 0o755), os.WriteFile(key, []byte("key \"edge\" {\n\tsecret \""+benchSecret+"\";\n};\n"), 0o600), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		return nil, err
	}
	a, err := act(ctx, nil, name, "dns", "--config", file)
	if err == nil {
		go func() { _, _ = io.Copy(io.Discard, a.out) }()
	}
	return a, err
}

// perf runs dnsperf, and gives answers a second, and with -v how long each took.
func (o *options) perf(ctx context.Context, name string, at netip.AddrPort, file string, more ...string) (rate float64, took []time.Duration, err error) {
	args := append([]string{"-s", at.Addr().String(), "-p", fmt.Sprint(at.Port()), "-d", file, "-c", "16", "-q", "256", "-T", "1", "-O", "suppress=timeout"}, more...)
	var out bytes.Buffer
	if _, err := spend(ctx, time.Minute, &out, nil, name, args...); err != nil {
		return 0, nil, err
	}
	lost := ""
	lines := bufio.NewScanner(&out)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) > 4 && f[0] == ">": // > NOERROR name A 0.000123
			if s, err := strconv.ParseFloat(f[len(f)-1], 64); err == nil {
				took = append(took, time.Duration(s*1e9))
			}
		case strings.HasPrefix(lines.Text(), "  Queries per second:"):
			rate, err = strconv.ParseFloat(f[3], 64)
		case strings.HasPrefix(lines.Text(), "  Queries lost:"):
			lost = f[2]
		}
	}
	if err == nil && rate == 0 {
		err = fmt.Errorf("dnsperf said nothing (lost %s)", lost)
	}
	return rate, took, err
}

// importedFeed gives a list to the house, and again with one row in a hundred changed.
func importedFeed(ctx context.Context, o *options, n *named, s *section, dir string) error {
	rows := int(o.rules)
	data := filepath.Join(dir, "house")
	for i, what := range []string{"a feed, first", "again, 1 % changed"} {
		file := filepath.Join(dir, "feed.txt")
		var b bytes.Buffer
		for k := range rows {
			if name := k; i == 1 && k%100 == 0 {
				name += rows
				fmt.Fprintf(&b, "bot%d.c2bench.net\n", name)
			} else {
				fmt.Fprintf(&b, "bot%d.c2bench.net\n", name)
			}
		}
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			return err
		}
		o.say("G: %s", what)
		var out bytes.Buffer
		x, err := spend(ctx, o.timeout, &out, nil, o.sakimori, "import", "feed", "--data", data, "--source", "bench", "--format", "plain", "--whole", "-o", "json", file)
		if err != nil {
			return err
		}
		var got struct {
			Accepted   int
			New, Known *int
			Held       string
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			return fmt.Errorf("import feed: %w", err)
		}
		if got.Accepted != rows || got.New == nil || *got.New != [2]int{rows, rows / 100}[i] || got.Held != "" {
			return fmt.Errorf("import feed: of %d rows %s", rows, out.String())
		}
		if i == 0 {
			n.feed = x.wall
		} else {
			n.again = x.wall
		}
		s.row(fmt.Sprintf("%s: %s rows", what, thousands(rows)), "sakimori import feed", fmt.Sprintf("%s s, %s s CPU", seconds(x.wall), seconds(x.cpu)), "", "", mib(x.rss), "")
	}
	return nil
}

// tapNames is how many listed names the stream of part G asks for.
const tapNames = 10_000

// tapStream is a piece of a stream: questions and answers, one in a hundred blocked.
func tapStream(frames int) (b []byte, blocked uint64, err error) {
	now := time.Now().UnixNano()
	for i := range frames / 2 {
		q := new(dns.Msg).SetQuestion(fmt.Sprintf("www.site%d.example.", i*7%5000), dns.TypeA)
		a := new(dns.Msg).SetReply(q)
		if i%100 == 0 {
			q.SetQuestion(ruleName(i/100%tapNames)+".", dns.TypeA)
			a.SetRcode(q, dns.RcodeNameError)
			a.Ns = append(a.Ns, &dns.SOA{Hdr: dns.RR_Header{Name: string(rpz.C2), Rrtype: dns.TypeSOA, Class: dns.ClassINET}, Ns: "localhost.", Mbox: "root.localhost."})
			blocked++
		} else {
			for k := range 2 {
				a.Answer = append(a.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(198, 51, 100, byte(7+k))})
			}
			a.Compress = true
		}
		m := dnstap.Message{Identity: []byte("bench"), Type: dnstap.ClientQuery, Client: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), ClientPort: 5353, QueryTime: now}
		if m.Query, err = q.Pack(); err != nil {
			return nil, 0, err
		}
		if b, err = m.AppendFrame(b); err != nil {
			return nil, 0, err
		}
		m.Type, m.ResponseTime, m.Query = dnstap.ClientResponse, now, nil
		if m.Response, err = a.Pack(); err != nil {
			return nil, 0, err
		}
		if b, err = m.AppendFrame(b); err != nil {
			return nil, 0, err
		}
	}
	return b, blocked, nil
}

// pour sends pieces over a socket, rate frames a second or as fast as they are taken, and
// waits until the other side says that it has them.
func pour(ctx context.Context, socket string, piece []byte, frames, pieces int, rate float64) (time.Duration, error) {
	c, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	w, err := dnstap.NewWriter(c, c)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	for i := range pieces {
		if err := w.Pass(piece); err != nil {
			return 0, err
		}
		if rate > 0 {
			time.Sleep(time.Until(begun.Add(time.Duration(float64((i+1)*frames) / rate * 1e9))))
		}
	}
	err = w.Close()
	return time.Since(begun), err
}

// takenTap has a process with one processor count a stream of dnstap, beside fstrm_capture.
func takenTap(ctx context.Context, o *options, n *named, s *section, dir string) error {
	const frames = 10_000
	piece, blocked, err := tapStream(frames)
	if err != nil {
		return err
	}
	pieces := int(5 * o.trial.Seconds() * aimTap / frames)
	total := uint64(pieces * frames)
	name, err := program("fstrm_capture")
	if err != nil {
		return err
	}
	for i, how := range []struct {
		what string
		rate float64
	}{{"dnstap, 500,000 frames/s", aimTap}, {"dnstap, as fast as it is taken", 0}} {
		socket := filepath.Join(dir, fmt.Sprintf("tap%d", i))
		o.say("G: %s", how.what)
		a, _, err := role(ctx, []string{"GOMAXPROCS=1"}, "tap", socket)
		if err != nil {
			return err
		}
		before := cpuOf(a.c.Process.Pid)
		took, err := pour(ctx, socket, piece, frames, pieces, how.rate)
		if err != nil {
			a.end()
			return err
		}
		var t tapped
		if err := until(ctx, time.Minute, "all frames are counted", func() bool {
			line, err := a.ask("stats")
			return err == nil && json.Unmarshal([]byte(line), &t) == nil && t.Frames+t.Dropped >= total
		}); err != nil {
			a.end()
			return fmt.Errorf("%w: %+v", err, t)
		}
		cpu := cpuOf(a.c.Process.Pid) - before
		rss := a.end()
		if want := blocked * uint64(pieces); t.Frames+t.Dropped != total || t.Dropped == 0 && t.Blocked != want {
			return fmt.Errorf("dnstap: %+v of %d frames, %d blocked", t, total, want)
		}
		rate := float64(t.Frames) / took.Seconds()
		if how.rate > 0 {
			n.tapLost, n.tap = t.Dropped, float64(t.Frames)/cpu.Seconds()
		}
		s.row(how.what, "sakimori, counts", thousands(uint64(rate))+"/s", fmt.Sprintf("%.2f µs CPU", float64(cpu.Nanoseconds())/1e3/float64(t.Frames)), fmt.Sprintf("lost %.3f %%", 100*float64(t.Dropped)/float64(total)), mib(rss), "")

		socket += ".f"
		f, err := act(ctx, nil, name, "-t", dnstap.ContentType, "-u", socket, "-w", "/dev/null")
		if err != nil {
			return err
		}
		if err := until(ctx, 10*time.Second, "fstrm_capture listens", func() bool { _, err := os.Stat(socket); return err == nil }); err != nil {
			f.end()
			return err
		}
		if took, err = pour(ctx, socket, piece, frames, pieces, how.rate); err != nil {
			f.end()
			return err
		}
		cpu = cpuOf(f.c.Process.Pid)
		s.row(how.what, "fstrm_capture, writes to /dev/null", thousands(uint64(float64(total)/took.Seconds()))+"/s", fmt.Sprintf("%.2f µs CPU", float64(cpu.Nanoseconds())/1e3/float64(total)), "", mib(f.end()), "")
	}
	s.note("%s フレーム(問いと答え、1 %% が遮断)を Unix ソケットで。sakimori は 1 コアで復号・照合・計数し、全員が照合に、1 割が記録に同意している。fstrm_capture は写すだけ。/ %s frames (questions and answers, 1 %% of them blocked) over a Unix socket. sakimori decodes, matches and counts on one processor; all clients consent to matching, a tenth to hits. fstrm_capture only copies.", thousands(total), thousands(total))
	return nil
}
