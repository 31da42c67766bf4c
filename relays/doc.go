// Package relays reads the file of POSTRIDER_RELAYS: rules of the operator about what the
// replies of a relay mean. It says of everything that is wrong in which line and column it
// is, and reads the file again while it is used. Package smtp applies the rules.
package relays
