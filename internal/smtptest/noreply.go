package smtptest

import (
	"strings"
	"time"
)

// NoReply are the ways in which a relay can give no reply, by name. yes is the code
// that would let the client go on, such as "250".
func NoReply(yes string) map[string]Answer {
	half := yes + " 2.0.0 queu"
	return map[string]Answer{
		"HANGUP":       {HangUp: true},
		"RESET":        {Reset: true},
		"SILENCE":      {Stall: true},
		"GARBAGE":      {Reply: "queued " + yes + " thank you"},
		"HALF-HANGUP":  {Raw: half, HangUp: true},
		"HALF-SILENCE": {Raw: half, Stall: true},
		"FLOOD":        {Raw: strings.Repeat(yes+"-2.0.0 and\r\n", 5000)},
		"DRIP":         {Raw: yes + " " + strings.Repeat("x", 1900) + "\r\n", Drip: time.Second},
	}
}

// Yes is the code that lets the client go on at that step.
func Yes(verb string) string {
	switch verb {
	case "CONNECT", "STARTTLS":
		return "220"
	case "QUIT":
		return "221"
	case "AUTH":
		return "235"
	case "DATA":
		return "354"
	}
	return "250"
}
