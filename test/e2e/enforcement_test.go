// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/dialer/dialing"
	"github.com/memkeep/memkeep/test/harness"
)

const (
	enforced = memkeepv1alpha1.ConditionAccessEnforced
	proven   = memkeepv1alpha1.ReasonEnforcementProven
	admitted = memkeepv1alpha1.ReasonStrangerAdmitted
	// provenLimit is how long a proof may take from the start of a container, and
	// refutedLimit how long a refutation may from a change: it waits 30 s for a
	// policy that takes effect late.
	provenLimit  = 20 * time.Second
	refutedLimit = 50 * time.Second
	// noProberLimit is how long a proof may outlive the probers.
	noProberLimit = 100 * time.Second
)

// provenSoon prints how long members take from the start of their container
// until they are proven.
func provenSoon(t *testing.T) {
	t.Helper()
	key := client.ObjectKey{Namespace: "e2e-proven", Name: "sessions"}
	namespace(t, key.Namespace)
	mc := harness.NewFleet(key.Namespace, key.Name, 3)
	check(t, cluster.Create(t.Context(), mc))
	since := map[string]time.Time{}
	_, err := cluster.Eventually(t.Context(), "every member proven", time.Minute, func(ctx context.Context) error {
		if err := cluster.Get(ctx, key, mc); err != nil {
			return err
		}
		for _, m := range mc.Status.Members {
			if m.Enforcement == memkeepv1alpha1.EnforcementRefuted {
				t.Errorf("%s is refuted", m.Name)
			}
			if m.Enforcement == memkeepv1alpha1.EnforcementProven && since[m.Name].IsZero() {
				since[m.Name] = time.Now()
			}
		}
		if len(since) != 3 {
			return fmt.Errorf("%d are: %+v", len(since), mc.Status.Members)
		}
		return nil
	})
	check(t, err)
	cond, err := cluster.Condition(t.Context(), key, enforced, metav1.ConditionTrue, proven)
	check(t, err)
	pods := ready(t, key)
	var took []time.Duration
	for i := range pods {
		started := pods[i].Status.ContainerStatuses[0].State.Running.StartedAt.Time
		took = append(took, since[pods[i].Name].Sub(started))
	}
	slices.Sort(took)
	t.Logf("FIGURE container started to proven, three members: %.1f, %.1f, %.1f s (start in whole seconds); median %.1f s",
		took[0].Seconds(), took[1].Seconds(), took[2].Seconds(), took[1].Seconds())
	t.Logf("status says: %s", cond.Message)
	if took[2] > provenLimit {
		t.Errorf("the last member was proven %s after its start, want %s at most", took[2], provenLimit)
	}
	check(t, cluster.Get(t.Context(), key, mc))
	// This network has nodes enough, and no IPv6: all that can be tried is.
	if mc.Status.Access != nil && len(mc.Status.Access.NotCovered) > 0 && len(players.nodes) > 1 {
		t.Errorf("not covered: %q", mc.Status.Access.NotCovered)
	}
	told(t, key, corev1.EventTypeNormal, proven)
}

// told waits for an event about a fleet.
func told(t *testing.T, key client.ObjectKey, kind, reason string) {
	t.Helper()
	_, err := cluster.Eventually(t.Context(), "an event "+reason, time.Minute, func(ctx context.Context) error {
		list := &eventsv1.EventList{}
		if err := cluster.List(ctx, list, client.InNamespace(key.Namespace)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Reason == reason && e.Type == kind && e.Regarding.Name == key.Name {
				t.Log(e.Note)
				return nil
			}
		}
		return fmt.Errorf("none of %d events tells of it", len(list.Items))
	})
	check(t, err)
}

// wide is a policy that admits everybody to everything.
func wide(namespace string) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "wide"},
		Spec: networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{}},
		},
	}
}

// requiredServesWhileProven has a policy of somebody's open a fleet from before
// its birth, and takes it away, puts it back and takes it away again.
func requiredServesWhileProven(t *testing.T) {
	t.Helper()
	key := client.ObjectKey{Namespace: "e2e-required", Name: "sessions"}
	namespace(t, key.Namespace)
	check(t, cluster.Create(t.Context(), wide(key.Namespace)))
	mc := harness.NewFleet(key.Namespace, key.Name, 1)
	mc.Spec.Access.Verification = memkeepv1alpha1.VerificationRequired
	check(t, cluster.Create(t.Context(), mc))
	pod, err := cluster.PodRuns(t.Context(), client.ObjectKey{Namespace: key.Namespace, Name: "sessions-0"})
	check(t, err)
	addr := harness.CacheAddress(pod)

	asking := cluster.Ask(t.Context(), players.friend, addr)
	cond, err := cluster.Condition(t.Context(), key, enforced, metav1.ConditionFalse, admitted)
	check(t, err)
	t.Logf("status says: %s", cond.Message)
	_, err = cluster.Condition(t.Context(), key, memkeepv1alpha1.ConditionReady, metav1.ConditionFalse, admitted)
	check(t, err)
	asked, shut, served, err := asking.Stop()
	check(t, err)
	t.Logf("before it was proven its client asked %d times: %d served, %d had no connection", asked, len(served), shut)
	if len(served) > 0 || asked-shut < 3 {
		t.Errorf("the client was served %d times of %d before the proof (%d unconnected)", len(served), asked, shut)
	}

	check(t, cluster.Delete(t.Context(), wide(key.Namespace)))
	isProven(t, key, addr, "the policy was removed")

	check(t, cluster.Create(t.Context(), wide(key.Namespace)))
	_, took, err := cluster.ConditionWithin(t.Context(), key, enforced, metav1.ConditionFalse, admitted, refutedLimit)
	check(t, err)
	t.Logf("FIGURE foreign policy to AccessEnforced=False: %.1f s", took.Seconds())
	told(t, key, corev1.EventTypeWarning, admitted)
	_, err = cluster.Eventually(t.Context(), "the gate shut", 10*time.Second, func(ctx context.Context) error {
		served, talk, err := cluster.Serves(ctx, players.friend, addr)
		if err == nil && served {
			err = fmt.Errorf("the client is served: %s", talk)
		}
		return err
	})
	check(t, err)

	check(t, cluster.Delete(t.Context(), wide(key.Namespace)))
	isProven(t, key, addr, "it was removed again")
}

// isProven waits until a fleet is proven, ready, and serves its client.
func isProven(t *testing.T, key client.ObjectKey, addr, since string) {
	t.Helper()
	start := time.Now()
	_, took, err := cluster.ConditionWithin(t.Context(), key, enforced, metav1.ConditionTrue, proven, time.Minute)
	check(t, err)
	_, err = cluster.LetIn(t.Context(), players.friend, addr, harness.LabelLimit)
	check(t, err)
	t.Logf("FIGURE proven %.1f s and served %.1f s after %s", took.Seconds(), time.Since(start).Seconds(), since)
	ready(t, key)
}

// probersAreStrangers dials a fleet from a pod in the probers' namespace with
// their labels, and looks that the fleet is called proven meanwhile: outsiders
// did try.
func probersAreStrangers(t *testing.T) {
	t.Helper()
	key := client.ObjectKey{Namespace: "e2e-probers", Name: "sessions"}
	namespace(t, key.Namespace)
	pods := create(t, harness.NewFleet(key.Namespace, key.Name, 1))
	_, err := cluster.Condition(t.Context(), key, enforced, metav1.ConditionTrue, proven)
	check(t, err)
	space := operator.Key.Namespace + "-outsider"
	for i, node := range players.nodes {
		dialer := harness.DialerPod{Namespace: space, Name: fmt.Sprintf("e2e-dialer-%d", i), Node: node}
		dialer.Labels = map[string]string{
			memkeepv1alpha1.LabelManagedBy: memkeepv1alpha1.ManagedBy,
			memkeepv1alpha1.LabelComponent: memkeepv1alpha1.ComponentProber,
		}
		pod, err := cluster.StartPod(t.Context(), dialer)
		check(t, err)
		t.Cleanup(func() { _ = cluster.Delete(context.Background(), pod, client.GracePeriodSeconds(0)) })
		for _, addr := range []string{harness.CacheAddress(&pods[0]), harness.MetricsAddress(&pods[0])} {
			_, err := cluster.ShutOut(t.Context(), harness.Pod{Namespace: space, Name: dialer.Name},
				players.decoys[pods[0].Spec.NodeName], addr)
			if err != nil {
				t.Error(err)
			}
		}
	}
	// Nor does anybody but the operator reach an outsider's control port.
	outsiders := &corev1.PodList{}
	check(t, cluster.List(t.Context(), outsiders, client.InNamespace(space),
		client.MatchingLabels{memkeepv1alpha1.LabelProber: memkeepv1alpha1.ProberOutsider}))
	if len(outsiders.Items) != len(players.nodes) {
		t.Fatalf("%d outsiders on %d nodes", len(outsiders.Items), len(players.nodes))
	}
	for i := range outsiders.Items {
		at := fmt.Sprintf("%s:%d", outsiders.Items[i].Status.PodIP, memkeepv1alpha1.PortControl)
		report, err := cluster.Dial(t.Context(), players.lost, at, harness.DialTimeout)
		check(t, err)
		if report.Outcome == dialing.Connected {
			t.Errorf("a stranger connects to the control port of %s", outsiders.Items[i].Name)
		}
	}
}

// withoutProbers takes the outsiders away from a fleet that was proven.
func withoutProbers(t *testing.T) {
	t.Helper()
	key := client.ObjectKey{Namespace: "e2e-noprober", Name: "sessions"}
	namespace(t, key.Namespace)
	mc := harness.NewFleet(key.Namespace, key.Name, 1)
	mc.Spec.Access.Verification = memkeepv1alpha1.VerificationRequired
	pods := create(t, mc)
	addr := harness.CacheAddress(&pods[0])
	isProven(t, key, addr, "it became ready")
	t.Cleanup(func() {
		if _, _, err := cluster.Install(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for _, o := range operator.Objects {
		if o.GetKind() == "DaemonSet" && o.GetName() == "memkeep-outsider" {
			check(t, cluster.Delete(t.Context(), o.DeepCopy()))
		}
	}
	cond, took, err := cluster.ConditionWithin(t.Context(), key, enforced, metav1.ConditionUnknown,
		memkeepv1alpha1.ReasonNoProber, noProberLimit)
	check(t, err)
	t.Logf("FIGURE probers gone to AccessEnforced=Unknown: %.1f s; it says: %s", took.Seconds(), cond.Message)
	time.Sleep(10 * time.Second)
	if served, talk, err := cluster.Serves(t.Context(), players.friend, addr); err != nil || !served {
		t.Errorf("a member that was proven serves no more: %s, %v", talk, err)
	}
	ready(t, key)
	if _, _, err := cluster.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	isProven(t, key, addr, "the probers were installed again")
}
