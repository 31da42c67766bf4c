//go:build !night_off

package journal

import "time"

// BriefTTL is how long a record lives that answers for nothing any more: long
// enough for every late redelivery but those after a long stop of everything,
// which ask MAIL_EVENT.
const BriefTTL = 10 * time.Minute
