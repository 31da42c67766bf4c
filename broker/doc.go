// Package broker owns everything between Postrider and NATS JetStream: the
// connection, the embedded server, the streams and consumers and their
// upgrade, and publishing.
//
// The order of use is [StartEmbedded] and [Embedded.Connect] (one machine) or
// [Dial] (a broker elsewhere), then [Provision], then the methods of [Conn].
//
// What an acknowledged publish promises is kept by synced writes (as the
// embedded broker does them) or by replicas that do not lose power together;
// [Provision] warns where it finds neither.
//
// It takes no messages and settles none: that is package consumer's. It never
// deletes a stream or a consumer.
package broker
