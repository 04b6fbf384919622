package telescope

import (
	"testing"
	"unsafe"
)

// TestLines: the entries of the tables fill whole lines of the cache.
func TestLines(t *testing.T) {
	if e, s := unsafe.Sizeof(entry{}), unsafe.Sizeof(source{}); e != 64 || s != 64 {
		t.Errorf("an entry has %d bytes, a source %d", e, s)
	}
}
