package sim

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// NamedScene is a scene with what it is for, in both languages of the house.
type NamedScene struct {
	Name   string
	JA, EN string
	Scene  Scene
}

// autumn is the name of the demo's scene, zipf that of the benchmark's file.
const (
	autumn = "autumn2016"
	zipf   = "zipf"
)

// Names are the captures that ByName knows, the demo's first.
func Names() []string {
	names := []string{autumn}
	for _, s := range Labelled() {
		names = append(names, s.Name)
	}
	return append(names, zipf)
}

// ByName is the capture of that name, made from the seed. An unknown name is an
// error that lists the known ones.
func ByName(name string, seed uint64) (Capture, error) {
	switch name {
	case autumn:
		return Autumn2016(seed), nil
	case zipf:
		return Zipf(10_000_000, 300_000, 1_000_000, seed), nil
	}
	for _, s := range Labelled() {
		if s.Name == name {
			s.Scene.Seed = seed
			return s.Scene, nil
		}
	}
	return nil, fmt.Errorf("there is no scene %q: use one of %s", name, strings.Join(Names(), ", "))
}

// The addresses of the scenes, all from ranges that are nobody's: benchmark
// (RFC 2544), documentation (RFC 5737, RFC 3849).
var (
	dark4 = netip.MustParsePrefix("198.18.0.0/16")
	dark6 = netip.MustParsePrefix("2001:db8:da::/48")
	own4  = netip.MustParsePrefix("203.0.113.0/24")
	own6  = netip.MustParsePrefix("2001:db8:1::/48")

	research = netip.MustParsePrefix("192.0.2.0/26")
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func ips(s ...string) []netip.Addr {
	var a []netip.Addr
	for _, x := range s {
		a = append(a, ip(x))
	}
	return a
}

// host is address number n of a documentation prefix written as "203.0.113.".
func host(prefix string, n int) netip.Addr { return ip(fmt.Sprintf("%s%d", prefix, n)) }

// base is a scene with the usual addresses.
func base(name string, seed uint64, d time.Duration) Scene {
	return Scene{
		Name: name, Seed: seed, Start: time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), Duration: d,
		Dark: []netip.Prefix{dark4, dark6}, Own: []netip.Prefix{own4, own6}, Research: []netip.Prefix{research},
	}
}

// usual are the services that the background asks for, with weights after the
// mix that telescopes report.
func usual() []Want {
	return []Want{
		{23, 220, FormAny},
		{22, 80, FormAny},
		{445, 90, FormWindows},
		{80, 60, FormAny},
		{443, 40, FormAny},
		{8080, 45, FormAny},
		{3389, 45, FormWindows},
		{1433, 40, FormWindows},
		{3306, 20, FormAny},
		{5900, 15, FormAny},
		{21, 12, FormAny},
		{25, 12, FormAny},
		{5555, 15, FormAny},
		{6379, 15, FormAny},
		{8443, 10, FormAny},
		{2222, 10, FormAny},
		{81, 10, FormIrregular},
		{7001, 8, FormIrregular},
		{9200, 8, FormIrregular},
		{8291, 8, FormAny},
		{110, 5, FormAny},
		{portDNS, 25, FormUDP},
		{portSIP, 25, FormUDP},
		{portNTP, 15, FormUDP},
		{portSSDP, 12, FormUDP},
		{portSNMP, 12, FormUDP},
		{portMemcached, 5, FormUDP},
		{portCLDAP, 5, FormUDP},
		{portNetcore, 8, FormUDP},
		{0, 20, FormEcho},
	}
}

// background is the usual noise, n packets a second from so many sources.
func background(sources int, n float64) Crowd {
	p := PerSecond(n)
	p.Shape = Daily(8)
	return Crowd{Size: sources, Ports: usual(), Skew: true, Pace: p}
}
