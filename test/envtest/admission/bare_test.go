// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/memkeep/memkeep/controllers"
	"github.com/memkeep/memkeep/test/envtest/apiserver"
)

// TestAClusterIsNeverLocked leaves the policies behind in a cluster that has
// nothing else of Memkeep, as a half-done uninstallation does, and has people
// work there. Then the kind Memcache comes.
func TestAClusterIsNeverLocked(t *testing.T) {
	bare, err := apiserver.StartBare()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := bare.Stop(); err != nil {
			t.Error(err)
		}
	})
	bare.Client.QPS = -1
	c, err := client.New(bare.Client, client.Options{Scheme: controllers.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	objects, err := build("config/admission")
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range objects {
		if err := apply(t.Context(), c, u); err != nil {
			t.Fatal(err)
		}
	}
	if err := settle(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	rows := []row{
		{"a pod", "", creates(pod("default", "web", "{app: web}")), "", ""},
		{"a pod without labels", "", creates(pod("default", "web", "{}")), "", ""},
		{"a LoadBalancer", "", creates(service("default", "web", "LoadBalancer", "{app: web}")), "", ""},
		{"a LoadBalancer for an ordinal", "",
			creates(service("default", "web", "LoadBalancer", "{apps.kubernetes.io/pod-index: '0'}")), "", ""},
		{"a LoadBalancer without selector", "", creates(serviceOf("default", "web", "type: LoadBalancer")), "", ""},
		{"a namespace", "", creates(namespace("web", "{team: web}")), "", ""},
		{"a NetworkPolicy", "", creates("{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, " +
			"metadata: {name: web, namespace: default}, spec: {podSelector: {}}}"), "", ""},
		{"a pod that would pass for a member is refused", "", creates(pod("default", "web", "{memkeep.io/name: a}")), podLabels, ""},
		{"a LoadBalancer for a fleet is refused", "",
			creates(service("default", "web", "LoadBalancer", "{memkeep.io/name: a}")), byName, ""},
	}
	for _, k := range kinds {
		rows = append(rows, row{k.kind, "", creates(workload(k.version, k.kind, "default", "web", "{app: web}")), "", ""})
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) { judge(t, r, r.do(t.Context(), c)) })
	}
	t.Run("the kind that comes later is guarded", func(t *testing.T) {
		crds, err := envtest.InstallCRDs(bare.Client, envtest.CRDInstallOptions{Paths: []string{root + "/config/crd/bases"}})
		if err != nil || len(crds) != 1 {
			t.Fatal(crds, err)
		}
		late, err := client.New(bare.Client, client.Options{Scheme: controllers.Scheme()})
		if err != nil {
			t.Fatal(err)
		}
		if err := late.Create(t.Context(), parse(fleet("default", "sessions", "{}"))[0]); err != nil {
			t.Fatal(err)
		}
		expose := creates(service("default", "web", "LoadBalancer", "{apps.kubernetes.io/pod-index: '0'}"))
		if err := eventually(t.Context(), "the kind to be known", func() error {
			if expose(t.Context(), late) == nil {
				return errNotYet
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		judge(t, row{policy: beside, says: "Memcache sessions"}, expose(t.Context(), late))
	})
}
