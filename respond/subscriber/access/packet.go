package access

import (
	"net/netip"
	"time"

	"sakimori/base/wire/radius"
	"sakimori/respond/subscriber"
)

// packet appends the records of an Accounting-Request that arrived from an address.
func (c *clerk) packet(p radius.Packet, arrival time.Time, from netip.Addr, dst []subscriber.Record) ([]subscriber.Record, reason) {
	if p.Code() != radius.AccountingRequest {
		return dst, otherCode
	}
	c.begin(arrival, from)
	for rest := p.Attributes(); ; {
		t, value, ok := rest.Next()
		if !ok {
			return c.records(dst)
		}
		if why := c.attribute(t, value); why != fine {
			return dst, why
		}
	}
}

// attribute takes one attribute. Of those that may stand in a request only once, the
// first counts.
func (c *clerk) attribute(t radius.Type, value []byte) reason {
	f := &c.facts
	switch t {
	case radius.UserName:
		c.line(inUserName, value)
	case radius.CallingStationID:
		c.line(inCallingStation, value)
	case radius.Class:
		c.line(inClass, value)
	case radius.VendorSpecific:
		c.vendor(value)
	case radius.NASIdentifier:
		first(&f.nasID, value)
	case radius.AcctSessionID:
		first(&f.session, value)
	case radius.AcctMultiSessionID:
		first(&f.multi, value)
	case radius.AcctStatusType:
		return number(value, &f.status, &f.hasStatus)
	case radius.AcctDelayTime:
		return number(value, &f.delay, nil)
	case radius.AcctSessionTime:
		return number(value, &f.time, &f.hasTime)
	case radius.SessionTimeout:
		return number(value, &f.timeout, nil)
	case radius.EventTimestamp:
		return number(value, &f.event, &f.hasEvent)
	case radius.NASIPAddress, radius.NASIPv6Address, radius.FramedIPAddress, radius.FramedIPv6Address:
		return c.address(t, value)
	case radius.FramedIPv6Prefix, radius.DelegatedIPv6Prefix:
		p, ok := radius.IPv6Prefix(value)
		if !ok {
			return wrongValue
		}
		return f.add(p)
	}
	return fine
}

func (c *clerk) address(t radius.Type, value []byte) reason {
	f := &c.facts
	a, ok := radius.Addr(value)
	if !ok || a.Is4() != (t == radius.NASIPAddress || t == radius.FramedIPAddress) {
		return wrongValue
	}
	switch t {
	case radius.FramedIPAddress:
		if chooses(a) {
			return fine
		}
		return f.add(netip.PrefixFrom(a, 32))
	case radius.FramedIPv6Address:
		return c.framed6(a)
	}
	if !f.nas.IsValid() && !a.IsUnspecified() {
		f.nas = a
	}
	return fine
}

// vendor looks for the attributes that may name the line; another vendor's, or
// one in a form of its own, is passed over.
func (c *clerk) vendor(value []byte) {
	if c.Line.where != inCircuit && c.Line.where != inVendor {
		return
	}
	vendor, sub, ok := radius.Vendor(value)
	if !ok {
		return
	}
	for {
		t, v, ok := sub.Next()
		switch {
		case !ok:
			return
		case c.Line.where == inVendor && vendor == c.Line.vendor && t == c.Line.number:
			first(&c.facts.line, v)
		case vendor == radius.ADSLForum && t == radius.AgentCircuit:
			first(&c.facts.circuit, v)
		case vendor == radius.ADSLForum && t == radius.AgentRemoteID:
			first(&c.facts.remote, v)
		}
	}
}

// line takes what may name the contract, if that is asked for.
func (c *clerk) line(w where, value []byte) {
	if c.Line.where == w {
		first(&c.facts.line, value)
	}
}

// first keeps a value, unless there is one already.
func first(dst *[]byte, value []byte) {
	if len(*dst) == 0 {
		*dst = value
	}
}

// number reads an integer; has may be nil.
func number(value []byte, dst *uint32, has *bool) reason {
	n, ok := radius.Uint32(value)
	if !ok {
		return wrongValue
	}
	if has != nil && *has {
		return fine
	}
	*dst = n
	if has != nil {
		*has = true
	}
	return fine
}
