// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// documents parses a YAML stream.
func documents(t *testing.T, raw []byte) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	for d := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096); ; {
		u := &unstructured.Unstructured{}
		err := d.Decode(&u.Object)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("parse manifest: %v", err)
		}
		if len(u.Object) > 0 {
			out = append(out, u)
		}
	}
}

// kustomize builds a directory of the repository.
func kustomize(t *testing.T, dir string) []*unstructured.Unstructured {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "tool", "-modfile=hack/tools/go.mod", "kustomize", "build", dir)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("kustomize build %s: %v\n%s", dir, err, &stderr)
	}
	return documents(t, raw)
}

// dryRun applies an object as `kubectl apply --server-side --dry-run=server` does.
func dryRun(t *testing.T, u *unstructured.Unstructured) error {
	t.Helper()
	return kube.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.DryRunAll,
		client.ForceOwnership, client.FieldOwner("kubectl"))
}

func TestTheExamplesAreAccepted(t *testing.T) {
	files, err := filepath.Glob(root + "/examples/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("found %v, %v: want the examples", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			memcaches := 0
			for _, u := range documents(t, raw) {
				if u.GetKind() == "Memcache" {
					memcaches++
				}
				if err := dryRun(t, u); err != nil {
					t.Errorf("%s %s: %v", u.GetKind(), u.GetName(), err)
				}
			}
			if memcaches != 1 {
				t.Errorf("has %d Memcaches, want one", memcaches)
			}
		})
	}
}

func TestTheSamplesAreAccepted(t *testing.T) {
	objects := kustomize(t, "config/samples")
	if len(objects) != 2 {
		t.Fatalf("got %d objects, want the namespace and the Memcache", len(objects))
	}
	for _, u := range objects {
		if err := dryRun(t, u); err != nil {
			t.Errorf("%s %s: %v", u.GetKind(), u.GetName(), err)
		}
	}
}

// installed builds the installation and creates its namespace, which everything else needs.
func installed(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	objects := kustomize(t, "config/default")
	for _, u := range objects {
		if u.GetKind() == "Namespace" {
			applied := client.ApplyConfigurationFromUnstructured(u.DeepCopy())
			if err := kube.Apply(t.Context(), applied, client.FieldOwner("kubectl")); err != nil {
				t.Fatal(err)
			}
		}
	}
	return objects
}

func TestTheInstallationIsAccepted(t *testing.T) {
	kinds := map[string]int{}
	for _, u := range installed(t) {
		kinds[u.GetKind()]++
		if err := dryRun(t, u); err != nil {
			t.Errorf("%s %s: %v", u.GetKind(), u.GetName(), err)
		}
	}
	for kind, n := range map[string]int{
		"Namespace": 2, "CustomResourceDefinition": 1, "Deployment": 1, "DaemonSet": 2, "ServiceAccount": 1, "Service": 1,
		"PodDisruptionBudget": 1, "NetworkPolicy": 3, "ClusterRoleBinding": 1, "RoleBinding": 1, "Role": 1,
		"ValidatingAdmissionPolicy": 11, "ValidatingAdmissionPolicyBinding": 11,
	} {
		if kinds[kind] != n {
			t.Errorf("%d of kind %s, want %d", kinds[kind], kind, n)
		}
	}
	for _, u := range kustomizeComponent(t) {
		if err := dryRun(t, u); err != nil {
			t.Errorf("%s %s: %v", u.GetKind(), u.GetName(), err)
		}
	}
}

// kustomizeComponent builds the installation together with the policy for egress.
func kustomizeComponent(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	up, err := filepath.Rel(dir, filepath.Join(top, "config"))
	if err != nil {
		t.Fatal(err)
	}
	overlay := "resources: [" + up + "/default]\ncomponents: [" + up + "/network-policy/egress]\n"
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		t.Fatal(err)
	}
	objects := kustomize(t, dir)
	egress := 0
	for _, u := range objects {
		if u.GetKind() == "NetworkPolicy" && u.GetName() == "memkeep-egress" {
			egress++
		}
	}
	if egress != 1 {
		t.Errorf("the component added %d policies, want one", egress)
	}
	return objects
}

// find converts the first object of a kind.
func find[T any](t *testing.T, objects []*unstructured.Unstructured, kind, name string) *T {
	t.Helper()
	for _, u := range objects {
		if u.GetKind() == kind && u.GetName() == name {
			out := new(T)
			if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(u.Object, out, true); err != nil {
				t.Fatalf("convert %s: %v", kind, err)
			}
			return out
		}
	}
	t.Fatalf("no %s %s in the installation", kind, name)
	return nil
}

// TestTheManagersPodIsAdmittedUnderRestricted lets the API server's Pod Security
// admission judge the pod in the namespace that the installation makes.
func TestTheManagersPodIsAdmittedUnderRestricted(t *testing.T) {
	objects := installed(t)
	d := find[appsv1.Deployment](t, objects, "Deployment", "memkeep-manager")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "judged", Namespace: d.Namespace, Labels: d.Spec.Template.Labels},
		Spec:       d.Spec.Template.Spec,
	}
	if err := kube.Create(t.Context(), pod.DeepCopy(), client.DryRunAll); err != nil {
		t.Errorf("the manager's pod: %v", err)
	}
	pod.Spec.Containers[0].SecurityContext.AllowPrivilegeEscalation = nil
	err := kube.Create(t.Context(), pod, client.DryRunAll)
	if err == nil || !strings.Contains(err.Error(), `violates PodSecurity "restricted`) {
		t.Errorf("a pod that may gain privileges: got %v, want it refused: else this test shows nothing", err)
	}
	c := d.Spec.Template.Spec.Containers[0]
	if s := c.SecurityContext; s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
		t.Error("the manager can write its root file system")
	}
	if c.LivenessProbe == nil || c.ReadinessProbe == nil || c.Resources.Limits.Memory().IsZero() ||
		c.Resources.Requests.Cpu().IsZero() {
		t.Error("the manager lacks probes, requests or limits")
	}
}

// TestTheProbersPodsAreAdmittedUnderRestricted lets Pod Security admission judge
// the probers' pods, and looks that they can do nothing.
func TestTheProbersPodsAreAdmittedUnderRestricted(t *testing.T) {
	objects := installed(t)
	for _, name := range []string{"memkeep-outsider", "memkeep-decoy"} {
		d := find[appsv1.DaemonSet](t, objects, "DaemonSet", name)
		if d.Namespace != "memkeep-system-outsider" {
			t.Errorf("%s is in %s", name, d.Namespace)
		}
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "judged", Namespace: d.Namespace, Labels: d.Spec.Template.Labels},
			Spec:       d.Spec.Template.Spec,
		}
		if err := kube.Create(t.Context(), pod.DeepCopy(), client.DryRunAll); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		pod.Spec.SecurityContext.RunAsNonRoot = nil
		err := kube.Create(t.Context(), pod, client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), `violates PodSecurity "restricted`) {
			t.Errorf("a prober that may be root: got %v, want it refused: else this test shows nothing", err)
		}
		if token := d.Spec.Template.Spec.AutomountServiceAccountToken; token == nil || *token {
			t.Errorf("%s has a token", name)
		}
		for _, v := range d.Spec.Template.Spec.Volumes {
			if v.ConfigMap == nil {
				t.Errorf("%s has the volume %s", name, v.Name)
			}
		}
	}
	decoys := find[appsv1.DaemonSet](t, objects, "DaemonSet", "memkeep-decoy").Spec.Template.Labels
	for _, u := range objects {
		if u.GetKind() != "NetworkPolicy" || u.GetNamespace() != "memkeep-system-outsider" {
			continue
		}
		policy := find[networkingv1.NetworkPolicy](t, objects, "NetworkPolicy", u.GetName())
		selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
		if err != nil || selector.Matches(labels.Set(decoys)) {
			t.Errorf("%s selects the decoys (%v): behind a policy they prove nothing", u.GetName(), err)
		}
	}
}

// TestTheManagersRightsAreFew asks that no rule is a wildcard and that secrets
// and exec are out of reach.
func TestTheManagersRightsAreFew(t *testing.T) {
	objects := installed(t)
	rules := find[rbacv1.ClusterRole](t, objects, "ClusterRole", "memkeep-manager").Rules
	if len(rules) < 5 {
		t.Errorf("got %d rules: the role is not what the markers say", len(rules))
	}
	for _, rule := range rules {
		for _, word := range append(append(append([]string{}, rule.APIGroups...), rule.Resources...), rule.Verbs...) {
			switch word {
			case "*", "secrets", "pods/exec", "pods/ephemeralcontainers", "bind", "escalate", "impersonate", "deletecollection":
				t.Errorf("the manager may %v %v: too much", rule.Verbs, rule.Resources)
			}
		}
	}
	for _, u := range objects {
		if u.GetKind() == "ClusterRoleBinding" && u.GetName() != "memkeep-manager" {
			t.Errorf("ClusterRoleBinding %s gives rights that this test does not look at", u.GetName())
		}
	}
}

// TestKubectlExplains asks kubectl, as a user would, what fields mean.
func TestKubectlExplains(t *testing.T) {
	admin, err := server.AddUser(envtest.User{Name: "reader", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	kubectl, err := admin.Kubectl()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"mcache":                     "DESCRIPTION",
		"memcache.spec.memory":       "64Mi to 1Ti",
		"memcache.spec.access":       "Absent or empty means nobody",
		"memcache.spec.engine":       "maxItemSize",
		"memcache.spec.placement":    "tolerations",
		"memcache.status.conditions": "docs/conditions.md",
	} {
		out, stderr, err := kubectl.Run("explain", path)
		if err != nil {
			rest, _ := io.ReadAll(stderr)
			t.Errorf("kubectl explain %s: %v\n%s", path, err, rest)
			continue
		}
		text, err := io.ReadAll(out)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(strings.Fields(string(text)), " "), want) {
			t.Errorf("kubectl explain %s does not say %q:\n%s", path, want, text)
		}
	}
}

// TestKubectlGetShowsColumns asks for the table that users see.
func TestKubectlGetShowsColumns(t *testing.T) {
	create(t, memcache(t, "shown", "{memory: 64Mi, replicas: 3}"))
	admin, err := server.AddUser(envtest.User{Name: "viewer", Groups: []string{"system:masters"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	kubectl, err := admin.Kubectl()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"get", "mcache", "shown"}, {"get", "caches", "-A"}, {"get", "memcaches", "shown", "-o", "wide"},
	} {
		out, _, err := kubectl.Run(append(args, "-n", "caches")...)
		if err != nil {
			t.Fatalf("kubectl %v: %v", args, err)
		}
		text, err := io.ReadAll(out)
		if err != nil {
			t.Fatal(err)
		}
		for _, column := range []string{"NAME", "READY", "MEMBERS", "WANTED", "MEMORY", "ENFORCED", "AGE", "shown", "64Mi"} {
			if !strings.Contains(string(text), column) {
				t.Errorf("kubectl %v does not show %s:\n%s", args, column, text)
			}
		}
	}
}
