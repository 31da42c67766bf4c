package schema

import (
	"fmt"
	"regexp"

	"github.com/postrider/postrider/mail"
)

var nameForm = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// ValidateName reports why s cannot be the name of a lane, a relay or a tenant.
func ValidateName(s string) error {
	if !nameForm.MatchString(s) {
		return fmt.Errorf("%q must be 1 to 32 of a-z, 0-9 and \"-\"", mail.Cut(s, 80))
	}
	return nil
}

// CheckTenant reports, as an [*EnvelopeError], that the envelope's tenant is not
// the one in the subject; subject is empty if there is none. A tenant counts only
// if the subject has it, because NATS permissions are by subject.
func (e *Envelope) CheckTenant(subject string) error {
	switch {
	case subject != "" && ValidateName(subject) != nil:
		return badField("subject", "%v", ValidateName(subject))
	case e.Tenant == "" || e.Tenant == subject:
		return nil
	case subject == "":
		return badField("tenant", "is %q, but the subject names no tenant: publish to mail.send.<lane>.%s", e.Tenant, e.Tenant)
	}
	return badField("tenant", "is %q, but the subject names %q", e.Tenant, subject)
}
