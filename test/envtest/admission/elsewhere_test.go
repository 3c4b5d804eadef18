// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestTheNamespaceIsWrittenOnce installs into another namespace, as the comment
// in config/operator says, and looks whether the policies know the operator there
// and the probers are beside it.
func TestTheNamespaceIsWrittenOnce(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(root, "config"))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "operator/kustomization.yaml")
	kustomization, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(kustomization, "namespace: elsewhere\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	objects, err := build(filepath.Join(dir, "default"))
	if err != nil {
		t.Fatal(err)
	}
	policies, mentions := 0, 0
	spaces := map[string]int{}
	for _, u := range objects {
		if u.GetKind() == "Namespace" {
			spaces["made "+u.GetName()]++
		}
		spaces[u.GetNamespace()]++
		if u.GetName() == "memkeep-outsider" && u.GetKind() == "NetworkPolicy" &&
			!strings.Contains(string(mustJSON(u.Object)), `"kubernetes.io/metadata.name":"elsewhere"`) {
			t.Error("outsiders do not admit the operator")
		}
		if u.GetKind() != policyKind && u.GetKind() != bindingKind {
			continue
		}
		policies++
		text := string(mustJSON(u.Object))
		if strings.Contains(text, "memkeep-system") {
			t.Errorf("%s %s knows the namespace memkeep-system still", u.GetKind(), u.GetName())
		}
		mentions += strings.Count(text, "'system:serviceaccount:elsewhere:memkeep-manager'")
		mentions += strings.Count(text, "request.namespace == 'elsewhere' + end")
		if err := kube.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.DryRunAll,
			client.FieldOwner("kubectl")); err != nil {
			t.Errorf("%s %s: %v", u.GetKind(), u.GetName(), err)
		}
	}
	// The probers have two DaemonSets and a policy.
	if spaces["made elsewhere"] != 1 || spaces["made elsewhere-outsider"] != 1 || spaces["elsewhere-outsider"] != 3 ||
		spaces["memkeep-system"]+spaces["memkeep-system-outsider"] != 0 {
		t.Errorf("objects by namespace: %v", spaces)
	}
	if policies != 2*11 || mentions != 4 {
		t.Errorf("%d policies and bindings, %d mentions of the namespace; want 22 and 4", policies, mentions)
	}
}
