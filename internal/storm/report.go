package storm

import (
	"fmt"
	"path/filepath"
)

// Report is what the three books say together, counted in recipients of
// acknowledged mail.
type Report struct {
	Acknowledged, Delivered, Dead int
	// Lost are those that are neither delivered nor dead.
	Lost []Key
	// Both were dead-lettered although the relay accepted them.
	Both []Key
	// Twice are those that the relay accepted more than once, and Unexplained
	// those of them that were not open at any fault.
	Twice, Unexplained []Key
	Kills              int
}

// String is one line.
func (r *Report) String() string {
	return fmt.Sprintf("acknowledged=%d delivered=%d dead=%d lost=%d twice=%d kills=%d unexplained=%d both=%d",
		r.Acknowledged, r.Delivered, r.Dead, len(r.Lost), len(r.Twice), r.Kills, len(r.Unexplained), len(r.Both))
}

// Verdict reads the relay's files book and open in dir and holds the three
// books against each other.
func Verdict(acknowledged []Mail, dir string, dead map[Key]bool, faults []Fault) (*Report, error) {
	accepted, err := Accepted(filepath.Join(dir, "book"))
	if err != nil {
		return nil, err
	}
	open, err := Open(filepath.Join(dir, "open"), faults)
	if err != nil {
		return nil, err
	}
	return Check(acknowledged, accepted, dead, open), nil
}

// Check holds the three books against each other.
func Check(acknowledged []Mail, accepted map[Key]int, dead, open map[Key]bool) *Report {
	r := new(Report)
	for _, m := range acknowledged {
		for _, to := range m.To {
			k := Key{m.ID, to}
			r.Acknowledged++
			n := accepted[k]
			if n > 0 {
				r.Delivered++
			}
			switch {
			case n > 0 && dead[k]:
				r.Both = append(r.Both, k)
			case n == 0 && !dead[k]:
				r.Lost = append(r.Lost, k)
			case dead[k]:
				r.Dead++
			}
			if n > 1 {
				r.Twice = append(r.Twice, k)
				if !open[k] {
					r.Unexplained = append(r.Unexplained, k)
				}
			}
		}
	}
	return r
}
