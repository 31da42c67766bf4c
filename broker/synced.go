//go:build !broken_unsynced

package broker

// unsynced breaks what the promise stands on. A build with the tag
// broken_unsynced has it, for the test that a power cut is seen.
const unsynced = false
