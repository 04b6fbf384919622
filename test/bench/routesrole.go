//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	gomrt "github.com/osrg/gobgp/v4/pkg/packet/mrt"

	"sakimori/base/wire/bgp"
	"sakimori/base/wire/mrt"
	"sakimori/detect"
	"sakimori/detect/leak"
	"sakimori/observe"
	"sakimori/observe/route"
	"sakimori/observe/route/relation"
	"sakimori/observe/route/rpki"
	"sakimori/sim"
)

// routesTold is what a role of part J says of its work.
type routesTold struct {
	Messages uint64 `json:"messages"`
	Elements uint64 `json:"elements"`
	Text     uint64 `json:"text"` // bytes

	// Of the table: what reading dump and updates took of the processor, and the memory that
	// was resident behind the dump and behind all.
	TableCPU, NewsCPU    time.Duration
	TableRSS, RSS        int64
	Routes, Prefixes     int
	Entries, NewMessages uint64
	Incidents            []routesIncident `json:"incidents"`
}

// routesIncident is what was said of an incident.
type routesIncident struct {
	Kind, Adjacency string
	Leaker          uint32
	Prefixes        uint64
	Opened          time.Time
	Detected        time.Time
}

// routesRole plays one of part J, on files: "scan" and "gobgp" decode all of it, "text"
// prints it as bgpdump -m does, "table" and "all" take a dump and updates into the table,
// without and with detectors.
func routesRole(ctx context.Context, how, dir, file string, out io.Writer) (err error) {
	var told routesTold
	switch how {
	case "scan", "text":
		err = told.decode(filepath.Join(dir, file), how == "text")
	case "gobgp":
		err = told.gobgp(filepath.Join(dir, file))
	case "table", "all":
		err = told.take(ctx, dir, how == "all")
	default:
		err = fmt.Errorf("no such role: %q", how)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(&told)
}

// decode reads every attribute and prefix of a file.
func (told *routesTold) decode(path string, text bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := mrt.NewReader(f)
	var (
		rec    mrt.Record
		m      mrt.Message
		rib    mrt.RIB
		e      mrt.Entry
		u      bgp.Update
		p      bgp.Prefix
		as     bgp.Path
		dumper mrt.Dumper
		buf    []byte
		sum    uint64
	)
	for {
		if err := r.Next(&rec); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		told.Messages++
		if text {
			if buf, err = dumper.Append(buf[:0], &rec); err != nil {
				return err
			}
			told.Elements += uint64(bytes.Count(buf, []byte{'\n'}))
			told.Text += uint64(len(buf))
			continue
		}
		switch rec.Kind() {
		case mrt.KindRIB:
			if err := rec.RIB(&rib); err != nil {
				return err
			}
			for rib.Next(&e) {
				u.ParseEntry(e.Attributes, rib.Options)
				u.Path(&as)
				sum += uint64(len(as.ASes))
				told.Elements++
			}
		case mrt.KindMessage:
			if err := rec.Message(&m); err != nil {
				return err
			}
			if m.Type != bgp.TypeUpdate {
				continue
			}
			u.Parse(m.Body, m.Options)
			u.Path(&as)
			sum += uint64(len(as.ASes))
			for _, blocks := range [...][]bgp.Block{u.Withdrawn(), u.Announced()} {
				for _, b := range blocks {
					for b.Next(&p) {
						sum += p.Hi
						told.Elements++
					}
				}
			}
		default: // peers and states
		}
	}
	told.Text += sum & 1 // so that what was read counts
	return nil
}

// gobgp reads a file with GoBGP's packages.
func (told *routesTold) gobgp(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	var head [12]byte
	var b []byte
	for {
		if _, err := io.ReadFull(in, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		h := &gomrt.MRTHeader{
			Timestamp: binary.BigEndian.Uint32(head[:]), Type: gomrt.MRTType(binary.BigEndian.Uint16(head[4:])),
			SubType: binary.BigEndian.Uint16(head[6:]), Len: binary.BigEndian.Uint32(head[8:]),
		}
		b = slices.Grow(b[:0], int(h.Len))[:h.Len]
		if _, err := io.ReadFull(in, b); err != nil {
			return err
		}
		body := b
		if h.Type == gomrt.BGP4MP_ET { // which it can't read: it is given the rest
			h.Type, body = gomrt.BGP4MP, b[4:]
			h.Len -= 4
		}
		m, err := gomrt.ParseBody(body, h)
		if err != nil {
			return err
		}
		told.Messages++
		switch body := m.Body.(type) {
		case *gomrt.Rib:
			told.Elements += uint64(len(body.Entries))
		case *gomrt.BGP4MPMessage:
			u, ok := body.BGPMessage.Body.(*gobgp.BGPUpdate)
			if !ok {
				continue
			}
			told.Elements += uint64(len(u.NLRI) + len(u.WithdrawnRoutes))
			for _, a := range u.PathAttributes {
				switch a := a.(type) {
				case *gobgp.PathAttributeMpReachNLRI:
					told.Elements += uint64(len(a.Value))
				case *gobgp.PathAttributeMpUnreachNLRI:
					told.Elements += uint64(len(a.Value))
				}
			}
		}
	}
}

// take reads a scene's files as the operator would: table, relations, ROAs and ASPAs,
// and what is its own.
func (told *routesTold) take(ctx context.Context, dir string, judged bool) error {
	var out []observe.Routes
	each := func(int64) {}
	var d *leak.Detector
	if judged {
		var err error
		if d, err = told.detector(dir); err != nil {
			return err
		}
		out, each = append(out, d), func(second int64) { d.Tick(time.Unix(second, 0)) }
	}
	t, err := route.New(route.DefaultConfig(), out...)
	if err != nil {
		return err
	}
	began := spent()
	n, err := route.Read(ctx, t, filepath.Join(dir, ribFile), route.ReadOptions{Feed: "sim", Each: each})
	if err != nil {
		return err
	}
	t.Flush()
	told.TableCPU, told.TableRSS, told.Entries = spent()-began, resident(), n.Elements
	c := t.Counts()
	told.Routes, told.Prefixes = c.Routes, c.Prefixes
	began = spent()
	if n, err = route.Read(ctx, t, filepath.Join(dir, updatesFile), route.ReadOptions{Feed: "sim", Each: each}); err != nil {
		return err
	}
	t.Flush()
	if d != nil {
		d.Finish()
	}
	told.NewsCPU, told.RSS, told.NewMessages, told.Elements = spent()-began, peak(os.Getpid()), n.Messages, n.Elements
	return nil
}

func (told *routesTold) detector(dir string) (*leak.Detector, error) {
	var truth sim.RouteTruth
	b, err := os.ReadFile(filepath.Join(dir, truthFile))
	if err == nil {
		err = json.Unmarshal(b, &truth)
	}
	if err != nil {
		return nil, err
	}
	k := &truth.Knows
	cfg := leak.Config{AS: []uint32{k.Home}, NoTransit: k.NoTransit, RouteServers: k.RouteServers, Plan: k.Plan}
	for _, o := range k.Own {
		cfg.Own = append(cfg.Own, leak.Own{Prefix: o.Prefix, Origins: o.Origins, Name: o.Name, Customer: o.Name != ""})
	}
	for _, n := range k.Neighbors {
		cfg.Neighbors = append(cfg.Neighbors, leak.Neighbor{AS: n.AS, Relation: n.Relation})
	}
	rel, err := relation.ReadFile(filepath.Join(dir, relationsFile))
	if err != nil {
		return nil, err
	}
	data, err := rpki.ReadFile(filepath.Join(dir, rpkiFile))
	if err != nil {
		return nil, err
	}
	r := rpki.NewTable(truth.Start, data)
	return leak.New(cfg, leak.Ports{
		Relation: rel.Relation, Tier1: rel.Tier1, RouteServer: rel.Exchange, Origin: r.Origin,
		Hop: func(customer, provider uint32) observe.ASPA {
			switch r.Hop(customer, provider) {
			case rpki.Provider:
				return observe.ASPAValid
			case rpki.NotProvider:
				return observe.ASPAInvalid
			}
			return observe.ASPAUnknown
		},
	}, leak.Sinks{Incidents: told})
}

// Incident keeps the last version of each.
func (told *routesTold) Incident(i detect.Incident) {
	x := routesIncident{Kind: string(i.Kind), Adjacency: i.Adjacency, Leaker: i.Leaker, Prefixes: i.Prefixes.N, Opened: i.Opened, Detected: i.Detected}
	for k := range told.Incidents {
		if o := &told.Incidents[k]; o.Opened.Equal(x.Opened) && o.Kind == x.Kind && o.Leaker == x.Leaker {
			*o = x
			return
		}
	}
	told.Incidents = append(told.Incidents, x)
}

// IncidentCourse isn't looked at.
func (told *routesTold) IncidentCourse(string, []detect.RoutePoint) {}

// spent is the processor time of this process.
func spent() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident is the memory of this process that is resident now.
func resident() int64 {
	var size, pages int64
	b, _ := os.ReadFile("/proc/self/statm") // 0 0 then
	_, _ = fmt.Sscan(string(b), &size, &pages)
	return pages * int64(os.Getpagesize())
}
