package k8s

import (
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	security "k8s.io/pod-security-admission/api"
	evaluate "k8s.io/pod-security-admission/policy"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
)

// each runs a test on every overlay.
func each(t *testing.T, test func(t *testing.T, s *system)) {
	t.Helper()
	for _, name := range overlays {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, render(t, name))
		})
	}
}

// TestBareCluster: without the components nothing needs the CRDs of others.
func TestBareCluster(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *system) {
		own := len(find[*monitoring.PodMonitor](s)) + len(find[*monitoring.PrometheusRule](s)) + len(s.scaled)
		if components := strings.HasSuffix(s.overlay, withAll); components != (own == 3) || !components && own != 0 {
			t.Errorf("%d objects of CRDs", own)
		}
	})
}

// TestDeleted: "kubectl delete -k" takes the namespace, and with it all mail and
// Secrets, only where these are part of what is to try.
func TestDeleted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *system) {
		if n, dev := len(find[*core.Namespace](s)), strings.HasPrefix(s.overlay, "dev"); dev != (n == 1) || n > 1 {
			t.Errorf("%d namespaces", n)
		}
	})
}

// TestPodSecurity: the namespace admits its own pods, by Kubernetes' own checks.
func TestPodSecurity(t *testing.T) {
	t.Parallel()
	ev, err := evaluate.NewEvaluator(evaluate.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, name string, p core.PodTemplateSpec) {
		t.Helper()
		level := security.LevelVersion{Level: security.LevelRestricted, Version: security.LatestVersion()}
		for _, r := range ev.EvaluatePod(level, &p.ObjectMeta, &p.Spec) {
			if !r.Allowed {
				t.Errorf("%s: %s: %s", name, r.ForbiddenReason, r.ForbiddenDetail)
			}
		}
		if token := p.Spec.AutomountServiceAccountToken; token == nil || *token {
			t.Errorf("%s has a token for the API", name)
		}
		for _, c := range p.Spec.Containers {
			checkContainer(t, name, c)
		}
	}
	each(t, func(t *testing.T, s *system) {
		for _, p := range s.pods() {
			check(t, p.name, p.PodTemplateSpec)
		}
	})
	t.Run("namespace", func(t *testing.T) {
		t.Parallel()
		if l := find[*core.Namespace](render(t, "namespace"))[0].Labels; l[security.EnforceLevelLabel] != string(security.LevelRestricted) {
			t.Errorf("it admits any pod: %v", l)
		}
	})
	t.Run("first-mail", func(t *testing.T) {
		t.Parallel()
		check(t, "Job", firstMail(t).Spec.Template)
	})
}

// checkContainer holds what the restricted level does not ask for.
func checkContainer(t *testing.T, name string, c core.Container) {
	t.Helper()
	if ro := c.SecurityContext.ReadOnlyRootFilesystem; ro == nil || !*ro {
		t.Errorf("%s: %s can write to its image", name, c.Name)
	}
	for _, r := range []core.ResourceName{core.ResourceMemory, core.ResourceEphemeralStorage} {
		if limit, request := c.Resources.Limits[r], c.Resources.Requests[r]; limit.IsZero() || request.IsZero() {
			t.Errorf("%s: %s has no request or limit of %s", name, c.Name, r)
		}
	}
	if _, limited := c.Resources.Limits[core.ResourceCPU]; limited {
		t.Errorf("%s: %s has a limit of CPU", name, c.Name)
	}
}

// TestSelectors: what selects pods finds some, and the ports it names.
func TestSelectors(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *system) {
		for _, p := range s.pods() {
			if !labels.SelectorFromSet(p.selector).Matches(labels.Set(p.Labels)) {
				t.Errorf("%s does not select its own pods", p.name)
			}
			for _, c := range p.Spec.TopologySpreadConstraints {
				s.finds(t, "spread of "+p.name, c.LabelSelector)
			}
		}
		for _, x := range find[*core.Service](s) {
			pods := s.finds(t, "Service "+x.Name, &meta.LabelSelector{MatchLabels: x.Spec.Selector})
			for _, port := range x.Spec.Ports {
				hasPort(t, "Service "+x.Name, pods, port.TargetPort)
			}
		}
		for _, x := range find[*policy.PodDisruptionBudget](s) {
			s.finds(t, "PodDisruptionBudget "+x.Name, x.Spec.Selector)
			if e := x.Spec.UnhealthyPodEvictionPolicy; e == nil || *e != policy.AlwaysAllow {
				t.Errorf("PodDisruptionBudget %s keeps nodes with sick pods from being drained", x.Name)
			}
		}
		for _, x := range find[*monitoring.PodMonitor](s) {
			pods := s.finds(t, "PodMonitor "+x.Name, &x.Spec.Selector)
			for _, e := range x.Spec.PodMetricsEndpoints {
				hasPort(t, "PodMonitor "+x.Name, pods, intstr.FromString(*e.Port))
			}
		}
		for _, x := range find[*networking.NetworkPolicy](s) {
			s.checkPolicy(t, x)
		}
		s.checkProbes(t)
	})
}

// finds gives the pods that a selector selects.
func (s *system) finds(t *testing.T, who string, by *meta.LabelSelector) []pod {
	t.Helper()
	sel, err := meta.LabelSelectorAsSelector(by)
	if err != nil {
		t.Fatalf("%s: %v", who, err)
	}
	var found []pod
	for _, p := range s.pods() {
		if sel.Matches(labels.Set(p.Labels)) {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		t.Errorf("%s selects no pod: %s", who, sel)
	}
	return found
}

// hasPort: all those pods listen on that port.
func hasPort(t *testing.T, who string, pods []pod, port intstr.IntOrString) {
	t.Helper()
	for _, p := range pods {
		if !slices.ContainsFunc(p.Spec.Containers, func(c core.Container) bool { return listens(c, port) }) {
			t.Errorf("%s wants port %s, which %s does not have", who, port.String(), p.name)
		}
	}
}

func listens(c core.Container, port intstr.IntOrString) bool {
	return slices.ContainsFunc(c.Ports, func(p core.ContainerPort) bool { return port.StrVal == p.Name || port.IntVal == p.ContainerPort })
}

// checkPolicy: ports that a policy names are those of the pods behind them; a
// number may be anybody's.
func (s *system) checkPolicy(t *testing.T, x *networking.NetworkPolicy) {
	t.Helper()
	who := "NetworkPolicy " + x.Name
	own := s.finds(t, who, &x.Spec.PodSelector)
	named := func(pods []pod, ports []networking.NetworkPolicyPort) {
		for _, p := range ports {
			if p.Port.Type == intstr.String {
				hasPort(t, who, pods, *p.Port)
			}
		}
	}
	peers := func(all []networking.NetworkPolicyPeer) (pods []pod) {
		for _, p := range all {
			if p.PodSelector != nil {
				pods = append(pods, s.finds(t, who, p.PodSelector)...)
			}
		}
		return pods
	}
	for _, r := range x.Spec.Ingress {
		peers(r.From)
		named(own, r.Ports)
	}
	for _, r := range x.Spec.Egress {
		named(peers(r.To), r.Ports)
	}
}

// TestRelayPorts: workers may reach the ports of submission, those beside them that
// providers offer where the usual ones are blocked, and that of SMTP_URL.
func TestRelayPorts(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *system) {
		want := []string{"25", "465", "587", "2525", "2465", "2587"}
		worker := s.worker(t).Spec.Template
		data, _ := s.configMap(worker.Spec.Containers[0].EnvFrom[0].ConfigMapRef.Name)
		if u, err := url.Parse(data["SMTP_URL"]); err != nil {
			t.Error(err)
		} else if u.Host != "" {
			want = append(want, u.Port())
		}
		open := map[string]bool{}
		for _, x := range find[*networking.NetworkPolicy](s) {
			sel, err := meta.LabelSelectorAsSelector(&x.Spec.PodSelector)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range x.Spec.Egress {
				for _, p := range r.Ports {
					open[p.Port.String()] = open[p.Port.String()] || sel.Matches(labels.Set(worker.Labels)) && len(r.To) == 0
				}
			}
		}
		for _, port := range want {
			if !open[port] {
				t.Errorf("workers do not reach port %s of a relay", port)
			}
		}
	})
}

func (s *system) checkProbes(t *testing.T) {
	t.Helper()
	for _, p := range s.pods() {
		for _, c := range p.Spec.Containers {
			for _, probe := range probes(c) {
				port := intstr.IntOrString{}
				if probe.HTTPGet != nil {
					port = probe.HTTPGet.Port
				} else if probe.TCPSocket != nil {
					port = probe.TCPSocket.Port
				}
				if !listens(c, port) {
					t.Errorf("%s: a probe asks port %q", p.name, port.String())
				}
			}
			if c.ReadinessProbe == nil {
				t.Errorf("%s: nobody knows when %s is ready", p.name, c.Name)
			}
		}
	}
}

func probes(c core.Container) []*core.Probe {
	return slices.DeleteFunc([]*core.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe}, func(p *core.Probe) bool { return p == nil })
}

// TestSpread: pods spread over nodes also if these have no zone. The scheduler's
// scores leave out nodes that lack the key of any soft constraint, so that a second
// one switches the first off there: four workers were on one of two nodes.
func TestSpread(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *system) {
		for _, p := range s.pods() {
			for _, c := range p.Spec.TopologySpreadConstraints {
				if c.TopologyKey != core.LabelHostname {
					t.Errorf("%s spreads by %s", p.name, c.TopologyKey)
				}
			}
		}
		w := s.worker(t).Spec.Template.Spec
		if len(w.TopologySpreadConstraints) != 1 {
			t.Errorf("workers spread by %v", w.TopologySpreadConstraints)
		}
		apart := w.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution
		if len(apart) != 1 || apart[0].PodAffinityTerm.TopologyKey != core.LabelTopologyZone {
			t.Fatalf("workers keep apart by %v", apart)
		}
		s.finds(t, "anti-affinity of workers", apart[0].PodAffinityTerm.LabelSelector)
	})
}

// TestWaitingIsNoFault: a broker that is away restarts no worker, also none that
// starts meanwhile. With a startup probe that waited for five minutes each was
// restarted every five minutes, and in the end only after as long a pause.
func TestWaitingIsNoFault(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *system) {
		c := s.worker(t).Spec.Template.Spec.Containers[0]
		if path := c.LivenessProbe.HTTPGet.Path; path != "/livez" {
			t.Errorf("a worker that does not answer ok at %s is restarted", path)
		}
		if p := c.StartupProbe; p != nil && p.HTTPGet.Path != "/livez" {
			t.Errorf("a worker that does not answer ok at %s within %d s is restarted", p.HTTPGet.Path, p.PeriodSeconds*p.FailureThreshold)
		}
	})
}

// TestHangingIsShort: a worker that hangs is not given the time of a drain. With the
// pod's grace it was replaced after 149 s.
func TestHangingIsShort(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *system) {
		pod := s.worker(t).Spec.Template.Spec
		if grace := pod.Containers[0].LivenessProbe.TerminationGracePeriodSeconds; grace == nil || *grace < 10 || *grace > 30 || *grace >= *pod.TerminationGracePeriodSeconds {
			t.Errorf("a worker that hangs has %v s to end", grace)
		}
	})
}

// TestReferences: what pods refer to is there, but for the one Secret that is
// made apart.
func TestReferences(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *system) {
		apart := map[string]bool{"postrider": !strings.HasPrefix(s.overlay, "dev")}
		config := func(who, name string) {
			if _, ok := s.configMap(name); !ok {
				t.Errorf("%s refers to ConfigMap %s", who, name)
			}
		}
		secret := func(who, name string) {
			if _, ok := s.secret(name); !ok && !apart[name] {
				t.Errorf("%s refers to Secret %s", who, name)
			}
		}
		for _, p := range s.pods() {
			if a := p.Spec.ServiceAccountName; a != "" && !slices.ContainsFunc(find[*core.ServiceAccount](s), func(x *core.ServiceAccount) bool { return x.Name == a }) {
				t.Errorf("%s refers to ServiceAccount %s", p.name, a)
			}
			for _, v := range p.Spec.Volumes {
				if v.ConfigMap != nil {
					config(p.name, v.ConfigMap.Name)
				}
				if v.Secret != nil {
					secret(p.name, v.Secret.SecretName)
				}
			}
			for _, c := range p.Spec.Containers {
				for _, e := range c.EnvFrom {
					if e.ConfigMapRef != nil {
						config(p.name, e.ConfigMapRef.Name)
					}
					if e.SecretRef != nil {
						secret(p.name, e.SecretRef.Name)
					}
				}
			}
		}
	})
}

// TestImmutable: a ConfigMap whose change would roll pods cannot be changed in the
// cluster, where it would roll none. One with a name of its own is changed in place.
func TestImmutable(t *testing.T) {
	t.Parallel()
	hashed := regexp.MustCompile(`-[a-z0-9]{10}$`)
	each(t, func(t *testing.T, s *system) {
		for _, m := range find[*core.ConfigMap](s) {
			if fixed := m.Immutable != nil && *m.Immutable; fixed != hashed.MatchString(m.Name) {
				t.Errorf("ConfigMap %s is immutable: %v", m.Name, fixed)
			}
		}
	})
}

// TestRollout: a rollout never has fewer workers than before, and each has time
// to settle what it has in flight.
func TestRollout(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *system) {
		d := s.worker(t)
		u := d.Spec.Strategy.RollingUpdate
		if u.MaxUnavailable.IntValue() != 0 || u.MaxSurge.IntValue() < 1 {
			t.Errorf("a rollout goes by %+v", u)
		}
		data, _ := s.configMap(d.Spec.Template.Spec.Containers[0].EnvFrom[0].ConfigMapRef.Name)
		drain, err := time.ParseDuration(data["POSTRIDER_DRAIN"])
		if err != nil {
			t.Fatal(err)
		}
		if grace := time.Duration(*d.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second; grace < drain+10*time.Second {
			t.Errorf("killed after %s, and drains for %s", grace, drain)
		}
		if scaled := len(s.scaled) > 0; scaled != (d.Spec.Replicas == nil) {
			t.Errorf("replicas is %v, and KEDA's is %v", d.Spec.Replicas, scaled)
		}
	})
}

// TestLameDuck: dev's NATS hands over what it leads before it ends, and has time to.
// The official chart does so by itself.
func TestLameDuck(t *testing.T) {
	t.Parallel()
	s := render(t, "dev")
	c, _ := s.nats(t)
	if l, want := c.Lifecycle, []string{"nats-server", "--signal", "ldm=1"}; l == nil || l.PreStop == nil || !slices.Equal(l.PreStop.Exec.Command, want) {
		t.Errorf("before SIGTERM it is told nothing: %v", l)
	}
	m := regexp.MustCompile(`(?m)^lame_duck_duration: (\S+)$`).FindSubmatch(readFile(t, "dev/nats.conf"))
	if m == nil {
		t.Fatal("nats.conf has no lame_duck_duration")
	}
	takes, err := time.ParseDuration(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range find[*apps.StatefulSet](s) {
		if grace := time.Duration(*d.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second; grace < takes+20*time.Second {
			t.Errorf("killed after %s, and takes its leave for %s", grace, takes)
		}
	}
}

// TestFirstMail: what sends a newcomer's first mail is of the workers' image, also
// after that was changed in its one place; TestDev sends that mail.
func TestFirstMail(t *testing.T) {
	t.Parallel()
	s, c := render(t, "dev"), firstMail(t).Spec.Template.Spec.Containers[0]
	if image := s.worker(t).Spec.Template.Spec.Containers[0].Image; c.Image != image {
		t.Errorf("its image is %s, the workers' %s", c.Image, image)
	}
	for _, file := range []string{"dev/kustomization.yaml", "dev/first-mail/kustomization.yaml"} {
		if strings.Contains(string(readFile(t, file)), "images:") {
			t.Errorf("%s has an image of its own", file)
		}
	}
}

// TestCommands: the files that docs/operations.md names to kubectl are there, what
// it waits for by a label has that label, and it makes no namespace that a manifest
// holds: "kubectl apply" would warn of it.
func TestCommands(t *testing.T) {
	t.Parallel()
	_, text, _ := strings.Cut(string(readFile(t, "../../docs/operations.md")), "### Kubernetes, to try")
	namespace := "kubectl create namespace " + find[*core.Namespace](render(t, "namespace"))[0].Name
	job := firstMail(t)
	var seen []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "kubectl ") {
			continue
		}
		if strings.TrimSpace(line) == namespace {
			t.Errorf("%q: a manifest has the namespace", namespace)
		}
		words := strings.Fields(strings.ReplaceAll(line, "--from-file=", "-f "))
		for i, word := range words[1:] {
			switch words[i] {
			case "-f", "-k":
				if _, err := os.Stat("../../" + word); err != nil {
					t.Error(err)
				}
				seen = append(seen, word)
			case "-l":
				if k, v, _ := strings.Cut(word, "="); job.Labels[k] != v {
					t.Errorf("%q selects no job of dev/first-mail: %v", word, job.Labels)
				}
				seen = append(seen, word)
			}
		}
	}
	if len(seen) != 9 {
		t.Errorf("the commands name %q", seen)
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
