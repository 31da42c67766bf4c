// Package k8s checks the manifests without a cluster: that they render, decode
// strictly into the API's own types, fit together, fit the programs as built,
// and that the NATS servers and workers they describe work with each other.
package k8s

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// overlays are the systems that can be rendered; those with this ending have the
// components that need the CRDs of others.
const withAll = "-with-all"

var overlays = []string{"base", "dev", "prod", "base" + withAll, "dev" + withAll, "prod" + withAll}

// system is what an overlay renders to.
type system struct {
	overlay string
	objects []runtime.Object
	scaled  []scaledObject // KEDA's, whose types would bring half of Kubernetes
}

// tree is this directory in memory, with an overlay on each system that adds
// the components.
func tree(t testing.TB) filesys.FileSystem {
	t.Helper()
	mem := filesys.MakeFsInMemory()
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		return mem.WriteFile(path.Join("/k8s", filepath.ToSlash(file)), b)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range overlays {
		if on, ok := strings.CutSuffix(name, withAll); ok {
			text := fmt.Sprintf("resources: [../%s]\nnamespace: postrider\ncomponents: [../components/monitoring, ../components/keda]\n", on)
			if on == "prod" { // a copy, with the lines in which it says how
				text = regexp.MustCompile(`(?m)^# (components:|  - \.\./)`).ReplaceAllString(string(readFile(t, "prod/kustomization.yaml")), "$1")
			}
			if err := mem.WriteFile("/k8s/"+name+"/kustomization.yaml", []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return mem
}

// render renders an overlay and decodes it.
func render(t testing.TB, overlay string) *system {
	t.Helper()
	all, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(tree(t), "/k8s/"+overlay)
	if err != nil {
		t.Fatalf("render %s: %v", overlay, err)
	}
	s := &system{overlay: overlay}
	for _, r := range all.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		if ns := r.GetNamespace(); r.GetKind() != "Namespace" && ns != "postrider" {
			t.Errorf("%s: %s %s is in namespace %q", overlay, r.GetKind(), r.GetName(), ns)
		}
		if r.GetKind() == "ScaledObject" {
			s.scaled = append(s.scaled, decodeScaled(t, text))
			continue
		}
		s.objects = append(s.objects, decode(t, text))
	}
	return s
}

// decode decodes into the API's types and refuses a field that they do not have.
func decode(t testing.TB, text []byte) runtime.Object {
	t.Helper()
	o, _, err := serializer.NewCodecFactory(scheme(t), serializer.EnableStrict).UniversalDeserializer().Decode(text, nil, nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return o
}

func scheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		apps.AddToScheme, batch.AddToScheme, core.AddToScheme, networking.AddToScheme, policy.AddToScheme, monitoring.AddToScheme,
	} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// find gives all objects of one type.
func find[T runtime.Object](s *system) []T {
	var all []T
	for _, o := range s.objects {
		if x, ok := o.(T); ok {
			all = append(all, x)
		}
	}
	return all
}

// pod is a pod as some object would make it.
type pod struct {
	name     string
	selector map[string]string
	core.PodTemplateSpec
}

func (s *system) pods() []pod {
	var all []pod
	for _, d := range find[*apps.Deployment](s) {
		all = append(all, pod{"Deployment " + d.Name, d.Spec.Selector.MatchLabels, d.Spec.Template})
	}
	for _, d := range find[*apps.StatefulSet](s) {
		all = append(all, pod{"StatefulSet " + d.Name, d.Spec.Selector.MatchLabels, d.Spec.Template})
	}
	return all
}

// worker is the Deployment of the workers.
func (s *system) worker(t testing.TB) *apps.Deployment {
	t.Helper()
	for _, d := range find[*apps.Deployment](s) {
		if d.Name == "postrider" {
			return d
		}
	}
	t.Fatalf("%s has no Deployment postrider", s.overlay)
	return nil
}

// firstMail is the Job of a newcomer's first mail.
func firstMail(t testing.TB) *batch.Job {
	t.Helper()
	jobs := find[*batch.Job](render(t, "dev/first-mail"))
	if len(jobs) != 1 {
		t.Fatalf("dev/first-mail renders %d jobs", len(jobs))
	}
	return jobs[0]
}

// configMap and secret are the data of those of that name.
func (s *system) configMap(name string) (map[string]string, bool) {
	for _, m := range find[*core.ConfigMap](s) {
		if m.Name == name {
			return m.Data, true
		}
	}
	return nil, false
}

func (s *system) secret(name string) (map[string][]byte, bool) {
	for _, m := range find[*core.Secret](s) {
		if m.Name == name {
			return m.Data, true
		}
	}
	return nil, false
}
