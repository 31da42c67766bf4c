package k8s

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resource"

	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/storm"
	"github.com/postrider/postrider/internal/testrun"
)

// TestApply: a real API server takes every manifest, knows each field, has nothing
// to warn of, changes nothing the second time, and admits the pods. It needs etcd
// and kube-apiserver, in KUBEBUILDER_ASSETS or on the PATH; no pod runs.
func TestApply(t *testing.T) {
	a := startAPI(t)
	for _, overlay := range []string{"namespace", "base", "dev", "prod"} {
		t.Run(overlay, func(t *testing.T) {
			all, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(tree(t), "/k8s/"+overlay)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range all.Resources() {
				if first, second := a.apply(t, r), a.apply(t, r); first != second {
					t.Errorf("%s %s changes when it is applied again", r.GetKind(), r.GetName())
				}
			}
			for _, p := range render(t, overlay).pods() {
				a.admit(t, p.name, p.PodTemplateSpec)
			}
		})
	}
	t.Run("first-mail", func(t *testing.T) { a.admit(t, "Job", firstMail(t).Spec.Template) })
}

// api is an API server with nothing behind it but its store.
type api struct {
	url   string
	http  *http.Client
	paths map[string]meta.APIResource // by group, version and kind
}

const token = "admin"

func startAPI(t *testing.T) *api {
	t.Helper()
	etcd, server := asset(t, "etcd"), asset(t, "kube-apiserver")
	dir, port := t.TempDir(), freeport.Port()
	in := func(name string) string { return filepath.Join(dir, name) }
	write(t, in("tokens"), token+",admin,admin,system:masters\n")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	write(t, in("key"), string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))

	store, peer := "http://"+freeport.Addr(), "http://"+freeport.Addr()
	serve(t, "etcd", etcd, "--name", "one", "--data-dir", in("etcd"), "--listen-client-urls", store, "--advertise-client-urls", store,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "one="+peer)
	p := serve(t, "apiserver", server, "--etcd-servers", store, "--bind-address", "127.0.0.1", "--secure-port", strconv.Itoa(port),
		"--cert-dir", in("certs"), "--token-auth-file", in("tokens"), "--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.0.0.0/24",
		"--service-account-issuer", "https://localhost", "--service-account-key-file", in("key"), "--service-account-signing-key-file", in("key"),
		"--disable-admission-plugins", "ServiceAccount") // nobody is there to make the account that pods have by default

	a := &api{
		url:   "https://127.0.0.1:" + strconv.Itoa(port),
		http:  &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}, // it vouches for itself
		paths: map[string]meta.APIResource{},
	}
	t.Cleanup(a.http.CloseIdleConnections)
	awaitLine(t, p.Err, `Serving securely`)
	testrun.Eventually(t, "the API server is ready", time.Minute, func() bool {
		status, _, _, err := a.ask(http.MethodGet, "/readyz", nil)
		return err == nil && status == http.StatusOK
	})
	for _, group := range []string{"/api/v1", "/apis/apps/v1", "/apis/policy/v1", "/apis/networking.k8s.io/v1"} {
		var list meta.APIResourceList
		if err := json.Unmarshal(a.must(t, http.MethodGet, group, nil), &list); err != nil {
			t.Fatal(err)
		}
		for _, r := range list.APIResources {
			if !strings.Contains(r.Name, "/") {
				r.Group = group
				a.paths[list.GroupVersion+" "+r.Kind] = r
			}
		}
	}
	return a
}

// serve starts a program that is none of ours; it is ended with the test.
func serve(t *testing.T, name, file string, args ...string) *storm.Process {
	t.Helper()
	p, err := storm.Start(name, t.TempDir(), nil, file, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.End(syscall.SIGKILL) })
	return p
}

// asset is where a program of Kubernetes is; the test is skipped if there is none.
func asset(t *testing.T, name string) string {
	t.Helper()
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		return filepath.Join(dir, name)
	}
	file, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("NOT TESTED against an API server: %v; name the directory of etcd and kube-apiserver with KUBEBUILDER_ASSETS", err)
	}
	return file
}

// ask sends a request; the warnings are what kubectl would print.
func (a *api) ask(method, path string, body []byte) (status int, answer []byte, warnings []string, err error) {
	r, err := http.NewRequest(method, a.url+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	switch method {
	case http.MethodPatch:
		r.Header.Set("Content-Type", "application/apply-patch+yaml")
	case http.MethodPost:
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.http.Do(r)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, resp.Header.Values("Warning"), err
}

// must asks, and wants no refusal and no warning.
func (a *api) must(t *testing.T, method, path string, body []byte) []byte {
	t.Helper()
	status, answer, warnings, err := a.ask(method, path, body)
	if err != nil || status/100 != 2 {
		t.Fatalf("%s %s: %d %s %v", method, path, status, answer, err)
	}
	for _, w := range warnings {
		t.Errorf("%s %s: warning %s", method, path, w)
	}
	return answer
}

// apply is "kubectl apply --server-side"; it returns the version that came of it.
func (a *api) apply(t *testing.T, r *resource.Resource) string {
	t.Helper()
	text, err := r.AsYAML()
	if err != nil {
		t.Fatal(err)
	}
	of, ok := a.paths[r.GetApiVersion()+" "+r.GetKind()]
	if !ok {
		t.Fatalf("the API server has no %s %s", r.GetApiVersion(), r.GetKind())
	}
	path := of.Group
	if of.Namespaced {
		path += "/namespaces/" + r.GetNamespace()
	}
	path += "/" + of.Name + "/" + r.GetName() + "?fieldManager=test&fieldValidation=Strict&force=true"
	var made meta.PartialObjectMetadata
	if err := json.Unmarshal(a.must(t, http.MethodPatch, path, text), &made); err != nil {
		t.Fatal(err)
	}
	return made.ResourceVersion
}

// admit: the namespace would take the pod.
func (a *api) admit(t *testing.T, name string, p core.PodTemplateSpec) {
	t.Helper()
	p.GenerateName = "test-"
	for _, m := range p.Spec.Containers[0].VolumeMounts {
		if !slices.ContainsFunc(p.Spec.Volumes, func(v core.Volume) bool { return v.Name == m.Name }) { // from volumeClaimTemplates
			claim := &core.PersistentVolumeClaimVolumeSource{ClaimName: m.Name}
			p.Spec.Volumes = append(p.Spec.Volumes, core.Volume{Name: m.Name, VolumeSource: core.VolumeSource{PersistentVolumeClaim: claim}})
		}
	}
	body, err := json.Marshal(core.Pod{TypeMeta: meta.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: p.ObjectMeta, Spec: p.Spec})
	if err != nil {
		t.Fatal(err)
	}
	t.Run(name, func(t *testing.T) {
		a.must(t, http.MethodPost, "/api/v1/namespaces/postrider/pods?dryRun=All&fieldValidation=Strict", body)
	})
}
