package publish

import (
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/mail"
)

// recipients reads the addresses of a flag that may be repeated; each value may have
// several, with commas between them.
func recipients(flag string, values []string) ([]mail.Address, error) {
	var all []mail.Address
	for _, value := range values {
		parts := mail.SplitList(value)
		if len(parts) == 0 {
			return nil, cli.Failf(cli.Data, "%s: %q has no address", flag, value)
		}
		for _, part := range parts {
			a, err := mail.ParseAddress(part)
			if err == nil && len(parts) > 1 {
				err = mail.ValidateAddrSpec(a.Email)
			}
			if err != nil && len(parts) > 1 {
				return nil, cli.Failf(cli.Data, "%s: %w; a name with a comma must be in quotes, like \"Doe, Ann\" <ann@example.net>", flag, err)
			}
			if err != nil {
				return nil, cli.Failf(cli.Data, "%s: %w", flag, err)
			}
			all = append(all, a)
		}
	}
	return all, nil
}
