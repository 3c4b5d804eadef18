// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/kubernetes"
)

// TestWhatOrdinaryRequestsCost counts whose conditions the API server evaluates
// for requests that have nothing to do with Memkeep: it counts a policy whose
// conditions then keep it from looking further. docs/admission.md has the table.
func TestWhatOrdinaryRequestsCost(t *testing.T) {
	const (
		policy = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: a, namespace: bare}, " +
			"spec: {podSelector: {}}}"
		binding = "{apiVersion: v1, kind: Binding, metadata: {name: web, namespace: caches}, target: {kind: Node, name: n1}}"
	)
	c, err := as(tenant)
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range []struct {
		name string
		do   action
		want []string
	}{
		{"a pod", creates(pod("caches", "mine", "{app: web}")), []string{workloads}},
		{"a pod's status", patches("Pod", "caches", "web", "status", "{status: {phase: Running}}"), nil},
		{"a pod's Binding", binds(binding), []string{podBindings}},
		{"a Deployment", creates(workload("apps/v1", "Deployment", "caches", "mine", "{app: web}")),
			[]string{templates, workloads}},
		{"a Deployment's status", patches("Deployment", "caches", "web", "status", "{status: {replicas: 1}}"), nil},
		{"a Deployment's scale", patches("Deployment", "caches", "web", "scale", "{spec: {replicas: 3}}"), nil},
		{"a StatefulSet", creates(workload("apps/v1", "StatefulSet", "caches", "mine", "{app: web}")),
			[]string{templates, workloads, children}},
		{"a StatefulSet's status", patches("StatefulSet", "caches", "web", "status", "{status: {replicas: 1}}"),
			[]string{templates}},
		{"a Service where no fleet is", creates(service("bare", "mine", "ClusterIP", "{app: web}")),
			[]string{byName, children}},
		{"a Service beside a fleet", creates(service("caches", "mine", "ClusterIP", "{app: web}")),
			[]string{byName, beside, children}},
		{"a Service's status", patches("Service", "caches", "web", "status", "{metadata: {labels: {a: b}}}"), nil},
		{"a namespace", creates(namespace("new", "{team: web}")), []string{clientLabels}},
		{"a NetworkPolicy", creates(policy), []string{children}},
		{"a ConfigMap", creates("{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: bare}}"), nil},
	} {
		t.Run(request.name, func(t *testing.T) {
			const times = 20
			before := conditions(t)
			for range times {
				if err := request.do(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
			var seen []string
			spent := 0.0
			for name, after := range conditions(t) {
				n := after.GetSampleCount() - before[name].GetSampleCount()
				if n == 0 {
					continue
				}
				seen = append(seen, name)
				spent += after.GetSampleSum() - before[name].GetSampleSum()
				if n != times {
					t.Errorf("%s is asked %d times for %d requests", name, n, times)
				}
			}
			slices.Sort(seen)
			if want := slices.Sorted(slices.Values(request.want)); !slices.Equal(seen, want) {
				t.Errorf("asked are %v, want %v", seen, want)
			}
			t.Logf("FIGURE %s: %d policies asked, %.0f µs", request.name, len(seen), spent/times*1e6)
		})
	}
}

// conditions are the API server's times of the policies' conditions.
func conditions(t *testing.T) map[string]*dto.Histogram {
	t.Helper()
	set, err := kubernetes.NewForConfig(server.Client)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := set.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]*dto.Histogram{}
	for _, m := range families["apiserver_admission_match_condition_evaluation_seconds"].GetMetric() {
		for _, label := range m.Label {
			if label.GetName() != "name" || !strings.HasPrefix(label.GetValue(), "memkeep-") {
				continue
			}
			// There is one histogram for each operation.
			sum := times[label.GetValue()]
			if sum == nil {
				sum = &dto.Histogram{SampleCount: new(uint64(0)), SampleSum: new(0.0)}
			}
			*sum.SampleCount += m.Histogram.GetSampleCount()
			*sum.SampleSum += m.Histogram.GetSampleSum()
			times[label.GetValue()] = sum
		}
	}
	if len(slices.Collect(maps.Keys(times))) == 0 {
		t.Fatal("the API server has no times of any policy")
	}
	return times
}
