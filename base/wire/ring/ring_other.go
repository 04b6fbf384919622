//go:build !linux

package ring

import (
	"context"

	"sakimori/base/wire/packet"
)

// Ring exists on Linux only.
type Ring struct{}

func unsupported() error {
	return &Error{
		Reason:   "only Linux has packet rings; capture with tcpdump and import the file or pipe",
		ReasonJA: "ライブ取得は Linux だけで使えます。tcpdump で取得し、ファイルかパイプから取り込んでください",
	}
}

// Open answers that this system has no packet rings.
func Open(Options) ([]*Ring, error) { return nil, unsupported() }

// ReadBlock answers that this system has no packet rings.
func (*Ring) ReadBlock(context.Context, *packet.Block) error { return unsupported() }

// Stats are all 0.
func (*Ring) Stats() (received, dropped, freezes uint64) { return 0, 0, 0 }

// Close does nothing.
func (*Ring) Close() error { return nil }
