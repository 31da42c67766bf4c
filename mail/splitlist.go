package mail

import "strings"

// SplitList cuts an address list at its commas, except those in quotes or angle brackets.
// What is empty between two commas is nothing (RFC 5322 section 4.4). It checks nothing:
// each part is for [ParseAddress].
func SplitList(s string) (parts []string) {
	begin, quoted, angle := 0, false, false
	add := func(end int) {
		if part := strings.TrimSpace(s[begin:end]); part != "" {
			parts = append(parts, part)
		}
		begin = end + 1
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '<', c == '>':
			angle = c == '<'
		case c == ',' && !angle:
			add(i)
		}
	}
	add(len(s))
	return parts
}
