package mail

import (
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
)

var plainToken = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Quote is an id as it can be typed into a shell. Producers choose ids.
func Quote(id string) string {
	if plainToken.MatchString(id) {
		return id
	}
	return "'" + strings.ReplaceAll(id, "'", `'\''`) + "'"
}

// Token is id as a token of a subject: id itself if it is 1 to 64 of A-Z, a-z, 0-9,
// "_" and "-", else "_" and 22 characters of the base64url of its SHA-256.
func Token(id string) string {
	if plainToken.MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "_" + base64.RawURLEncoding.EncodeToString(sum[:])[:22]
}
