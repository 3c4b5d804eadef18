// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
	"github.com/memkeep/memkeep/controllers/proof"
	"github.com/memkeep/memkeep/controllers/resources"
)

// prove tells the proofs how the fleet is now and takes what they know. They go
// on by themselves and ask for a pass when they know better.
func (r *Reconciler) prove(m *v1alpha1.Memcache, f *facts) {
	if r.Proof == nil {
		return
	}
	key := client.ObjectKeyFromObject(m)
	if f.deleting {
		r.Proof.Forget(key)
		return
	}
	fleet := proof.Fleet{
		Key: key, UID: m.UID, Access: m.Spec.Access, Surroundings: r.surroundings(m, f), Status: &m.Status,
	}
	for i := range f.pods {
		if p := &f.pods[i]; p.DeletionTimestamp.IsZero() {
			fleet.Members = append(fleet.Members, memberOf(p))
		}
	}
	r.Proof.Observe(fleet)
	report := r.Proof.Report(key)
	f.proof = &report
}

// memberOf returns a pod as a proof sees it.
func memberOf(p *corev1.Pod) proof.Member {
	m := proof.Member{Player: playerOf(p)}
	for i := range p.Status.ContainerStatuses {
		s := &p.Status.ContainerStatuses[i]
		// Once the kubelet's startup probe has passed, the metrics port is known to listen.
		if s.Name == resources.ContainerName && s.State.Running != nil && s.Started != nil && *s.Started {
			m.Started, m.Since = s.ContainerID, s.State.Running.StartedAt.Time
		}
	}
	return m
}

func playerOf(p *corev1.Pod) access.Player {
	out := access.Player{Name: p.Name, UID: p.UID, Node: p.Spec.NodeName}
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out.Addresses = append(out.Addresses, a.Unmap())
		}
	}
	return out
}

// surroundings returns a text that changes with everything that may change who
// gets in: what the object admits, and the policies and labels around its pods.
// It is empty while that is still being read.
func (r *Reconciler) surroundings(m *v1alpha1.Memcache, f *facts) string {
	world, read := r.Observer.Around(client.ObjectKeyFromObject(m))
	if !read {
		return ""
	}
	type policy struct {
		Name string
		UID  types.UID
		Spec any
	}
	around := struct {
		Access    v1alpha1.AccessSpec
		Policies  []policy
		Namespace map[string]string
		Pods      []map[string]string
	}{Access: m.Spec.Access, Namespace: world.Namespace}
	for _, p := range world.Policies {
		around.Policies = append(around.Policies, policy{Name: p.Name, UID: p.UID, Spec: p.Spec})
	}
	for i := range world.Foreign {
		p := &world.Foreign[i]
		around.Policies = append(around.Policies, policy{Name: p.Kind + "/" + p.Namespace + "/" + p.Name, Spec: p.Spec})
	}
	slices.SortFunc(around.Policies, func(a, b policy) int { return cmp.Compare(a.Name, b.Name) })
	for i := range f.pods {
		around.Pods = append(around.Pods, f.pods[i].Labels)
	}
	data, err := json.Marshal(around)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// enforcedOf says whether the policy has been proven to hold.
func enforcedOf(m *v1alpha1.Memcache, f *facts) *verdict {
	switch {
	case m.Spec.Access.EffectiveMode() == v1alpha1.AccessAudit:
		return unknown(v1alpha1.ReasonAuditMode, "mode Audit admits everyone to the cache port on purpose")
	case f.deleting:
		return unknown(v1alpha1.ReasonDeleting, "the fleet is being deleted")
	case f.proof == nil:
		return unknown(v1alpha1.ReasonNotProven, "it has not been proven that the cluster enforces the policy")
	}
	return &verdict{f.proof.Status, f.proof.Reason, f.proof.Message}
}

// proven fills in what the proofs know about members, and what they did not cover.
func proven(s *v1alpha1.MemcacheStatus, f *facts) {
	if f.proof == nil {
		return
	}
	byName := map[string]v1alpha1.Enforcement{}
	for i := range f.pods {
		byName[f.pods[i].Name] = f.proof.Members[f.pods[i].UID]
	}
	for i := range s.Members {
		s.Members[i].Enforcement = byName[s.Members[i].Name]
	}
	covered := f.proof.NotCovered
	if s.Access == nil && len(covered) == 0 {
		return
	}
	if s.Access == nil {
		s.Access = &v1alpha1.AccessStatus{}
	}
	s.Access.NotCovered = covered
}

// refuted tells that the fleet serves nobody because strangers got in.
func refuted(m *v1alpha1.Memcache, f *facts) bool {
	return m.Spec.Access.EffectiveVerification() == v1alpha1.VerificationRequired &&
		f.proof != nil && f.proof.Status == metav1.ConditionFalse
}

// awaited says that members wait for a proof, where they do.
func awaited(m *v1alpha1.Memcache, f *facts) string {
	if m.Spec.Access.EffectiveVerification() != v1alpha1.VerificationRequired || f.proof == nil ||
		f.proof.Status != metav1.ConditionUnknown {
		return ""
	}
	return "; members serve once they are proven: " + f.proof.Message
}

// announceProof tells of what was proven, refuted, or is not proven any more.
// That a proof is still to come is no news.
func (r *Reconciler) announceProof(m *v1alpha1.Memcache, was, now *metav1.Condition) {
	known := was != nil && was.Status != metav1.ConditionUnknown
	switch {
	case now.Status == metav1.ConditionTrue:
		r.Recorder.Eventf(m, nil, corev1.EventTypeNormal, now.Reason, actionProve, "%s", now.Message)
	case now.Status == metav1.ConditionFalse,
		known && now.Reason != v1alpha1.ReasonDeleting && now.Reason != v1alpha1.ReasonNoMembers:
		r.Recorder.Eventf(m, nil, corev1.EventTypeWarning, now.Reason, actionProve, "%s", now.Message)
	}
}

// Prove has the reconciler's fleets proven over the phone. It has to be called
// before SetupWithManager; the runner works once it was added to the manager and
// told of a cast.
func (r *Reconciler) Prove(phone proof.Phone) *proof.Runner {
	r.Proof = proof.New(phone, ctrl.Log.WithName("proof"), r.verdicts.wake)
	return r.Proof
}

// waker has fleets reconciled about which more is known.
type waker struct {
	mu    sync.Mutex
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
}

// source passes the fleets to a controller.
func (w *waker) source() source.Source {
	return source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.queue = queue
		return nil
	})
}

func (w *waker) wake(fleet types.NamespacedName) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.queue != nil {
		w.queue.Add(reconcile.Request{NamespacedName: fleet})
	}
}
