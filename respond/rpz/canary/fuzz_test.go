package canary

import (
	"testing"

	"sakimori/base/wire/dns"
)

// FuzzAnswer reads any message as an answer, and judges it, without harm.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x01\x01a\x00\x00\x10\x00\x01\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x05\x00\x02\x017\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x08\x00\x0f\x00\x04\x00\x0fok"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m dns.Message
		if m.Read(raw) != nil {
			return
		}
		a, err := read(&m)
		if v, _, _ := judge(a, err, "sakimori"); err != nil && v != Silence {
			t.Errorf("%s for what can't be read", v)
		}
	})
}
