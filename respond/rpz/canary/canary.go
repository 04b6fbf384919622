// Package canary proves on every resolver what the policy zones promise: synthetic clients, of
// whom some declined, ask for names that nobody else asks for.
package canary
