// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
	"github.com/memkeep/memkeep/controllers/resources"
)

const maxMembers = 100

// verdict is a condition's status, reason and message.
type verdict struct {
	status          metav1.ConditionStatus
	reason, message string
}

func yes(reason, format string, args ...any) *verdict {
	return &verdict{metav1.ConditionTrue, reason, fmt.Sprintf(format, args...)}
}

func no(reason, format string, args ...any) *verdict {
	return &verdict{metav1.ConditionFalse, reason, fmt.Sprintf(format, args...)}
}

func unknown(reason, format string, args ...any) *verdict {
	return &verdict{metav1.ConditionUnknown, reason, fmt.Sprintf(format, args...)}
}

// statusOf computes the status from what a pass found. What the pass could not
// judge stays as it was.
func statusOf(m *v1alpha1.Memcache, f *facts) v1alpha1.MemcacheStatus {
	s := *m.Status.DeepCopy()
	count(&s, f)
	proven(&s, f)
	widenedBy(&s, f)
	s.Selector = labels.Set(resources.SelectorLabels(m)).String()
	if f.template.Revision != "" {
		s.TemplateRevision = f.template.Revision
	}
	if f.services {
		s.Endpoints = &v1alpha1.Endpoints{
			Ring:  endpoint(m.Name, m.Namespace),
			Ready: endpoint(resources.ReadyServiceName(m), m.Namespace),
		}
	}
	stalled := stalledOf(f)
	// A spec that was refused for good is judged as a whole, too: without the
	// generation, tools that go by kstatus would wait on a Stalled object.
	if !f.deleting && !f.paused && (f.acted() || stalled != nil) {
		s.ObservedGeneration = m.Generation
	}
	ready := readyOf(m, f, &s)
	set := func(kind string, v *verdict) {
		meta.SetStatusCondition(&s.Conditions, metav1.Condition{
			Type: kind, Status: v.status, Reason: v.reason, Message: v.message, ObservedGeneration: m.Generation,
		})
	}
	set(v1alpha1.ConditionReady, ready)
	set(v1alpha1.ConditionAvailable, availableOf(m, &s))
	set(v1alpha1.ConditionAccessConfigured, accessOf(m, f))
	set(v1alpha1.ConditionAccessEnforced, enforcedOf(m, f))
	if v := widenedOf(f); v != nil {
		set(v1alpha1.ConditionAccessWidened, v)
	}
	if v := updateOf(f); v != nil {
		set(v1alpha1.ConditionUpdateAvailable, v)
	}
	meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionStalled)
	meta.RemoveStatusCondition(&s.Conditions, v1alpha1.ConditionReconciling)
	switch {
	case stalled != nil:
		keepSince(&s, m.Status.Conditions, v1alpha1.ConditionStalled)
		set(v1alpha1.ConditionStalled, stalled)
	case ready.status != metav1.ConditionTrue && !f.paused && !f.deleting:
		keepSince(&s, m.Status.Conditions, v1alpha1.ConditionReconciling)
		set(v1alpha1.ConditionReconciling, yes(ready.reason, "%s", ready.message))
	}
	return s
}

// keepSince puts back a condition that was there before, so that it keeps the
// time of its last transition.
func keepSince(s *v1alpha1.MemcacheStatus, before []metav1.Condition, kind string) {
	if c := meta.FindStatusCondition(before, kind); c != nil {
		s.Conditions = append(s.Conditions, *c)
	}
}

func endpoint(name, namespace string) string {
	return fmt.Sprintf("%s.%s.svc:%d", name, namespace, v1alpha1.PortCache)
}

// count fills in members and their numbers.
func count(s *v1alpha1.MemcacheStatus, f *facts) {
	s.Replicas, s.ReadyReplicas, s.UpdatedReplicas, s.Members = int32(len(f.pods)), 0, 0, nil
	for i := range f.pods {
		p := &f.pods[i]
		updated := p.Labels[appsv1.ControllerRevisionHashLabelKey] == f.statefulSet.Status.UpdateRevision
		state := v1alpha1.MemberNotReady
		switch {
		case !p.DeletionTimestamp.IsZero():
			state = v1alpha1.MemberTerminating
		case isReady(p) && updated:
			state = v1alpha1.MemberReady
		case isReady(p):
			state = v1alpha1.MemberOutdated
		}
		if isReady(p) {
			s.ReadyReplicas++
		}
		if updated && p.DeletionTimestamp.IsZero() {
			s.UpdatedReplicas++
		}
		if len(s.Members) < maxMembers {
			s.Members = append(s.Members, v1alpha1.Member{Name: p.Name, State: state})
		}
	}
}

// stalledOf returns what only a human can help with; nil for nothing.
func stalledOf(f *facts) *verdict {
	switch {
	case f.deleting:
		return nil
	case len(f.invalid) > 0:
		return yes(v1alpha1.ReasonInvalidSpec, "%s", bounded(f.invalid))
	case len(f.clashes) > 0:
		return yes(v1alpha1.ReasonNameConflict,
			"%s exists and is not this Memcache's: delete or rename it, or rename the Memcache", bounded(f.clashes))
	case f.refusal != "":
		return yes(v1alpha1.ReasonForbidden, "the API server refuses: %s", f.refusal)
	case f.podRefusal != "":
		return yes(v1alpha1.ReasonForbidden, "pods are refused: %s", f.podRefusal)
	}
	return nil
}

// readyOf sums up. The order is the documentation: the first that applies is
// what stands between the fleet and Ready.
func readyOf(m *v1alpha1.Memcache, f *facts, s *v1alpha1.MemcacheStatus) *verdict {
	wanted := resources.Replicas(m)
	progress := fmt.Sprintf("%d of %d members are ready", s.ReadyReplicas, wanted)
	if v := stalledOf(f); v != nil {
		return no(v.reason, "%s", v.message)
	}
	switch {
	case f.deleting:
		return no(v1alpha1.ReasonDeleting, "the fleet is being deleted")
	case f.err != nil:
		return no(v1alpha1.ReasonReconcileError, "%s", truncated(f.err.Error()))
	case f.paused:
		return unknown(v1alpha1.ReasonPaused, "reconciling is paused, access excepted; %s", progress)
	case len(f.waiting) > 0:
		return no(v1alpha1.ReasonProgressing, "%s", bounded(f.waiting))
	case f.replaced != "":
		return no(v1alpha1.ReasonRollingOut, "outdated: %s; %s is being replaced",
			counted(f.decision.Outdated, "member"), f.replaced)
	case !f.observed():
		return no(v1alpha1.ReasonProgressing, "the StatefulSet is being applied")
	case f.decision.Outdated > 0:
		return no(v1alpha1.ReasonRollingOut, "outdated: %s; %s%s",
			counted(f.decision.Outdated, "member"), f.decision.Waiting, stuck(f.pods))
	case int32(len(f.pods)) > wanted:
		return no(v1alpha1.ReasonScalingDown, "%d members exist, %d are wanted", len(f.pods), wanted)
	case refuted(m, f):
		return no(v1alpha1.ReasonStrangerAdmitted, "nobody is served while strangers get in: %s", f.proof.Message)
	case s.ReadyReplicas < wanted:
		return no(v1alpha1.ReasonMembersNotReady, "%s%s%s", progress, stuck(f.pods), awaited(m, f))
	case wanted == 0:
		return yes(v1alpha1.ReasonScaledToZero, "no member is wanted")
	}
	return yes(v1alpha1.ReasonMembersReady, "%s", progress)
}

func availableOf(m *v1alpha1.Memcache, s *v1alpha1.MemcacheStatus) *verdict {
	switch {
	case s.ReadyReplicas > 0:
		return yes(v1alpha1.ReasonMinimumAvailable, "serving: %s", counted(int(s.ReadyReplicas), "member"))
	case resources.Replicas(m) == 0:
		return yes(v1alpha1.ReasonScaledToZero, "no member is wanted")
	}
	return no(v1alpha1.ReasonNoMemberReady, "no member serves")
}

func accessOf(m *v1alpha1.Memcache, f *facts) *verdict {
	switch {
	case f.policy != "":
		return configured(m)
	case f.deleting:
		return unknown(v1alpha1.ReasonDeleting, "the policy goes after the last pod")
	case len(f.invalid) > 0:
		return no(v1alpha1.ReasonInvalidSpec, "the spec is invalid; a policy that was applied before stays as it is")
	case len(f.clashes) > 0:
		return no(v1alpha1.ReasonNameConflict, "%s exists and is not this Memcache's; no pod is started or replaced",
			bounded(f.clashes))
	case f.refusal != "":
		return no(v1alpha1.ReasonForbidden, "the API server refuses: %s", f.refusal)
	case f.err != nil:
		return no(v1alpha1.ReasonPolicyPending, "%s", truncated(f.err.Error()))
	}
	return no(v1alpha1.ReasonPolicyPending, "%s", bounded(f.waiting))
}

func configured(m *v1alpha1.Memcache) *verdict {
	clients := m.Spec.Access.Clients
	if m.Spec.Access.EffectiveMode() == v1alpha1.AccessAudit {
		return yes(v1alpha1.ReasonEveryoneAdmitted,
			"the policy is applied; mode Audit admits everyone to the cache port, the clients that are named: %d", len(clients))
	}
	if len(clients) == 0 {
		return yes(v1alpha1.ReasonNobodyAdmitted, "the policy is applied; no client is named, so nobody is admitted")
	}
	if names := access.Unguarded(m); len(names) > 0 {
		return yes(v1alpha1.ReasonUnguardedLabel,
			"the policy is applied; whoever may label namespaces can join %s: select by %s instead",
			bounded(names), guardedLabels(m))
	}
	return yes(v1alpha1.ReasonPolicyApplied, "the policy is applied; clients that it admits: %d", len(clients))
}

// guardedLabels names the labels by which clients are better selected. The
// fleet's own cannot be written where the names are long.
func guardedLabels(m *v1alpha1.Memcache) string {
	own := v1alpha1.ClientLabel(m.Namespace, m.Name)
	if len(validation.IsQualifiedName(own)) > 0 {
		return corev1.LabelMetadataName
	}
	return own + " or " + corev1.LabelMetadataName
}

func updateOf(f *facts) *verdict {
	switch {
	case !f.acted():
		return nil
	case f.outdatedTemplate:
		return yes(v1alpha1.ReasonTemplatePinned,
			"this operator would render another pod template; change the annotation %s to have it",
			v1alpha1.AnnotationUpdate)
	}
	return no(v1alpha1.ReasonTemplateCurrent, "the pod template is what this operator renders")
}

// stuck names pods that will not get ready by waiting, with what holds each.
func stuck(pods []corev1.Pod) string {
	var named []string
	for i := range pods {
		if why := hindrance(&pods[i]); why != "" {
			named = append(named, pods[i].Name+": "+why)
		}
	}
	if len(named) == 0 {
		return ""
	}
	return "; " + bounded(named)
}
