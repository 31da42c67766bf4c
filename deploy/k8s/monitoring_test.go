package k8s

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// expressions are all of them, in alarms and graphs, by where they stand.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, r := range alerts(t) {
		all["alert "+r.Alert] = r.Expr.String()
	}
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, RefID string }
		}
	}
	if err := json.Unmarshal(readFile(t, "components/monitoring/dashboard.json"), &d); err != nil {
		t.Fatal(err)
	}
	for _, p := range d.Panels {
		for _, x := range p.Targets {
			all["panel "+p.Title+" "+x.RefID] = strings.ReplaceAll(x.Expr, "$__rate_interval", "5m")
		}
	}
	return all
}

func alerts(t *testing.T) []monitoring.Rule {
	t.Helper()
	var all []monitoring.Rule
	for _, r := range find[*monitoring.PrometheusRule](render(t, "dev"+withAll)) {
		for _, g := range r.Spec.Groups {
			all = append(all, g.Rules...)
		}
	}
	return all
}

// metrics: what alarms and graphs go by, a worker that has delivered, deferred
// and buried shows, with those labels.
func (l *live) metrics(t *testing.T) {
	_, text := get(t, "http://"+l.admin+"/metrics")
	labels := map[string]map[string]bool{}
	sample := regexp.MustCompile(`(?m)^([a-z_]+)(?:\{(.*)\})? \S+$`)
	label := regexp.MustCompile(`(\w+)="`)
	for _, m := range sample.FindAllStringSubmatch(text, -1) {
		if labels[m[1]] == nil {
			labels[m[1]] = map[string]bool{"instance": true} // Prometheus' own
		}
		for _, n := range label.FindAllStringSubmatch(m[2], -1) {
			labels[m[1]][n[1]] = true
		}
	}
	delete(labels, "postrider_store_limit_bytes") // asked for below
	for where, expr := range expressions(t) {
		x, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
		if err != nil {
			t.Errorf("%s: %v", where, err)
			continue
		}
		parser.Inspect(x, func(n parser.Node, _ []parser.Node) error {
			if v, ok := n.(*parser.VectorSelector); ok && v.Name != "postrider_store_limit_bytes" {
				for _, m := range v.LabelMatchers {
					if m.Name != "__name__" && !labels[v.Name][m.Name] {
						t.Errorf("%s: %s has no label %s", where, v.Name, m.Name)
					}
				}
				if labels[v.Name] == nil {
					t.Errorf("%s: there is no metric %s", where, v.Name)
				}
			}
			return nil
		})
	}
}

// TestAlerts runs promtool on the rules and their cases.
func TestAlerts(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("POSTRIDER_TEST_PROMTOOL") == "required" {
			t.Fatal("promtool is missing: install the package prometheus")
		}
		t.Skip("SKIPPED: the alarms are not tested without promtool (Debian's package prometheus)")
	}
	dir := t.TempDir()
	rules, err := yaml.Marshal(find[*monitoring.PrometheusRule](render(t, "dev"+withAll))[0].Spec)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "rules.yaml"), string(rules))
	write(t, filepath.Join(dir, "rules_test.yaml"), string(readFile(t, "components/monitoring/rules_test.yaml")))
	for _, args := range [][]string{{"check", "rules", "rules.yaml"}, {"test", "rules", "rules_test.yaml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// TestRunbooks: each alarm has a case that speaks, and a section that says what
// to do; each such section has its alarm.
func TestRunbooks(t *testing.T) {
	t.Parallel()
	var cases struct {
		Tests []struct {
			AlertRuleTest []struct {
				Alertname string           `json:"alertname"`
				ExpAlerts []map[string]any `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	if err := yaml.Unmarshal(readFile(t, "components/monitoring/rules_test.yaml"), &cases); err != nil {
		t.Fatal(err)
	}
	silent, speaks := map[string]bool{}, map[string]bool{}
	for _, c := range cases.Tests {
		for _, x := range c.AlertRuleTest {
			speaks[x.Alertname] = speaks[x.Alertname] || len(x.ExpAlerts) > 0
			silent[x.Alertname] = silent[x.Alertname] || len(x.ExpAlerts) == 0
		}
	}
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^### (Postrider\w+)$`).FindAllStringSubmatch(string(readFile(t, "../../docs/operations.md")), -1) {
		sections[m[1]] = true
	}
	for _, r := range alerts(t) {
		if !speaks[r.Alert] || !silent[r.Alert] {
			t.Errorf("%s has no case in which it speaks and one in which it is silent", r.Alert)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
			t.Errorf("%s says too little: %v %v", r.Alert, r.Annotations, r.Labels)
		}
		_, anchor, _ := strings.Cut(r.Annotations["runbook_url"], "/docs/operations.md#")
		if anchor != strings.ToLower(r.Alert) || !sections[r.Alert] {
			t.Errorf("%s points to %s", r.Alert, r.Annotations["runbook_url"])
		}
		delete(sections, r.Alert)
	}
	if len(sections) > 0 {
		t.Errorf("there is no alarm for %v", slices.Sorted(maps.Keys(sections)))
	}
}
