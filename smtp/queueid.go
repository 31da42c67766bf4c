package smtp

import "strings"

// queueID finds the relay's name for what it accepted in the text of its reply to
// the final dot, in the forms in use:
//
//	Ok: queued as 4Zx2Y31q9z                  Postfix; also "OK, queued as …"
//	OK id=1tQ0aB-000000001-abcd               Exim
//	51a2b3c4 Message accepted for delivery    Sendmail, OpenSMTPD
//	Ok 0102018f-000000                        Amazon SES, with an enhanced code before
//	OK  1700000000 abc12-20020a05.1 - gsmtp   Google
//	<id@host> Queued mail for delivery        Exchange
//
// It returns "" if it finds none.
func queueID(text string) string {
	words := strings.Fields(text)
	for i, w := range words {
		if id, ok := cutFold(w, "id="); ok {
			return trimID(id)
		}
		if strings.EqualFold(w, "as") && i > 0 && i+1 < len(words) && strings.EqualFold(words[i-1], "queued") {
			return trimID(words[i+1])
		}
	}
	if len(words) < 2 {
		return ""
	}
	tail := strings.ToLower(strings.Join(words[1:], " "))
	switch {
	case strings.HasPrefix(tail, "message accepted for delivery"), strings.HasPrefix(tail, "queued mail for delivery"):
		return trimID(words[0])
	case strings.EqualFold(words[0], "OK") && words[len(words)-1] == "gsmtp" && len(words) > 3:
		return trimID(words[2])
	case strings.EqualFold(words[0], "OK") && len(words) == 2 && strings.ContainsAny(words[1], "0123456789"):
		return trimID(words[1])
	}
	return ""
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

func trimID(s string) string { return strings.Trim(s, `<>()[]"',.;:`) }
