package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/testrun"
)

// hunt collects everything that leaves the programs, to look for secrets in it.
type hunt struct {
	w *world
	// found is what was collected, by where.
	found map[string][]byte
}

func newHunt(w *world) *hunt { return &hunt{w: w, found: map[string][]byte{}} }

func (h *hunt) add(where string, b []byte) { h.found[where] = append(h.found[where], b...) }

// run runs a program and keeps what it says.
func (h *hunt) run(program string, args ...string) {
	h.w.t.Helper()
	out, stderr, status := h.w.run(program, args...)
	h.add(fmt.Sprint(program, " ", strings.Join(args, " ")), fmt.Appendf(nil, "%s\n%s\n%d", out, stderr, status))
}

// serve runs a worker that may wait for its broker for ever, until it has said
// something. What it says is in files.
func (h *hunt) serve(args ...string) {
	h.w.t.Helper()
	p := h.w.start("worker-"+strconv.Itoa(len(h.found)), "worker", args...)
	testrun.Eventually(h.w.t, "the worker says what is wrong", 30*time.Second, func() bool {
		return len(read(h.w.t, p.Out))+len(read(h.w.t, p.Err)) > 0
	})
	if err := p.End(syscall.SIGTERM); err != nil {
		h.w.t.Fatal(err)
	}
	h.add(strings.Join(append([]string{"worker"}, args...), " "), []byte(read(h.w.t, p.Out)+read(h.w.t, p.Err)))
}

// pages are what the worker serves.
func (h *hunt) pages(admin string) {
	h.w.t.Helper()
	for _, page := range []string{"/", "/metrics", "/livez", "/healthz", "/readyz", "/startupz"} {
		r, err := http.Get(admin + page)
		if err != nil {
			h.w.t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			h.w.t.Fatal(err)
		}
		h.add(page, b)
	}
}

// streams are all messages of all streams, with their headers, and how streams
// and consumers are set.
func (h *hunt) streams(js jetstream.JetStream) {
	t := h.w.t
	t.Helper()
	all := js.ListStreams(t.Context())
	for info := range all.Info() {
		h.addJSON(info.Config.Name, info)
		s, err := js.Stream(t.Context(), info.Config.Name)
		if err != nil {
			t.Fatal(err)
		}
		consumers := s.ListConsumers(t.Context())
		for c := range consumers.Info() {
			h.addJSON(info.Config.Name, c)
		}
		for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
			m, err := s.GetMsg(t.Context(), seq)
			if err != nil {
				continue // settled by now
			}
			h.add(info.Config.Name, fmt.Appendf(nil, "%s\n%v\n%s\n", m.Subject, m.Header, m.Data))
		}
	}
	if err := all.Err(); err != nil {
		t.Fatal(err)
	}
}

func (h *hunt) addJSON(where string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		h.w.t.Fatal(err)
	}
	h.add(where, b)
}

// embeddedStreams are those of the worker's own broker.
func (h *hunt) embeddedStreams() {
	h.w.t.Helper()
	cfg := broker.DefaultConfig()
	cfg.DataDir, cfg.Listen, cfg.Role = h.w.path("data"), h.w.get("NATS_LISTEN"), broker.Operator
	c, err := broker.Dial(h.w.t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		h.w.t.Fatal(err)
	}
	defer c.Close()
	h.streams(c.JS())
}

// files are all in the world's directory, what its programs said included, but
// for those that are meant to hold a credential.
func (h *hunt) files() {
	h.w.t.Helper()
	err := filepath.WalkDir(h.w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, ".nk") {
			return err
		}
		b, err := os.ReadFile(path)
		h.add(strings.TrimPrefix(path, h.w.dir), b)
		return err
	})
	if err != nil {
		h.w.t.Fatal(err)
	}
}

// wantNone looks for secrets, by name, in all their forms.
func (h *hunt) wantNone(secrets map[string]string) {
	h.w.t.Helper()
	for name, secret := range secrets {
		for form, s := range secretForms(secret) {
			for where, b := range h.found {
				if i := bytes.Index(b, []byte(s)); i >= 0 {
					h.w.t.Errorf("%s stands in %s, %s: …%q…", name, where, form, b[max(0, i-80):min(len(b), i+len(s)+20)])
				}
			}
		}
	}
}

// wantIn wants the hunt to have been where mail is spoken of.
func (h *hunt) wantIn(word string, places ...string) {
	h.w.t.Helper()
	for _, p := range places {
		if !bytes.Contains(h.found[p], []byte(word)) {
			h.w.t.Errorf("%q does not stand in %s, which was to be searched: %.500q", word, p, h.found[p])
		}
	}
}

// secretForms are those in which a secret could have got out.
func secretForms(secret string) map[string]string {
	asJSON, err := json.Marshal(secret)
	if err != nil {
		panic(err)
	}
	f := map[string]string{
		"as it is": secret, "escaped for a URL": url.QueryEscape(secret), "escaped for a path": url.PathEscape(secret),
		"quoted": strings.Trim(strconv.Quote(secret), `"`), "quoted in ASCII": strings.Trim(strconv.QuoteToASCII(secret), `"`), "in JSON": strings.Trim(string(asJSON), `"`),
		"in hexadecimal": hex.EncodeToString([]byte(secret)), "in HEXADECIMAL": strings.ToUpper(hex.EncodeToString([]byte(secret))),
	}
	for before := range 3 {
		// The ends depend on what is around it.
		for kind, enc := range map[string]*base64.Encoding{"base64": base64.StdEncoding, "base64 for URLs": base64.URLEncoding} {
			s := enc.EncodeToString([]byte(strings.Repeat("x", before) + secret + "xx"))
			f[fmt.Sprintf("in %s, at %d", kind, before)] = s[4 : 4*((before+len(secret))/3)]
		}
	}
	return f
}

// TestSecretForms: the hunt knows a secret when it sees it.
func TestSecretForms(t *testing.T) {
	t.Parallel()
	const secret = `c4n"ary/%41é+ pass`
	for _, said := range []string{
		"x " + secret, fmt.Sprintf("%q", secret), fmt.Sprintf("%x", secret), url.QueryEscape("\x00user\x00" + secret),
		base64.StdEncoding.EncodeToString([]byte("\x00user\x00" + secret)), base64.URLEncoding.EncodeToString([]byte("u:" + secret)),
	} {
		forms := slices.Collect(maps.Values(secretForms(secret)))
		if !slices.ContainsFunc(forms, func(f string) bool { return strings.Contains(said, f) }) {
			t.Errorf("%q is not seen", said)
		}
	}
}
