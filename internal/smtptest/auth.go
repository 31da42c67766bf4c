package smtptest

import (
	"encoding/base64"
	"strings"
)

// auth accepts PLAIN (RFC 4616) and LOGIN, with an initial response or without.
func (c *session) auth(st Step, rest string) error {
	mechanism, initial, _ := strings.Cut(rest, " ")
	if a := c.ask(st); a != nil {
		return c.perform(a)
	}
	var user, password string
	var err error
	switch strings.ToUpper(mechanism) {
	case "PLAIN":
		if initial == "" {
			initial, err = c.challenge("")
		}
		if parts := strings.Split(decode(initial), "\x00"); len(parts) == 3 {
			user, password = parts[1], parts[2]
		}
	case "LOGIN":
		if user = decode(initial); initial == "" {
			user, err = c.challenge("VXNlcm5hbWU6")
			user = decode(user)
		}
		if err == nil {
			password, err = c.challenge("UGFzc3dvcmQ6")
			password = decode(password)
		}
	default:
		return c.send("504 5.5.4 no such mechanism\r\n")
	}
	switch {
	case err != nil:
		return err
	case user != c.user || password != c.password:
		return c.send("535 5.7.8 wrong user or password\r\n")
	}
	c.proven = user
	return c.send("235 2.7.0 welcome\r\n")
}

func (c *session) challenge(text string) (string, error) {
	if err := c.send("334 " + text + "\r\n"); err != nil {
		return "", err
	}
	return c.line()
}

func decode(s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return ""
	}
	return string(b)
}
