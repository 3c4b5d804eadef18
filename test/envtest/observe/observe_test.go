// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/controllers/access"
)

func has(paths []string, resource string) bool {
	return slices.ContainsFunc(paths, func(p string) bool { return strings.HasSuffix(p, "/"+resource) })
}

func TestWithoutAFleetNothingIsWatched(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	time.Sleep(2 * quiet)
	if got := s.wire.taken(); len(got) > 0 {
		t.Errorf("it asked for %v", got)
	}
	s.Track(s.fleet("a"), nil)
	s.around("a", anything)
	got := s.wire.taken()
	for _, want := range []string{"namespaces", "networkpolicies", "services", "endpointslices"} {
		if !has(got, want) {
			t.Errorf("%s were not asked for: %v", want, got)
		}
	}
	if has(got, "pods") {
		t.Error("pods are watched, and nobody needs them")
	}
	s.Forget(s.key("a"))
	time.Sleep(quiet)
	s.wire.taken()
	time.Sleep(2 * quiet)
	if got := s.wire.taken(); len(got) > 0 {
		t.Errorf("the fleet is gone, and it asks for %v", got)
	}
}

func TestPodsAreWatchedWhileAFleetNeedsThem(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.Track(s.fleet("plain", peer("a=b", "")), nil)
	s.around("plain", func(w *access.World) string {
		if w.AdmittedPods != nil {
			return "pods are counted"
		}
		return ""
	})
	s.wire.taken()
	s.Track(verified(s.fleet("locked", peer("a=b", ""))), nil)
	s.around("locked", func(w *access.World) string {
		if w.AdmittedPods == nil {
			return "pods are not counted"
		}
		return ""
	})
	if !has(s.wire.taken(), "pods") {
		t.Error("pods were not asked for")
	}
	// Off again, and on again.
	s.Forget(s.key("locked"))
	if _, known := s.At("192.0.2.1"); known {
		t.Error("pods are watched, and nobody needs them any more")
	}
	s.Track(verified(s.fleet("locked", peer("a=b", ""))), nil)
	s.wait("pods are known again", func() string {
		if _, known := s.At("192.0.2.1"); !known {
			return "they are not"
		}
		return ""
	})
}

// pod makes a pod with an address, as the kubelet would.
func pod(t *testing.T, namespace, name, address string, labels map[string]string) *corev1.Pod {
	t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: labels},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "c"}}},
	}
	create(t, p)
	setStatus(t, p, corev1.PodRunning, address)
	return p
}

func setStatus(t *testing.T, p *corev1.Pod, phase corev1.PodPhase, address string) {
	t.Helper()
	before := p.DeepCopy()
	p.Status.Phase, p.Status.PodIP, p.Status.PodIPs = phase, address, nil
	if address != "" {
		p.Status.PodIPs = []corev1.PodIP{{IP: address}}
	}
	if err := kube.Status().Patch(t.Context(), p, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

func TestClientsFollowLabelsAddressesAndEnds(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	label := "client.memkeep.io/" + s.namespace + ".a"
	shop := space(t, "shop-", map[string]string{label: "true"})
	other := space(t, "other-", nil)
	s.Track(verified(s.fleet("a", peer(label+"=true", "app=web"))), nil)
	clients := func(want ...string) {
		t.Helper()
		s.wait(fmt.Sprintf("clients %v", want), func() string {
			found, err := s.Clients(s.key("a"))
			if err != nil {
				return err.Error()
			}
			var got []string
			for _, p := range found {
				got = append(got, strings.Join(append([]string{p.Name}, p.Addresses...), " "))
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				return fmt.Sprint(got)
			}
			return ""
		})
	}
	clients()
	web := pod(t, shop, "web", "192.0.2.10", map[string]string{"app": "web"})
	pod(t, shop, "db", "192.0.2.11", map[string]string{"app": "db"})
	pod(t, other, "web", "192.0.2.12", map[string]string{"app": "web"})
	clients("web 192.0.2.10")
	s.wait("the stranger is seen, and not admitted", func() string {
		found, known := s.At("192.0.2.12")
		if !known || len(found) != 1 || found[0].Namespace != other || s.Admits(s.key("a"), &found[0]) {
			return fmt.Sprint(found)
		}
		return ""
	})
	if found, _ := s.At("192.0.2.10"); len(found) != 1 || !s.Admits(s.key("a"), &found[0]) {
		t.Errorf("at the client's address is %v", found)
	}
	setStatus(t, web, corev1.PodRunning, "2001:db8:0::A")
	clients("web 2001:db8::a")
	setStatus(t, web, corev1.PodSucceeded, "2001:db8::a")
	clients()
	pod(t, shop, "web-2", "192.0.2.14", map[string]string{"app": "web"})
	clients("web-2 192.0.2.14")
	n := &corev1.Namespace{}
	if err := kube.Get(t.Context(), client.ObjectKey{Name: shop}, n); err != nil {
		t.Fatal(err)
	}
	before := n.DeepCopy()
	delete(n.Labels, label)
	if err := kube.Patch(t.Context(), n, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	clients()
}

func TestWhatMayNotBeWatchedIsToldAndHoldsUpNothing(t *testing.T) {
	t.Parallel()
	s := newStage(t, func(c *rest.Config) { c.Impersonate.UserName = "nobody" })
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{GenerateName: "observe-"}}
	grant := func(group string, resources ...string) {
		role.Rules = append(role.Rules, rbacv1.PolicyRule{
			APIGroups: []string{group}, Resources: resources, Verbs: []string{"list", "watch"},
		})
	}
	grant("", "namespaces", "services")
	grant("discovery.k8s.io", "endpointslices")
	create(t, role)
	create(t, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "observe-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "nobody"}},
	})
	s.Track(s.fleet("a"), nil)
	w := s.around("a", func(w *access.World) string {
		if len(w.Unseen) != 1 {
			return fmt.Sprint(w.Unseen)
		}
		return ""
	})
	if want := "NetworkPolicies may not be listed and watched"; w.Unseen[0] != want {
		t.Errorf("unseen: %q, want %q", w.Unseen[0], want)
	}
	s.concerned()
	grant("networking.k8s.io", "networkpolicies")
	if err := kube.Update(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	s.around("a", func(w *access.World) string { return strings.Join(w.Unseen, "; ") })
	if fleets, _ := s.concerned(); len(fleets) != 1 {
		t.Errorf("the rights are there, and %v is reconciled", fleets)
	}
}
