// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build chart

package chart

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// labels are those that the chart puts on every object.
var labels = []string{
	"app.kubernetes.io/instance", "app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart",
}

// intended are the differences between the chart and config/default that are
// meant, by the objects' names; each must be there.
var intended = map[string]string{
	"Namespace/memkeep-system": "Helm makes the namespace of a release, by --create-namespace",
	"CustomResourceDefinition/memcaches.memkeep.io annotation argocd.argoproj.io/sync-options": "crds.keep",
	"CustomResourceDefinition/memcaches.memkeep.io annotation helm.sh/resource-policy":         "crds.keep",
	"CustomResourceDefinition/memcaches.memkeep.io label app.kubernetes.io/name":               "generated without",
	"ClusterRole/memkeep-manager label app.kubernetes.io/name":                                 "generated without",
	"Role memkeep-system/memkeep-manager label app.kubernetes.io/name":                         "generated without",
}

// installation is config/default with its probers, and with the components added.
func installation(t *testing.T, components ...string) map[string]*unstructured.Unstructured {
	t.Helper()
	folder, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	up, err := filepath.Rel(folder, filepath.Join(top, "config"))
	if err != nil {
		t.Fatal(err)
	}
	overlay := "resources: [" + up + "/default]\n"
	for _, c := range components {
		overlay += "components: [" + up + "/" + c + "]\n"
	}
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		t.Fatal(err)
	}
	return byName(t, append(kustomize(t, folder), kustomize(t, "config/prober")...))
}

// byName indexes objects, hooks of tests left out. What is there twice must be the same.
func byName(t *testing.T, objects []*unstructured.Unstructured) map[string]*unstructured.Unstructured {
	t.Helper()
	out := map[string]*unstructured.Unstructured{}
	for _, u := range objects {
		if u.GetAnnotations()[hookAnnotation] != "" {
			continue
		}
		if twice := out[id(u)]; twice != nil && !reflect.DeepEqual(twice.Object, u.Object) {
			t.Errorf("%s is there twice, and not the same", id(u))
		}
		out[id(u)] = u
	}
	return out
}

// differences tells how the chart's objects differ from config's.
func differences(chart, config map[string]*unstructured.Unstructured) map[string]string {
	out := map[string]string{}
	for name := range config {
		if chart[name] == nil {
			out[name] = "the chart lacks it"
		}
	}
	for name, u := range chart {
		other := config[name]
		if other == nil {
			out[name] = "the chart alone has it"
			continue
		}
		u, other = u.DeepCopy(), other.DeepCopy()
		ours, theirs := u.GetLabels(), other.GetLabels()
		for _, key := range labels {
			delete(ours, key)
			delete(theirs, key)
		}
		for what, pair := range map[string][2]map[string]string{
			"label": {ours, theirs}, "annotation": {u.GetAnnotations(), other.GetAnnotations()},
		} {
			for key := range union(pair[0], pair[1]) {
				if a, b := pair[0][key], pair[1][key]; a != b {
					out[name+" "+what+" "+key] = fmt.Sprintf("%q in the chart, %q in config", a, b)
				}
			}
		}
		for _, o := range []*unstructured.Unstructured{u, other} {
			o.SetLabels(nil)
			o.SetAnnotations(nil)
		}
		compare(out, name, u.Object, other.Object)
	}
	return out
}

func union(a, b map[string]string) map[string]string {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, b)
	return out
}

// compare notes the fields that differ, by their path.
func compare(out map[string]string, path string, chart, config any) {
	a, b := chart, config
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok {
			break
		}
		keys := map[string]bool{}
		for key := range a {
			keys[key] = true
		}
		for key := range b {
			keys[key] = true
		}
		for key := range keys {
			compare(out, path+" "+key, a[key], b[key])
		}
		return
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			break
		}
		for i := range a {
			compare(out, fmt.Sprintf("%s %d", path, i), a[i], b[i])
		}
		return
	}
	if !reflect.DeepEqual(a, b) {
		out[path] = fmt.Sprintf("%.200v in the chart, %.200v in config", a, b)
	}
}

// check asks that the differences are those that are meant.
func check(t *testing.T, found map[string]string, meant map[string]string) {
	t.Helper()
	for _, path := range slices.Sorted(maps.Keys(found)) {
		if meant[path] == "" {
			t.Errorf("%s: %s: change config/ or the chart, or say in this test why they differ", path, found[path])
		}
	}
	for path, why := range meant {
		if found[path] == "" {
			t.Errorf("%s (%s) is no difference any more: take it out of this test", path, why)
		}
	}
}

// TestTheChartInstallsWhatKustomizeInstalls compares object by object and field by field.
func TestTheChartInstallsWhatKustomizeInstalls(t *testing.T) {
	for _, helm := range helms {
		t.Run(helm.String(), func(t *testing.T) {
			chart := byName(t, parse(t, render(t, helm)))
			if len(chart) < 40 {
				t.Fatalf("the chart has %d objects: this test shows nothing", len(chart))
			}
			check(t, differences(chart, installation(t)), intended)
		})
	}
}

// TestTheChartHasTheComponents compares what is installed when it is asked for.
func TestTheChartHasTheComponents(t *testing.T) {
	for component, values := range map[string]string{
		"network-policy/egress": "networkPolicy.egress.enabled=true",
		"admission/access":      "admission.policies.access=Deny",
	} {
		t.Run(component, func(t *testing.T) {
			chart := byName(t, parse(t, render(t, helms[0], "--set", values)))
			check(t, differences(chart, installation(t, component)), intended)
		})
	}
}

// TestTheTestOfTheComparison breaks a rendering in ways that have to be seen.
func TestTheTestOfTheComparison(t *testing.T) {
	chart := byName(t, parse(t, render(t, helms[0])))
	for name, c := range map[string]struct {
		object string
		change func(map[string]any)
	}{
		"a rule of the ClusterRole is dropped": {"ClusterRole/memkeep-manager", func(o map[string]any) {
			o["rules"] = o["rules"].([]any)[1:]
		}},
		"a policy is Audit": {"ValidatingAdmissionPolicyBinding/memkeep-pods", func(o map[string]any) {
			o["spec"].(map[string]any)["validationActions"] = []any{"Audit"}
		}},
		"a port is another": {"NetworkPolicy memkeep-system/memkeep-allow-metrics", func(o map[string]any) {
			o["spec"].(map[string]any)["podSelector"] = map[string]any{}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			changed := maps.Clone(chart)
			if changed[c.object] == nil {
				t.Fatalf("there is no %s", c.object)
			}
			changed[c.object] = changed[c.object].DeepCopy()
			c.change(changed[c.object].Object)
			found := differences(changed, chart)
			if len(found) == 0 || !strings.HasPrefix(slices.Sorted(maps.Keys(found))[0], c.object) {
				t.Errorf("found %.500v", found)
			}
		})
	}
}
