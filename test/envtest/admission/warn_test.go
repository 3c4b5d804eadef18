// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// warnings collects what the API server warns of.
type warnings struct {
	mu  sync.Mutex
	all []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, text)
}

// TestSwitchedToWarn comes after the tables, by its file's name: it sends what
// each policy refused there, and sees it pass with a warning. So it was the
// policy that refused.
func TestSwitchedToWarn(t *testing.T) {
	if filtered() {
		t.Log("only policies that an earlier test saw refuse something are tried")
	} else if len(samples) != len(shipped) {
		t.Errorf("got refused requests of %d policies, want all %d", len(samples), len(shipped))
	}
	switched(t, "Warn")
	for _, name := range slices.Sorted(maps.Keys(samples)) {
		if name == newFleets {
			store(t, tenant, service("bare", "ordinal", "LoadBalancer", "{statefulset.kubernetes.io/pod-name: late-0}"))
			if err := settle(t.Context(), kube); err != nil {
				t.Fatal(err)
			}
		}
		t.Run(name, func(t *testing.T) {
			r, heard := samples[name], &warnings{}
			c, err := as(r.user, func(c *rest.Config) { c.WarningHandler = heard })
			if err != nil {
				t.Fatal(err)
			}
			if err := r.do(t.Context(), c); err != nil {
				t.Errorf("%s: %v", r.name, err)
			}
			want := "Validation failed for ValidatingAdmissionPolicy '" + name + "' with binding '" + name + "': "
			if !slices.ContainsFunc(heard.all, func(s string) bool {
				return strings.Contains(s, want) && strings.Contains(s, r.says)
			}) {
				t.Errorf("%s: warnings %q, want %q", r.name, heard.all, want+r.says)
			}
		})
	}
}

// switched gives every binding an action, as its installer would, and Deny again at the end.
func switched(t *testing.T, actions ...any) {
	t.Helper()
	all := func(ctx context.Context, actions []any) {
		for _, name := range shipped {
			u := named(bindingKind, "", name)
			if err := kube.Get(ctx, client.ObjectKeyFromObject(u), u); err != nil {
				t.Fatal(err)
			}
			spec := u.Object["spec"].(map[string]any)
			spec["validationActions"] = actions
			fresh := named(bindingKind, "", name)
			fresh.SetLabels(u.GetLabels())
			fresh.Object["spec"] = spec
			if err := apply(ctx, kube, fresh); err != nil {
				t.Error(err)
			}
		}
		if err := settle(ctx, kube); err != nil {
			t.Error(err)
		}
	}
	all(t.Context(), actions)
	t.Cleanup(func() { all(context.Background(), []any{"Deny"}) })
}

// TestTheExample applies the bindings of examples/guard, in which single policies are switched.
func TestTheExample(t *testing.T) {
	objects, err := build("examples/guard")
	if err != nil {
		t.Fatal(err)
	}
	store(t, tenant, namespace("drills", "{}")+"\n---\n"+pod("drills", "web", "{app: web}"))
	store(t, statefulSets,
		strings.Replace(member("sessions-0", "sessions", ""), "namespace: caches", "namespace: drills", 1))
	made := applyGuard(t, objects)
	if !slices.Equal(made, slices.Sorted(slices.Values(shipped))) {
		t.Errorf("the example has the policies %v, want all of %v", made, shipped)
	}
	heard := &warnings{}
	c, err := as(tenant, func(c *rest.Config) { c.WarningHandler = heard })
	if err != nil {
		t.Fatal(err)
	}
	expose := creates(service("caches", "evil", "LoadBalancer", "{memkeep.io/name: sessions}"))
	if err := expose(t.Context(), c); err != nil || len(heard.all) != 1 {
		t.Errorf("what is switched to Warn: %v, warnings %q", err, heard.all)
	}
	const ours = "registry.example.com/memkeep/cache-server:v9"
	try(t, []row{
		{"what is not switched is refused", tenant, creates(pod("caches", "evil", "{memkeep.io/name: sessions}")), podLabels, ""},
		{"the component asks for the verb grant", tenant, creates(fleet("caches", "new", "{mode: Audit}")), accessOf, ""},
		{"the image of a registry of one's own passes", operator, creates(set(image + "=>" + ours)), "", ""},
		{"the image that it replaces is refused", operator, creates(set()), workloads, image},
		{"an ephemeral container passes in the namespace that is exempt", tenant, debug("drills", "sessions-0"), "", ""},
		{"elsewhere it is refused", tenant, debug("caches", "sessions-0"), ephemeral, ""},
	})
	deployment := slices.IndexFunc(objects, func(u *unstructured.Unstructured) bool { return u.GetKind() == "Deployment" })
	if !strings.Contains(string(mustJSON(objects[deployment].Object)), strings.TrimSuffix(ours, ":v9")+":v0.1.0") {
		t.Error("the Deployment of the example has another image than its policy")
	}
}

// applyGuard applies the policies and bindings among objects, the installation's
// own at the end of the test, and returns the policies' names.
func applyGuard(t *testing.T, objects []*unstructured.Unstructured) []string {
	t.Helper()
	var names []string
	all := func(ctx context.Context, objects []*unstructured.Unstructured) {
		for _, u := range objects {
			if u.GetKind() != policyKind && u.GetKind() != bindingKind {
				continue
			}
			if err := apply(ctx, kube, u); err != nil {
				t.Error(err)
			}
			if u.GetKind() == policyKind {
				names = append(names, u.GetName())
			}
		}
		if err := settle(ctx, kube); err != nil {
			t.Error(err)
		}
	}
	all(t.Context(), objects)
	t.Cleanup(func() {
		own, err := build("config/default")
		if err != nil {
			t.Fatal(err)
		}
		all(context.Background(), own)
	})
	slices.Sort(names)
	return names
}
