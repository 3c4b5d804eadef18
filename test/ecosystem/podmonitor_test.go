// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package ecosystem

import (
	"os"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/memkeep/memkeep/test/helmcli"
	"github.com/memkeep/memkeep/test/manifests"
)

// TestThePrometheusOperatorReadsThePodMonitor decodes what the chart renders
// into the Prometheus operator's own type, strictly.
func TestThePrometheusOperatorReadsThePodMonitor(t *testing.T) {
	helms, err := helmcli.Both(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	text, err := helms[0].Run(t.Context(), "template", "memkeep", root+"/charts/memkeep", "--namespace", "memkeep-system",
		"--show-only", "templates/podmonitor.yaml", "--set", "podMonitor.enabled=true,podMonitor.tokenSecret.name=scraper")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := manifests.Parse(strings.NewReader(text))
	if err != nil || len(objects) != 1 {
		t.Fatalf("got %d objects, %v", len(objects), err)
	}
	m := &monitoringv1.PodMonitor{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(objects[0].Object, m, true); err != nil {
		t.Fatal(err)
	}
	if len(m.Spec.PodMetricsEndpoints) != 1 {
		t.Fatalf("it has %d endpoints", len(m.Spec.PodMetricsEndpoints))
	}
	e := m.Spec.PodMetricsEndpoints[0]
	if e.Port == nil || *e.Port != "metrics" || e.Authorization == nil || e.Authorization.Credentials.Name != "scraper" {
		t.Errorf("got %+v", e)
	}
}
