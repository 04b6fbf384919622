// Package ring captures packets live from a network interface through a memory
// ring shared with the Linux kernel (AF_PACKET, TPACKET_V3), spread over several
// readers by flow (PACKET_FANOUT). It needs the capability CAP_NET_RAW and
// nothing else. On other systems Open answers with an error.
package ring

import "time"

// Options say what to capture and how much the kernel may hold meanwhile. Only
// Interface has no default.
type Options struct {
	Interface string
	Fanout    int    // rings to spread the flows over, one for each reader; default 1
	Group     uint16 // fanout group shared with other processes; 0 for one of our own
	BlockSize int    // bytes of one block, a multiple of the page size; default 1 MiB
	Blocks    int    // blocks in each ring; default 64
	Snaplen   int    // bytes kept of a frame; 0 for all
	Promisc   bool   // also take frames that aren't addressed to this host

	// InboundOnly leaves out what this host sends. The loopback interface shows
	// each packet twice without it: once sent, once received.
	InboundOnly bool

	// Retire is how long the kernel may keep a block that isn't full: the most
	// that a frame is late. Default 50 ms.
	Retire time.Duration
}

// Error is a failure of the capture, in words that say what to do.
type Error struct {
	Reason   string // English
	ReasonJA string // Japanese
	Err      error  // what the kernel said; may be nil
}

// Error is the English sentence, with what the kernel said.
func (e *Error) Error() string {
	if e.Err == nil {
		return "live capture: " + e.Reason
	}
	return "live capture: " + e.Reason + ": " + e.Err.Error()
}

// JA is the Japanese sentence.
func (e *Error) JA() string { return e.ReasonJA }

// Unwrap gives what the kernel said.
func (e *Error) Unwrap() error { return e.Err }

func (o *Options) defaults() {
	if o.Fanout == 0 {
		o.Fanout = 1
	}
	if o.BlockSize == 0 {
		o.BlockSize = 1 << 20
	}
	if o.Blocks == 0 {
		o.Blocks = 64
	}
	if o.Retire == 0 {
		o.Retire = 50 * time.Millisecond
	}
}
