// Package console is the room in which people meet the house: the HTTP API
// (console/api), the pages built on it (console/web), and the register of those
// who may come in (console/people). Their nouns are here: User, Token and Roles.
//
// None of the three knows another. The API serves whatever files it is handed
// and asks ports of its own who somebody is, the pages speak to the API over HTTP
// as any other program would, and cmd joins them. The API shows what the rooms up the stream have written down
// and starts no act; an own subscriber's address never leaves it unmasked.
package console

// Address is where the console listens unless told otherwise: on this machine
// alone.
const Address = "127.0.0.1:8630"
