//go:build broken_unsynced

package broker

const unsynced = true
