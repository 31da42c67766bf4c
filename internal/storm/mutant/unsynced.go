package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postrider/postrider/broker"
)

// unsynced starts a NATS server in the place of the embedded broker, if the worker is
// to have one. It answers before a write is on the disk.
func unsynced(cfg *broker.Config) (stop func(), err error) {
	if cfg.URL != "" {
		return func() {}, nil
	}
	host, text, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, err
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "unsynced", Host: host, Port: port, NoSigs: true, NoLog: true, MaxPayload: 8 << 20,
		JetStream: true, StoreDir: filepath.Join(cfg.DataDir, "unsynced"), SyncAlways: false,
	})
	if err != nil {
		return nil, fmt.Errorf("configure the broker: %w", err)
	}
	s.Start()
	stop = func() {
		s.Shutdown()
		s.WaitForShutdown()
	}
	if !s.ReadyForConnections(time.Minute) {
		stop()
		return nil, errors.New("the broker does not become ready")
	}
	cfg.URL = "nats://" + cfg.Listen
	return stop, nil
}
