// Package pages gives large tables their memory straight from the kernel.
//
// A table of millions of entries that is looked up at random pays twice on
// ordinary memory: every 4 KiB is faulted in by itself, and every look-up misses
// the processor's table of pages. So a Span is reserved whole, costs nothing
// until it is touched, and then comes in pages of 2 MiB where the kernel has
// them (Linux: transparent_hugepage "madvise" or "always").
package pages

import (
	"reflect"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Huge is the size of a large page.
const Huge = 2 << 20

// Span is memory for values of T. It is given back when the Span itself is no
// longer reachable: whoever keeps a pointer into All keeps the Span too.
type Span[T any] struct {
	All []T // all zero at first
}

// Reserve makes a span of n values, which must hold no pointers. The first 2 MiB
// come in small pages, so that a small table stays small. Where the kernel
// refuses, the memory is Go's own.
func Reserve[T any](n int) *Span[T] {
	if pointers(reflect.TypeFor[T]()) {
		panic("pages: values with pointers would be hidden from the garbage collector")
	}
	if n == 0 {
		return &Span[T]{}
	}
	size := uintptr(n) * unsafe.Sizeof(*new(T))
	base, err := unix.MmapPtr(-1, 0, nil, size+Huge, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return &Span[T]{make([]T, n)}
	}
	at := unsafe.Add(base, -uintptr(base)&(Huge-1))
	if size > Huge {
		// Advice: without it the table works, only slower.
		_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Add(at, Huge)), size-Huge), unix.MADV_HUGEPAGE) //nolint:gosec // within the mapping
	}
	s := &Span[T]{unsafe.Slice((*T)(at), n)} //nolint:gosec // within the mapping
	runtime.AddCleanup(s, func(base unsafe.Pointer) {
		_ = unix.MunmapPtr(base, size+Huge) // the whole of the mapping: it can't fail
	}, base)
	return s
}

// Make makes a slice of n values, which must hold no pointers, of Go's own memory,
// but in large pages as far as it hasn't been used before. It needs nobody to
// hold on to it; a Span is for what stays.
func Make[T any](n int) []T {
	s := make([]T, n)
	if size := uintptr(n) * unsafe.Sizeof(*new(T)); size >= 2*Huge && !pointers(reflect.TypeFor[T]()) {
		at := unsafe.Pointer(unsafe.SliceData(s)) //nolint:gosec // only asked where it is
		skip := -uintptr(at) & (Huge - 1)
		// Advice, as above.
		_ = unix.Madvise(unsafe.Slice((*byte)(unsafe.Add(at, skip)), (size-skip)&^(Huge-1)), unix.MADV_HUGEPAGE) //nolint:gosec // within the slice
	}
	return s
}

func pointers(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return pointers(t.Elem())
	case reflect.Struct:
		for f := range t.Fields() {
			if pointers(f.Type) {
				return true
			}
		}
		return false
	}
	return t.Kind() < reflect.Bool || t.Kind() > reflect.Complex128
}
