package feed

import (
	"path"
	"strings"
	"time"

	"sakimori/observe"
	"sakimori/observe/feed/reading"
)

// kind is what a type of Shadowserver's reports says, and of whom.
type kind struct {
	name     string   // of the type, or the beginning of its name up to a "_"
	ours     []string // columns that may hold the address that it is about, best first
	claim    observe.Claim
	mediated bool
	malware  bool // "infection" names malware when "family" is empty
	sinkhole bool // who came to port 53 may be a resolver
}

// TypesDated is the state of the table of types.
var TypesDated = time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC)

var (
	event  = []string{"src_ip", "ip"}
	device = []string{"ip", "src_ip"}
)

// kinds are Shadowserver's types of report as its pages describe them
// (shadowserver.org/what-we-do/network-reporting, read on TypesDated): whom a row is
// about differs. Four traps are in it. event4_honeypot_ddos_amp has the victim in
// src_ip, event4_honeypot_ddos_target in dst_ip: neither did anything. The src_ip of
// event4_honeypot_ddos gave the bots their orders. In the sinkholes' DNS reports
// src_ip is a resolver, "likely not infected". The most specific name counts, and a
// type that isn't here claims nothing.
//
// IPv6 has the same types with another digit: event6_sinkhole, scan6_telnet.
var kinds = []kind{
	{name: "event4_sinkhole", ours: event, claim: observe.ClaimInfected, malware: true, sinkhole: true},
	{name: "event4_sinkhole_dns", ours: event, claim: observe.ClaimInfected, mediated: true, malware: true},
	{name: "event4_sinkhole_http_referer", ours: []string{"http_referer_ip"}, claim: observe.ClaimHosting},
	{name: "event4_microsoft_sinkhole", ours: event, claim: observe.ClaimInfected, malware: true, sinkhole: true},
	{name: "event4_honeypot", ours: event, claim: observe.ClaimAttacking},
	{name: "event4_honeypot_darknet", ours: event, claim: observe.ClaimAttacking, malware: true},
	{name: "event4_honeypot_ddos", ours: event, claim: observe.ClaimHosting},
	{name: "event4_honeypot_ddos_amp", ours: event, claim: observe.ClaimOther},
	{name: "event4_honeypot_ddos_target", ours: []string{"dst_ip"}, claim: observe.ClaimOther},
	{name: "event4_ddos_participant", ours: event, claim: observe.ClaimAttacking},
	{name: "event4_ip_spoofer", ours: event, claim: observe.ClaimOther}, // of a network, not of a machine
	{name: "scan", ours: device, claim: observe.ClaimExposed},
	{name: "scan_post_exploitation_framework", ours: device, claim: observe.ClaimHosting}, // a C&C that answers
	{name: "device_id", ours: device, claim: observe.ClaimOther},
	{name: "population", ours: device, claim: observe.ClaimOther}, // whatever answers, not what is wrong
	{name: "blocklist", ours: device, claim: observe.ClaimOther},
	{name: "compromised_website", ours: device, claim: observe.ClaimHosting},
	{name: "compromised_iot", ours: device, claim: observe.ClaimInfected, malware: true},
	{name: "malware_url", ours: device, claim: observe.ClaimHosting},
	{name: "phish_url", ours: device, claim: observe.ClaimHosting},
	{name: "spam_url", ours: device, claim: observe.ClaimHosting},
	// Names of before 2021, which archives still hold.
	{name: "botnet_drone", ours: device, claim: observe.ClaimInfected, malware: true, sinkhole: true},
	{name: "drone_brute_force", ours: device, claim: observe.ClaimAttacking},
	{name: "sinkhole_http_drone", ours: []string{"ip", "src_ip", "src"}, claim: observe.ClaimInfected, malware: true},
	{name: "microsoft_sinkhole", ours: device, claim: observe.ClaimInfected, malware: true, sinkhole: true},
	{name: "sinkhole_dns", ours: event, claim: observe.ClaimInfected, mediated: true, malware: true},
	{name: "hp_http_scan", ours: device, claim: observe.ClaimAttacking},
	{name: "hp_ics_scan", ours: device, claim: observe.ClaimAttacking},
	{name: "ddos_amplification", ours: device, claim: observe.ClaimOther},
	{name: "netis_router", ours: device, claim: observe.ClaimExposed},
	{name: "cisco_smart_install", ours: device, claim: observe.ClaimExposed},
}

// other is the rule for a type that isn't in the table.
var other = kind{ours: event, claim: observe.ClaimOther}

// kindOf finds the rule for a type, and whether there is one.
func kindOf(typ string) (kind, bool) {
	name := strings.ToLower(typ)
	for _, six := range [][2]string{{"event6_", "event4_"}, {"event46_", "event4_"}, {"scan6_", "scan_"}, {"sinkhole6_", "sinkhole_"}, {"population6_", "population_"}} {
		if rest, ok := strings.CutPrefix(name, six[0]); ok {
			name = six[1] + rest
		}
	}
	name = strings.TrimSuffix(name, "6") // device_id6, compromised_website6
	found, best := other, -1
	for _, k := range kinds {
		if rest, ok := strings.CutPrefix(name, k.name); ok && (rest == "" || rest[0] == '_') && len(k.name) > best {
			found, best = k, len(k.name)
		}
	}
	if best < 0 && strings.Contains(name, "sinkhole") && strings.Contains(name, "dns") {
		found.mediated = true
	}
	return found, best >= 0
}

// typeOf is the type in the name of a file: event4_sinkhole of
// 2026-11-26-event4_sinkhole-japan-asn.csv.gz. "" there is none.
func typeOf(file string) string {
	name := path.Base(strings.ReplaceAll(file, `\`, "/"))
	if len(name) > 11 && name[4] == '-' && name[7] == '-' && name[10] == '-' && reading.Digits(name[:4]) && reading.Digits(name[5:7]) && reading.Digits(name[8:10]) {
		name = name[11:]
	}
	end := strings.IndexFunc(name, func(c rune) bool {
		return c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
	if end >= 0 {
		name = name[:end]
	}
	return strings.ToLower(name)
}
