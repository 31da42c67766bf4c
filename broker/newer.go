//go:build newer

package broker

const (
	settingsVersion = 2
	deadFor         = 91 * day
)
