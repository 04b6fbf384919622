// Package gates measures the detectors: every labelled scene of the simulator
// goes through the real binary, and what it says is compared with the truth.
// The test fails below precision 0.99 or recall 0.95 of any detector, and keeps
// the table in docs/gates.md (go test ./test/gates -update). The flow scenes go through
// collector and detector of floods alone, for docs/gates-ddos.md; the route scenes, and
// recorded files, through table and detector of leaks, for docs/gates-leak.md.
package gates
