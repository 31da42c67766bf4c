// Package storm runs the programs as built, as processes of their own, kills
// them, and compares three books to see whether the promise was kept: what was
// acknowledged to producers, what the relay accepted (its own book, synced before
// each reply), and which recipients were dead-lettered.
//
// It is for tests; nothing that is shipped imports it.
package storm
