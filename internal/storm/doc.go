// Package storm runs the programs as built, as processes of their own, kills
// them, and holds the promise against three books: what was acknowledged to
// producers, what the relay accepted (its own, synced before it replied), and
// what lies dead.
//
// It is for tests; nothing that is shipped imports it.
package storm
