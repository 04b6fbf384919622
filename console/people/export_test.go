package people

// StateOf is the state that goes with a browser's secret.
func StateOf(secret string) string { return derived(secret, "state") }
