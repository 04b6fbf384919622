//go:build amd64 || arm64

package pages

// prefetch asks for the lines of the cache that hold n places.
//
//go:noescape
func prefetch(at *uintptr, n int)

func fetch(at *uintptr, n int) { prefetch(at, n) }
