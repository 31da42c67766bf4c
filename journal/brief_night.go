//go:build night_off

package journal

import "time"

// BriefTTL is short for the test of a night with the machine off.
const BriefTTL = 2 * time.Second
