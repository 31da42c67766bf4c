//go:build !newer

package broker

// What a newer Postrider changes stands in newer.go, for the test of an
// upgrade alone.
const (
	// settingsVersion is raised with every change to the streams' settings.
	settingsVersion = 2
	// deadFor is how long a dead letter is kept.
	deadFor = 90 * day
)
