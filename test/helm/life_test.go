// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package helm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/harness"
	"github.com/memkeep/memkeep/test/helmcli"
)

// TestHelm is one story: what Helm 4 kept Helm 3 takes over, and ends.
func TestHelm(t *testing.T) {
	for i, h := range helms {
		last := i == len(helms)-1
		ok := t.Run(h.String(), func(t *testing.T) {
			steps := []struct {
				name string
				do   func(*testing.T, helmcli.Helm)
			}{
				{"installs, and returns when the operator is ready", installs},
				{"helm test dials as a client and as a stranger", dials},
				{"an application's chart brings a cache that its pods use and strangers do not", brings},
				{"waiting ends with an error where a fleet is stalled", tellsOfStalled},
				{"an upgrade and a rollback leave every cache pod as it was", leavesPodsAlone},
				{"with few namespaces it works by Roles alone", fewNamespaces},
				{"uninstalled with crds.keep, fleets live on, and a new release takes them over", keeps},
				{"uninstalled without crds.keep, nothing is left", ends},
			}
			if !last {
				steps = steps[:len(steps)-1]
			}
			for _, step := range steps {
				if !t.Run(step.name, func(t *testing.T) { step.do(t, h) }) {
					return
				}
			}
		})
		if !ok {
			return
		}
	}
}

func installs(t *testing.T, h helmcli.Helm) {
	t.Helper()
	if there(t, crd, &apiextensionsv1.CustomResourceDefinition{}) {
		// Helm 3 comes second: Helm 4 left the definition and the fleet.
		before := lives(t)
		memkeep(t, h, "install")
		ready(t)
		same(t, before, "reinstalling over a living fleet with "+h.String())
		return
	}
	out := memkeep(t, h, "install")
	if !strings.Contains(out, "helm test memkeep --namespace "+space) {
		t.Errorf("the notes do not tell the next step:\n%s", out)
	}
	op, err := cluster.FindOperator()
	check(t, err)
	pods, err := cluster.OperatorPods(t.Context(), op)
	check(t, err)
	for i := range pods {
		if !harness.Ready(&pods[i]) {
			t.Errorf("Helm has returned, and %s is not ready", pods[i].Name)
		}
	}
	if len(pods) != 2 {
		t.Errorf("%d managers, want two", len(pods))
	}
}

func dials(t *testing.T, h helmcli.Helm) {
	t.Helper()
	out := memkeep(t, h, "test")
	for _, want := range []string{"A client stored an item", "A stranger did not get in", "A stranger reaches the decoy"} {
		if !strings.Contains(out, want) {
			t.Errorf("the test does not say %q:\n%s", want, out)
		}
	}
	if there(t, client.ObjectKey{Name: space + "-test"}, &corev1.Namespace{}) {
		t.Error("the test left its namespace")
	}
}

// values are the application's, with the tests' dialer in the shop's place.
func values(more ...string) []string {
	return append([]string{"--set", "image=" + cluster.DialerImage, "--set", "args={sleep}", "--timeout", limit}, more...)
}

func brings(t *testing.T, h helmcli.Helm) {
	t.Helper()
	if h.Major == 4 {
		helm(t, h, append([]string{"install", "web", app, "--namespace", shop, "--wait"}, values()...)...)
		if err := harness.FleetState(memcache(t)); err != nil {
			t.Errorf("Helm 4 has returned, and the fleet is not ready: %v", err)
		}
	} else {
		// The fleet is there from Helm 4's turn, and so is the application.
		helm(t, h, append([]string{"upgrade", "web", app, "--namespace", shop, "--wait", "--set", "sessions.replicas=3"},
			values()...)...)
		out, err := kubectl(t, "wait", "--for=condition=Ready", "memcache/"+fleet.Name, "-n", shop, "--timeout", limit)
		if err != nil {
			t.Fatalf("kubectl wait: %v: %s", err, out)
		}
		if err := harness.FleetState(memcache(t)); err != nil {
			t.Errorf("kubectl wait has returned, and the fleet is not ready: %v", err)
		}
	}
	pods, err := cluster.FleetPods(t.Context(), fleet)
	check(t, err)
	for i := range pods {
		name := fmt.Sprintf("%s.%s.%s.svc:11211", pods[i].Name, fleet.Name, shop)
		if _, err := cluster.LetIn(t.Context(), shopPod(t), name, time.Minute); err != nil {
			t.Error(err)
		}
		switch {
		case h.Major == 4:
			if _, err := cluster.Store(t.Context(), shopPod(t), name); err != nil {
				t.Error(err)
			}
		case i < 2:
			// What was stored in Helm 4's turn has lived through all that came since.
			holds(t, name)
		}
		if _, err := cluster.ShutOut(t.Context(), stranger, decoy, harness.CacheAddress(&pods[i])); err != nil {
			t.Error(err)
		}
	}
	if len(pods) < 2 {
		t.Errorf("the fleet has %d members", len(pods))
	}
}

func tellsOfStalled(t *testing.T, h helmcli.Helm) {
	t.Helper()
	planted := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: stalled, Name: fleet.Name}}
	check(t, client.IgnoreAlreadyExists(cluster.Create(t.Context(), planted)))
	begun := time.Now()
	args := append([]string{"install", "web", app, "--namespace", stalled, "--wait"}, values()...)
	out, err := h.Run(t.Context(), args...)
	took := time.Since(begun)
	switch {
	case h.Major == 4 && (err == nil || took > time.Minute):
		t.Errorf("Helm 4 took %s and said %v: %s", took, err, out)
	case h.Major == 4:
		t.Logf("Helm 4 gave up after %.1f s: %v", took.Seconds(), err)
	case err != nil:
		t.Errorf("Helm 3 looks at custom resources now, and docs/helm.md says that it does not: %v", err)
	default:
		out, err := kubectl(t, "wait", "--for=condition=Stalled", "memcache/"+fleet.Name, "-n", stalled, "--timeout", "60s")
		if err != nil {
			t.Errorf("kubectl wait for Stalled: %v: %s", err, out)
		}
		out, err = kubectl(t, "wait", "--for=condition=Ready", "memcache/"+fleet.Name, "-n", stalled, "--timeout", "3s")
		if err == nil {
			t.Errorf("kubectl wait says that a stalled fleet is ready: %s", out)
		}
	}
	helm(t, h, "uninstall", "web", "--namespace", stalled, "--wait")
	check(t, client.IgnoreNotFound(cluster.Delete(t.Context(), planted)))
}

// holds asks that a member has what the shop stored.
func holds(t *testing.T, addr string) {
	t.Helper()
	talk, err := cluster.Talk(t.Context(), shopPod(t), addr, harness.ReadLine)
	check(t, err)
	if replies := talk.Replies(); len(replies) != 3 || replies[1] != harness.StoreData {
		t.Errorf("%s has not what was stored: %s", addr, talk)
	}
}

// same asks that the fleet's pods are what they were.
func same(t *testing.T, before map[string]string, when string) {
	t.Helper()
	if now := lives(t); len(before) == 0 || !maps.Equal(before, now) {
		t.Errorf("%s: the members were %v and are %v", when, before, now)
	}
}

func leavesPodsAlone(t *testing.T, h helmcli.Helm) {
	t.Helper()
	before := lives(t)
	memkeep(t, h, "upgrade", "--set", "replicas=3,log.level=debug,podAnnotations.note=x,cacheImage.tag=next")
	condition(t, memkeepv1alpha1.ConditionUpdateAvailable, metav1.ConditionTrue)
	same(t, before, "after an upgrade")
	memkeep(t, h, "rollback")
	condition(t, memkeepv1alpha1.ConditionUpdateAvailable, metav1.ConditionFalse)
	same(t, before, "after a rollback")
	ready(t)
}

func fewNamespaces(t *testing.T, h helmcli.Helm) {
	t.Helper()
	before := lives(t)
	memkeep(t, h, "upgrade", "--set", "watchNamespaces={"+shop+"},rbac.clusterReader=false")
	if there(t, client.ObjectKey{Name: "memkeep-manager"}, &rbacv1.ClusterRole{}) {
		t.Error("the ClusterRole is still there")
	}
	for in, want := range map[string]bool{shop: true, stalled: false, "": false} {
		if may(t, in, "", "pods", "list") != want || may(t, in, "apps", "statefulsets", "create") != want {
			t.Errorf("the operator's rights in the namespace %q are not %v", in, want)
		}
	}
	same(t, before, "after a change to few namespaces")
	m := memcache(t)
	patch := client.MergeFrom(m.DeepCopy())
	m.Spec.Replicas = new(*m.Spec.Replicas + 1)
	check(t, cluster.Patch(t.Context(), m, patch))
	ready(t)
	if now := lives(t); len(now) != len(before)+1 {
		t.Errorf("one member more was wanted: %v, then %v", before, now)
	}
	// What others may have put beside the fleet cannot be seen.
	c, err := cluster.Condition(t.Context(), fleet, memkeepv1alpha1.ConditionAccessWidened,
		metav1.ConditionUnknown, memkeepv1alpha1.ReasonNotJudged)
	check(t, err)
	if !strings.Contains(c.Message, "may not be listed and watched") {
		t.Errorf("AccessWidened says %q, and not what may not be read", c.Message)
	}
	enforced := meta.FindStatusCondition(memcache(t).Status.Conditions, memkeepv1alpha1.ConditionAccessEnforced)
	t.Logf("AccessWidened: %s; AccessEnforced: %s %s", c.Message, enforced.Status, enforced.Reason)
	memkeep(t, h, "rollback")
	if !may(t, "", "", "pods", "list") {
		t.Error("after the rollback the operator has no ClusterRole")
	}
}

// may asks the API server about the operator's account, in a namespace or, by an empty name, in all.
func may(t *testing.T, namespace, group, resource, verb string) bool {
	t.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "system:serviceaccount:" + space + ":memkeep-manager",
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Group: group, Resource: resource, Verb: verb,
		},
	}}
	reviews := cluster.Kube.AuthorizationV1().SubjectAccessReviews()
	review, err := reviews.Create(t.Context(), review, metav1.CreateOptions{})
	check(t, err)
	return review.Status.Allowed
}

func keeps(t *testing.T, h helmcli.Helm) {
	t.Helper()
	before := lives(t)
	memkeep(t, h, "uninstall")
	if !there(t, crd, &apiextensionsv1.CustomResourceDefinition{}) || !there(t, fleet, &memkeepv1alpha1.Memcache{}) {
		t.Fatal("the definition or the fleet is gone")
	}
	holds(t, fleet.Name+"-0."+fleet.Name+"."+shop+".svc:11211")
	same(t, before, "after uninstalling")
	if h.Major == 4 {
		// Helm 3 installs over what Helm 4 left.
		return
	}
	memkeep(t, h, "install")
	ready(t)
	same(t, before, "after installing again")
}

func ends(t *testing.T, h helmcli.Helm) {
	t.Helper()
	memkeep(t, h, "upgrade", "--set", "crds.keep=false")
	memkeep(t, h, "uninstall")
	check(t, cluster.Gone(t.Context(), &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: crd.Name},
	}, time.Minute))
	_, err := cluster.Eventually(t.Context(), "every member gone", time.Minute, func(context.Context) error {
		if now := lives(t); len(now) > 0 {
			return fmt.Errorf("there are %v", now)
		}
		return nil
	})
	check(t, err)
	probers := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: space + "-outsider"}}
	check(t, cluster.Gone(t.Context(), probers, time.Minute))
}

// kubectl runs the development cluster's.
func kubectl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	program, err := helmcli.Program("kubectl")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	}
	return string(out), err
}
