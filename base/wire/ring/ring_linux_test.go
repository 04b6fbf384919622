package ring_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sakimori/base/wire/packet"
	"sakimori/base/wire/ring"
)

// inNamespace runs f in a network namespace of its own with a pair of virtual
// Ethernet cards, left and right, joined by a wire. The namespace goes away with
// the thread. Only root may make one.
func inNamespace(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("live capture can only be tested as root")
		}
		t.Skip("SKIPPED, NOT TESTED: live capture can only be tested as root")
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Errorf("network namespace: %v", err)
			return
		}
		for _, args := range []string{
			"link add left type veth peer name right", "link set lo up", "link set left up", "link set right up",
		} {
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				t.Errorf("ip %s: %v %s (apt-get install iproute2)", args, err, out)
				return
			}
		}
		f(t)
	}()
	<-done
}

const knock = 0x5341 // the destination port of the test's own packets

// datagram is a UDP frame number n, of one of 1,000 flows, with a VLAN tag if
// vlan isn't 0.
func datagram(n uint32, vlan uint16) []byte {
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	if vlan != 0 {
		b = append(b, 0x81, 0, byte(vlan>>8), byte(vlan))
	}
	b = append(b, 8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2)
	b = binary.BigEndian.AppendUint16(b, uint16(1024+n%1000))
	b = binary.BigEndian.AppendUint16(b, knock)
	b = append(b, 0, 26, 0, 0)
	b = binary.BigEndian.AppendUint32(b, n)
	return append(b, make([]byte, 14)...)
}

// send puts frames 0 to n-1 on the wire.
func send(t *testing.T, n uint32, vlan uint16) {
	t.Helper()
	face, err := net.InterfaceByName("left")
	if err != nil {
		t.Error(err)
		return
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer unix.Close(fd)
	to := unix.SockaddrLinklayer{Ifindex: face.Index, Halen: 6}
	for i := range n {
		if err := unix.Sendto(fd, datagram(i, vlan), 0, &to); err != nil {
			t.Errorf("frame %d: %v", i, err)
			return
		}
	}
}

// collect reads a ring until ctx is done or enough says so, and returns the
// numbers of the test's own packets, calling each for their frames.
func collect(ctx context.Context, t *testing.T, r *ring.Ring, each func(f packet.Frame, data []byte) (enough bool)) (numbers []uint32) {
	var b packet.Block
	var d packet.Decoder
	var p packet.Packet
	for {
		if err := r.ReadBlock(ctx, &b); err != nil {
			if !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
			return numbers
		}
		enough := false
		for i, f := range b.Frames {
			data := b.Bytes(i)
			if d.Decode(f.Link, data, f.Orig, &p) != packet.OK || p.DstPort != knock {
				continue // the kernel's own neighbour discovery
			}
			if len(p.Payload) >= 4 {
				numbers = append(numbers, binary.BigEndian.Uint32(p.Payload))
			}
			enough = each(f, data)
		}
		if enough {
			return numbers
		}
	}
}

// TestNothingIsLost sends 20,000 packets of 1,000 flows over the wire to three
// rings: each packet arrives once, each flow at one ring, and none is dropped.
func TestNothingIsLost(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		const n, members = 20000, 3
		rings, err := ring.Open(ring.Options{Interface: "right", Fanout: members, Promisc: true, InboundOnly: true, Blocks: 8})
		if err != nil {
			t.Error(err)
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		var mu sync.Mutex
		var wait sync.WaitGroup
		seen, owner, total := make([]int, n), map[uint32]int{}, 0
		start := time.Now().UnixNano()
		for i, r := range rings {
			wait.Go(func() {
				numbers := collect(ctx, t, r, func(f packet.Frame, _ []byte) bool {
					mu.Lock()
					defer mu.Unlock()
					if total++; total == n {
						cancel()
					}
					if f.Time < start || f.Time > time.Now().UnixNano() || f.Len != 60 || f.Orig != 60 || f.Link != packet.LinkEthernet {
						t.Errorf("frame %+v at %d", f, start)
					}
					return false
				})
				mu.Lock()
				defer mu.Unlock()
				for _, k := range numbers {
					seen[k]++
					if before, ok := owner[k%1000]; ok && before != i {
						t.Errorf("flow %d reached rings %d and %d", k%1000, before, i)
					}
					owner[k%1000] = i
				}
			})
		}
		send(t, n, 0)
		wait.Wait()
		if total != n {
			t.Errorf("%d of %d packets arrived", total, n)
		}
		for k, times := range seen {
			if times != 1 {
				t.Errorf("packet %d arrived %d times", k, times)
				break
			}
		}
		busy := map[int]int{}
		for _, i := range owner {
			busy[i]++
		}
		if len(busy) != members {
			t.Errorf("flows at the rings: %v", busy)
		}
		for i, r := range rings {
			received, dropped, freezes := r.Stats()
			if dropped != 0 || freezes != 0 || received == 0 {
				t.Errorf("ring %d: %d received, %d dropped, %d freezes", i, received, dropped, freezes)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if err := r.ReadBlock(context.Background(), new(packet.Block)); !errors.Is(err, os.ErrClosed) {
				t.Errorf("reading a closed ring: %v", err)
			}
			if again, _, _ := r.Stats(); again < received {
				t.Errorf("ring %d forgot its counts: %d, then %d", i, received, again)
			}
		}
	})
}

// TestDropsAreCounted lets a ring overflow: what was read and what the kernel
// counts as dropped add up to what was sent.
func TestDropsAreCounted(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		const n = 20000
		rings, err := ring.Open(ring.Options{Interface: "right", InboundOnly: true, BlockSize: 1 << 17, Blocks: 2})
		if err != nil {
			t.Error(err)
			return
		}
		defer rings[0].Close()
		send(t, n, 0) // more than 256 KiB
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		collect(ctx, t, rings[0], func(packet.Frame, []byte) bool { return false })
		received, dropped, _ := rings[0].Stats()
		if dropped == 0 || received+dropped < n {
			t.Errorf("%d received, %d dropped of %d", received, dropped, n)
		}
	})
}

// TestTagsAndSnapLength: a VLAN tag that the kernel takes off comes back in its
// place, and a frame is cut where it was asked.
func TestTagsAndSnapLength(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		for _, vlan := range []uint16{0, 0x2007} {
			whole := datagram(0, vlan)
			for _, snaplen := range []int{0, 50} {
				rings, err := ring.Open(ring.Options{Interface: "right", Snaplen: snaplen, Promisc: true})
				if err != nil {
					t.Error(err)
					return
				}
				send(t, 1, vlan)
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				found := false
				collect(ctx, t, rings[0], func(f packet.Frame, data []byte) bool {
					found = true
					want := whole
					if snaplen > 0 {
						want = whole[:snaplen+len(whole)-60] // the kernel cuts before the tag is put back
					}
					if !bytes.Equal(data, want) || int(f.Orig) != len(whole) {
						t.Errorf("tag %x, snapshot %d: %d of %d bytes, want %d of %d", vlan, snaplen, len(data), f.Orig, len(want), len(whole))
					}
					return true
				})
				cancel()
				rings[0].Close()
				if !found {
					t.Errorf("tag %x, snapshot %d: nothing arrived", vlan, snaplen)
				}
			}
		}
	})
}

// TestLoopback: each packet is seen as it is sent and as it arrives, and once
// when only what arrives is asked for.
func TestLoopback(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		for _, inbound := range []bool{false, true} {
			rings, err := ring.Open(ring.Options{Interface: "lo", InboundOnly: inbound})
			if err != nil {
				t.Error(err)
				return
			}
			out, err := net.Dial("udp4", fmt.Sprintf("127.0.0.1:%d", knock))
			if err != nil {
				t.Error(err)
				return
			}
			const n = 100
			for range n {
				_, _ = out.Write([]byte("knock")) // nobody listens: every other write says so
			}
			out.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
			got := len(collect(ctx, t, rings[0], func(packet.Frame, []byte) bool { return false }))
			cancel()
			rings[0].Close()
			if low, high := n/2, n; inbound && (got < low || got > high) || !inbound && (got < 2*low || got > 2*high || got%2 != 0) {
				t.Errorf("inbound only %v: %d packets", inbound, got)
			}
		}
	})
}

// TestOneCapabilityIsEnough drops every privilege but CAP_NET_RAW, then all.
func TestOneCapabilityIsEnough(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		keep := func(effective uint32) {
			header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			data := [2]unix.CapUserData{{Effective: effective, Permitted: effective}}
			if err := unix.Capset(&header, &data[0]); err != nil {
				t.Error(err)
			}
		}
		keep(1 << unix.CAP_NET_RAW)
		rings, err := ring.Open(ring.Options{Interface: "right", Fanout: 2, Promisc: true})
		if err != nil {
			t.Errorf("with CAP_NET_RAW: %v", err)
		}
		for _, r := range rings {
			r.Close()
		}
		keep(0)
		_, err = ring.Open(ring.Options{Interface: "right"})
		var said *ring.Error
		if !errors.As(err, &said) || !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_RAW") || said.JA() == "" {
			t.Errorf("without any: %v", err)
		}
	})
}

// TestInterfaceGoesAway: a capture whose interface is taken down says so.
func TestInterfaceGoesAway(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		rings, err := ring.Open(ring.Options{Interface: "right"})
		if err != nil {
			t.Error(err)
			return
		}
		defer rings[0].Close()
		if out, err := exec.Command("ip", "link", "set", "right", "down").CombinedOutput(); err != nil {
			t.Errorf("%v %s", err, out)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		var b packet.Block
		for err == nil {
			err = rings[0].ReadBlock(ctx, &b)
		}
		if !errors.Is(err, unix.ENETDOWN) {
			t.Errorf("%v, want ENETDOWN", err)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]ring.Options{
		"no interface": {Interface: "no-such-card"}, "fanout": {Interface: "lo", Fanout: -1},
		"block size": {Interface: "lo", BlockSize: 5000}, "blocks": {Interface: "lo", Blocks: 1},
		"together": {Interface: "lo", Blocks: 1 << 16}, "snaplen": {Interface: "lo", Snaplen: -1},
		"retire": {Interface: "lo", Retire: time.Hour},
	} {
		var said *ring.Error
		if _, err := ring.Open(o); !errors.As(err, &said) || said.Reason == "" || said.JA() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
