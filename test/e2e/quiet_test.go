// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	authenticationv1 "k8s.io/api/authentication/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/test/harness"
)

const (
	quietNS   = "e2e-quiet"
	quietTime = time.Minute
	// settleTime is how long the operator may go on writing after the last change.
	settleTime = 10 * time.Second
)

// quietMinute reads the operator's own count of what it wrote before and after
// a minute in which nothing changes.
func quietMinute(t *testing.T) {
	t.Helper()
	namespace(t, quietNS)
	var keys []client.ObjectKey
	for i := range 3 {
		mc := harness.NewFleet(quietNS, fmt.Sprintf("quiet-%c", 'a'+i), 2)
		create(t, mc)
		keys = append(keys, client.ObjectKeyFromObject(mc))
	}
	for _, key := range keys {
		_, err := cluster.Condition(t.Context(), key, enforced, metav1.ConditionTrue, proven)
		check(t, err)
	}
	token := metricsAsk(t)
	time.Sleep(settleTime)

	pods, err := cluster.OperatorPods(t.Context(), operator)
	check(t, err)
	versions := resourceVersions(t)
	leases := countLeases(t)
	before, reviewsBefore := writes(t, pods, token), reviews(t)
	cluster.Progress("counting what the operator writes for %s", quietTime)
	time.Sleep(quietTime)
	after, reviewsAfter := writes(t, pods, token), reviews(t)
	renewals := leases()

	delta := map[string]float64{}
	for _, method := range []string{"PATCH", "DELETE", "POST", "PUT"} {
		delta[method] = after[method] - before[method]
	}
	asked := reviewsAfter - reviewsBefore
	t.Logf("FIGURE requests that write in %s, all of the operator's pods: %v; Lease renewals seen: %d; "+
		"reviews of our own scrapes: %.0f", quietTime, delta, renewals, asked)
	if delta["PATCH"] != 0 || delta["DELETE"] != 0 {
		t.Errorf("the operator wrote in a quiet minute: %v", delta)
	}
	// Who scrapes is checked with the API server, by POST of a review.
	if delta["POST"] > asked {
		t.Errorf("the operator created something in a quiet minute: %v POSTs, %v reviews", delta["POST"], asked)
	}
	// A renewal may fall between a scrape and the watch at either end.
	if delta["PUT"] > float64(renewals+2) {
		t.Errorf("the operator wrote more than Leases: %v PUTs, %d renewals", delta["PUT"], renewals)
	}
	for name, version := range resourceVersions(t) {
		if versions[name] != version {
			t.Errorf("%s was written in a quiet minute", name)
		}
	}
	proofCost(t, quietNS, keys, pods, token)
}

// metricsAsk checks who may read the operator's metrics, and returns a token that may.
func metricsAsk(t *testing.T) string {
	t.Helper()
	pods, err := cluster.OperatorPods(t.Context(), operator)
	check(t, err)
	for _, name := range []string{"reader", "nobody"} {
		account := &corev1.ServiceAccount{}
		account.Namespace, account.Name = quietNS, name
		check(t, cluster.Create(t.Context(), account))
	}
	binding := &rbacv1.ClusterRoleBinding{
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "memkeep-metrics-reader"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: quietNS, Name: "reader"}},
	}
	binding.Name = "e2e-metrics-reader"
	check(t, client.IgnoreAlreadyExists(cluster.Create(t.Context(), binding)))
	t.Cleanup(func() {
		if err := cluster.Delete(context.Background(), binding); err != nil {
			t.Error(err)
		}
	})
	for who, want := range map[string]int{"": http.StatusUnauthorized, "nobody": http.StatusForbidden} {
		if got, _ := scrape(t, &pods[0], tokenOf(t, who)); got != want {
			t.Errorf("GET /metrics with the token of %q: %d, want %d", who, got, want)
		}
	}
	token := tokenOf(t, "reader")
	if got, _ := scrape(t, &pods[0], token); got != http.StatusOK {
		t.Fatalf("GET /metrics with a reader's token: %d", got)
	}
	return token
}

// tokenOf returns a token of a ServiceAccount; "" has none.
func tokenOf(t *testing.T, account string) string {
	t.Helper()
	if account == "" {
		return ""
	}
	request, err := cluster.Kube.CoreV1().ServiceAccounts(quietNS).
		CreateToken(t.Context(), account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	check(t, err)
	return request.Status.Token
}

// scrape reads the metrics of one of the operator's pods over a port-forward.
func scrape(t *testing.T, pod *corev1.Pod, token string) (int, []byte) {
	t.Helper()
	forward, err := cluster.Forward(t.Context(), harness.Pod{Namespace: pod.Namespace, Name: pod.Name}, 8443)
	check(t, err)
	defer forward.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+forward.Address+"/metrics", nil)
	check(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	// The operator's serving certificate is its own; what is tested is who may ask.
	https := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	resp, err := https.Do(req)
	check(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	check(t, err)
	return resp.StatusCode, body
}

// writes sums the requests that the operator's pods sent, by method.
func writes(t *testing.T, pods []corev1.Pod, token string) map[string]float64 {
	t.Helper()
	sum := map[string]float64{}
	for i := range pods {
		status, body := scrape(t, &pods[i], token)
		if status != http.StatusOK {
			t.Fatalf("scrape %s: %d", pods[i].Name, status)
		}
		for _, m := range family(t, body, "rest_client_requests_total") {
			sum[labelOf(m, "method")] += m.GetCounter().GetValue()
		}
	}
	if sum["GET"] == 0 {
		t.Fatal("the operator counts no requests at all: nothing is proven")
	}
	return sum
}

// reviews is how many tokens and accesses the API server was asked to review.
func reviews(t *testing.T) float64 {
	t.Helper()
	body, err := cluster.Kube.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	check(t, err)
	n := 0.0
	for _, m := range family(t, body, "apiserver_request_total") {
		if r := labelOf(m, "resource"); r == "tokenreviews" || r == "subjectaccessreviews" {
			n += m.GetCounter().GetValue()
		}
	}
	return n
}

func family(t *testing.T, body []byte, name string) []*dto.Metric {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	check(t, err)
	if families[name] == nil {
		t.Fatalf("there is no metric %s", name)
	}
	return families[name].Metric
}

func labelOf(m *dto.Metric, name string) string {
	for _, pair := range m.Label {
		if pair.GetName() == name {
			return strings.TrimSpace(pair.GetValue())
		}
	}
	return ""
}

// countLeases counts renewals of the operator's Leases until it is called again.
func countLeases(t *testing.T) func() int {
	t.Helper()
	watcher, err := cluster.Watch(t.Context(), &coordinationv1.LeaseList{}, client.InNamespace(operator.Key.Namespace))
	check(t, err)
	n, done := 0, make(chan struct{})
	go func() {
		defer close(done)
		for event := range watcher.ResultChan() {
			if event.Type == watch.Modified {
				n++
			}
		}
	}()
	return func() int {
		watcher.Stop()
		<-done
		return n
	}
}

// resourceVersions are those of every Memcache and of all that the operator made.
func resourceVersions(t *testing.T) map[string]string {
	t.Helper()
	versions := map[string]string{}
	for _, kind := range []string{
		"memkeep.io/v1alpha1/Memcache", "apps/v1/StatefulSet", "networking.k8s.io/v1/NetworkPolicy",
		"policy/v1/PodDisruptionBudget", "/v1/Service", "/v1/ServiceAccount",
	} {
		list := &metav1.PartialObjectMetadataList{}
		parts := strings.Split(kind, "/")
		list.APIVersion, list.Kind = strings.TrimPrefix(parts[0]+"/"+parts[1], "/"), parts[2]+"List"
		check(t, cluster.List(t.Context(), list, client.InNamespace(quietNS)))
		for _, item := range list.Items {
			versions[parts[2]+" "+item.Name] = item.ResourceVersion
		}
	}
	if len(versions) < 3*6 {
		t.Fatalf("three fleets have %d objects only", len(versions))
	}
	return versions
}
