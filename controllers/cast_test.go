// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

// prober is a pod that is ready to play a part.
func prober(name, part string, change ...func(*corev1.Pod)) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: map[string]string{
		v1alpha1.LabelProber: part, "pod": name,
	}}}
	p.Status.PodIPs = []corev1.PodIP{{IP: "10.0.0.1"}}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	for _, c := range change {
		c(&p)
	}
	return p
}

func TestWhoCanPlayAPart(t *testing.T) {
	pods := []corev1.Pod{
		prober("z", v1alpha1.ProberOutsider),
		prober("a", v1alpha1.ProberOutsider),
		prober("d", v1alpha1.ProberDecoy),
		prober("other", "audience"),
		prober("starting", v1alpha1.ProberOutsider, func(p *corev1.Pod) { p.Status.Conditions = nil }),
		prober("going", v1alpha1.ProberDecoy, func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Now()) }),
		prober("the node", v1alpha1.ProberOutsider, func(p *corev1.Pod) { p.Spec.HostNetwork = true }),
		prober("nowhere", v1alpha1.ProberDecoy, func(p *corev1.Pod) { p.Status.PodIPs = nil }),
	}
	outsiders, decoys := probersOf(pods)
	if len(outsiders) != 2 || outsiders[0].Name != "a" || outsiders[1].Name != "z" {
		t.Errorf("outsiders are %v", players(outsiders))
	}
	if len(decoys) != 1 || decoys[0].Name != "d" {
		t.Errorf("decoys are %v", players(decoys))
	}
	if got := labelsOf(outsiders); !maps.Equal(got, map[string]string{v1alpha1.LabelProber: v1alpha1.ProberOutsider}) {
		t.Errorf("outsiders have in common %v", got)
	}
}

func TestTheProbersNamespaceIsSeenWhateverIsWatched(t *testing.T) {
	podNamespaces := func(watched []string) ([]string, bool) {
		options := Options(watched)
		WatchOutsiders(&options, "own-outsider")
		var names []string
		namespace := false
		for object, by := range options.Cache.ByObject {
			switch object.(type) {
			case *corev1.Pod:
				names = slices.Sorted(maps.Keys(by.Namespaces))
				if by.Label.Empty() {
					t.Error("every pod is watched")
				}
			case *corev1.Namespace:
				namespace = by.Field.String() == "metadata.name=own-outsider"
			}
		}
		return names, namespace
	}
	if names, namespace := podNamespaces(nil); len(names) != 0 || !namespace {
		t.Errorf("pods of %v are watched, want all; its namespace: %t", names, namespace)
	}
	names, namespace := podNamespaces([]string{"a"})
	if !slices.Equal(names, []string{"a", "own-outsider"}) || !namespace {
		t.Errorf("pods of %v are watched; its namespace: %t", names, namespace)
	}
}

func TestWhenTheNetworkHasChanged(t *testing.T) {
	agent := func(name string, change ...func(*corev1.Pod)) corev1.Pod {
		p := prober(name, "", append([]func(*corev1.Pod){func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "DaemonSet", Controller: new(true)}}
			p.Spec.PriorityClassName = "system-node-critical"
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{ContainerID: name, State: corev1.ContainerState{
				Running: &corev1.ContainerStateRunning{},
			}}}
		}}, change...)...)
		out, err := stripAgent(&p)
		if err != nil {
			t.Fatal(err)
		}
		return *out.(*corev1.Pod)
	}
	two := func(third corev1.Pod) []corev1.Pod { return []corev1.Pod{agent("a"), agent("b"), third} }
	ofJob := func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "Job" }
	dispensable := func(p *corev1.Pod) { p.Spec.PriorityClassName = "" }
	start := time.Now()
	for name, c := range map[string]struct {
		pods    []corev1.Pod
		after   time.Duration
		changed bool
		later   time.Duration
	}{
		"nothing is another":             {[]corev1.Pod{agent("b"), agent("a")}, time.Hour, false, 0},
		"an agent was replaced":          {[]corev1.Pod{agent("a"), agent("c")}, time.Hour, true, 0},
		"an agent is gone":               {[]corev1.Pod{agent("a")}, time.Hour, true, 0},
		"the next soon after":            {[]corev1.Pod{agent("a"), agent("c")}, 10 * time.Second, false, 20 * time.Second},
		"a pod of another kind is there": {two(agent("c", ofJob)), time.Hour, false, 0},
		"a pod that can be done without": {two(agent("c", dispensable)), time.Hour, false, 0},
		"an agent has started anew": {[]corev1.Pod{agent("a"), agent("b", func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0].ContainerID = "b2"
		})}, time.Hour, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			n := &network{told: start}
			if changed, later := n.look([]corev1.Pod{agent("a"), agent("b")}, start); changed || later != 0 {
				t.Fatal("the first look is a change")
			}
			changed, later := n.look(c.pods, start.Add(c.after))
			if changed != c.changed || later != c.later {
				t.Errorf("changed %t, later %s", changed, later)
			}
			// What was put off is told in the end, and what was told is told once.
			changed, _ = n.look(c.pods, start.Add(2*time.Hour))
			if changed != (c.later > 0) {
				t.Errorf("two hours on: changed %t", changed)
			}
		})
	}
}
