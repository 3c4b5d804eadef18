// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package unenforced

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/dialer/dialing"
	"github.com/memkeep/memkeep/test/harness"
)

const (
	enforced = memkeepv1alpha1.ConditionAccessEnforced
	admitted = memkeepv1alpha1.ReasonStrangerAdmitted
)

func TestANetworkThatEnforcesNothingIsFoundOutWithinAMinute(t *testing.T) {
	t.Parallel()
	check(t, cluster.Create(t.Context(), harness.NewFleet(reported.Namespace, reported.Name, 1)))
	pod := running(t, reported)
	started := pod.Status.ContainerStatuses[0].State.Running.StartedAt.Time
	cond, err := cluster.Condition(t.Context(), reported, enforced, metav1.ConditionFalse, admitted)
	check(t, err)
	took := time.Since(started)
	t.Logf("FIGURE container started to AccessEnforced=False: %.1f s (start in whole seconds); it says: %s",
		took.Seconds(), cond.Message)
	if took > time.Minute {
		t.Errorf("that took %s", took)
	}
	want := "sessions-0: an outsider on the same node gets to port 11211, 11213, 9150"
	if !strings.Contains(cond.Message, want) {
		t.Errorf("it does not say %q", want)
	}
	_, err = cluster.Eventually(t.Context(), "an event", time.Minute, func(ctx context.Context) error {
		list := &eventsv1.EventList{}
		if err := cluster.List(ctx, list, client.InNamespace(reported.Namespace)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Reason == admitted && e.Type == "Warning" {
				return nil
			}
		}
		return fmt.Errorf("none of %d events tells of it", len(list.Items))
	})
	check(t, err)
	// BestEffort serves and reports: whoever it serves, the report is right.
	_, _, err = cluster.FleetReady(t.Context(), reported)
	check(t, err)
	for _, from := range []harness.Pod{friend, stranger} {
		if served, talk, err := cluster.Serves(t.Context(), from, harness.CacheAddress(pod)); err != nil || !served {
			t.Errorf("%s is not served where nothing is enforced: %s, %v", from, talk, err)
		}
	}
}

func TestRequiredNeverServesAClient(t *testing.T) {
	t.Parallel()
	mc := harness.NewFleet(required.Namespace, required.Name, 1)
	mc.Spec.Access.Verification = memkeepv1alpha1.VerificationRequired
	check(t, cluster.Create(t.Context(), mc))
	pod := running(t, required)
	askings := map[string]*harness.Asking{
		"its client": cluster.Ask(t.Context(), friend, harness.CacheAddress(pod)),
		"a stranger": cluster.Ask(t.Context(), stranger, harness.CacheAddress(pod)),
	}
	_, err := cluster.Condition(t.Context(), required, enforced, metav1.ConditionFalse, admitted)
	check(t, err)
	_, err = cluster.Condition(t.Context(), required, memkeepv1alpha1.ConditionReady, metav1.ConditionFalse, admitted)
	check(t, err)
	time.Sleep(20 * time.Second)
	for who, a := range askings {
		asked, shut, served, err := a.Stop()
		check(t, err)
		t.Logf("%s asked %d times from the pod's start on: %d served, %d had no connection", who, asked, len(served), shut)
		// Being turned away by the network would prove nothing about the gate.
		if len(served) > 0 || asked-shut < 10 {
			t.Errorf("%s was served %d times of %d (%d without connection)", who, len(served), asked, shut)
		}
	}
	check(t, cluster.Get(t.Context(), client.ObjectKeyFromObject(pod), pod))
	if harness.Ready(pod) || pod.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("the pod is ready, or was started again: %+v", pod.Status.ContainerStatuses)
	}
}

func TestVerifiedPeersGuardAFleetWhereNothingElseDoes(t *testing.T) {
	t.Parallel()
	mc := harness.NewFleet(verified.Namespace, verified.Name, 1)
	mc.Spec.Access.Peers = memkeepv1alpha1.PeersVerified
	check(t, cluster.Create(t.Context(), mc))
	_, _, err := cluster.FleetReady(t.Context(), verified)
	check(t, err)
	pod := running(t, verified)
	addr := harness.CacheAddress(pod)
	neighbour := harness.DialerPod{Namespace: verified.Namespace, Name: "neighbour"}
	_, err = cluster.StartPod(t.Context(), neighbour)
	check(t, err)
	took, err := cluster.LetIn(t.Context(), friend, addr, harness.LabelLimit)
	check(t, err)
	t.Logf("a client pod was served after %s", took)
	for name, from := range map[string]harness.Pod{
		"a stranger":                        stranger,
		"a pod on its node's network":       host,
		"a pod of the fleet's namespace":    {Namespace: neighbour.Namespace, Name: neighbour.Name},
		"a pod in the namespace of probers": prober(t),
	} {
		t.Run(name+" is not served", func(t *testing.T) {
			served, talk, err := cluster.Serves(t.Context(), from, addr)
			check(t, err)
			t.Logf("it saw %s", talk)
			if served {
				t.Errorf("it is served: %s", talk)
			}
			if talk.Outcome == dialing.TimedOut {
				t.Errorf("the network turned it away (%s): nothing is proven", talk.Outcome)
			}
		})
	}
	t.Run("the node is not served", func(t *testing.T) {
		served, out, err := cluster.ServesNode(t.Context(), pod.Spec.NodeName, pod)
		check(t, err)
		t.Logf("the node saw %q", out)
		if served || !strings.Contains(out, "connected") {
			t.Errorf("the node saw %q, want a connection and no answer", out)
		}
	})
	t.Run("its client is served still", func(t *testing.T) {
		if served, talk, err := cluster.Serves(t.Context(), friend, addr); err != nil || !served {
			t.Errorf("it is not: %s, %v", talk, err)
		}
	})
}

// prober starts a pod that can talk in the probers' namespace.
func prober(t *testing.T) harness.Pod {
	t.Helper()
	want := harness.DialerPod{Namespace: operator.Key.Namespace + "-outsider", Name: "unenforced-talker"}
	pod, err := cluster.StartPod(t.Context(), want)
	check(t, err)
	t.Cleanup(func() { _ = cluster.Delete(context.Background(), pod, client.GracePeriodSeconds(0)) })
	return harness.Pod{Namespace: want.Namespace, Name: want.Name}
}
