package doctor

import "github.com/postrider/postrider/queue"

// What to do, if it depends on who runs the broker.
const (
	upgrade       = "upgrade the NATS server"
	provision     = "restart a worker, or for a broker at NATS_URL run: postrider provision"
	provisionWait = "change it for all: postrider provision"
	openSource    = "see that MAIL_RECORD is there, and look at the broker's log; a restart of the server that leads MAIL_EVENT opens the source again"
	wakeSchedules = "a worker publishes them again within a few minutes, after which they fire: start one; if they stay, restart the broker, or in a cluster the server that leads that stream"
	readAgain     = "run postrider doctor again; if it stays so, look at the broker's log"
)

// fitting is the same for an embedded broker, which has no cluster and no account of
// others.
var fitting = map[string]string{
	upgrade:            "upgrade the worker: the broker is a part of it",
	queue.MakeRoom:     "make room on the disk of POSTRIDER_DATA_DIR, and restart the worker",
	provision:          "restart a worker: it sets up its own broker",
	provisionWait:      "restart the worker with this POSTRIDER_ACK_WAIT",
	queue.StartWorker:  "look at the worker's log: it says what it waits for (relay …); POSTRIDER_LANES of the worker may lack the lane",
	queue.MoreSessions: "a higher SMTP_MAX_SESSIONS helps, if the relay allows it",
	openSource:         "see that MAIL_RECORD is there, and look at the worker's log; its restart opens the source again",
	wakeSchedules:      "the worker publishes them again within a few minutes, after which they fire; if they stay, restart it: the broker is a part of it",
	readAgain:          "run postrider doctor again; if it stays so, look at the worker's log",
}

// Fit changes what to do to what fits an embedded broker, if it is one.
func Fit(all []Finding, embedded bool) []Finding {
	for i, f := range all {
		if do := fitting[f.Do]; embedded && do != "" {
			all[i].Do = do
		}
	}
	return all
}
