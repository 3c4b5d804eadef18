// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package attack

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/test/harness"
)

// mutant is a protection that can be taken away, and the attempts that it stopped.
type mutant struct {
	changed string
	// take takes the protection away and returns what gives it back.
	take func(*testing.T) (restore func())
	// again are the attempts that are made again, by a part of who and of way, and
	// what each must come to.
	again []again
}

type again struct {
	who, way string
	want     Outcome
}

// mutants are the protections. One is taken away at a time, while nothing else goes on.
func mutants() []mutant {
	return []mutant{
		{
			changed: "another NetworkPolicy beside the fleet's admits everybody",
			take:    admitEverybody,
			again: []again{
				{"a pod in an unlabelled namespace", "by its address", ReadIt},
				{"a pod in an unlabelled namespace", "by their names", ReadIt},
				{"a pod with forged labels", "with the client's pod label", ReadIt},
				{"a neighbour on the same node", "ask the member beside it", ReadIt},
				{"a user who may only create Services", "(ClusterIP)", ReadIt},
				{"a user who may create Services and EndpointSlices", "a node's port", ReadIt},
			},
		},
		{
			changed: "the stranger's namespace has the client label",
			take:    labelStrangers,
			again:   []again{{"a pod with forged labels", "with the client's pod label", ReadIt}},
		},
		{
			changed: "the admission guard is not bound",
			take:    unbindGuard(),
			again: []again{
				{"a user who may only create StatefulSets", "with the fleet's labels", ReadIt},
				{"a user who may only create pods", "be selected", ReadIt},
				{"a user who may only create pods", "be adopted", GotNothing},
				{"a pod with forged labels", "the fleet's own labels", RefusedByNetwork},
				{"a user who may only label namespaces", "give its own", ReadIt},
				{"a user who may only label namespaces", "subresource status", ReadIt},
				{"a user who may only label namespaces", "subresource finalize", ReadIt},
				{"ephemeral containers", "from within its pod", ClosedByEngine},
				{"ephemeral containers", "the other member", RefusedByNetwork},
				{"ephemeral containers", "search the member's memory", GotNothing},
				{"a user who may only create Services", "(NodePort)", RefusedByNetwork},
				{"a user who may only create Services", "labels that Kubernetes adds", RefusedByNetwork},
			},
		},
		{
			changed: "the admission guard is not bound, and another NetworkPolicy admits everybody",
			take:    unbindGuard(admitEverybody),
			again: []again{
				{"a user who may only create Services", "(NodePort)", ReadIt},
				{"a user who may only create Services", "(LoadBalancer)", ReadIt},
				{"a user who may only create Services", "(externalIPs)", ReadIt},
				{"a user who may only create Services", "labels that Kubernetes adds", ReadIt},
			},
		},
		{
			changed: "the installation asks editors for the verb `grant` (`config/admission/access`)",
			take:    guardAccess,
			again: []again{
				{"a user who may only edit Memcaches", "name its own namespace", RefusedByAdmission},
				{"a user who may only edit Memcaches", "mode Audit", RefusedByAdmission},
			},
		},
		{
			changed: "the fleet's namespace enforces no Pod Security Standard",
			take:    privilegedNamespace,
			again:   []again{{"a user who may only create pods", "hostPID", GotNothing}},
		},
		{
			changed: "the fleet's peers are `Policy`, not `Verified`",
			take:    servesEverybody,
			again: []again{
				{"a pod on its node's network", "`peers: Verified`", ReadIt},
				{"the node itself", "`peers: Verified`", ReadIt},
				{"a user who may only create NetworkPolicies", "`peers: Verified`", ReadIt},
			},
		},
		{
			changed: "in the fleet's place are caches of the same program that listen everywhere, as people leave them",
			take:    bareCaches,
			again: []again{
				{"a pod in an unlabelled namespace", "by its address", ReadIt},
				{"port-forward", "reach each port", ReadIt},
				{"ephemeral containers", "from within its pod", ReadIt},
				{"ephemeral containers", "search the member's memory", ReadIt},
			},
		},
	}
}

// unbindGuard deletes the bindings of the installation's policies, and then does more.
func unbindGuard(more ...func(*testing.T) func()) func(*testing.T) func() {
	return func(t *testing.T) func() {
		t.Helper()
		for _, obj := range operator.Objects {
			if obj.GetKind() != "ValidatingAdmissionPolicyBinding" {
				continue
			}
			if err := cluster.Delete(t.Context(), obj.DeepCopy()); err != nil {
				t.Fatal(err)
			}
		}
		if err := guarded(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		// One policy has been seen to be gone; the others go with the same refresh or the next.
		time.Sleep(3 * time.Second)
		var undo []func()
		for _, take := range more {
			undo = append(undo, take(t))
		}
		return func() {
			for _, f := range undo {
				f()
			}
			if _, _, err := cluster.Install(context.Background()); err != nil {
				t.Error(err)
			}
			if err := guarded(context.Background(), true); err != nil {
				t.Error(err)
			}
		}
	}
}

// guardAccess adds the component by which changes of access take the verb grant.
func guardAccess(t *testing.T) func() {
	t.Helper()
	objects, err := harness.ReadManifests("../../config/admission/access")
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.ApplyAll(t.Context(), "memkeep-attack", objects); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	return func() {
		if err := cluster.DeleteAll(context.Background(), objects); err != nil {
			t.Error(err)
		}
	}
}

// mutate takes each protection away and makes attempts again.
func mutate(t *testing.T, all []attempt) []Mutation {
	t.Helper()
	var out []Mutation
	for _, m := range mutants() {
		t.Run("where "+m.changed, func(t *testing.T) {
			restore := m.take(t)
			defer restore()
			for _, again := range m.again {
				a := find(t, all, again)
				t.Run(a.who+": "+a.way, func(t *testing.T) {
					got := a.try(t, again.want)
					t.Logf("%s: %s", got.outcome, got.saw)
					if got.outcome != again.want {
						t.Errorf("where %s\n%s\ntries to %s:\n%s, want %s: the attempt cannot fail where it should\n%s",
							m.changed, a.who, a.way, got.outcome, again.want, got.saw)
					}
					out = append(out, Mutation{Changed: m.changed, Who: a.who, Way: a.way, Outcome: got.outcome})
				})
			}
		})
	}
	return out
}

// find returns the one attempt that is meant.
func find(t *testing.T, all []attempt, meant again) *attempt {
	t.Helper()
	var found *attempt
	for i := range all {
		if strings.Contains(all[i].who, meant.who) && strings.Contains(all[i].way, meant.way) {
			if found != nil {
				t.Fatalf("%q and %q mean more than one attempt", meant.who, meant.way)
			}
			found = &all[i]
		}
	}
	if found == nil {
		t.Fatalf("%q and %q mean no attempt", meant.who, meant.way)
	}
	return found
}

func admitEverybody(t *testing.T) func() {
	t.Helper()
	var all []client.Object
	for _, g := range []*ground{mainGround, servicesGround, slicesGround} {
		policy := everybody(g.key.Namespace)
		if err := cluster.Create(t.Context(), policy); err != nil {
			t.Fatal(err)
		}
		all = append(all, policy)
	}
	return func() {
		for _, policy := range all {
			if err := cluster.Delete(context.Background(), policy); err != nil {
				t.Error(err)
			}
		}
		keptOut(t, players.strangers)
	}
}

func labelStrangers(t *testing.T) func() {
	t.Helper()
	ns := &corev1.Namespace{}
	ns.Name = outsideNS
	labels := harness.ClientLabels(mainGround.key.Namespace, mainGround.key.Name)
	if err := cluster.Label(t.Context(), ns, labels); err != nil {
		t.Fatal(err)
	}
	return func() {
		for key := range labels {
			if err := cluster.Label(context.Background(), ns, map[string]string{key: ""}); err != nil {
				t.Error(err)
			}
		}
		keptOut(t, players.forgers)
	}
}

// keptOut waits until pods are strangers again.
func keptOut(t *testing.T, pods map[string]harness.Pod) {
	t.Helper()
	for i := range mainGround.pods {
		for _, pod := range pods {
			_, err := cluster.KeptOut(context.Background(), pod, players.decoys[mainGround.pods[i].Spec.NodeName],
				harness.CacheAddress(&mainGround.pods[i]), harness.LabelLimit)
			if err != nil {
				t.Error(err)
			}
		}
	}
}

// bareCaches puts two pods in the fleet's place that run the same program as one
// would run memcached, without a policy.
func bareCaches(t *testing.T) func() {
	t.Helper()
	const ns = "attack-bare"
	if cluster.CacheImage == "" {
		t.Fatal("MEMKEEP_CACHE_IMAGE is not set: run make test-attack")
	}
	if err := cluster.MakeNamespace(t.Context(), ns, map[string]string{ours: "true"}); err != nil {
		t.Fatal(err)
	}
	bare := &ground{key: client.ObjectKey{Namespace: ns, Name: "bare"}}
	for i := range mainGround.pods {
		pod := podOf(ns, fmt.Sprintf("bare-%d", i), nil, "-l", "0.0.0.0", "--expose")
		pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: mainGround.pods[i].Spec.NodeName}
		pod.Spec.Containers[0].Image = cluster.CacheImage
		now, err := cluster.StartPodAs(t.Context(), pod)
		if err != nil {
			t.Fatal(err)
		}
		bare.pods = append(bare.pods, *now)
	}
	if err := bare.store(t.Context()); err != nil {
		t.Fatal(err)
	}
	fleet := mainGround
	mainGround = bare
	return func() { mainGround = fleet }
}

func privilegedNamespace(t *testing.T) func() {
	t.Helper()
	ns := &corev1.Namespace{}
	ns.Name = podsGround.key.Namespace
	set := func(ctx context.Context, standard string) {
		t.Helper()
		err := cluster.Label(ctx, ns, map[string]string{"pod-security.kubernetes.io/enforce": standard})
		if err != nil {
			t.Error(err)
		}
	}
	set(t.Context(), "privileged")
	return func() { set(context.Background(), "restricted") }
}
