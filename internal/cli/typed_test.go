package cli

import "testing"

// TestTyped: what the worker tells people to type works in their directory.
func TestTyped(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ self, arg0, want string }{
		{"/x/bin/worker", "worker", "publish"},
		{"/x/bin/worker", "./worker", "./publish"},
		{"/x/bin/worker", "bin/worker", "bin/publish"},
		{"/x/bin/worker", "/x/bin/worker", "/x/bin/publish"},
		{"/tmp/go-build123/b001/exe/worker", "/tmp/go-build123/b001/exe/worker", "go run ./cmd/publish"},
	} {
		if got := typedAs(c.self, nil, c.arg0, "publish"); got != c.want {
			t.Errorf("started as %s: %q, want %q", c.arg0, got, c.want)
		}
	}
}
