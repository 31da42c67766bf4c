package smtp

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/internal/smtptest"
)

// careless is a relay that accepts RCPT and DATA whatever it said to MAIL.
func careless(refuse func(smtptest.Step) string) smtptest.Option {
	return smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		switch {
		case st.Verb == "MAIL" && refuse(st) != "":
			return &smtptest.Answer{Reply: refuse(st)}
		case st.Verb == "RCPT":
			return &smtptest.Answer{Reply: "250 2.1.5 ok"}
		case st.Verb == "DATA":
			return &smtptest.Answer{Reply: "354 go ahead"}
		case st.Verb == "DOT":
			return &smtptest.Answer{Reply: "250 2.0.0 Ok: queued as 1"}
		}
		return nil
	})
}

// TestMailAgainAfterData: a relay that refuses a parameter of MAIL and accepts the
// rest of the group waits for a body. The second MAIL must not be written into it.
func TestMailAgainAfterData(t *testing.T) {
	t.Parallel()
	for _, reply := range []string{"501 5.5.4 parameter", "555 5.5.4 parameter"} {
		b := newBundle(t, smtptest.New(t, careless(func(st smtptest.Step) string {
			if strings.Contains(st.Line, "SIZE") {
				return reply
			}
			return ""
		})), nil)
		b.wantClasses(t, message("a@x.test", "b@x.test"), "delivered delivered")
		first, all := b.server.Transcript(1), b.server.Messages()
		if strings.Count(first, "C: MAIL") != 1 || !strings.HasSuffix(first, "S: 354 go ahead\r\n") {
			t.Errorf("%s: the first session:\n%s", reply, first)
		}
		if len(all) != 1 || !strings.HasPrefix(string(all[0].Data), "Subject: test") || len(all[0].Rcpts) != 2 {
			t.Errorf("%s: the relay accepted %+v", reply, all)
		}
	}
}

// TestMailAgainAfterRcpt: the same without DATA. The relay may have begun a
// transaction, and forgets it before the second MAIL.
func TestMailAgainAfterRcpt(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"503 5.5.1 RCPT first", "421 4.3.2 closing", "354 go ahead"} {
		rcpt := "250 2.1.5 ok"
		if strings.HasPrefix(data, "354") {
			rcpt = "503 5.5.1 MAIL first" // so that a lone dot is due
		}
		b := newBundle(t, smtptest.New(t, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			switch {
			case st.Message > 1 || st.Session > 1:
			case st.Verb == "MAIL":
				return &smtptest.Answer{Reply: "555 5.5.4 SIZE"}
			case st.Verb == "RCPT":
				return &smtptest.Answer{Reply: rcpt}
			case st.Verb == "DATA":
				return &smtptest.Answer{Reply: data, HangUp: data[0] == '4'}
			}
			return nil
		})), nil)
		b.wantClasses(t, message(), "delivered")
		want := map[string]string{"503": "S: 503 5.5.1 RCPT first\r\nC: RSET\r\nS: 250 2.0.0 ok\r\nC: MAIL", "421": "S: 421 4.3.2 closing\r\n", "354": "C: .\r\nS: 554 5.5.1 no valid recipients\r\nC: MAIL"}[data[:3]]
		if s := b.server.Transcript(1); !strings.Contains(s, want) || b.server.Accepted() != 1 {
			t.Errorf("%s: %d messages\n%s", data, b.server.Accepted(), s)
		}
	}
}

// TestNoEmptyMessage: if a relay refuses MAIL and accepts a recipient and DATA, a
// lone dot would send an empty message to that recipient.
func TestNoEmptyMessage(t *testing.T) {
	t.Parallel()
	for reply, class := range map[string]string{
		"550 5.7.1 not you": "failed", "450 4.7.1 greylisted": "deferred", "452 4.3.1 full": "requeued", "530 5.7.0 who are you": "requeued",
		"503 5.5.1 bad sequence": "requeued",
	} {
		b := newBundle(t, smtptest.New(t, careless(func(smtptest.Step) string { return reply })), nil)
		b.wantClasses(t, message("a@x.test", "b@x.test"), class+" "+class)
		if s := b.server.Transcript(1); strings.Contains(s, "C: .") || b.server.Accepted() != 0 {
			t.Errorf("%s: %d messages:\n%s", reply, b.server.Accepted(), s)
		}
	}
}
