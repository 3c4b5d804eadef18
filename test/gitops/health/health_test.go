// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"path/filepath"
	"slices"
	"testing"

	lua "github.com/yuin/gopher-lua"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

const (
	statusHealthy     = "Healthy"
	statusProgressing = "Progressing"
)

// objectOf reads a file of testdata as Argo CD hands it to a script.
func objectOf(t *testing.T, path string) map[string]any {
	t.Helper()
	obj := map[string]any{}
	read(t, filepath.Join(folder, path), &obj)
	return obj
}

func TestHealth(t *testing.T) {
	script := text(t, filepath.Join(folder, "health.lua"))
	for _, row := range cases(t).Tests {
		t.Run(row.InputPath, func(t *testing.T) {
			if got := judge(t, script, objectOf(t, row.InputPath)); got != row.HealthStatus {
				t.Errorf("%+v, want %+v", got, row.HealthStatus)
			}
		})
	}
}

// TestNeverHealthyBeforeTheOperatorLooked takes from every object what the
// operator says, and what it says of this very generation.
func TestNeverHealthyBeforeTheOperatorLooked(t *testing.T) {
	script := text(t, filepath.Join(folder, "health.lua"))
	changes := map[string]func(obj map[string]any){
		"without status":     func(obj map[string]any) { delete(obj, "status") },
		"with empty status":  func(obj map[string]any) { obj["status"] = map[string]any{} },
		"without conditions": func(obj map[string]any) { delete(statusOf(obj), "conditions") },
		"with a new generation": func(obj map[string]any) {
			metadata, _ := obj["metadata"].(map[string]any)
			metadata["generation"] = float64(1000)
		},
		"without observedGeneration": func(obj map[string]any) { delete(statusOf(obj), "observedGeneration") },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			for _, row := range cases(t).Tests {
				obj := objectOf(t, row.InputPath)
				change(obj)
				if got := judge(t, script, obj); got.Status == statusHealthy {
					t.Errorf("%s: %+v", row.InputPath, got)
				}
			}
		})
	}
}

func statusOf(obj map[string]any) map[string]any {
	status, _ := obj["status"].(map[string]any)
	return status
}

// TestAlwaysAWord: whatever stands in an object, a human is told something.
func TestAlwaysAWord(t *testing.T) {
	script := text(t, filepath.Join(folder, "health.lua"))
	known := []string{statusHealthy, statusProgressing, "Degraded", "Suspended"}
	for _, kind := range []string{
		v1alpha1.ConditionReady, v1alpha1.ConditionStalled, v1alpha1.ConditionReconciling,
		v1alpha1.ConditionAccessEnforced, "SomethingElse",
	} {
		for _, status := range []string{"True", "False", "Unknown"} {
			obj := map[string]any{
				"metadata": map[string]any{"generation": float64(1)},
				"status": map[string]any{
					"observedGeneration": float64(1),
					"conditions":         []any{map[string]any{"type": kind, "status": status}},
				},
			}
			if got := judge(t, script, obj); !slices.Contains(known, got.Status) || got.Message == "" {
				t.Errorf("%s=%s: %+v", kind, status, got)
			}
		}
	}
}

func TestEveryObjectHasARowAndIsAMemcache(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(folder, "testdata", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	tests := cases(t).Tests
	if len(files) == 0 || len(files) != len(tests) {
		t.Errorf("%d files, %d rows", len(files), len(tests))
	}
	for _, file := range files {
		path := filepath.Join("testdata", filepath.Base(file))
		rows := 0
		for _, row := range tests {
			if row.InputPath == path {
				rows++
			}
		}
		if rows != 1 {
			t.Errorf("%s has %d rows", path, rows)
		}
		read(t, file, &v1alpha1.Memcache{})
	}
}

func TestTheSettingIsTheScript(t *testing.T) {
	var cm struct {
		Data map[string]string `json:"data"`
	}
	read(t, settings, &cm)
	const key = "resource.customizations.health.memkeep.io_Memcache"
	if len(cm.Data) != 1 || cm.Data[key] != text(t, filepath.Join(folder, "health.lua")) {
		t.Errorf("%s is not health.lua under the key %s alone", settings, key)
	}
}

// TestTheEngineIsBare holds the engine to what argocd-cm's scripts have.
func TestTheEngineIsBare(t *testing.T) {
	for _, name := range []string{lua.StringLibName, lua.MathLibName, lua.IoLibName, lua.OsLibName} {
		l := engine(t)
		if v := l.GetGlobal(name); v != lua.LNil {
			t.Errorf("%s is there", name)
		}
	}
}
