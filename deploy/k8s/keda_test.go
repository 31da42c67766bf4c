package k8s

import (
	"fmt"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/postrider/postrider/consumer"
	"github.com/postrider/postrider/wire"
)

// scaledObject is what is used here of KEDA's (keda.sh, v1alpha1).
type scaledObject struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Spec struct {
		ScaleTargetRef struct {
			Name string `json:"name"`
		} `json:"scaleTargetRef"`
		MinReplicaCount int            `json:"minReplicaCount"`
		MaxReplicaCount int            `json:"maxReplicaCount"`
		PollingInterval int            `json:"pollingInterval"`
		CooldownPeriod  int            `json:"cooldownPeriod"`
		Advanced        map[string]any `json:"advanced"`
		Triggers        []struct {
			Type     string            `json:"type"`
			Name     string            `json:"name"`
			Metadata map[string]string `json:"metadata"`
		} `json:"triggers"`
	} `json:"spec"`
}

func decodeScaled(t testing.TB, text []byte) scaledObject {
	t.Helper()
	var s scaledObject
	if err := yaml.UnmarshalStrict(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestScaling: there is a trigger for each consumer of each lane, by the names
// that workers give them.
func TestScaling(t *testing.T) {
	t.Parallel()
	for _, o := range []string{"dev" + withAll, "prod" + withAll} {
		s := render(t, o)
		x := s.scaled[0].Spec
		if x.ScaleTargetRef.Name != s.worker(t).Name || x.MinReplicaCount != 1 || x.MaxReplicaCount <= 1 {
			t.Errorf("%s scales %+v", o, x)
		}
		want := map[string]bool{}
		for _, l := range consumer.DefaultConfig().Lanes.Names() {
			want[l.SendStream()+"/"+wire.ConsumerFresh] = true
			want[l.LaterStream()+"/"+wire.ConsumerDue] = true
		}
		for _, tr := range x.Triggers {
			m := tr.Metadata
			name := m["stream"] + "/" + m["consumer"]
			if !want[name] || m["account"] != "MAIL" || tr.Type != "nats-jetstream" || m["lagThreshold"] == "" || m["natsServerMonitoringEndpoint"] == "" {
				t.Errorf("%s: %v", o, tr)
			}
			delete(want, name)
		}
		if len(want) > 0 {
			t.Errorf("%s does not look at %s", o, fmt.Sprint(want))
		}
	}
}
