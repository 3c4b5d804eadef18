// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package attack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/harness"
)

// everybody is a NetworkPolicy that admits everybody to every pod of a namespace.
func everybody(namespace string) *networkingv1.NetworkPolicy {
	p := &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress:     []networkingv1.NetworkPolicyIngressRule{{}},
	}}
	p.Namespace, p.Name = namespace, "everybody"
	return p
}

// statefulSet has one pod that answers whoever connects to the cache port.
func statefulSet(namespace, name string, labels map[string]string) *appsv1.StatefulSet {
	all := map[string]string{"planted": name}
	maps.Copy(all, labels)
	pod := podOf(namespace, name, all, "serve", ":11211")
	pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "memcache", ContainerPort: cachePort}}
	set := &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{
		Replicas: new(int32(1)),
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"planted": name}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: all}, Spec: pod.Spec},
	}}
	set.Namespace, set.Name = namespace, name
	return set
}

func workloadAttempts() []attempt {
	const who = "a user who may only create StatefulSets"
	g := workloadsGround
	sets := may("apps", "statefulsets", "create")
	return []attempt{
		{
			who: who, way: "run pods with the fleet's labels, to receive what clients store",
			want: RefusedByAdmission, why: "a template with the fleet's labels is the operator's to write (`memkeep-templates`)",
			try: func(t *testing.T, want Outcome) finding {
				set := statefulSet(g.key.Namespace, "impostor", g.fleetLabels())
				if f := create(t, user(t, "impostor", g.key.Namespace, sets), set); f != nil {
					return *f
				}
				return g.trappedByName(t, want)
			},
		},
		{
			who: who, way: "make a StatefulSet of a running fleet's name",
			want: GotNothing, why: "the name is taken",
			try: func(t *testing.T, _ Outcome) finding {
				set := statefulSet(g.key.Namespace, g.key.Name, nil)
				if f := create(t, user(t, "namesake", g.key.Namespace, sets), set); f != nil {
					return *f
				}
				return finding{ReadIt, "a second StatefulSet of the fleet's name was made"}
			},
		},
		{
			who: who, way: "make a StatefulSet before the fleet of that name, to be adopted",
			want: GotNothing, why: "what is not the operator's own is never adopted, and the ring's Service does not select it",
			reported: "`Stalled` with the reason `NameConflict`",
			report:   g.conflict,
			try:      g.plantStatefulSet,
		},
		{
			who: who, way: "run pods in the fleet's namespace and ask from there",
			want: RefusedByNetwork, why: "the fleet's own namespace is a stranger like any other",
			try: func(t *testing.T, _ Outcome) finding {
				set := statefulSet(g.key.Namespace, "beside", nil)
				if f := create(t, user(t, "beside", g.key.Namespace, sets), set); f != nil {
					return *f
				}
				pod := &corev1.Pod{}
				pod.Namespace, pod.Name = g.key.Namespace, "beside-0"
				running(t, pod)
				return everywhere(t, []harness.Pod{at(pod)}, g.everyPort())
			},
		},
	}
}

// plantedName is the name of a fleet that finds its StatefulSet's name taken.
const plantedName = "planted"

// plantStatefulSet makes a StatefulSet first and the fleet of that name after it,
// and has clients store at whatever the fleet's ring is then.
func (g *ground) plantStatefulSet(t *testing.T, _ Outcome) finding {
	t.Helper()
	as := user(t, plantedName, g.key.Namespace, may("apps", "statefulsets", "create"))
	if f := create(t, as, statefulSet(g.key.Namespace, plantedName, nil)); f != nil {
		return *f
	}
	mc := harness.NewFleet(g.key.Namespace, plantedName, 1)
	if err := cluster.Create(t.Context(), mc); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(cluster.Delete(context.Background(), mc)); err != nil {
			t.Error(err)
		}
	})
	planted := &corev1.Pod{}
	planted.Namespace, planted.Name = g.key.Namespace, plantedName+"-0"
	running(t, planted)
	if g.conflict(t, reportLimit) == "" {
		return finding{GotNothing, "the fleet does not say that its name is taken"}
	}
	set := &appsv1.StatefulSet{}
	key := client.ObjectKey{Namespace: g.key.Namespace, Name: plantedName}
	if err := cluster.Get(t.Context(), key, set); err != nil {
		t.Fatal(err)
	}
	if len(set.OwnerReferences) > 0 {
		return finding{ReadIt, fmt.Sprintf("the planted StatefulSet was adopted: %+v", set.OwnerReferences)}
	}
	other := &ground{key: key, pods: []corev1.Pod{*planted}}
	return trapped(t, other.names()[:2])
}

// conflict looks for a condition that says that the planted name is taken.
func (g *ground) conflict(t *testing.T, limit time.Duration) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cond, err := cluster.Condition(ctx, client.ObjectKey{Namespace: g.key.Namespace, Name: plantedName},
		memkeepv1alpha1.ConditionStalled, metav1.ConditionTrue, memkeepv1alpha1.ReasonNameConflict)
	if err != nil {
		t.Log(err)
		return ""
	}
	return fmt.Sprintf("`%s` with the reason `%s`", cond.Type, cond.Reason)
}

func barePodAttempts() []attempt {
	const who = "a user who may only create pods"
	g := podsGround
	pods := may("", "pods", "create")
	return []attempt{
		{
			who: who, way: "be selected by the ring's Service, with the fleet's labels",
			want: RefusedByAdmission,
			why:  "a pod with the fleet's labels is the StatefulSet controller's to make (`memkeep-pods`)",
			try: func(t *testing.T, want Outcome) finding {
				pod := podOf(g.key.Namespace, "impostor", g.fleetLabels(), "serve", ":11211")
				pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "memcache", ContainerPort: cachePort}}
				if f := create(t, user(t, "bare-impostor", g.key.Namespace, pods), pod); f != nil {
					return *f
				}
				return g.trappedByName(t, want)
			},
		},
		{
			who: who, way: "be adopted by the fleet's StatefulSet, with the next member's name and its labels",
			want: RefusedByAdmission,
			why:  "without the fleet's labels nothing is adopted, and with them nothing is made (`memkeep-pods`)",
			try: func(t *testing.T, _ Outcome) finding {
				pod := podOf(g.key.Namespace, fmt.Sprintf("%s-%d", g.key.Name, len(g.pods)), g.fleetLabels(), "serve", ":11211")
				if f := create(t, user(t, "adoptee", g.key.Namespace, pods), pod); f != nil {
					return *f
				}
				if err := g.disowned(t, pod); err != nil {
					return finding{ReadIt, err.Error()}
				}
				return finding{GotNothing, pod.Name + " is gone"}
			},
		},
		{
			who: who, way: "ask from the fleet's own namespace",
			want: RefusedByNetwork, why: "the fleet's own namespace is a stranger like any other",
			try: func(t *testing.T, _ Outcome) finding {
				pod := podOf(g.key.Namespace, "beside", nil)
				if f := create(t, user(t, "bare-beside", g.key.Namespace, pods), pod); f != nil {
					return *f
				}
				running(t, pod)
				return everywhere(t, []harness.Pod{at(pod)}, g.everyPort())
			},
		},
		{
			who: who, way: "search a member's memory from the node's process namespace (hostPID)",
			want: RefusedByAdmission, why: "a fleet's namespace can enforce the restricted Pod Security Standard, and should",
			try: func(t *testing.T, _ Outcome) finding {
				pod := podOf(g.key.Namespace, "searcher", nil)
				pod.Spec.HostPID = true
				if f := create(t, user(t, "bare-searcher", g.key.Namespace, pods), pod); f != nil {
					return *f
				}
				running(t, pod)
				_, said := dialer(t, at(pod), "search", "cache-server", fmt.Sprintf("%x", catchphrase))
				return judge("", said)
			},
		},
	}
}

// disowned waits until a pod is gone that is in the place of a member.
func (g *ground) disowned(t *testing.T, pod *corev1.Pod) error {
	t.Helper()
	_, err := cluster.Eventually(t.Context(), pod.Name+" gone", openLimit, func(ctx context.Context) error {
		now := &corev1.Pod{}
		err := cluster.Get(ctx, client.ObjectKeyFromObject(pod), now)
		if apierrors.IsNotFound(err) || err == nil && now.DeletionTimestamp != nil {
			return nil
		}
		return errors.Join(err, fmt.Errorf("%s is still there, owned by %+v", pod.Name, now.OwnerReferences))
	})
	return err
}
