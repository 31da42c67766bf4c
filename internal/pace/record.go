package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"time"
)

// record is what the file has.
type record struct {
	Date   string             `json:"date"`
	Commit string             `json:"commit"`
	Cores  int                `json:"cores"`
	Ways   map[string]figures `json:"ways"`
}

// figures are those of one way in. They depend on the machine less than messages a second.
type figures struct {
	Ratio float64 `json:"ratio"`
	// CPU is in seconds for 1,000 messages.
	CPU float64 `json:"cpu"`
	// Fsyncs are those of one message; 0 if they were not counted.
	Fsyncs float64 `json:"fsyncs,omitzero"`
}

// readRecord is empty if there is no file.
func readRecord(file string) (r record, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return r, fmt.Errorf("read the record: %w", err)
	}
	return r, nil
}

func newRecord(rows []row, commit string, now time.Time) record {
	r := record{Date: now.UTC().Format(time.DateOnly), Commit: commit, Cores: runtime.NumCPU(), Ways: map[string]figures{}}
	for _, x := range rows {
		r.Ways[x.way] = figures{Ratio: round(x.ratio()), CPU: round(x.cpu), Fsyncs: round(x.fsyncs)}
	}
	return r
}

// write replaces the file.
func (r record) write(file string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644) //nolint:gosec // it is part of the repository
}

// round leaves three digits.
func round(x float64) float64 {
	short, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 3, 64), 64)
	return short
}
