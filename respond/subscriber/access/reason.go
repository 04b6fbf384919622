package access

import (
	"errors"

	"sakimori/base/wire/radius"
)

// reason is why an accounting request can't be used.
type reason uint8

const (
	fine reason = iota
	cutShort
	badLength
	badAttribute
	otherCode
	wrongSecret
	wrongMessage
	unsigned
	wrongValue
	noStatus
	badStatus
	noArrival
	tooEarly
	tooLate
	begunTooEarly
	hugePrefix
	tooMany
	reasons // how many
)

// String is the reason in English, as a count of it is labelled.
func (r reason) String() string {
	return [reasons]string{
		fine:          "fine",
		cutShort:      "shorter than it says",
		badLength:     "its length field can't be right",
		badAttribute:  "an attribute doesn't fit into the packet",
		otherCode:     "not an Accounting-Request",
		wrongSecret:   "the shared secret is another one",
		wrongMessage:  "its Message-Authenticator is wrong",
		unsigned:      "Status-Server without a Message-Authenticator",
		wrongValue:    "an attribute's value has the wrong form",
		noStatus:      "no Acct-Status-Type",
		badStatus:     "an unknown Acct-Status-Type",
		noArrival:     "no time of arrival",
		tooEarly:      "its time lies before 2000",
		tooLate:       "its time lies more than a day after its arrival",
		begunTooEarly: "its session would have begun before 2000",
		hugePrefix:    "an IPv6 prefix shorter than /16",
		tooMany:       "too many addresses",
	}[r]
}

// why is the reason that stands for an error of base/wire/radius.
func why(err error) reason {
	switch {
	case err == nil:
		return fine
	case errors.Is(err, radius.ErrShort), errors.Is(err, radius.ErrCut):
		return cutShort
	case errors.Is(err, radius.ErrLength):
		return badLength
	case errors.Is(err, radius.ErrAttribute):
		return badAttribute
	case errors.Is(err, radius.ErrMessageAuthenticator):
		return wrongMessage
	case errors.Is(err, radius.ErrUnsigned):
		return unsigned
	}
	return wrongSecret
}
