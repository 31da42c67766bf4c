package broker

// This file has nothing but these constants, so that the test of an upgrade can
// replace it by one of a newer Postrider.
const (
	// settingsVersion is raised with every change to the streams' settings.
	settingsVersion = 2
	// deadFor is how long a dead letter is kept.
	deadFor = 90 * day
)
