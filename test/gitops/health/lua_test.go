// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package health

import (
	"os"
	"path/filepath"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"sigs.k8s.io/yaml"
)

const (
	settings = "../../../config/argocd/argocd-cm.yaml"
	folder   = "../../../config/argocd/resource_customizations/memkeep.io/Memcache"
)

// health is what a script says of an object.
type health struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

// rows are the cases of health_test.yaml, in the form that Argo CD's own tests read.
type rows struct {
	Tests []struct {
		InputPath    string `json:"inputPath"`
		HealthStatus health `json:"healthStatus"`
	} `json:"tests"`
}

func cases(t *testing.T) rows {
	t.Helper()
	var out rows
	read(t, filepath.Join(folder, "health_test.yaml"), &out)
	return out
}

func read(t *testing.T, path string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(text(t, path)), into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func text(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// engine returns Lua with the libraries that a script of argocd-cm has, but
// Argo CD's own little os, which nothing here needs.
func engine(t *testing.T) *lua.LState {
	t.Helper()
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	t.Cleanup(l.Close)
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		if err := l.CallByParam(lua.P{Fn: l.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// judge runs a script on an object.
func judge(t *testing.T, script string, obj map[string]any) health {
	t.Helper()
	l := engine(t)
	l.SetContext(t.Context())
	l.SetGlobal("obj", value(t, l, obj))
	if err := l.DoString(script); err != nil {
		t.Fatalf("the script fails: %v", err)
	}
	table, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("the script returns a %s", l.Get(-1).Type())
	}
	return health{lua.LVAsString(table.RawGetString("status")), lua.LVAsString(table.RawGetString("message"))}
}

// value is a value of JSON in Lua.
func value(t *testing.T, l *lua.LState, v any) lua.LValue {
	t.Helper()
	switch v := v.(type) {
	case nil:
		return lua.LNil
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case float64:
		return lua.LNumber(v)
	case []any:
		table := l.NewTable()
		for _, item := range v {
			table.Append(value(t, l, item))
		}
		return table
	case map[string]any:
		table := l.NewTable()
		for k, item := range v {
			table.RawSetString(k, value(t, l, item))
		}
		return table
	}
	t.Fatalf("a %T in an object", v)
	return nil
}
