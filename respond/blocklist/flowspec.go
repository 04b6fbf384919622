package blocklist

import (
	"bufio"
	"encoding/json"
	"fmt"
)

// flow is one rule for the border. Its text writes the components in the order and with
// the operators of RFC 8955, section 4.2.2 (RFC 8956 of IPv6).
type flow struct {
	ID     string `json:"id"`
	AFI    int    `json:"afi"`  // 1 IPv4, 2 IPv6
	SAFI   int    `json:"safi"` // 133 flowspec; 1 unicast, with a community to discard by
	Prefix string `json:"destination"`
	Port   uint16 `json:"destination_port,omitempty"`
	// Community is 65535:666 (RFC 7999) of a route to discard by, Action that of a rule.
	Community string `json:"community,omitempty"`
	Action    string `json:"action,omitempty"`
	Text      string `json:"text"`
	Family    string `json:"family,omitempty"`
	Until     string `json:"until"`
}

// flowOf makes the rule of an entry: a whole address or prefix is a route to discard by,
// an endpoint takes flowspec, which alone can tell its port.
func flowOf(x *item) flow {
	f := flow{ID: x.ID, AFI: 1, SAFI: 1, Prefix: x.prefix.String(), Family: x.Family, Until: stamp(x.Until)}
	if x.prefix.Addr().Is6() {
		f.AFI = 2
	}
	if x.Kind != Endpoint {
		f.Community = "65535:666"
		f.Text = "route " + f.Prefix + " community " + f.Community
		return f
	}
	f.SAFI, f.Port, f.Action = 133, x.port, "traffic-rate-bytes 0" // RFC 8955, section 7.1: discard
	f.Text = fmt.Sprintf("match destination %s protocol =6 or =17 destination-port =%d then %s", f.Prefix, f.Port, f.Action)
	return f
}

// writeFlow writes one JSON document with a rule a line.
func writeFlow(w *bufio.Writer, x *Export, list []item) error {
	head, err := json.Marshal(x.about())
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "{\"head\": %s,\n\"rules\": [", head)
	for i := range list {
		raw, err := json.Marshal(flowOf(&list[i]))
		if err != nil {
			return err
		}
		if i > 0 {
			_ = w.WriteByte(',') // the writer keeps its first error for Flush
		}
		_, _ = w.WriteString("\n")
		_, _ = w.Write(raw)
	}
	_, _ = w.WriteString("\n]}\n")
	return nil
}
