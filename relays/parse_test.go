package relays

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/smtp"
)

// TestParse: each field, in each form.
func TestParse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		content string
		want    []smtp.Rule
		text    string // of the first
	}{
		{"rules: []\n", nil, ""},
		{`
rules:                                   # before the reply table, the first that matches
  - {stage: dot, code: 454, text: 'Throttling', outcome: throttled, pause: 30s, note: "account's rate"}
`, []smtp.Rule{{Line: 3, Stages: []mail.Stage{"dot"}, Codes: []int{454}, Outcome: "throttled", Pause: 30 * time.Second, Note: "account's rate"}}, "(?i)Throttling"},
		{`
rules:
  - stage: [mail, rcpt, data, body, dot]
    code:
      - 550
      - 554
    enhanced: 5.7.x
    outcome: hold
    pause: 1d12h

  - enhanced: "4.7.1"
    outcome: requeued
  - outcome: failed
    text: 'limit \d+ of'
  - {code: 451, outcome: deferred}
`, []smtp.Rule{
			{Line: 3, Stages: smtp.RuleStages, Codes: []int{550, 554}, Enhanced: "5.7.x", Outcome: "hold", Pause: 36 * time.Hour},
			{Line: 11, Enhanced: "4.7.1", Outcome: "requeued"}, {Line: 13, Outcome: "failed"}, {Line: 15, Codes: []int{451}, Outcome: "deferred"},
		}, ""},
		{"\"rules\":\r\n- text: \"Ünicode, and: \\\"quotes\\\"\"\r\n  outcome: \"failed\"\r\n", []smtp.Rule{{Line: 2, Outcome: "failed"}}, `(?i)Ünicode, and: "quotes"`},
		{`{"rules": [{"text": "json", "code": [450, 550], "outcome": "hold"}]}`, []smtp.Rule{{Line: 1, Codes: []int{450, 550}, Outcome: "hold"}}, "(?i)json"},
	} {
		f, wrong := Parse([]byte(c.content))
		if len(wrong) > 0 {
			t.Errorf("%s: %v", c.content, wrong)
			continue
		}
		if len(f.Rules) > 0 && f.Rules[0].Text != nil && f.Rules[0].Text.String() != c.text || (len(f.Rules) == 0 || f.Rules[0].Text == nil) && c.text != "" {
			t.Errorf("%s: text %v", c.content, f.Rules[0].Text)
		}
		for i := range f.Rules {
			f.Rules[i].Text = nil
		}
		if !reflect.DeepEqual(f.Rules, c.want) {
			t.Errorf("%s\n got %+v\nwant %+v", c.content, f.Rules, c.want)
		}
	}
}

// TestParseErrors: each thing that may be wrong is said with its line and column, with what
// was found and what is allowed.
func TestParseErrors(t *testing.T) {
	t.Parallel()
	rule := func(fields string) string { return "rules:\n  - {" + fields + "}\n" }
	for content, want := range map[string]string{
		"":                    "1:1: the file is empty; write rules: [] for no rules",
		"\n# nothing\n":       "1:1: the file is empty; write rules: [] for no rules",
		"~":                   "1:1: the file is empty; write rules: [] for no rules",
		"rules\n":             `1:1: the file is "rules", must have the fields: rules`,
		"- a\n":               "1:1: the file is a list, must have the fields: rules",
		"rules:\n":            "1:8: rules: empty, must be a list; write [] for none",
		"rules: 3\n":          "1:8: rules: 3, must be a list; write [] for none",
		"rules:\n  code: 3\n": "2:3: rules: a set of fields, must be a list; write [] for none",
		"rules: []\nrelays: {ses: {url: x}}\nroutes: []\n": "2:1: unknown field \"relays\"; the file may have: rules\n3:1: unknown field \"routes\"; the file may have: rules",
		"Rules: []\n":            `1:1: unknown field "Rules"; the file may have: rules`,
		"1: []\n":                `1:1: unknown field "1"; the file may have: rules`,
		"rules: []\nrules: []\n": `2:1: the file is no YAML: mapping key "rules" already defined at [1:1]`,
		"rules: [\n":             "1:8: the file is no YAML: sequence end token ']' not found",
		"rules:\n\t- {}\n":       "2:1: a tab; YAML indents with spaces",
		"rules:\n  - code: 550\n  \toutcome: failed\n": "3:3: a tab; YAML indents with spaces",
		"\trules: []\n":                                   "1:1: a tab; YAML indents with spaces",
		"rules:\n  - text: \"a\n\tb\"\n":                  "3:1: a tab; YAML indents with spaces",
		"rules: [\n\t{text: \"\\d\", outcome: failed}]\n": "2:11: the file is no YAML: found unknown escape character 'd'; write it in single quotes, in which YAML leaves \\ as it is",
		"rules: []\n---\nrules: []\n":                     "3:1: the file has several documents, must have one",
		"rules: []\nx: \xff\n":                            "2:4: the file is not UTF-8 text",
		strings.Repeat("#", maxFile+1):                    "1:1: the file has 65537 bytes, may have at most 65536",
		"rules: []\n" + strings.Repeat("[", maxLine+1):    "2:1: the line has 4097 bytes, may have at most 4096",

		"rules:\n  - 3\n":  "2:5: a rule is 3, must have the fields: stage, code, enhanced, text, outcome, pause, note",
		"rules:\n  - []\n": "2:5: a rule is a list, must have the fields: stage, code, enhanced, text, outcome, pause, note",
		"rules:\n  -\n":    "2:5: a rule is empty, must have the fields: stage, code, enhanced, text, outcome, pause, note",
		"rules:\n  - *x\n": "2:5: a rule is a form of YAML that is not used here, must have the fields: stage, code, enhanced, text, outcome, pause, note",
		rule(""):           "2:5: outcome is missing: one of deferred, failed, throttled, requeued, hold\n2:5: the rule names no reply: add code, enhanced or text",
		rule("code: 550"):  "2:5: outcome is missing: one of deferred, failed, throttled, requeued, hold",
		rule("stage: dot, outcome: hold, note: x"):    "2:5: the rule names no reply: add code, enhanced or text",
		"rules:\n  - stage: dot\n    outcome: hold\n": "2:5: the rule names no reply: add code, enhanced or text",
		rule("kode: 550, outcome: hold"):              `2:6: unknown field "kode"; a rule may have: stage, code, enhanced, text, outcome, pause, note`,
		rule("code: 550, outcome: hold, color: red"):  `2:32: unknown field "color"; a rule may have: stage, code, enhanced, text, outcome, pause, note`,
		rule("code: 550, outcome: hold, relay: ses"):  "2:39: relay: there is only one relay, and every rule is for it; remove this field",
		rule("code: 550, code: 551, outcome: hold"):   `2:17: the file is no YAML: mapping key "code" already defined at [2:6]`,

		rule("code: 550, outcome: hold, stage: ehlo"):            "2:39: stage: ehlo is a step before any message: rules are about messages, at mail, rcpt, data, body, dot",
		rule("code: 550, outcome: hold, stage: [dot, greeting]"): "2:45: stage: greeting is a step before any message: rules are about messages, at mail, rcpt, data, body, dot",
		rule("code: 550, outcome: hold, stage: DOT"):             `2:39: stage: is "DOT", must be one of mail, rcpt, data, body, dot, or a list of them`,
		rule("code: 550, outcome: hold, stage: local"):           `2:39: stage: is "local", must be one of mail, rcpt, data, body, dot, or a list of them`,
		rule("code: 550, outcome: hold, stage: []"):              "2:39: stage: the list is empty; leave the field out if it does not matter",
		rule("code: 550, outcome: hold, stage: [dot, dot]"):      "2:45: stage: dot is there twice",
		rule("code: 550, outcome: hold, stage: [[dot]]"):         "2:40: stage: is a list, must be one of mail, rcpt, data, body, dot, or a list of them",
		rule("code: 550, outcome: hold, stage: "):                "2:38: stage: is empty, must be one of mail, rcpt, data, body, dot, or a list of them",

		rule("outcome: hold, code: 250"):                     "2:27: code: is 250, must be a number from 400 to 599, or a list of them",
		rule("outcome: hold, code: 600"):                     "2:27: code: is 600, must be a number from 400 to 599, or a list of them",
		rule("outcome: hold, code: -550"):                    "2:27: code: is -550, must be a number from 400 to 599, or a list of them",
		rule(`outcome: hold, code: "550"`):                   `2:27: code: is "550", must be a number from 400 to 599, or a list of them`,
		rule("outcome: hold, code: 5xx"):                     `2:27: code: is "5xx", must be a number from 400 to 599, or a list of them`,
		rule("outcome: hold, code: 0x1C6"):                   "2:27: code: is 0x1C6, must be a number from 400 to 599, or a list of them",
		rule("outcome: hold, code: 550.5"):                   "2:27: code: is 550.5, must be a number from 400 to 599, or a list of them",
		rule("outcome: hold, code: 99999999999999999999999"): "2:27: code: is \"99999999999999999999999\", must be a number from 400 to 599, or a list of them",
		rule("outcome: hold, code: true"):                    `2:27: code: is "true", must be a number from 400 to 599, or a list of them`,
		rule("outcome: hold, code: [550, 55]"):               "2:33: code: is 55, must be a number from 400 to 599, or a list of them",
		rule("outcome: hold, code: [550, 550]"):              "2:33: code: 550 is there twice",
		rule("outcome: hold, code: []"):                      "2:27: code: the list is empty; leave the field out if it does not matter",
		rule("outcome: hold, code: 503"):                     "2:27: code: 503 says that the relay did not expect the command, and nothing of the message: no rule is for it",

		rule("outcome: hold, enhanced: 2.0.0"):                   `2:31: enhanced: is "2.0.0", must be like 5.7.1, or 5.7.x for all that begin with 5.7`,
		rule("outcome: hold, enhanced: 5.7"):                     "2:31: enhanced: is 5.7, must be like 5.7.1, or 5.7.x for all that begin with 5.7",
		rule("outcome: hold, enhanced: 5.7.*"):                   `2:31: enhanced: is "5.7.*", must be like 5.7.1, or 5.7.x for all that begin with 5.7`,
		rule("outcome: hold, enhanced: 5.x.x"):                   `2:31: enhanced: is "5.x.x", must be like 5.7.1, or 5.7.x for all that begin with 5.7`,
		rule("outcome: hold, enhanced: 5.07.1"):                  `2:31: enhanced: is "5.07.1", must be like 5.7.1, or 5.7.x for all that begin with 5.7`,
		rule("outcome: hold, enhanced: [5.7.1]"):                 "2:31: enhanced: is a list, must be like 5.7.1, or 5.7.x for all that begin with 5.7",
		rule("outcome: hold, code: 454, enhanced: 5.7.1"):        "2:42: enhanced: 5.7.1 does not go with code 454: both must begin with 4, or both with 5",
		rule("outcome: hold, code: [450, 550], enhanced: 4.7.x"): "2:49: enhanced: 4.7.x does not go with code 550: both must begin with 4, or both with 5",

		rule("outcome: hold, text: 4540"):             "2:27: text: is 4540, must be text, in quotes if it looks like something else",
		rule("outcome: hold, text: 454"):              "2:27: text: begins with the code 454, which a reply's words do not have; use code, or put \\b before it if it is one of the words",
		rule("outcome: hold, text: '^550 5.7.1 no'"):  "2:27: text: begins with the code 550, which a reply's words do not have; use code, or put \\b before it if it is one of the words",
		rule("outcome: hold, text: '550-no'"):         "2:27: text: begins with the code 550, which a reply's words do not have; use code, or put \\b before it if it is one of the words",
		rule("outcome: hold, text: '(?:550|554)'"):    "2:27: text: begins with the code 550, which a reply's words do not have; use code, or put \\b before it if it is one of the words",
		rule("outcome: hold, text: 5.7.1 no"):         "2:27: text: begins with the code 5.7.1, which a reply's words do not have; use enhanced, or put \\b before it if it is one of the words",
		rule("outcome: hold, text: '(5\\.7\\.1)'"):    "2:27: text: begins with the code 5.7.1, which a reply's words do not have; use enhanced, or put \\b before it if it is one of the words",
		rule(`outcome: hold, text: "\bcontingent\b"`): `2:27: text: has a control character: in double quotes YAML makes one of \ and a character; write it in single quotes`,
		rule(`outcome: hold, text: "\d+"`):            `2:29: the file is no YAML: found unknown escape character 'd'; write it in single quotes, in which YAML leaves \ as it is`,
		rule("outcome: hold, text: 'a\x01'"):          `2:27: text: has a control character; write it in single quotes like \t or \x01`,
		rule(`outcome: hold, text: ""`):               `2:27: text: is "", must be text, in quotes if it looks like something else`,
		rule(`outcome: hold, text: true`):             `2:27: text: is "true", must be text, in quotes if it looks like something else`,
		rule(`outcome: hold, text: {a: b}`):           "2:27: text: is a set of fields, must be text, in quotes if it looks like something else",
		rule(`outcome: hold, text: "(limit"`):         `2:27: text: is not a regular expression of Go: missing closing ): "(limit"; put \ before a character that is meant as such, and write text in single quotes`,
		rule(`outcome: hold, text: "*"`):              `2:27: text: is not a regular expression of Go: missing argument to repetition operator: "*"; put \ before a character that is meant as such, and write text in single quotes`,

		rule("code: 550, outcome: throttle"): `2:26: outcome: is "throttle", must be one of deferred, failed, throttled, requeued, hold`,
		rule("code: 550, outcome: Hold"):     `2:26: outcome: is "Hold", must be one of deferred, failed, throttled, requeued, hold`,
		rule("code: 550, outcome: "):         "2:25: outcome: is empty, must be one of deferred, failed, throttled, requeued, hold",
		rule("code: 550, outcome: [hold]"):   "2:26: outcome: is a list, must be one of deferred, failed, throttled, requeued, hold",

		rule("code: 550, outcome: hold, pause: 30"):     "2:39: pause: is 30, must be a duration like 90s, 2h or 1d12h",
		rule("code: 550, outcome: hold, pause: soon"):   `2:39: pause: is "soon", must be a duration like 90s, 2h or 1d12h`,
		rule("code: 550, outcome: hold, pause: "):       "2:38: pause: is empty, must be a duration like 90s, 2h or 1d12h",
		rule("code: 550, outcome: hold, pause: 0s"):     `2:39: pause: is "0s", must be more than 0 and at most 7d`,
		rule("code: 550, outcome: hold, pause: -1m"):    `2:39: pause: is "-1m", must be more than 0 and at most 7d`,
		rule("code: 550, outcome: hold, pause: 8d"):     `2:39: pause: is "8d", must be more than 0 and at most 7d`,
		rule("code: 550, outcome: failed, pause: 1m"):   "2:41: pause: does nothing with outcome failed, which stops no mail; remove it, or use throttled or hold",
		rule("code: 550, outcome: deferred, pause: 1m"): "2:43: pause: does nothing with outcome deferred, which stops no mail; remove it, or use throttled or hold",
		rule("code: 550, outcome: requeued, pause: 1m"): "2:43: pause: does nothing with outcome requeued, which stops no mail; remove it, or use throttled or hold",

		rule("code: 550, outcome: hold, note: 7"):                           "2:38: note: is 7, must be text, in quotes if it looks like something else",
		rule(`code: 550, outcome: hold, note: " "`):                         `2:38: note: is "", must be text, in quotes if it looks like something else`,
		rule(`code: 550, outcome: hold, note: "a\nb"`):                      "2:38: note: must be one line without control characters",
		rule("code: 550, outcome: hold, note: " + strings.Repeat("n", 101)): "2:38: note: has 101 bytes, may have at most 100",

		// All at once, in the order of the file.
		"rules:\n  - code: 1\n    outcome: x\n  - {code: 550, outcome: failed, pause: 1m}\nmore: 1\n": "2:11: code: is 1, must be a number from 400 to 599, or a list of them\n" +
			"3:14: outcome: is \"x\", must be one of deferred, failed, throttled, requeued, hold\n" +
			"4:41: pause: does nothing with outcome failed, which stops no mail; remove it, or use throttled or hold\n5:1: unknown field \"more\"; the file may have: rules",
	} {
		f, wrong := Parse([]byte(content))
		if got := errors.Join(wrong...); f != nil || got == nil || got.Error() != want {
			t.Errorf("%q\n got %v\nwant %s", content[:min(len(content), 200)], got, want)
		}
	}
}

// TestCovered: a rule that never decides, because an earlier one is for all of its replies,
// is an error that names that one.
func TestCovered(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		earlier, later string
		covered        bool
	}{
		{"code: 550", "code: 550", true},
		{"code: 550", "code: 550, text: x", true},
		{"code: 550", "code: 550, enhanced: 5.7.1, stage: dot", true},
		{"code: 550, text: x", "code: 550, text: x, stage: rcpt", true},
		{"code: [550, 554]", "code: 554", true},
		{"enhanced: 5.7.x", "enhanced: 5.7.1", true},
		{"enhanced: 5.7.x", "enhanced: 5.7.x, code: 550", true},
		{"code: 550, stage: [mail, rcpt]", "code: 550, stage: rcpt", true},
		{"code: 550, stage: [mail, rcpt, data, body, dot]", "code: 550", true},
		{"text: x", "code: 550, text: x", true},

		{"code: 550, text: x", "code: 550", false},
		{"code: 550, text: x", "code: 550, text: xy", false},
		{"code: 550", "code: [550, 554]", false},
		{"code: 550", "enhanced: 5.7.1", false},
		{"enhanced: 5.7.1", "enhanced: 5.7.x", false},
		{"enhanced: 5.7.x", "enhanced: 5.70.1", false},
		{"enhanced: 5.7.x", "code: 550", false},
		{"code: 550, stage: rcpt", "code: 550", false},
		{"code: 550, stage: rcpt", "code: 550, stage: [rcpt, dot]", false},
	} {
		_, wrong := Parse([]byte("rules:\n  - {code: 421, outcome: hold}\n  - {" + c.earlier + ", outcome: hold}\n  - {" + c.later + ", outcome: failed}\n"))
		want := ""
		if c.covered {
			want = "4:5: the rule in line 3 is for each reply that this one is for, and decides first: remove this rule, or put it before that one"
		}
		if got := fmt.Sprint(errors.Join(wrong...)); got != cmp.Or(want, "<nil>") {
			t.Errorf("%s, then %s: %s, want %s", c.earlier, c.later, got, want)
		}
	}
	// Of a rule that is wrong nothing is known.
	if _, wrong := Parse([]byte("rules:\n  - {code: 55, outcome: hold}\n  - {code: 550, outcome: hold}\n")); len(wrong) != 1 {
		t.Error(wrong)
	}
}

// FuzzParse: any content gives rules that are in bounds, or problems that have a position in
// it; and never a panic.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "rules: []", "rules:\n  - {stage: dot, code: 454, text: \"Throttling\", outcome: throttled, pause: 30s, note: \"account's rate\"}\n",
		"rules:\n  - stage: [mail, rcpt]\n    code:\n      - 550\n    enhanced: 5.7.x\n    outcome: hold\n", "a: &x [*x]", "<<: {a: b}", "? a\n: b", "!!int x", "%YAML 1.2\n---\n", "a: |\n x\n",
		"rules: [{text: '(', outcome: failed}]", "\xff", "a:\n\tb", strings.Repeat("[", 50), strings.Repeat("{a: ", 50), "rules: \"\\x", "- - - -", "a: >-\n\n  b", "--- ---", "rules: {",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		file, wrong := Parse(content)
		if (file == nil) != (len(wrong) > 0) {
			t.Fatalf("%v, %v", file, wrong)
		}
		for _, err := range wrong {
			p, ok := errors.AsType[PositionError](err)
			if !ok || p.Line < 1 || p.Column < 1 || p.What == "" || mail.HasControl(p.What) || len(p.What) > 2*mail.MaxReply {
				t.Errorf("%#v", err)
			}
		}
		if file == nil {
			return
		}
		for _, x := range file.Rules {
			if x.Outcome == "" || x.Line < 1 || len(x.Codes) == 0 && x.Enhanced == "" && x.Text == nil || x.Pause < 0 || len(x.Note) > smtp.MaxRuleNote {
				t.Errorf("%+v", x)
			}
			if _, err := smtp.Explain([]smtp.Rule{x}, mail.StageDot, fmt.Sprint(550, " ", x.Note)); err != nil {
				t.Error(err)
			}
		}
	})
}
