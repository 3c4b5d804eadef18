// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
	"github.com/memkeep/memkeep/controllers/access/effective"
	"github.com/memkeep/memkeep/controllers/resources"
)

const (
	// strangerPatience is how long an address behind a fleet's Service may be
	// nobody's: pods and slices come through watches of their own, and neither
	// waits for the other.
	strangerPatience = 3 * time.Second
	// maxWidenings is what status has room for.
	maxWidenings = 16
)

// widened is what is known of who else gets in.
type widened struct {
	verdict effective.Verdict
	// namespaces and pods are how many the clients' selectors pick; nil where that is not known.
	namespaces, pods *int32
}

// judge looks at everybody's objects around the fleet for what admits more than
// the Memcache does.
func (r *Reconciler) judge(m *v1alpha1.Memcache, f *facts) {
	if f.deleting || f.statefulSet == nil && f.err != nil {
		return // Whose the pods are is not known.
	}
	key := client.ObjectKeyFromObject(m)
	world, read := r.Observer.Around(key)
	if !read {
		return
	}
	f.widened = &widened{namespaces: world.AdmittedNamespaces, pods: world.AdmittedPods}
	fleet := &effective.Fleet{Namespace: m.Namespace, Name: m.Name, Addresses: f.clusterIPs, Pods: judgedPods(m, f)}
	if !r.ownPolicies(m, f, world, fleet) {
		f.widened.verdict.NotJudged = []string{"the fleet's own policy is not in force; see AccessConfigured"}
		return
	}
	fleet.Passing = r.passing(key, effective.Strangers(fleet, world), f, time.Now())
	f.widened.verdict = effective.Judge(fleet, world)
}

// ownPolicies fills in what the fleet's own policy admits: what it is to admit
// where it is as rendered, else what the one admits that is there. It answers
// false where there is none.
func (r *Reconciler) ownPolicies(
	m *v1alpha1.Memcache, f *facts, world *access.World, to *effective.Fleet,
) bool {
	if f.policy != "" {
		to.OwnPolicies = []types.UID{f.policy, f.deny}
		rules, err := ingressOf(access.Policy(m, f.deny, r.operatorNamespace()).Spec)
		to.Own = rules
		return err == nil
	}
	for _, p := range world.Policies {
		if (p.Name == m.Name || p.Name == resources.DenyPolicyName(m)) &&
			!slices.Contains(f.clashes, "NetworkPolicy "+p.Name) {
			to.OwnPolicies = append(to.OwnPolicies, p.UID)
			to.Own = append(to.Own, p.Spec.Ingress...)
		}
	}
	return len(to.OwnPolicies) > 0
}

// ingressOf are the rules of a rendered policy.
func ingressOf(spec any) ([]networkingv1.NetworkPolicyIngressRule, error) {
	data, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encode policy: %w", err)
	}
	out := &networkingv1.NetworkPolicySpec{}
	if err := json.Unmarshal(data, out); err != nil {
		return nil, fmt.Errorf("decode policy: %w", err)
	}
	return out.Ingress, nil
}

// judgedPods are the fleet's pods, those among them that are still to come.
func judgedPods(m *v1alpha1.Memcache, f *facts) []effective.Pod {
	var out []effective.Pod
	there := map[string]bool{}
	for i := range f.pods {
		p := &f.pods[i]
		there[p.Name] = true
		one := judgedPod(p.Name, p.Labels, &p.Spec)
		for _, ip := range p.Status.PodIPs {
			one.Addresses = append(one.Addresses, access.Address(ip.IP))
		}
		out = append(out, one)
	}
	spec, labels, revision := &corev1.PodSpec{}, resources.PodLabels(m), ""
	if f.statefulSet != nil {
		template := &f.statefulSet.Spec.Template
		spec, labels, revision = &template.Spec, template.Labels, f.statefulSet.Status.UpdateRevision
	}
	for n := range min(resources.Replicas(m), maxMembers) {
		name := fmt.Sprintf("%s-%d", m.Name, n)
		if there[name] {
			continue
		}
		own := maps.Clone(labels)
		own[appsv1.StatefulSetPodNameLabel], own[appsv1.PodIndexLabel] = name, fmt.Sprint(n)
		if revision != "" {
			own[appsv1.ControllerRevisionHashLabelKey] = revision
		}
		out = append(out, judgedPod(name, own, spec))
	}
	return out
}

func judgedPod(name string, labels map[string]string, spec *corev1.PodSpec) effective.Pod {
	out := effective.Pod{Name: name, Labels: labels, HostNetwork: spec.HostNetwork}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			for _, p := range list[i].Ports {
				out.Ports = append(out.Ports, effective.Port{
					Name: p.Name, Number: p.ContainerPort, Host: p.HostPort,
					TCP: p.Protocol == "" || p.Protocol == corev1.ProtocolTCP,
				})
			}
		}
	}
	return out
}

// passing are those of the addresses that are not the fleet's pods' which have
// not been seen for long: they were a pod's, or will be in a moment.
func (r *Reconciler) passing(
	key types.NamespacedName, strangers []string, f *facts, now time.Time,
) map[string]bool {
	if len(strangers) == 0 {
		r.strangers.Delete(key)
		return nil
	}
	before, _ := r.strangers.Load(key)
	known, _ := before.(map[string]time.Time)
	since, out := map[string]time.Time{}, map[string]bool{}
	for _, a := range strangers {
		seen, ok := known[a]
		if !ok {
			seen = now
		}
		since[a] = seen
		if left := strangerPatience - now.Sub(seen); left > 0 {
			out[a] = true
			f.recheck(left)
		}
	}
	r.strangers.Store(key, since)
	return out
}

// widenedBy fills in who may connect and what widens that.
func widenedBy(s *v1alpha1.MemcacheStatus, f *facts) {
	if f.widened == nil {
		return
	}
	if s.Access == nil {
		s.Access = &v1alpha1.AccessStatus{}
	}
	s.Access.AdmittedNamespaces, s.Access.AdmittedPods = f.widened.namespaces, f.widened.pods
	s.Access.WidenedBy = nil
	for i := range f.widened.verdict.WidenedBy {
		if i < maxWidenings {
			s.Access.WidenedBy = append(s.Access.WidenedBy, f.widened.verdict.WidenedBy[i].Widening)
		}
	}
}

// widenedOf says whether others admit more; nil where that is still being read.
func widenedOf(f *facts) *verdict {
	if f.widened == nil {
		return nil
	}
	v := &f.widened.verdict
	unclear := ""
	if len(v.NotJudged) > 0 {
		unclear = "not judged: " + bounded(v.NotJudged)
	}
	switch {
	case len(v.WidenedBy) > 0:
		var all []string
		for i := range v.WidenedBy {
			all = append(all, told(&v.WidenedBy[i].Widening))
		}
		if unclear != "" {
			unclear = "; " + unclear
		}
		return yes(v.WidenedBy[0].Reason, "%s%s", bounded(all), unclear)
	case unclear != "":
		return unknown(v1alpha1.ReasonNotJudged, "%s", unclear)
	}
	return no(v1alpha1.ReasonAsConfigured, "nothing that can be seen admits more than this Memcache does")
}

func told(w *v1alpha1.Widening) string { return w.Kind + " " + w.Name + ": " + w.What }

// announceWidened tells of each object that widens access from now on, of what
// cannot be judged any more, and of when it is over. What status keeps to itself
// is for the operator's own log.
func (r *Reconciler) announceWidened(
	ctx context.Context, m *v1alpha1.Memcache, before, after *v1alpha1.MemcacheStatus, f *facts,
) {
	was := meta.FindStatusCondition(before.Conditions, v1alpha1.ConditionAccessWidened)
	now := meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionAccessWidened)
	if now == nil || f.widened == nil {
		return
	}
	tell := func(kind, reason, message string) {
		r.Recorder.Eventf(m, nil, kind, reason, actionJudge, "%s", truncated(message))
	}
	for i := range f.widened.verdict.WidenedBy {
		found := &f.widened.verdict.WidenedBy[i]
		if i >= maxWidenings || named(before.Access, &found.Widening) {
			continue
		}
		tell(corev1.EventTypeWarning, found.Reason, told(&found.Widening))
		if len(found.Unnamed) > 0 {
			log.FromContext(ctx).Info("Access is widened from another namespace",
				"kind", found.Kind, "objects", found.Unnamed, "what", found.What)
		}
	}
	switch {
	case was != nil && was.Status == now.Status:
	case now.Status == metav1.ConditionUnknown:
		tell(corev1.EventTypeWarning, now.Reason, now.Message)
	case now.Status == metav1.ConditionFalse && was != nil:
		tell(corev1.EventTypeNormal, now.Reason, now.Message)
	}
}

// named tells whether an object was said before to widen access.
func named(before *v1alpha1.AccessStatus, w *v1alpha1.Widening) bool {
	return before != nil && slices.ContainsFunc(before.WidenedBy, func(old v1alpha1.Widening) bool {
		return old.Kind == w.Kind && old.Name == w.Name
	})
}
