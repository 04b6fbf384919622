package bgp

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// Update is one UPDATE message, or the attributes of one route in a table dump. It is
// reused: Parse writes all of it. It refers to the bytes that were parsed.
type Update struct {
	Fault Fault // the worst that is wrong with it
	Err   error // the first of what is as bad as that; nil when Fault is Sound

	Has         Attributes // which attributes are there and can be used
	Origin      uint8      // 0 IGP, 1 EGP, 2 incomplete
	Atomic      bool
	MED         uint32
	LocalPref   uint32
	Aggregator  uint32 // AS
	OTC         uint32 // Only to Customer; 0 is reserved and damaged, see Has
	NextHop     netip.Addr
	Communities []byte // four bytes each
	Extended    []byte // extended communities, eight bytes each
	Large       []byte // twelve bytes each

	AggregatorID netip.Addr // the router that aggregated

	Discarded int  // attributes left out: damaged where that does no harm, or there twice
	Unknown   int  // attributes that aren't read
	Skipped   int  // blocks of families that aren't read
	Guessed   bool // prefixes had identifiers although nobody said so, or had none: see Options.Guess

	as4         bool
	path, path4 []byte // AS_PATH, AS4_PATH
	aggregator  []byte
	aggregator4 []byte

	withdrawn, announced   [2]Block
	nWithdrawn, nAnnounced int
	unreach                bool // an MP_UNREACH_NLRI was there, read or not
}

// Fault is what is wrong with an UPDATE, in the order of harm (RFC 7606, section 2).
type Fault uint8

// The faults.
const (
	Sound    Fault = iota
	Discard        // an attribute was damaged that may be left out; the rest stands
	Withdraw       // the announced prefixes must be taken as withdrawn; Path and attributes mean nothing
	Reset          // a router would end the session: no prefix of it can be relied on, and it gives none
)

var faultNames = [...]string{"sound", "attribute-discard", "treat-as-withdraw", "session-reset"}

// String is the fault in the words of RFC 7606.
func (f Fault) String() string { return faultNames[min(f, Reset)] }

// Attributes is a set of attributes by their code, for codes below 64.
type Attributes uint64

// Has tells whether the attribute with the code is in the set.
func (s Attributes) Has(code Attribute) bool { return s>>(code&63)&1 != 0 && code < 64 }

// Attribute is the code of a path attribute.
type Attribute uint8

// The attributes that are read.
const (
	AttrOrigin          Attribute = 1
	AttrPath            Attribute = 2
	AttrNextHop         Attribute = 3
	AttrMED             Attribute = 4
	AttrLocalPref       Attribute = 5
	AttrAtomic          Attribute = 6
	AttrAggregator      Attribute = 7
	AttrCommunities     Attribute = 8
	AttrOriginator      Attribute = 9  // looked at for damage alone
	AttrClusters        Attribute = 10 // likewise
	AttrReach           Attribute = 14
	AttrUnreach         Attribute = 15
	AttrExtended        Attribute = 16
	AttrPath4           Attribute = 17
	AttrAggregator4     Attribute = 18
	AttrLarge           Attribute = 32
	AttrOnlyToCustomers Attribute = 35
)

// Withdrawn is what it withdraws: at most two blocks, none when Fault is Reset.
func (u *Update) Withdrawn() []Block {
	if u.Fault == Reset {
		return nil
	}
	return u.withdrawn[:u.nWithdrawn]
}

// Announced is what it announces: at most two blocks, each with its next hop; none when
// Fault is Reset. When Fault is Withdraw they must be taken as withdrawn.
func (u *Update) Announced() []Block {
	if u.Fault == Reset {
		return nil
	}
	return u.announced[:u.nAnnounced]
}

// Remains are Withdrawn and Announced, and when Fault is Reset what stood before the
// damage: to be shown, not to be believed.
func (u *Update) Remains() (withdrawn, announced []Block) {
	return u.withdrawn[:u.nWithdrawn], u.announced[:u.nAnnounced]
}

// What is wrong with the frame of an UPDATE, and with which attribute.
var (
	ErrFrame     = errors.New("bgp: the lengths within the UPDATE contradict its length")
	ErrPrefixes  = errors.New("bgp: prefixes that are longer than their family allows, or cut: is ADD-PATH in use where it wasn't agreed on?")
	ErrAttribute = errors.New("bgp: an attribute reaches beyond the attributes")
	ErrTwice     = errors.New("bgp: MP_REACH_NLRI or MP_UNREACH_NLRI is there twice")
	ErrMissing   = errors.New("bgp: ORIGIN, AS_PATH or NEXT_HOP is missing")
	ErrFlags     = errors.New("bgp: flags that the attribute can't have")
	ErrForeign   = errors.New("bgp: an attribute that is said to be well-known, and nobody knows it")
	ErrReach     = errors.New("bgp: MP_REACH_NLRI or MP_UNREACH_NLRI is damaged")
	ErrOrigin    = errors.New("bgp: ORIGIN is damaged")
	ErrPath      = errors.New("bgp: AS_PATH is damaged")
	ErrNextHop   = errors.New("bgp: NEXT_HOP is damaged")
	ErrSize      = errors.New("bgp: an attribute hasn't the size of its kind")
)

// fail notes what is wrong; the worst stays, and of those the first.
func (u *Update) fail(f Fault, err error) {
	if f > u.Fault {
		u.Fault, u.Err = f, err
	}
}

// Parse reads the body of an UPDATE. What is wrong with it stands in Fault and Err.
func (u *Update) Parse(body []byte, o Options) {
	*u = Update{as4: o.AS4}
	withdrawn, attributes, announced, ok := frame(body)
	if !ok {
		u.fail(Reset, ErrFrame)
		return
	}
	if len(withdrawn) > 0 {
		u.withdraw(Block{Family: IPv4Unicast, rest: withdrawn}, o)
	}
	plain := len(announced) > 0
	if plain {
		u.announce(Block{Family: IPv4Unicast, rest: announced}, o)
	}
	u.attributes(attributes, o, false)
	if plain {
		u.announced[0].NextHop = u.NextHop
	}
	if u.nAnnounced > 0 && (!u.Has.Has(AttrOrigin) || !u.Has.Has(AttrPath) || plain && !u.Has.Has(AttrNextHop)) {
		u.fail(Withdraw, ErrMissing)
	}
}

// frame cuts the body of an UPDATE into its three parts.
func frame(body []byte) (withdrawn, attributes, announced []byte, ok bool) {
	if len(body) < 4 {
		return nil, nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(body))
	if len(body) < 4+n {
		return nil, nil, nil, false
	}
	withdrawn, body = body[2:2+n:2+n], body[2+n:]
	n = int(binary.BigEndian.Uint16(body))
	if len(body) < 2+n {
		return nil, nil, nil, false
	}
	return withdrawn, body[2 : 2+n : 2+n], body[2+n:], true
}

// withdraw adds a block, as far as it can be read.
func (u *Update) withdraw(b Block, o Options) {
	u.whole(&b, o)
	u.withdrawn[u.nWithdrawn] = b
	u.nWithdrawn++
}

// announce adds a block, as far as it can be read.
func (u *Update) announce(b Block, o Options) {
	u.whole(&b, o)
	u.announced[u.nAnnounced] = b
	u.nAnnounced++
}

// whole looks at all prefixes of a block.
func (u *Update) whole(b *Block, o Options) {
	b.addPath = o.AddPath.Has(b.Family)
	if o.Guess && b.guess() {
		b.addPath, u.Guessed = !b.addPath, true
	}
	if !b.trim() {
		u.fail(Reset, ErrPrefixes)
	}
}

// ParseEntry reads the attributes of one route in a table dump. MP_REACH_NLRI may hold
// the next hop alone (RFC 6396, section 4.3.4), or as a message has it; NextHop is what
// stands there, else what stands in NEXT_HOP. Of what it announces only the dump knows.
func (u *Update) ParseEntry(attributes []byte, o Options) {
	*u = Update{as4: o.AS4}
	u.attributes(attributes, o, true)
	u.nWithdrawn, u.nAnnounced = 0, 0
}

// EndOfRIB tells whether it says nothing but that the first table of a family is
// complete (RFC 4724, section 2), and of which.
func (u *Update) EndOfRIB() (Family, bool) {
	if u.Fault != Sound || u.nAnnounced != 0 || u.Has&^(1<<AttrUnreach) != 0 || u.Unknown+u.Discarded+u.Skipped != 0 {
		return Other, false
	}
	if !u.unreach {
		return IPv4Unicast, u.nWithdrawn == 0
	}
	if u.nWithdrawn == 1 && u.withdrawn[0].Empty() {
		return u.withdrawn[0].Family, true
	}
	return Other, false
}
