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

// TestTooManySessions: a number that no machine bears is refused, not tried.
func TestTooManySessions(t *testing.T) {
	t.Parallel()
	if _, errs := ReadSettings([]string{"SMTP_MAX_SESSIONS=99999999"}); len(errs) != 1 || errs[0].Error() != "SMTP_MAX_SESSIONS: is 99999999, must be 1 to 4096" {
		t.Error(errs)
	}
	s := &Settings{}
	for sessions, refused := range map[int]bool{10: false, 800: false, 1000: true} {
		s.SMTP.MaxSessions = sessions
		if err := s.checkFiles(1024); (err != nil) != refused || refused && !strings.Contains(err.Error(), "at most 824") {
			t.Errorf("%d: %v", sessions, err)
		}
	}
}

// TestAddressIsChecked: before it is used, and without quoting it.
func TestAddressIsChecked(t *testing.T) {
	t.Parallel()
	for _, set := range []string{"POSTRIDER_ADMIN=127.0.0.1:99999", "POSTRIDER_ADMIN=u:SECRET@127.0.0.1:8026", "NATS_LISTEN=127.0.0.1:SECRET"} {
		if _, errs := ReadSettings([]string{set}); len(errs) != 1 || strings.Contains(errs[0].Error(), "SECRET") {
			t.Errorf("%s: %v", set, errs)
		}
	}
}
