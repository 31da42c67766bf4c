// Package fleet holds tests of Postrider as many machines run it: three brokers
// in a cluster, workers and a relay, each in a container of its own, with
// networks between them that are cut. The books and the checker are those of
// package storm.
//
//	routes   brokers with each other
//	front    brokers and workers
//	out      workers and the relay
//	admin    published ports: brokers for the test, probes of the workers
//
// Only admin leads out of the engine. On it nobody knows a name of anybody, so
// that who is cut off from one of the others finds no other way.
//
// The workers' image is the one that ships: "make context" fills its directory.
//
// Without a container engine the tests are skipped, or fail where
// POSTRIDER_TEST_CONTAINERS is set.
package fleet
