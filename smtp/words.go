package smtp

import (
	"regexp"
	"strings"
)

// What relays say in words where their codes say nothing. The forms are those that
// people reported; testdata/replies.txt has them.
var (
	// fewerWords ask for fewer sessions.
	fewerWords = regexp.MustCompile(`(?i)concurrent (\w+ )?(connection|session)|sender thread limit|connections? limit|too many (\w+ )?(connections|sessions)`)
	// lessWords ask for less mail.
	lessWords = regexp.MustCompile(`(?i)throttl|\b(rate|sending|submission|message|daily|hourly) (limit|quota)|\brate exceeded|(sending|message|submission) rate\b|too many (e-?mails|mails|messages|requests)|too (fast|quickly)\b`)
	// limitWords say that a limit of our account is reached, in a permanent reply.
	limitWords = regexp.MustCompile(`(?i)quota|\btoo many\b|\brate\b|sending limit|throttl`)
	// notOurs are other things of which there may be too many, and other quotas.
	notOurs = regexp.MustCompile(`(?i)\b(recipients?|rcpts?|hops|received|loops?|errors?|invalid|unknown|attachments?|links|lines|headers?|urls?|mail ?box|in-?box|over ?quota)\b`)
	// roomWords say that the relay itself has no room.
	roomWords = regexp.MustCompile(`(?i)\b(storage|disk|space|memory|resources?|system|load|queue)\b`)
	// sizeWords are about the message.
	sizeWords = regexp.MustCompile(`(?i)\b(size|too (big|large))\b`)
	// authWords refuse those who have not logged in.
	authWords = regexp.MustCompile(`(?i)\bauth|\brelay|\blog ?in\b|credentials|rcpthosts`)
	// paramWords refuse a parameter of MAIL, bodyWords that of 8BITMIME.
	paramWords = regexp.MustCompile(`(?i)\b(size|body)=|8bitmime|\b(unsupported|unknown|unrecogni[sz]ed|invalid|bad) ([a-z]+ )?(option|parameter)`)
	bodyWords  = regexp.MustCompile(`(?i)\bbody\b|8bit`)
	// boxWords are about a recipient.
	boxWords = regexp.MustCompile(`(?i)\b(mail ?box|in-?box|user|recipients?|account|over ?quota)\b`)
)

// wantsFewer reports a temporary reply that asks for fewer sessions.
func wantsFewer(a answer) bool {
	return !a.blamed && a.reply.code/100 == 4 && !ofRecipient(a.reply) && fewerWords.MatchString(a.reply.words())
}

// wantsLess reports a temporary reply that asks for less mail. It says nothing about
// the message at any step.
func wantsLess(a answer) bool {
	r := a.reply
	return !a.blamed && r.code/100 == 4 && !ofRecipient(r) &&
		(r.code == 454 || r.code == 432 || r.agreed() == "4.7.28" || lessWords.MatchString(r.words()))
}

// overLimit reports a permanent reply that says that our account has sent too much. The
// message is as good as any other.
func overLimit(a answer) bool {
	r := a.reply
	if a.blamed || r.code/100 != 5 {
		return false
	}
	switch r.agreed() {
	case "5.4.5":
		return true // RFC 3463 section 3.5: as relays use it, a limit of the account
	case "5.2.2", "5.3.4", "5.4.6", "5.5.3":
		return false // a mailbox, the size, a loop, the number of recipients
	}
	return limitWords.MatchString(r.words()) && !notOurs.MatchString(r.words())
}

// noRoom reports a 452 that is about the relay's room and not about a mailbox or about
// how many recipients a transaction has (RFC 5321 sections 4.2.3 and 4.5.3.1.10).
func noRoom(a answer) bool {
	r := a.reply
	if a.blamed || r.code != 452 {
		return false
	}
	if r.agreed() != "" {
		return r.agreed() == "4.3.1"
	}
	return !boxWords.MatchString(r.words())
}

// saysNoRoom is noRoom in so many words.
func saysNoRoom(a answer) bool {
	return noRoom(a) && (a.reply.agreed() != "" || roomWords.MatchString(a.reply.words()))
}

// ofRecipient reports an enhanced code about an address, a mailbox (RFC 3463 sections
// 3.2 and 3.3) or the number of recipients, or that relaying to it is not allowed, as
// Postfix says it: 454 4.7.1.
func ofRecipient(r reply) bool {
	x := r.agreed()
	return strings.HasPrefix(x, "4.1.") || strings.HasPrefix(x, "4.2.") || x == "4.5.3" || r.code == 454 && x == "4.7.1"
}

// unwelcome reports a permanent reply that may refuse us for what we are, and not the
// message for what it is: 5.7.x (RFC 3463 section 3.8), a 554 that says no more, or words.
func unwelcome(a answer) bool {
	r := a.reply
	switch x := r.agreed(); {
	case r.code/100 != 5:
		return false
	case x == "" && r.enhanced == "", x == "5.0.0":
		return r.code == 554 || authWords.MatchString(r.words())
	default:
		return strings.HasPrefix(x, "5.7.")
	}
}

// ofParameter reports a permanent reply about a parameter of MAIL (RFC 5321 section
// 4.1.1.11, RFC 3463 section 3.6).
func ofParameter(a answer) bool {
	r := a.reply
	return code(501, 504, 555)(a) || r.agreed() == "5.5.4" || r.code/100 == 5 && paramWords.MatchString(r.words())
}

// tooBig reports a permanent reply about the message's size (RFC 1870 section 6).
func tooBig(r reply) bool {
	return r.agreed() == "5.3.4" || r.code == 552 && r.agreed() == "" && sizeWords.MatchString(r.words())
}

// words are all lines of the reply.
func (r reply) words() string { return strings.Join(r.lines, " ") }
