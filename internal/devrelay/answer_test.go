package devrelay

import (
	"fmt"
	"testing"
)

// TestAnswer closes over every local part of three digits.
func TestAnswer(t *testing.T) {
	t.Parallel()
	for code := range 1000 {
		address := fmt.Sprintf("%03d@example.com", code)
		got := answer(address)
		kind := code / 100
		if want := kind == 4 || kind == 5; (got != nil) != want {
			t.Fatalf("%s: %v", address, got)
		}
		if got != nil && (got.Code != code || got.EnhancedCode[0] != kind) {
			t.Fatalf("%s: reply %d %v", address, got.Code, got.EnhancedCode)
		}
	}
	for _, address := range []string{"", "550", "@550", "5500@example.com", "55@example.com", "x550@example.com", "550+x@example.com", "٥٥٠@example.com", "5é@example.com", "b@550"} {
		if got := answer(address); got != nil {
			t.Errorf("%q is refused: %v", address, got)
		}
	}
}

func TestEnhancedCodesSayTheSameAsTheirCodes(t *testing.T) {
	t.Parallel()
	for code, e := range enhanced {
		if int(code[0]-'0') != e[0] {
			t.Errorf("%s goes with %v", code, e)
		}
	}
}

func TestIsSlow(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"slow@example.com": true, "SLOW@x": true, "slowly@x": false, "slow": false, "a@slow": false,
	} {
		if got := isSlow(address); got != want {
			t.Errorf("isSlow(%q) = %v", address, got)
		}
	}
}
