package doctor

import (
	"fmt"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/queue"
)

// Damage is what an embedded broker with that directory found wrong with its store on
// the last day. An empty directory is none.
func Damage(dir string) (all []Finding) {
	if dir == "" {
		return nil
	}
	damages, err := broker.Damages(dir)
	if err != nil {
		return []Finding{unread("store", dir, err)}
	}
	for _, d := range damages {
		all = append(all, Finding{
			Level: Problem, Check: "store", At: dir,
			Found: fmt.Sprintf("%s ago: %s", queue.Span(time.Since(d.At)), d.Found),
			Do:    "mail may be lost: see docs/troubleshooting.md, The store lost files; this is shown for a day, or until " + broker.DamageFile(dir) + " is removed",
		})
	}
	return all
}
