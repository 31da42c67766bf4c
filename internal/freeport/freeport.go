// Package freeport gives tests ports that stay free until they are used, and
// between a stop and the start that follows: they are below those that the
// kernel gives to outgoing connections (on Linux from 32768 on), so that no
// connection of another test takes one.
//
// What is started once, and tells its port, listens on port 0 instead.
package freeport

import (
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

const (
	first = 20000
	last  = 31999
)

// The tests of several packages run side by side, each in its own process:
// chance keeps them apart, given those in this one.
var (
	mu    sync.Mutex
	given = map[int]bool{}
)

// Port is one that nobody listens on, never the same twice in a process. It
// panics where none is left.
func Port() int {
	mu.Lock()
	defer mu.Unlock()
	for range last - first {
		port := first + rand.IntN(last-first+1)
		if !given[port] && free(port) {
			given[port] = true
			return port
		}
	}
	panic("freeport: no port from 20000 to 31999 is free")
}

// Addr is such a port of 127.0.0.1.
func Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(Port())) }

// free reports that nobody listens there, on whatever address of this machine.
func free(port int) bool {
	l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
