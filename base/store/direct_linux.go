package store

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// directFrom is how large data are, in bytes, that go to the disk past the page
// cache: the copy costs more than all the rest of writing, and nobody reads them
// before the next start.
const directFrom = 16 << 20

// writeDirect writes what it can of data past the page cache, and tells how much
// that was: 0 where the file system doesn't have it.
func writeDirect(f *os.File, data []byte) (done int) {
	const page = 4096
	whole := len(data) / page * page
	if whole < directFrom || uintptr(unsafe.Pointer(&data[0]))%page != 0 { //nolint:gosec // only looks at the address
		return 0
	}
	c, err := f.SyscallConn()
	if err != nil {
		return 0
	}
	_ = c.Control(func(fd uintptr) { // the file is open
		flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
		if err != nil {
			return
		}
		if _, err := unix.FcntlInt(fd, unix.F_SETFL, flags|unix.O_DIRECT); err != nil {
			return
		}
		for done < whole {
			n, err := unix.Write(int(fd), data[done:min(done+directFrom, whole)])
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil || n <= 0 {
				break // the usual way goes on from here, or says what is wrong
			}
			done += n
		}
		_, _ = unix.FcntlInt(fd, unix.F_SETFL, flags) // as it was: can't fail where the other didn't
	})
	return done
}
