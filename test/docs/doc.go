// Package docs holds the pages for people to what the house can do: the
// commands they show exist, the links lead somewhere, and both languages say
// the same.
package docs
