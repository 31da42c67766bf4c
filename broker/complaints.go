package broker

import (
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

// complaints logs what the broker reports apart from any answer. One goroutine of
// nats.go calls report.
type complaints struct {
	log *slog.Logger
	// variables are those that the credential comes from.
	variables string
	reported  time.Time
	// denied is the last refusal of a subject, and when it was logged.
	denied   string
	deniedAt time.Time
}

// deniedReport: what is not permitted is tried again and again.
const deniedReport = 10 * time.Minute

// report logs an error. Refused credentials come twice a second, and are logged every
// dialReport; the same refusal of a subject is logged every deniedReport.
func (c *complaints) report(_ *nats.Conn, _ *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrPermissionViolation) {
		if err.Error() == c.denied && time.Since(c.deniedAt) < deniedReport {
			return
		}
		c.denied, c.deniedAt = err.Error(), time.Now()
	}
	if !unauthorized(err) {
		c.log.Warn("the broker reports an error", "error", err)
		return
	}
	if time.Since(c.reported) < dialReport {
		return
	}
	c.reported = time.Now()
	c.log.Warn("the broker refuses the credential: check "+c.variables+"; trying again: a file that changes is read without a restart", "error", err)
}

// unauthorized reports that the server refuses the credential.
func unauthorized(err error) bool {
	return errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked)
}
