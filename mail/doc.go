// Package mail is the vocabulary that all other packages share: addresses, the
// message that a relay is given and its outcome for each recipient, why mail is
// dead-lettered, and helpers for texts. It knows neither NATS nor JSON and does no
// input or output.
package mail
