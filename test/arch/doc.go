// Package arch holds the house in shape: its tests read the sources, in this
// process so that the test cache notices every change, and refuse what the
// rules of ARCHITECTURE.md forbid.
package arch
