package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/textproto"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
)

// entry is a line of the book.
type entry struct {
	At      time.Time `json:"at"`
	Session int       `json:"session"`
	From    string    `json:"from"`
	Rcpts   []string  `json:"rcpts"`
	ID      string    `json:"id"`
	Bench   string    `json:"bench,omitempty"`
	Size    int       `json:"size"`
	SHA256  string    `json:"sha256"`
}

// turn is a line of the open file: the dot of a transaction was received, or its
// reply was sent. A transaction with the first and not the second was open.
type turn struct {
	At      time.Time `json:"at"`
	What    string    `json:"what"` // dot or reply
	Session int       `json:"session"`
	ID      string    `json:"id"`
	Bench   string    `json:"bench,omitempty"`
	Rcpts   []string  `json:"rcpts"`
}

// keeper writes down what the relay accepts.
type keeper struct {
	book, open *ledger
	maildir    string
	delay      time.Duration
	// fail ends the process: without its book it proves nothing.
	fail context.CancelCauseFunc
}

var errBook = errors.New("keep the book")

func newKeeper(book, open, maildir string, delay time.Duration) (*keeper, error) {
	k := &keeper{maildir: maildir, delay: delay}
	var err error
	if k.book, err = openLedger(book); err != nil {
		return nil, err
	}
	if k.open, err = openLedger(open); err != nil {
		return nil, err
	}
	if maildir != "" {
		return k, os.MkdirAll(maildir, 0o700)
	}
	return k, nil
}

func (k *keeper) close() {
	k.book.close()
	k.open.close()
}

func (k *keeper) failed(err error) bool { return errors.Is(err, errBook) }

func (k *keeper) received(m *smtptest.Message) {
	if k.open != nil {
		k.check(k.open.write(newTurn("dot", m)))
	}
	if k.maildir != "" {
		sum := sha256.Sum256(m.Data)
		k.check(os.WriteFile(filepath.Join(k.maildir, hex.EncodeToString(sum[:])+".eml"), m.Data, 0o600))
	}
	if k.book != nil {
		k.check(k.book.write(newEntry(m)))
	}
	time.Sleep(k.delay)
}

func (k *keeper) replied(m *smtptest.Message, err error) {
	if err == nil && k.open != nil {
		k.check(k.open.write(newTurn("reply", m)))
	}
}

func (k *keeper) check(err error) {
	if err != nil {
		k.fail(fmt.Errorf("%w: %w", errBook, err))
	}
}

func newEntry(m *smtptest.Message) entry {
	h := header(m.Data)
	sum := sha256.Sum256(m.Data)
	return entry{
		At: m.At, Session: m.Session, From: m.From, Rcpts: m.Rcpts, ID: h.Get("Message-Id"), Bench: h.Get("X-Bench"),
		Size: len(m.Data), SHA256: hex.EncodeToString(sum[:]),
	}
}

func newTurn(what string, m *smtptest.Message) turn {
	h := header(m.Data)
	return turn{At: time.Now(), What: what, Session: m.Session, ID: h.Get("Message-Id"), Bench: h.Get("X-Bench"), Rcpts: m.Rcpts}
}

// header reads as much of the header as it can.
func header(data []byte) textproto.MIMEHeader {
	h, _ := textproto.NewReader(bufio.NewReader(bytes.NewReader(data))).ReadMIMEHeader()
	return h
}

// ledger is an append-only file of JSON lines. Lines written at the same time
// share a sync.
type ledger struct {
	file *os.File

	mu     sync.Mutex
	synced *sync.Cond
	// written and safe count lines; syncing: a goroutine is in sync.
	written, safe int
	syncing       bool
	err           error
}

func openLedger(name string) (*ledger, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the book: %w", err)
	}
	l := &ledger{file: f}
	l.synced = sync.NewCond(&l.mu)
	return l, nil
}

// write returns once the line is on the disk.
func (l *ledger) write(v any) error {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.file.Write(b.Bytes()); err != nil {
		return err
	}
	l.written++
	mine := l.written
	for l.safe < mine && l.err == nil {
		if l.syncing {
			l.synced.Wait()
			continue
		}
		l.sync()
	}
	return l.err
}

// sync syncs what is written by now. It releases mu meanwhile.
func (l *ledger) sync() {
	upTo := l.written
	l.syncing = true
	l.mu.Unlock()
	err := l.file.Sync()
	l.mu.Lock()
	l.syncing, l.safe = false, max(l.safe, upTo)
	if err != nil {
		l.err = err
	}
	l.synced.Broadcast()
}

func (l *ledger) close() {
	if l != nil {
		l.file.Close()
	}
}
