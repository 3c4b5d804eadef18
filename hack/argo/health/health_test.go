// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	appv1 "github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"github.com/argoproj/argo-cd/v3/util/lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

const (
	root   = "../../../config/argocd"
	folder = root + "/resource_customizations/memkeep.io/Memcache"
	kind   = "memkeep.io/Memcache"
)

func read(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err == nil {
		err = yaml.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestHealthByArgoCD(t *testing.T) {
	var rows struct {
		Tests []struct {
			InputPath    string              `json:"inputPath"`
			HealthStatus health.HealthStatus `json:"healthStatus"`
		} `json:"tests"`
	}
	read(t, folder+"/health_test.yaml", &rows)
	if len(rows.Tests) == 0 {
		t.Fatal("health_test.yaml has no rows")
	}
	script, err := os.ReadFile(folder + "/health.lua")
	if err != nil {
		t.Fatal(err)
	}
	var settings struct {
		Data map[string]string `json:"data"`
	}
	read(t, root+"/argocd-cm.yaml", &settings)
	for how, override := range map[string]appv1.ResourceOverride{
		"as a script of Argo CD's repository": {HealthLua: string(script), UseOpenLibs: true},
		"as an entry of argocd-cm":            {HealthLua: settings.Data["resource.customizations.health.memkeep.io_Memcache"]},
	} {
		overrides := lua.ResourceHealthOverrides{kind: override}
		for _, row := range rows.Tests {
			t.Run(how+"/"+row.InputPath, func(t *testing.T) {
				obj := &unstructured.Unstructured{}
				read(t, filepath.Join(folder, row.InputPath), &obj.Object)
				got, err := overrides.GetResourceHealth(obj)
				if err != nil {
					t.Fatal(err)
				}
				if got == nil || *got != row.HealthStatus {
					t.Errorf("%+v, want %+v", got, row.HealthStatus)
				}
			})
		}
	}
}
