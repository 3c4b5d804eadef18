// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package gitops

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
)

const orphanCondition = "OrphanedResourceWarning"

// pruned takes a file out of git.
func pruned(t *testing.T, m mode) {
	revision := repos.teams[m.name].remove(t, "caches/spare.yaml")
	check(t, refresh(t.Context(), m.app, "normal"))
	mc := &memkeepv1alpha1.Memcache{}
	mc.Namespace, mc.Name = m.namespace, "spare"
	check(t, cluster.Gone(t.Context(), mc, time.Minute))
	untilWell(t, m.app, revision, time.Minute)
	left(t, m.namespace, func(o *metav1.PartialObjectMetadata) bool {
		return o.Labels[memkeepv1alpha1.LabelName] == "spare"
	})
}

// orphans shows that Argo CD looks for orphans, since it finds one, and that it
// does not take what the operator made for some.
func orphans(t *testing.T) {
	m := modes[0]
	has := func(s *state) bool {
		for _, c := range s.Conditions {
			if c.Type == orphanCondition {
				return true
			}
		}
		return false
	}
	for _, m := range modes {
		if s := look(t, m.app); has(s) {
			t.Fatal(s)
		}
	}
	stray := &corev1.ConfigMap{}
	stray.Namespace, stray.Name = m.namespace, "stray"
	check(t, cluster.Create(t.Context(), stray))
	until(t, m.app, "tells of an orphan", time.Minute, has)
	t.Logf("FIGURE %s", look(t, m.app))
	check(t, cluster.Delete(t.Context(), stray))
	until(t, m.app, "tells of no orphan", time.Minute, func(s *state) bool { return !has(s) })
}

func deletedApplication(t *testing.T, m mode) {
	took := deleteApplications(t, m.app)
	t.Logf("FIGURE the Application and all that it brought are gone after %.1f s", took.Seconds())
	left(t, m.namespace, func(*metav1.PartialObjectMetadata) bool { return true })
}

// deletedOperator looks for everything that the Application listed.
func deletedOperator(t *testing.T) {
	app, s, err := application(t.Context(), operatorApp)
	check(t, err)
	resources, _, err := unstructured.NestedSlice(app.Object, "status", "resources")
	check(t, err)
	if len(s.Resources) < 20 {
		t.Fatalf("the Application lists %d objects", len(s.Resources))
	}
	took := deleteApplications(t, operatorApp)
	t.Logf("FIGURE the operator, %d objects, is gone after %.1f s", len(resources), took.Seconds())
	for _, r := range resources {
		fields, _ := r.(map[string]any)
		text := func(name string) string { s, _ := fields[name].(string); return s }
		o := &metav1.PartialObjectMetadata{}
		o.SetGroupVersionKind(schema.GroupVersionKind{
			Group: text("group"), Version: text("version"), Kind: text("kind"),
		})
		o.Namespace, o.Name = text("namespace"), text("name")
		err := cluster.Get(t.Context(), client.ObjectKeyFromObject(o), o)
		if keep := text("kind") == "CustomResourceDefinition"; keep != (err == nil) || !keep && !apierrors.IsNotFound(err) {
			t.Errorf("%s %s: after the operator was deleted: %v", text("kind"), o.Name, err)
		}
	}
}

// always are the objects that Kubernetes makes in every namespace, or that tell
// of what was.
func always(o *metav1.PartialObjectMetadata) bool {
	switch o.Kind {
	case "Event":
		return true
	case "ServiceAccount":
		return o.Name == "default"
	case "ConfigMap":
		return o.Name == "kube-root-ca.crt"
	}
	return false
}

// left waits until nothing of a kind is left in a namespace, whatever its kind.
func left(t *testing.T, namespace string, ofInterest func(*metav1.PartialObjectMetadata) bool) {
	t.Helper()
	kinds, err := cluster.Kube.Discovery().ServerPreferredNamespacedResources()
	check(t, err)
	eventually(t, "nothing is left in "+namespace, time.Minute, func(ctx context.Context) error {
		var found []string
		for _, group := range kinds {
			for _, kind := range group.APIResources {
				if !strings.Contains(kind.Verbs.String(), "list") || strings.Contains(kind.Name, "/") {
					continue
				}
				list := &metav1.PartialObjectMetadataList{}
				list.APIVersion, list.Kind = group.GroupVersion, kind.Kind+"List"
				if err := cluster.List(ctx, list, client.InNamespace(namespace)); err != nil {
					return fmt.Errorf("list %s: %w", kind.Name, err)
				}
				for i := range list.Items {
					o := &list.Items[i]
					o.Kind = kind.Kind
					if !always(o) && ofInterest(o) {
						found = append(found, kind.Kind+" "+o.Name)
					}
				}
			}
		}
		if len(found) > 0 {
			return fmt.Errorf("%s", strings.Join(found, ", "))
		}
		return nil
	})
}
