// Package console is the room in which people meet the house: the HTTP API
// (console/api) and the pages built on it (console/web).
//
// Neither of the two knows the other. The API serves whatever files it is
// handed, the pages speak to the API over HTTP as any other program would, and
// cmd joins them. The API shows what the rooms up the stream have written down
// and starts no act; an own subscriber's address never leaves it unmasked.
package console

// Address is where the console listens unless told otherwise: on this machine
// alone.
const Address = "127.0.0.1:8630"
