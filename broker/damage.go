package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Damage is something that an embedded broker found wrong with its store: mail may be
// lost. It is kept in POSTRIDER_DATA_DIR, because a log is read by few.
type Damage struct {
	At    time.Time `json:"at"`
	Found string    `json:"found"`
}

const (
	// damageFor is how long damage is shown.
	damageFor = 24 * time.Hour
	// mostDamage bounds the file.
	mostDamage = 20
)

// DamageFile is where damage to the store in dir is kept. Whoever has seen to it
// removes the file.
func DamageFile(dir string) string { return filepath.Join(dir, "damage.json") }

// Damages are those of the last day, the oldest first.
func Damages(dir string) ([]Damage, error) {
	b, err := os.ReadFile(DamageFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the damage to the store: %w", err)
	}
	var all []Damage
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("read the damage to the store in %s: %w", DamageFile(dir), err)
	}
	return slices.DeleteFunc(all, func(d Damage) bool { return time.Since(d.At) > damageFor }), nil
}

// KeepDamage adds damage to the file, once a day. It must not be called by two
// goroutines at the same time; only the process that has locked dir may.
func KeepDamage(dir, found string) error {
	all, err := Damages(dir)
	if err != nil {
		all = nil // better the new damage than none
	}
	if len(all) == mostDamage || slices.ContainsFunc(all, func(d Damage) bool { return d.Found == found }) {
		return nil
	}
	b, err := json.Marshal(append(all, Damage{time.Now().UTC().Truncate(time.Second), found}))
	if err != nil {
		return err
	}
	if err := os.WriteFile(DamageFile(dir), append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("keep the damage to the store: %w", err)
	}
	return nil
}
