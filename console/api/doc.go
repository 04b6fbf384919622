// Package api is the HTTP API of the console: it answers questions about what
// was observed and found, as JSON or CSV, and streams what happens now.
//
// It shows and does nothing else. What it shows comes through the ports in
// deps.go, which cmd fills. Three rules hold for every route, and a test walks
// all routes for each: it has a least role in one table (roles.go), an own
// subscriber's address never leaves unmasked (mask.go), and an error explains
// itself in Japanese or English (problem.go, RFC 9457).
package api
