// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/rollout"
)

// healthy is what a pass finds when nothing is left to do.
func healthy(change ...func(*facts)) *facts {
	f := &facts{
		policy: "policy", services: true, applied: true,
		statefulSet: &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Generation: 3},
			Status:     appsv1.StatefulSetStatus{ObservedGeneration: 3, UpdateRevision: "new"},
		},
		pods: []corev1.Pod{podOf(0, "new", true), podOf(1, "new", true)},
	}
	for _, c := range change {
		c(f)
	}
	return f
}

func podOf(n int, revision string, ready bool) corev1.Pod {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("sessions-%d", n), Labels: map[string]string{appsv1.ControllerRevisionHashLabelKey: revision},
		},
		Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}},
	}
}

func TestStatus(t *testing.T) {
	yes, no, unknown := metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown
	tests := map[string]struct {
		change func(*facts)
		// ready is the status and reason of Ready.
		ready  metav1.ConditionStatus
		reason string
		// extra is Reconciling or Stalled, whichever must be there; empty for none.
		extra string
		// observed tells whether the generation counts as observed.
		observed bool
		// access is the status of AccessConfigured.
		access metav1.ConditionStatus
	}{
		"everything is there": {func(*facts) {}, yes, v1alpha1.ReasonMembersReady, "", true, yes},
		"a member is not ready": {func(f *facts) { f.pods[1] = podOf(1, "new", false) },
			no, v1alpha1.ReasonMembersNotReady, "Reconciling", true, yes},
		"a member is missing": {func(f *facts) { f.pods = f.pods[:1] },
			no, v1alpha1.ReasonMembersNotReady, "Reconciling", true, yes},
		"a member too many": {func(f *facts) { f.pods = append(f.pods, podOf(2, "new", true)) },
			no, v1alpha1.ReasonScalingDown, "Reconciling", true, yes},
		"members serve and are outdated": {func(f *facts) { f.decision = rollout.Decision{Outdated: 1, Waiting: "x"} },
			no, v1alpha1.ReasonRollingOut, "Reconciling", true, yes},
		"a member is being replaced": {func(f *facts) { f.replaced, f.moved = "sessions-1", true },
			no, v1alpha1.ReasonRollingOut, "Reconciling", true, yes},
		"the StatefulSet was just written": {func(f *facts) { f.moved = true },
			no, v1alpha1.ReasonProgressing, "Reconciling", true, yes},
		"the StatefulSet was not seen yet": {func(f *facts) { f.statefulSet.Status.ObservedGeneration = 2 },
			no, v1alpha1.ReasonProgressing, "Reconciling", true, yes},
		"pods are refused": {func(f *facts) { f.pods = f.pods[:1]; f.podRefusal = "exceeded quota" },
			no, v1alpha1.ReasonForbidden, "Stalled", true, yes},
		"a child is refused": {func(f *facts) { f.applied, f.refusal = false, "exceeded quota" },
			no, v1alpha1.ReasonForbidden, "Stalled", true, yes},
		"the policy is refused": {func(f *facts) { f.applied, f.policy, f.refusal = false, "", "no" },
			no, v1alpha1.ReasonForbidden, "Stalled", true, no},
		"a Service is somebody else's": {func(f *facts) { f.applied, f.clashes = false, []string{"Service sessions"} },
			no, v1alpha1.ReasonNameConflict, "Stalled", true, yes},
		"the policy is somebody else's": {func(f *facts) {
			f.applied, f.policy, f.clashes = false, "", []string{"NetworkPolicy sessions"}
		}, no, v1alpha1.ReasonNameConflict, "Stalled", true, no},
		"the spec is invalid": {func(f *facts) { f.applied, f.policy, f.invalid = false, "", problems{"spec.x: y"} },
			no, v1alpha1.ReasonInvalidSpec, "Stalled", true, no},
		"the API server fails": {func(f *facts) { f.applied, f.err = false, errors.New("boom") },
			no, v1alpha1.ReasonReconcileError, "Reconciling", false, yes},
		"the API server fails at the policy": {func(f *facts) { f.applied, f.policy, f.err = false, "", errors.New("boom") },
			no, v1alpha1.ReasonReconcileError, "Reconciling", false, no},
		"an old child is still there": {func(f *facts) { f.applied, f.waiting = false, []string{"x is being deleted"} },
			no, v1alpha1.ReasonProgressing, "Reconciling", false, yes},
		"it is paused": {func(f *facts) {
			f.applied, f.paused = false, true
		}, unknown, v1alpha1.ReasonPaused, "", false, yes},
		"it is being deleted": {func(f *facts) {
			f.applied, f.deleting, f.policy = false, true, ""
		}, no, v1alpha1.ReasonDeleting, "", false, unknown},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			m := sessions()
			m.Status.ObservedGeneration = -1
			s := statusOf(m, healthy(c.change))
			ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
			if ready.Status != c.ready || ready.Reason != c.reason {
				t.Errorf("Ready is %s %s: %s", ready.Status, ready.Reason, ready.Message)
			}
			for _, kind := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
				got := meta.FindStatusCondition(s.Conditions, kind)
				if (got != nil) != (kind == c.extra) || got != nil && got.Status != yes {
					t.Errorf("%s is %v", kind, got)
				}
			}
			if got := s.ObservedGeneration == m.Generation; got != c.observed {
				t.Errorf("observed generation is %d", s.ObservedGeneration)
			}
			if got := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionAccessConfigured); got.Status != c.access {
				t.Errorf("AccessConfigured is %s %s", got.Status, got.Reason)
			}
			for _, condition := range s.Conditions {
				if condition.ObservedGeneration != m.Generation || condition.Message == "" || condition.Reason == "" {
					t.Errorf("condition %+v", condition)
				}
			}
		})
	}
}

func TestTheSameFactsGiveTheSameStatus(t *testing.T) {
	for name, change := range map[string]func(*facts){
		"ready":   func(*facts) {},
		"stalled": func(f *facts) { f.podRefusal = "exceeded quota" },
		"waiting": func(f *facts) { f.pods = nil },
	} {
		t.Run(name, func(t *testing.T) {
			m := sessions()
			m.Status = statusOf(m, healthy(change))
			for i := range m.Status.Conditions {
				m.Status.Conditions[i].LastTransitionTime = metav1.NewTime(time.Unix(1, 0))
			}
			if again := statusOf(m, healthy(change)); !equality.Semantic.DeepEqual(m.Status, again) {
				t.Errorf("status was %+v and is %+v", m.Status, again)
			}
		})
	}
}

func TestMembersAndTheirNumbers(t *testing.T) {
	gone := podOf(2, "new", true)
	gone.DeletionTimestamp = new(metav1.Now())
	f := healthy(func(f *facts) {
		f.pods = []corev1.Pod{podOf(0, "old", true), podOf(1, "new", true), gone, podOf(3, "new", false)}
	})
	s := statusOf(sessions(), f)
	if s.Replicas != 4 || s.ReadyReplicas != 2 || s.UpdatedReplicas != 2 {
		t.Errorf("%d replicas, %d ready, %d updated", s.Replicas, s.ReadyReplicas, s.UpdatedReplicas)
	}
	want := []v1alpha1.MemberState{
		v1alpha1.MemberOutdated, v1alpha1.MemberReady, v1alpha1.MemberTerminating, v1alpha1.MemberNotReady,
	}
	for i, m := range s.Members {
		if m.State != want[i] {
			t.Errorf("%s is %s, want %s", m.Name, m.State, want[i])
		}
	}
	if s.Selector != "memkeep.io/component=cache,memkeep.io/name=sessions" {
		t.Errorf("selector is %s", s.Selector)
	}
}

func TestPodsThatHangAreNamed(t *testing.T) {
	waiting := func(reason string) corev1.ContainerStatus {
		return corev1.ContainerStatus{State: corev1.ContainerState{
			Waiting: &corev1.ContainerStateWaiting{Reason: reason},
		}}
	}
	hanging := func(n int, change func(*corev1.Pod)) corev1.Pod {
		p := podOf(n, "new", false)
		change(&p)
		return p
	}
	pods := []corev1.Pod{
		hanging(0, func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{waiting("ContainerCreating")}
		}),
		hanging(1, func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{waiting("ImagePullBackOff")}
		}),
		hanging(2, func(p *corev1.Pod) {
			c := waiting("CrashLoopBackOff")
			c.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{Reason: oomKilled}
			p.Status.ContainerStatuses = []corev1.ContainerStatus{c}
		}),
		hanging(3, func(p *corev1.Pod) {
			p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes",
			})
		}),
		hanging(4, func(p *corev1.Pod) { p.Status.Phase, p.Status.Reason = corev1.PodFailed, "Evicted" }),
		podOf(5, "new", true),
	}
	want := "; sessions-1: ImagePullBackOff; sessions-2: OOMKilled; sessions-3: Unschedulable, 0/1 nodes; and 1 more"
	if got := stuck(pods); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestARefusalIsTheNewestThatIsNotStale(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	event := func(age time.Duration, message string) corev1.Event {
		return corev1.Event{LastTimestamp: metav1.NewTime(now.Add(-age)), Message: message}
	}
	events := []corev1.Event{
		event(time.Hour, "stale"), event(2*time.Minute, "older"), event(time.Minute, "newest"), event(3*time.Minute, "old"),
	}
	if got := latestRefusal(events, now); got != "newest" {
		t.Errorf("got %q", got)
	}
	if got := latestRefusal(events[:1], now); got != "" {
		t.Errorf("got %q", got)
	}
	if got := latestRefusal([]corev1.Event{event(time.Minute, strings.Repeat("x", 5000))}, now); len(got) > 310 {
		t.Errorf("the message has %d bytes", len(got))
	}
}

func TestAnUnguardedLabelIsToldWithWhatToSelectByInstead(t *testing.T) {
	m := &v1alpha1.Memcache{ObjectMeta: metav1.ObjectMeta{Name: "sessions", Namespace: "caches"}}
	m.Spec.Access.Clients = []v1alpha1.Peer{peerOf("web", "team", "shop")}
	for namespace, want := range map[string]string{
		"caches":                "select by client.memkeep.io/caches.sessions or kubernetes.io/metadata.name",
		strings.Repeat("n", 60): "select by kubernetes.io/metadata.name",
	} {
		m.Namespace = namespace
		v := configured(m)
		if v.reason != v1alpha1.ReasonUnguardedLabel || !strings.Contains(v.message, want) {
			t.Errorf("in %s: %s, %s", namespace, v.reason, v.message)
		}
	}
}

// TestAuditIsNeverCalledSecured has a fleet whose policy admits everyone: it may be Ready, and nothing says that
// access is enforced.
func TestAuditIsNeverCalledSecured(t *testing.T) {
	m := sessions(func(m *v1alpha1.Memcache) { m.Spec.Access.Mode = v1alpha1.AccessAudit })
	s := statusOf(m, healthy())
	for kind, want := range map[string][2]string{
		v1alpha1.ConditionReady:            {"True", v1alpha1.ReasonMembersReady},
		v1alpha1.ConditionAccessConfigured: {"True", v1alpha1.ReasonEveryoneAdmitted},
		v1alpha1.ConditionAccessEnforced:   {"Unknown", v1alpha1.ReasonAuditMode},
	} {
		if c := meta.FindStatusCondition(s.Conditions, kind); string(c.Status) != want[0] || c.Reason != want[1] {
			t.Errorf("%s is %s %s, want %v", kind, c.Status, c.Reason, want)
		}
	}
}
