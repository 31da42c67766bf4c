//go:build !broken_ack_first

package fleet

// workerTags are the build tags of the workers.
const workerTags = ""
