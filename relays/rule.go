package relays

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/smtp"
)

// maxPause is longer than any limit of a provider.
const maxPause = 7 * 24 * time.Hour

// outOfStep is the code of a reply that answers another command. No rule is for it.
const outOfStep = 503

var (
	enhanced = regexp.MustCompile(`^[45]\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2}|x)$`)
	// textCode is a code with which a regular expression begins.
	textCode = regexp.MustCompile(`^\^?(?:\((?:\?:)?)*([45]\d\d|[45]\\?\.\d{1,3}\\?\.\d{1,3})(?:[ )|-]|\\s|$)`)
	opening  = []mail.Stage{mail.StageConnect, mail.StageTLS, mail.StageGreeting, mail.StageEHLO, mail.StageAuth}
	fields   = []string{"stage", "code", "enhanced", "text", "outcome", "pause", "note"}
)

// rules reads the list of rules.
func (d *decoder) rules(list *ast.SequenceNode) (all []smtp.Rule) {
	var good []smtp.Rule // what is wrong covers nothing
	for _, n := range list.Values {
		before := len(d.found)
		x := d.rule(n)
		all = append(all, x)
		if len(d.found) > before {
			continue
		}
		if i := slices.IndexFunc(good, func(earlier smtp.Rule) bool { return covers(earlier, x) }); i >= 0 {
			d.wrong(n, "the rule in line %d is for each reply that this one is for, and decides first: remove this rule, or put it before that one", good[i].Line)
		}
		good = append(good, x)
	}
	return all
}

// covers reports that a rule is for each reply that a later one is for, as far as the fields
// tell: two texts may match the same and differ.
func covers(earlier, later smtp.Rule) bool {
	subject, all := strings.CutSuffix(earlier.Enhanced, "x")
	within := all && strings.HasPrefix(later.Enhanced, subject)
	return has(earlier.Stages, later.Stages, smtp.RuleStages) &&
		has(earlier.Codes, later.Codes, nil) &&
		(earlier.Enhanced == "" || earlier.Enhanced == later.Enhanced || within) &&
		(earlier.Text == nil || later.Text != nil && earlier.Text.String() == later.Text.String())
}

// has reports that all of some are in these; none means every one, which are those of every
// if they can be counted.
func has[T comparable](these, some, every []T) bool {
	if len(some) == 0 {
		some = every
	}
	missing := func(x T) bool { return !slices.Contains(these, x) }
	return len(these) == 0 || len(some) > 0 && !slices.ContainsFunc(some, missing)
}

// rule reads a rule.
func (d *decoder) rule(n ast.Node) smtp.Rule {
	unknown := d.unknown
	x := smtp.Rule{Line: position(n).Line}
	at := map[string]ast.Node{}
	noting := func(name string, read func(ast.Node)) func(ast.Node) {
		return func(n ast.Node) { at[name] = n; read(n) }
	}
	known := map[string]func(ast.Node){
		"stage":    func(n ast.Node) { x.Stages = d.stages(n) },
		"code":     noting("code", func(n ast.Node) { x.Codes = d.codes(n) }),
		"enhanced": noting("enhanced", func(n ast.Node) { x.Enhanced = d.enhanced(n) }),
		"text":     noting("text", func(n ast.Node) { x.Text = d.pattern(n) }),
		"outcome":  noting("outcome", func(n ast.Node) { x.Outcome = d.outcome(n) }),
		"pause":    noting("pause", func(n ast.Node) { x.Pause = d.pause(n) }),
		"note":     func(n ast.Node) { x.Note = d.note(n) },
		"relay": func(n ast.Node) {
			d.wrong(n, "relay: there is only one relay, and every rule is for it; remove this field")
		},
	}
	if d.fields(n, known, "a rule", fields...) {
		d.together(n, &x, at, d.unknown > unknown)
	}
	return x
}

// together checks what the fields of a rule are to each other. misspelt: it has a field that
// is unknown, which may be the one that is missed.
func (d *decoder) together(n ast.Node, x *smtp.Rule, at map[string]ast.Node, misspelt bool) {
	if at["outcome"] == nil {
		d.wrong(n, "outcome is missing: one of %s", list(smtp.RuleOutcomes))
	}
	if at["code"] == nil && at["enhanced"] == nil && at["text"] == nil && !misspelt {
		d.wrong(n, "the rule names no reply: add code, enhanced or text")
	}
	if stops := x.Outcome == smtp.RuleThrottled || x.Outcome == smtp.RuleHold; at["pause"] != nil && x.Outcome != "" && !stops {
		d.wrong(at["pause"], "pause: does nothing with outcome %s, which stops no mail; remove it, or use throttled or hold", x.Outcome)
	}
	for _, code := range x.Codes {
		if x.Enhanced != "" && int(x.Enhanced[0]-'0') != code/100 {
			d.wrong(at["enhanced"], "enhanced: %s does not go with code %d: both must begin with 4, or both with 5", x.Enhanced, code)
			break
		}
	}
}

func (d *decoder) stages(n ast.Node) (all []mail.Stage) {
	for _, v := range d.oneOrMore(n, "stage") {
		s := mail.Stage(word(v))
		switch {
		case slices.Contains(opening, s):
			d.wrong(v, "stage: %s is a step before any message: rules are about messages, at %s", s, list(smtp.RuleStages))
		case !slices.Contains(smtp.RuleStages, s):
			d.wrong(v, "stage: is %s, must be one of %s, or a list of them", kind(v), list(smtp.RuleStages))
		case slices.Contains(all, s):
			d.wrong(v, "stage: %s is there twice", s)
		default:
			all = append(all, s)
		}
	}
	return all
}

func (d *decoder) codes(n ast.Node) (all []int) {
	for _, v := range d.oneOrMore(n, "code") {
		code, err := strconv.Atoi(word(v))
		_, number := v.(*ast.IntegerNode)
		switch {
		case !number || err != nil || code < 400 || code > 599:
			d.wrong(v, "code: is %s, must be a number from 400 to 599, or a list of them", kind(v))
		case code == outOfStep:
			d.wrong(v, "code: %d says that the relay did not expect the command, and nothing of the message: no rule is for it", code)
		case slices.Contains(all, code):
			d.wrong(v, "code: %d is there twice", code)
		default:
			all = append(all, code)
		}
	}
	return all
}

func (d *decoder) enhanced(n ast.Node) string {
	s := word(n)
	if !enhanced.MatchString(s) {
		d.wrong(n, "enhanced: is %s, must be like 5.7.1, or 5.7.x for all that begin with 5.7", kind(n))
		return ""
	}
	return s
}

func (d *decoder) pattern(n ast.Node) *regexp.Regexp {
	if d.beginsWithCode(n) {
		return nil
	}
	s, ok := d.text(n, "text")
	if !ok {
		return nil
	}
	if mail.HasControl(s) {
		if n.GetToken().Type == token.DoubleQuoteType {
			d.wrong(n, "text: has a control character: in double quotes YAML makes one of \\ and a character; write it in single quotes")
		} else {
			d.wrong(n, "text: has a control character; write it in single quotes like \\t or \\x01")
		}
		return nil
	}
	if _, err := regexp.Compile(s); err != nil {
		why := "cannot be read"
		if e, ok := errors.AsType[*syntax.Error](err); ok {
			why = fmt.Sprintf("%s: %q", e.Code, mail.Sentence(e.Expr, 60))
		}
		d.wrong(n, "text: is not a regular expression of Go: %s; put \\ before a character that is meant as such, and write text in single quotes", why)
		return nil
	}
	re, err := regexp.Compile("(?i)" + s)
	if err != nil { // it is longer by the flag than may be
		d.wrong(n, "text: is too long for a regular expression")
	}
	return re
}

// beginsWithCode finds a text that can match nothing, because a reply's codes are not in its
// words.
func (d *decoder) beginsWithCode(n ast.Node) bool {
	m := textCode.FindStringSubmatch(word(n))
	if m == nil {
		return false
	}
	code, field := m[1], "code"
	if strings.Contains(code, ".") {
		code, field = strings.ReplaceAll(code, `\`, ""), "enhanced"
	}
	d.wrong(n, "text: begins with the code %s, which a reply's words do not have; use %s, or put \\b before it if it is one of the words", code, field)
	return true
}

func (d *decoder) outcome(n ast.Node) smtp.RuleOutcome {
	o := smtp.RuleOutcome(word(n))
	if !slices.Contains(smtp.RuleOutcomes, o) {
		d.wrong(n, "outcome: is %s, must be one of %s", kind(n), list(smtp.RuleOutcomes))
		return ""
	}
	return o
}

func (d *decoder) pause(n ast.Node) time.Duration {
	switch pause, err := env.ParseDuration(word(n)); {
	case err != nil || word(n) == "":
		d.wrong(n, "pause: is %s, must be a duration like 90s, 2h or 1d12h", kind(n))
	case pause <= 0 || pause > maxPause:
		d.wrong(n, "pause: is %s, must be more than 0 and at most 7d", kind(n))
	default:
		return pause
	}
	return 0
}

func (d *decoder) note(n ast.Node) string {
	s, ok := d.text(n, "note")
	switch {
	case !ok:
	case len(s) > smtp.MaxRuleNote:
		d.wrong(n, "note: has %d bytes, may have at most %d", len(s), smtp.MaxRuleNote)
	case mail.HasControl(s):
		d.wrong(n, "note: must be one line without control characters")
	}
	return s
}

// text is a text that is not empty.
func (d *decoder) text(n ast.Node, name string) (s string, ok bool) {
	if _, ok = n.(*ast.StringNode); ok {
		s = word(n)
	}
	if ok = strings.TrimSpace(s) != ""; !ok {
		d.wrong(n, "%s: is %s, must be text, in quotes if it looks like something else", name, kind(n))
	}
	return s, ok
}

// oneOrMore are the values of a list, or the one value.
func (d *decoder) oneOrMore(n ast.Node, name string) []ast.Node {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		return []ast.Node{n}
	}
	if len(list.Values) == 0 {
		d.wrong(n, "%s: the list is empty; leave the field out if it does not matter", name)
	}
	return list.Values
}

// word is a value that is one word; empty if it is none.
func word(n ast.Node) string {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode:
		return n.GetToken().Value
	}
	return ""
}

func list[T ~string](values []T) string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = string(v)
	}
	return strings.Join(all, ", ")
}
