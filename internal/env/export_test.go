package env

// Known are the names of all settings.
var Known = known
