package embedded

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// files are those of the open store, as of the last look at them. The server keeps
// its files open: if somebody removes them, it goes on to acknowledge mail that is
// on no disk. The goroutine of [watch.see] owns it, and only one runs at a time.
type files struct {
	*Server
	streams map[string]*streamFiles
	// lost says which streams are not on the disk any more and what is missing. It is
	// never forgotten: only a new process has files again.
	lost map[string]error
	// all: the whole directory is not the one that this process opened.
	all error
}

// streamFiles are those of one stream.
type streamFiles struct {
	dir os.FileInfo
	// blocks are the files with messages, by number: the sequence of the first message
	// in it; 0 if it is not known yet.
	blocks map[int]uint64
	// last is the last sequence that is in these blocks.
	last uint64
}

// lookAgain is the pause before a file that is missing is believed to be: a purge
// replaces a directory.
const lookAgain = 200 * time.Millisecond

// check fails with [ErrLost] if files of the open store are missing, and for ever
// after.
func (f *files) check(ctx context.Context) error {
	if f.all == nil && f.missing(ctx, false) && stream.Pause(ctx, lookAgain) {
		f.missing(ctx, true)
	}
	switch {
	case f.all != nil:
		return fmt.Errorf("%w: %w", ErrLost, f.all)
	case len(f.lost) > 0:
		var errs []error
		for _, name := range slices.Sorted(maps.Keys(f.lost)) {
			errs = append(errs, f.lost[name])
		}
		return fmt.Errorf("%w: %w", ErrLost, errors.Join(errs...))
	}
	return nil
}

// missing looks at the files. It reports that some are missing, and remembers it if
// it is to be believed.
func (f *files) missing(ctx context.Context, believe bool) (some bool) {
	states := f.states()
	if err := f.lock.moved(f.cfg.DataDir); err != nil {
		if believe {
			f.all = err
		}
		return true
	}
	maps.DeleteFunc(f.streams, func(name string, _ *streamFiles) bool { _, open := states[name]; return !open })
	for name, state := range states {
		if f.lost[name] != nil {
			continue
		}
		now, err := f.read(ctx, name, state)
		switch {
		case err == nil:
			f.streams[name] = now
		case believe:
			f.lost[name] = err
			some = true
		default:
			some = true
		}
	}
	return some
}

// states are those of the open streams, by name.
func (e *Server) states() map[string]server.StreamState {
	all := map[string]server.StreamState{}
	info, err := e.server.Jsz(&server.JSzOptions{Account: mailAccount, Streams: true})
	if err != nil {
		return all
	}
	for _, account := range info.AccountDetails {
		for _, s := range account.Streams {
			all[s.Name] = s.State
		}
	}
	return all
}

// read reads what is there of a stream, and fails if something is missing that the
// last look has seen. The state was read before.
func (f *files) read(ctx context.Context, name string, state server.StreamState) (*streamFiles, error) {
	dir := filepath.Join(f.streamsDir(), name)
	now, before := &streamFiles{blocks: map[int]uint64{}, last: state.LastSeq}, f.streams[name]
	var err error
	if now.dir, err = os.Stat(dir); err != nil {
		return nil, err
	}
	if before != nil && !os.SameFile(before.dir, now.dir) {
		return nil, fmt.Errorf("%s was replaced", dir)
	}
	if _, err = os.Stat(filepath.Join(dir, server.JetStreamMetaFile)); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(dir, "msgs"))
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if n, ok := blockNumber(entry.Name()); ok {
			now.blocks[n] = 0
		}
	}
	if before == nil {
		before = &streamFiles{}
	}
	for n := range now.blocks {
		if now.blocks[n] = before.blocks[n]; now.blocks[n] == 0 {
			now.blocks[n] = firstSequence(filepath.Join(dir, "msgs", blockName(n)))
		}
	}
	return now, f.gone(ctx, name, state, before, now)
}

func blockName(n int) string { return strconv.Itoa(n) + ".blk" }

func blockNumber(name string) (int, bool) {
	number, ok := strings.CutSuffix(name, ".blk")
	n, err := strconv.Atoi(number)
	return n, ok && err == nil
}

// gone fails if a block was removed that has messages. The server removes those
// that have none any more.
func (f *files) gone(ctx context.Context, name string, state server.StreamState, before, now *streamFiles) error {
	for n, from := range before.blocks {
		if _, there := now.blocks[n]; there || from == 0 {
			continue
		}
		end := before.end(from, now)
		if end <= state.FirstSeq || state.Msgs == 0 {
			continue
		}
		switch has, err := f.has(ctx, name, from, end); {
		case err != nil:
			now.blocks[n] = from // asked again at the next look
		case has:
			return fmt.Errorf("open %s: %w", filepath.Join(f.streamsDir(), name, "msgs", blockName(n)), fs.ErrNotExist)
		}
	}
	return nil
}

// end is the sequence after the last one of the block that begins with from.
func (s *streamFiles) end(from uint64, now *streamFiles) uint64 {
	end := s.last + 1
	for _, blocks := range []map[int]uint64{s.blocks, now.blocks} {
		for _, first := range blocks {
			if first > from {
				end = min(end, first)
			}
		}
	}
	return end
}

// fewHoles bounds the list that [files.has] asks for. With more holes a block that
// is gone is taken for one that the server removed.
const fewHoles = 100_000

// has asks the server whether the stream has a message from that sequence up to end.
func (f *files) has(ctx context.Context, name string, from, end uint64) (bool, error) {
	if f.states()[name].NumDeleted > fewHoles {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, silentFor)
	defer cancel()
	c, err := f.Connect(ctx)
	if err != nil {
		return false, err
	}
	defer c.Close()
	s, err := c.JS().Stream(ctx, name)
	if err != nil {
		return false, err
	}
	info, err := s.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return false, err
	}
	from, end = max(from, info.State.FirstSeq), min(end, info.State.LastSeq+1)
	if from >= end {
		return false, nil
	}
	holes := uint64(0)
	for _, seq := range info.State.Deleted {
		if seq >= from && seq < end {
			holes++
		}
	}
	return holes < end-from, nil
}

// empty reports that no mail is left that is only in this process.
func (f *files) empty() bool {
	for name, state := range f.states() {
		if f.all == nil && f.lost[name] == nil {
			continue
		}
		if _, lane := wire.LaneOfStream(name); state.Msgs > 0 && (lane || name == wire.StreamDead) {
			return false
		}
	}
	return true
}

const (
	// The beginning of each record in a block is its length and its sequence. The
	// highest bits are flags: of the sequence, that the record is no message.
	recordStart = 12
	leastRecord = 22
	lengthFlag  = 1 << 31
	noMessage   = 0b11 << 62
	// fewRecords bounds the search for the first message.
	fewRecords = 1000
)

// firstSequence is the sequence of the first message in a block; 0 if it finds none.
func firstSequence(path string) uint64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	var start [recordStart]byte
	at := int64(0)
	for range fewRecords {
		if _, err := f.ReadAt(start[:], at); err != nil {
			return 0
		}
		length := binary.LittleEndian.Uint32(start[:]) &^ lengthFlag
		seq := binary.LittleEndian.Uint64(start[4:])
		switch {
		case length < leastRecord:
			return 0
		case seq&noMessage == 0:
			return seq
		}
		at += int64(length)
	}
	return 0
}
