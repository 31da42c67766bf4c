package app

import (
	"errors"
	"strings"
	"testing"
)

// TestUnknownSetting: a worker does not start with a setting that it would not
// heed.
func TestUnknownSetting(t *testing.T) {
	t.Parallel()
	_, errs := ReadSettings([]string{"SMTP_HOST=relay.example", "POSTRIDER_MAX_ATTEMPTS=0", "POSTRIDER_LOGLEVEL=debug"})
	all := errors.Join(errs...).Error()
	for _, want := range []string{"SMTP_HOST: unknown setting; use SMTP_URL", "POSTRIDER_LOGLEVEL: unknown setting; use POSTRIDER_LOG_LEVEL", "POSTRIDER_MAX_ATTEMPTS: is 0"} {
		if len(errs) != 3 || !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
}

// TestDurationsAreReportedAsTheyAreSet: with days.
func TestDurationsAreReportedAsTheyAreSet(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		"POSTRIDER_MAX_AGE=-5d": "POSTRIDER_MAX_AGE: is -5d, must be at least 1s", "POSTRIDER_RETRY_AFTER=-1d12h": "POSTRIDER_RETRY_AFTER: -1d12h is below 100ms",
		"POSTRIDER_ACK_WAIT=-2m": "POSTRIDER_ACK_WAIT: is -2m, must be at least 1s", "POSTRIDER_DRAIN=-1h": "POSTRIDER_DRAIN: is -1h, must be at least 1s",
		"SMTP_PAUSE_MIN=2d": "SMTP_PAUSE_MAX: is 1m, less than SMTP_PAUSE_MIN (2d)", "SMTP_SESSION_AGE=-1d": "SMTP_SESSION_AGE: is -1d, must be positive",
	} {
		if _, errs := ReadSettings([]string{set}); len(errs) != 1 || errs[0].Error() != want {
			t.Errorf("%s: %v, want %s", set, errs, want)
		}
	}
}
