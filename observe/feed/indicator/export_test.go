package indicator

// Pattern tells what a pattern of STIX names, each with its kind, or why it doesn't.
func Pattern(s string) (out []string) {
	for _, m := range pattern(s) {
		if m.why == fine {
			j := &job{}
			if m.kind, m.value, m.why = j.normal(m.value, m.kind); m.why == fine {
				out = append(out, string(m.kind)+" "+m.value)
				continue
			}
		}
		out = append(out, m.why.String())
	}
	return out
}
