package cnc_test

import (
	"io"
	"strings"
)

func lines(l ...string) io.Reader { return strings.NewReader(strings.Join(l, "\n")) }
