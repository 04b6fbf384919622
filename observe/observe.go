// Package observe says what was seen, and nothing of what it means.
//
// Its noun is the Sighting. A sensor looks at many packets and hands on few
// sightings, in batches; what they mean is for package detect to say. Nobody's
// communication is looked into here: the telescope sees only packets that were
// sent to addresses nobody uses.
package observe

import (
	"fmt"

	"sakimori/base/wire/packet"
)

// Sighting is what one source did towards dark space, on one port, with one
// kind of packet, in one minute. It holds no pointer, so a minute of a million
// of them is one plain array.
type Sighting struct {
	Source packet.Addr
	Minute int64 // Unix seconds, start of the minute
	First  int64 // Unix nanoseconds of the first packet in this minute
	Last   int64 // Unix nanoseconds of the last one
	Since  int64 // Unix nanoseconds of the first packet of the whole event

	Packets uint32                // in this minute
	Bins    [BinsPerMinute]uint32 // the same by ten seconds
	Targets uint32                // distinct dark addresses so far in the whole event
	Total   uint32                // packets so far in the whole event (saturates)
	ASN     uint32                // of the source, 0 unknown

	Country [2]byte // ISO 3166-1 alpha-2 of the source, zero unknown
	Port    uint16  // see Kind.PortIs
	Proto   uint8   // IANA protocol number
	Kind    Kind
	Tool    Tool // what every sampled packet of the event agrees on
	Flags   Flags
}

// BinsPerMinute is how finely a sighting tells when its packets came: tens of
// seconds, the step of the RSDoS window.
const BinsPerMinute = 6

// Class is the first verdict on a packet to dark space, from its form alone.
type Class uint8

// The four classes. Every packet to dark space is in exactly one.
const (
	Other       Class = iota // none of the below
	Scan                     // asks whether something is there
	Backscatter              // a victim's answer to a flood with forged sources
	Reflection               // an amplified answer sent off by a reflector
)

var classNames = [...]string{"other", "scan", "backscatter", "reflection"}

// Classes is how many classes there are.
const Classes = len(classNames)

// String is the class in the words of the API.
func (c Class) String() string { return name(classNames[:], int(c), "class") }

// Kind is the type of packet that an event is made of; it is part of an
// event's key, in Merit's form.
type Kind uint8

// The kinds. A kind belongs to one class.
const (
	KindOther        Kind = iota // protocols and forms without a kind of their own
	KindTCPSyn                   // SYN alone
	KindTCPStealth               // FIN, NULL, XMAS: no SYN, no ACK, no RST
	KindTCPAck                   // ACK without SYN or RST
	KindTCPSynAck                // SYN+ACK
	KindTCPRst                   // RST
	KindUDP                      // a datagram to a service
	KindUDPAnswer                // an answer of a service (DNS, NTP, SNMP, QUIC)
	KindUDPReflected             // an amplified answer of a reflector
	KindICMPRequest              // echo, timestamp, mask, information request
	KindICMPAnswer               // their answers
	KindICMPError                // unreachable, time exceeded and other errors
	KindFragment                 // a datagram whose first fragment didn't come
)

var kinds = [...]struct {
	name  string
	class Class
}{
	{"other", Other},
	{"tcp-syn", Scan},
	{"tcp-stealth", Scan},
	{"tcp-ack", Other},
	{"tcp-syn-ack", Backscatter},
	{"tcp-rst", Backscatter},
	{"udp", Scan},
	{"udp-answer", Backscatter},
	{"udp-reflected", Reflection},
	{"icmp-request", Scan},
	{"icmp-answer", Backscatter},
	{"icmp-error", Backscatter},
	{"fragment", Other},
}

// Kinds is how many kinds there are.
const Kinds = len(kinds)

// Class is the class that the kind belongs to.
func (k Kind) Class() Class { return kinds[k].class }

// String is the kind in the words of the API.
func (k Kind) String() string {
	if int(k) >= len(kinds) {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return kinds[k].name
}

// SourcePort tells whether a sighting's Port is the source's own port (the
// attacked service, in backscatter) and not the port that it asked for. For
// ICMP the Port is type<<8|code.
func (k Kind) SourcePort() bool { c := k.Class(); return c == Backscatter || c == Reflection }

// Tool is a sending program known by the form of its packets. The rules, with
// their dates, sources and odds, are the telescope's (see its fingerprint.go).
type Tool uint8

// The tools. Unknown is the honest answer whenever one sampled packet disagrees.
const (
	Unknown Tool = iota
	Mirai
	ZMapOld
	ZMapNew
	MasscanOld
	MasscanNew
	Nmap
	Hping3
	Unicorn
	IrregularSYN
)

var tools = [...]struct{ name, versions string }{
	{"unknown", ""},
	{"mirai", "2016 and its descendants"},
	{"zmap", "up to 4.0"},
	{"zmap", "4.1.0 (2024-03-21) or later"},
	{"masscan", "before 2023-11-07"},
	{"masscan", "2023-11-07 or later"},
	{"nmap", ""},
	{"hping3", ""},
	{"unicornscan", ""},
	{"irregular-syn", "no tool named: a SYN that no operating system sends"},
}

// String is the tool's name, "unknown" for none.
func (t Tool) String() string {
	if int(t) >= len(tools) {
		return fmt.Sprintf("tool(%d)", uint8(t))
	}
	return tools[t].name
}

// Versions says which versions of the tool send such packets, "" when that
// can't be told.
func (t Tool) Versions() string {
	if int(t) >= len(tools) {
		return ""
	}
	return tools[t].versions
}

// Flags are what else is known of a sighting's source.
type Flags uint8

// The flags of a sighting.
const (
	Own          Flags = 1 << iota // the source is one of the operator's own addresses
	Research                       // a scanner that says openly who it is
	SpoofHint                      // the source address may be forged
	Solicited                      // an answer to a dark address that had sent something: proves nothing
	FirstMinute                    // the event began in this minute
	Scanner                        // the event meets the telescope's definition of a scan
	AmplifierAsk                   // asks for an amplified answer: the source may be the intended victim, unless nobody can forge it
)

// Sightings takes a batch in order of time. The slice is reused after the call
// returns. A caller of the telescope hands one in; detectors implement it.
type Sightings interface {
	Sight(batch []Sighting)
}

func name(names []string, i int, what string) string {
	if i >= len(names) {
		return fmt.Sprintf("%s(%d)", what, i)
	}
	return names[i]
}
