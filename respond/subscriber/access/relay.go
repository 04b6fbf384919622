package access

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"
)

// relayed reads what a relay agent said of the circuit out of the user context of a
// lease, where Kea keeps it with store-extended-info: for IPv4 the sub-options of
// option 82 (RFC 3046), for IPv6 the options of the relay next to the client (RFC 8415
// §21.18 Interface-Id, RFC 4649 Remote-Id). A context of the operator's own says nothing.
func relayed(context string) (circuit, remote []byte, ok bool) {
	if context == "" || !strings.Contains(context, `"ISC"`) {
		return nil, nil, true
	}
	var c struct {
		ISC struct {
			Agent  json.RawMessage `json:"relay-agent-info"`
			Relays []relay         `json:"relays"`
			Info   []relay         `json:"relay-info"`
		}
	}
	if err := json.Unmarshal([]byte(context), &c); err != nil {
		return nil, nil, false
	}
	if len(c.ISC.Agent) > 0 {
		return agent(c.ISC.Agent)
	}
	return nearest(append(c.ISC.Relays, c.ISC.Info...))
}

// agent reads option 82: a string of its sub-options up to Kea 2.2, an object with
// them from then on.
func agent(raw json.RawMessage) (circuit, remote []byte, ok bool) {
	var options string
	if json.Unmarshal(raw, &options) != nil {
		var o struct {
			Options string `json:"sub-options"`
		}
		if json.Unmarshal(raw, &o) != nil {
			return nil, nil, false
		}
		options = o.Options
	}
	b, ok := fromHex(options)
	if !ok {
		return nil, nil, false
	}
	for len(b) >= 2 && int(b[1]) <= len(b)-2 {
		value := b[2 : 2+int(b[1])]
		switch b[0] {
		case 1:
			first(&circuit, value)
		case 2:
			first(&remote, value)
		}
		b = b[2+len(value):]
	}
	return circuit, remote, len(b) == 0
}

// relay is one that a message of DHCPv6 came through.
type relay struct {
	Hop     int    `json:"hop"` // 0 next to the client
	Options string `json:"options"`
}

// nearest reads the options of the relay nearest to the client that says anything.
func nearest(relays []relay) (circuit, remote []byte, ok bool) {
	best := -1
	for _, r := range relays {
		b, ok := fromHex(r.Options)
		if !ok {
			return nil, nil, false
		}
		var id, rem []byte
		for len(b) >= 4 && int(binary.BigEndian.Uint16(b[2:])) <= len(b)-4 {
			value := b[4 : 4+int(binary.BigEndian.Uint16(b[2:]))]
			switch binary.BigEndian.Uint16(b) {
			case 18:
				first(&id, value)
			case 37: // behind the enterprise number
				first(&rem, value[min(4, len(value)):])
			}
			b = b[4+len(value):]
		}
		if len(b) != 0 {
			return nil, nil, false
		}
		if (len(id) > 0 || len(rem) > 0) && (best < 0 || r.Hop < best) {
			best, circuit, remote = r.Hop, id, rem
		}
	}
	return circuit, remote, true
}

func fromHex(s string) ([]byte, bool) {
	b, err := hex.DecodeString(strings.TrimPrefix(s, "0x"))
	return b, err == nil
}
