// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/harness"
)

// The namespaces of the cast: everybody who dials but is no fleet.
const (
	clientNS   = "e2e-clients"
	strangerNS = "e2e-strangers"
	decoyNS    = "e2e-decoys"
	scraperNS  = "e2e-scrapers"
)

// ours marks every namespace of these tests, so that a killed run's are found.
const ours = "e2e.memkeep.test/run"

// fleets are the fleets whose clients the client namespace is from its birth:
// a label that is there before the pod is needs no waiting for.
var fleets = []client.ObjectKey{
	{Namespace: "e2e-access", Name: "sessions"},
	{Namespace: "e2e-access", Name: "picky"},
	{Namespace: "e2e-access", Name: "nobody"},
	{Namespace: "e2e-label", Name: "sessions"},
	{Namespace: "e2e-mutant", Name: "sessions"},
	{Namespace: "e2e-rebirth", Name: "sessions"},
	{Namespace: "e2e-drain", Name: "sessions"},
	{Namespace: "e2e-upgrade", Name: "sessions"},
	{Namespace: "e2e-clash", Name: "sessions"},
	{Namespace: "e2e-control", Name: "sessions"},
	{Namespace: "e2e-control-back", Name: "sessions"},
	{Namespace: "e2e-verified", Name: "sessions"},
	{Namespace: "e2e-required", Name: "sessions"},
	{Namespace: "e2e-noprober", Name: "sessions"},
}

// cast is who dials in the tests.
type cast struct {
	// nodes are the nodes' names.
	nodes []string
	// friend is in the client namespace; web is there too, with the label app=web.
	friend, web harness.Pod
	// strangers and decoys are one a node, by the node's name.
	strangers map[string]harness.Pod
	decoys    map[string]string
	// lost is in a stranger's namespace with the label app=web.
	lost harness.Pod
	// scraper is in the namespace that may read metrics.
	scraper harness.Pod
}

var (
	cluster  *harness.Cluster
	operator harness.Operator
	players  cast
)

func TestMain(m *testing.M) {
	suite := harness.Suite{Name: "e2e", Mark: ours, Parallel: 10, KeepFailed: true, Prepare: prepare}
	os.Exit(suite.Main(context.Background(), m))
}

// prepare brings the cast up.
func prepare(ctx context.Context, c *harness.Cluster, o harness.Operator) error {
	cluster, operator = c, o
	if err := gather(ctx); err != nil {
		return fmt.Errorf("bring the cast up: %w", err)
	}
	cluster.Progress("everybody who dials is there; nodes %s", strings.Join(players.nodes, " "))
	return nil
}

// gather starts every pod that dials.
func gather(ctx context.Context) error {
	nodes := &corev1.NodeList{}
	if err := cluster.List(ctx, nodes); err != nil {
		return err
	}
	clientLabels := map[string]string{}
	for _, key := range fleets {
		maps.Copy(clientLabels, harness.ClientLabels(key.Namespace, key.Name))
	}
	for name, labels := range map[string]map[string]string{
		clientNS: clientLabels, strangerNS: nil, decoyNS: nil, scraperNS: nil,
	} {
		if err := makeNamespace(ctx, name, labels); err != nil {
			return err
		}
	}
	web := map[string]string{"app": "web"}
	pods := []harness.DialerPod{
		{Namespace: clientNS, Name: "friend"},
		{Namespace: clientNS, Name: "web", Labels: web},
		{Namespace: strangerNS, Name: "lost", Labels: web},
		{Namespace: scraperNS, Name: "scraper"},
	}
	at := func(p harness.DialerPod) harness.Pod { return harness.Pod{Namespace: p.Namespace, Name: p.Name} }
	players = cast{
		friend: at(pods[0]), web: at(pods[1]), lost: at(pods[2]), scraper: at(pods[3]),
		strangers: map[string]harness.Pod{}, decoys: map[string]string{},
	}
	for i := range nodes.Items {
		name := nodes.Items[i].Name
		players.nodes = append(players.nodes, name)
		stranger := harness.DialerPod{Namespace: strangerNS, Name: "stranger-" + name, Node: name}
		players.strangers[name] = at(stranger)
		pods = append(pods, stranger, harness.DialerPod{
			Namespace: decoyNS, Name: "decoy-" + name, Node: name, Args: []string{"serve", ":11211"},
		})
	}
	started, err := cluster.StartPods(ctx, pods)
	if err != nil {
		return err
	}
	for _, pod := range started {
		if pod.Namespace == decoyNS {
			players.decoys[pod.Spec.NodeName] = harness.CacheAddress(pod)
		}
	}
	return nil
}

func makeNamespace(ctx context.Context, name string, labels map[string]string) error {
	all := map[string]string{ours: "true"}
	maps.Copy(all, labels)
	return cluster.MakeNamespace(ctx, name, all)
}

// namespace makes a namespace for a test and deletes it at its end.
func namespace(t *testing.T, name string) {
	t.Helper()
	check(t, makeNamespace(t.Context(), name, nil))
	t.Cleanup(func() {
		if t.Failed() && os.Getenv("MEMKEEP_E2E_KEEP") != "" {
			return
		}
		ns := &corev1.Namespace{}
		ns.Name = name
		if err := client.IgnoreNotFound(cluster.Delete(context.Background(), ns)); err != nil {
			t.Error(err)
		}
	})
}

// check ends the test on an error.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// edit changes an object as `kubectl edit` does: it is written whole, and read
// again where a controller wrote it in between.
func edit(t *testing.T, key client.ObjectKey, o client.Object, change func()) {
	t.Helper()
	check(t, retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := cluster.Get(t.Context(), key, o); err != nil {
			return err
		}
		change()
		return cluster.Update(t.Context(), o)
	}))
}

// create creates a fleet and waits until it is ready.
func create(t *testing.T, mc *memkeepv1alpha1.Memcache) []corev1.Pod {
	t.Helper()
	check(t, cluster.Create(t.Context(), mc))
	return ready(t, client.ObjectKeyFromObject(mc))
}

// ready waits for a fleet and returns its pods.
func ready(t *testing.T, key client.ObjectKey) []corev1.Pod {
	t.Helper()
	mc, _, err := cluster.FleetReady(t.Context(), key)
	check(t, err)
	pods, err := cluster.FleetPods(t.Context(), key)
	check(t, err)
	if want := *mc.Spec.Replicas; len(pods) != int(want) {
		t.Fatalf("%s is ready with %d pods of %d", key, len(pods), want)
	}
	return pods
}

// strangerTo returns a stranger on the pod's node, and the decoy there.
func strangerTo(pod *corev1.Pod) (harness.Pod, string) {
	return players.strangers[pod.Spec.NodeName], players.decoys[pod.Spec.NodeName]
}

// shutOut checks that no stranger on any node reaches any of the pods.
func shutOut(t *testing.T, pods []corev1.Pod) {
	t.Helper()
	for i := range pods {
		for _, stranger := range players.strangers {
			_, err := cluster.ShutOut(t.Context(), stranger, players.decoys[pods[i].Spec.NodeName],
				harness.CacheAddress(&pods[i]))
			if err != nil {
				t.Error(err)
			}
		}
	}
}
