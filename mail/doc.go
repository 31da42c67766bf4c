// Package mail is the vocabulary that all other packages share: addresses, the
// header of a message, the message and the outcome of a transaction with a relay,
// the classes of replies and the reasons of dead letters, and helpers for text.
//
// It knows nothing of NATS, of the envelope or of what is stored, and imports
// none of our packages.
package mail
