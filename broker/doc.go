// Package broker connects to NATS JetStream, with the credential that the
// settings name, and provisions it: it makes the streams and consumers, upgrades
// them, and compares them with what they must be.
//
// The order of use is [Dial], or for the broker in the process its package
// embedded, then [Provision], then the methods of [Conn].
//
// The promise of an acknowledged publish rests on synced writes, as the embedded
// broker does them, or on replicas that do not lose power together. [Provision]
// warns if it finds neither.
//
// It reads and writes no messages: packages stream and submit do. It takes no
// deliveries: package consumer does. It never deletes a stream or a consumer.
package broker
