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
	// those of them that no fault explains.
	Twice, Unexplained []Key
	Kills              int
}

// String is one line.
func (r *Report) String() string {
	return fmt.Sprintf("acknowledged=%d delivered=%d dead=%d lost=%d twice=%d kills=%d unexplained=%d both=%d",
		r.Acknowledged, r.Delivered, r.Dead, len(r.Lost), len(r.Twice), r.Kills, len(r.Unexplained), len(r.Both))
}

// Verdict reads the relay's files book and open in dir and holds the books against each
// other.
func Verdict(acknowledged []Mail, dir string, q *Queue, faults []Fault) (*Report, error) {
	accepted, err := Accepted(filepath.Join(dir, "book"))
	if err != nil {
		return nil, err
	}
	explained, err := Explained(filepath.Join(dir, "open"), faults, q.Recorded)
	if err != nil {
		return nil, err
	}
	return check(acknowledged, accepted, q.Dead, explained), nil
}

// check holds the books against each other.
func check(acknowledged []Mail, accepted map[Key]int, dead, explained map[Key]bool) *Report {
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
				if !explained[k] {
					r.Unexplained = append(r.Unexplained, k)
				}
			}
		}
	}
	return r
}
