//go:build newer

package broker

const (
	settingsVersion = 3
	deadFor         = 91 * day
)
