package main

import (
	"net/netip"
	"testing"
	"time"

	"sakimori/observe/telescope"
)

// Dark space that is hit once a second, and then isn't, has fallen silent; that which is
// seldom hit hasn't, and nobody tells of space that isn't dark.
func TestDarkSpaceFallsSilent(t *testing.T) {
	dark := netip.MustParsePrefix("198.51.100.0/24")
	around := netip.MustParsePrefix("198.51.0.0/16")
	fed := func(every int64) *darkPulse {
		p := &darkPulse{dark: []netip.Prefix{dark}}
		for at := int64(1000); at < 3000; at += every {
			p.see(telescope.Second{Unix: at, Total: [telescope.Strata]uint32{1}})
		}
		return p
	}
	p := fed(1)
	if p.silent(around) {
		t.Error("silent in the second in which something came")
	}
	p.last = time.Now().Add(-time.Minute)
	if !p.silent(around) || !p.silent(dark) {
		t.Errorf("a minute without a packet at %.2f a second isn't silence", p.rate)
	}
	if p.silent(netip.MustParsePrefix("203.0.113.0/24")) || p.silent(netip.MustParsePrefix("198.51.100.0/25")) {
		t.Error("space that isn't dark, or holds only a part of it, fell silent")
	}
	seldom := fed(100)
	if seldom.last = time.Now().Add(-time.Minute); seldom.silent(around) {
		t.Errorf("%.3f packets a second were missed for a minute", seldom.rate)
	}
}
