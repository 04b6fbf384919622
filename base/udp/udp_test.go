package udp_test

import (
	"net"
	"testing"
	"time"

	"sakimori/base/udp"
)

// TestDropped: what the kernel had no room for is told.
func TestDropped(t *testing.T) {
	if udp.Room == 0 {
		t.Skip("this system doesn't tell")
	}
	const sent = 2000
	s, err := udp.Listen(t.Context(), "127.0.0.1:0", 4096, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := net.Dial("udp", s.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range sent {
		if _, err := c.Write(make([]byte, 500)); err != nil {
			t.Fatal(err)
		}
	}
	read, told := 0, uint32(0)
	buffer, oob := make([]byte, 1000), make([]byte, udp.Room)
	next := func() bool {
		if err := s.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		_, n, _, _, err := s.ReadMsgUDPAddrPort(buffer, oob)
		if err != nil {
			return false
		}
		if d, is := udp.Dropped(oob[:n]); is {
			told = d
		}
		read++
		return true
	}
	for next() {
	}
	// The count comes with the next one that has room.
	if _, err := c.Write([]byte("x")); err != nil || !next() {
		t.Fatal("the last one didn't come", err)
	}
	if read == sent+1 || uint32(read)+told != sent+1 {
		t.Errorf("%d read and %d dropped of %d", read, told, sent+1)
	}
}

// TestShared: two sockets may have one address if both want to.
func TestShared(t *testing.T) {
	if !udp.Shares {
		t.Skip("not on this system")
	}
	a, err := udp.Listen(t.Context(), "127.0.0.1:0", 1<<16, true)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := udp.Listen(t.Context(), a.LocalAddr().String(), 1<<16, true)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if c, err := udp.Listen(t.Context(), a.LocalAddr().String(), 1<<16, false); err == nil {
		c.Close()
		t.Error("a third one took the address by itself")
	}
}

// TestBatch: many datagrams come and are answered at once, each to who sent it.
func TestBatch(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		s, err := udp.Listen(t.Context(), at, 1<<20, true)
		if err != nil {
			t.Skip("no such address here:", err)
		}
		defer s.Close()
		b, err := udp.NewBatch(s, 8, 64)
		if err != nil {
			t.Fatal(err)
		}
		var clients []net.Conn
		for range 20 {
			c, err := net.Dial("udp", s.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			clients = append(clients, c)
			if _, err := c.Write([]byte(c.LocalAddr().String())); err != nil {
				t.Fatal(err)
			}
		}
		for got := 0; got < len(clients); {
			n, err := b.Read()
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if string(b.Payload(i)) != b.From(i).String() {
					t.Errorf("%q came from %s", b.Payload(i), b.From(i))
				}
				if i%4 != 3 { // not everything is answered
					b.Answer(i, append(append(b.Room(i), "to "...), b.Payload(i)...))
				} else {
					b.Answer(i, append(b.Room(i), "no"...))
				}
			}
			if failed, err := b.Flush(); failed != 0 || err != nil {
				t.Fatal(failed, err)
			}
			got += n
		}
		buffer := make([]byte, 100)
		for _, c := range clients {
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			n, err := c.Read(buffer)
			if err != nil || string(buffer[:n]) != "no" && string(buffer[:n]) != "to "+c.LocalAddr().String() {
				t.Errorf("%s was told %q %v", c.LocalAddr(), buffer[:n], err)
			}
		}
		_ = s.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if n, err := b.Read(); err == nil {
			t.Errorf("%d datagrams of nobody", n)
		}
	}
}
