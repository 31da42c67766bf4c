package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/wire"
)

// damaged logs and keeps that mail may be lost.
func (e *Server) damaged(found string) {
	e.log.Error("the store of the embedded broker is damaged, and mail may be lost (docs/troubleshooting.md, The store lost files)", "found", found, "dir", e.cfg.DataDir)
	e.keepDamage(found)
}

// keepDamage keeps it for postrider status and doctor.
func (e *Server) keepDamage(found string) {
	e.keeping.Lock()
	defer e.keeping.Unlock()
	if err := broker.KeepDamage(e.cfg.DataDir, found); err != nil {
		e.log.Warn("postrider status will not show it", "error", err)
	}
}

// damageWords are in the server's warnings (2.15) of what it skips or cuts off when it
// reads the store. Its warnings of a stale or corrupt index are not among them: after
// a kill it makes that anew, of all messages.
var damageWords = []string{"corrupt record state", "indexCacheBuf corrupt", "loadBlock error", "Error loading msg"}

// missingBlock is its warning that the index of a stream has a block that is not there.
var missingBlock = regexp.MustCompile(`\[(.+)\] .*could not locate msg block (\d+)`)

// damage reports that a warning of the server is one of lost mail.
func damage(e *Server, warning string) bool {
	if m := missingBlock.FindStringSubmatch(warning); m != nil {
		block, err := strconv.Atoi(m[2])
		return err != nil || lostBlock(e, m[1], block)
	}
	return slices.ContainsFunc(damageWords, func(words string) bool { return strings.Contains(warning, words) })
}

// lostBlock reports that a block which is in the index and not on the disk was lost. The
// server writes the index about every two minutes and at a clean stop, and removes blocks
// whose messages are settled: after a kill the index may have some of these. A newer
// block is always there then, because the server begins one before it removes the last.
func lostBlock(e *Server, name string, block int) bool {
	if _, err := os.Stat(countsFile(e.cfg.DataDir)); err == nil {
		return true // it was a clean stop
	}
	entries, err := os.ReadDir(filepath.Join(e.streamsDir(), name, "msgs"))
	return err != nil || !slices.ContainsFunc(entries, func(entry os.DirEntry) bool {
		n, ok := blockNumber(entry.Name())
		return ok && n > block
	})
}

// count is what was in a stream at a clean stop.
type count struct {
	Messages uint64 `json:"messages"`
	Last     uint64 `json:"last"`
}

// countsFile has the counts of the last clean stop until the next start.
func countsFile(dir string) string { return filepath.Join(dir, "streams.json") }

// counts are those of all streams. Clients are disconnected first: what they settle
// meanwhile would be missed at the next start.
func (e *Server) counts() map[string]count {
	if conns, err := e.server.Connz(&server.ConnzOptions{Limit: 2 * maxProducers}); err == nil {
		for _, c := range conns.Conns {
			_ = e.server.DisconnectClientByID(c.Cid) // it may have gone
		}
	}
	all := map[string]count{}
	for name, state := range e.states() {
		all[name] = count{state.Msgs, state.LastSeq}
	}
	return all
}

// keepCounts is called at a clean stop.
func (e *Server) keepCounts(all map[string]count) error {
	if len(all) == 0 || errors.Is(e.Fault(), ErrLost) {
		return nil
	}
	b, err := json.Marshal(all)
	if err == nil {
		err = writeSecret(countsFile(e.cfg.DataDir), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("keep the counts of the streams: %w", err)
	}
	return nil
}

// compareCounts reports what is missing since a clean stop. Call it before anybody
// takes mail. After a kill there is nothing to compare with.
func (e *Server) compareCounts() error {
	b, err := os.ReadFile(countsFile(e.cfg.DataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var before map[string]count
	if err != nil || json.Unmarshal(b, &before) != nil {
		e.log.Warn("the counts of the last stop cannot be read: what is missing since is not noticed", "file", countsFile(e.cfg.DataDir), "error", err)
	}
	now := e.states()
	for _, name := range slices.Sorted(maps.Keys(before)) {
		if found := missingSince(name, before[name], now[name]); found != "" {
			e.damaged(found)
		}
	}
	// It must not be compared with after a kill.
	if err := os.Remove(countsFile(e.cfg.DataDir)); err != nil {
		return fmt.Errorf("remove the counts of the last stop: %w", err)
	}
	return nil
}

// missingSince says what a stream lacks; empty for nothing. Only in lanes do messages
// not expire.
func missingSince(name string, before count, now server.StreamState) string {
	_, lane := wire.LaneOfStream(name)
	switch {
	case lane && now.Msgs < before.Messages:
		return fmt.Sprintf("%s had %d messages at the last stop and has %d: %d are missing", name, before.Messages, now.Msgs, before.Messages-now.Msgs)
	case now.LastSeq < before.Last:
		return fmt.Sprintf("%s ended with message %d at the last stop and ends with %d", name, before.Last, now.LastSeq)
	}
	return ""
}
